package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func runCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command in the selected stacks, and record each result",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "Selects, orders and runs as `terramate run` does, with the same flags. A deployment (terraform, tofu or\n" +
			"terragrunt apply of the whole stack, or --op deploy) skips the stacks that are deployed at this commit already.\n" +
			"A stack that fails blocks the stacks that depend on it, and no others.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), targetFlags(), runFlags(), commandFlags(), executionFlags(), waveFlags(), planFlags(), claimFlags(), legFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			cmd := c.Args().Slice()
			if len(cmd) == 0 || cmd[0] == "" {
				return errNoCommand
			}
			return run(c, env, cmd, plan)
		},
	}
}

// runOptions is what the flags of `run` say, checked.
type runOptions struct {
	command    []string // as it is recorded
	op         string
	sel        project.Selection
	filter     query.StatusFilter
	safeguards project.Safeguards
	exec       runner.Options
	waves      waves
	claims     claimOptions
	interval   time.Duration
	quiet      bool
	reports    []runReport
	output     string

	force, resume, allowRollback bool

	// Of `run` alone, as Terramate's flags.
	eval, share, mock bool
	planFile          planFile
}

// work makes the tasks of a run, and tells the session what each of them does to
// its stack. A stack without a task is not selected any more.
type work func(p *project.Project, n *session, u *ui, o runOptions, stacks []runner.Stack) (map[string]runner.Task, error)

// chosen is what the flags of a run come to: which stacks, in which order, with what,
// and what is known of them.
type chosen struct {
	*session
	u       *ui
	ci      ciJob
	o       runOptions
	project *project.Project
	sync    syncPlan
	st      *gitstate.State
	graph   *runner.Graph
	tasks   map[string]runner.Task
	order   []string          // all that are selected
	todo    []string          // those of them that are to run,
	off     map[string]taken  // and why the others need not
	ops     []string          // what is done to them,
	asked   []string          // and what st was read for
	pending bool              // --pending,
	why     map[string]string // and why a stack is
	leg     *leg              // --stacks-from
}

