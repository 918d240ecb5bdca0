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

// Limits are how a run may be divided.
type Limits struct {
	Jobs   int           // legs of a level at most; less than 1: one for each stack
	Levels int           // at most; less than 1: as many as the longest chain of stacks has
	MinLeg time.Duration // a machine is worth no less: a shorter leg is alone in its level
}

// Pack divides the stacks of g into legs, in the order of their levels. took is
// how long a stack is expected to take.
//
// The legs of a level are of lengths that are as even as the longest stack lets
// them be. Where there are too many levels, or one is shorter than a leg may be,
// levels that follow each other become one, and then a leg
// holds all or none of the stacks that are tied to each other in it. So jobs
// that start when those of lower levels have ended wait for nobody, however few
// run at once.
func Pack(g *runner.Graph, took func(path string) time.Duration, limits Limits) []Leg {
	order := g.Order()
	p := &packing{preds: predecessors(g, order), took: make([]time.Duration, len(order)), limits: limits, root: make([]int, len(order)), level: make([]int, len(order))}
	for i, path := range order {
		p.took[i] = max(took(path), 0)
	}
	var legs []Leg
	of := make([]int, len(order)) // the leg of each stack
	for n, l := range p.levels() {
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
	preds  [][]int // of each stack in order of execution, by index
	took   []time.Duration
	limits Limits
	root   []int // of union-find, while a level is looked at
	level  []int // i+1: node i belongs to the level that is looked at
	round  int
}

// unit is what has to stay in one leg.
type unit struct {
	nodes []int
	took  time.Duration
}

type level struct {
	nodes []int         // ascending
	cost  time.Duration // how long it takes at least
	sum   time.Duration // of what its stacks take
}

// levels divides the nodes by the longest chain that leads to them, and then
// joins neighbours, where that lengthens the whole least, until there are few enough
// and none is shorter than a leg may be.
func (p *packing) levels() []level {
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
	for i := range all {
		all[i] = p.weigh(all[i].nodes)
	}
	tooMany := func() bool { return p.limits.Levels > 0 && len(all) > p.limits.Levels }
	short := func(l level) bool { return l.sum < p.limits.MinLeg }
	if !tooMany() && !slices.ContainsFunc(all, short) {
		return all
	}
	join := func(i int) level {
		nodes := slices.Concat(all[i].nodes, all[i+1].nodes)
		slices.Sort(nodes)
		return p.weigh(nodes)
	}
	joined := make([]level, len(all)-1) // of i and i+1
	for i := range joined {
		joined[i] = join(i)
	}
	for len(all) > 1 && (tooMany() || slices.ContainsFunc(all, short)) {
		best := -1
		for i := range joined {
			if !tooMany() && !short(all[i]) && !short(all[i+1]) {
				continue
			}
			// Of joins that cost the same the smallest, so that they stay even.
			longer := func(i int) time.Duration { return joined[i].cost - all[i].cost - all[i+1].cost }
			if best < 0 || cmp.Or(cmp.Compare(longer(i), longer(best)), cmp.Compare(len(joined[i].nodes), len(joined[best].nodes))) < 0 {
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

// weigh is the level of some nodes.
func (p *packing) weigh(nodes []int) level {
	l := level{nodes: nodes}
	units := p.units(nodes)
	for _, u := range units {
		l.cost = max(l.cost, u.took)
		l.sum += u.took
	}
	l.cost = max(l.cost, l.sum/time.Duration(p.width(len(units), l.sum)))
	return l
}

// width is how many legs a level has.
func (p *packing) width(units int, sum time.Duration) int {
	if p.limits.Jobs > 0 {
		units = min(units, p.limits.Jobs)
	}
	if p.limits.MinLeg > 0 {
		units = min(units, int(sum/p.limits.MinLeg))
	}
	return max(units, 1)
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

// bins divides a level among as many jobs as there may be and are worth it. Bins are in
// the order of their first node.
func (p *packing) bins(l level) (bins [][]int) {
	units := p.units(l.nodes)
	slices.SortStableFunc(units, func(a, b unit) int { return cmp.Compare(b.took, a.took) })
	for n := p.width(len(units), l.sum); ; n-- {
		var least time.Duration
		if bins, least = share(units, n); n == 1 || least >= p.limits.MinLeg {
			break
		}
	}
	for _, b := range bins {
		slices.Sort(b)
	}
	slices.SortFunc(bins, func(a, b []int) int { return a[0] - b[0] })
	return bins
}

// share divides units, the longest first, each to who has least to do, and says how much
// that one has in the end (LPT: at most 4/3 of the best there is; R. L. Graham, Bounds on
// Multiprocessing Timing Anomalies, 1969).
func share(units []unit, n int) (bins [][]int, least time.Duration) {
	free := make(loads, n)
	for i := range free {
		free[i].bin = i
	}
	bins = make([][]int, n)
	for _, u := range units {
		bin := free[0].bin
		bins[bin] = append(bins[bin], u.nodes...)
		free[0].took += u.took
		free[0].stacks += len(u.nodes)
		heap.Fix(&free, 0)
	}
	return bins, free[0].took
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
