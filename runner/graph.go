package runner

import (
	"fmt"
	"slices"
	"strings"
)

// Graph is the order between the selected stacks: a total order that is run
// with one stack at a time, and the edges that have to be kept with several.
// It does not change.
type Graph struct {
	order []string
	index map[string]int
	preds [][]int // ascending, so "first predecessor" is first in order
	succs [][]int
}

// NewGraph makes a graph of the stacks in order, which has to be a valid order of
// execution. after has each one's direct predecessors; those that are not in
// order do not count. A stack that stands twice in order, or before one of its
// predecessors, is an error.
func NewGraph(order []string, after map[string][]string) (*Graph, error) {
	g := &Graph{
		order: slices.Clone(order),
		index: make(map[string]int, len(order)),
		preds: make([][]int, len(order)),
		succs: make([][]int, len(order)),
	}
	for i, p := range order {
		if _, ok := g.index[p]; ok {
			return nil, fmt.Errorf("order of stacks: %s is there twice", p)
		}
		g.index[p] = i
	}
	for i, p := range order {
		for _, q := range after[p] {
			j, ok := g.index[q]
			if !ok {
				continue
			}
			if j >= i {
				return nil, fmt.Errorf("order of stacks: %s is not before %s, which comes after it", q, p)
			}
			g.preds[i] = append(g.preds[i], j)
		}
		slices.Sort(g.preds[i])
		g.preds[i] = slices.Compact(g.preds[i])
		for _, j := range g.preds[i] {
			g.succs[j] = append(g.succs[j], i)
		}
	}
	return g, nil
}

// Order returns the paths of all stacks in order of execution.
func (g *Graph) Order() []string { return slices.Clone(g.order) }

// Predecessors returns the direct predecessors of a stack in order of
// execution, none for a path that is not in the graph.
func (g *Graph) Predecessors(path string) []string {
	i, ok := g.index[path]
	if !ok {
		return nil
	}
	preds := make([]string, len(g.preds[i]))
	for k, j := range g.preds[i] {
		preds[k] = g.order[j]
	}
	return preds
}

// Reverse returns the graph of Terramate's --reverse: the order from its end, and
// every edge turned, so that what depends on a stack is run before it.
func (g *Graph) Reverse() *Graph {
	n := len(g.order)
	r := &Graph{
		order: slices.Clone(g.order),
		index: make(map[string]int, n),
		preds: make([][]int, n),
		succs: make([][]int, n),
	}
	slices.Reverse(r.order)
	turn := func(list []int) []int {
		out := make([]int, len(list))
		for k, j := range list {
			out[len(list)-1-k] = n - 1 - j
		}
		return out
	}
	for i, p := range r.order {
		r.index[p] = i
		r.preds[i] = turn(g.succs[n-1-i])
		r.succs[i] = turn(g.preds[n-1-i])
	}
	return r
}

// CycleError says that there is no order: each stack of Path has to run after the
// next one, and the last is the first.
type CycleError struct{ Path []string }

func (e *CycleError) Error() string {
	return "stacks wait for each other: " + strings.Join(e.Path, " -> ") + " (each after the next)"
}

// Sort returns nodes in Terramate's order of execution (calcTopologicalOrder of
// run/dag/dag.go, v0.17.2): those without predecessors sorted, then, for one
// after the other, the sorted ones that it was the last to hold back. after has
// each node's direct predecessors; those that are not in nodes do not count.
// The error is a [*CycleError], or says which node is there twice.
func Sort(nodes []string, after map[string][]string) ([]string, error) {
	// Numbered by name, so that sorting a batch compares integers.
	names := slices.Clone(nodes)
	slices.Sort(names)
	index := make(map[string]int, len(names))
	for i, p := range names {
		if i > 0 && names[i-1] == p {
			return nil, fmt.Errorf("order of stacks: %s is there twice", p)
		}
		index[p] = i
	}
	pending := make([]int, len(names))
	succs := make([][]int, len(names))
	for i, p := range names {
		for _, q := range after[p] {
			if j, ok := index[q]; ok {
				pending[i]++
				succs[j] = append(succs[j], i)
			}
		}
	}
	queue := make([]int, 0, len(names))
	for i := range names {
		if pending[i] == 0 {
			queue = append(queue, i)
		}
	}
	for head := 0; head < len(queue); head++ {
		batch := len(queue)
		for _, j := range succs[queue[head]] {
			if pending[j]--; pending[j] == 0 {
				queue = append(queue, j)
			}
		}
		slices.Sort(queue[batch:])
	}
	if len(queue) < len(names) {
		return nil, &CycleError{Path: findCycle(names, index, pending, after)}
	}
	order := make([]string, len(queue))
	for k, i := range queue {
		order[k] = names[i]
	}
	return order, nil
}

