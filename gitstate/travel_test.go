package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func init() {
	// push DIR NAME N: records and pushes N times, and says how long each push
	// took and whether it went to the spool.
	children["push"] = func(args []string) {
		ctx := context.Background()
		s, err := opened(Options{Dir: args[0]})
		if err != nil {
			fail(err)
		}
		defer s.Close()
		head, err := s.Resolve("HEAD")
		if err != nil {
			fail(err)
		}
		n, _ := strconv.Atoi(args[2])
		for i := range n {
			if err := s.Append(head.Hash, result(note.OK, fmt.Sprintf("/%s/%d", args[1], i), args[1])); err != nil {
				fail(err)
			}
			start := time.Now()
			tr, err := s.Remote("origin").Push(ctx)
			if err != nil {
				fail(err)
			}
			fmt.Println(time.Since(start).Microseconds(), tr.Tries, tr.Spooled)
		}
	}
}

// noteText is the note of a commit in normal form, as a clone has it.
func noteText(t testing.TB, s process, commit string) string {
	t.Helper()
	return note.JoinLines(texts(must[[]Line](t)(s.Note(commit))))
}

func push(t testing.TB, s process) Traveled {
	t.Helper()
	return must[Traveled](t)(s.Remote("origin").Push(context.Background()))
}

func fetch(t testing.TB, s process) Traveled {
	t.Helper()
	return must[Traveled](t)(s.Remote("origin").Fetch(context.Background()))
}

// The first fetch takes the remote's notes as they are, without a commit of its own, and what
// was recorded here before comes on top.
func TestFirstFetch(t *testing.T) {
	repo := gittest.New(t)
	a := open(t, repo.Dir)
	noError(t, a.Append(repo.Head(), result(note.OK, "/a", "A")))
	push(t, a)
	tip := repo.Git("rev-parse", "refs/notes/tmnotes")

	empty := repo.Clone()
	fetch(t, open(t, empty.Dir))
	if log := empty.Git("reflog", "--format=%H", "refs/notes/tmnotes"); log != tip {
		t.Errorf("the ref went over %q, not to %s at once", log, tip)
	}

	late := repo.Clone()
	s := open(t, late.Dir)
	noError(t, s.Append(repo.Head(), result(note.OK, "/b", "B")))
	fetch(t, s)
	if text := noteText(t, s, repo.Head()); !strings.Contains(text, "stack=/a ") || !strings.Contains(text, "stack=/b ") {
		t.Errorf("after the first fetch the note is\n%s", text)
	}
	if first := late.Git("rev-parse", "refs/notes/tmnotes~1"); first != tip {
		t.Errorf("what was recorded here stands on %s, not on %s", first, tip)
	}
}

