package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// blockedBy is, for what depends on a stack that failed, is held, or was canceled by itself, the
// one that did so in the first place.
func (r *rollout) blockedBy(came map[string]runner.Result, canceled bool) map[string]runner.Cause {
	cause := map[string]runner.Cause{}
	for _, p := range r.graph.Order() {
		switch res, has := came[p]; {
		case has && (res.Status == runner.StatusFailed || res.Status == runner.StatusCanceled && canceled):
			cause[p] = runner.Cause{Path: p}
		case has && res.Status == runner.StatusBlocked:
			cause[p] = onward(res)
		case has && !r.tasks[p].Regardless:
		default:
			for _, q := range r.graph.Predecessors(p) {
				if cause[p] = cause[q]; cause[p].Path != "" {
					break
				}
			}
		}
	}
	return cause
}

// rollout is one execution of the waves.
type rollout struct {
	*Waves
	n        *Session
	graph    *runner.Graph
	tasks    map[string]runner.Task
	x        runner.Options
	target   string
	tell     func(runner.Event) error
	over     *runner.Result // set once nothing further starts: what is left becomes that
	failures int
	ended    time.Time // when the last wave that was executed was over
}

// execute runs one wave after the other and returns the results of all of their
// stacks, each of which was observed, also where it was not reached.
func (r *rollout) execute(ctx context.Context) (results []runner.Result, err error) {
	came := map[string]runner.Result{}
	for k := range r.List {
		todo := r.Todo(k, r.x.Skip)
		if len(todo) == 0 {
			continue
		}
		if k > 0 && r.over == nil {
			r.pass(k, todo)
		}
		blocked := r.blockedBy(came, r.over == nil)
		step := r.leave
		if r.over == nil {
			step = func(todo []string, blocked map[string]runner.Cause) ([]runner.Result, error) {
				return r.run(ctx, k, todo, blocked)
			}
		}
		part, failed := step(todo, blocked)
		if err == nil {
			err = failed
		}
		for _, res := range part {
			came[res.Stack.Path] = res
		}
		results = append(results, part...)
	}
	return results, err
}

// run runs the stacks of a wave.
func (r *rollout) run(ctx context.Context, k int, todo []string, blocked map[string]runner.Cause) ([]runner.Result, error) {
	if len(r.Filters) > 0 {
		r.n.Out.Say("wave %s, %d of %d: %s", r.List[k].Name, k+1, len(r.List), runner.Plural(len(todo), "stack"))
	}
	x := Only(r.x, r.graph, todo)
	x.Blocked = map[string]runner.Cause{}
	for _, p := range todo {
		if blocked[p].Path != "" && !r.tasks[p].Regardless {
			x.Blocked[p] = blocked[p]
		}
	}
	if r.Limit.set {
		x.StopAfter = r.allowed(len(todo)) + 1
	}
	results, err := runner.Execute(ctx, r.graph, r.tasks, x, r.observe)
	if err != nil {
		r.over = &runner.Result{Status: runner.StatusCanceled, Reason: "not started: the results cannot be recorded"}
	}
	r.judge(k, results)
	r.ended = time.Now()
	return results, err
}

// leave has the stacks of a wave that is not reached end as those do.
func (r *rollout) leave(todo []string, blocked map[string]runner.Cause) (results []runner.Result, err error) {
	for _, p := range todo {
		res := *r.over
		res.Stack, res.Exit = r.tasks[p].Stack, -1
		if by := blocked[p]; by.Path != "" {
			res.Status, res.Cause, res.Reason = runner.StatusBlocked, by.Path, by.Reason
		}
		if failed := r.observe(runner.Event{Kind: runner.Finished, Result: res}); failed != nil && err == nil {
			err = failed
		}
		results = append(results, res)
	}
	return results, err
}

func (r *rollout) observe(e runner.Event) error {
	if e.Kind == runner.Interrupted {
		r.over = &runner.Result{Status: runner.StatusCanceled, Reason: "not started: interrupted by " + runner.SignalName(e.Signal)}
	}
	return r.tell(e)
}

// allowed is how many failures a wave of so many stacks may have.
func (r *rollout) allowed(stacks int) int {
	if r.Limit.percent {
		return r.Limit.n * stacks / 100
	}
	return max(r.Limit.n-r.failures, 0)
}

