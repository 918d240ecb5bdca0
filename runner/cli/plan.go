package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// The text of a plan is kept beside the record of the run that made it: of a
// drift run that found drift what the command printed, and where --plan-file
// names a plan, what `terraform show` prints of that. The record itself has how many
// resources it changes. What fails of this is a warning, and changes no status.

func planFlags() []cli.Flag {
	return []cli.Flag{
		settings.planFile.flag(),
		&cli.StringFlag{Name: "terraform-plan-file", EnvVars: []string{"TM_ARG_RUN_TERRAFORM_PLAN_FILE"}, Usage: "as in Terramate: --plan-file, shown by terraform", Hidden: true},
		&cli.StringFlag{Name: "tofu-plan-file", EnvVars: []string{"TM_ARG_RUN_TOFU_PLAN_FILE"}, Usage: "as in Terramate: --plan-file, shown by tofu", Hidden: true},
		&cli.BoolFlag{Name: "terragrunt", EnvVars: []string{"TM_ARG_RUN_TERRAGRUNT"}, Usage: "as in Terramate: have terragrunt show the plan", Hidden: true},
		&cli.IntFlag{Name: "plan-render-timeout", EnvVars: []string{"TM_ARG_RUN_PLAN_RENDER_TIMEOUT"}, Usage: "as in Terramate: show the plan within `N` seconds", Hidden: true},
	}
}

// planFile is --plan-file: the file as it is seen from the stack's folder.
type planFile struct {
	name    string // "" for none
	program string // that shows it; "" for the command's own
	within  time.Duration
}

func parsePlanFile(c *cli.Context) (p planFile, err error) {
	for flag, program := range map[string]string{"plan-file": "", "terraform-plan-file": "terraform", "tofu-plan-file": "tofu"} {
		if name := c.String(flag); name != "" {
			if p.name != "" {
				return p, errors.New("--plan-file, --terraform-plan-file and --tofu-plan-file mean the same; give one of them")
			}
			p = planFile{name, program, time.Duration(cmp.Or(c.Int("plan-render-timeout"), 300)) * time.Second}
		}
	}
	if c.Bool("terragrunt") && p.name != "" {
		p.program = "terragrunt"
	}
	if p.within < 0 {
		return p, fmt.Errorf("--plan-render-timeout must be 0 or more seconds, not %d", c.Int("plan-render-timeout"))
	}
	if strings.HasPrefix(p.name, "-") {
		return p, fmt.Errorf("--plan-file: %q is not a file; write ./%s if it is one", p.name, p.name)
	}
	return p, nil
}

// keepPlans has the tasks hand over their plans.
func keepPlans(n *deploy.Session, tasks map[string]runner.Task, file planFile) {
	for path, task := range tasks {
		drift := slices.IndexFunc(task.Commands, func(c runner.Command) bool { return c.Changes == runner.StatusDrifted })
		if drift < 0 && file.name == "" {
			continue
		}
		task.Commands = slices.Clone(task.Commands)
		s := &planShower{n: n, env: task.Env, within: file.within}
		for i := range task.Commands {
			if prepare := task.Commands[i].Prepare; prepare != nil {
				task.Commands[i].Prepare = func(ctx context.Context) ([]string, error) {
					extra, err := prepare(ctx)
					s.env = slices.Concat(s.env, extra)
					return extra, err
				}
			}
		}
		var said *planOutput
		if drift >= 0 {
			task.Commands[drift].Tee = func() io.Writer {
				said = &planOutput{Excerpt: note.Excerpt{Limit: gitstate.TextLimit}}
				return said
			}
		}
		s.task = task
		if file.name != "" {
			s.show = file.show(task.Commands[max(drift, 0)].Args)
		}
		task.After = func(ctx context.Context, r runner.Result) {
			found := r.Status == runner.StatusDrifted
			if r.Status == runner.StatusCanceled || drift >= 0 && !found && r.Status != runner.StatusOK {
				return
			}
			if drift >= 0 && !found {
				// That nothing changes is said in one way: no need to have it shown.
				if said != nil {
					s.heed(said, "")
				}
				if s.n.PlanOf(path) == nil {
					s.look(ctx, r, false)
				}
				said = nil
				return
			}
			text := s.look(ctx, r, true)
			if said != nil {
				text = s.heed(said, text)
				said = nil
			}
			s.keep(text)
		}
		tasks[path] = task
	}
}

// keptPlan is a plan in the JSON of show --plan.
type keptPlan struct {
	Stack  string    `json:"stack"`
	ID     string    `json:"id,omitempty"`
	Target string    `json:"target,omitempty"`
	Op     string    `json:"op"`
	Run    string    `json:"run"`
	At     time.Time `json:"at"`
	// Counts are how many resources it changes, where that is known.
	Counts map[string]int `json:"counts,omitempty"`
	Plan   string         `json:"plan"`
}

// textOptions is what the flags of show --plan say, checked.
type textOptions struct{ stack, run, target string }

