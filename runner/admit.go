package runner

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"time"
)

// Admission is what [Options.Admit] answers for a stack that is ready. The zero value
// lets it start.
type Admission struct {
	// Later puts the stack off: it is asked about again after so long, and others
	// that are ready go first. Reason says what it waits for; a Held event tells
	// the observer.
	Later time.Duration
	// Status, if set, ends the stack, which is not started: StatusSkipped,
	// StatusBlocked, StatusCanceled or StatusFailed. Of a blocked one, what depends on it is
	// blocked by Cause or, where that is empty, by the stack itself, for the reason Onward.
	Status Status
	Cause  string
	Reason string
	Onward string
	// Hold, if set, is what the stack may run under. When it ends before the
	// stack has, its child is interrupted, and killed Options.KillAfter later; the
	// stack is canceled, for the reason that is the context's cause.
	Hold context.Context
}

// held is a stack that was put off.
type held struct {
	i   int
	due time.Time
}

// admit asks about the stacks that are ready, as many as there is room for. One
// question at a time: what gets ready meanwhile is asked about together.
func (x *execution) admit() {
	if x.asking > 0 || len(x.ready) == 0 {
		return
	}
	var ask []int
	var stacks []Stack
	for len(x.ready) > 0 && x.running+len(ask) < x.opt.Parallel {
		i := heap.Pop(&x.ready).(int)
		ask, stacks = append(ask, i), append(stacks, x.tasks[i].Stack)
	}
	if len(ask) == 0 {
		return
	}
	x.asking = len(ask)
	go func() {
		answers, err := x.opt.Admit(x.prepare, stacks)
		x.do(func() {
			x.asking = 0
			if err != nil {
				x.fail(err, oneLine(err.Error()))
			}
			for k, i := range ask {
				var a Admission
				if err == nil {
					a = answers[k]
				}
				x.admitted(i, a)
			}
		})
	}()
}

// askAhead asks about who comes after a stack that succeeded, while that is recorded. Nothing may depend on
// the stack: what does could be the next in order.
func (x *execution) askAhead(i int, r Result) {
	if r.Status != StatusOK || len(x.g.succs[i]) > 0 || x.opt.Admit == nil {
		return
	}
	if x.pollSignals(); x.haltReason == "" {
		x.admit()
	}
}

// upcoming are stacks that are ready and that nobody was asked about yet, the first in
// order.
func (x *execution) upcoming(most int) (stacks []Stack) {
	x.do(func() {
		ready := slices.Clone(x.ready)
		for len(stacks) < most && len(ready) > 0 {
			stacks = append(stacks, x.tasks[heap.Pop(&ready).(int)].Stack)
		}
	})
	return stacks
}

func (x *execution) admitted(i int, a Admission) {
	switch {
	case x.haltReason != "":
		x.finish(i, x.notStarted(time.Time{}))
	case a.Status != "":
		if a.Status == StatusBlocked {
			x.cause[i] = Cause{cmp.Or(a.Cause, x.g.order[i]), a.Onward}
		}
		x.finish(i, Result{Status: a.Status, Exit: -1, Cause: a.Cause, Reason: a.Reason})
	case a.Later > 0:
		x.held = append(x.held, held{i, time.Now().Add(a.Later)})
		x.observe(Event{Kind: Held, Wait: a.Later, Result: Result{Stack: x.tasks[i].Stack, Exit: -1, Reason: a.Reason}})
	default:
		x.hold[i] = a.Hold
		x.start(i)
	}
}

// wake makes ready again what was put off until now, or all of it once nothing
// further starts, and returns what the loop is to wait on for the next.
func (x *execution) wake() <-chan time.Time {
	var next time.Time
	now := time.Now()
	x.held = slices.DeleteFunc(x.held, func(h held) bool {
		if x.haltReason != "" || !h.due.After(now) {
			heap.Push(&x.ready, h.i)
			return true
		}
		if next.IsZero() || h.due.Before(next) {
			next = h.due
		}
		return false
	})
	if next.IsZero() {
		return nil
	}
	return time.After(next.Sub(now))
}
