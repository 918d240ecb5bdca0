//go:build unix

package runner

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// helperEnv has the test binary play a child, see helpers.
const helperEnv = "TMNOTES_RUNNER_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		_ = os.Unsetenv(helperEnv)
		helpers[name]()
		os.Exit(99) // they end themselves
	}
	os.Exit(m.Run())
}

var helpers = map[string]func(){
	"signals": helpSignals,
	"ask":     helpAsk,
}

// helperTask runs a helper; args are NAME=VALUE for its environment.
func helperTask(t testing.TB, path, helper string, env ...string) Task {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Task{
		Stack:    Stack{Path: path, Dir: t.TempDir()},
		Commands: []Command{{Args: []string{exe}}},
		Env:      append(append(os.Environ(), helperEnv+"="+helper), env...),
	}
}

// helpSignals notes each signal in the file LOG, after a line "ready PID", until SIGUSR1,
// and exits with EXIT.
func helpSignals() {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals)
	log, err := os.OpenFile(os.Getenv("LOG"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(log, "ready %d\n", os.Getpid())
	for sig := range signals {
		switch sig.String() {
		case "urgent I/O condition", "child exited": // Go's own
		case "user defined signal 1":
			code, _ := strconv.Atoi(os.Getenv("EXIT"))
			os.Exit(code)
		default:
			fmt.Fprintf(log, "%s\n", SignalName(sig))
		}
	}
}

// helpAsk asks a question on the terminal, then counts interrupts until it reads "end".
func helpAsk() {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	in := bufio.NewReader(os.Stdin)
	fmt.Print("Enter a value: ")
	line, _ := in.ReadString('\n')
	fmt.Printf("child got <%s>\n", strings.TrimSpace(line))
	var n atomic.Int32
	go func() {
		for sig := range signals {
			fmt.Printf("child %s %d\n", SignalName(sig), n.Add(1))
			_ = os.WriteFile(os.Getenv("COUNTED"), []byte("one\n"), 0o600)
		}
	}()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			os.Exit(98)
		}
		if strings.TrimSpace(line) == "end" {
			fmt.Printf("child counted <%d>\n", n.Load())
			os.Exit(0)
		}
	}
}

// recorder is an observer that keeps the events, and checks the promises that
// hold for every run.
type recorder struct {
	t  testing.TB
	g  *Graph
	mu sync.Mutex // tests read while the run goes on

	busy     atomic.Bool
	events   []Event
	started  []string
	running  int
	most     int
	finished map[string]Result
	hook     func(Event) error
	skip     map[string]bool
}

func newRecorder(t testing.TB, g *Graph) *recorder {
	return &recorder{t: t, g: g, finished: map[string]Result{}}
}

func (r *recorder) observe(ev Event) error {
	if !r.busy.CompareAndSwap(false, true) {
		r.t.Errorf("observe called from two goroutines at a time")
	}
	defer r.busy.Store(false)
	r.mu.Lock()
	r.events = append(r.events, ev)
	p := ev.Result.Stack.Path
	switch ev.Kind {
	case Started:
		r.started = append(r.started, p)
		r.running++
		r.most = max(r.most, r.running)
		for _, q := range r.g.Predecessors(p) {
			if _, ok := r.finished[q]; !ok && !r.skip[q] {
				r.t.Errorf("%s started before %s was finished", p, q)
			}
		}
	case Finished:
		if _, ok := r.finished[p]; ok {
			r.t.Errorf("%s finished twice", p)
		}
		r.finished[p] = ev.Result
		if !ev.Result.Started.IsZero() {
			r.running--
		}
	}
	r.mu.Unlock()
	if r.hook != nil {
		return r.hook(ev)
	}
	return nil
}

// line is the graph of stacks that come one after the other; none of free ones.
func line(t testing.TB, paths ...string) *Graph {
	t.Helper()
	after := map[string][]string{}
	for i := 1; i < len(paths); i++ {
		after[paths[i]] = paths[i-1 : i]
	}
	return mustGraph(t, paths, after)
}

func free(t testing.TB, paths ...string) *Graph { t.Helper(); return mustGraph(t, paths, nil) }

// sh is a task that runs a script.
func sh(t testing.TB, path, script string) Task {
	t.Helper()
	return Task{Stack: Stack{Path: path, Dir: os.TempDir()}, Commands: []Command{{Args: []string{"sh", "-c", script}}}, Env: os.Environ()}
}

func statuses(rs []Result) string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&b, "%s=%s", r.Stack.Path, r.Status)
		if r.Cause != "" {
			fmt.Fprintf(&b, "(%s)", r.Cause)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

// waitFile returns the lines of a file once it has n of them.
func waitFile(t testing.TB, path string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		data, err := os.ReadFile(path)
		lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
		if err == nil && strings.HasSuffix(string(data), "\n") && len(lines) >= n {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not %d lines after 30 s: %q", filepath.Base(path), n, data)
		}
	}
}
