//go:build unix

package runner

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever Admit says of whom, and how often: nothing starts that was not let in,
// what depends on a stack follows it, and every stack has one result.
func TestAdmitRandomGraphs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		nodes, after := drawDAG(rt, 8)
		order, err := Sort(nodes, after)
		if err != nil {
			rt.Fatal(err)
		}
		g, err := NewGraph(order, after)
		if err != nil {
			rt.Fatal(err)
		}
		tasks, off, answer := map[string]Task{}, map[string]int{}, map[string]Admission{}
		want, cause := map[string]Status{}, map[string]string{}
		for _, p := range order {
			tasks[p] = Task{Stack: Stack{Path: p, Dir: os.TempDir()}, Commands: []Command{{Args: []string{"true"}}}, Env: os.Environ()}
			off[p] = rapid.IntRange(0, 2).Draw(rt, "put off")
			a := rapid.SampledFrom([]Admission{{}, {}, {}, {Status: StatusSkipped}, {Status: StatusBlocked, Cause: "/elsewhere"}, {Status: StatusCanceled}}).Draw(rt, "answer")
			answer[p] = a
			for _, q := range g.Predecessors(p) {
				if cause[p] = cause[q]; cause[p] != "" {
					break
				}
			}
			switch {
			case cause[p] != "":
				want[p] = StatusBlocked
			case a.Status == "":
				want[p] = StatusOK
			default:
				want[p] = a.Status
				if cause[p] = a.Cause; a.Status == StatusCanceled {
					cause[p] = p
				}
			}
		}
		parallel := rapid.IntRange(1, 4).Draw(rt, "parallel")
		let := map[string]bool{}
		opt := Options{Parallel: parallel, Admit: func(_ context.Context, ready []Stack) ([]Admission, error) {
			if len(ready) == 0 || len(ready) > parallel {
				rt.Errorf("asked about %d stacks", len(ready))
			}
			answers := make([]Admission, len(ready))
			for i, s := range ready {
				if answers[i] = answer[s.Path]; off[s.Path] > 0 {
					off[s.Path]--
					answers[i] = Admission{Later: time.Millisecond, Reason: "busy"}
				} else if let[s.Path] {
					rt.Errorf("asked about %s again", s.Path)
				} else {
					let[s.Path] = true
				}
			}
			return answers, nil
		}}
		rec := newRecorder(t, g)
		results, err := Execute(t.Context(), g, tasks, opt, rec.observe)
		if err != nil || len(results) != len(order) {
			rt.Fatalf("%d results of %d, %v", len(results), len(order), err)
		}
		for _, r := range results {
			if p := r.Stack.Path; r.Status != want[p] || r.Status == StatusBlocked && r.Cause != cause[p] {
				rt.Errorf("%s is %s (%s), want %s (%s)", p, r.Status, r.Cause, want[p], cause[p])
			} else if want[p] == StatusOK != slices.Contains(rec.started, p) {
				rt.Errorf("%s: %s, started %v", p, r.Status, rec.started)
			}
		}
		if rec.most > parallel {
			rt.Errorf("%d at once", rec.most)
		}
	})
}

func TestInterruptEndsWhatIsPutOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	g := line(t, "/a", "/b")
	rec := newRecorder(t, g)
	rec.hook = func(ev Event) error {
		if ev.Kind == Held {
			cancel()
		}
		return nil
	}
	opt := Options{Admit: func(_ context.Context, ready []Stack) ([]Admission, error) {
		return []Admission{{Later: time.Hour, Reason: "claimed elsewhere"}}, nil
	}}
	results, err := Execute(ctx, g, map[string]Task{"/a": sh(t, "/a", "exit 0"), "/b": sh(t, "/b", "exit 0")}, opt, rec.observe)
	if err != nil || statuses(results) != "/a=canceled /b=canceled" || len(rec.started) > 0 {
		t.Errorf("%+v, %v, started %v", results, err, rec.started)
	}
}

func TestAdmitFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("remote is gone")
	g := free(t, "/a", "/b")
	opt := Options{Admit: func(context.Context, []Stack) ([]Admission, error) { return nil, gone }}
	rec := newRecorder(t, g)
	results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", "exit 0"), "/b": sh(t, "/b", "exit 0")}, opt, rec.observe)
	if !errors.Is(err, gone) || statuses(results) != "/a=canceled /b=canceled" || len(rec.started) > 0 {
		t.Errorf("%+v, %v, started %v", results, err, rec.started)
	}
}