// choose is what `run`, `script run` and `matrix` have in common: all that comes before
// something is announced. Who is done with it closes its store.
func choose(c *cli.Context, env Env, command []string, plan work) (x *chosen, err error) {
	ctx, u, ci := c.Context, newUI(env), env.ci()
	u.Quiet = c.Bool("quiet")
	if err := setLogLevel(c); err != nil {
		return nil, err
	}
	dir, err := workingDir(c)
	if err != nil {
		return nil, err
	}
	s, err := openStore(c, env, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	leg, err := readLeg(c, env, command)
	if err != nil {
		return nil, err
	}
	o, err := parseRun(c, env, s)
	if err != nil {
		return nil, err
	}
	o.command = command
	if c.Bool("pending") && c.Bool("force") {
		return nil, errPendingForce
	}
	if c.Bool("continue-on-error") {
		u.Say("--continue-on-error is the default here, and stacks that depend on a failed one do not run")
	}
	head, err := s.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	if err := leg.at(head); err != nil {
		return nil, err
	}

	// Which stacks, in Terramate's way; nothing runs where a safeguard refuses.
	restore := relaxGC(env)
	leg.narrow(&o)
	pending := c.Bool("pending") && leg == nil
	p, err := project.Load(ctx, project.Options{Dir: dir, Environ: env.Environ, Terragrunt: o.sel.Terragrunt() || pending, Inputs: !o.exec.DryRun || pending, Memory: s})
	if err != nil {
		return nil, err
	}
	n := &session{env: env, store: s, commit: head, stacks: map[string]recorded{}, reader: query.NewReader(ctx, p.Root())}
	if n.run, err = runOf(c, env, s, leg); err != nil {
		return nil, err
	}
	s.UseJournal(n.run)
	if leg != nil && !leg.aside {
		n.leg = leg.Leg
		s.OwnWriter()
	}
	tasks := map[string]runner.Task{}
	prepare := func(stacks []runner.Stack) ([]runner.Stack, error) {
		more, err := plan(p, n, u, o, stacks)
		maps.Copy(tasks, more)
		return slices.DeleteFunc(slices.Clone(stacks), func(s runner.Stack) bool { _, has := more[s.Path]; return !has }), err
	}
	var sync syncPlan
	var st *gitstate.State
	var asked []string // the operations that the state was read for
	know := func(ops []string) error {
		if st != nil {
			return nil
		}
		asked = ops
		var err error
		if sync, err = planSync(c, s, p.DefaultRemote(), ci, ops...); err != nil {
			return err
		}
		// What decides by the state reads the remote's, also where the operation
		// itself is not synced; a dry run that decides nothing reads none.
		read := sync
		if (o.filter.Set() || pending) && read.remote == "" {
			if read, err = planSync(c, s, p.DefaultRemote(), ci, note.Deploy); err != nil {
				return err
			}
		}
		if o.exec.DryRun && !slices.Contains(ops, note.Deploy) && !o.filter.Set() && !pending && !c.Bool("resume") {
			read = syncPlan{}
		}
		if err := fetchNotes(ctx, s, u, read); err != nil {
			return err
		}
		if st, err = s.State(ctx); err == nil {
			s.Basis(st)
		}
		return err
	}
	why := map[string]string{} // the stacks that are pending
	if o.filter.Set() || pending {
		o.sel.Keep = func(stacks []runner.Stack) ([]runner.Stack, error) {
			stacks, err := prepare(stacks)
			if err != nil {
				return nil, err
			}
			ops := n.operations(stacks)
			if err := know(ops); err != nil {
				return nil, err
			}
			if pending && len(stacks) > 0 {
				if err := errors.Join(query.DestroysPending(o.op, ops), refuseEmpty(c, st, query.PendingFor(o.op, ops[0]))); err != nil {
					return nil, err
				}
			}
			if stacks, err = query.FilterStacks(stacks, o.filter, n.views(st)); err != nil || !pending {
				return stacks, err
			}
			q, err := query.NewPendings(ctx, s, p, st)
			if err != nil {
				return nil, err
			}
			n.pendings = q
			return n.pending(q, u, o, stacks, why)
		}
	}
	selected, err := p.Select(o.sel)
	if err != nil {
		return nil, err
	}
	if selected, err = leg.pick(selected); err != nil {
		return nil, err
	}
	if err := checkSafeguards(ctx, s, p, o, env.ci()); err != nil {
		return nil, err
	}
	var stacks, added []runner.Stack
	for _, sel := range selected {
		switch _, has := tasks[sel.Path]; {
		case pending && why[sel.Path] == "" && !o.sel.Dependencies.HasDependencyFilters():
			// Only wanted by one that is pending (stack.wants).
		case has:
			stacks = append(stacks, sel.Stack)
		default:
			added = append(added, sel.Stack)
		}
	}
	if len(added) > 0 || o.sel.Keep == nil {
		if added, err = prepare(added); err != nil {
			return nil, err
		}
	}
	stacks = append(stacks, added...)
	if err := leg.same(n, stacks); err != nil {
		return nil, err
	}
	restore()
	ops := n.operations(stacks)
	if err := know(ops); err != nil {
		return nil, err
	}
	graph, err := p.Graph(stacks)
	if err != nil {
		return nil, err
	}
	if c.Bool("reverse") {
		graph = graph.Reverse()
	}
	n.waves = &o.waves
	if err := n.waves.divide(p, n, graph, ops); err != nil {
		return nil, err
	}
	if n.leg > 0 && len(n.waves.filters) > 0 {
		return nil, errWavesInLegs
	}
	order := graph.Order()
	var busy []recorded
	for _, path := range order {
		r := n.stacks[path]
		l, err := n.locate(st, &r)
		if err != nil {
			return nil, err
		}
		r.was = l
		r.followed(&l, head.Hash, n.run)
		n.stacks[path] = r
		if (l.Status == note.Queued || l.Status == note.Running) && l.Run != n.run {
			busy = append(busy, r)
		}
	}
	if len(busy) > 0 && !o.exec.DryRun {
		u.Warn(atWork(busy, o.claims, sync.remote))
	}

	// What need not run. What has uncommitted changes is not what was deployed.
	dirty, err := p.DirtyStacks(stacks)
	if err != nil {
		return nil, err
	}
	for path := range dirty {
		r := n.stacks[path]
		r.dirty = true
		n.stacks[path] = r
	}
	off := map[string]taken{}
	n.before, n.reselect, n.forced = st, pending, o.force
	if sync.remote != "" && !o.exec.DryRun {
		if n.newer, err = newNewer(ctx, n, p, st, sync.remote, o.sel.Target); err != nil {
			return nil, err
		}
	}
	if !o.filter.Set() {
		// What is pending, or was asked for beside it, is not done.
		if off, err = takeOff(ctx, st, n, order, !pending && !o.force, o.resume, o.allowRollback, u.Warn); err != nil {
			return nil, err
		}
		if err := leg.takeOff(st, n, order, off); err != nil {
			return nil, err
		}
	}
	o.exec.Skip = map[string]bool{}
	var todo []string
	for _, path := range order {
		if _, is := off[path]; is {
			o.exec.Skip[path] = true
		} else {
			todo = append(todo, path)
		}
	}
	if err := n.waves.standing(st, n, o.exec.Skip); err != nil {
		return nil, err
	}
	return &chosen{session: n, u: u, ci: ci, o: o, project: p, sync: sync, st: st, graph: graph, tasks: tasks, order: order, todo: todo,
		off: off, ops: ops, asked: asked, pending: pending, why: why, leg: leg}, nil
}

// runOnce is what `run` and `script run` have in common: all but what is executed.
// again is set where the selection has to be made anew; see run.
func runOnce(c *cli.Context, env Env, command []string, plan work, again *bool) error {
	if !c.Bool("dry-run") {
		outliveReader()
	}
	env = withScreen(env)
	x, err := choose(c, env, command, plan)
	if err != nil {
		return err
	}
	defer x.store.Close()
	ctx, n, u, o, order, todo, off := c.Context, x.session, x.u, x.o, x.order, x.todo, x.off
	n.sayAssumed(u, order)
	describe(u, n, order, x.ops, off, o)
	if n.leg > 0 {
		u.Say("leg %d of %d of run %s", x.leg.Leg, x.leg.Legs, n.run)
	}
	if x.pending {
		describePending(u, todo, x.why, listPending(c))
	}
	if len(order) == 0 || len(todo) == 0 && !o.exec.DryRun {
		if len(order) == 0 {
			if x.pending {
				u.Say("no stack is pending: nothing to do")
			} else {
				u.Say("no stack is selected: nothing to do")
			}
		} else {
			u.Say("nothing to do: %s", allDone(off, n.commit.Hash))
		}
		if err := n.lookedAt(ctx, u, x.ci, x.sync, strings.Join(x.asked, ","), o, again); err != nil || len(o.reports) == 0 {
			return err
		}
		n.writeReports(ctx, u, env, o.reports, x.sync.remote, order)
		return nil
	}
	if err := checkPrograms(x.tasks, todo); err != nil {
		return err
	}
	if o.exec.DryRun {
		return dryRun(ctx, u, x.graph, x.tasks, o)
	}
	if err := x.leg.moved(x.st, n); err != nil {
		return err
	}
	n.keepPlans(u, x.tasks, o.planFile)
	if n.made, err = query.MadeOf(ctx, x.project, todo); err != nil {
		return err
	}
	if n.guard, err = x.guard(ctx); err != nil {
		return err
	}
	if n.leg > 0 {
		o.exec.Admit = x.legGate(c)
		n.waitsForLegs = func(path string) bool { return len(x.leg.of[path].After) > 0 }
	}
	of := telemetry.Run{Op: strings.Join(x.ops, ","), Target: o.sel.Target, Job: x.ci.job}
	end, err := n.tell(ctx, u, x.st, of, true, x.tasks, todo, settings.onChange.text(c, n.store))
	if err != nil {
		return err
	}
	defer n.writeReports(ctx, u, env, o.reports, x.sync.remote, order)
	defer end()
	return n.execute(ctx, u, x.ci, x.sync, x.graph, x.tasks, todo, off, o, of.Op, of.Target, env, again)
}

// plan makes the tasks: each stack's command, environment and operation.
func plan(p *project.Project, n *session, _ *ui, o runOptions, stacks []runner.Stack) (map[string]runner.Task, error) {
	envs, err := p.Envs(stacks)
	if err != nil {
		return nil, err
	}
	tasks := make(map[string]runner.Task, len(stacks))
	type shared struct {
		env, runEnv []string
		op          command.Operation
	}
	seen := map[*string]shared{} // stacks without variables of their own share one environment
	for _, st := range stacks {
		cmd := o.command
		if o.eval {
			if cmd, err = p.Eval(st, o.sel.Target, cmd); err != nil {
				return nil, fmt.Errorf("%s: %w", st.Path, err)
			}
		}
		var key *string
		if e := envs[st.Path]; len(e) > 0 {
			key = &e[0]
		}
		known, ok := seen[key]
		if !ok || o.eval {
			known.env = append(slices.Clone(envs[st.Path]), "TMNOTES_RUN="+n.run)
			known.runEnv = p.RunEnv(envs[st.Path])
			known.op = command.Recognise(cmd, known.env, o.op)
			seen[key] = known
		}
		command := runner.Command{Args: cmd, Changes: changes(known.op)}
		if o.share {
			command.Prepare = p.Sharing(st, o.mock)
		}
		tasks[st.Path] = runner.Task{Stack: st, Commands: []runner.Command{command}, Env: known.env,
			Secrets: note.NewRedactor(known.env, cmd)}
		if err := n.recordedAs(st, known.op, o.sel.Target, known.env, known.runEnv); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

// changes is what exit code 2 of a command says of its stack.
func changes(op command.Operation) runner.Status {
	if op.Name == note.Drift {
		return runner.StatusDrifted
	}
	return ""
}

// operations are the names of what the command does to the stacks: one, but
// where the environments of stacks make a difference.
func (n *session) operations(stacks []runner.Stack) []string {
	var ops []string
	for _, s := range stacks {
		if op := n.stacks[s.Path].op.Name; !slices.Contains(ops, op) {
			ops = append(ops, op)
		}
	}
	slices.Sort(ops)
	return ops
}
