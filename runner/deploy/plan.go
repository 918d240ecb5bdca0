package deploy

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Engine deploys stacks of a project, and has the results on record.
type Engine struct {
	World
	Store *gitstate.Store
	Dir   string // where it is asked, in the project
	// Commit is the commit that is checked out there; "" for that of HEAD in the store's own work tree.
	Commit string
}

// Tasks makes the tasks of a run, and tells the session what each of them does to
// its stack. A stack without a task is not selected any more.
type Tasks func(p *project.Project, n *Session, stacks []runner.Stack) (map[string]runner.Task, error)

// Plan is what a request comes to: which stacks, in which order, with what, and what is
// known of them.
type Plan struct {
	*Session
	Request
	project *project.Project
	make    Tasks
	Route   Route
	State   *gitstate.State
	Graph   *runner.Graph
	Tasks   map[string]runner.Task
	Order   []string            // all that are selected
	Todo    []string            // those of them that are to run,
	Off     map[string]Decision // and why the others need not
	Ops     []string            // what is done to them,
	asked   []string            // and what st was read for
	Why     map[string]string   // why a stack is pending
}

// Plan finds out what there is to do, and why the rest need not be done. It announces
// nothing.
func (e *Engine) Plan(ctx context.Context, req Request, tasks Tasks) (*Plan, error) {
	restore := project.RelaxGC(e.Environ)
	x, err := e.begin(ctx, req, tasks)
	if err != nil {
		return nil, err
	}
	stacks, err := x.selectStacks(ctx)
	restore() // it is not for reading a long history, of which next to nothing is kept
	if err != nil {
		return nil, err
	}
	if err := x.Leg.same(x.Session, stacks); err != nil {
		return nil, err
	}
	x.Ops = x.operations(stacks)
	if err := x.read(ctx, x.Ops); err != nil {
		return nil, err
	}
	if err := x.arrange(stacks); err != nil {
		return nil, err
	}
	if err := x.basis(ctx, stacks); err != nil {
		return nil, err
	}
	return x, x.decide(ctx)
}

// begin loads the project at the commit that is checked out.
func (e *Engine) begin(ctx context.Context, req Request, tasks Tasks) (*Plan, error) {
	head, err := e.Store.Resolve(cmp.Or(e.Commit, "HEAD"))
	if err != nil {
		return nil, err
	}
	if err := req.Leg.at(head); err != nil {
		return nil, err
	}
	req.Leg.narrow(&req)
	req.Pending = req.Pending && req.Leg == nil
	p, err := project.Load(ctx, project.Options{Dir: e.Dir, Environ: e.Environ, Terragrunt: req.Select.Terragrunt() || req.Pending, Inputs: !req.Exec.DryRun || req.Pending, Memory: e.Store})
	if err != nil {
		return nil, err
	}
	if req.Targeted && req.Leg == nil {
		if err := p.NeedsTarget(req.Select.Target); err != nil {
			return nil, err
		}
	}
	w := e.Store.Writer(req.Run)
	n := &Session{World: e.World, Store: e.Store, Writer: w, Commit: head, RunID: req.Run, Stacks: map[string]Planned{}, reader: query.NewReader(ctx, p.Root()), courier: NewCourier(e.Store, w, "", req.Interval)}
	req.BreakHold = note.NewRedactor(e.Environ).Text(req.BreakHold, mostReason)
	n.breakHold = req.BreakHold
	if req.Leg != nil && !req.Leg.Aside {
		n.LegNumber = req.Leg.Leg
		n.Store.OwnSpool()
	}
	return &Plan{Session: n, Request: req, project: p, make: tasks, Tasks: map[string]runner.Task{}, Why: map[string]string{}}, nil
}

// selectStacks finds the stacks in Terramate's way. Nothing runs where a safeguard refuses.
func (x *Plan) selectStacks(ctx context.Context) ([]runner.Stack, error) {
	if x.decides() {
		x.Select.Keep = func(stacks []runner.Stack) ([]runner.Stack, error) { return x.keep(ctx, stacks) }
	}
	x.Select.AnyFiles = x.Safeguards.AnyFiles()
	selected, err := x.project.Select(x.Select)
	if err != nil {
		return nil, err
	}
	if selected, err = x.Leg.pick(selected); err != nil {
		return nil, err
	}
	selected = x.Gone.pick(selected)
	if err := x.CheckSafeguards(ctx, x.Store, x.project, &x.Request); err != nil {
		return nil, err
	}
	var stacks, added []runner.Stack
	for _, s := range selected {
		switch _, has := x.Tasks[s.Path]; {
		case x.Pending && x.Why[s.Path] == "" && !x.Select.Dependencies.HasDependencyFilters():
			// Only wanted by one that is pending (stack.wants).
		case has:
			stacks = append(stacks, s.Stack)
		default:
			added = append(added, s.Stack)
		}
	}
	if len(added) > 0 || x.Select.Keep == nil {
		if added, err = x.prepare(added); err != nil {
			return nil, err
		}
	}
	return append(stacks, added...), nil
}

// prepare makes the tasks of stacks, and returns those that have one.
func (x *Plan) prepare(stacks []runner.Stack) ([]runner.Stack, error) {
	more, err := x.make(x.project, x.Session, stacks)
	for path, task := range more {
		task.Regardless = !x.RespectOrder && changesNothing(task, x.Op)
		x.Tasks[path] = task
	}
	return slices.DeleteFunc(slices.Clone(stacks), func(s runner.Stack) bool { _, has := more[s.Path]; return !has }), err
}

