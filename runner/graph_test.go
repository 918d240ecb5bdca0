package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// referenceSort is Terramate's algorithm as its doc comment has it, by maps and
// without regard to time.
func referenceSort(nodes []string, after map[string][]string) []string {
	left := map[string]map[string]bool{}
	for _, n := range nodes {
		left[n] = map[string]bool{}
	}
	for _, n := range nodes {
		for _, p := range after[n] {
			if _, ok := left[p]; ok {
				left[n][p] = true
			}
		}
	}
	var queue, order []string
	take := func(of func(n string) bool) {
		var batch []string
		for n, preds := range left {
			if len(preds) == 0 && of(n) {
				batch = append(batch, n)
			}
		}
		slices.Sort(batch)
		for _, n := range batch {
			delete(left, n)
		}
		queue = append(queue, batch...)
	}
	take(func(string) bool { return true })
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		order = append(order, n)
		freed := map[string]bool{}
		for m, preds := range left {
			if preds[n] {
				delete(preds, n)
				freed[m] = true
			}
		}
		take(func(m string) bool { return freed[m] })
	}
	return order
}

func mustGraph(t testing.TB, order []string, after map[string][]string) *Graph {
	t.Helper()
	g, err := NewGraph(order, after)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// drawDAG draws nodes in no particular order, and edges without a cycle (but
// with doubles, and to nodes that are not there).
func drawDAG(t *rapid.T, most int) (nodes []string, after map[string][]string) {
	n := rapid.IntRange(0, most).Draw(t, "n")
	for i := range n {
		nodes = append(nodes, fmt.Sprintf("/s%02d", i))
	}
	rank := rapid.Permutation(nodes).Draw(t, "rank")
	after = map[string][]string{}
	for i, p := range rank {
		for _, j := range rapid.SliceOfN(rapid.IntRange(0, max(i, 1)), 0, 3).Draw(t, "preds") {
			switch {
			case j < i:
				after[p] = append(after[p], rank[j])
			case rapid.Bool().Draw(t, "stranger"):
				after[p] = append(after[p], "/elsewhere")
			}
		}
	}
	return nodes, after
}

// ancestors has the transitive predecessors of each node.
func ancestors(order []string, after map[string][]string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, p := range order {
		all[p] = map[string]bool{}
		for _, q := range after[p] {
			if all[q] == nil {
				continue
			}
			all[p][q] = true
			for a := range all[q] {
				all[p][a] = true
			}
		}
	}
	return all
}

func TestSortIsTerramates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, after := drawDAG(t, 20)
		got, err := Sort(rapid.Permutation(nodes).Draw(t, "given"), after)
		if err != nil {
			t.Fatal(err)
		}
		if want := referenceSort(nodes, after); !slices.Equal(got, want) {
			t.Fatalf("Sort = %v, want %v", got, want)
		}
		g, err := NewGraph(got, after)
		if err != nil {
			t.Fatal(err)
		}
		back := g.Reverse().Reverse()
		for _, p := range nodes {
			if d := cmp.Diff(g.Predecessors(p), back.Predecessors(p)); d != "" {
				t.Fatalf("reversed twice, %s: %s", p, d)
			}
			for _, q := range g.Predecessors(p) {
				if !slices.Contains(g.Reverse().Predecessors(q), p) {
					t.Fatalf("reversed: %s is not before %s", p, q)
				}
			}
		}
	})
}

func TestSortQueueIsFIFO(t *testing.T) {
	t.Parallel()
	// /a frees /z, /b frees /c: a priority queue would take /c first.
	got, err := Sort([]string{"/c", "/z", "/b", "/a"}, map[string][]string{"/z": {"/a"}, "/c": {"/b"}})
	if want := []string{"/a", "/b", "/z", "/c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Sort = %v, %v, want %v", got, err, want)
	}
}

