//go:build unix

package runner

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

func init() { helpers["session"] = helpSession }

// safeBuffer is a buffer that may be read while it is written to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func killPidIn(t *testing.T, path string) {
	t.Helper()
	pid, err := strconv.Atoi(waitFile(t, path, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what the child left behind is gone: %v", err)
	}
}

// run is an Execute that goes on beside the test.
type run struct {
	rec     *recorder
	signals chan os.Signal
	results []Result
	err     error
	done    chan struct{}
}

func startRun(t *testing.T, ctx context.Context, g *Graph, tasks map[string]Task, opt Options, hook func(Event) error) *run {
	t.Helper()
	r := &run{rec: newRecorder(t, g), signals: make(chan os.Signal), done: make(chan struct{})}
	r.rec.hook = hook
	opt.Signals = r.signals
	go func() {
		defer close(r.done)
		r.results, r.err = Execute(ctx, g, tasks, opt, r.rec.observe)
	}()
	return r
}

func (r *run) wait(t *testing.T) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(60 * time.Second):
		t.Fatal("Execute does not return")
	}
}

// signalLog is a task that notes its signals, and how to read and to end it.
type signalLog struct {
	task Task
	log  string
}

func newSignalLog(t *testing.T, path string, exit int) *signalLog {
	log := filepath.Join(t.TempDir(), "log")
	return &signalLog{task: helperTask(t, path, "signals", "LOG="+log, fmt.Sprintf("EXIT=%d", exit)), log: log}
}

func (s *signalLog) pid(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(waitFile(t, s.log, 1)[0], "ready "))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (s *signalLog) end(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(s.pid(t), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
}

func TestChildrenGetEachSignalOnce(t *testing.T) {
	t.Parallel()
	sigs := map[string]os.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM}
	if runtime.GOOS == "linux" {
		sigs["queued"] = syscall.Signal(40) // a realtime signal: two of them are never taken for one
	}
	for name, sig := range sigs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newSignalLog(t, "/a", 0), newSignalLog(t, "/b", 1)
			g := mustGraph(t, []string{"/a", "/b", "/c", "/d"}, map[string][]string{"/d": {"/b"}})
			tasks := map[string]Task{"/a": a.task, "/b": b.task, "/c": sh(t, "/c", ""), "/d": sh(t, "/d", "")}
			sawLog := make(chan string, 1)
			r := startRun(t, t.Context(), g, tasks, Options{Parallel: 2}, func(ev Event) error {
				if ev.Kind == Interrupted {
					// What was sent before the first of these is noted before the second.
					for i := range 2 {
						_ = syscall.Kill(a.pid(t), syscall.SIGUSR2)
						waitFile(t, a.log, 2+i)
					}
					data, _ := os.ReadFile(a.log)
					sawLog <- string(data)
				}
				return nil
			})
			a.pid(t)
			b.pid(t)
			r.signals <- sig
			if saw := <-sawLog; strings.Contains(saw, SignalName(sig)) {
				t.Errorf("the signal was passed on before it was observed: %q", saw)
			}
			waitFile(t, a.log, 4)
			waitFile(t, b.log, 2)
			r.signals <- sig
			waitFile(t, a.log, 5)
			waitFile(t, b.log, 3)
			a.end(t)
			b.end(t)
			r.wait(t)
			if got := statuses(r.results); r.err != nil || got != "/a=ok /b=canceled /c=canceled /d=canceled" {
				t.Errorf("%s, %v", got, r.err)
			}
			if want := "interrupted by " + SignalName(sig); r.results[1].Reason != want || r.results[2].Reason != "not started: "+want {
				t.Errorf("%+v", r.results)
			}
			for _, s := range []*signalLog{a, b} {
				lines := slices.DeleteFunc(waitFile(t, s.log, 3), func(l string) bool { return l == "SIGUSR2" })
				if len(lines) != 3 || lines[1] != SignalName(sig) || lines[2] != SignalName(sig) {
					t.Errorf("child saw %q", lines)
				}
			}
			kinds := 0
			for _, ev := range r.rec.events {
				if ev.Kind == Interrupted {
					kinds++
				}
			}
			if kinds != 1 {
				t.Errorf("%d Interrupted events", kinds)
			}
		})
	}
}

func TestThirdSignalKills(t *testing.T) {
	t.Parallel()
	for _, foreground := range []bool{false, true} {
		a := newSignalLog(t, "/a", 0)
		g := free(t, "/a")
		r := startRun(t, t.Context(), g, map[string]Task{"/a": a.task}, Options{Foreground: foreground}, nil)
		a.pid(t)
		for range 3 {
			r.signals <- syscall.SIGINT
		}
		r.wait(t)
		if got := r.results[0]; got.Status != StatusCanceled || got.Signal != "SIGKILL" || got.Exit != -1 {
			t.Errorf("foreground %v: %+v", foreground, got)
		}
		if foreground { // those of a keyboard came from the kernel
			if lines := waitFile(t, a.log, 1); len(lines) != 1 {
				t.Errorf("child saw %q", lines)
			}
		}
	}
}

