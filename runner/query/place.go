// Package query is what the notes say of a project's stacks: what is deployed where, what is pending
// or orphaned, what became of it and who broke it. It changes nothing.
package query

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Where a stack is deployed to, and with which values (runner.Reader). It is looked at when
// stacks are selected, right before one starts (arrive.go), and when it has ended.

// NewReader reads what the commands of a project see.
func NewReader(ctx context.Context, root string) *command.Reader {
	return command.NewReader(root, project.Tracked(ctx, root))
}

// Located is what is recorded of a stack at a place.
type Located struct {
	gitstate.Place
	Latest gitstate.Latest
}

// Whereabouts finds what is recorded of stacks at the places that they are at.
type Whereabouts struct {
	State  *gitstate.State
	Reader *command.Reader
}

// At is what is recorded of a stack for an operation at its place. Where the place is not
// known, it is what is recorded at each of the places that it may be; assumed says that
// something was made of that.
func (w Whereabouts) At(stack runner.Stack, base string, place command.Place, op string) (found []Located, assumed bool, err error) {
	target := command.TargetOf(base, place.Workspace)
	one := func(at gitstate.Place) error {
		of := note.Slot{ID: stack.ID, Path: stack.Path, Target: at.Target, Op: op}
		l, err := w.State.LatestAt(of, at.Backend)
		if of.Target = base; err == nil && at.Target != base {
			err = w.announcedNowhere(&l, of)
		}
		found = append(found, Located{at, l})
		return err
	}
	if place.Known() {
		return found, false, one(gitstate.Place{Target: target, Backend: place.Backend})
	}
	recorded := w.State.Places(note.Slot{ID: stack.ID, Path: stack.Path, Target: base, Op: op})
	if !slices.ContainsFunc(recorded, func(p gitstate.Place) bool { return p.Target != target || p.Backend != "" }) {
		return found, false, one(gitstate.Place{Target: target, Backend: place.Backend})
	}
	declared, err := w.Reader.Declared(place)
	if err != nil {
		return nil, false, err
	}
	named := map[string]bool{} // targets
	maybe := slices.DeleteFunc(recorded, func(p gitstate.Place) bool {
		is := (!place.HasWorkspace || p.Target == target) &&
			(p.Backend == "" || !place.HasBackend && (declared == "" || strings.HasSuffix(p.Backend, "."+declared)) || place.HasBackend && p.Backend == place.Backend)
		named[p.Target] = named[p.Target] || is && p.Backend != ""
		return !is
	})
	for _, p := range maybe {
		if p.Backend != "" || !named[p.Target] {
			if err := one(p); err != nil {
				return nil, false, err
			}
		}
	}
	if len(found) == 0 {
		// What is recorded is of code that named another backend.
		return found, false, one(gitstate.Place{Target: target, Backend: Elsewhere + declared})
	}
	return found, true, nil
}

// announcedNowhere looks for a later run that was killed, and had announced the stack in a clone that
// was not initialised: it named no workspace, may have begun in any, and only its own clone
// knows in which. So the stack counts as interrupted in each, until a later run has been there. (At the
// target without a workspace it does anyhow.)
func (w Whereabouts) announcedNowhere(here *gitstate.Latest, base note.Slot) error {
	l, err := w.State.LatestAt(base, "")
	if err == nil && l.Status == note.Interrupted && l.Record.Status == note.Queued && l.Record.Backend() == "" && l.At.After(here.At) {
		here.Stored, here.Status, here.Diverged, here.Conflicts = l.Stored, l.Status, l.Diverged, l.Conflicts
		here.By, here.Job, here.Cmd = l.By, l.Job, l.Cmd
	}
	return err
}

// Elsewhere begins the name of a backend that no record has.
const Elsewhere = "unknown.0."

// LeastDone picks what decides about a stack whose place may be one of several: what is not
// done. Commands that choose their place themselves, and are the same as those of a
// record, choose that one again.
func LeastDone(found []Located, chooses bool, done func(*gitstate.Latest) bool) Located {
	for i := range found {
		if done(&found[i].Latest) == chooses {
			return found[i]
		}
	}
	return slices.MaxFunc(found, func(a, b Located) int { return a.Latest.At.Compare(b.Latest.At) })
}

// Views says what the notes say of stacks, each at the place where it is.
type Views struct {
	Whereabouts
	base string // --target
	env  []string
}

// ViewsOf are the views of stacks for a target, with the places that commands with this environment have.
func ViewsOf(ctx context.Context, environ []string, st *gitstate.State, p *project.Project, target string) Views {
	return Views{Whereabouts{st, NewReader(ctx, p.Root())}, target, environ}
}

// Of is what the notes say of a stack.
func (v Views) Of(stack runner.Stack) (out View, err error) {
	place, err := v.Place(stack)
	if err != nil {
		return out, err
	}
	return v.View(stack, v.base, place)
}

// Place is where a stack is now, without a command that is about to run.
func (v Views) Place(stack runner.Stack) (command.Place, error) {
	place, err := v.Reader.Place(command.Surroundings{Dir: stack.Dir, Env: v.env})
	if err != nil {
		err = fmt.Errorf("%s: %w", stack.Path, err)
	}
	return place, err
}

// View is what the notes say of a stack at its place.
func (w Whereabouts) View(stack runner.Stack, base string, place command.Place) (out View, err error) {
	latest := func(op string) (gitstate.Latest, error) {
		found, _, err := w.At(stack, base, place, op)
		if err != nil {
			return gitstate.Latest{}, err
		}
		return LeastDone(found, false, func(l *gitstate.Latest) bool { return l.Status == note.OK && len(l.Diverged) == 0 }).Latest, nil
	}
	if out.Deploy, err = latest(note.Deploy); err != nil {
		return out, err
	}
	if out.Drift, err = latest(note.Drift); err != nil {
		return out, err
	}
	out.Status = gitstate.StackStatus(out.Deploy, out.Drift)
	if h, is := w.State.Hold(note.Slot{ID: stack.ID, Path: stack.Path, Target: command.TargetOf(base, place.Workspace)}); is {
		out.Hold = &h
	}
	return out, nil
}
