package gitstate

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

const refuseShared = `test "$1" != refs/notes/tmnotes`

// A copy of a clone has a name of its own among those that spool, and so has what is
// left of the clone in another folder; the clone itself keeps its name.
func TestWriterOfACopy(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	repo.Hook("update", refuseShared)
	ctx := context.Background()
	a := open(t, repo.Dir)
	noError(t, a.Append(repo.Head(), result(note.OK, "/a", "R1")))
	if tr := push(t, a); !tr.Spooled || !tr.Refused {
		t.Errorf("%+v", tr)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", repo.Dir, copied).CombinedOutput(); err != nil {
		t.Skipf("cp: %v: %s", err, out)
	}
	b := open(t, copied)
	noError(t, a.Append(repo.Head(), result(note.Failed, "/a", "R2")))
	noError(t, b.Append(repo.Head(), result(note.Failed, "/b", "R3")))
	push(t, a)
	push(t, b)
	if n := strings.Count(repo.InRemote("for-each-ref", "refs/notes/tmnotes-spool"), "\n") + 1; n != 2 {
		t.Errorf("%d spool refs", n)
	}
	c := open(t, repo.Clone().Dir)
	fetch(t, c)
	st := must[*State](t)(c.State(ctx))
	for _, stack := range []string{"/a", "/b"} {
		if l := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: stack, Target: "", Op: note.Deploy})); l.Status != note.Failed {
			t.Errorf("%s is %s", stack, l.Status)
		}
	}
	if again := open(t, repo.Dir).spoolWriter(); again != a.spoolWriter() {
		t.Error("the clone has another name now")
	}
}

// What another has put on the spool ref of this writer meanwhile is merged, not replaced.
func TestSpoolNamesWhatItReplaces(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	repo.Hook("update", refuseShared)
	a, b := open(t, repo.Dir), open(t, repo.Clone().Dir)
	b.spoolName = a.spoolWriter()
	for i, s := range []process{a, b, a, b} {
		noError(t, s.Append(repo.Head(), result(note.OK, "/s"+string(rune('0'+i)), "R"+string(rune('0'+i)))))
		push(t, s)
	}
	c := open(t, repo.Clone().Dir)
	fetch(t, c)
	lines := must[[]Line](t)(c.Note(repo.Head()))
	if len(lines) != 4 {
		t.Errorf("%d of 4 records are there: %q", len(lines), texts(lines))
	}
}

// A ref among the spool refs that is no commit is named once, is in nobody's way, and is
// reported by check; so is a claim that is none.
func TestStrangeRefs(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	blob := repo.InRemote("rev-parse", "main:README")
	repo.InRemote("update-ref", "refs/notes/tmnotes-spool/01M8JTZVPH1GVGVFRCA7FGZ0JQ", blob)
	repo.InRemote("update-ref", "refs/notes/tmnotes-spool/tree", repo.InRemote("rev-parse", "main^{tree}"))
	repo.InRemote("update-ref", "refs/notes/tmnotes-claims/x", blob)
	var warned []string
	s := openWith(t, Options{Dir: repo.Dir, Warn: func(text string) { warned = append(warned, text) }})
	noError(t, s.Append(repo.Head(), result(note.OK, "/a", "R1")))
	push(t, s)
	fetch(t, s)
	if len(warned) != 2 || !strings.Contains(warned[0], "git push origin :refs/notes/tmnotes-spool/01M8") {
		t.Errorf("warned: %q", warned)
	}
	if got := takes(t, claimer(t, s, repo.Head(), "R1", time.Minute), Claim{Stack: "/a"}); got[0].Hold == nil {
		t.Errorf("%+v", got)
	}
	named := 0
	for _, p := range must[[]Problem](t)(s.Check(ctx)) {
		if strings.Contains(p.What, "tmnotes-spool/") || strings.Contains(p.What, "tmnotes-claims/x") {
			named++
		}
		if p.Fatal {
			t.Errorf("%+v", p)
		}
	}
	if named != 3 {
		t.Errorf("check names %d of them", named)
	}
}

