//go:build unix

package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What must hold of every run: over random graphs, failures and skips, with real
// processes.
func TestExecuteRandomGraphs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		nodes, after := drawDAG(rt, 9)
		order, err := Sort(nodes, after)
		if err != nil {
			rt.Fatal(err)
		}
		g, err := NewGraph(order, after)
		if err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "reverse") {
			g = g.Reverse()
		}
		opt := Options{Parallel: rapid.IntRange(0, 4).Draw(rt, "parallel"), Skip: map[string]bool{}, Blocked: map[string]Cause{}}
		tasks := map[string]Task{}
		cause := map[string]string{} // reference: what each hands on
		want := map[string]Result{}
		for _, p := range g.Order() {
			kind := rapid.SampledFrom([]string{"ok", "ok", "ok", "fail", "drift", "prepare", "skip", "blocked", "missing"}).Draw(rt, "kind")
			task := Task{Stack: Stack{Path: p, Dir: os.TempDir()}, Commands: []Command{{Args: []string{"true"}}}, Env: os.Environ()}
			for _, q := range g.Predecessors(p) {
				if cause[p] = cause[q]; cause[p] != "" {
					break
				}
			}
			status := StatusOK
			switch kind {
			case "fail":
				task.Commands[0].Args, status = []string{"false"}, StatusFailed
			case "missing":
				task.Commands[0].Args, status = []string{"no-such-command-here"}, StatusFailed
			case "prepare":
				task.Commands[0].Prepare, status = func(context.Context) ([]string, error) { return nil, errors.New("no outputs") }, StatusFailed
			case "drift":
				task.Commands[0].Args, task.Commands[0].Changes, status = []string{"sh", "-c", "exit 2"}, StatusDrifted, StatusDrifted
			case "skip":
				opt.Skip[p] = true
			case "blocked":
				opt.Blocked[p] = Cause{Path: "/root"}
				cause[p], status = "/root", StatusBlocked
			}
			task.Regardless = rapid.IntRange(0, 3).Draw(rt, "regardless") == 0
			switch {
			case opt.Skip[p]:
			case cause[p] != "" && (!task.Regardless || status == StatusBlocked):
				want[p] = Result{Status: StatusBlocked, Cause: cause[p]}
			default:
				want[p] = Result{Status: status}
				if status == StatusFailed {
					cause[p] = p
				}
			}
			tasks[p] = task
		}
		rec := newRecorder(t, g)
		rec.skip = opt.Skip
		results, err := Execute(t.Context(), g, tasks, opt, rec.observe)
		if err != nil {
			rt.Fatal(err)
		}
		var paths, started []string
		for _, r := range results {
			p := r.Stack.Path
			paths = append(paths, p)
			if r.Status != want[p].Status || r.Cause != want[p].Cause {
				rt.Errorf("%s is %s (%s), want %s (%s)", p, r.Status, r.Cause, want[p].Status, want[p].Cause)
			}
			if r.Status != StatusBlocked {
				started = append(started, p)
			}
			if fin, ok := rec.finished[p]; !ok || fin.Status != r.Status {
				rt.Errorf("%s: result %v, event %v", p, r, fin)
			}
		}
		if wantPaths := slices.DeleteFunc(g.Order(), func(p string) bool { return opt.Skip[p] }); !slices.Equal(paths, wantPaths) {
			rt.Errorf("results of %v, want %v", paths, wantPaths)
		}
		if opt.Parallel <= 1 && !slices.Equal(rec.started, started) {
			rt.Errorf("started %v, want %v", rec.started, started)
		}
		if len(rec.started) != len(started) || rec.most > max(opt.Parallel, 1) {
			rt.Errorf("started %d, want %d; %d at once, at most %d allowed", len(rec.started), len(started), rec.most, opt.Parallel)
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func TestSkippedStandsBetween(t *testing.T) {
	t.Parallel()
	g := line(t, "/a", "/b", "/c")
	rec := newRecorder(t, g)
	results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", "exit 1"), "/c": sh(t, "/c", "exit 0")},
		Options{Parallel: 3, Skip: map[string]bool{"/b": true}}, rec.observe)
	if got := statuses(results); err != nil || got != "/a=failed /c=blocked(/a)" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestFailFast(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, []string{"/a", "/b", "/c", "/d"}, map[string][]string{"/b": {"/a"}, "/d": {"/c"}})
	tasks := map[string]Task{}
	for _, p := range g.Order() {
		tasks[p] = sh(t, p, "exit 0")
	}
	tasks["/a"] = sh(t, "/a", "exit 3")
	results, err := Execute(t.Context(), g, tasks, Options{FailFast: true}, newRecorder(t, g).observe)
	if got := statuses(results); err != nil || got != "/a=failed /b=blocked(/a) /c=canceled /d=canceled" {
		t.Errorf("%s, %v", got, err)
	}
	if results[0].Exit != 3 || results[0].Reason != "exit status 3" || results[2].Reason != "not started: /a failed" {
		t.Errorf("%+v", results)
	}
}

