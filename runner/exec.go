package runner

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Execute runs the tasks along g and returns, in g's order, a result for every
// stack that is not skipped. It returns when all children have ended and nothing
// of its own runs any more. An error before anything was run: a stack without
// a task, a task without a command, or an empty one.
//
// Stacks that are ready start in g's order, so with one at a time exactly in g's
// order. A failed stack blocks what depends on it, directly or not, and nothing
// else; its dependents get StatusBlocked with the stack that failed as Cause (the
// one behind the first predecessor in g's order, if several failed), but for those
// that run regardless.
//
// The first signal, or the end of ctx (as a SIGINT), stops the run: no stack and
// no further try or command of a stack is started, what was not done is canceled,
// unless it is blocked.
// Interrupted is observed, then each child gets the signal once; a second signal
// is passed on likewise, also while Interrupted is still being observed, and a
// third kills. A stack whose last command ends afterwards is ok if its exit code is
// 0, else canceled. ctx must not be one that the same signals end
// (signal.NotifyContext): they would be passed on twice.
//
// observe is called from one goroutine at a time. Started of a stack is observed,
// and has returned, before its child is started, Finished before a dependent's
// Started. If observe returns an error the run is stopped as above, but for the
// signals: children that run may finish, their events are still observed, and
// Execute returns the first such error with the results.
func Execute(ctx context.Context, g *Graph, tasks map[string]Task, opt Options, observe func(Event) error) ([]Result, error) {
	opt.Parallel = max(opt.Parallel, 1)
	if observe == nil {
		observe = func(Event) error { return nil }
	}
	n := len(g.order)
	x := &execution{
		g:        g,
		tasks:    make([]Task, n),
		opt:      opt,
		observer: observe,
		out:      newOutput(opt),
		results:  make([]Result, n),
		cause:    make([]Cause, n),
		hold:     make([]context.Context, n),
		pending:  make([]int, n),
		calls:    make(chan func()),
		halt:     make(chan struct{}),
		children: map[*child]struct{}{},
	}
	for i, p := range g.order {
		x.pending[i] = len(g.preds[i])
		task, ok := tasks[p]
		_, blocked := opt.Blocked[p]
		if !opt.Skip[p] && !blocked && !task.complete() {
			return nil, fmt.Errorf("stack %s has no command to run", p)
		}
		if !ok {
			task.Stack.Path = p
		}
		x.tasks[i] = task
	}
	if opt.Upcoming != nil {
		opt.Upcoming(x.upcoming)
	}
	x.prepare, x.stopPreparing = context.WithCancel(context.WithoutCancel(ctx))
	x.loop(ctx.Done())
	x.stopPreparing()

	results := make([]Result, 0, n)
	for i, p := range g.order {
		if !opt.Skip[p] {
			results = append(results, x.results[i])
		}
	}
	return results, x.err
}

// execution is one call of Execute. What is not said to be otherwise belongs to
// the goroutine of loop; that of a running stack has it do what concerns this
// state, by do. So neither the state nor observe needs a lock.
type execution struct {
	g        *Graph
	tasks    []Task // by index in g's order, as all slices here
	opt      Options
	observer func(Event) error
	out      *output

	prepare       context.Context // of Command.Prepare
	stopPreparing context.CancelFunc

	results []Result          // Status is empty until it is final
	cause   []Cause           // what the stack hands on to its dependents; the zero value if there is nothing
	pending []int             // predecessors that are not final
	arrived indices           // without such predecessors, not looked at yet
	ready   indices           // may start
	running int               // goroutines of runStack
	asking  int               // stacks that Options.Admit is asked about now
	held    []held            // stacks that it put off
	hold    []context.Context // what each may run under, by Options.Admit

	calls      chan func()
	halt       chan struct{} // closed when nothing further is to start
	haltReason string        // set then
	haltCause  string        // the stack whose failure was one too many for Options.StopAfter
	failures   int
	signals    int   // interrupts so far
	err        error // first error of observe

	starting sync.RWMutex // read-held from the look at halted until a child is among children
	halted   bool         // no child is started any more

	mu       sync.Mutex
	children map[*child]struct{} // those that a signal is passed on to
}

