package cli

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
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// Where a stack is deployed to, and with which values (runner.Reader). It is looked at when
// stacks are selected, right before one starts (arrive.go), and when it has ended.

func newReader(ctx context.Context, root string) *command.Reader {
	return command.NewReader(root, project.Tracked(ctx, root))
}

// located is what is recorded of a stack at a place.
type located struct {
	gitstate.Place
	latest gitstate.Latest
}

// whereabouts finds what is recorded of stacks at the places that they are at.
type whereabouts struct {
	st     *gitstate.State
	reader *command.Reader
}

// at is what is recorded of a stack for an operation at its place. Where the place is not
// known, it is what is recorded at each of the places that it may be; assumed says that
// something was made of that.
func (w whereabouts) at(stack runner.Stack, base string, place command.Place, op string) (found []located, assumed bool, err error) {
	target := command.TargetOf(base, place.Workspace)
	one := func(at gitstate.Place) error {
		l, err := w.st.LatestAt(stack.ID, stack.Path, at.Target, at.Backend, op)
		found = append(found, located{at, l})
		return err
	}
	if place.Known() {
		return found, false, one(gitstate.Place{Target: target, Backend: place.Backend})
	}
	recorded := w.st.Places(stack.ID, stack.Path, base, op)
	if !slices.ContainsFunc(recorded, func(p gitstate.Place) bool { return p.Target != target || p.Backend != "" }) {
		return found, false, one(gitstate.Place{Target: target, Backend: place.Backend})
	}
	declared, err := w.reader.Declared(place)
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
		return found, false, one(gitstate.Place{Target: target, Backend: elsewhere + declared})
	}
	return found, true, nil
}

// elsewhere begins the name of a backend that no record has.
const elsewhere = "unknown.0."

// leastDone picks what decides about a stack whose place may be one of several: what is not
// done. Commands that choose their place themselves, and are the same as those of a
// record, choose that one again.
func leastDone(found []located, chooses bool, done func(*gitstate.Latest) bool) located {
	for i := range found {
		if done(&found[i].latest) == chooses {
			return found[i]
		}
	}
	return slices.MaxFunc(found, func(a, b located) int { return a.latest.At.Compare(b.latest.At) })
}

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

// as is what a deployment is held against.
func (r *recorded) as() gitstate.As {
	return gitstate.As{Variant: r.op.Variant, Legacy: r.op.Legacy, Values: r.op.Values}
}

// locate finds the latest record of a stack, at its place as far as that is known, and
// takes down which place that is.
func (n *session) locate(st *gitstate.State, r *recorded) (gitstate.Latest, error) {
	found, assumed, err := whereabouts{st, n.reader}.at(r.stack, r.base, r.place, r.op.Name)
	if err != nil {
		return gitstate.Latest{}, err
	}
	of := leastDone(found, r.op.Chooses, func(l *gitstate.Latest) bool {
		done, _ := doneAs(l, n.commit.Hash, r)
		return done
	})
	r.assumed, r.maybe = assumed, nil
	for i := range found {
		if found[i].Place != of.Place {
			r.maybe = append(r.maybe, found[i].latest)
		}
	}
	if len(found) == 1 && !strings.HasPrefix(of.Backend, elsewhere) {
		r.target, r.backend = of.Target, of.Backend
	} else {
		r.target, r.backend = command.TargetOf(r.base, r.place.Workspace), ""
	}
	return of.latest, nil
}

// latest is the latest record of a stack where it is now known to be.
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

// views says what the notes say of stacks, each at the place where it is.
type views struct {
	whereabouts
	base string // --target
	env  []string
}

func viewsOf(ctx context.Context, environ []string, st *gitstate.State, p *project.Project, target string) views {
	return views{whereabouts{st, newReader(ctx, p.Root())}, target, environ}
}

func (v views) of(stack runner.Stack) (out view, err error) {
	place, err := v.place(stack)
	if err != nil {
		return out, err
	}
	return v.view(stack, v.base, place)
}

// place is where a stack is now, without a command that is about to run.
func (v views) place(stack runner.Stack) (command.Place, error) {
	place, err := v.reader.Place(command.Surroundings{Dir: stack.Dir, Env: v.env})
	if err != nil {
		err = fmt.Errorf("%s: %w", stack.Path, err)
	}
	return place, err
}

// views says what the notes say of the session's stacks.
func (n *session) views(st *gitstate.State) func(runner.Stack) (view, error) {
	return func(stack runner.Stack) (view, error) {
		r := n.of(stack.Path)
		return whereabouts{st, n.reader}.view(stack, r.base, r.place)
	}
}

// view is what the notes say of a stack at its place.
func (w whereabouts) view(stack runner.Stack, base string, place command.Place) (out view, err error) {
	latest := func(op string) (gitstate.Latest, error) {
		found, _, err := w.at(stack, base, place, op)
		if err != nil {
			return gitstate.Latest{}, err
		}
		return leastDone(found, false, func(l *gitstate.Latest) bool { return l.Status == note.OK && len(l.Diverged) == 0 }).latest, nil
	}
	if out.deploy, err = latest(note.Deploy); err != nil {
		return out, err
	}
	if out.drift, err = latest(note.Drift); err != nil {
		return out, err
	}
	out.status = gitstate.StackStatus(out.deploy, out.drift)
	return out, nil
}

// targetHere is the target under which a stack is recorded from its folder, as far as that
// says which workspace it is.
func targetHere(env Env, reader *command.Reader, stack runner.Stack, base string) (string, error) {
	place, err := reader.Place(command.Surroundings{Dir: stack.Dir, Env: env.Environ})
	return command.TargetOf(base, place.Workspace), err
}