// One failure more than is put up with blocks what was not started, by that failure;
// what depends on an earlier one is blocked by that.
func TestStopAfter(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, []string{"/a", "/b", "/c", "/d", "/e", "/f"}, map[string][]string{"/b": {"/a"}, "/f": {"/c"}})
	tasks := map[string]Task{}
	for _, p := range g.Order() {
		tasks[p] = sh(t, p, "exit 0")
	}
	tasks["/a"], tasks["/c"], tasks["/d"] = sh(t, "/a", "exit 1"), sh(t, "/c", "exit 1"), sh(t, "/d", "exit 1")
	for after, want := range map[int]string{
		0: "/a=failed /b=blocked(/a) /c=failed /d=failed /e=ok /f=blocked(/c)",
		1: "/a=failed /b=blocked(/a) /c=blocked(/a) /d=blocked(/a) /e=blocked(/a) /f=blocked(/a)",
		2: "/a=failed /b=blocked(/a) /c=failed /d=blocked(/c) /e=blocked(/c) /f=blocked(/c)",
		3: "/a=failed /b=blocked(/a) /c=failed /d=failed /e=blocked(/d) /f=blocked(/c)",
		4: "/a=failed /b=blocked(/a) /c=failed /d=failed /e=ok /f=blocked(/c)",
	} {
		results, err := Execute(t.Context(), g, tasks, Options{StopAfter: after}, newRecorder(t, g).observe)
		if got := statuses(results); err != nil || got != want {
			t.Errorf("after %d: %s, %v, want %s", after, got, err, want)
		}
		if after == 3 && (results[1].Reason != "" || results[4].Reason != "stopped after 3 failures") {
			t.Errorf("%+v", results)
		}
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	g := line(t, "/a", "/b", "/c")
	rec := newRecorder(t, g)
	tasks := map[string]Task{}
	mark := filepath.Join(t.TempDir(), "mark")
	for _, p := range g.Order() {
		tasks[p] = sh(t, p, "touch "+mark)
		task := tasks[p]
		task.Commands[0].Prepare = func(context.Context) ([]string, error) { t.Error("prepared"); return nil, nil }
		tasks[p] = task
	}
	rec.skip = map[string]bool{"/a": true, "/b": true} // no Finished events
	results, err := Execute(t.Context(), g, tasks, Options{DryRun: true}, rec.observe)
	if err != nil || !slices.Equal(rec.started, g.Order()) || len(rec.finished) != 0 || statuses(results) != "/a= /b= /c=" {
		t.Errorf("%v, %s, %v", rec.events, statuses(results), err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("something was run")
	}
}

// What cannot be recorded is not started; what runs is not disturbed.
func TestObserverFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := free(t, "/a", "/b", "/c")
	rec := newRecorder(t, g)
	full := errors.New("disk full")
	rec.hook = func(ev Event) error {
		if ev.Kind == Started && ev.Result.Stack.Path == "/b" {
			waitFile(t, filepath.Join(dir, "a"), 1)
			return full
		}
		return nil
	}
	tasks := map[string]Task{}
	for _, p := range g.Order() {
		tasks[p] = sh(t, p, "echo ran >"+filepath.Join(dir, p))
	}
	results, err := Execute(t.Context(), g, tasks, Options{Parallel: 2}, rec.observe)
	if !errors.Is(err, full) || statuses(results) != "/a=ok /b=canceled /c=canceled" {
		t.Errorf("%s, %v", statuses(results), err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != 1 || len(rec.finished) != 3 {
		t.Errorf("ran %v, finished %v", names, rec.finished)
	}
}

func TestNoCommand(t *testing.T) {
	t.Parallel()
	g := free(t, "/a", "/b")
	for _, tasks := range []map[string]Task{{"/a": sh(t, "/a", "")}, {"/a": sh(t, "/a", ""), "/b": {}}} {
		_, err := Execute(t.Context(), g, tasks, Options{}, func(ev Event) error { t.Errorf("%+v", ev); return nil })
		if err == nil || !strings.Contains(err.Error(), "/b") {
			t.Errorf("error %v", err)
		}
	}
}

func TestCommandIsLookedUpAsTheChildWould(t *testing.T) {
	t.Parallel()
	dir, bin := t.TempDir(), t.TempDir()
	script := func(path, out string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+out+" \"$0\" \"$X\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script(filepath.Join(dir, "check.sh"), "mine")
	script(filepath.Join(bin, "only-here"), "found")
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command, path, want, reason string
	}{
		{"./check.sh", "", "mine", ""},
		{"only-here", "/nowhere:" + bin, "found", ""},
		{"check.sh", ".", "mine", ""}, // PATH's dot is the stack's folder
		{"only-here", "/nowhere", "", "command not found: only-here"},
		{"./gone.sh", "", "", "command not found: ./gone.sh: no such file or directory"},
		{"./data", "", "", "command not found: ./data: permission denied"},
	} {
		var out safeBuffer
		g := free(t, "/a")
		task := Task{Stack: Stack{Path: "/a", Dir: dir}, Commands: []Command{{Args: []string{c.command}}},
			Env: []string{"PATH=/wrong", "X=1", "PATH=" + c.path}}
		task.Commands[0].Prepare = func(context.Context) ([]string, error) { return []string{"X=2"}, nil }
		results, err := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{Stdout: &out, Retries: 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := results[0]
		if c.reason != "" {
			if r.Status != StatusFailed || r.Exit != -1 || r.Reason != c.reason || r.Tries != 1 {
				t.Errorf("%s: %+v", c.command, r)
			}
		} else if r.Status != StatusOK || !strings.HasPrefix(out.String(), c.want) || !strings.HasSuffix(out.String(), " 2\n") {
			t.Errorf("%s: %+v, %q", c.command, r, out.String())
		}
	}
	g := free(t, "/a")
	task := sh(t, "/a", "exit 0")
	task.Stack.Dir = filepath.Join(dir, "gone")
	results, _ := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{}, nil)
	if r := results[0]; r.Status != StatusFailed || !strings.Contains(r.Reason, "gone: no such file or directory") {
		t.Errorf("%+v", r)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		retries      int
		on           *regexp.Regexp
		status       Status
		tries        int
	}{
		{"third succeeds", `echo x >>n; test $(wc -l <n) -ge 3`, 5, nil, StatusOK, 3},
		{"all fail", `exit 4`, 2, nil, StatusFailed, 3},
		{"none wanted", `exit 4`, 0, nil, StatusFailed, 1},
		{"matches", `printf 'x\nError: \033[1mrate\033[0m exceeded' >&2; exit 1`, 1, regexp.MustCompile(`rate exceeded$`), StatusFailed, 2},
		{"matches on stdout", `echo rate exceeded; exit 1`, 1, regexp.MustCompile(`^rate`), StatusFailed, 2},
		{"matches nothing", `echo something else; exit 1`, 5, regexp.MustCompile(`rate exceeded`), StatusFailed, 1},
		{"each try by its own output", `echo x >>n; test $(wc -l <n) -ge 2 || echo rate; exit 1`, 5, regexp.MustCompile(`rate`), StatusFailed, 2},
		{"drift is none", `exit 2`, 5, nil, StatusDrifted, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := free(t, "/a")
			task := sh(t, "/a", c.script)
			task.Stack.Dir = t.TempDir()
			task.Commands[0].Changes = StatusDrifted
			prepared := 0
			task.Commands[0].Prepare = func(context.Context) ([]string, error) { prepared++; return nil, nil }
			rec := newRecorder(t, g)
			var waits []int
			opt := Options{Retries: c.retries, RetryOn: c.on, Backoff: func(try int) time.Duration { waits = append(waits, try); return 0 }}
			results, err := Execute(t.Context(), g, map[string]Task{"/a": task}, opt, rec.observe)
			if r := results[0]; err != nil || r.Status != c.status || r.Tries != c.tries || prepared != 1 {
				t.Errorf("%+v, %v, prepared %d times", r, err, prepared)
			}
			retrying := 0
			for _, ev := range rec.events {
				if ev.Kind == Retrying {
					retrying++
					if ev.Result.Tries != retrying || ev.Result.Status != StatusFailed {
						t.Errorf("%+v", ev)
					}
				}
			}
			if retrying != c.tries-1 || len(waits) != retrying {
				t.Errorf("%d events, waits %v", retrying, waits)
			}
		})
	}
}

func TestFullJitter(t *testing.T) {
	t.Parallel()
	for try, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second} {
		var highest time.Duration
		for range 1000 {
			highest = max(highest, fullJitter(try))
		}
		if highest > most || highest < most/2 {
			t.Errorf("try %d: up to %v, want up to %v", try, highest, most)
		}
	}
}

