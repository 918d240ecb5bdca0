package deploy

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/runner"
)

// Over random graphs, waves, failures and limits: nothing starts before all of an
// earlier wave has ended, nor before what it depends on; every stack has one result;
// and it is blocked if and only if what it depends on failed, or its wave was not
// reached, or was stopped.
func TestWavesRandomGraphs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		count := rapid.IntRange(1, 9).Draw(rt, "stacks")
		w := Waves{WaveOf: map[string]int{}, List: make([]Wave, rapid.IntRange(1, 4).Draw(rt, "waves"))}
		for k := range w.List {
			w.List[k].Name = fmt.Sprint("wave", k)
			w.Filters = append(w.Filters, w.List[k].Name)
		}
		var nodes []string
		after, tasks, skip, fails := map[string][]string{}, map[string]runner.Task{}, map[string]bool{}, map[string]bool{}
		for i := range count {
			p := fmt.Sprintf("/%c", 'a'+i)
			k := rapid.IntRange(0, len(w.List)-1).Draw(rt, "wave")
			for _, q := range nodes {
				if rapid.IntRange(0, 3).Draw(rt, "edge") == 0 {
					after[p] = append(after[p], q)
					k = max(k, w.WaveOf[q])
				}
			}
			nodes = append(nodes, p)
			w.WaveOf[p] = k
			fails[p], skip[p] = rapid.IntRange(0, 3).Draw(rt, "fails") == 0, rapid.IntRange(0, 4).Draw(rt, "done") == 0
			args := []string{"true"}
			if fails[p] {
				args = []string{"false"}
			}
			tasks[p] = runner.Task{Stack: runner.Stack{Path: p, Dir: os.TempDir()}, Commands: []runner.Command{{Args: args}}, Env: os.Environ()}
		}
		order, err := runner.Sort(nodes, after)
		if err != nil {
			rt.Fatal(err)
		}
		g, err := runner.NewGraph(order, after)
		if err != nil {
			rt.Fatal(err)
		}
		for _, p := range order {
			w.List[w.WaveOf[p]].stacks = append(w.List[w.WaveOf[p]].stacks, p)
		}
		parallel := 1
		switch rapid.IntRange(0, 2).Draw(rt, "limit") {
		case 1:
			w.Limit = failureLimit{set: true, n: rapid.IntRange(0, 3).Draw(rt, "n")}
		case 2:
			w.Limit = failureLimit{set: true, n: rapid.IntRange(0, 100).Draw(rt, "percent"), percent: true}
		default:
			// How many fail before the rest is stopped is then a matter of luck.
			parallel = rapid.IntRange(1, 4).Draw(rt, "parallel")
		}

		want, total, stopped := map[string]runner.Status{}, 0, false
		blocked := map[string]bool{}
		for k, wv := range w.List {
			todo, failed := w.Todo(k, skip), 0
			allowed := count // of other stacks of the wave
			switch {
			case w.Limit.percent:
				allowed = len(todo) * w.Limit.n / 100
			case w.Limit.set:
				allowed = w.Limit.n - total
			}
			for _, p := range wv.stacks {
				blocked[p] = slices.ContainsFunc(after[p], func(q string) bool { return blocked[q] })
				switch {
				case skip[p]:
				case blocked[p] || stopped || failed > allowed:
					want[p], blocked[p] = runner.StatusBlocked, true
				case fails[p]:
					want[p], blocked[p] = runner.StatusFailed, true
					failed++
				default:
					want[p] = runner.StatusOK
				}
			}
			total += failed
			stopped = stopped || failed > allowed
			if !w.Limit.set {
				stopped = stopped || slices.ContainsFunc(todo, func(p string) bool { return want[p] != runner.StatusOK })
			}
		}

		ended := map[string]int{}
		r := &rollout{Waves: &w, n: &Session{World: World{Out: silent{}}}, graph: g, tasks: tasks, x: runner.Options{Parallel: parallel, Skip: skip}}
		r.tell = func(e runner.Event) error {
			p := e.Result.Stack.Path
			switch e.Kind {
			case runner.Started:
				for _, q := range order {
					if !skip[q] && ended[q] == 0 && (w.WaveOf[q] < w.WaveOf[p] || slices.Contains(after[p], q)) {
						rt.Errorf("%s starts before %s has ended", p, q)
					}
				}
			case runner.Finished:
				ended[p]++
			}
			return nil
		}
		results, err := r.execute(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		got := map[string]runner.Status{}
		for _, r := range results {
			got[r.Stack.Path] = r.Status
			if r.Status == runner.StatusBlocked && want[r.Cause] != runner.StatusFailed {
				rt.Errorf("%s is blocked by %q, which is %q", r.Stack.Path, r.Cause, want[r.Cause])
			}
		}
		for _, p := range order {
			if n := ended[p]; got[p] != want[p] || skip[p] != (n == 0) || n > 1 {
				rt.Errorf("%s in %s is %q, observed %d times, want %q (%v, limit %+v)", p, w.NameOf(p), got[p], n, want[p], order, w.Limit)
			}
		}
		if len(results) != len(want) {
			rt.Errorf("%d results, want %d", len(results), len(want))
		}
	})
}

// silent is a Voice that nobody hears.
type silent struct{}

func (silent) Say(string, ...any) {}
func (silent) Warn(string)        {}
