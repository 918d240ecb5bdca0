package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func scriptCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "script",
		Usage:     "run Terramate scripts, and record each stack's result",
		ArgsUsage: "run [flags] LABEL...",
		Subcommands: []*cli.Command{{
			Name:      "run",
			Usage:     "run a Terramate script in the selected stacks, and record each result",
			ArgsUsage: "LABEL...",
			Description: "Selects, orders and runs as `terramate script run` does, with the same flags, which stand before the labels.\n" +
				"A script with sync_deployment = true is a deployment; stacks that are deployed at this commit already are skipped.\n" +
				"A stack whose script failed runs the whole script again.",
			Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), revisitFlags(), targetFlags(), runFlags(), executionFlags(), waveFlags(), issueFlags(), claimFlags(), legFlags(), syncFlags(), storeFlags()),
			Action: func(c *cli.Context) error {
				labels := c.Args().Slice()
				if len(labels) == 0 {
					return errors.New("no script specified; name it by its labels, as in: tmnotes script run deploy")
				}
				return run(c, env, append([]string{"script", "run"}, labels...), scriptTasks(labels))
			},
		}},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				printHelp(env, commandPage(c.Command, "script", true))
				return nil
			}
			return fmt.Errorf("unknown command \"script %s\"; tmnotes has `tmnotes script run LABEL...`", c.Args().First())
		},
	}
}

// scriptTasks makes the tasks of a script: in each stack that has it, the commands
// of all its jobs.
func scriptTasks(labels []string) work {
	return func(u *ui, o *runOptions) deploy.Tasks {
		return func(p *project.Project, n *deploy.Session, stacks []runner.Stack) (map[string]runner.Task, error) {
			return o.scriptTasks(u, labels, p, n, stacks)
		}
	}
}

func (o *runOptions) scriptTasks(u *ui, labels []string, p *project.Project, n *deploy.Session, stacks []runner.Stack) (map[string]runner.Task, error) {
	scripts, err := p.Scripts(labels, o.Select.Target, stacks)
	if err != nil {
		return nil, err
	}
	if o.Exec.DryRun {
		u.Say("This is a dry run, commands will not be executed.")
	}
	of := map[string]project.Script{}
	for _, s := range scripts {
		u.Say("Script %d at %s having %d job(s)", s.Index, s.Place, s.Jobs)
		for path := range s.Stacks {
			of[path] = s
		}
	}
	having := slices.DeleteFunc(slices.Clone(stacks), func(st runner.Stack) bool { _, has := of[st.Path]; return !has })
	envs, err := p.Envs(having)
	if err != nil {
		return nil, err
	}
	tasks := make(map[string]runner.Task, len(having))
	for _, st := range having {
		script := of[st.Path]
		commands := script.Stacks[st.Path]
		env := append(slices.Clone(envs[st.Path]), "TMNOTES_RUN="+n.RunID)
		op := recogniseScript(labels, commands, env, o.Op)
		secrets := note.NewRedactor(env)
		task := runner.Task{Stack: st, Env: env, Secrets: secrets}
		drift := driftCommands(op, commands)
		for i, c := range commands {
			secrets.LearnCommands(c.Args)
			cmd := runner.Command{Args: c.Args}
			switch {
			case drift[i]:
				cmd.Changes = runner.StatusDrifted
			case c.ChangesOK:
				cmd.Changes = runner.StatusOK
			}
			if c.EnableSharing {
				cmd.Prepare = p.Sharing(st, c.MockOnFail)
			}
			if !o.quiet {
				at := fmt.Sprintf("%s (script:%d job:%d.%d)> ", st.Path, script.Index, c.Job, c.Num)
				cmd.Line = u.Paint(terminal.Green, runner.Printable(at)) + u.Paint(terminal.Yellow, runner.Printable(strings.Join(c.Args, " ")))
			}
			task.Commands = append(task.Commands, cmd)
		}
		tasks[st.Path] = task
		if err := n.RecordedAs(st, op, o.Select.Target, env, p.RunEnv(envs[st.Path])); err != nil {
			return nil, err
		}
		r := n.Stacks[st.Path]
		for _, c := range commands {
			r.Deploying = append(r.Deploying, c.SyncDeployment)
		}
		n.Stacks[st.Path] = r
	}
	return tasks, nil
}

// recogniseScript says what a stack's script does to it: what --op says, what the
// script's options for Terramate Cloud say, or what its commands are known to do.
func recogniseScript(labels []string, commands []project.ScriptCommand, env []string, override string) command.Operation {
	declared := ""
	args := make([][]string, len(commands))
	for i, c := range commands {
		args[i] = c.Args
		switch {
		case c.SyncDeployment:
			declared = note.Deploy
		case c.SyncDriftStatus && declared == "":
			declared = note.Drift
		}
	}
	return command.RecogniseScript(labels, args, env, declared, override)
}

// driftCommands says of which commands exit code 2 means that the stack has drifted,
// if the script looks for drift: those with sync_drift_status. Where --op drift says so, and none has that
// option, it is those with -detailed-exitcode, and else the last.
func driftCommands(op command.Operation, commands []project.ScriptCommand) []bool {
	is := make([]bool, len(commands))
	if op.Name != note.Drift {
		return is
	}
	for _, has := range []func(project.ScriptCommand) bool{
		func(c project.ScriptCommand) bool { return c.SyncDriftStatus },
		func(c project.ScriptCommand) bool {
			return slices.Contains(c.Args, "-detailed-exitcode") || slices.Contains(c.Args, "--detailed-exitcode")
		},
	} {
		for i, c := range commands {
			is[i] = has(c)
		}
		if slices.Contains(is, true) {
			return is
		}
	}
	is[len(is)-1] = true
	return is
}
