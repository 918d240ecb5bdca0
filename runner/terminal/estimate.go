package terminal

import (
	"container/heap"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// left estimates how long the rest of the run takes: if every stack takes what it
// took the last time that it succeeded, or the median of these where that is not
// known, if they start as the runner starts them, and if none fails. There is no
// estimate unless that is known of half of the stacks that are not done.
func (l *View) left(now time.Time) (time.Duration, bool) {
	if now.Sub(l.leftSince) >= time.Second || l.leftSince.IsZero() {
		l.leftSince = now
		var median time.Duration
		if median, l.leftKnown = l.median(); l.leftKnown {
			l.leftAt = now.Add(l.simulate(now, median))
		}
	}
	return max(l.leftAt.Sub(now), 0), l.leftKnown
}

// median is what a stack takes, for those of which that is not known. There is none unless
// it is known of half of the stacks that are not done.
func (l *View) median() (time.Duration, bool) {
	var known []time.Duration
	open, told := 0, 0
	for i := range l.stacks {
		switch s := &l.stacks[i]; {
		case s.doomed:
		case s.final():
			if s.status == runner.StatusOK || s.status == runner.StatusDrifted {
				known = append(known, s.result.Took)
			}
		default:
			if open++; s.usual > 0 {
				told++
				known = append(known, s.usual)
			}
		}
	}
	if open == 0 || 2*told < open {
		return 0, false
	}
	slices.Sort(known)
	return known[len(known)/2], true
}

// simulate runs what is left on paper.
func (l *View) simulate(now time.Time, median time.Duration) time.Duration {
	// Times are from now on.
	pending := make([]int, len(l.stacks))
	succs := make([][]int, len(l.stacks))
	var ready, ends agenda // of those that are ready the time does not count
	wave, later := l.wave(), make([]agenda, len(l.waves))
	readied := func(i int) {
		if k := l.stacks[i].wave; k > wave {
			heap.Push(&later[k], simulated{i: i})
		} else {
			heap.Push(&ready, simulated{i: i})
		}
	}
	for i := range l.stacks {
		s := &l.stacks[i]
		if s.final() || s.doomed {
			continue
		}
		for _, p := range s.preds {
			if !l.stacks[p].final() {
				pending[i]++
				succs[p] = append(succs[p], i)
			}
		}
		takes := s.takes(median)
		switch {
		case s.status == runner.StatusRunning:
			// One that takes longer than it used to has an end all the same.
			heap.Push(&ends, simulated{max(takes-now.Sub(s.started), takes/10), i})
		case pending[i] == 0:
			readied(i)
		}
	}
	var at time.Duration
	for {
		for len(ready) > 0 && len(ends) < max(l.parallel, 1) {
			i := heap.Pop(&ready).(simulated).i
			heap.Push(&ends, simulated{at + l.stacks[i].takes(median), i})
		}
		if len(ends) == 0 {
			// The next wave that has something to run.
			for wave++; wave < len(later) && len(later[wave]) == 0; wave++ {
			}
			if wave >= len(later) {
				return at
			}
			ready, at = later[wave], at+l.soak
			continue
		}
		e := heap.Pop(&ends).(simulated)
		at = e.at
		for _, s := range succs[e.i] {
			if pending[s]--; pending[s] == 0 {
				readied(s)
			}
		}
	}
}

func (s *liveStack) takes(unknown time.Duration) time.Duration {
	if s.usual > 0 {
		return s.usual
	}
	return unknown
}

// simulated is a stack with the time at which something happens to it.
type simulated struct {
	at time.Duration
	i  int
}

// agenda has on top what is to come first, at the same time the first in order.
type agenda []simulated

func (a agenda) Len() int { return len(a) }

func (a agenda) Less(x, y int) bool {
	return a[x].at < a[y].at || a[x].at == a[y].at && a[x].i < a[y].i
}

func (a agenda) Swap(x, y int) { a[x], a[y] = a[y], a[x] }

func (a *agenda) Push(v any) { *a = append(*a, v.(simulated)) }

func (a *agenda) Pop() any {
	old := *a
	v := old[len(old)-1]
	*a = old[:len(old)-1]
	return v
}
