package gitstate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// planOf is the key of the plan of a drift run of /db.
func planOf(run string) TextKey {
	return TextKey{Kind: PlanText, Path: "/db", Op: note.Drift, Run: run}
}

// run is the n'th of some runs: their ids sort by time.
func runNo(n int) string { return fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69G%04d", n) }

func keep(t testing.TB, s process, key TextKey, text string) {
	t.Helper()
	noError(t, s.KeepText(key, text, &note.Redactor{}))
}

// wantText fails unless a text is kept, or, for "", none.
func wantText(t testing.TB, s process, key TextKey, want string) {
	t.Helper()
	got, is, err := s.Text(key)
	if err != nil || is != (want != "") || got.Body != want {
		t.Errorf("%+v: %q, %v, %v; want %q", key, got.Body, is, err, want)
	}
}

// Texts are there at once and after a flush, for the stack's id or its path, and
// kept apart by target, operation and kind.
func TestTexts(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	for _, flush := range []bool{false, true} {
		if flush {
			noError(t, s.Flush(context.Background()))
			if left := must[[]waitingText](t)(s.waitingTexts()); len(left) > 0 {
				t.Errorf("still waiting: %v", left)
			}
		} else {
			wantText(t, s, planOf(""), "")
			keep(t, s, planOf(runNo(1)), "one\n")
			keep(t, s, planOf(runNo(2)), "two\n")
			target := planOf(runNo(3))
			target.Target = "prod"
			keep(t, s, target, "prod\n")
			keep(t, s, TextKey{Kind: "log", Path: "/db", Op: note.Destroy, Run: runNo(4)}, "log\n")
		}
		wantText(t, s, planOf(""), "two\n")
		wantText(t, s, planOf(runNo(1)), "one\n")
		wantText(t, s, planOf(runNo(9)), "")
		withID := planOf("")
		withID.ID = "DB-1"
		wantText(t, s, withID, "two\n") // from before it had the id
		wantText(t, s, TextKey{Kind: PlanText, Path: "/db", Target: "prod", Op: note.Drift}, "prod\n")
		wantText(t, s, TextKey{Kind: "log", Path: "/db", Op: note.Deploy}, "log\n")
		wantText(t, s, TextKey{Kind: PlanText, Path: "/db", Op: note.Deploy}, "")
	}
	withID := planOf(runNo(3))
	withID.ID = "DB-1"
	keep(t, s, withID, "three\n")
	noError(t, s.Flush(context.Background()))
	withID.ID, withID.Run, withID.Path = "db-1", "", "/moved"
	wantText(t, s, withID, "three\n")
	wantText(t, s, planOf(""), "two\n")

	// The digest is one that anybody can compute, and the ref is no notes.
	if tree := repo.Git("ls-tree", "-r", "--name-only", s.textsRef()); !strings.Contains(tree, note.Digest("op=drift target=prod stack=/db")+"/plan/"+runNo(3)+".") {
		t.Error(tree)
	}
	if notes := repo.Git("notes", "--ref="+s.textsRef(), "list"); notes != "" {
		t.Errorf("git takes for notes: %s", notes)
	}
	if n := repo.Git("rev-list", "--count", s.textsRef()); n != "1" {
		t.Errorf("%s commits of texts", n)
	}
	checkStore(t, s)
}

// A later text of a run takes the place of the earlier one, also if it is an
// empty one, and of many runs the newest stay.
func TestTextsReplaced(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	now := time.Now()
	s := openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { now = now.Add(time.Second); return now }})
	for i := range textRuns + 3 {
		keep(t, s, planOf(runNo(i)), fmt.Sprintf("a longer text %d\n", i))
		if i%2 == 0 {
			noError(t, s.Flush(context.Background()))
		}
		keep(t, s, planOf(runNo(i)), fmt.Sprintf("text %d\n", i))
	}
	noError(t, s.Flush(context.Background()))
	wantText(t, s, planOf(runNo(2)), "")
	wantText(t, s, planOf(runNo(3)), "text 3\n")
	wantText(t, s, planOf(""), "text 7\n")
	if n := len(strings.Split(repo.Git("ls-tree", "-r", s.textsRef()), "\n")); n != textRuns {
		t.Errorf("%d texts", n)
	}
	keep(t, s, planOf(runNo(7)), "")
	wantText(t, s, planOf(runNo(7)), "")
	wantText(t, s, planOf(""), "text 6\n")
	noError(t, s.Flush(context.Background()))
	wantText(t, s, planOf(""), "text 6\n")
}