// findCycle walks back from a node that Sort could not place. All of those have
// a predecessor that it could not place either, so the walk meets itself.
func findCycle(names []string, index map[string]int, pending []int, after map[string][]string) []string {
	at := slices.IndexFunc(pending, func(n int) bool { return n > 0 })
	seen := map[int]int{}
	var walk []int
	for {
		if start, ok := seen[at]; ok {
			walk = walk[start:]
			break
		}
		seen[at] = len(walk)
		walk = append(walk, at)
		next := -1
		for _, q := range after[names[at]] {
			if j, ok := index[q]; ok && pending[j] > 0 && (next < 0 || j < next) {
				next = j
			}
		}
		at = next
	}
	// From its first node by name, so that the message stays the same.
	first := slices.Index(walk, slices.Min(walk))
	path := make([]string, 0, len(walk)+1)
	for k := range len(walk) + 1 {
		path = append(path, names[walk[(first+k)%len(walk)]])
	}
	return path
}

// Reduce drops the nodes that keep refuses from order, which has to be a valid
// order of execution, and from after. What came after a dropped one then comes
// after what the dropped one came after, as with Terramate's Reduce (run/dag/dag.go).
// Predecessors are listed once, in order of execution. The arguments stay as they
// are.
func Reduce(order []string, after map[string][]string, keep func(string) bool) (order2 []string, after2 map[string][]string) {
	index := make(map[string]int, len(order))
	kept := make([]bool, len(order))
	order2 = make([]string, 0, len(order))
	for i, p := range order {
		index[p] = i
		if kept[i] = keep(p); kept[i] {
			order2 = append(order2, p)
		}
	}
	after2 = make(map[string][]string, len(order2))
	eff := make([][]int, len(order)) // kept predecessors, over dropped ones; shared, never changed
	mark := make([]int, len(order))  // i+1: listed for node i already
	for i, p := range order {
		var list []int
		shared := false
		for _, q := range after[p] {
			j, ok := index[q]
			if !ok || j >= i {
				continue
			}
			if !kept[j] && len(after[p]) == 1 {
				list, shared = eff[j], true // a chain of dropped ones costs nothing
				break
			}
			from := []int{j}
			if !kept[j] {
				from = eff[j]
			}
			for _, k := range from {
				if mark[k] != i+1 {
					mark[k] = i + 1
					list = append(list, k)
				}
			}
		}
		if !shared {
			slices.Sort(list)
		}
		eff[i] = list
		if kept[i] && len(list) > 0 {
			names := make([]string, len(list))
			for n, k := range list {
				names[n] = order[k]
			}
			after2[p] = names
		}
	}
	return order2, after2
}

// Without is the graph of the stacks that are not in drop. What came after one of
// these comes after what that one came after.
func (g *Graph) Without(drop map[string]bool) *Graph {
	after := make(map[string][]string, len(g.order))
	for _, p := range g.order {
		after[p] = g.Predecessors(p)
	}
	order, after := Reduce(g.order, after, func(p string) bool { return !drop[p] })
	out, err := NewGraph(order, after)
	if err != nil {
		panic(err) // a part of a valid order is one
	}
	return out
}