func TestManyPushers(t *testing.T) {
	clones, pushes := 8, 5
	if long() {
		pushes = 50
	}
	if testing.Short() {
		clones, pushes = 4, 4
	}
	repo := gittest.New(t)
	var mu sync.Mutex
	var took []int
	tries, spooled := 0, 0
	var wg sync.WaitGroup
	for i := range clones {
		c := repo.Clone()
		cmd, out := child(t, "push", c.Dir, fmt.Sprint("clone", i), strconv.Itoa(pushes))
		wg.Add(1)
		go func() {
			defer wg.Done()
			for out.Scan() {
				var us, n int
				var spool bool
				fmt.Sscan(out.Text(), &us, &n, &spool)
				mu.Lock()
				took = append(took, us)
				tries += n
				if spool {
					spooled++
				}
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	s := open(t, repo.Clone().Dir)
	push(t, s) // folds in what is spooled
	text := noteText(t, s, repo.Head())
	for i := range clones {
		for j := range pushes {
			if !strings.Contains(text, fmt.Sprintf("stack=/clone%d/%d ", i, j)) {
				t.Errorf("/clone%d/%d did not arrive", i, j)
			}
		}
	}
	if refs := repo.InRemote("for-each-ref", "refs/notes/"); strings.Contains(refs, "spool") {
		t.Errorf("not folded in:\n%s", refs)
	}
	if remote := repo.InRemote("notes", "--ref=tmnotes", "show", repo.Head()); note.Normal(remote) != text {
		t.Error("the remote has another note")
	}
	slices.Sort(took)
	if len(took) != clones*pushes {
		t.Fatalf("%d of %d pushes", len(took), clones*pushes)
	}
	median, slowest := took[len(took)/2], took[len(took)-1]
	t.Logf("%d pushes: median %d ms, p95 %d ms, slowest %d ms (%.1f x), %.2f tries each, %d spooled", len(took), median/1000,
		took[len(took)*95/100]/1000, slowest/1000, float64(slowest)/float64(median), float64(tries)/float64(len(took)), spooled)
	if slowest > 10*median {
		t.Errorf("the slowest push took %.1f times the median", float64(slowest)/float64(median))
	}
}

func TestPushGrowsByOne(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, s, head := context.Background(), open(t, repo.Dir), repo.Head()
	for i := range 3 {
		for j := range 3 {
			noError(t, s.Append(head, result(note.OK, fmt.Sprintf("/%d/%d", i, j), "R1")))
			noError(t, s.Flush(ctx))
		}
		if tr := push(t, s); !tr.Pushed || tr.Tries != 1 || tr.Spooled {
			t.Errorf("%+v", tr)
		}
		if n := repo.InRemote("rev-list", "--count", DefaultRef); n != strconv.Itoa(i+1) {
			t.Errorf("after push %d the remote has %s commits", i+1, n)
		}
		if n, oldest, err := s.Remote("origin").Unpushed(ctx); err != nil || n != 0 || !oldest.IsZero() {
			t.Errorf("%d records unpushed since %v: %v", n, oldest, err)
		}
	}
	if tr := push(t, s); tr.Pushed || tr.Tries != 0 {
		t.Errorf("nothing was pushed: %+v", tr)
	}
	if files := must[[]journal.JournalFile](t)(s.journal.Files()); len(files) > 0 {
		t.Errorf("the journal has %d files", len(files))
	}
}

func TestTwoClones(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	a, b := open(t, repo.Dir), open(t, repo.Clone().Dir)
	if tr := fetch(t, a); !tr.Empty || tr.Fetched {
		t.Errorf("%+v", tr)
	}
	latest := func(s process) Latest {
		t.Helper()
		return must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	}
	// Neither knows of the other.
	noError(t, a.Append(head, result(note.OK, "/a", "R1")))
	noError(t, b.Append(head, result(note.OK, "/a", "R2")))
	push(t, a)
	push(t, b)
	fetch(t, a)
	for _, s := range []process{a, b} {
		l := latest(s)
		if done, why := l.Done(head, As{}); done || len(l.Diverged) != 1 {
			t.Errorf("done: %v %s", done, why)
		}
	}
	// The next run follows both.
	l := latest(a)
	r := result(note.OK, "/a", "R3", l.Runs()...)
	noError(t, a.Append(head, r))
	push(t, a)
	fetch(t, b)
	for _, s := range []process{a, b} {
		l := latest(s)
		if done, why := l.Done(head, As{}); !done {
			t.Error(why)
		}
		checkStore(t, s)
	}
	if noteText(t, a, head) != noteText(t, b, head) {
		t.Error("the clones differ")
	}
	if x, y := a.repo, b.repo; must[string](t)(x.Git(ctx, nil, "rev-parse", DefaultRef)) != must[string](t)(y.Git(ctx, nil, "rev-parse", DefaultRef)) {
		t.Error("the clones have different commits for the same notes")
	}
}

func TestRefusedPush(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s, other := open(t, repo.Dir), open(t, repo.Clone().Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))

	repo.Hook("pre-receive", "echo 'protected, ask Bob' >&2; exit 1")
	_, err := s.Remote("origin").Push(ctx)
	if !errors.Is(err, ErrNotPushed) || errors.Is(err, ErrRemote) || !strings.Contains(err.Error(), "protected, ask Bob") || strings.Contains(err.Error(), "\n") {
		t.Errorf("refused: %v", err)
	}
	if files := must[[]journal.JournalFile](t)(s.journal.Files()); len(files) != 1 {
		t.Error("the journal was emptied")
	}

	repo.Hook("pre-receive", "")
	repo.Hook("update", `test "$1" != refs/notes/tmnotes`)
	tr := push(t, s)
	if !tr.Pushed || !tr.Spooled {
		t.Errorf("%+v", tr)
	}
	if files := must[[]journal.JournalFile](t)(s.journal.Files()); len(files) != 1 {
		t.Error("the journal was emptied, and the records are on the spool only")
	}
	fetch(t, other)
	if l := must[Latest](t)(must[*State](t)(other.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Status != note.OK {
		t.Errorf("spooled: %s to the others", l.Status)
	}
	if tr := push(t, other); !tr.Spooled {
		t.Errorf("%+v", tr)
	}
	noError(t, os.Remove(filepath.Join(repo.Remote, "hooks/update")))
	if tr := push(t, other); tr.Spooled || !tr.Pushed {
		t.Errorf("%+v", tr)
	}
	if refs := repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes/"); refs != DefaultRef {
		t.Errorf("not folded in: %s", refs)
	}
	push(t, s)
	if files := must[[]journal.JournalFile](t)(s.journal.Files()); len(files) != 0 {
		t.Error("the journal is kept although all is pushed")
	}
	if refs := repo.Git("for-each-ref", "--format=%(refname)", "refs/tmnotes/"); strings.Contains(refs, "spool") {
		t.Errorf("still tracked: %s", refs)
	}
}

func TestRemoteTrouble(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	noError(t, os.Rename(repo.Remote, repo.Remote+".away"))
	_, err := s.Remote("origin").Fetch(ctx)
	if !errors.Is(err, ErrRemote) || strings.Contains(err.Error(), "\n") {
		t.Errorf("fetch: %v", err)
	}
	_, err = s.Remote("origin").Push(ctx)
	if !errors.Is(err, ErrRemote) || !errors.Is(err, ErrNotPushed) || strings.Contains(err.Error(), "\n") {
		t.Errorf("push: %v", err)
	}
	noError(t, os.Rename(repo.Remote+".away", repo.Remote))
	push(t, s)

	// The ref is deleted there, or moved back.
	old := repo.InRemote("rev-parse", DefaultRef)
	noError(t, s.Append(head, result(note.OK, "/b", "R1")))
	push(t, s)
	for name, do := range map[string]func(){
		"deleted":    func() { repo.InRemote("update-ref", "-d", DefaultRef) },
		"moved back": func() { repo.InRemote("update-ref", DefaultRef, old) },
	} {
		do()
		if tr := push(t, s); !tr.Pushed {
			t.Errorf("%s: %+v", name, tr)
		}
		show := repo.InRemote("notes", "--ref=tmnotes", "show", head)
		if !strings.Contains(show, "/a") || !strings.Contains(show, "/b") {
			t.Errorf("%s:\n%s", name, show)
		}
	}
	// An unborn, empty remote is no error.
	empty := gittest.Init(t, "--bare")
	repo.Git("remote", "add", "empty", empty.Dir)
	if tr := must[Traveled](t)(s.Remote("empty").Fetch(ctx)); !tr.Empty {
		t.Errorf("%+v", tr)
	}
	if tr := must[Traveled](t)(s.Remote("empty").Push(ctx)); !tr.Pushed {
		t.Errorf("%+v", tr)
	}
}

// What foreign writers took away, pushed as a fast-forward, comes back from
// whoever had it.
func TestTakenAwayComesBack(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(t *testing.T, repo *gittest.Repo, foreign *gittest.Repo, head string){
		"git notes remove": func(t *testing.T, repo, foreign *gittest.Repo, head string) {
			foreign.Git("notes", "--ref=tmnotes", "remove", head)
		},
		"git notes prune in a shallow clone": func(t *testing.T, repo, foreign *gittest.Repo, head string) {
			foreign.Git("notes", "--ref=tmnotes", "prune")
		},
		"stale git notes edit": func(t *testing.T, repo, foreign *gittest.Repo, head string) {
			foreign.Git("notes", "--ref=tmnotes", "add", "-f", "-m", "what I had in my editor", head)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			ctx, head := context.Background(), repo.Head()
			var warned []string
			s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { warned = append(warned, w) }})
			bystander := open(t, repo.Clone().Dir)
			noError(t, s.Append(head, result(note.OK, "/a", "R1"), result(note.OK, "/b", "R1"), result(note.OK, "/c", "R1")))
			push(t, s)
			fetch(t, bystander)
			must[[]Line](t)(s.Forget(ctx, head, note.Record{Run: "F"}, func(l Line) bool { return strings.Contains(l.Text, "stack=/c ") }))
			push(t, s)
			repo.Commit("next", nil)
			repo.Git("push", "-q", "origin", "main")
			foreign := repo.Clone("--depth=1")
			foreign.Git("fetch", "-q", "origin", "refs/notes/tmnotes:refs/notes/tmnotes")
			remove(t, repo, foreign, head)
			foreign.Git("push", "-q", "origin", "refs/notes/tmnotes")
			if show, _ := foreign.Try("notes", "--ref=tmnotes", "show", head); strings.Contains(show, "status=ok") {
				t.Fatal("nothing was taken away")
			}
			// And a fetch that overwrites: the local notes lack it as well.
			over := repo.Clone()
			o := open(t, over.Dir)
			noError(t, o.Flush(ctx))
			over.Git("fetch", "-q", "origin", foreignBase(repo)+":refs/tmnotes/remotes/origin/tmnotes", "+refs/notes/tmnotes:refs/notes/tmnotes")
			fetch(t, o)
			if text := noteText(t, o, head); !strings.Contains(text, "stack=/a ") {
				t.Errorf("not back where local notes were overwritten:\n%s", text)
			}
			tr := push(t, s)
			if tr.Returned < 2 || len(warned) == 0 || !strings.Contains(warned[0], "tmnotes forget") {
				t.Errorf("%+v, warned %q", tr, warned)
			}
			fresh := open(t, repo.Clone().Dir)
			fetch(t, fresh)
			push(t, bystander)
			fetch(t, s)
			for who, s := range map[string]process{"fresh": fresh, "bystander": bystander, "own": s} {
				text := noteText(t, s, head)
				if !strings.Contains(text, "stack=/a ") || !strings.Contains(text, "stack=/b ") {
					t.Errorf("%s: not back:\n%s", who, text)
				}
				if strings.Contains(text, "status=ok op=deploy stack=/c ") {
					t.Errorf("%s: a forgotten line is back:\n%s", who, text)
				}
				checkStore(t, s)
			}
		})
	}
}