func TestInterruptEndsBackoff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	g := line(t, "/a", "/b")
	rec := newRecorder(t, g)
	rec.hook = func(ev Event) error {
		if ev.Kind == Retrying {
			cancel()
		}
		return nil
	}
	tasks := map[string]Task{"/a": sh(t, "/a", "exit 5"), "/b": sh(t, "/b", "exit 0")}
	results, err := Execute(ctx, g, tasks, Options{Retries: 9, Backoff: func(int) time.Duration { return time.Hour }}, rec.observe)
	if err != nil || statuses(results) != "/a=failed /b=blocked(/a)" || results[0].Tries != 1 || results[0].Exit != 5 {
		t.Errorf("%+v, %v", results, err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		signal       string
		exit         int
	}{
		{"gives in", `sleep 60`, "SIGINT", -1},
		{"is killed", `trap '' INT; sleep 60`, "SIGKILL", -1},
		{"an exit code of 0 is no success", `trap 'exit 0' INT; sleep 60 & wait`, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := free(t, "/a")
			start := time.Now()
			// The shell needs a moment to set its trap.
			opt := Options{Timeout: 1500 * time.Millisecond, KillAfter: 300 * time.Millisecond}
			results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", c.script)}, opt, nil)
			if r := results[0]; err != nil || r.Status != StatusFailed || r.Signal != c.signal || r.Exit != c.exit || r.Reason != "timed out after 1.5s" {
				t.Errorf("%+v, %v", r, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// What a child leaves behind may hold its output open for as long as it likes.
func TestGrandchildHoldsThePipes(t *testing.T) {
	t.Parallel()
	g := free(t, "/a")
	start := time.Now()
	pid := filepath.Join(t.TempDir(), "pid")
	var out safeBuffer
	results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", "sleep 60 & echo $! >"+pid+"; echo done")}, Options{Stdout: &out}, nil)
	if err != nil || results[0].Status != StatusOK || out.String() != "done\n" {
		t.Errorf("%+v, %v, %q", results, err, out.String())
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	killPidIn(t, pid)
}

// Not parallel: it counts goroutines.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	files := openFiles(t)
	g := free(t, "/a", "/b", "/c", "/d")
	tasks := map[string]Task{
		"/a": sh(t, "/a", "echo a; exit 1"), "/b": sh(t, "/b", "sleep 60"), "/c": sh(t, "/c", "exec sleep 60"),
		"/d": {Stack: Stack{Path: "/d"}, Commands: []Command{{Args: []string{"no-such-command"}}}},
	}
	var failures atomic.Int32
	opt := Options{Parallel: 4, Retries: 1, Timeout: 200 * time.Millisecond, Backoff: func(int) time.Duration { failures.Add(1); return time.Millisecond }}
	for _, mode := range []OutputMode{OutputDirect, OutputPrefixed, OutputGrouped} {
		opt.Output = mode
		if _, err := Execute(t.Context(), g, tasks, opt, nil); err != nil {
			t.Fatal(err)
		}
	}
	if failures.Load() != 9 {
		t.Errorf("%d retries", failures.Load())
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before || openFiles(t) > files; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, were %d; %d files, were %d\n%s", runtime.NumGoroutine(), before, openFiles(t), files, buf[:runtime.Stack(buf, true)])
		}
	}
}

// openFiles is 0 where the system does not say.
func openFiles(t *testing.T) int {
	t.Helper()
	names, _ := os.ReadDir("/proc/self/fd")
	return len(names)
}

func BenchmarkExecute1000(b *testing.B) {
	var order []string
	tasks := map[string]Task{}
	for i := range 1000 {
		p := fmt.Sprintf("/s%04d", i)
		order = append(order, p)
		tasks[p] = Task{Stack: Stack{Path: p, Dir: os.TempDir()}, Commands: []Command{{Args: []string{"true"}}}, Env: os.Environ()}
	}
	g := mustGraph(b, order, nil)
	for b.Loop() {
		if _, err := Execute(b.Context(), g, tasks, Options{Parallel: 2}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSpawn1000 is what the machine can do: a bare loop over os/exec, without
// and with the output read.
func BenchmarkSpawn1000(b *testing.B) {
	path, err := lookPath("true", "/", os.Environ())
	if err != nil {
		b.Fatal(err)
	}
	for _, read := range []bool{false, true} {
		b.Run(fmt.Sprintf("read=%v", read), func(b *testing.B) {
			for b.Loop() {
				spawnAll(b, path, 1000, 2, read)
			}
		})
	}
}

func spawnAll(b *testing.B, path string, n, parallel int, read bool) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for range work {
				cmd := &exec.Cmd{Path: path}
				if read {
					cmd.Stdout, cmd.Stderr = &bytes.Buffer{}, &bytes.Buffer{}
				}
				if err := cmd.Run(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