// judge decides whether the wave that has ended lets the next one start.
func (r *rollout) judge(k int, results []runner.Result) {
	if r.over != nil {
		return // interrupted
	}
	allowed, failed, cause, held := r.allowed(len(results)), 0, "", ""
	for _, res := range results {
		switch res.Status {
		case runner.StatusFailed, runner.StatusCanceled:
			failed++
			if failed == 1 || r.Limit.set {
				cause, held = res.Stack.Path, ""
			}
		case runner.StatusBlocked:
			if cause == "" {
				by := onward(res)
				cause, held = by.Path, by.Reason
			}
		}
	}
	r.failures += failed
	switch name := r.List[k].Name; {
	case r.Limit.set && failed > allowed:
		for _, res := range results {
			if res.Status == runner.StatusBlocked && res.Reason != "" && onward(res).Reason == "" {
				cause = res.Cause // the one that was one too many
			}
		}
		r.over = &runner.Result{Status: runner.StatusBlocked, Cause: cause, Reason: fmt.Sprintf("the wave %s had %s", name, runner.Plural(failed, "failure"))}
	case cause != "" && (!r.Limit.set || r.x.FailFast):
		if held != "" {
			held += "; "
		}
		r.over = &runner.Result{Status: runner.StatusBlocked, Cause: cause, Reason: fmt.Sprintf("%sthe wave %s is not ok", held, name)}
	}
}

// behind is the wave before one that something was executed in or stands of, and its records. It
// takes down when that was.
func (r *rollout) behind(k int) (before int, records []note.Record) {
	before = k - 1
	for i := k - 1; i >= 0; i-- {
		for _, rec := range r.List[i].stand {
			if rec.At.After(r.ended) {
				r.ended = rec.At
			}
		}
		if len(records) == 0 {
			records = slices.Clone(r.List[i].stand)
			for _, p := range r.List[i].stacks {
				if rec, has := r.came[p]; has {
					records = append(records, rec)
				}
			}
			if len(records) > 0 {
				before = i
			}
		}
	}
	return before, records
}

// pass waits, and asks, before a wave may start, whose stacks are told so.
func (r *rollout) pass(k int, todo []string) {
	hold := func(wait time.Duration, reason string) {
		for _, p := range todo {
			for _, w := range r.n.Watch { // what is said of it is said of the wave
				w(runner.Event{Kind: runner.Held, Wait: wait, Result: runner.Result{Stack: r.tasks[p].Stack, Exit: -1, Reason: reason}})
			}
		}
	}
	before, records := r.behind(k)
	from, to := r.List[before].Name, r.List[k].Name
	if wait := min(r.Soak-time.Since(r.ended), r.Soak); !r.ended.IsZero() && wait > 0 {
		until := time.Now().Add(wait).Format("15:04:05")
		r.n.Out.Say("soaking for %s before the wave %s, until %s", runner.Took(wait), to, until)
		hold(wait, "soaking until "+until)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case sig := <-r.x.Signals:
			_ = r.observe(runner.Event{Kind: runner.Interrupted, Signal: sig})
			return
		}
	}
	if r.Gate == "" {
		return
	}
	// The records it is about are on the disk, and in reach of `tmnotes status`.
	if err := r.n.Store.Flush(context.Background()); err != nil {
		r.n.Out.Warn(err.Error())
	}
	r.n.Out.Say("the gate after the wave %s: %s", from, note.NewRedactor(r.n.Environ).Text(r.Gate, 200))
	hold(0, "for the gate after the wave "+from)
	exit, err := r.ask(from, to, records)
	switch {
	case r.over != nil: // interrupted
	case err != nil:
		r.over = &runner.Result{Status: runner.StatusBlocked, Reason: fmt.Sprintf("the gate after the wave %s could not be asked: %v", from, err)}
	case exit != 0:
		r.over = &runner.Result{Status: runner.StatusBlocked, Reason: fmt.Sprintf("the gate after the wave %s said no (exit code %d)", from, exit)}
	default:
		return
	}
	if r.over.Status == runner.StatusBlocked {
		r.n.Out.Say("%s; no further stacks start", r.over.Reason)
	}
}

// ask runs the gate. Signals are passed on to it as to the command of a stack: the
// first and the second one each once, the third kills it.
func (r *rollout) ask(from, to string, records []note.Record) (exit int, err error) {
	var stdin bytes.Buffer
	enc := json.NewEncoder(&stdin)
	enc.SetEscapeHTML(false)
	for i := range records {
		if err := enc.Encode(records[i]); err != nil {
			return 0, err
		}
	}
	shell := runner.Shell(r.Gate)
	cmd := exec.Command(shell[0], shell[1:]...)
	cmd.Dir = r.n.Store.WorkTree()
	cmd.Env = r.n.with("TMNOTES_WAVE="+from, "TMNOTES_NEXT_WAVE="+to, "TMNOTES_RUN="+r.n.RunID, "TMNOTES_COMMIT="+r.n.Commit.Hash, "TMNOTES_TARGET="+r.target)
	out, resume := r.aside()
	defer resume()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &stdin, out, out
	cmd.WaitDelay = 2 * time.Second // what it leaves behind may hold its output open
	gate, err := runner.StartProgram(cmd, r.x.Foreground)
	if err != nil {
		return 0, err
	}
	signals := 0
	return gate.Wait(r.x.Signals, func(sig os.Signal) {
		switch signals++; signals {
		case 1:
			_ = r.observe(runner.Event{Kind: runner.Interrupted, Signal: sig})
		case 3:
			gate.Kill()
		}
	})
}
