package gitstate

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// shadows are the refs that git takes for a ref that is not there (gitrevisions(7)).
func shadows(ref string) map[string]string {
	return map[string]string{
		"a tag":               "refs/tags/" + ref,
		"a branch":            "refs/heads/" + ref,
		"a remote's branch":   "refs/remotes/" + ref,
		"a remote's HEAD":     "refs/remotes/" + ref + "/HEAD",
		"one level up":        "refs/" + ref,
		"something below it":  ref + "/below",
		"something beside it": ref + "2",
	}
}

// Nothing that is merely named like a ref of ours is taken for it.
func TestNoOtherRefIsTakenForOurs(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s, ctx, head := open(t, repo.Dir), context.Background(), repo.Head()
	forged := forgery(t, repo, head)
	for _, ref := range []string{s.ref, s.tracking("origin"), s.textsRef(), s.tracking("origin") + textsSuffix,
		s.spoolPrefix(s.tracking("origin")) + "01M8JZZZZZZZZZZZZZZZZZZZZZ", s.tracking("origin") + claimsSuffix + "/" + note.Digest("slot")} {
		for what, shadow := range shadows(ref) {
			repo.Git("update-ref", shadow, forged)
			if at, err := s.repo.Resolve(ref); err != nil || !at.IsZero() {
				t.Errorf("%s, and %s is there: %s, %v", ref, what, at, err)
			}
			noError(t, s.Remote("origin").Absorb(ctx))
			if st := must[*State](t)(s.State(ctx)); !st.Empty() {
				t.Errorf("%s, and %s is there: it is read as notes", ref, what)
			}
			tips := must[remoteTips](t)(s.fetchedTips(ctx, "origin"))
			if !tips.main.IsZero() || !tips.texts.ours.IsZero() || !tips.texts.theirs.IsZero() {
				t.Errorf("%s, and %s is there: %+v", ref, what, tips)
			}
			repo.Git("update-ref", "-d", shadow)
		}
	}
	// git describe's form of a name is no other.
	at, err := s.repo.Resolve("refs/notes/x-g" + head[:10])
	if err != nil || !at.IsZero() {
		t.Errorf("%s, %v", at, err)
	}
	// Wherever the ref stands, it is found.
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	noError(t, s.Flush(ctx))
	repo.Git("tag", s.ref, head)
	for _, how := range [][]string{{"status"}, {"pack-refs", "--all"}} {
		repo.Git(how...)
		if at := must[string](t)(s.repo.Git(ctx, nil, "rev-parse", s.ref)); at == head {
			t.Fatal("git itself takes the tag")
		} else if got, err := s.repo.Resolve(s.ref); err != nil || got.String() != strings.TrimSpace(at) {
			t.Errorf("after %v: %s, %v", how, got, err)
		}
	}
	// A broken one is an error, and not what a tag of its name says.
	for _, text := range []string{"", "nonsense\n", strings.Repeat("1", 40) + "\n"} {
		noError(t, os.WriteFile(s.repo.RefPath(s.ref), []byte(text), 0o666))
		if at, err := s.repo.Resolve(s.ref); err == nil {
			t.Errorf("%q is %s", text, at)
		}
	}
	repo.Git("update-ref", "-d", s.ref)
}

// forgery is a commit of notes that says that /a is deployed.
func forgery(t *testing.T, repo *gittest.Repo, commit string) string {
	t.Helper()
	repo.Git("notes", "--ref=forged", "add", "-m", "at=2026-01-01T00:00:00.000Z status=ok op=deploy stack=/a variant=any run=FORGED", commit)
	forged := repo.Git("rev-parse", "refs/notes/forged")
	repo.Git("update-ref", "-d", "refs/notes/forged")
	return forged
}

