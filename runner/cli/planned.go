package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// planOutput is what a command printed that looks for drift, and what it says of its plan.
type planOutput struct {
	note.Excerpt
	note.PlanOutput
}

func (o *planOutput) Write(p []byte) (int, error) {
	_, _ = o.PlanOutput.Write(p)
	return o.Excerpt.Write(p)
}

// planShower looks at the saved plan of a stack.
type planShower struct {
	n      *deploy.Session
	task   runner.Task
	env    []string // of the task, and what its commands were prepared with
	show   []string // the command that shows the plan; nil where none is saved
	within time.Duration
}

// show is the command that shows the plan: that of Terraform, or of what the command is of its kind.
func (f planFile) show(args []string) []string {
	program := f.program
	if program == "" {
		program = "terraform"
		switch strings.ToLower(command.ProgramName(args)) {
		case "terraform", "tofu", "terragrunt":
			program = args[0]
		}
	}
	return []string{program, "show", f.name}
}

func (s *planShower) file() string { return s.show[len(s.show)-1] }

func (s *planShower) path() string { return s.task.Stack.Path }

// look has the record of the stack say how much its saved plan changes, and returns the text of the plan, if that
// is wanted. A plan that was only to be made is not believed where that failed: it may be an older one. Of a stack
// that has drifted "no changes" would say that nothing has: what changes is no resource.
func (s *planShower) look(ctx context.Context, r runner.Result, want bool) (text string) {
	if s.show == nil {
		return ""
	}
	plan, changes, err := s.read(ctx)
	if op := note.Op(s.n.Planned(s.path()).Op.Name); err == nil && (plan.Changes() || r.Status != runner.StatusDrifted) && (r.Status != runner.StatusFailed || op.Deploys()) {
		s.n.SetPlan(s.path(), plan)
	}
	if err == nil && want {
		text, err = s.text(ctx, changes)
	}
	if err != nil {
		s.n.Out.Warn(fmt.Sprintf("%s: the plan %s cannot be shown: %v", s.path(), s.file(), err))
	}
	return text
}

// heed takes from what the command printed what no saved plan said.
func (s *planShower) heed(said *planOutput, text string) string {
	plan, changes := said.Plan()
	if s.n.PlanOf(s.path()) == nil {
		s.n.SetPlan(s.path(), plan)
	}
	if text == "" {
		text = note.KeptPlan(&said.Excerpt, changes, gitstate.TextLimit)
	}
	return text
}

// keep keeps the text of the plan beside the notes.
func (s *planShower) keep(text string) {
	if text == "" {
		return
	}
	rec := s.n.Planned(s.path())
	key := gitstate.TextKey{Kind: gitstate.PlanText, ID: rec.Stack.ID, Path: s.path(), Target: rec.Target, Op: rec.Op.Name, Run: s.n.RunID}
	if err := s.n.Writer.KeepText(key, text, s.task.Secrets); err != nil {
		s.n.Out.Warn(err.Error())
	}
}

// read is what the saved plan changes.
func (s *planShower) read(ctx context.Context) (*note.Plan, []note.Change, error) {
	var printed bytes.Buffer
	if err := s.run(ctx, &printed, "-json"); err != nil {
		return nil, nil, err
	}
	return note.ReadPlan(printed.Bytes())
}

// text is the saved plan as people read it.
func (s *planShower) text(ctx context.Context, changes []note.Change) (string, error) {
	printed := &note.Excerpt{Limit: gitstate.TextLimit}
	err := s.run(ctx, printed, "-no-color")
	if err != nil {
		return "", err
	}
	return note.KeptPlan(printed, changes, gitstate.TextLimit), nil
}

