package deploy

import (
	"fmt"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Planned is a stack in a run: what is done to it and where, which is what every record of it says.
type Planned struct {
	Stack     runner.Stack
	Op        command.Operation
	Deploying []bool        // of a script: which commands are said to deploy
	Target    string        // with the workspace, as in records
	Dirty     bool          // it has uncommitted changes
	Usual     time.Duration // what the latest took, if it succeeded

	base    string            // --target
	backend string            // as in records
	place   command.Place     // where it is deployed to, as far as that is seen,
	assumed bool              // or taken to be because it is recorded
	maybe   []gitstate.Latest // at the other places that it may be at, where that is not known
	look    func(command.Operation) (command.Operation, command.Place, error)

	was     gitstate.Latest // when it was selected
	prev    []string        // the runs that it follows
	since   time.Time       // of a drift series: FORMAT.md, "since"
	seen    int
	driftAs note.Status
}

// RecordedAs takes down what is done to a stack, and how to look at it again.
func (n *Session) RecordedAs(stack runner.Stack, op command.Operation, base string, env, runEnv []string) error {
	at := command.Surroundings{Dir: stack.Dir, Env: env, RunEnv: runEnv}
	r := Planned{Stack: stack, base: base, look: func(op command.Operation) (command.Operation, command.Place, error) {
		return n.reader.Look(op, at)
	}}
	var err error
	if r.Op, r.place, err = r.look(op); err != nil && r.looks() {
		return fmt.Errorf("%s: %w", stack.Path, err)
	}
	if err != nil { // init may be what mends it
		r.Op, r.place.Workspace = op, op.Workspace
	}
	r.Target, r.backend = command.TargetOf(base, r.place.Workspace), r.place.Backend
	n.Stacks[stack.Path] = r
	return nil
}

// as is what a deployment is held against.
func (r *Planned) as() gitstate.As {
	return gitstate.As{Variant: r.Op.Variant, Legacy: r.Op.Legacy, Values: r.Op.Values}
}

// Locate finds the latest record of a stack, at its place as far as that is known, and
// takes down which place that is.
func (n *Session) Locate(st *gitstate.State, r *Planned) (gitstate.Latest, error) {
	found, assumed, err := query.Whereabouts{State: st, Reader: n.reader}.At(r.Stack, r.base, r.place, r.Op.Name)
	if err != nil {
		return gitstate.Latest{}, err
	}
	of := query.LeastDone(found, r.Op.Chooses, func(l *gitstate.Latest) bool {
		done, _ := doneAs(l, n.Commit.Hash, r)
		return done
	})
	r.assumed, r.maybe = assumed, nil
	for i := range found {
		if found[i].Place != of.Place {
			r.maybe = append(r.maybe, found[i].Latest)
		}
	}
	if len(found) == 1 && !strings.HasPrefix(of.Backend, query.Elsewhere) {
		r.Target, r.backend = of.Target, of.Backend
	} else {
		r.Target, r.backend = command.TargetOf(r.base, r.place.Workspace), ""
	}
	return of.Latest, nil
}

// latest is the latest record of a stack where it is now known to be.
func (n *Session) latest(st *gitstate.State, path string) (gitstate.Latest, error) {
	r := n.Planned(path)
	return n.Locate(st, &r)
}

// SayAssumed tells once that places are not known.
func (n *Session) SayAssumed(order []string) {
	count := 0
	for _, path := range order {
		if n.Stacks[path].assumed {
			count++
		}
	}
	if count > 0 {
		n.Out.Say("the place of %s is not known yet (no init here): assumed to be the recorded one", runner.Plural(count, "stack"))
	}
}

// views says what the notes say of the session's stacks.
func (n *Session) views(st *gitstate.State) func(runner.Stack) (query.View, error) {
	return func(stack runner.Stack) (query.View, error) {
		r := n.Planned(stack.Path)
		return query.Whereabouts{State: st, Reader: n.reader}.View(stack, r.base, r.place)
	}
}
