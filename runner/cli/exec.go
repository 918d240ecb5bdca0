package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
)

func execCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run a command in this stack, and record the result: for use inside `terramate run`",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "Exits as the command did; 125 is an error of tmnotes itself, and then the command was not run. The records stay\n" +
			"here until `tmnotes sync` sends them.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			settings.op.flag(),
			&cli.BoolFlag{Name: "force", Usage: "run even if the stack is up to date"},
			&cli.BoolFlag{Name: "resume", Usage: "skip if this operation succeeded at this commit, deployment or not"},
			&cli.BoolFlag{Name: "allow-rollback", Usage: "deploy this commit even where a newer one is deployed"},
			breakHoldFlag(), settings.retry.flag(), settings.retryOn.flag(), settings.timeout.flag(), settings.maxDestroy.flag(),
			&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Usage: "print only the command's output, and errors"},
			settings.keepLogs.flag(), onChangeFlag(),
		}, planFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			err := execute(c, env)
			if err != nil && !hasExitCode(err) {
				return &exitError{exitExec, err}
			}
			return err
		},
	}
}

// execOptions is what the flags of `exec` say, checked.
type execOptions struct {
	deploy.HereRequest
	planFile   planFile
	maxDestroy int
	onChange   string
	keepLogs   string
}

func parseExec(c *cli.Context, env Env, s *gitstate.Store) (o execOptions, err error) {
	o.Command, o.Target, o.Parent = c.Args().Slice(), c.String("target"), runner.ParentID()
	if o.Op, err = opFlag(c); err != nil {
		return o, err
	}
	if err := project.ValidTarget(o.Target); err != nil {
		return o, err
	}
	if o.planFile, err = parsePlanFile(c); err != nil {
		return o, err
	}
	if o.maxDestroy, err = parseMaxDestroy(c, s); err != nil {
		return o, err
	}
	if o.BreakHold, err = breakHold(c); err != nil {
		return o, err
	}
	if o.Run = env.Getenv("TMNOTES_RUN"); o.Run != "" && !command.ValidRun(o.Run) {
		return o, fmt.Errorf("TMNOTES_RUN=%q is not the id of a run; unset it, or take one from `tmnotes log`", o.Run)
	}
	if o.keepLogs, err = parseKeepLogs(c, s); err != nil {
		return o, err
	}
	o.Rules = deploy.Rules{Force: c.Bool("force"), Resume: c.Bool("resume"), Rollback: c.Bool("allow-rollback")}
	o.Sync, o.onChange = syncSetting(c, s), settings.onChange.text(c, s)
	o.Exec, err = parseExecution(c, s)
	return o, err
}

func execute(c *cli.Context, env Env) error {
	ctx, u := c.Context, newUI(env)
	if cmd := c.Args().Slice(); len(cmd) == 0 || cmd[0] == "" {
		return errors.New("no command given; write it after --, as in: terramate run -- tmnotes exec -- terraform apply")
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
	o, err := parseExec(c, env, s)
	if err != nil {
		return err
	}
	e := deploy.Engine{World: env.world(u), Store: s, Dir: dir}
	h, err := e.Here(ctx, o.HereRequest)
	if err != nil {
		return err
	}
	d, err := h.Decide(ctx)
	if err != nil {
		return err
	}
	if d.Verdict != deploy.Run {
		u.Say("%s: nothing to do: %s", h.Stack.Path, d.WhyAndHow())
		return nil
	}
	if err := limitDestroys(h.Session, h.Tasks, []string{h.Stack.Path}, o.planFile, o.maxDestroy); err != nil {
		return err
	}
	keepPlans(h.Session, h.Tasks, o.planFile)
	keepLogs(h.Session, h.Tasks, o.keepLogs)
	r := h.Planned(h.Stack.Path)
	told := audience{u: u, run: telemetry.Run{Op: r.Op.Name, Target: r.Target, Job: h.CI.Job}, onChange: o.onChange}
	end, err := told.follow(ctx, h.Session, h.Tasks, []string{h.Stack.Path})
	if err != nil {
		return err
	}
	defer end()
	result, interrupted, err := h.Execute(ctx)
	if err != nil {
		return err
	}
	return exitAs(result, interrupted)
}

// exitAs exits as the command did.
func exitAs(res runner.Result, interrupted bool) error {
	switch {
	case res.Exit > 0:
		return &exitError{code: res.Exit}
	case res.Status == runner.StatusOK:
		return nil
	case interrupted:
		return &exitError{code: exitInterrupted}
	case res.Status == runner.StatusBlocked:
		return &exitError{exitExec, fmt.Errorf("%s is %s; nothing was executed (--break-hold REASON is for emergencies)", res.Stack.Path, res.Reason)}
	case res.Tries == 0 || res.Exit < 0 && res.Signal == "":
		return &exitError{exitExec, fmt.Errorf("%s: %s", res.Stack.Path, res.Reason)}
	}
	return &exitError{code: exitFailed}
}
