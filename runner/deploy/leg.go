package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// A leg is what one job of a run does that `tmnotes matrix` divided: it has a list
// of stacks, and knows which stacks of other legs these come after. What became
// of those it reads from the notes. It waits for stacks and not for legs, so a leg that
// is tried again, or is late, is no special case.

// The methods of a leg may be called on none: then there is nothing to it.

// legGate says of stacks that are ready in their leg whether they are in the run,
// too: what they come after may be elsewhere.
type legGate struct {
	*Plan
	started map[string]time.Time // when a stack was asked about first
	said    bool
	failed  int // how often in a row the state could not be read
}

func newLegGate(x *Plan) *legGate { return &legGate{Plan: x, started: map[string]time.Time{}} }

// patience is how often in a row the state may be out of reach while a leg waits.
const patience = 10

func (g *legGate) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	open := map[int]runner.Admission{}
	ask := func() (err error) {
		clear(open)
		for i, s := range ready {
			final := false
			if answers[i], final, err = g.of(s.Path); err != nil {
				return err
			}
			if !final {
				open[i] = answers[i]
			}
		}
		return nil
	}
	unread := func(err error) error {
		return AdmitError{fmt.Errorf("the results of other legs cannot be read: %w", err)}
	}
	if err := ask(); err != nil {
		return nil, unread(err)
	}
	if len(open) == 0 {
		return answers, nil
	}
	err := g.refresh(ctx)
	if err == nil {
		if err := ask(); err != nil {
			return nil, unread(err)
		}
	}
	if ctx.Err() != nil { // interrupted: nothing starts any more
		for i := range answers {
			answers[i] = runner.Admission{Later: time.Second}
		}
		return answers, nil
	}
	g.failed++
	if err == nil {
		g.failed = 0
	}
	for i, a := range open {
		path := ready[i].Path
		if err != nil {
			a.Reason = fmt.Sprintf("%s is waited for, and what became of it could not be read: %v", a.Cause, err)
		}
		if g.started[path].IsZero() {
			g.started[path] = time.Now()
		}
		waited := time.Since(g.started[path])
		if g.Wait && (g.WaitTimeout == 0 || waited < g.WaitTimeout) && g.failed < patience {
			a = runner.Admission{Later: min(max(waited/4, 500*time.Millisecond), 15*time.Second), Reason: a.Reason}
		} else if g.Tasks[path].Regardless {
			a = runner.Admission{}
		} else if g.Wait && g.failed < patience {
			a.Reason += fmt.Sprintf("; it was waited for, for %s", runner.Took(g.WaitTimeout))
		}
		answers[i] = a
	}
	return answers, nil
}

func (g *legGate) refresh(ctx context.Context) error {
	if g.Route.Remote != "" {
		if _, err := g.Store.Remote(g.Route.Remote).Fetch(ctx); err != nil {
			return err
		}
	}
	st, err := g.Store.State(ctx)
	if err == nil {
		g.Writer.Follow(st)
		g.State = st
	}
	return err
}

// of says whether a stack may start, as far as the stacks of other legs are concerned
// that it comes after. Unless it is final, another look may give another answer;
// it is then blocked, as where nobody waits.
func (g *legGate) of(path string) (a runner.Admission, final bool, err error) {
	final = true
	for _, p := range g.Leg.of[path].After {
		other := g.Leg.of[p]
		l, err := g.latest(other)
		if err != nil {
			return runner.Admission{}, true, err
		}
		cause, reason, known := g.stands(other, &l)
		switch {
		case cause == "":
		case known && g.Tasks[path].Regardless:
		case known: // it is blocked, whatever becomes of the others
			return runner.Admission{Status: runner.StatusBlocked, Cause: cause, Reason: reason, Onward: onward(runner.Result{Cause: cause, Reason: reason}).Reason}, true, nil
		case final:
			final = false
			a = runner.Admission{Status: runner.StatusBlocked, Cause: cause, Reason: reason}
		}
	}
	return a, final, nil
}

// latest is the latest record of another leg's stack. The place that the matrix assumed
// for it may be another one than where that leg deploys it.
func (g *legGate) latest(u *LegStack) (gitstate.Latest, error) {
	assumed, err := g.State.Latest(note.Slot{ID: u.ID, Path: u.Stack, Target: u.Target, Op: u.Op})
	if err != nil {
		return assumed, err
	}
	for _, p := range g.State.Places(note.Slot{ID: u.ID, Path: u.Stack, Target: g.Leg.Target, Op: u.Op}) {
		l, err := g.State.LatestAt(note.Slot{ID: u.ID, Path: u.Stack, Target: p.Target, Op: u.Op}, p.Backend)
		if err != nil {
			return l, err
		}
		if (l.Run == g.RunID || slices.Contains(l.Prev, g.RunID)) && l.Record.Status != note.Queued {
			return l, nil
		}
	}
	return assumed, nil
}

// stands says which stack is in the way of what comes after another leg's stack,
// and why; none where nothing is. Unless it is known, that may change.
func (g *legGate) stands(u *LegStack, l *gitstate.Latest) (cause, reason string, known bool) {
	run, path := g.RunID, u.Stack
	status := l.Status
	if status == note.Triggered {
		status, _ = l.Standing()
	}
	// What others did to it before this run was announced says nothing, unless it is
	// what this run wants: then the other leg has left it as it is.
	done := l.Status == note.OK && l.Commit == g.Commit.Hash && l.Op == u.Op && !l.Dirty
	if l.Status == note.Never || !done && l.Run != run && !slices.Contains(l.Prev, run) && l.At.Before(gitstate.Began(run)) {
		if g.Route.Remote != "" {
			return path, fmt.Sprintf("%s is not on record for run %s", path, run), false
		}
		if !g.said {
			g.said = true
			g.Out.Say("the results of other legs are unknown here (%s): stacks that depend on them start anyway", g.Route.Why)
		}
		return "", "", true
	}
	switch {
	case status == note.Queued || status == note.Running:
		return path, fmt.Sprintf("%s is still %s in run %s", path, status, l.Run), false
	case len(l.Diverged) > 0:
		_, why := l.Succeeded(u.Op, gitstate.As{Variant: gitstate.AnyVariant})
		return path, path + ": " + why, true
	case status == note.Blocked:
		by := onward(runner.Result{Stack: runner.Stack{Path: path}, Cause: l.Cause, Reason: l.Reason})
		return by.Path, cmp.Or(by.Reason, l.Reason), true
	case status == note.Failed:
		return path, "", true
	case status != note.OK && status != note.Drifted:
		return path, fmt.Sprintf("%s was %s in run %s", path, status, l.Run), true
	case l.Op != u.Op && l.Status != note.Triggered:
		return path, fmt.Sprintf("%s had a %s in run %s", path, l.Op, l.Run), true
	}
	return "", "", true
}
