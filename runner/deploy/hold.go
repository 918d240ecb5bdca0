package deploy

import (
	"context"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// What a person holds is not started, nor what depends on it. That is looked at when a stack is about to start, by
// what is recorded here, and once more by what the remote has when the stack is claimed: a hold that comes while a run is
// under way stops what has not started.

// holds has what somebody holds be blocked.
type holds struct {
	*Session
	tasks map[string]runner.Task
	read  *gitstate.State // last
}

// admit is the gate of it.
func (h *holds) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	st, err := h.Writer.Fresh(ctx, h.read)
	if ctx.Err() != nil {
		return make([]runner.Admission, len(ready)), nil // nothing starts any more
	} else if err != nil {
		return nil, AdmitError{err}
	}
	h.read = st
	answers := make([]runner.Admission, len(ready))
	for i, s := range ready {
		answers[i] = h.of(st, s.Path)
	}
	return answers, nil
}

// of is the zero value for a stack that may start. One whose hold is broken may, and its records say so.
func (h *holds) of(st *gitstate.State, path string) runner.Admission {
	r := h.Planned(path)
	if !note.Op(r.Op.Name).Deploys() || h.tasks[path].Regardless {
		return runner.Admission{}
	}
	hold, is := st.Hold(note.Slot{ID: r.Stack.ID, Path: path, Target: r.Target})
	if is && h.breakHold != "" {
		h.broken.Store(path, true)
	}
	if !is || h.breakHold != "" {
		return runner.Admission{}
	}
	held := runner.Result{Stack: r.Stack, Status: runner.StatusBlocked, Reason: hold.String()}
	return runner.Admission{Status: held.Status, Reason: held.Reason, Onward: onward(held).Reason}
}

// Held are those of the stacks that are to run which somebody holds now, and those that depend on them, in order, each
// blocked.
func (x *Plan) Held() (held []runner.Result) {
	h, by := holds{Session: x.Session, tasks: x.Tasks}, map[string]runner.Cause{}
	for _, path := range x.Order {
		res := runner.Result{Stack: x.Stacks[path].Stack, Status: runner.StatusBlocked, Exit: -1}
		for _, p := range x.Graph.Predecessors(path) {
			if by[path] = by[p]; by[path].Path != "" {
				res.Cause, res.Reason = by[p].Path, by[p].Reason
				break
			}
		}
		if x.Exec.Skip[path] {
			continue
		}
		if a := h.of(x.State, path); res.Cause == "" && a.Status != "" {
			res.Reason = a.Reason
			by[path] = onward(res)
		}
		if res.Reason != "" && !x.Tasks[path].Regardless {
			held = append(held, res)
		}
	}
	return held
}

// HoldBack leaves out what somebody holds: it is recorded as blocked when the run is announced.
func (x *Plan) HoldBack() []runner.Result {
	x.heldBack = x.Held()
	for _, r := range x.heldBack {
		x.Exec.Skip[r.Stack.Path] = true
	}
	x.Todo = x.todo()
	return x.heldBack
}

// mostReason is how long a reason for breaking holds may be, as that of other records.
const mostReason = 500

const heldBy = "held by " // begins what gitstate.Hold says

// onward is what a blocked stack hands on to what depends on it: the stack that it was blocked by or, if it is held, itself.
func onward(r runner.Result) runner.Cause {
	path := r.Stack.Path
	switch {
	case r.Cause == "" && strings.HasPrefix(r.Reason, heldBy):
		return runner.Cause{Path: path, Reason: path + " is " + r.Reason}
	case r.Cause != "" && strings.HasPrefix(r.Reason, r.Cause+" is "+heldBy):
		return runner.Cause{Path: r.Cause, Reason: r.Reason}
	}
	return runner.Cause{Path: r.Cause}
}