// A clone with one commit of the notes' history has no merge base.
func TestUnrelatedHistories(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	for i := range 3 {
		noError(t, s.Append(head, result(note.OK, fmt.Sprint("/", i), "R1")))
		push(t, s)
	}
	shallow := repo.Clone("--depth=1")
	shallow.Git("fetch", "-q", "--depth=1", "origin", "refs/notes/tmnotes:refs/notes/tmnotes")
	o := open(t, shallow.Dir)
	noError(t, o.Append(head, result(note.OK, "/shallow", "R2")))
	push(t, o)
	noError(t, s.Append(head, result(note.OK, "/other", "R3")))
	push(t, s)
	fetch(t, o)
	// A repository whose notes were begun anew.
	alone := repo.Clone()
	a := open(t, alone.Dir)
	noError(t, a.Append(head, result(note.OK, "/alone", "R4")))
	noError(t, a.Flush(ctx))
	push(t, a)
	fetch(t, o)
	for _, s := range []process{a, o} {
		text := noteText(t, s, head)
		for _, stack := range []string{"/0", "/1", "/2", "/shallow", "/other", "/alone"} {
			if !strings.Contains(text, "stack="+stack+" ") {
				t.Errorf("%s is missing in\n%s", stack, text)
			}
		}
	}
}