// A notes ref that a crash has broken, or that is gone, is put together again from what is
// known: nothing that was recorded is lost.
func TestBrokenRef(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, repo *gittest.Repo, path string){
		"empty": func(t *testing.T, _ *gittest.Repo, path string) { noError(t, os.WriteFile(path, nil, 0o666)) },
		"half": func(t *testing.T, _ *gittest.Repo, path string) {
			noError(t, os.WriteFile(path, []byte("0123456789"), 0o666))
		},
		"missing commit": func(t *testing.T, _ *gittest.Repo, path string) {
			noError(t, os.WriteFile(path, []byte(strings.Repeat("1", 40)+"\n"), 0o666))
		},
		"missing": func(t *testing.T, _ *gittest.Repo, path string) { noError(t, os.Remove(path)) },
		"packed and empty": func(t *testing.T, repo *gittest.Repo, path string) {
			repo.Git("pack-refs", "--all")
			noError(t, os.WriteFile(path, nil, 0o666))
		},
		"reflog gone": func(t *testing.T, repo *gittest.Repo, path string) {
			noError(t, os.WriteFile(path, nil, 0o666))
			noError(t, os.Remove(filepath.Join(repo.Dir, ".git", "logs", "refs", "notes", "tmnotes")))
		},
		"with the fetched one": func(t *testing.T, repo *gittest.Repo, path string) {
			noError(t, os.WriteFile(path, nil, 0o666))
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git", "refs", "tmnotes", "remotes", "origin", "tmnotes"), nil, 0o666))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, ctx := gittest.New(t), context.Background()
			s := open(t, repo.Dir)
			other := open(t, repo.Clone().Dir)
			noError(t, other.Append(repo.Head(), result(note.OK, "/theirs", "R0")))
			push(t, other)
			noError(t, s.Append(repo.Head(), result(note.OK, "/pushed", "R1")))
			push(t, s)
			noError(t, s.Append(repo.Head(), result(note.Failed, "/flushed", "R2")))
			noError(t, s.Flush(ctx))
			noError(t, s.Append(repo.Head(), result(note.Failed, "/journaled", "R3")))
			s.Close()
			damage(t, repo, filepath.Join(repo.Dir, ".git", "refs", "notes", "tmnotes"))

			s = open(t, repo.Dir)
			if name == "with the fetched one" {
				fetch(t, s)
			}
			if lines := must[[]Line](t)(s.Note(repo.Head())); len(lines) != 4 {
				t.Errorf("%d of 4 records are there: %q", len(lines), texts(lines))
			}
			noError(t, s.Flush(ctx))
			push(t, s)
			fetch(t, other)
			if lines := must[[]Line](t)(other.Note(repo.Head())); len(lines) != 4 {
				t.Errorf("%d of 4 records arrive: %q", len(lines), texts(lines))
			}
		})
	}
}

// Without a copy of what the ref held nothing is made up.
func TestBrokenRefWithoutACopy(t *testing.T) {
	t.Parallel()
	repo := gittest.Init(t)
	repo.Commit("one", map[string]string{"a": "b"})
	s := open(t, repo.Dir)
	noError(t, s.Append(repo.Head(), result(note.OK, "/a", "R1")))
	noError(t, s.Flush(t.Context()))
	gitDir := filepath.Join(repo.Dir, ".git")
	noError(t, os.RemoveAll(filepath.Join(gitDir, "tmnotes", "journal")))
	noError(t, os.RemoveAll(filepath.Join(gitDir, "logs")))
	noError(t, os.WriteFile(filepath.Join(gitDir, "refs", "notes", "tmnotes"), nil, 0o666))
	if s, err := Open(t.Context(), Options{Dir: repo.Dir}); err == nil {
		if _, err = s.State(t.Context()); err == nil {
			t.Error("a broken ref is read as one that has no notes")
		}
		s.Close()
	} else if errors.Is(err, ErrNoRepository) {
		t.Error(err)
	}
}