// Tags and branches of a remote that are named like our refs are neither read, nor
// moved, nor in the way: of the notes, of texts, of spool refs and of claims.
func TestRemoteTagsNamedLikeOurRefs(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"refs/tags/", "refs/heads/"} {
		for _, when := range []string{"before the first push", "after it"} {
			t.Run(kind+" "+when, func(t *testing.T) {
				t.Parallel()
				repo := gittest.New(t)
				ctx, head := context.Background(), repo.Head()
				s, other := open(t, repo.Dir), open(t, repo.Clone().Dir)
				forged := forgery(t, repo, head)
				mine := s.spoolRef()
				claim := s.claimRef(&Claim{Stack: "/a", Target: "prod"})
				refs := []string{s.ref, s.textsRef(), mine, claim}
				shadow := func() {
					for _, ref := range refs {
						repo.Git("push", "-q", "origin", forged+":"+kind+ref)
					}
				}
				if when == "before the first push" {
					shadow()
				}
				fetch(t, s)
				if st := must[*State](t)(s.State(ctx)); !st.Empty() {
					t.Error("what the tag says is read")
				}
				record := func(s process, stack string) {
					t.Helper()
					noError(t, s.Append(head, result(note.OK, stack, "R1")))
					noError(t, s.KeepText(TextKey{Path: stack, Op: note.Deploy, Kind: "plan", Run: s.NewRun()}, "a plan of "+stack+"\n", s.redactor))
					if tr := push(t, s); !tr.Pushed || tr.Spooled {
						t.Errorf("%+v", tr)
					}
				}
				record(s, "/b")
				if when == "after it" {
					shadow()
				}
				record(s, "/c")
				record(other, "/d")
				noError(t, s.pushSpool(ctx, "origin", &Traveled{}))
				fetch(t, other)
				record(other, "/e") // and folds the spool ref in

				c := claimer(t, s, head, "RUN1", time.Minute)
				if held, by := take(t, c, "/a", "/z"); !held[0] || !held[1] {
					t.Fatalf("not claimed: %v", by)
				}
				noError(t, c.renew())
				noError(t, c.Release(ctx, []Claim{{Stack: "/a", Target: "prod"}, {Stack: "/z", Target: "prod"}}))

				var want strings.Builder
				for _, ref := range refs {
					want.WriteString(forged + " " + kind + ref + "\n")
				}
				for line := range strings.Lines(repo.InRemote("for-each-ref", "--format=%(objectname) %(refname)", kind+"refs/") + "\n") {
					if !strings.Contains(want.String(), line) {
						t.Errorf("moved: %s", line)
					}
				}
				if got := repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes"); got != s.ref+"\n"+s.textsRef() {
					t.Errorf("on the remote:\n%s", got)
				}
				show := repo.InRemote("cat-file", "-p", repo.InRemote("for-each-ref", "--format=%(objectname)", s.ref)+":"+notePath(t, repo, s.ref))
				for _, stack := range []string{"/b", "/c", "/d", "/e"} {
					if !strings.Contains(show, "stack="+stack+" ") {
						t.Errorf("%s is not on the remote:\n%s", stack, show)
					}
				}
				if left := repo.Git("for-each-ref", pushRefs); left != "" {
					t.Errorf("left behind: %s", left)
				}
			})
		}
	}
}

// notePath is the path of the only note.
func notePath(t *testing.T, repo *gittest.Repo, ref string) string {
	t.Helper()
	at, _, _ := strings.Cut(repo.InRemote("for-each-ref", "--format=%(objectname)", ref), "\n")
	return repo.InRemote("ls-tree", "-r", "--name-only", at)
}

// Where the notes are gone from the remote, who comes again asks for them alone, and
// a tag is not what comes.
func TestFetchOfTheNotesAlone(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s, ctx, head := open(t, repo.Dir), context.Background(), repo.Head()
	noError(t, s.Append(head, result(note.OK, "/b", "R1")))
	push(t, s)
	repo.InRemote("update-ref", "-d", s.ref)
	repo.Git("push", "-q", "origin", forgery(t, repo, head)+":refs/tags/"+s.ref, head+":"+s.spoolPrefix(s.ref)+"x")
	tips := must[remoteTips](t)(s.fetch(ctx, "origin", notesAlone, &Traveled{}))
	if !tips.main.IsZero() || len(tips.spool) != 0 {
		t.Errorf("%+v", tips)
	}
	repo.Git("update-ref", "-d", s.tracking("origin"))
}