// changesNothing reports whether what a task does to a stack is known to leave it as it is: because
// its commands do, or because they look for drift by what was typed or their script says.
func changesNothing(task runner.Task, typed string) bool {
	return !slices.ContainsFunc(task.Commands, func(c runner.Command) bool {
		drift := (typed == note.Drift || c.Changes == runner.StatusDrifted) && !command.Applies(c.Args, task.Env)
		return !drift && !command.Harmless(c.Args, task.Env)
	})
}

// keep leaves out what the filters on state say.
func (x *Plan) keep(ctx context.Context, stacks []runner.Stack) ([]runner.Stack, error) {
	stacks, err := x.prepare(stacks)
	if err != nil {
		return nil, err
	}
	ops := x.operations(stacks)
	if err := x.read(ctx, ops); err != nil {
		return nil, err
	}
	if x.Pending && len(stacks) > 0 {
		if err := errors.Join(query.DestroysPending(x.Op, ops), RefuseEmpty(x.State, query.PendingFor(x.Op, ops[0]), x.Init)); err != nil {
			return nil, err
		}
	}
	if stacks, err = query.FilterStacks(stacks, x.Filter, x.views(x.State)); err == nil && x.Revisit.set() {
		stacks, err = x.revisit(stacks, ops, x.views(x.State))
	}
	if err != nil || !x.Pending {
		return stacks, err
	}
	q, err := query.NewPendings(ctx, x.Store, x.project, x.State)
	if err != nil {
		return nil, err
	}
	x.pendings = q
	return x.pending(q, &x.Request, stacks, x.Why)
}

// read reads the state that is decided by, once: what decides by it reads the remote's,
// also where the operation itself is not synced; a dry run that decides nothing reads
// none of the remote's.
func (x *Plan) read(ctx context.Context, ops []string) error {
	if x.State != nil {
		return nil
	}
	x.asked = ops
	var err error
	if x.Route, err = x.Sync.Route(x.Store, x.project.DefaultRemote(), x.CI, ops...); err != nil {
		return err
	}
	from := x.Route
	if x.decides() && from.Remote == "" {
		if from, err = x.Sync.Route(x.Store, x.project.DefaultRemote(), x.CI, note.Deploy); err != nil {
			return err
		}
	}
	if x.Exec.DryRun && !slices.Contains(ops, note.Deploy) && !x.decides() && !x.Resume {
		from = Route{}
	}
	if err := x.Fetch(ctx, x.Store, from); err != nil {
		return err
	}
	if x.State, err = x.Writer.Fresh(ctx, nil); err == nil {
		x.sayUncounted(x.State)
		x.Writer.Follow(x.State)
	}
	return err
}

// arrange brings the stacks into their order, and into waves.
func (x *Plan) arrange(stacks []runner.Stack) error {
	graph, err := x.project.Graph(stacks)
	if err != nil {
		return err
	}
	if x.Reverse {
		graph = graph.Reverse()
	}
	x.Graph, x.Order = graph, graph.Order()
	x.Rollout = &x.Request.Waves
	if err := x.Rollout.divide(x.project, x.Session, graph, x.Ops); err != nil {
		return err
	}
	if x.LegNumber > 0 && len(x.Rollout.Filters) > 0 {
		return ErrWavesInLegs
	}
	return nil
}

// basis finds out what is known of the stacks.
func (x *Plan) basis(ctx context.Context, stacks []runner.Stack) error {
	var busy []Planned
	for _, path := range x.Order {
		r := x.Stacks[path]
		l, err := x.Locate(x.State, &r)
		if err != nil {
			return err
		}
		r.was = l
		r.followed(&l, x.Commit.Hash, x.RunID)
		x.Stacks[path] = r
		if (l.Status == note.Queued || l.Status == note.Running) && l.Run != x.RunID {
			busy = append(busy, r)
		}
	}
	if len(busy) > 0 && !x.Exec.DryRun {
		x.Out.Warn(atWork(busy, x.Claims, x.Route.Remote))
	}
	// What has uncommitted changes is not what was deployed.
	dirty, err := x.project.DirtyStacks(stacks)
	if err != nil {
		return err
	}
	for path := range dirty {
		r := x.Stacks[path]
		r.Dirty = true
		x.Stacks[path] = r
	}
	x.Basis, x.reselect = x.State, x.Pending
	if x.Route.Remote != "" && !x.Exec.DryRun {
		x.newer, err = newNewer(ctx, x.Session, x.project, x.State, x.Route.Code, x.Select.Target)
	}
	return err
}

// decide says which stacks need not run.
func (x *Plan) decide(ctx context.Context) (err error) {
	if !x.Filter.Set() {
		rules := x.rules()
		rules.Force = rules.Force || x.Pending // what is pending, or was asked for beside it, is not done
		if x.Off, err = x.decideAll(ctx, x.State, x.Order, rules); err != nil {
			return err
		}
	}
	x.Exec.Skip = map[string]bool{}
	for path, off := range x.Off {
		if off.Verdict == Kept { // what it depends on is not skipped over
			delete(x.Off, path)
			continue
		}
		x.Exec.Skip[path] = true
	}
	x.Todo = x.todo()
	return x.Rollout.standing(x.State, x.Session, x.Exec.Skip)
}

// todo are the stacks that are not skipped, in order.
func (x *Plan) todo() []string {
	return slices.DeleteFunc(slices.Clone(x.Order), func(path string) bool { return x.Exec.Skip[path] })
}

// operations are the names of what the command does to the stacks: one, but
// where the environments of stacks make a difference.
func (n *Session) operations(stacks []runner.Stack) []string {
	var ops []string
	for _, s := range stacks {
		if op := n.Stacks[s.Path].Op.Name; !slices.Contains(ops, op) {
			ops = append(ops, op)
		}
	}
	slices.Sort(ops)
	return ops
}
