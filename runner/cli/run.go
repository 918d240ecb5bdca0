package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func runCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command in the selected stacks, and record each result",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "Selects, orders and runs as `terramate run` does, with the same flags. A deployment (terraform, tofu or\n" +
			"terragrunt apply of the whole stack, or --op deploy) skips the stacks that are deployed at this commit already.\n" +
			"A stack that fails blocks the stacks that depend on it, and no others; of a command that changes nothing (plan, drift), none.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), revisitFlags(), orphanedFlags(), targetFlags(), runFlags(), commandFlags(), executionFlags(), waveFlags(), planFlags(), issueFlags(), claimFlags(), legFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			cmd := c.Args().Slice()
			if len(cmd) == 0 || cmd[0] == "" {
				return errNoCommand
			}
			if c.Bool("orphaned") {
				return runOrphaned(c, env, cmd)
			}
			return run(c, env, cmd, commandTasks)
		},
	}
}

// runOptions is what the flags of `run` say, checked.
type runOptions struct {
	deploy.Request
	quiet   bool
	reports []runReport
	output  string
	events  bool // written as JSON
	// keepLogs is of which stacks what they print is kept.
	keepLogs string

	// Of `run` alone, as Terramate's flags.
	eval, share, mock bool
	planFile          planFile

	maxDestroy int // noLimit for none
	issues     issueOptions
}

// work makes the tasks of a run by its options.
type work func(u *ui, o *runOptions) deploy.Tasks

// chosen is a plan, and how it is to be told.
type chosen struct {
	*deploy.Plan
	u      *ui
	held   []runner.Result // what somebody holds, and what depends on it, before anything starts
	o      runOptions
	words  []string // of the command line, that are no flags of ours
	logs   *logs
	hide   *note.Redactor
	above  bool             // all of the output is right above the end of the run
	events *terminal.Events // nil where nobody asked for them
}

// choose is what `run`, `script run` and `matrix` have in common: all that comes before
// something is announced. Who is done with it closes its store.
func choose(c *cli.Context, env Env, command []string, tasks work) (x *chosen, err error) {
	u := newUI(env)
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
	o, err := parseRun(c, env, s, command)
	if err != nil {
		return nil, err
	}
	if c.Bool("continue-on-error") {
		u.Say("--continue-on-error is the default here, and stacks that depend on a failed one do not run")
	}
	e := deploy.Engine{World: env.world(u), Store: s, Dir: dir}
	p, err := e.Plan(c.Context, o.Request, tasks(u, &o))
	if err != nil {
		return nil, err
	}
	x = &chosen{Plan: p, u: u, o: o, words: c.Args().Slice()}
	if o.events {
		x.events = &terminal.Events{Run: p.RunID, Out: env.Stdout}
	}
	return x, nil
}

// run runs what `run` and `script run` select. With --pending it selects anew where
// a pipeline of another commit began between the look at what is deployed and the
// announcement: neither knew of the other then.
func run(c *cli.Context, env Env, command []string, tasks work) error {
	const most = 3
	if err := checkFormat(c); err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	var first error
	for range most {
		overtaken, err := runOnce(c, env, command, tasks)
		if first == nil {
			first = err
		}
		if !overtaken || c.Context.Err() != nil || os.Chdir(dir) != nil {
			break
		}
		newUI(env).Say("a pipeline for another commit started meanwhile: selecting the pending stacks again")
	}
	return first
}

// runOnce is what `run` and `script run` have in common: all but what is executed.
// overtaken says that the selection has to be made anew; see run.
func runOnce(c *cli.Context, env Env, command []string, tasks work) (overtaken bool, err error) {
	if !c.Bool("dry-run") {
		runner.OutliveReader()
	}
	env = withScreen(env)
	x, err := choose(c, env, command, tasks)
	if err != nil {
		return false, err
	}
	defer x.Store.Close()
	out, err := x.run(c)
	return out.Overtaken, err
}