// run runs the command that shows the plan, in the stack's folder and environment.
func (s *planShower) run(ctx context.Context, out io.Writer, flag string) error {
	g, err := runner.NewGraph([]string{s.path()}, nil)
	if err != nil {
		return err
	}
	args := slices.Insert(slices.Clone(s.show), len(s.show)-1, flag)
	show := runner.Task{Stack: s.task.Stack, Env: s.env, Secrets: s.task.Secrets,
		Commands: []runner.Command{{Args: args, Tee: func() io.Writer { return out }}}}
	results, err := runner.Execute(ctx, g, map[string]runner.Task{s.path(): show}, runner.Options{Timeout: s.within}, nil)
	if err == nil && results[0].Status != runner.StatusOK {
		err = errors.New(results[0].Reason)
	}
	return err
}

// noLimit is --max-destroy off.
const noLimit = -1

// parseMaxDestroy reads --max-destroy.
func parseMaxDestroy(c *cli.Context, s *gitstate.Store) (most int, err error) {
	text := settings.maxDestroy.text(c, s)
	if text == "off" {
		return noLimit, nil
	}
	if most, err = strconv.Atoi(text); err != nil || most < 0 {
		return 0, fmt.Errorf("%s must be a number of resources, or off, not %q", settings.maxDestroy.origin(c, s), text)
	}
	return most, nil
}

// limitDestroys has the commands that apply a saved plan look at it right before they start, and fails where what
// would be applied is not known.
func limitDestroys(n *deploy.Session, tasks map[string]runner.Task, paths []string, file planFile, most int) error {
	if most == noLimit {
		return nil
	}
	for _, path := range paths {
		task := tasks[path]
		applying := applyingCommands(n.Planned(path).Op.Name, task)
		if len(applying) == 0 {
			continue
		}
		task.Commands = slices.Clone(task.Commands)
		for _, i := range applying {
			show := command.ShowPlan(task.Commands[i].Args, task.Env)
			if applies := command.Applies(task.Commands[i].Args, task.Env); show == nil && file.name != "" && (!applies || slices.Contains(task.Commands[i].Args, file.name)) {
				show = file.show(task.Commands[i].Args)
			}
			if show == nil {
				return fmt.Errorf("--max-destroy needs the plan that is applied, and %q in %s names none: run terraform plan -out=FILE first, then apply FILE; --max-destroy=off sets no limit",
					strings.Join(task.Commands[i].Args, " "), path)
			}
			s := &planShower{n: n, task: task, show: show, within: file.within}
			prepare := task.Commands[i].Prepare
			task.Commands[i].Prepare = func(ctx context.Context) (extra []string, err error) {
				if prepare != nil {
					extra, err = prepare(ctx)
				}
				if s.env = slices.Concat(s.task.Env, extra); err == nil {
					err = s.limit(ctx, most)
				}
				return extra, err
			}
		}
		tasks[path] = task
	}
	return nil
}

// applyingCommands are those of a task that are known to apply something or, where none is, and it deploys all
// the same, those that may.
func applyingCommands(op string, task runner.Task) (known []int) {
	var may []int
	for i, c := range task.Commands {
		if command.Applies(c.Args, task.Env) {
			known = append(known, i)
		} else if note.Op(op).Deploys() && !command.Harmless(c.Args, task.Env) {
			may = append(may, i)
		}
	}
	if len(known) == 0 {
		return may
	}
	return known
}

// limit is an error where the plan destroys more than so many resources, or cannot be read.
func (s *planShower) limit(ctx context.Context, most int) error {
	plan, changes, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("not started: --max-destroy %d needs the plan %s (terraform plan -out=%[2]s makes it), which cannot be read: %[3]w", most, s.file(), err)
	}
	s.n.SetPlan(s.path(), plan)
	if plan.Destroys() <= most {
		return nil
	}
	if text, err := s.text(ctx, changes); err == nil {
		s.keep(text)
	}
	var destroyed []string
	for _, c := range changes {
		if strings.HasPrefix(c.Sign, "-") {
			destroyed = append(destroyed, c.Address)
		}
	}
	return fmt.Errorf("not started: the plan %s destroys %s (%s), and --max-destroy is %d; if that is meant: --max-destroy %d",
		s.file(), runner.Plural(plan.Destroys(), "resource"), terminal.SomeOf(destroyed), most, plan.Destroys())
}
