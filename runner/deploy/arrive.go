package deploy

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

// Planned is what records of a stack say now.
func (n *Session) Planned(path string) Planned {
	if now, is := n.now.Load(path); is {
		return now.(Planned)
	}
	return n.Stacks[path]
}

// looks reports whether it matters where a stack's command writes to.
func (r *Planned) looks() bool {
	return r.look != nil && (note.Op(r.Op.Name).Deploys() || r.Op.Name == note.Drift)
}

// moved reports whether records of the stack belong elsewhere than those of another one.
// A backend that is not known is every one.
func (r *Planned) moved(from *note.Record) bool {
	return r.Target != from.Target || from.Backend() != "" && r.backend != from.Backend()
}

// arrival looks at the stacks that are about to start.
type arrival struct {
	*Session
	rules Rules
}

// arrival is nil where it does not matter for any of the stacks.
func (n *Session) arrival(todo []string, rules Rules) gate {
	for _, path := range todo {
		if r := n.Planned(path); r.looks() {
			a := arrival{Session: n, rules: rules}
			return a.admit
		}
	}
	return nil
}

func (a *arrival) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	for i, s := range ready {
		r := a.Planned(s.Path)
		if !r.looks() {
			continue
		}
		op, place, err := r.look(r.Op)
		if err != nil {
			answers[i] = runner.Admission{Status: runner.StatusFailed, Reason: "what it would see cannot be read: " + err.Error()}
			continue
		}
		if op.Variant == r.Op.Variant && samePlace(place, r.place) {
			continue
		}
		r.Op, r.place = op, place
		off, err := a.again(ctx, r)
		if err != nil {
			return nil, AdmitError{err}
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
func (a *arrival) again(ctx context.Context, r Planned) (off string, err error) {
	path := r.Stack.Path
	st, err := a.settled()
	if err != nil {
		return "", err
	}
	if r.was, err = a.Locate(st, &r); err != nil {
		return "", err
	}
	a.now.Store(path, r)
	decided, err := a.decideAll(ctx, st, []string{path}, a.rules)
	if err != nil {
		return "", err
	}
	if d, is := decided[path]; is && d.Verdict != Kept {
		return d.Why, nil
	}
	if a.pendings != nil && r.Op.Name == note.Deploy {
		q := *a.pendings
		q.St = st
		if why, _, err := q.Of(r.Stack, r.asked()); err != nil || why == "" {
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
	a.Out.Say("%s is deployed to %s; that changed after it was selected", path, r.describe())
	a.courier.noted()
	moved := a.record(path, note.Queued)
	if err := a.Writer.Withdraw(a.Commit.Hash, queued, note.Record{By: a.by, Reason: "it is deployed elsewhere: " + r.describe()}); err != nil {
		return "", err
	}
	a.requeued.Store(path, moved)
	return "", a.Writer.AppendLazily(a.Commit.Hash, moved)
}

// describe says where a stack is deployed to.
func (r *Planned) describe() string { return placeText(r.place.Workspace, r.backend) }

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
func (n *Session) announced(path string) *note.Record {
	if moved, is := n.requeued.Load(path); is {
		return moved.(*note.Record)
	}
	return n.queued[path]
}

// seeing has the commands of tasks that deploy say what they see, where there are others
// in the task, which may choose another place.
func (n *Session) seeing(tasks map[string]runner.Task) {
	for path, task := range tasks {
		r := n.Planned(path)
		if len(task.Commands) < 2 || !r.looks() {
			continue
		}
		commands := append([]runner.Command{}, task.Commands...)
		for i := range commands {
			if !command.Applies(commands[i].Args, task.Env) && !(i < len(r.Deploying) && r.Deploying[i]) {
				continue
			}
			prepare := commands[i].Prepare
			commands[i].Prepare = func(ctx context.Context) ([]string, error) {
				if op, place, err := r.look(r.Op.Begun()); err == nil {
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
func (n *Session) ended(path string) error {
	r := n.Planned(path)
	if !r.looks() {
		return nil
	}
	op, place, err := r.look(r.Op.Begun())
	if err != nil { // nobody knows what it has seen
		r.Dirty = true
		n.now.Store(path, r)
		return nil
	}
	was, seenThen := seen{r.Op, r.place}, false
	if s, is := n.seen.Load(path); is {
		was, seenThen = s.(seen), true
	}
	moved := was.place.Known() && place.Known() && !samePlace(was.place, place)
	r.Dirty = r.Dirty || op.Variant != was.op.Variant || moved && r.Op.Stays()
	r.Op.Variant, r.Op.Values = was.op.Variant, was.op.Values
	if seenThen && was.place.Known() {
		place = was.place
	}
	if place.Known() {
		r.place, r.Target, r.backend = place, command.TargetOf(r.base, place.Workspace), place.Backend
	}
	n.now.Store(path, r)
	var running *note.Record
	if line, is := n.running.Load(path); is {
		running = line.(*note.Record)
	}
	if running == nil || r.Target == running.Target && r.backend == running.Backend() {
		return nil
	}
	st, err := n.settled()
	if err != nil {
		return err
	}
	if _, err := n.follow(st, path); err != nil || !r.moved(running) {
		return err
	}
	return n.Writer.Withdraw(n.Commit.Hash, running, note.Record{By: n.by, Reason: "it was deployed elsewhere: " + r.describe()})
}