// run runs what was chosen, and tells of it. There is an outcome in any case.
func (x *chosen) run(c *cli.Context) (out *deploy.Outcome, err error) {
	if x.held = x.Held(); x.Exec.DryRun {
		x.HoldBack() // shown, and not as what would run
	}
	x.say(c)
	x.planned()
	out = &deploy.Outcome{}
	defer func() { x.ended(out, err) }()
	ctx := c.Context
	if len(x.Order) == 0 || len(x.Todo) == 0 && !x.Exec.DryRun {
		if out.Overtaken, err = x.LookedAt(ctx); err == nil && len(x.o.reports) > 0 {
			x.writeReports(ctx)
		}
		return out, err
	}
	if err := deploy.CheckPrograms(x.Tasks, x.Todo); err != nil {
		return out, err
	}
	if err := limitDestroys(x.Session, x.Tasks, x.Todo, x.o.planFile, x.o.maxDestroy); err != nil {
		return out, err
	}
	if x.Exec.DryRun {
		return out, dryRun(ctx, x)
	}
	issues, err := newDriftIssues(c, x.u.env, x)
	if err != nil {
		return out, err
	}
	keepPlans(x.Session, x.Tasks, x.o.planFile)
	issues.watch(x.Tasks)
	x.logs = keepLogs(x.Session, x.Tasks, x.o.keepLogs)
	told := audience{u: x.u, run: telemetry.Run{Op: strings.Join(x.Ops, ","), Target: x.Select.Target, Job: x.CI.Job}, whole: true, onChange: settings.onChange.text(c, x.Store)}
	end, err := told.follow(ctx, x.Session, x.Tasks, x.Todo)
	if err != nil {
		return out, err
	}
	defer x.writeReports(ctx)
	defer end()
	began := time.Now()
	done, err := x.Execute(ctx, x.display)
	if err != nil {
		return out, err
	}
	out = done
	issues.end(ctx, out)
	x.report(out, time.Since(began))
	return out, x.verdict(out)
}

// say tells what is about to happen.
func (x *chosen) say(c *cli.Context) {
	x.SayAssumed(x.Order)
	describe(x)
	if x.LegNumber > 0 {
		x.u.Say("leg %d of %d of run %s", x.Leg.Leg, x.Leg.Legs, x.RunID)
	}
	if x.Pending {
		describePending(x.u, x.Todo, x.Why, listPending(c))
	}
	switch {
	case len(x.Order) == 0 && x.Pending:
		x.u.Say("no stack is pending: nothing to do")
	case len(x.Order) == 0:
		x.u.Say("no stack is selected: nothing to do")
	case len(x.Todo) == 0 && !x.Exec.DryRun:
		x.u.Say("nothing to do: %s", allDone(x.Off, x.Commit.Hash))
	}
}

// commandTasks makes the tasks of one command: each stack's words, environment and operation.
func commandTasks(_ *ui, o *runOptions) deploy.Tasks {
	return func(p *project.Project, n *deploy.Session, stacks []runner.Stack) (map[string]runner.Task, error) {
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
			cmd := o.Command
			if o.eval {
				if cmd, err = p.Eval(st, o.Select.Target, cmd); err != nil {
					return nil, fmt.Errorf("%s: %w", st.Path, err)
				}
			}
			var key *string
			if e := envs[st.Path]; len(e) > 0 {
				key = &e[0]
			}
			known, ok := seen[key]
			if !ok || o.eval {
				known.env = append(slices.Clone(envs[st.Path]), "TMNOTES_RUN="+n.RunID)
				known.runEnv = p.RunEnv(envs[st.Path])
				known.op = command.Recognise(cmd, known.env, o.Op)
				seen[key] = known
			}
			command := runner.Command{Args: cmd, Changes: deploy.Changes(known.op)}
			if known.op.Name == previewOp && o.planFile.name != "" {
				command.Changes = runner.StatusOK // as in Terramate
			}
			if o.share {
				command.Prepare = p.Sharing(st, o.mock)
			}
			tasks[st.Path] = runner.Task{Stack: st, Commands: []runner.Command{command}, Env: known.env,
				Secrets: note.NewRedactor(known.env, cmd)}
			if err := n.RecordedAs(st, known.op, o.Select.Target, known.env, known.runEnv); err != nil {
				return nil, err
			}
		}
		return tasks, nil
	}
}

var errNoCommand = errors.New("no command given; write it after --, as in: tmnotes run -- terraform apply -auto-approve")
