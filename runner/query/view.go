package query

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// StatusFilter is --status and its two siblings.
type StatusFilter struct{ Stack, Deployment, Drift string }

// Set reports whether it filters anything.
func (f StatusFilter) Set() bool { return f != StatusFilter{} }

// FilterWords are the words that a filter takes, by flag.
var FilterWords = map[string][]string{
	"status":            {"ok", "healthy", "failed", "blocked", "canceled", "interrupted", "drifted", "unhealthy", "running", "never", "unknown"},
	"deployment-status": {"ok", "healthy", "failed", "canceled", "blocked", "interrupted", "running", "pending", "triggered", "unhealthy", "never", "unknown"},
	"drift-status":      {"ok", "healthy", "drifted", "failed", "running", "unhealthy", "never", "unknown"},
}

// FilterStacks keeps the stacks that a filter on status asks for, each by its
// state for its target.
func FilterStacks(stacks []runner.Stack, f StatusFilter, of func(runner.Stack) (View, error)) ([]runner.Stack, error) {
	if !f.Set() {
		return stacks, nil
	}
	var kept []runner.Stack
	for _, s := range stacks {
		v, err := of(s)
		if err != nil {
			return nil, err
		}
		if f.Admits(v) {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// Admits reports whether a stack is one that the filter asks for. A drift run
// that did not come to an end has no word of its own in Terramate: it failed.
func (f StatusFilter) Admits(v View) bool {
	drift := v.Drift.Status
	if drift == note.Canceled || drift == note.Blocked {
		drift = note.Failed
	}
	return (f.Stack == "" || v.is(f.Stack)) && (f.Deployment == "" || v.Deploy.Status.Matches(f.Deployment)) &&
		(f.Drift == "" || drift.Matches(f.Drift))
}

// is reports whether the stack's own status is what a filter asks for. What a run did not
// come to start is to be tried again, though it is deployed and so ok.
func (v View) is(filter string) bool {
	if v.Status.MatchesOwn(filter) || v.Status != note.OK {
		return v.Status.MatchesOwn(filter)
	}
	attempted := gitstate.Attempted(v.Deploy, v.Drift)
	return attempted.Unsuccessful() && attempted.MatchesOwn(filter)
}

// View is what the notes say of a stack for a target.
type View struct {
	Deploy, Drift gitstate.Latest
	Status        note.Status
	Hold          *gitstate.Hold // that lasts now
}

func viewOf(st *gitstate.State, s runner.Stack, target string) (v View, err error) {
	if v.Deploy, err = st.Latest(note.Slot{ID: s.ID, Path: s.Path, Target: target, Op: note.Deploy}); err != nil {
		return v, err
	}
	if v.Drift, err = st.Latest(note.Slot{ID: s.ID, Path: s.Path, Target: target, Op: note.Drift}); err != nil {
		return v, err
	}
	v.Status = gitstate.StackStatus(v.Deploy, v.Drift)
	return v, nil
}

// Why is what stands behind the status, in a few words.
func (v View) Why() string {
	l := v.shown()
	if l.Status == note.Never {
		return "never deployed"
	}
	why := fmt.Sprintf("%s at %s by run %s", l.Status, note.Short(l.Commit), l.Run)
	if l.Op == note.Drift {
		return why
	}
	if others := unaware(l); others != "" {
		why += "; " + others
	} else if l.Record.Why() != "" {
		why += ": " + l.Record.Why()
	}
	if l.Dirty {
		why += ", with uncommitted changes"
	}
	if l.Status != note.OK && l.OKCommit != "" && l.OKCommit != l.Commit {
		why += "; last success at " + note.Short(l.OKCommit)
	}
	return why
}

// Last is what the latest record says beside its status, and which one it is: the reason comes
// first, which a narrow terminal shows.
func (v View) Last() string {
	l := v.shown()
	if l.Status == note.Never {
		return "never deployed"
	}
	var parts []string
	if p := l.Plan(); p != nil {
		parts = append(parts, p.String())
	}
	if about := cmp.Or(unaware(l), l.Record.Why()); about != "" {
		parts = append(parts, about)
	}
	if l.Dirty {
		parts = append(parts, "with uncommitted changes")
	}
	return strings.Join(append(parts, fmt.Sprintf("at %s by run %s", note.Short(l.Commit), l.Run)), "; ")
}

// shown is the result that says the most of the stack: that of its drift run, or its deployment.
func (v View) shown() *gitstate.Latest {
	if v.Status == note.Drifted || v.Deploy.Status == note.Never && v.Drift.Status != note.Never {
		return &v.Drift
	}
	return &v.Deploy
}

// unaware says that others were at the stack as well who could not know of this deployment.
func unaware(l *gitstate.Latest) string {
	switch {
	case len(l.Conflicts) > 0:
		return fmt.Sprintf("conflict: run %s deployed it as well, unaware of this one", l.Conflicts[0])
	case len(l.Diverged) > 0 && l.Status == note.OK:
		_, beside := l.Succeeded(l.Op, gitstate.As{Variant: gitstate.AnyVariant})
		return beside
	}
	return ""
}

// StackView is a stack with what the notes say of it.
type StackView struct {
	runner.Stack
	View
	Gone *Removal // of a stack that is none of HEAD's
}
