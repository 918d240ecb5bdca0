//go:build unix

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sequence is a task of several scripts. Each first writes its number to the
// file "ran" in the stack's folder.
func sequence(t testing.TB, path string, scripts ...string) Task {
	t.Helper()
	task := Task{Stack: Stack{Path: path, Dir: t.TempDir()}, Env: os.Environ()}
	for i, s := range scripts {
		task.Commands = append(task.Commands, Command{Args: []string{"sh", "-c", fmt.Sprintf("echo %d >>ran; %s", i+1, s)}})
	}
	return task
}

func ran(t testing.TB, task Task) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(task.Stack.Dir, "ran"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(data)), " ")
}

// Commands run one after the other until one fails; each further try starts with
// the first again. Over random sequences of commands, of which some fail at first.
func TestSequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"ok", "ok", "ok", "drift", "changes", "fail", "once", "missing", "unprepared"}), 1, 3).Draw(rt, "kinds")
		retries := rapid.IntRange(0, 2).Draw(rt, "retries")
		task := sequence(t, "/a", make([]string, len(kinds))...)
		prepared := make([]int, len(kinds))
		for i, kind := range kinds {
			c := &task.Commands[i]
			c.Prepare = func(context.Context) ([]string, error) {
				prepared[i]++
				if kind == "unprepared" {
					return nil, errors.New("no outputs")
				}
				return []string{fmt.Sprint("N=", i+1)}, nil
			}
			script := `echo "$N" >>ran; `
			switch kind {
			case "drift":
				c.Changes, script = StatusDrifted, script+"exit 2"
			case "changes":
				c.Changes, script = StatusOK, script+"exit 2"
			case "fail":
				script += "exit 2"
			case "once":
				script += fmt.Sprintf("test -e once%d || { touch once%d; exit 3; }", i, i)
			case "missing":
				c.Args = []string{"no-such-command-here"}
			}
			if kind != "missing" {
				c.Args = []string{"sh", "-c", script}
			}
		}

		// The reference.
		want := Result{Status: StatusOK, Exit: -1}
		var runs []string
		failedOnce := map[int]bool{}
		for again := true; again; {
			again, want.Status, want.Exit = false, StatusOK, 0
			final := false
			for i, kind := range kinds {
				if kind == "unprepared" {
					want.Status, want.Exit, final = StatusFailed, -1, true
					break
				}
				if i == 0 {
					want.Tries++
				}
				if kind == "missing" {
					want.Status, want.Exit, final = StatusFailed, -1, true
					break
				}
				runs = append(runs, fmt.Sprint(i+1))
				if kind == "drift" {
					want.Status, want.Exit = StatusDrifted, 2
				}
				if kind == "fail" {
					want.Status, want.Exit = StatusFailed, 2
					break
				}
				if kind == "once" && !failedOnce[i] {
					failedOnce[i] = true
					want.Status, want.Exit = StatusFailed, 3
					break
				}
			}
			again = want.Status == StatusFailed && !final && want.Tries <= retries
		}

		g := free(t, "/a")
		rec := newRecorder(t, g)
		results, err := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{Retries: retries, Backoff: func(int) time.Duration { return 0 }}, rec.observe)
		if err != nil {
			rt.Fatal(err)
		}
		r := results[0]
		if r.Status != want.Status || r.Exit != want.Exit || r.Tries != want.Tries {
			rt.Errorf("%v, %d retries: %s, exit %d, %d tries (%s), want %s, exit %d, %d tries", kinds, retries, r.Status, r.Exit, r.Tries, r.Reason, want.Status, want.Exit, want.Tries)
		}
		if got := ran(t, task); got != strings.Join(runs, " ") {
			rt.Errorf("%v, %d retries: ran %s, want %v", kinds, retries, got, runs)
		}
		for i, n := range prepared {
			if n > 1 {
				rt.Errorf("command %d was prepared %d times", i+1, n)
			}
		}
		if len(rec.started) != 1 {
			rt.Errorf("started %v", rec.started)
		}
	})
}

func TestSequenceReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		scripts []string
		reason  string
	}{
		{"of the one that failed", []string{"echo Error: not this >&2", "echo Error: quota >&2; exit 1"}, "Error: quota"},
		{"not what came before", []string{"echo Error: not this >&2", "exit 7"}, "sh: exit status 7"},
		{"killed", []string{"true", "kill -9 $$"}, "sh: killed by SIGKILL"},
		{"alone", []string{"exit 7"}, "exit status 7"},
	} {
		g := free(t, "/a")
		results, err := Execute(t.Context(), g, map[string]Task{"/a": sequence(t, "/a", c.scripts...)}, Options{}, nil)
		if r := results[0]; err != nil || r.Status != StatusFailed || r.Reason != c.reason {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}

// Whether it is worth another try is looked for in the output of all commands.
func TestSequenceRetryOn(t *testing.T) {
	t.Parallel()
	g := free(t, "/a")
	task := sequence(t, "/a", "echo throttled", "exit 1")
	results, err := Execute(t.Context(), g, map[string]Task{"/a": task},
		Options{Retries: 1, RetryOn: regexp.MustCompile("throttled"), Backoff: func(int) time.Duration { return 0 }}, nil)
	if got := ran(t, task); err != nil || results[0].Tries != 2 || got != "1 2 1 2" {
		t.Errorf("%+v, %v: ran %s", results, err, got)
	}
}

// The timeout is one for all commands: none of them takes so long by itself.
func TestSequenceTimeout(t *testing.T) {
	t.Parallel()
	g := free(t, "/a")
	task := sequence(t, "/a", "sleep 0.3", "sleep 0.3", "sleep 0.3", "sleep 0.3", "true")
	results, err := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{Timeout: time.Second}, nil)
	if r := results[0]; err != nil || r.Status != StatusFailed || r.Reason != "timed out after 1s" || strings.Contains(ran(t, task), "5") {
		t.Errorf("%+v, %v: ran %s", r, err, ran(t, task))
	}
}

// After an interrupt no further command starts, also where the one that ran took
// it well.
func TestSequenceInterrupted(t *testing.T) {
	t.Parallel()
	for _, foreground := range []bool{false, true} {
		t.Run(fmt.Sprint("foreground ", foreground), func(t *testing.T) {
			t.Parallel()
			g := line(t, "/a", "/b")
			task := sequence(t, "/a", "true", `trap 'exit 0' INT; echo y >ready; while ! test -e go; do sleep 0.01; done`, "true")
			r := startRun(t, t.Context(), g, map[string]Task{"/a": task, "/b": sequence(t, "/b", "true")}, Options{Foreground: foreground, Retries: 3}, nil)
			waitFile(t, filepath.Join(task.Stack.Dir, "ready"), 1)
			r.signals <- syscall.SIGINT
			if foreground { // the terminal's signal, which is not ours to send
				if err := os.WriteFile(filepath.Join(task.Stack.Dir, "go"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.wait(t)
			a := r.results[0]
			if got := statuses(r.results); r.err != nil || got != "/a=canceled /b=canceled" || a.Reason != "stopped after 2 of 3 commands: interrupted by SIGINT" || a.Tries != 1 || a.Exit != -1 {
				t.Errorf("%s, %+v, %v", got, a, r.err)
			}
			if got := ran(t, task); got != "1 2" {
				t.Errorf("ran %s", got)
			}
		})
	}
}

// With fail-fast a failure elsewhere starts no further command either.
func TestSequenceFailFast(t *testing.T) {
	t.Parallel()
	g := free(t, "/a", "/b")
	a := sequence(t, "/a", `while ! test -e go; do sleep 0.01; done`, "true")
	b := sequence(t, "/b", fmt.Sprintf(`while ! test -e '%s/ran'; do sleep 0.01; done; exit 1`, a.Stack.Dir))
	r := startRun(t, t.Context(), g, map[string]Task{"/a": a, "/b": b}, Options{Parallel: 2, FailFast: true}, func(ev Event) error {
		if ev.Kind == Finished && ev.Result.Stack.Path == "/b" {
			return os.WriteFile(filepath.Join(a.Stack.Dir, "go"), nil, 0o600)
		}
		return nil
	})
	r.wait(t)
	if got := statuses(r.results); r.err != nil || got != "/a=canceled /b=failed" || ran(t, a) != "1" || r.results[0].Reason != "stopped after 1 of 2 commands: /b failed" {
		t.Errorf("%s, %+v, %v: ran %s", got, r.results, r.err, ran(t, a))
	}
}

// Each command's line stands before its output, wherever that goes.
func TestSequenceLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode     OutputMode
		parallel int
		want     string
	}{
		{OutputDirect, 1, "/a> 1\nx/a> 2\ny\n"},
		{OutputPrefixed, 2, "/a | /a> 1\n/a | x\n/a | /a> 2\n/a | y\n"},
		{OutputGrouped, 1, "[\n/a> 1\nx\n/a> 2\ny\n]\n"},
		{OutputGrouped, 2, "[\n/a> 1\nx\n/a> 2\ny\n]\n"},
	} {
		var out safeBuffer
		g := free(t, "/a")
		task := sequence(t, "/a", "printf x", "echo y")
		task.Commands[0].Line, task.Commands[1].Line = "/a> 1", "/a> 2"
		_, err := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{Output: c.mode, Parallel: c.parallel, Stdout: &out, Stderr: &out,
			GroupStart: func(Stack, Result) string { return "[" }, GroupEnd: func(Stack, Result) string { return "]" }}, nil)
		if got := out.String(); err != nil || got != c.want {
			t.Errorf("mode %d, %d at once: %q, want %q, %v", c.mode, c.parallel, got, c.want, err)
		}
	}
}
