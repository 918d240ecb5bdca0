package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// The text of a plan is kept beside the record of the run that made it: of a
// drift run that found drift what the command printed, and where --plan-file
// names a plan, what `terraform show` prints of that. Nothing of this changes
// what is recorded: what fails is a warning.

func planFlags() []cli.Flag {
	return []cli.Flag{
		settings.planFile.flag(),
		&cli.StringFlag{Name: "terraform-plan-file", EnvVars: []string{"TM_ARG_RUN_TERRAFORM_PLAN_FILE"}, Usage: "as in Terramate: --plan-file, shown by terraform", Hidden: true},
		&cli.StringFlag{Name: "tofu-plan-file", EnvVars: []string{"TM_ARG_RUN_TOFU_PLAN_FILE"}, Usage: "as in Terramate: --plan-file, shown by tofu", Hidden: true},
		&cli.BoolFlag{Name: "terragrunt", EnvVars: []string{"TM_ARG_RUN_TERRAGRUNT"}, Usage: "as in Terramate: have terragrunt show the plan", Hidden: true},
	}
}

// planFile is --plan-file: the file as it is seen from the stack's folder.
type planFile struct {
	name    string // "" for none
	program string // that shows it; "" for the command's own
}

func parsePlanFile(c *cli.Context) (p planFile, err error) {
	for flag, program := range map[string]string{"plan-file": "", "terraform-plan-file": "terraform", "tofu-plan-file": "tofu"} {
		if name := c.String(flag); name != "" {
			if p.name != "" {
				return p, errors.New("--plan-file, --terraform-plan-file and --tofu-plan-file mean the same; give one of them")
			}
			p = planFile{name, program}
		}
	}
	if c.Bool("terragrunt") && p.name != "" {
		p.program = "terragrunt"
	}
	if strings.HasPrefix(p.name, "-") {
		return p, fmt.Errorf("--plan-file: %q is no file; write ./%s if it is one", p.name, p.name)
	}
	return p, nil
}

// keepPlans has the tasks hand over their plans.
func keepPlans(n *deploy.Session, tasks map[string]runner.Task, file planFile) {
	for path, task := range tasks {
		drift := -1 // the command that looks for drift
		for i, c := range task.Commands {
			if c.Changes == runner.StatusDrifted {
				drift = i
			}
		}
		if drift < 0 && file.name == "" {
			continue
		}
		task.Commands = slices.Clone(task.Commands)
		env := task.Env
		for i := range task.Commands {
			if prepare := task.Commands[i].Prepare; prepare != nil {
				task.Commands[i].Prepare = func(ctx context.Context) ([]string, error) {
					extra, err := prepare(ctx)
					env = slices.Concat(env, extra)
					return extra, err
				}
			}
		}
		var said note.Excerpt
		if drift >= 0 {
			task.Commands[drift].Tee = func() io.Writer {
				said = note.Excerpt{Limit: gitstate.TextLimit}
				return &said
			}
		}
		args := task.Commands[max(drift, 0)].Args
		task.After = func(ctx context.Context, r runner.Result) {
			defer func() { said = note.Excerpt{} }()
			if drift >= 0 && r.Status != runner.StatusDrifted || r.Status == runner.StatusCanceled {
				return
			}
			text := ""
			if file.name != "" {
				var err error
				if text, err = showPlanFile(ctx, task, args, env, file); err != nil {
					n.Out.Warn(fmt.Sprintf("%s: the plan %s cannot be shown: %v", path, file.name, err))
				}
			}
			if text == "" && drift >= 0 {
				text = said.String()
			}
			if text == "" {
				return
			}
			rec := n.Planned(path)
			key := gitstate.TextKey{Kind: gitstate.PlanText, ID: rec.Stack.ID, Path: path, Target: rec.Target, Op: rec.Op.Name, Run: n.RunID}
			if err := n.Store.KeepText(key, text, task.Secrets); err != nil {
				n.Out.Warn(err.Error())
			}
		}
		tasks[path] = task
	}
}

// showPlanFile is what Terraform, or what the command is of its kind, prints of a
// saved plan, in the stack's folder and environment.
func showPlanFile(ctx context.Context, of runner.Task, args, env []string, file planFile) (string, error) {
	program := file.program
	if program == "" {
		program = "terraform"
		switch strings.TrimSuffix(strings.ToLower(filepath.Base(args[0])), ".exe") {
		case "terraform", "tofu", "terragrunt":
			program = args[0]
		}
	}
	g, err := runner.NewGraph([]string{of.Stack.Path}, nil)
	if err != nil {
		return "", err
	}
	printed := &note.Excerpt{Limit: gitstate.TextLimit}
	show := runner.Task{Stack: of.Stack, Env: env, Secrets: of.Secrets,
		Commands: []runner.Command{{Args: []string{program, "show", "-no-color", file.name}, Tee: func() io.Writer { return printed }}}}
	results, err := runner.Execute(ctx, g, map[string]runner.Task{of.Stack.Path: show}, runner.Options{Timeout: 5 * time.Minute}, nil)
	if err != nil {
		return "", err
	}
	if r := results[0]; r.Status != runner.StatusOK {
		return "", errors.New(r.Reason)
	}
	return printed.String(), nil
}

