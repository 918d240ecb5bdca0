package deploy

import (
	"context"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Gone are the stacks of a run that are none of HEAD's, at a commit that had them.
type Gone struct {
	Paths []string // nothing else runs, whoever wants it
	// Since is the time of the latest record of each, by path, when it was found to be gone.
	Since map[string]time.Time
	// Check is asked when a stack is about to start: whether what would be destroyed at its place is what
	// the stack has deployed. It says why it is not, or cannot be told; destroys says that the command destroys.
	Check func(stack runner.Stack, at command.Place, destroys bool) (blocked string)
}

// pick keeps those that are gone. Of a run that is about others, all.
func (g *Gone) pick(selected []project.Selected) []project.Selected {
	if g == nil {
		return selected
	}
	return slices.DeleteFunc(selected, func(s project.Selected) bool { return !slices.Contains(g.Paths, s.Path) })
}

// over says whether there is nothing to destroy, or not any more: that was done, or somebody has deployed it since.
func (g *Gone) over(r *Planned, l *gitstate.Latest) Decision {
	switch {
	case g == nil || !note.Op(r.Op.Name).Deploys() || l.Status == note.Never:
		return Decision{}
	case query.Destroyed(l):
		return Decision{Done, "run " + l.Run + " has destroyed it"}
	case l.Op != note.Destroy && l.At.After(g.Since[r.Stack.Path]):
		return Decision{Kept, "run " + l.Run + " deploys it, although it is gone from HEAD"}
	}
	return Decision{}
}

// admitGone is the gate of them.
func (e *execution) admitGone(_ context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	st, err := e.settled()
	if err != nil {
		return nil, AdmitError{err}
	}
	for i, s := range ready {
		r := e.Planned(s.Path)
		l, err := e.latest(st, s.Path)
		if err != nil {
			return nil, AdmitError{err}
		}
		if over := e.Gone.over(&r, &l); over.Verdict == Kept {
			answers[i] = over.admission()
		} else if why := e.Gone.Check(r.Stack, r.place, note.Op(r.Op.Name).Deploys()); why != "" {
			r.backend = "" // whoever destroys it at the right one comes after this
			e.now.Store(s.Path, r)
			answers[i] = runner.Admission{Status: runner.StatusBlocked, Reason: why}
		}
	}
	return answers, nil
}