// What is kept has no secret, no escape and no more than the limit in it.
func TestTextIsClean(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	r := note.NewRedactor([]string{"DB_PASSWORD=hunter22"})
	for text, want := range map[string]string{
		"plain\n\tindented \u00e4\n":                                       "plain\n\tindented \u00e4\n",
		"\x1b[31m-\x1b[0m gone\n\x1b]0;title\x07rest\n":                    "- gone\nrest\n",
		"10%\r50%\r100%\r\ndone\r\n":                                       "100%\ndone\n",
		"a\x00b\x07c\u009b31md\u202ee\ufefff\x1b\n":                        "abc31mdef\n",
		"is hunt\x1b[1mer\x1b[0m22 and hunter22\n":                         "is *** and ***\n",
		"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nx\n": "***\nx\n",
		"broken \xff\n": "broken ?\n",
	} {
		noError(t, s.KeepText(planOf(runNo(1)), text, r))
		wantText(t, s, planOf(runNo(1)), want)
		noError(t, os.RemoveAll(s.textsDir()))
	}
	for _, key := range []TextKey{planOf("short"), planOf("../../../../../../../../hooks"), {Kind: "../x", Path: "/a", Run: runNo(1)}, {Kind: "", Path: "/a", Run: runNo(1)}} {
		if err := s.KeepText(key, "x", r); err == nil {
			t.Errorf("%+v was kept", key)
		}
	}
	var long strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&long, "line %d of many\n", i)
	}
	keep(t, s, planOf(runNo(1)), long.String())
	got, _, err := s.Text(planOf(runNo(1)))
	noError(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(got.Body, "\n"), "\n")
	if len(got.Body) > TextLimit || len(got.Body) < TextLimit-200 || lines[0] != "line 0 of many\n" || lines[len(lines)-1] != "line 59999 of many" {
		t.Errorf("%d bytes, from %q to %q", len(got.Body), lines[0], lines[len(lines)-1])
	}
	left := 0
	for _, l := range lines {
		if !strings.HasPrefix(l, "line ") {
			if _, err := fmt.Sscanf(l, "[... %d bytes are left out here ...]", &left); err != nil {
				t.Errorf("%q", l)
			}
			left -= len(l)
		}
	}
	if len(got.Body)+left != long.Len() {
		t.Errorf("%d bytes and %d are not %d", len(got.Body), left, long.Len())
	}
}

// An Excerpt is the same however the text was cut into writes.
func TestExcerpt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(note.MarkRoom, 200).Draw(t, "limit")
		pieces := rapid.SliceOf(rapid.StringMatching(`[a-z\n]{0,90}`)).Draw(t, "pieces")
		e, whole := note.Excerpt{Limit: limit}, note.Excerpt{Limit: limit}
		text := strings.Join(pieces, "")
		for _, p := range pieces {
			_, _ = e.Write([]byte(p))
		}
		_, _ = whole.Write([]byte(text))
		got := e.String()
		if got != whole.String() || len(got) > limit {
			t.Fatalf("%q, and in one piece %q", got, whole.String())
		}
		if head, _, cut := strings.Cut(got, "[... "); !cut && got != text || cut && !strings.HasPrefix(text, head) {
			t.Fatalf("%q of %q", got, text)
		}
	})
}

// Merging trees of texts is commutative, associative and idempotent.
func TestTextsMerge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		tree := &textTree{made: map[plumbing.Hash]*plumbing.MemoryObject{}, read: func(h plumbing.Hash, _ plumbing.ObjectType) ([]byte, error) {
			return nil, fmt.Errorf("%s was never made", h)
		}}
		merge := func(a, b plumbing.Hash) plumbing.Hash { return must[plumbing.Hash](t)(tree.merge(0, a, b)) }
		draw := func(label string) (root plumbing.Hash) {
			for range rapid.IntRange(0, 12).Draw(rt, label) {
				slot := strings.Repeat(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "slot"), 64)
				name := fmt.Sprintf("%s.%013d", runNo(rapid.IntRange(1, 8).Draw(rt, "run")), rapid.IntRange(1, 3).Draw(rt, "at"))
				one := tree.put(plumbing.BlobObject, []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "text")))
				for depth, name := range slices.Backward([]string{slot[:2], slot, rapid.SampledFrom([]string{"log", "plan"}).Draw(rt, "kind"), name}) {
					one = tree.putDir(depth, map[string]plumbing.Hash{name: one})
				}
				root = merge(root, one)
			}
			return root
		}
		a, b, c := draw("a"), draw("b"), draw("c")
		if merge(a, b) != merge(b, a) || merge(merge(a, b), c) != merge(a, merge(b, c)) || merge(a, a) != a || merge(merge(a, b), b) != merge(a, b) {
			rt.Fatal("merging depends on the order")
		}
	})
}