// A push that hangs in the observer must not keep a second signal from anybody.
func TestSecondSignalWhileObserved(t *testing.T) {
	t.Parallel()
	a := newSignalLog(t, "/a", 0)
	g := free(t, "/a")
	hang := make(chan struct{})
	r := startRun(t, t.Context(), g, map[string]Task{"/a": a.task}, Options{}, func(ev Event) error {
		if ev.Kind == Interrupted {
			<-hang
		}
		return nil
	})
	a.pid(t)
	r.signals <- syscall.SIGTERM
	r.signals <- syscall.SIGINT
	lines := waitFile(t, a.log, 3)[1:]
	slices.Sort(lines)
	if !slices.Equal(lines, []string{"SIGINT", "SIGTERM"}) {
		t.Errorf("child saw %q", lines)
	}
	close(hang)
	a.end(t)
	r.wait(t)
	if got := waitFile(t, a.log, 3); len(got) != 3 {
		t.Errorf("child saw %q", got)
	}
}

func TestContextIsOneInterrupt(t *testing.T) {
	t.Parallel()
	for _, foreground := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		a := newSignalLog(t, "/a", 1)
		g := line(t, "/a", "/b")
		r := startRun(t, ctx, g, map[string]Task{"/a": a.task, "/b": sh(t, "/b", "")}, Options{Foreground: foreground}, nil)
		a.pid(t)
		cancel()
		waitFile(t, a.log, 2)
		a.end(t)
		r.wait(t)
		if got := statuses(r.results); got != "/a=canceled /b=canceled" {
			t.Error(got)
		}
		if lines := waitFile(t, a.log, 2); len(lines) != 2 || lines[1] != "SIGINT" {
			t.Errorf("child saw %q", lines)
		}
	}
}

