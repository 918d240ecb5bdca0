package deploy

import (
	"context"
	"slices"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Gone are the stacks of a run that are none of HEAD's, at a commit that had them.
type Gone struct {
	Paths []string // nothing else runs, whoever wants it
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

// admitGone is the gate of them.
func (e *execution) admitGone(_ context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	for i, s := range ready {
		r := e.Planned(s.Path)
		if why := e.Gone.Check(r.Stack, r.place, note.Op(r.Op.Name).Deploys()); why != "" {
			answers[i] = runner.Admission{Status: runner.StatusBlocked, Reason: why}
		}
	}
	return answers, nil
}