// A stack does not outlive what it runs under, nor does it get another try; what
// depends on it is blocked, and others run.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, script, signal string }{
		{"gives in", `sleep 60`, "SIGINT"},
		{"is killed", `trap '' INT; sleep 60`, "SIGKILL"},
		{"an exit code of 0 is no success", `trap 'exit 0' INT; sleep 60 & wait`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hold, lose := context.WithCancelCause(t.Context())
			time.AfterFunc(1500*time.Millisecond, func() { lose(errors.New("the claim was lost")) }) // the shell needs a moment to set its trap
			g := mustGraph(t, []string{"/a", "/b", "/c"}, map[string][]string{"/b": {"/a"}})
			opt := Options{KillAfter: 300 * time.Millisecond, Retries: 3, Admit: func(_ context.Context, ready []Stack) ([]Admission, error) {
				if ready[0].Path == "/a" {
					return []Admission{{Hold: hold}}, nil
				}
				return []Admission{{}}, nil
			}}
			results, err := Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", c.script), "/b": sh(t, "/b", "exit 0"), "/c": sh(t, "/c", "exit 0")}, opt, nil)
			if err != nil || statuses(results) != "/a=canceled /b=blocked(/a) /c=ok" {
				t.Fatalf("%s, %v", statuses(results), err)
			}
			if r := results[0]; r.Signal != c.signal || r.Tries != 1 || r.Reason != "the claim was lost" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Admit may ask which stacks are ready beside those that it is asked about: the next ones
// in order, none of which waits for another.
func TestUpcoming(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, []string{"/a", "/b", "/c", "/d"}, map[string][]string{"/d": {"/a"}})
	tasks := map[string]Task{}
	for _, p := range g.Order() {
		tasks[p] = sh(t, p, "exit 0")
	}
	var next func(int) []Stack
	var seen [][]Stack
	opt := Options{Upcoming: func(f func(int) []Stack) { next = f }, Admit: func(_ context.Context, ready []Stack) ([]Admission, error) {
		seen = append(seen, next(1), next(10))
		return []Admission{{}}, nil
	}}
	if _, err := Execute(t.Context(), g, tasks, opt, nil); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, stacks := range seen {
		said := ""
		for _, s := range stacks {
			said += s.Path
		}
		paths = append(paths, said)
	}
	if want := []string{"/b", "/b/c", "/c", "/c/d", "/d", "/d", "", ""}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
}

// The next stack is asked about while a success is observed, but where another one may come
// before it then.
func TestAskedAhead(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, []string{"/a", "/b", "/c", "/d"}, map[string][]string{"/b": {"/a"}})
	tasks, asked, first := map[string]Task{}, map[string]chan struct{}{}, map[string]string{}
	for _, p := range g.Order() {
		tasks[p], asked[p] = sh(t, p, "exit 0"), make(chan struct{})
	}
	opt := Options{Admit: func(_ context.Context, ready []Stack) ([]Admission, error) {
		close(asked[ready[0].Path])
		return []Admission{{}}, nil
	}}
	var started []string
	next := map[string]string{"/b": "/c", "/c": "/d"}
	_, err := Execute(t.Context(), g, tasks, opt, func(ev Event) error {
		switch p := ev.Result.Stack.Path; {
		case ev.Kind == Started:
			started = append(started, p)
		case next[p] != "":
			select {
			case <-asked[next[p]]:
				first[next[p]] = p
			case <-time.After(10 * time.Second):
			}
		}
		return nil
	})
	if want := g.Order(); err != nil || !slices.Equal(started, want) || len(first) != 2 {
		t.Errorf("started %v, not %v; %v asked about ahead; %v", started, want, first, err)
	}
}

// What a child inherits is open for as long as it lives, out of the way of what scripts
// number themselves.
func TestInherit(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := free(t, "/a")
	task := sh(t, "/a", `test -e /dev/fd/20 || test -e /proc/self/fd/20 && ! test -e /proc/self/fd/3`)
	results, err := Execute(t.Context(), g, map[string]Task{"/a": task}, Options{Inherit: []*os.File{f}}, nil)
	if err != nil || statuses(results) != "/a=ok" {
		t.Errorf("%+v, %v", results, err)
	}
}
