package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func execCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run a command in the stack of the working directory, and record the result: for use inside `terramate run`",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "terramate run -- tmnotes exec -- terraform apply -auto-approve\n" +
			"tmnotes sync\n\n" +
			"Exits as the command did; 125 is an error of tmnotes itself, and then the command was not run. The records stay\n" +
			"here until `tmnotes sync` sends them.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			settings.op.flag(),
			&cli.BoolFlag{Name: "force", Usage: "run also if the stack is already deployed at this commit (no older commit over a newer one: see --allow-rollback)"},
			&cli.BoolFlag{Name: "resume", Usage: "skip if it succeeded at this commit, also for commands that are no deployment"},
			&cli.BoolFlag{Name: "allow-rollback", Usage: "deploy this commit also where a newer one is deployed"},
			settings.retry.flag(), settings.retryOn.flag(), settings.timeout.flag(),
			&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Usage: "only the command's own output, and errors"},
			onChangeFlag(),
		}, planFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			err := execute(c, env)
			var ee *exitError
			if err != nil && !errors.As(err, &ee) {
				return &exitError{exitExec, err}
			}
			return err
		},
	}
}

func execute(c *cli.Context, env Env) error {
	ctx, u, ci := c.Context, newUI(env), env.ci()
	u.Quiet = c.Bool("quiet")
	cmd := c.Args().Slice()
	if len(cmd) == 0 || cmd[0] == "" {
		return errors.New("no command given; write it after --, as in: terramate run -- tmnotes exec -- terraform apply")
	}
	opName, err := opFlag(c)
	if err != nil {
		return err
	}
	if err := project.ValidTarget(c.String("target")); err != nil {
		return err
	}
	file, err := parsePlanFile(c)
	if err != nil {
		return err
	}
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	s, err := openStore(c, env, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	x, err := parseExecution(c, s)
	if err != nil {
		return err
	}
	stack, root, err := project.StackAt(ctx, dir)
	if err != nil {
		return err
	}
	head, err := s.Resolve("HEAD")
	if err != nil {
		return err
	}
	op := command.Recognise(cmd, env.Environ, opName)
	if op.Note != "" {
		u.Say("%s: %s: %s", stack.Path, op.Name, op.Note)
	}

	task := runner.Task{Stack: runner.Stack{Path: stack.Path, ID: stack.ID, Name: stack.Name, Dir: dir},
		Commands: []runner.Command{{Args: cmd, Changes: changes(op)}}, Env: env.Environ}
	if err := checkPrograms(map[string]runner.Task{stack.Path: task}, []string{stack.Path}); err != nil {
		return err
	}
	runEnv, err := project.RunEnvAt(root, stack.Dir)
	if err != nil {
		return err
	}

	// All children of one `terramate run` are one run, and fetch once. (A shell
	// is a parent, too, for a day: on another commit it is another run.)
	group, err := s.Group(ctx, parentID()+"-"+head.Hash)
	if err != nil {
		return err
	}
	n := &session{env: env, store: s, commit: head, run: group.Run, stacks: map[string]recorded{}, reader: query.NewReader(ctx, root)}
	if id := env.Getenv("TMNOTES_RUN"); id != "" {
		if n.run, err = runID(env, s); err != nil {
			return err
		}
	} else if n.run, err = attempt(ctx, s, group, head.Hash, stack.Path, op.Name); err != nil {
		return err
	}
	s.UseJournal(n.run)
	plan, err := planSync(c, s, "", ci, op.Name)
	if err != nil {
		return err
	}
	if plan.remote != "" {
		if err := group.Once(ctx, "fetch-"+plan.remote, time.Minute, func() error {
			return fetchNotes(ctx, s, u, plan)
		}); err != nil {
			return err
		}
	}
	st, err := s.State(ctx)
	if err != nil {
		return err
	}
	s.Basis(st)
	if err := n.recordedAs(task.Stack, op, c.String("target"), env.Environ, runEnv); err != nil {
		return err
	}
	n.before = st
	r := n.stacks[stack.Path]
	l, err := n.locate(st, &r)
	if err != nil {
		return err
	}
	r.followed(&l, head.Hash, n.run)
	if r.dirty, err = project.DirtyHere(ctx, root, stack, false); err != nil {
		return err
	}
	n.stacks[stack.Path] = r
	off, err := takeOff(ctx, st, n, []string{stack.Path}, !c.Bool("force"), c.Bool("resume"), c.Bool("allow-rollback"), u.Warn)
	if err != nil {
		return err
	}
	if t, is := off[stack.Path]; is {
		u.Say("%s: nothing to do: %s", stack.Path, t.whyAndHow())
		return nil
	}

	mark, err := s.Live(n.run, stack.Path)
	if err != nil {
		return err
	}
	defer mark.Done()
	x.Inherit = mark.Inherited()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was executed")}
	}
	outliveReader()
	ctx = context.WithoutCancel(ctx)
	if err := group.Once(ctx, "sign", time.Minute, func() error { return s.TrySign(ctx) }); err != nil {
		return fmt.Errorf("%w; nothing was executed", err)
	}
	if err := group.Once(ctx, "head-"+n.run, 0, func() error {
		return s.Append(head.Hash, n.head(ctx, ci, op.Name, r.target, 0, cmd))
	}); err != nil {
		return err
	}
	graph, err := runner.NewGraph([]string{stack.Path}, nil)
	if err != nil {
		return err
	}
	x.Signals, x.Foreground = signals, runner.Foreground(env.Stdin)
	x.Stdin, x.Stdout, x.Stderr, x.Output = env.Stdin, env.Stdout, env.Stderr, runner.OutputDirect
	task.Env = append(task.Env, "TMNOTES_RUN="+n.run)
	task.Secrets = note.NewRedactor(env.Environ, cmd)
	tasks := map[string]runner.Task{stack.Path: task}
	n.keepPlans(u, tasks, file)
	end, err := n.tell(ctx, u, st, telemetry.Run{Op: op.Name, Target: r.target, Job: ci.job}, false, tasks, []string{stack.Path}, settings.onChange.text(c, s))
	if err != nil {
		return err
	}
	defer end()
	ignored, err := project.IgnoredDigests(ctx, root, []string{stack.Path})
	if err != nil {
		return err
	}
	n.made = &query.Made{Ignored: ignored}
	n.guard = &stackHere{ctx, s, root, stack, head.Hash}
	interrupted := false
	observe := func(e runner.Event) error {
		switch e.Kind {
		case runner.Started:
			return n.started(stack.Path)
		case runner.Retrying:
			u.Say("%s failed (%s); trying again in %s", stack.Path, e.Result.Reason, terminal.Took(e.Wait))
		case runner.Interrupted:
			interrupted = true
		case runner.Finished:
			n.recheck(u, stack.Path)
			return n.result(e.Result)
		}
		return nil
	}
	results, err := runner.Execute(ctx, graph, tasks, x, func(e runner.Event) error {
		err := observe(e)
		for _, w := range n.watch {
			w(e)
		}
		return err
	})
	if serr := s.Sync(); err == nil {
		err = serr
	}
	if err != nil {
		return fmt.Errorf("%s ran, but its result could not be recorded: %w", stack.Path, err)
	}
	// One of all children writes the notes every few seconds; what is left is
	// in the journal for the next, and for `tmnotes sync`.
	if err := group.Once(ctx, "flush", flushInterval, func() error { return s.Flush(ctx) }); err != nil {
		u.Warn(err.Error())
	}
	res := results[0]
	switch {
	case res.Exit > 0:
		return &exitError{code: res.Exit}
	case res.Status == runner.StatusOK:
		return nil
	case interrupted:
		return &exitError{code: exitInterrupted}
	case res.Tries == 0 || res.Exit < 0 && res.Signal == "":
		return &exitError{exitExec, fmt.Errorf("%s: %s", stack.Path, res.Reason)}
	}
	return &exitError{code: exitFailed}
}

// attempt is the run of a group that has not done the operation to the stack yet: in a shell that is
// the parent of one exec after the other each is a run of its own.
func attempt(ctx context.Context, s *gitstate.Store, group *gitstate.Group, commit, stack, op string) (string, error) {
	for {
		run := group.Run
		lines, err := s.Note(commit)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(lines, func(l gitstate.Line) bool { return l.Record.Run == run && l.Record.Stack == stack && l.Record.Op == op }) {
			return run, nil
		}
		if err := group.Renew(ctx, run, s.NewRun); err != nil {
			return "", err
		}
	}
}