func TestInterruptEndsPrepare(t *testing.T) {
	t.Parallel()
	g := free(t, "/a")
	begun := make(chan struct{})
	task := sh(t, "/a", "exit 0")
	task.Commands[0].Prepare = func(ctx context.Context) ([]string, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := startRun(t, t.Context(), g, map[string]Task{"/a": task}, Options{}, nil)
	<-begun
	r.signals <- syscall.SIGINT
	r.wait(t)
	if got := statuses(r.results); got != "/a=canceled" {
		t.Error(got)
	}
}

// gone waits until the process whose number is in a file was waited for.
func gone(t *testing.T, path string) {
	t.Helper()
	pid, err := strconv.Atoi(waitFile(t, path, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(100 * time.Microsecond)
	}
}

// A supervisor that stops the whole session may have killed the child while we were
// busy: the signal that was there first explains its end.
func TestSignalThatWasThereFirst(t *testing.T) {
	t.Parallel()
	for range 20 {
		g := free(t, "/a", "/b")
		pid := filepath.Join(t.TempDir(), "pid")
		signals := make(chan os.Signal, 1)
		rec := newRecorder(t, g)
		rec.hook = func(ev Event) error {
			if ev.Kind == Started && ev.Result.Stack.Path == "/b" {
				gone(t, pid)
				time.Sleep(time.Millisecond) // lets a wrong order show
				signals <- syscall.SIGTERM
			}
			return nil
		}
		tasks := map[string]Task{"/a": sh(t, "/a", "echo $$ >"+pid+"; exit 1"), "/b": sh(t, "/b", "sleep 60")}
		results, err := Execute(t.Context(), g, tasks, Options{Parallel: 2, Signals: signals, Retries: 5}, rec.observe)
		if err != nil || statuses(results) != "/a=canceled /b=canceled" {
			t.Fatalf("%s, %v", statuses(results), err)
		}
	}
}

// Ctrl-C may have killed the child before our own signal is read.
func TestChildDiesOfCtrlCFirst(t *testing.T) {
	t.Parallel()
	g := line(t, "/a", "/b")
	pid := filepath.Join(t.TempDir(), "pid")
	r := startRun(t, t.Context(), g, map[string]Task{"/a": sh(t, "/a", "echo $$ >"+pid+"; kill -INT $$"), "/b": sh(t, "/b", "")},
		Options{Foreground: true, Retries: 5}, nil)
	gone(t, pid)
	time.Sleep(5 * time.Millisecond) // lets a wrong order show
	r.signals <- syscall.SIGINT
	r.wait(t)
	if got := statuses(r.results); got != "/a=canceled /b=canceled" {
		t.Error(got)
	}
}

// A stack that is not past its preparation when the run stops is not started.
func TestStoppedWhilePreparing(t *testing.T) {
	t.Parallel()
	g := free(t, "/a", "/b")
	failed := make(chan struct{})
	rec := newRecorder(t, g)
	rec.hook = func(ev Event) error {
		if ev.Kind == Finished && ev.Result.Stack.Path == "/a" {
			close(failed)
		}
		return nil
	}
	b := sh(t, "/b", "exit 0")
	b.Commands[0].Prepare = func(context.Context) ([]string, error) { <-failed; return nil, nil }
	results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", "exit 1"), "/b": b}, Options{Parallel: 2, FailFast: true}, rec.observe)
	if err != nil || statuses(results) != "/a=failed /b=canceled" {
		t.Errorf("%s, %v", statuses(results), err)
	}
}

// helpSession is a tmnotes in the small: on its terminal it runs a child that asks, and
// one that waits for the file RELEASE.
func helpSession() {
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	exe, _ := os.Executable()
	g, err := NewGraph([]string{"/ask", "/wait", "/late"}, nil)
	if err != nil {
		panic(err)
	}
	dir := os.TempDir()
	tasks := map[string]Task{
		"/ask":  {Stack: Stack{Path: "/ask", Dir: dir}, Commands: []Command{{Args: []string{exe}}}, Env: append(os.Environ(), helperEnv+"=ask")},
		"/wait": {Stack: Stack{Path: "/wait", Dir: dir}, Commands: []Command{{Args: []string{"sh", "-c", `trap '' INT TERM; while ! test -e "$RELEASE"; do sleep 0.02; done`}}}, Env: os.Environ()},
		"/late": {Stack: Stack{Path: "/late", Dir: dir}, Commands: []Command{{Args: []string{"true"}}}, Env: os.Environ()},
	}
	fmt.Printf("foreground <%v>\n", Foreground(os.Stdin))
	opt := Options{Parallel: 2, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals, Foreground: Foreground(os.Stdin)}
	results, err := Execute(context.Background(), g, tasks, opt, func(ev Event) error {
		fmt.Printf("event %s <%s>\n", ev.Kind, ev.Result.Stack.Path)
		// The kernel's signal is dealt with before we could send another, so that
		// two cannot be taken for one.
		for ev.Kind == Interrupted && ev.Signal == os.Interrupt {
			if _, err := os.Stat(os.Getenv("COUNTED")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	fmt.Printf("results <%s> <%v>\n", statuses(results), err)
	os.Exit(0)
}

// The terminal: a child in the foreground gets its answer, and Ctrl-C, exactly once;
// and a SIGTERM of tmnotes alone is passed on to it, exactly once.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(tty *os.File, pid int) error{
		"SIGINT":  func(tty *os.File, _ int) error { _, err := tty.WriteString("\x03"); return err },
		"SIGTERM": func(_ *os.File, pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			release := filepath.Join(dir, "release")
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), helperEnv+"=session", "RELEASE="+release, "COUNTED="+filepath.Join(dir, "counted"))
			tty, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer tty.Close()
			var out safeBuffer
			read := make(chan struct{})
			go func() {
				defer close(read)
				buf := make([]byte, 4096)
				for {
					n, err := tty.Read(buf)
					_, _ = out.Write(buf[:n])
					if err != nil {
						return
					}
				}
			}()
			expect := func(text string) {
				t.Helper()
				for deadline := time.Now().Add(30 * time.Second); !strings.Contains(out.String(), text); time.Sleep(2 * time.Millisecond) {
					if time.Now().After(deadline) {
						_ = cmd.Process.Kill()
						t.Fatalf("no %q in:\n%s", text, out.String())
					}
				}
			}
			typed := func(s string) {
				t.Helper()
				if _, err := tty.WriteString(s); err != nil {
					t.Fatal(err)
				}
			}
			expect("foreground <true>")
			expect("event started </wait>")
			expect("Enter a value: ")
			typed("yes\n")
			expect("child got <yes>")
			if err := interrupt(tty, cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			expect("event interrupted <>")
			expect("child " + name + " 1")
			// When the end of /wait is observed, all that the runner sends was sent.
			if err := os.WriteFile(release, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			expect("event finished </wait>")
			typed("end\n")
			expect("child counted <1>")
			expect("results </ask=ok /wait=ok /late=canceled> <<nil>>")
			<-read
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestForegroundIsOfATerminal(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	p, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	defer tty.Close()
	for name, f := range map[string]*os.File{"nil": nil, "pipe": r, "another's terminal": tty} {
		if Foreground(f) {
			t.Errorf("%s is our terminal", name)
		}
	}
}