// A clone sees the texts that another one pushed, with the notes and without,
// and both remotes and clones end with the same tree.
func TestTextsTravel(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	a, b := open(t, repo.Dir), open(t, repo.Clone().Dir)
	head := repo.Head()
	noError(t, a.Append(head, result(note.OK, "/db", runNo(1))))
	keep(t, a, planOf(runNo(1)), "one\n")
	push(t, a)
	fetch(t, b)
	wantText(t, b, planOf(""), "one\n")

	// Both at once: each keeps its own and gets the other's.
	keep(t, a, planOf(runNo(2)), "two\n")
	keep(t, b, planOf(runNo(3)), "three\n")
	push(t, b)
	if tr := push(t, a); !tr.Pushed {
		t.Error("texts alone are not pushed")
	}
	fetch(t, b)
	for _, s := range []process{a, b} {
		wantText(t, s, planOf(runNo(2)), "two\n")
		wantText(t, s, planOf(""), "three\n")
		if tip := must[plumbing.Hash](t)(s.repo.Resolve(s.textsRef())); tip.String() != repo.InRemote("rev-parse", s.textsRef()) {
			t.Error("a clone has another commit than the remote")
		}
	}
	if n := repo.InRemote("rev-list", "--count", a.textsRef()); n != "1" {
		t.Errorf("the remote has %s commits of texts", n)
	}

	// Deleted there, it comes back; a plain `git fetch` will do to see it.
	must[[]string](t)(b.Remote("origin").Setup(context.Background(), false, false))
	repo.InRemote("update-ref", "-d", a.textsRef())
	fetch(t, b)
	keep(t, a, planOf(runNo(4)), "four\n")
	push(t, a)
	wantText(t, b, planOf(""), "three\n")
	must[string](t)(b.repo.Git(context.Background(), nil, "fetch", "-q"))
	wantText(t, b, planOf(""), "four\n")
	if log := must[string](t)(b.repo.Git(context.Background(), nil, "log", "-1", "--format=%N")); !strings.Contains(log, "stack=/db") || strings.Contains(log, "four") {
		t.Errorf("git log shows %q", log)
	}
	checkStore(t, a)
	checkStore(t, b)
}

// Where there are no texts a push asks the remote no more often than without
// this; where there are, neither.
func TestTextsRoundTrips(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	// Each connection to a remote on the same machine starts one of these.
	log := filepath.Join(t.TempDir(), "asked")
	for _, side := range []string{"upload", "receive"} {
		script := filepath.Join(t.TempDir(), side)
		noError(t, os.WriteFile(script, []byte("#!/bin/sh\necho "+side+" >>"+log+"\nexec git-"+side+"-pack \"$@\"\n"), 0o777))
		repo.Git("config", "remote.origin."+side+"pack", script)
	}
	s := open(t, repo.Dir)
	for i, text := range []string{"", "one\n"} {
		noError(t, os.WriteFile(log, nil, 0o666))
		noError(t, s.Append(repo.Head(), result(note.OK, "/db", runNo(i))))
		if text != "" {
			keep(t, s, planOf(runNo(i)), text)
		}
		push(t, s)
		if asked := string(must[[]byte](t)(os.ReadFile(log))); asked != "upload\nreceive\n" {
			t.Errorf("text %q: the remote was asked for %q", text, asked)
		}
	}
	if repo.InRemote("rev-parse", s.textsRef()) == "" {
		t.Error("not pushed")
	}
}

// A remote that takes no texts, in whatever way, gets the notes all the same,
// and not by way of the spool; it is said once.
func TestTextsRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*gittest.Repo){
		"by an update hook": func(r *gittest.Repo) { r.Hook("update", `case $1 in *-texts) echo no texts here >&2; exit 1;; esac`) },
		"by a pre-receive hook": func(r *gittest.Repo) {
			r.Hook("pre-receive", `while read old new ref; do case $ref in *-texts) echo no texts here >&2; exit 1;; esac; done`)
		},
		"because it is too much": func(r *gittest.Repo) { r.InRemote("config", "receive.maxInputSize", "20000") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			refuse(repo)
			var warned []string
			s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { warned = append(warned, w) }})
			var long strings.Builder
			for i := range 20000 {
				long.WriteString(note.Digest(fmt.Sprint(i))[:8] + "\n")
			}
			for i := range 2 {
				noError(t, s.Append(repo.Head(), result(note.OK, "/db", runNo(i))))
				keep(t, s, planOf(runNo(i)), fmt.Sprint(i, "\n", long.String()))
				if tr := push(t, s); !tr.Pushed || tr.Spooled {
					t.Errorf("%+v", tr)
				}
				if note := repo.InRemote("notes", "--ref=tmnotes", "show", repo.Head()); !strings.Contains(note, runNo(i)) {
					t.Errorf("the remote has %q", note)
				}
			}
			if refs := repo.InRemote("for-each-ref", "refs/notes/"); strings.Contains(refs, "texts") || strings.Contains(refs, "spool") {
				t.Error(refs)
			}
			if len(warned) != 1 || !strings.Contains(warned[0], "stay in this clone") {
				t.Errorf("said: %q", warned)
			}
			if got, _, err := s.Text(planOf("")); err != nil || !strings.HasPrefix(got.Body, "1\n") {
				t.Errorf("%.10q, %v", got.Body, err)
			}
		})
	}
}