func (x *execution) loop(ended <-chan struct{}) {
	for i, p := range x.g.order {
		if cause, ok := x.opt.Blocked[p]; ok && !x.opt.Skip[p] {
			x.finishBlocked(i, cause)
		}
		if x.pending[i] == 0 {
			heap.Push(&x.arrived, i)
		}
	}
	for {
		select {
		case <-ended:
			ended = nil
			x.contextEnded()
		default:
		}
		due := x.wake()
		x.advance()
		if x.haltReason != "" && len(x.held) > 0 {
			continue
		}
		if x.running+x.asking+len(x.held) == 0 {
			return
		}
		select {
		case call := <-x.calls:
			// A signal that was there before the child ended explains its end.
			x.pollSignals()
			call()
		case sig, ok := <-x.opt.Signals:
			x.received(sig, ok)
		case <-due:
		case <-ended:
			ended = nil
			x.contextEnded()
		}
	}
}

// do has the loop call f, and returns when it has.
func (x *execution) do(f func()) {
	done := make(chan struct{})
	x.calls <- func() { f(); close(done) }
	<-done
}

// advance decides on all stacks that can be decided on, and starts what may start.
func (x *execution) advance() {
	for {
		for len(x.arrived) > 0 {
			x.arrive(heap.Pop(&x.arrived).(int))
		}
		if len(x.ready) == 0 {
			return
		}
		x.pollSignals()
		switch {
		case x.haltReason != "":
			x.finish(heap.Pop(&x.ready).(int), x.notStarted(time.Time{}))
		case x.opt.Admit != nil && !x.opt.DryRun:
			x.admit()
			return
		case x.running < x.opt.Parallel:
			x.start(heap.Pop(&x.ready).(int))
		default:
			return
		}
	}
}

// arrive looks at a stack whose predecessors are all final.
func (x *execution) arrive(i int) {
	var cause Cause
	for _, p := range x.g.preds[i] {
		if cause = x.cause[p]; cause.Path != "" {
			break
		}
	}
	switch {
	case x.opt.Skip[x.g.order[i]]:
		x.cause[i] = cause
		x.release(i)
	case x.results[i].Status == StatusBlocked: // from the start
		x.release(i)
	case cause.Path != "" && !x.tasks[i].Regardless:
		x.finishBlocked(i, cause)
		x.release(i)
	default:
		x.cause[i] = cause // to be handed on
		heap.Push(&x.ready, i)
	}
}

// release tells the dependents of a stack that it is final.
func (x *execution) release(i int) {
	for _, s := range x.g.succs[i] {
		if x.pending[s]--; x.pending[s] == 0 {
			heap.Push(&x.arrived, s)
		}
	}
}

func (x *execution) finishBlocked(i int, cause Cause) {
	x.cause[i] = cause
	x.results[i] = Result{Stack: x.tasks[i].Stack, Status: StatusBlocked, Exit: -1, Cause: cause.Path, Reason: cause.Reason}
	x.observe(Event{Kind: Finished, Result: x.results[i]})
}

func (x *execution) finish(i int, r Result) {
	r.Stack = x.tasks[i].Stack
	x.results[i] = r
	if r.Status == StatusFailed || r.Status == StatusCanceled && x.haltReason == "" {
		x.cause[i] = Cause{Path: x.g.order[i]}
		x.failures++
		switch {
		case x.haltReason != "":
		case x.opt.FailFast:
			x.stop(x.g.order[i] + " failed")
		case x.failures == x.opt.StopAfter:
			x.haltCause = x.g.order[i]
			x.stop("stopped after " + countFailures(x.failures))
		}
	}
	x.observe(Event{Kind: Finished, Result: r})
	x.release(i)
}

func countFailures(n int) string {
	if n == 1 {
		return "1 failure"
	}
	return fmt.Sprintf("%d failures", n)
}

// notStarted is the result of a stack whose command was not started because the run
// was stopped.
func (x *execution) notStarted(started time.Time) Result {
	if x.haltCause != "" {
		return Result{Status: StatusBlocked, Exit: -1, Started: started, Cause: x.haltCause, Reason: x.haltReason}
	}
	return Result{Status: StatusCanceled, Exit: -1, Started: started, Reason: "not started: " + x.haltReason}
}

func (x *execution) start(i int) {
	r := Result{Stack: x.tasks[i].Stack, Status: StatusRunning, Exit: -1, Started: time.Now(), Tries: 1}
	x.observe(Event{Kind: Started, Result: r})
	switch {
	case x.opt.DryRun:
		x.results[i] = Result{Stack: r.Stack, Exit: -1}
		x.release(i)
	case x.haltReason != "": // it is not on record
		x.finish(i, x.notStarted(r.Started))
	default:
		x.running++
		go x.runStack(i, r.Started)
	}
}