// keptPlan is a plan in the JSON of show --plan.
type keptPlan struct {
	Stack  string    `json:"stack"`
	ID     string    `json:"id,omitempty"`
	Target string    `json:"target,omitempty"`
	Op     string    `json:"op"`
	Run    string    `json:"run"`
	At     time.Time `json:"at"`
	Plan   string    `json:"plan"`
}

// showPlan prints the plan that is kept for a stack: of its newest drift run,
// or else of its newest deployment, or else of anything.
func showPlan(c *cli.Context, env Env) error {
	if c.Args().Len() != 1 {
		return errors.New("the plan of which stack? write it as in: tmnotes show --plan /prod/db")
	}
	kind := gitstate.PlanText
	if c.Bool("log") {
		kind = cloudapi.LogText
	}
	run := c.String("run")
	if run != "" && !command.ValidRun(run) {
		return fmt.Errorf("--run: %q is no id of a run; `tmnotes log` lists them", run)
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		age, err := readLocal(c, s)
		if err != nil {
			return err
		}
		want := c.Args().First()
		is := query.StackMatcher(c.Context, s, dir, want)
		var stack note.Record
		recorded := map[string]bool{}
		ops := map[string]time.Time{note.Drift: {}, note.Deploy: {}}
		err = s.Notes(func(_ string, lines []gitstate.Line) error {
			for _, l := range lines {
				recorded[l.Record.Stack] = true
				if r := l.Record; l.Err == nil && r.Status != "" && is(&r) {
					if r.At.After(stack.At) {
						stack = r
					}
					if r.At.After(ops[r.Op]) {
						ops[r.Op] = r.At
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if stack.Run == "" {
			return fmt.Errorf("no record of %s%s; `tmnotes status` lists the stacks, `tmnotes fetch` brings the remote's records", want, query.MeantRecorded(want, recorded))
		}
		first := func(op string) int { return slices.Index([]string{note.Deploy, note.Drift}, op) }
		order := slices.SortedFunc(maps.Keys(ops), func(a, b string) int {
			return cmp.Or(first(b)-first(a), ops[b].Compare(ops[a]), strings.Compare(a, b))
		})
		target := command.TargetOf(c.String("target"), env.workspace())
		of := stack.Stack
		if target != "" {
			of += " and target " + target
		}
		for _, op := range order {
			text, found, err := s.Text(gitstate.TextKey{Kind: kind, ID: stack.ID, Path: stack.Stack, Target: target, Op: op, Run: run})
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if c.String("format") == "json" {
				return terminal.PrintJSON(env.Stdout, keptPlan{stack.Stack, stack.ID, target, op, text.Run, text.At, text.Body})
			}
			u := newUI(env)
			u.Say("%s: %s of the %s run %s, %s", of, kind, op, text.Run, terminal.Ago(time.Since(text.At)))
			if run == "" {
				if err := laterRun(c.Context, s, u, &stack, target, op, text.Run); err != nil {
					return err
				}
			}
			if age != "" {
				u.Say("%s", age)
			}
			_, err = io.WriteString(env.Stdout, strings.TrimSuffix(text.Body, "\n")+"\n")
			return err
		}
		if kind == cloudapi.LogText {
			return fmt.Errorf("no output is kept for %s; `tmnotes cloud --keep-logs` keeps it, `tmnotes fetch` brings the remote's", of)
		}
		if run != "" {
			return fmt.Errorf("no plan of run %s is kept for %s; those of a stack's newest runs are, `tmnotes log %s` lists them", run, of, stack.Stack)
		}
		return fmt.Errorf("no plan is kept for %s; `tmnotes run --op drift -- terraform plan -detailed-exitcode` keeps one where it finds drift, `tmnotes fetch` brings the remote's", of)
	})
}

// laterRun says so where the plan is not that of the last run.
func laterRun(ctx context.Context, s *gitstate.Store, u *ui, stack *note.Record, target, op, run string) error {
	st, err := s.State(ctx)
	if err != nil {
		return err
	}
	l, err := st.Latest(note.Slot{ID: stack.ID, Path: stack.Stack, Target: target, Op: op})
	if err == nil && l.Status != note.Never && l.Run != run {
		u.Say("%s: the last %s run is %s: %s", stack.Stack, l.Op, l.Run, l.Status)
	}
	return err
}
