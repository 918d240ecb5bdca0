package cli

import (
	"cmp"
	"context"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
)

// What a stack sees is looked at again when it is about to start, since init or a command
// of another stack may have come between, and when it has ended: a script may have
// chosen another place. What is recorded is what the command that deployed has seen.

// of is what records of a stack say now.
func (n *session) of(path string) recorded {
	if now, is := n.now.Load(path); is {
		return now.(recorded)
	}
	return n.stacks[path]
}

// looks reports whether it matters where a stack's command writes to.
func (r *recorded) looks() bool {
	return r.look != nil && (note.Op(r.op.Name).Deploys() || r.op.Name == note.Drift)
}

// moved reports whether records of the stack belong elsewhere than those of another one.
// A backend that is not known is every one.
func (r *recorded) moved(from *note.Record) bool {
	return r.target != from.Target || from.Backend() != "" && r.backend != from.Backend()
}

// arrival looks at the stacks that are about to start.
type arrival struct {
	*session
	u                       *ui
	force, resume, rollback bool
}

// arrival is nil where it does not matter for any of the stacks.
func (n *session) arrival(u *ui, todo []string, o runOptions) admitter {
	for _, path := range todo {
		if r := n.of(path); r.looks() {
			a := arrival{session: n, u: u, force: o.force || o.filter.Set(), resume: o.resume, rollback: o.allowRollback}
			return a.admit
		}
	}
	return nil
}

func (a *arrival) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	for i, s := range ready {
		r := a.of(s.Path)
		if !r.looks() {
			continue
		}
		op, place, err := r.look(r.op)
		if err != nil {
			answers[i] = runner.Admission{Status: runner.StatusFailed, Reason: "what it would see cannot be read: " + err.Error()}
			continue
		}
		if op.Variant == r.op.Variant && samePlace(place, r.place) {
			continue
		}
		r.op, r.place = op, place
		off, err := a.again(ctx, r)
		if err != nil {
			return nil, admitError{err}
		}
		if off != "" {
			answers[i] = runner.Admission{Status: runner.StatusSkipped, Reason: off}
		}
	}
	return answers, nil
}

func samePlace(a, b command.Place) bool {
	return a.Workspace == b.Workspace && a.Backend == b.Backend && a.HasWorkspace == b.HasWorkspace && a.HasBackend == b.HasBackend
}

// again decides about a stack that is not as it was when it was selected. It returns why
// the stack need not run.
func (a *arrival) again(ctx context.Context, r recorded) (off string, err error) {
	path := r.stack.Path
	st, err := a.settled()
	if err != nil {
		return "", err
	}
	if r.was, err = a.locate(st, &r); err != nil {
		return "", err
	}
	a.now.Store(path, r)
	taken, err := takeOff(ctx, st, a.session, []string{path}, !a.force, a.resume, a.rollback, a.u.Warn)
	if err != nil {
		return "", err
	}
	if t, is := taken[path]; is {
		return t.why, nil
	}
	if a.pendings != nil && r.op.Name == note.Deploy {
		q := *a.pendings
		q.St = st
		if why, _, err := q.Of(r.stack, r.asked()); err != nil || why == "" {
			return "not pending: " + r.describe() + " has what HEAD has", err
		}
	}
	if _, err := a.follow(st, path); err != nil {
		return "", err
	}
	queued := a.queued[path]
	if queued == nil || !r.moved(queued) {
		return "", nil
	}
	a.u.Say("%s is deployed to %s, which was not so when it was selected", path, r.describe())
	a.changed.Store(true)
	moved := a.record(path, note.Queued)
	if err := a.store.Withdraw(a.commit.Hash, queued, note.Record{By: a.by, Reason: "it is deployed elsewhere: " + r.describe()}); err != nil {
		return "", err
	}
	a.requeued.Store(path, moved)
	return "", a.store.AppendLazily(a.commit.Hash, moved)
}

// describe says where a stack is deployed to.
func (r *recorded) describe() string { return placeText(r.place.Workspace, r.backend) }

// placeOf says where a record is of.
func placeOf(rec *note.Record) string {
	_, workspace, _ := strings.Cut(rec.Target, "+")
	return placeText(workspace, rec.Backend())
}

func placeText(workspace, backend string) string {
	text := "workspace " + cmp.Or(workspace, "default")
	if backend != "" {
		text += ", backend " + backend
	}
	return text
}

// announced is the queued line of a stack.
func (n *session) announced(path string) *note.Record {
	if moved, is := n.requeued.Load(path); is {
		return moved.(*note.Record)
	}
	return n.queued[path]
}

// seeing has the commands of tasks that deploy say what they see, where there are others
// in the task, which may choose another place.
func (n *session) seeing(tasks map[string]runner.Task) {
	for path, task := range tasks {
		r := n.of(path)
		if len(task.Commands) < 2 || !r.looks() {
			continue
		}
		commands := append([]runner.Command{}, task.Commands...)
		for i := range commands {
			if !command.Applies(commands[i].Args, task.Env) && !(i < len(r.deploying) && r.deploying[i]) {
				continue
			}
			prepare := commands[i].Prepare
			commands[i].Prepare = func(ctx context.Context) ([]string, error) {
				if op, place, err := r.look(r.op.Begun()); err == nil {
					n.seen.Store(path, seen{op, place})
				}
				if prepare == nil {
					return nil, nil
				}
				return prepare(ctx)
			}
		}
		task.Commands = commands
		tasks[path] = task
	}
}

// seen is what a command that deploys found.
type seen struct {
	op    command.Operation
	place command.Place
}

// ended looks at a stack that has ended, and takes down what its result belongs to: the
// place that the command which deployed has found, or else the one that is there now.
// What was not the same until the end is not what will be asked for: it is dirty.
func (n *session) ended(path string) error {
	r := n.of(path)
	if !r.looks() {
		return nil
	}
	op, place, err := r.look(r.op.Begun())
	if err != nil { // nobody knows what it has seen
		r.dirty = true
		n.now.Store(path, r)
		return nil
	}
	was, seenThen := seen{r.op, r.place}, false
	if s, is := n.seen.Load(path); is {
		was, seenThen = s.(seen), true
	}
	moved := was.place.Known() && place.Known() && !samePlace(was.place, place)
	r.dirty = r.dirty || op.Variant != was.op.Variant || moved && r.op.Stays()
	r.op.Variant, r.op.Values = was.op.Variant, was.op.Values
	if seenThen && was.place.Known() {
		place = was.place
	}
	if place.Known() {
		r.place, r.target, r.backend = place, command.TargetOf(r.base, place.Workspace), place.Backend
	}
	n.now.Store(path, r)
	var running *note.Record
	if line, is := n.running.Load(path); is {
		running = line.(*note.Record)
	}
	if running == nil || r.target == running.Target && r.backend == running.Backend() {
		return nil
	}
	st, err := n.settled()
	if err != nil {
		return err
	}
	if _, err := n.follow(st, path); err != nil || !r.moved(running) {
		return err
	}
	return n.store.Withdraw(n.commit.Hash, running, note.Record{By: n.by, Reason: "it was deployed elsewhere: " + r.describe()})
}
