package cli

import (
	"fmt"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// recordedAs takes down what is done to a stack, and how to look at it again.
func (n *session) recordedAs(stack runner.Stack, op command.Operation, base string, env, runEnv []string) error {
	at := command.Surroundings{Dir: stack.Dir, Env: env, RunEnv: runEnv}
	r := recorded{stack: stack, base: base, look: func(op command.Operation) (command.Operation, command.Place, error) {
		return n.reader.Look(op, at)
	}}
	var err error
	if r.op, r.place, err = r.look(op); err != nil && r.looks() {
		return fmt.Errorf("%s: %w", stack.Path, err)
	}
	if err != nil { // init may be what mends it
		r.op, r.place.Workspace = op, op.Workspace
	}
	r.target, r.backend = command.TargetOf(base, r.place.Workspace), r.place.Backend
	n.stacks[stack.Path] = r
	return nil
}

// As is what a deployment is held against.
func (r *recorded) as() gitstate.As {
	return gitstate.As{Variant: r.op.Variant, Legacy: r.op.Legacy, Values: r.op.Values}
}

// locate finds the latest record of a stack, at its place as far as that is known, and
// takes down which place that is.
func (n *session) locate(st *gitstate.State, r *recorded) (gitstate.Latest, error) {
	found, assumed, err := query.Whereabouts{State: st, Reader: n.reader}.At(r.stack, r.base, r.place, r.op.Name)
	if err != nil {
		return gitstate.Latest{}, err
	}
	of := query.LeastDone(found, r.op.Chooses, func(l *gitstate.Latest) bool {
		done, _ := doneAs(l, n.commit.Hash, r)
		return done
	})
	r.assumed, r.maybe = assumed, nil
	for i := range found {
		if found[i].Place != of.Place {
			r.maybe = append(r.maybe, found[i].Latest)
		}
	}
	if len(found) == 1 && !strings.HasPrefix(of.Backend, query.Elsewhere) {
		r.target, r.backend = of.Target, of.Backend
	} else {
		r.target, r.backend = command.TargetOf(r.base, r.place.Workspace), ""
	}
	return of.Latest, nil
}

// Latest is the latest record of a stack where it is now known to be.
func (n *session) latest(st *gitstate.State, path string) (gitstate.Latest, error) {
	r := n.of(path)
	return n.locate(st, &r)
}

// sayAssumed tells once that places are not known.
func (n *session) sayAssumed(u *ui, order []string) {
	count := 0
	for _, path := range order {
		if n.stacks[path].assumed {
			count++
		}
	}
	if count > 0 {
		u.Say("the place of %s is not known yet (no init here): assumed to be the recorded one", terminal.Plural(count, "stack"))
	}
}

// views says what the notes say of the session's stacks.
func (n *session) views(st *gitstate.State) func(runner.Stack) (query.View, error) {
	return func(stack runner.Stack) (query.View, error) {
		r := n.of(stack.Path)
		return query.Whereabouts{State: st, Reader: n.reader}.View(stack, r.base, r.place)
	}
}

// targetHere is the target under which a stack is recorded from its folder, as far as that
// says which workspace it is.
func targetHere(env Env, reader *command.Reader, stack runner.Stack, base string) (string, error) {
	place, err := reader.Place(command.Surroundings{Dir: stack.Dir, Env: env.Environ})
	return command.TargetOf(base, place.Workspace), err
}
