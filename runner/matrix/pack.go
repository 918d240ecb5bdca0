// Package matrix divides a run's stacks among jobs.
package matrix

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// Leg is the part of a graph's stacks that one job does, where several jobs
// share the work.
type Leg struct {
	Level  int           // from 0; the legs of one level have no edges between them
	Stacks []string      // in order of execution
	Needs  []int         // the legs that hold a direct predecessor of any of Stacks, by index, ascending; all of lower levels
	Took   time.Duration // the sum of what its stacks are expected to take
}

// Pack divides the stacks of g into legs, in the order of their levels. took is
// how long a stack is expected to take.
//
// A level has at most jobs legs, of lengths that are as even as the longest
// stack lets them be; jobs less than 1 is one leg for each stack. There are at most so many
// levels; less than 1 is as many as the longest chain of stacks has. Where
// that is too many, levels that follow each other become one, and then a leg
// holds all or none of the stacks that are tied to each other in it. So jobs
// that start when those of lower levels have ended wait for nobody, however few
// run at once.
func Pack(g *runner.Graph, took func(path string) time.Duration, jobs, levels int) []Leg {
	order := g.Order()
	p := &packing{preds: predecessors(g, order), took: make([]time.Duration, len(order)), jobs: jobs, root: make([]int, len(order)), level: make([]int, len(order))}
	for i, path := range order {
		p.took[i] = max(took(path), 0)
	}
	var legs []Leg
	of := make([]int, len(order)) // the leg of each stack
	for n, l := range p.levels(levels) {
		from := len(legs)
		for _, bin := range p.bins(l) {
			leg := Leg{Level: n}
			for _, i := range bin {
				of[i] = len(legs)
				leg.Stacks = append(leg.Stacks, order[i])
				leg.Took += p.took[i]
				for _, q := range p.preds[i] {
					if of[q] < from {
						leg.Needs = append(leg.Needs, of[q])
					}
				}
			}
			slices.Sort(leg.Needs)
			leg.Needs = slices.Compact(leg.Needs)
			legs = append(legs, leg)
		}
	}
	return legs
}

// predecessors are those of each stack in order, by their places in it, ascending.
func predecessors(g *runner.Graph, order []string) [][]int {
	index := make(map[string]int, len(order))
	for i, path := range order {
		index[path] = i
	}
	all := make([][]int, len(order))
	for i, path := range order {
		for _, before := range g.Predecessors(path) {
			all[i] = append(all[i], index[before])
		}
		slices.Sort(all[i])
	}
	return all
}

type packing struct {
	preds [][]int // of each stack in order of execution, by index
	took  []time.Duration
	jobs  int
	root  []int // of union-find, while a level is looked at
	level []int // i+1: node i belongs to the level that is looked at
	round int
}

// unit is what has to stay in one leg.
type unit struct {
	nodes []int
	took  time.Duration
}

type level struct {
	nodes []int // ascending
	cost  time.Duration
}

// levels divides the nodes by the longest chain that leads to them, and then
// joins neighbours, where that lengthens the whole least, until there are few enough.
func (p *packing) levels(most int) []level {
	depth := make([]int, len(p.preds))
	var all []level
	for i, preds := range p.preds {
		for _, q := range preds {
			depth[i] = max(depth[i], depth[q]+1)
		}
		for len(all) <= depth[i] {
			all = append(all, level{})
		}
		all[depth[i]].nodes = append(all[depth[i]].nodes, i)
	}
	if most < 1 || len(all) <= most {
		return all
	}
	for i := range all {
		all[i].cost = p.cost(all[i].nodes)
	}
	join := func(i int) level {
		nodes := slices.Concat(all[i].nodes, all[i+1].nodes)
		slices.Sort(nodes)
		return level{nodes, p.cost(nodes)}
	}
	joined := make([]level, len(all)-1) // of i and i+1
	for i := range joined {
		joined[i] = join(i)
	}
	for len(all) > most {
		best := 0
		for i := range joined {
			// Of joins that cost the same the smallest, so that they stay even.
			longer := func(i int) time.Duration { return joined[i].cost - all[i].cost - all[i+1].cost }
			if cmp.Or(cmp.Compare(longer(i), longer(best)), cmp.Compare(len(joined[i].nodes), len(joined[best].nodes))) < 0 {
				best = i
			}
		}
		all[best] = joined[best]
		all = slices.Delete(all, best+1, best+2)
		joined = slices.Delete(joined, best, best+1)
		for i := best - 1; i <= best; i++ {
			if i >= 0 && i < len(joined) {
				joined[i] = join(i)
			}
		}
	}
	return all
}

// cost is how long a level takes at least.
func (p *packing) cost(nodes []int) time.Duration {
	var longest, all time.Duration
	for _, u := range p.units(nodes) {
		longest = max(longest, u.took)
		all += u.took
	}
	if p.jobs < 1 {
		return longest
	}
	return max(longest, all/time.Duration(p.jobs))
}

// units are the nodes of a level, those that edges join in one.
func (p *packing) units(nodes []int) []unit {
	p.round++
	for _, i := range nodes {
		p.level[i], p.root[i] = p.round, i
	}
	find := func(i int) int {
		for p.root[i] != i {
			p.root[i] = p.root[p.root[i]]
			i = p.root[i]
		}
		return i
	}
	for _, i := range nodes {
		for _, q := range p.preds[i] {
			if p.level[q] == p.round {
				// The smallest is the root, so that units are in order of execution.
				a, b := find(i), find(q)
				p.root[max(a, b)] = min(a, b)
			}
		}
	}
	at := make(map[int]int, len(nodes))
	var units []unit
	for _, i := range nodes {
		r := find(i)
		k, ok := at[r]
		if !ok {
			k = len(units)
			at[r] = k
			units = append(units, unit{})
		}
		units[k].nodes = append(units[k].nodes, i)
		units[k].took += p.took[i]
	}
	return units
}

// bins divides a level among the jobs: the longest first, each to who has least
// to do (LPT: at most 4/3 of the best there is; R. L. Graham, Bounds on
// Multiprocessing Timing Anomalies, 1969). Bins are in the order of their first node.
func (p *packing) bins(l level) [][]int {
	units := p.units(l.nodes)
	slices.SortStableFunc(units, func(a, b unit) int { return cmp.Compare(b.took, a.took) })
	n := len(units)
	if p.jobs > 0 {
		n = min(n, p.jobs)
	}
	free := make(loads, n)
	for i := range free {
		free[i].bin = i
	}
	bins := make([][]int, n)
	for _, u := range units {
		bin := free[0].bin
		bins[bin] = append(bins[bin], u.nodes...)
		free[0].took += u.took
		free[0].stacks += len(u.nodes)
		heap.Fix(&free, 0)
	}
	for _, b := range bins {
		slices.Sort(b)
	}
	slices.SortFunc(bins, func(a, b []int) int { return a[0] - b[0] })
	return bins
}

// loads is a heap of what the bins of a level hold, the emptiest on top. What
// takes no time is shared out by number.
type loads []struct {
	took        time.Duration
	stacks, bin int
}

func (h loads) Len() int { return len(h) }

func (h loads) Less(a, b int) bool {
	return cmp.Or(cmp.Compare(h[a].took, h[b].took), h[a].stacks-h[b].stacks, h[a].bin-h[b].bin) < 0
}

func (h loads) Swap(a, b int) { h[a], h[b] = h[b], h[a] }

func (h *loads) Push(any) { panic("of fixed size") }

func (h *loads) Pop() any { panic("of fixed size") }