func parseShowPlan(c *cli.Context) (textOptions, error) {
	o := textOptions{stack: c.Args().First(), run: c.String("run"), target: c.String("target")}
	switch {
	case c.Args().Len() != 1:
		return o, errors.New("the plan of which stack? write it as in: tmnotes show --plan /prod/db")
	}
	return o, nil
}

// showPlan prints the plan that is kept for a stack.
func showPlan(here *clone, o textOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	var err error
	if o.run, err = wholeRun(here.store, o.run); err != nil {
		return err
	} else if o.run != "" && !command.ValidRun(o.run) {
		return fmt.Errorf("--run: %q is not the id of a run; `tmnotes runs` lists them", o.run)
	}
	stack, ops, plans, err := lastRecorded(here, o.stack)
	if err != nil {
		return err
	}
	key := gitstate.TextKey{Kind: gitstate.PlanText, ID: stack.ID, Path: stack.Stack, Target: command.TargetOf(o.target, here.env.workspace()), Run: o.run}
	text, found := gitstate.Text{}, false
	for _, op := range ops {
		key.Op = op
		if text, found, err = here.store.Text(key); err != nil {
			return err
		} else if found {
			break
		}
	}
	if !found {
		return noPlan(key)
	}
	plan := plans[planOf{text.Run, key.Op, key.Target}]
	if here.json {
		return terminal.PrintJSON(here.Out, keptPlan{key.Path, key.ID, key.Target, key.Op, text.Run, text.At, plan.Counts(), text.Body})
	}
	says := fmt.Sprintf("%s: plan of the %s run %s, %s", nameAt(key.Path, key.Target), key.Op, note.ShortRun(text.Run), terminal.Ago(time.Since(text.At)))
	if plan != nil {
		says += ": " + plan.String()
	}
	here.Say("%s", says)
	if o.run == "" {
		if err := sayLaterRun(here, key, text.Run); err != nil {
			return err
		}
	}
	return printText(here, text)
}

func printText(here *clone, text gitstate.Text) error {
	here.sayAge()
	_, err := io.WriteString(here.Out, strings.TrimSuffix(text.Body, "\n")+"\n")
	return err
}

// nameAt is a stack, for a target.
func nameAt(path, target string) string {
	if target != "" {
		path += " and target " + target
	}
	return path
}

// planOf tells the plans of a stack apart.
type planOf struct{ run, op, target string }

// lastRecorded is the newest record of a stack, and by which operation a text of it is
// looked for first: by drift runs, or else by deployments, or else by whatever was last; and what is recorded of its plans.
func lastRecorded(here *clone, want string) (stack note.Record, ops []string, plans map[planOf]*note.Plan, err error) {
	plans = map[planOf]*note.Plan{}
	is := query.StackMatcher(here.c.Context, here.store, here.dir, want)
	recorded := map[string]bool{}
	last := map[string]time.Time{note.Drift: {}, note.Deploy: {}}
	err = here.store.Notes(func(_ string, lines []gitstate.Line) error {
		for _, l := range lines {
			recorded[l.Record.Stack] = true
			if r := l.Record; l.Err == nil && r.Status != "" && is(&r) {
				if r.At.After(stack.At) {
					stack = r
				}
				if r.At.After(last[r.Op]) {
					last[r.Op] = r.At
				}
				if p := r.Plan(); p != nil {
					plans[planOf{r.Run, r.Op, r.Target}] = p
				}
			}
		}
		return nil
	})
	if err != nil {
		return stack, nil, nil, err
	}
	if stack.Run == "" {
		return stack, nil, nil, noRecord(want, recorded)
	}
	first := func(op string) int { return slices.Index([]string{note.Deploy, note.Drift}, op) }
	return stack, slices.SortedFunc(maps.Keys(last), func(a, b string) int {
		return cmp.Or(first(b)-first(a), last[b].Compare(last[a]), strings.Compare(a, b))
	}), plans, nil
}

func noPlan(key gitstate.TextKey) error {
	of := nameAt(key.Path, key.Target)
	if key.Run != "" {
		return fmt.Errorf("no plan of run %s is kept for %s; those of a stack's newest runs are, `tmnotes log %s` lists them", note.ShortRun(key.Run), of, key.Path)
	}
	return fmt.Errorf("no plan is kept for %s; `tmnotes run --op drift -- terraform plan -detailed-exitcode` keeps one where it finds drift, `tmnotes fetch` brings the remote's", of)
}

// sayLaterRun says so where a text is not that of the last run.
func sayLaterRun(here *clone, key gitstate.TextKey, run string) error {
	if err := here.read(); err != nil {
		return err
	}
	l, err := here.state.Latest(note.Slot{ID: key.ID, Path: key.Path, Target: key.Target, Op: key.Op})
	if err == nil && l.Status != note.Never && l.Run != run {
		here.Say("%s: the last %s run is %s: %s", key.Path, l.Op, note.ShortRun(l.Run), l.Status)
	}
	return err
}