// runStack runs a started stack to its end, in a goroutine of its own.
func (x *execution) runStack(i int, started time.Time) {
	t := x.tasks[i]
	out := x.out.open(t, started)
	r := Result{Stack: t.Stack, Started: started}
	envs := x.environments(t)
	for again := true; again; {
		if r.Tries > 0 {
			out.logLine(fmt.Appendf(nil, "tmnotes: try %d", r.Tries+1))
		}
		var wait time.Duration
		o := x.try(t, x.hold[i], envs, out)
		if o.notStarted && o.done == 0 && r.Tries > 0 {
			break // the run was stopped: the last try stands
		}
		if o.begun {
			r.Tries++
		}
		x.do(func() { wait, again = x.judge(&r, t, o) })
		if again {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-x.halt:
				timer.Stop()
				again = false
			}
		}
	}
	out.close(r)
	if t.After != nil && r.Tries > 0 {
		t.After(x.prepare, r)
	}
	x.do(func() {
		x.running--
		x.askAhead(i, r)
		x.finish(i, r)
	})
}

// judge says what a try came to, and whether and when there is to be another.
func (x *execution) judge(r *Result, t Task, o outcome) (wait time.Duration, again bool) {
	r.Status, r.Exit, r.Signal, r.Reason, r.At, r.Last = StatusFailed, o.exit, o.signal, o.reason, o.at, o.last
	r.Took = time.Since(r.Started)
	if o.ok() {
		r.Status, r.Reason = StatusOK, ""
		return 0, false
	}
	if x.opt.Foreground && x.signals == 0 && o.diedOfInterrupt() {
		x.awaitSignal(interruptGrace)
	}
	switch {
	case o.lost:
		r.Status = StatusCanceled
	case o.notStarted && o.done > 0:
		r.Status, r.Reason = StatusCanceled, fmt.Sprintf("stopped after %d of %d commands: %s", o.done, len(t.Commands), x.haltReason)
	case o.notStarted:
		not := x.notStarted(r.Started)
		r.Status, r.Cause, r.Reason = not.Status, not.Cause, not.Reason
	case x.signals > 0:
		r.Status, r.Reason = StatusCanceled, x.haltReason
	case o.changes == StatusOK:
		r.Status, r.Exit, r.Reason = StatusOK, 0, ""
	case o.changes != "":
		r.Status, r.Reason = o.changes, ""
	case r.Tries <= x.opt.Retries && !o.final && x.haltReason == "" && (x.opt.RetryOn == nil || o.matched):
		backoff := x.opt.Backoff
		if backoff == nil {
			backoff = fullJitter
		}
		wait = max(backoff(r.Tries), 0)
		x.observe(Event{Kind: Retrying, Result: *r, Wait: wait})
		return wait, x.haltReason == ""
	}
	return 0, false
}

// fullJitter is the default of Options.Backoff.
func fullJitter(try int) time.Duration {
	return rand.N(min(time.Second<<min(try-1, 10), 30*time.Second) + 1)
}

// observe tells the observer, and stops the run where it cannot take it.
func (x *execution) observe(ev Event) { x.observed(x.observer(ev)) }

func (x *execution) observed(err error) {
	if err != nil {
		x.fail(err, "the results cannot be recorded")
	}
}

// fail stops the run for an error that is Execute's.
func (x *execution) fail(err error, reason string) {
	if x.err == nil {
		x.err = err
	}
	x.stop(reason)
}

// stop sees to it that nothing further starts.
func (x *execution) stop(reason string) {
	if x.haltReason != "" {
		return
	}
	x.haltReason = reason
	close(x.halt)
	x.starting.Lock() // so all that run are in children when this returns
	x.halted = true
	x.starting.Unlock()
}

// indices is a heap of node numbers, the first in order on top.
type indices []int

func (h indices) Len() int           { return len(h) }
func (h indices) Less(a, b int) bool { return h[a] < h[b] }
func (h indices) Swap(a, b int)      { h[a], h[b] = h[b], h[a] }
func (h *indices) Push(v any)        { *h = append(*h, v.(int)) }
func (h *indices) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}