func TestSortCycle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, after := drawDAG(t, 12)
		if len(nodes) == 0 {
			return
		}
		p, q := rapid.SampledFrom(nodes).Draw(t, "p"), rapid.SampledFrom(nodes).Draw(t, "q")
		after[p] = append(after[p], q)
		cyclic := p == q || ancestorsAny(nodes, after, q)[p]
		_, err := Sort(nodes, after)
		var cycle *CycleError
		if got := errors.As(err, &cycle); got != cyclic {
			t.Fatalf("error %v, cyclic %v", err, cyclic)
		}
		if !cyclic {
			return
		}
		path := cycle.Path
		if len(path) < 2 || path[0] != path[len(path)-1] {
			t.Fatalf("no cycle: %v", path)
		}
		seen := map[string]bool{}
		for i := 1; i < len(path); i++ {
			if !slices.Contains(after[path[i-1]], path[i]) {
				t.Fatalf("%v: no edge from %s to %s", path, path[i-1], path[i])
			}
			if seen[path[i]] {
				t.Fatalf("%v: %s is there twice", path, path[i])
			}
			seen[path[i]] = true
		}
	})
	_, err := Sort([]string{"/a", "/b"}, map[string][]string{"/a": {"/b"}, "/b": {"/a"}})
	if err == nil || !strings.Contains(err.Error(), "/a -> /b -> /a") {
		t.Errorf("error = %v", err)
	}
}

// ancestorsAny is the ancestors of one node of any graph.
func ancestorsAny(_ []string, after map[string][]string, of string) map[string]bool {
	seen := map[string]bool{}
	var walk func(string)
	walk = func(p string) {
		for _, q := range after[p] {
			if !seen[q] {
				seen[q] = true
				walk(q)
			}
		}
	}
	walk(of)
	return seen
}

func TestReduceKeepsReachability(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes, after := drawDAG(t, 14)
		order, err := Sort(nodes, after)
		if err != nil {
			t.Fatal(err)
		}
		keep := map[string]bool{}
		for _, p := range nodes {
			keep[p] = rapid.Bool().Draw(t, "keep")
		}
		order2, after2 := Reduce(order, after, func(p string) bool { return keep[p] })
		want := slices.DeleteFunc(slices.Clone(order), func(p string) bool { return !keep[p] })
		if !slices.Equal(order2, want) {
			t.Fatalf("order %v, want %v", order2, want)
		}
		if _, err := NewGraph(order2, after2); err != nil {
			t.Fatal(err)
		}
		before, now := ancestors(order, after), ancestors(order2, after2)
		for _, p := range order2 {
			for _, q := range order2 {
				if before[p][q] != now[p][q] {
					t.Fatalf("%s after %s: %v, was %v", p, q, now[p][q], before[p][q])
				}
			}
			preds := after2[p]
			if len(slices.Compact(slices.Sorted(slices.Values(preds)))) != len(preds) {
				t.Fatalf("%s has doubles: %v", p, preds)
			}
			for _, q := range preds {
				if !keep[q] {
					t.Fatalf("%s is after %s, which was dropped", p, q)
				}
			}
		}
	})
}

func TestNewGraphRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order []string
		after map[string][]string
		want  string
	}{
		"duplicate":   {[]string{"/a", "/a"}, nil, "/a is there twice"},
		"wrong order": {[]string{"/a", "/b"}, map[string][]string{"/a": {"/b"}}, "/b is not before /a"},
		"itself":      {[]string{"/a"}, map[string][]string{"/a": {"/a"}}, "/a is not before /a"},
	} {
		if _, err := NewGraph(c.order, c.after); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	g := mustGraph(t, []string{"/a", "/b"}, map[string][]string{"/b": {"/x", "/a", "/a"}})
	if got := g.Predecessors("/b"); !slices.Equal(got, []string{"/a"}) {
		t.Errorf("Predecessors = %v", got)
	}
	if _, err := Sort([]string{"/a", "/a"}, nil); err == nil {
		t.Error("Sort takes a duplicate")
	}
}

// Thousands of nodes must not take a quadratic time: 20,000 in a chain, with hubs,
// all but a few of them dropped.
func TestGraphScales(t *testing.T) {
	t.Parallel()
	const n = 20_000
	nodes := make([]string, n)
	after := map[string][]string{}
	for i := range n {
		nodes[i] = fmt.Sprintf("/s%05d", i)
		if i > 0 {
			after[nodes[i]] = append(after[nodes[i]], nodes[i-1])
		}
		if i > 100 {
			after[nodes[i]] = append(after[nodes[i]], nodes[0], nodes[i%100])
		}
	}
	start := time.Now()
	order, err := Sort(nodes, after)
	if err != nil {
		t.Fatal(err)
	}
	order2, after2 := Reduce(order, after, func(p string) bool { return strings.HasSuffix(p, "00") })
	g := mustGraph(t, order2, after2)
	if len(g.Order()) != n/100 {
		t.Errorf("%d nodes", len(g.Order()))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