// What git notes merge made of two clones is merged with as any other.
func TestGitMergesBeside(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	head := repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	push(t, s)
	c := repo.Clone()
	c.Git("fetch", "-q", "origin", "refs/notes/tmnotes:refs/notes/tmnotes")
	c.Git("notes", "--ref=tmnotes", "append", "-m", "by hand", head)
	noError(t, s.Append(head, result(note.OK, "/b", "R2")))
	push(t, s)
	c.Git("fetch", "-q", "origin", "refs/notes/tmnotes:refs/notes/theirs")
	c.Git("notes", "--ref=tmnotes", "merge", "-q", "-s", "cat_sort_uniq", "theirs")
	c.Git("push", "-q", "origin", "refs/notes/tmnotes")
	noError(t, s.Append(head, result(note.OK, "/c", "R3")))
	push(t, s)
	text := noteText(t, s, head)
	for _, want := range []string{"by hand", "/a", "/b", "/c"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if text != note.Normal(repo.InRemote("notes", "--ref=tmnotes", "show", head)) {
		t.Error("the remote has another note")
	}
}

// foreignBase is the remote's notes before the last push, which a clone had.
func foreignBase(repo *gittest.Repo) string {
	repo.InRemote("update-ref", "refs/heads/before", DefaultRef+"^")
	return "refs/heads/before"
}

// The legs of a run end within the same second, each with a clone of its own, and
// with a remote that takes as long to answer as a hosted one: all arrive, and none
// waits much longer than one alone.
func TestManyLegs(t *testing.T) {
	t.Parallel()
	legs := 16
	if long() {
		legs = 256
	}
	repo, ctx := gittest.New(t), context.Background()
	dir := t.TempDir()
	leg := func(name string) process {
		clone := filepath.Join(dir, name)
		repo.Git("clone", "-q", "--shared", "file://"+repo.Remote, clone)
		for _, service := range []string{"upload-pack", "receive-pack"} {
			script := filepath.Join(dir, service)
			noError(t, os.WriteFile(script, []byte("#!/bin/sh\nsleep 0.5\nexec git "+service+" \"$@\"\n"), 0o755))
			repo.Git("-C", clone, "config", "remote.origin."+strings.ReplaceAll(service, "-", ""), script)
		}
		return open(t, clone)
	}
	head := repo.Head()
	record := func(s process, name string) (took time.Duration, tr Traveled) {
		noError(t, s.Append(head, result(note.OK, "/"+name, "R1")))
		start := time.Now()
		tr, err := s.Remote("origin").Push(ctx)
		noError(t, err)
		return time.Since(start), tr
	}
	stores := make([]process, legs)
	for i := range stores {
		stores[i] = leg(fmt.Sprint("leg", i))
	}
	alone := leg("alone")
	record(alone, "first")
	one, _ := record(alone, "alone")
	var wait sync.WaitGroup
	var mu sync.Mutex
	var last time.Duration
	spooled := 0
	for i, s := range stores {
		wait.Go(func() {
			took, tr := record(s, fmt.Sprint("leg", i))
			mu.Lock()
			defer mu.Unlock()
			if last = max(last, took); tr.Spooled {
				spooled++
			}
		})
	}
	wait.Wait()
	t.Logf("one push takes %v; the last of %d took %v (%.1f x), %d spooled", one, legs, last, float64(last)/float64(one), spooled)
	if last > 60*one {
		t.Errorf("the last of %d took %.1f times as long as one alone", legs, float64(last)/float64(one))
	}
	s := leg("reader")
	start := time.Now()
	fetch(t, s)
	t.Logf("who reads them next takes %v", time.Since(start))
	text := noteText(t, s, head)
	for i := range legs {
		if !strings.Contains(text, fmt.Sprintf("stack=/leg%d ", i)) {
			t.Errorf("/leg%d did not arrive", i)
		}
	}
}
