package gitstate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// process is a store and what records in it, as a process has them.
type process struct {
	*Store
	*Writer
}

// open opens the store of a test's repository.
func open(t testing.TB, dir string) process {
	t.Helper()
	return openWith(t, Options{Dir: dir})
}

func openWith(t testing.TB, opt Options) process {
	t.Helper()
	s := must[process](t)(opened(opt))
	t.Cleanup(s.Close)
	return s
}

func opened(opt Options) (process, error) {
	s, err := Open(context.Background(), opt)
	if err != nil {
		return process{}, err
	}
	return process{s, s.Writer("R")}, nil
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result is a record of a stack as a run makes it.
func result(status note.Status, stack, run string, prev ...string) *note.Record {
	return &note.Record{Status: status, Op: note.Deploy, Stack: stack, Run: run, Prev: prev}
}

func texts(lines []Line) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = l.Text
	}
	return out
}

func init() {
	// append DIR COMMIT NAME N: appends N records, flushing now and then, and
	// says which were acknowledged.
	children["append"] = func(args []string) {
		s, err := Open(context.Background(), Options{Dir: args[0]})
		if err != nil {
			fail(err)
		}
		defer s.Close()
		w := s.Writer(args[2])
		n, _ := strconv.Atoi(args[3])
		for i := range n {
			stack := fmt.Sprintf("/%s/%d", args[2], i)
			if err := w.Append(args[1], result(note.OK, stack, args[2])); err != nil {
				fail(err)
			}
			fmt.Println(stack)
			if i%20 == 19 {
				// A foreign writer that never rests may keep a flush from its turn.
				if err := s.Flush(context.Background()); err != nil && !errors.Is(err, git.ErrMoved) {
					fail(err)
				}
			}
		}
	}
	children["live"] = func(args []string) {
		s, err := Open(context.Background(), Options{Dir: args[0]})
		if err != nil {
			fail(err)
		}
		if _, err := s.Writer(args[1]).Live(args[1], args[2]); err != nil {
			fail(err)
		}
		fmt.Println("live")
		time.Sleep(time.Hour) // until it is killed
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// child starts the test binary again as one of children.
func child(t testing.TB, name string, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TMNOTES_TEST_CHILD="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	noError(t, errors.Join(err, cmd.Start()))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func TestRefsAreKeptApart(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	noError(t, open(t, repo.Dir).Append(head, result(note.OK, "/a", "R1")))
	other := openWith(t, Options{Dir: repo.Dir, Ref: "other/x"})
	if other.Ref() != "refs/notes/other/x" {
		t.Error(other.Ref())
	}
	if st := must[*State](t)(other.State(ctx)); !st.Empty() {
		t.Error("a journal of another ref is read")
	}
	noError(t, other.Append(head, result(note.Failed, "/b", "R2")))
	noError(t, other.Flush(ctx))
	if show := repo.Git("notes", "--ref=other/x", "show", head); !strings.Contains(show, "/b") || strings.Contains(show, "/a") {
		t.Error(show)
	}
	for _, ref := range []string{"a..b", "refs/heads/main~", " "} {
		if _, err := Open(ctx, Options{Dir: repo.Dir, Ref: ref}); err == nil {
			t.Errorf("%q is taken for a ref", ref)
		}
	}
}

// checkStore: the index says what the notes say, and nothing is unreadable.
func checkStore(t testing.TB, s process) {
	t.Helper()
	problems, err := s.Check(context.Background())
	noError(t, err)
	for _, p := range problems {
		if p.Fatal {
			t.Errorf("check: %+v", p)
		}
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1"), result(note.OK, "/b", "R1")))
	noError(t, s.Append(head, result(note.Failed, "/a", "R2", "R1")))
	noError(t, s.Append(head, result(note.Canceled, "/a", "R3", "R2")))
	noError(t, s.Flush(ctx))
	repo.Git("notes", "--ref=tmnotes", "append", "-m", "by hand", head)
	pick := func(what string) func(Line) bool { return func(l Line) bool { return strings.Contains(l.Text, what) } }
	forget := func(what string) []Line {
		t.Helper()
		return must[[]Line](t)(s.Forget(ctx, head, note.Record{Run: "F", By: "Bob", Reason: "by mistake"}, pick(what)))
	}
	latest := func() Latest {
		t.Helper()
		return must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	}
	// In the middle of a history: what came after it still follows what came before.
	if gone := forget("run=R2"); len(gone) != 1 {
		t.Fatalf("%d lines forgotten", len(gone))
	}
	if l := latest(); l.Run != "R3" || len(l.Diverged) > 0 || l.OKCommit != head {
		t.Errorf("latest %s, beside it %d, success at %q", l.Run, len(l.Diverged), l.OKCommit)
	}
	forget("run=R3")
	if l := latest(); l.Run != "R1" || len(l.Diverged) > 0 {
		t.Errorf("latest %s, beside it %d", l.Run, len(l.Diverged))
	}
	forget("by hand")
	if again := forget("by hand"); len(again) != 0 {
		t.Error("forgotten twice")
	}
	show := repo.Git("notes", "--ref=tmnotes", "show", head)
	for _, gone := range []string{"run=R2 ", "status=canceled", "by hand"} {
		if strings.Contains(show, gone) && !strings.Contains(show, "event=forgotten") {
			t.Errorf("%q is still in\n%s", gone, show)
		}
	}
	if n := strings.Count(show, "event=forgotten"); n != 3 {
		t.Errorf("%d tombstones, not 3:\n%s", n, show)
	}
	// A foreign writer that brings it back does not bring it back.
	line := mustLine(note.Record{At: gittest.T0, Status: note.OK, Op: note.Deploy, Stack: "/c", Run: "R9"})
	repo.Git("notes", "--ref=tmnotes", "append", "-m", line, head)
	forget("/c")
	repo.Git("notes", "--ref=tmnotes", "append", "-m", line, head)
	if slices.Contains(texts(must[[]Line](t)(s.Note(head))), line) {
		t.Error("a forgotten line came back")
	}
	checkStore(t, s)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	repo.Git("notes", "--ref=tmnotes", "append", "-m", mustLine(rec(0, note.OK, note.Deploy, "/a", "R1")), head)
	// For root, too: what is to be written is a folder.
	noError(t, os.MkdirAll(filepath.Join(repo.Dir, ".git/tmnotes/journal"), 0o777))
	noError(t, os.Mkdir(filepath.Join(repo.Dir, ".git/tmnotes/lock"), 0o777))
	s := open(t, repo.Dir)
	if err := s.Append(head, result(note.OK, "/a", "R2")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	noError(t, s.Flush(ctx))
	if l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Status != note.OK {
		t.Errorf("it reads %s", l.Status)
	}
	if _, err := s.Remote("origin").Push(ctx); !errors.Is(err, ErrReadOnly) {
		t.Errorf("push: %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	now := time.Now()
	s := openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { return now }, StaleAfter: time.Hour})
	status := func(stack string) note.Status {
		t.Helper()
		return must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: stack, Target: "", Op: note.Deploy})).Status
	}
	want := func(stack string, want note.Status) {
		t.Helper()
		if got := status(stack); got != want {
			t.Errorf("%s is %s, not %s", stack, got, want)
		}
	}
	noError(t, s.Append(head, result(note.Running, "/elsewhere", "R1"), result(note.Running, "/run", "R2"), result(note.Running, "/stack", "R2")))
	want("/elsewhere", note.Running)
	run, out := child(t, "live", repo.Dir, "R2", "")
	out.Scan()
	stack, out := child(t, "live", repo.Dir, "R2", "/stack")
	out.Scan()
	// A second process on the same waits for nobody.
	second, err := s.Live("R2", "/stack")
	noError(t, err)
	want("/run", note.Running)
	want("/stack", note.Running)
	stack.Process.Kill()
	stack.Wait()
	want("/stack", note.Running) // by the second
	second.Done()
	want("/stack", note.Interrupted)
	want("/run", note.Running)
	run.Process.Kill()
	run.Wait()
	want("/run", note.Interrupted)
	now = now.Add(2 * time.Hour)
	want("/elsewhere", note.Interrupted)
	now = now.Add(-2 * time.Hour)

	noError(t, s.Append(head, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R3"}, result(note.Queued, "/ended", "R3")))
	want("/ended", note.Queued)
	noError(t, s.Append(head, &note.Record{At: now.Add(time.Second), Event: note.Finished, Run: "R3", OK: 1}))
	want("/ended", note.Interrupted)

	noError(t, s.Append(head, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R4", Job: "https://ci/4", Attempt: 1}, result(note.Queued, "/job", "R4")))
	want("/job", note.Queued)
	noError(t, s.Append(head, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R5", Job: "https://ci/4", Attempt: 2}))
	want("/job", note.Interrupted)
	noError(t, s.Append(head, result(note.Queued, "/job2", "R5")))
	want("/job2", note.Queued)
	noError(t, s.Flush(ctx))
	want("/job", note.Interrupted)
	checkStore(t, s)
	noError(t, os.Remove(s.indexPath()))
	s.last = nil
	want("/job", note.Interrupted)
}

func TestOddRepositories(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, setup := range map[string]func(t *testing.T) string{
		"bare": func(t *testing.T) string { return gittest.New(t).Remote },
		"linked worktree": func(t *testing.T) string {
			repo := gittest.New(t)
			dir := filepath.Join(t.TempDir(), "linked")
			repo.Git("worktree", "add", "-q", dir, "-b", "other")
			return dir
		},
		"sparse checkout": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Commit("x", map[string]string{"a/b": "c", "d/e": "f"})
			repo.Git("sparse-checkout", "set", "a")
			return repo.Dir
		},
		"subdirectory": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Commit("x", map[string]string{"a/b": "c"})
			return filepath.Join(repo.Dir, "a")
		},
		"reference": func(t *testing.T) string {
			repo := gittest.New(t)
			return repo.Clone("--reference", repo.Dir).Dir
		},
		"partial": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.InRemote("config", "uploadpack.allowFilter", "true")
			repo.InRemote("config", "uploadpack.allowAnySHA1InWant", "true")
			return repo.Clone("--filter=blob:none").Dir
		},
		"shallow": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Commit("x", map[string]string{"a/b": "c"})
			repo.Git("push", "-q", "origin", "main")
			return repo.Clone("--depth=1").Dir
		},
		"submodule": func(t *testing.T) string {
			repo, of := gittest.New(t), gittest.New(t)
			repo.Git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", of.Remote, "sub")
			return filepath.Join(repo.Dir, "sub")
		},
		"detached": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Git("checkout", "-q", "--detach")
			return repo.Dir
		},
		"packed refs": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Git("notes", "--ref=tmnotes", "append", "-m", "by hand", "HEAD")
			repo.Git("pack-refs", "--all")
			repo.Git("gc", "-q")
			return repo.Dir
		},
		"separate git dir": func(t *testing.T) string {
			repo := gittest.New(t)
			repo.Git("init", "-q", "--separate-git-dir", filepath.Join(t.TempDir(), "elsewhere"))
			return repo.Dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := setup(t)
			s := open(t, dir)
			head := must[Commit](t)(s.Resolve("HEAD"))
			for i := range 3 {
				noError(t, s.Append(head.Hash, result(note.OK, "/a", fmt.Sprint("R", i), fmt.Sprint("R", i-1))))
				noError(t, s.Flush(ctx))
			}
			for i := range 30 { // more objects than are written loose
				noError(t, s.AppendLazily(fmt.Sprintf("%040d", i), result(note.OK, "/other", "R9")))
			}
			noError(t, s.Flush(ctx))
			again := open(t, dir)
			l := must[Latest](t)(must[*State](t)(again.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
			if done, why := l.Done(head.Hash, As{}); !done {
				t.Error(why)
			}
			out, err := exec.Command("git", "-C", dir, "notes", "--ref=tmnotes", "show", "HEAD").Output()
			if err != nil || !strings.Contains(string(out), "run=R2") {
				t.Errorf("git notes show: %v %s", err, out)
			}
			if remotes := s.Remotes(); len(remotes) > 0 {
				if tr := must[Traveled](t)(s.Remote("origin").Push(ctx)); !tr.Pushed {
					t.Errorf("%+v", tr)
				}
				must[Traveled](t)(s.Remote("origin").Fetch(ctx))
			}
			checkStore(t, again)
			if out, err := exec.Command("git", "-C", dir, "fsck", "--strict").CombinedOutput(); err != nil {
				t.Errorf("fsck: %v\n%s", err, out)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	reftable := gittest.Init(t)
	reftable.Git("config", "core.repositoryformatversion", "1")
	reftable.Git("config", "extensions.refstorage", "reftable")
	for name, c := range map[string]struct {
		dir  string
		want error
	}{
		"no repository": {t.TempDir(), ErrNoRepository},
		"not there":     {filepath.Join(t.TempDir(), "x"), nil},
		"SHA-256":       {gittest.Init(t, "--object-format=sha256").Dir, ErrUnsupported},
		"reftable":      {reftable.Dir, ErrUnsupported},
	} {
		_, err := Open(ctx, Options{Dir: c.dir})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, err)
	}
	unborn := open(t, gittest.Init(t).Dir)
	if _, err := unborn.Resolve("HEAD"); !errors.Is(err, ErrNoCommit) {
		t.Errorf("unborn: %v", err)
	}
	if st := must[*State](t)(unborn.State(ctx)); !st.Empty() {
		t.Error("unborn: not empty")
	}
	noError(t, unborn.Flush(ctx))
	if err := unborn.Append("HEAD", result(note.OK, "/a", "R")); err == nil {
		t.Error("a record on no commit")
	}
}

func init() {
	children["state"] = func(args []string) {
		s, err := opened(Options{Dir: args[0]})
		if err != nil {
			fail(err)
		}
		defer s.Close()
		head, err := s.Resolve("HEAD")
		if err == nil {
			err = s.Append(head.Hash, result(note.OK, "/a", "R"))
		}
		if err == nil {
			err = s.Flush(context.Background())
		}
		if err != nil {
			fail(err)
		}
		fmt.Println(s.GitDir())
	}
}

func TestGitDir(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	cmd := exec.Command(os.Args[0], t.TempDir())
	cmd.Env = append(os.Environ(), "TMNOTES_TEST_CHILD=state", "GIT_DIR="+filepath.Join(repo.Dir, ".git"), "GIT_WORK_TREE="+repo.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if show := repo.Git("notes", "--ref=tmnotes", "show"); !strings.Contains(show, "/a") {
		t.Error(show)
	}
}