// Where the remote replaces no commit by one that is not on top of it, a commit
// on top it is.
func TestTextsOnTop(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	repo.InRemote("config", "receive.denyNonFastForwards", "true")
	s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { t.Error(w) }})
	for i := range 3 {
		noError(t, s.Append(repo.Head(), result(note.OK, "/db", runNo(i))))
		keep(t, s, planOf(runNo(i)), fmt.Sprint(i, "\n"))
		push(t, s)
		other := open(t, repo.Clone().Dir)
		fetch(t, other)
		wantText(t, other, planOf(""), fmt.Sprint(i, "\n"))
	}
}

// A ref of texts that is broken is in the way of no record.
func TestTextsBroken(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	var warned []string
	s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { warned = append(warned, w) }})
	noError(t, s.Append(repo.Head(), result(note.OK, "/db", runNo(1))))
	keep(t, s, planOf(runNo(1)), "one\n")
	file := filepath.Join(repo.Dir, ".git", filepath.FromSlash(s.textsRef()))
	noError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	noError(t, os.WriteFile(file, nil, 0o666)) // as a crash may leave it behind
	push(t, s)
	if len(warned) == 0 || !strings.Contains(warned[0], "tmnotes-texts is broken") {
		t.Errorf("said: %q", warned)
	}
	if _, _, err := s.Text(planOf("")); err == nil {
		t.Error("a text was read")
	}
	if note := repo.InRemote("notes", "--ref=tmnotes", "show", repo.Head()); !strings.Contains(note, runNo(1)) {
		t.Errorf("the remote has %q", note)
	}
	noError(t, os.Remove(file))
	push(t, s)
	wantText(t, s, planOf(""), "one\n")
}

// What is forgotten is forgotten with what was kept of it, in every clone.
func TestTextsForgotten(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	a, b := open(t, repo.Dir), open(t, repo.Clone().Dir)
	head := repo.Head()
	for i := range 2 {
		r := result(note.Drifted, "/db", runNo(i))
		r.Op = note.Drift
		r.Variant = fmt.Sprint(i)
		noError(t, a.Append(head, r))
		keep(t, a, planOf(runNo(i)), fmt.Sprintf("secret %d\n", i))
	}
	push(t, a)
	fetch(t, b)
	gone, err := b.Forget(context.Background(), head, note.Record{Reason: "a secret", By: "Bob", Run: runNo(9)}, func(l Line) bool { return l.Record.Run == runNo(1) })
	if err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	push(t, b)
	push(t, a)
	for _, s := range []process{a, b} {
		wantText(t, s, planOf(runNo(1)), "")
		wantText(t, s, planOf(""), "secret 0\n")
	}
	repo.InRemote("gc", "-q", "--prune=now")
	if all := repo.InRemote("cat-file", "--batch-all-objects", "--batch"); strings.Contains(all, "secret 1") || !strings.Contains(all, "secret 0") {
		t.Error("the remote still has what was forgotten")
	}
}

// What is forgotten before its texts are in the ref takes those along as well.
func TestTextsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	key := TextKey{Kind: LogText, Path: "/db", Op: note.Deploy, Run: runNo(1)}
	r := result(note.Failed, "/db", key.Run)
	noError(t, s.Append(repo.Head(), r))
	keep(t, s, key, "secret\n")
	if got := s.Logs()(r); got != "secret\n" {
		t.Errorf("%q", got)
	}
	gone, err := s.Forget(context.Background(), repo.Head(), note.Record{Reason: "a secret", By: "Bob", Run: runNo(9)}, func(l Line) bool { return l.Record.Run == key.Run })
	if err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	wantText(t, s, key, "")
	if got := s.Logs()(r); got != "" {
		t.Errorf("%q", got)
	}
}
