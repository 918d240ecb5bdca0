package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func listCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list stacks, by changes and by what the notes say of them",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "with --pending: pending for the operation `NAME`"},
			&cli.BoolFlag{Name: "why", Usage: "with --changed: why the stack changed; with --pending: why it is; with a filter on status: what the notes say"},
			&cli.BoolFlag{Name: "run-order", Usage: "sort by order of execution"},
			formatFlag(),
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return list(c, env) },
	}
}

// listed is a stack in the JSON of list.
type listed struct {
	Stack  string   `json:"stack"`
	ID     string   `json:"id,omitempty"`
	Name   string   `json:"name,omitempty"`
	Tags   []string `json:"tags,omitempty"`
	Status string   `json:"status,omitempty"`
	Why    string   `json:"why,omitempty"`
}

func list(c *cli.Context, env Env) error {
	u := newUI(env)
	if err := errors.Join(noArgs(c), checkFormat(c), setLogLevel(c)); err != nil {
		return err
	}
	sel, err := selection(c)
	if err != nil {
		return err
	}
	filter, err := parseStatusFilter(c)
	if err != nil {
		return err
	}
	op, err := opFlag(c)
	if err != nil {
		return err
	}
	pending := c.Bool("pending")
	switch {
	case c.Bool("why") && !sel.Changed && !filter.Set() && !pending:
		return errors.New("--why goes with --changed, --pending, or a filter on status")
	case c.IsSet("op") && !pending:
		return errors.New("--op goes with --pending")
	}
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	opt := project.Options{Dir: dir, Environ: env.Environ, Terragrunt: sel.Terragrunt() || pending, Inputs: pending}
	var s *gitstate.Store
	if filter.Set() || pending {
		if s, err = openStore(c, env, dir); err != nil {
			return err
		}
		defer s.Close()
		opt.Memory = s
	}
	restore := project.RelaxGC(env.Environ)
	p, err := project.Load(c.Context, opt)
	if err != nil {
		return err
	}
	reason := map[string]string{}
	status := map[string]string{}
	if s != nil {
		sel.Keep = func(stacks []runner.Stack) ([]runner.Stack, error) {
			return keepListed(c, s, p, u, stacks, filter, sel.Target, op, status, reason)
		}
	}
	selected, err := p.List(sel)
	if err != nil {
		return err
	}
	restore()
	stacks := make([]runner.Stack, len(selected))
	for i, s := range selected {
		stacks[i] = s.Stack
		if reason[s.Path] == "" {
			reason[s.Path] = s.Reason
		}
	}
	if c.Bool("run-order") {
		g, err := p.Graph(stacks)
		if err != nil {
			return err
		}
		rank := map[string]int{}
		for i, path := range g.Order() {
			rank[path] = i
		}
		slices.SortStableFunc(stacks, func(a, b runner.Stack) int { return rank[a.Path] - rank[b.Path] })
	}
	if c.String("format") == "json" {
		out := make([]listed, len(stacks))
		for i, s := range stacks {
			out[i] = listed{s.Path, s.ID, s.Name, s.Tags, status[s.Path], reason[s.Path]}
		}
		return terminal.PrintJSON(env.Stdout, out)
	}
	for _, s := range stacks {
		line := terminal.Printable(p.Friendly(s.Path))
		if c.Bool("why") {
			line += " - " + terminal.Printable(reason[s.Path])
		}
		fmt.Fprintln(env.Stdout, line)
	}
	return nil
}

// keepListed keeps the stacks that the filters on status and --pending ask for, and
// fills in what the notes say of them.
func keepListed(c *cli.Context, s *gitstate.Store, p *project.Project, u *ui, stacks []runner.Stack, filter query.StatusFilter, target, op string, status, reason map[string]string) ([]runner.Stack, error) {
	pending := c.Bool("pending")
	plan, err := planSync(c, s, p.DefaultRemote(), u.env.ci(), note.Deploy)
	if err != nil {
		return nil, err
	}
	if err := fetchNotes(c.Context, s, u, plan); err != nil {
		return nil, err
	}
	st, err := s.State(c.Context)
	if err != nil {
		return nil, err
	}
	v := query.ViewsOf(c.Context, u.env.Environ, st, p, target)
	if stacks, err = query.FilterStacks(stacks, filter, v.Of); err != nil {
		return nil, err
	}
	if pending && len(stacks) > 0 {
		if err := deploy.RefuseEmpty(st, op, c.Bool("init")); err != nil {
			return nil, err
		}
		q, err := query.NewPendings(c.Context, s, p, st)
		if err != nil {
			return nil, err
		}
		q.Explain = c.Bool("why") || c.String("format") == "json"
		late := 0
		if stacks, late, err = q.Keep(stacks, reason, func(stack runner.Stack) (query.Asked, error) {
			place, err := v.Place(stack)
			return query.Asked{Base: target, Place: place, Op: op, As: gitstate.As{Variant: gitstate.AnyVariant}, Late: op == note.Deploy}, err
		}); err != nil {
			return nil, err
		}
		if q.Assumed > 0 {
			u.Say("the place of %s is not known here: assumed to be the recorded one", runner.Plural(q.Assumed, "stack"))
		}
		if late > 0 {
			u.Say("%s skipped: a newer commit is already deployed. `tmnotes run --pending --allow-rollback` deploys this older one.", runner.Plural(late, "stack"))
		}
	}
	for _, stack := range stacks {
		is, err := v.Of(stack)
		if err != nil {
			return nil, err
		}
		status[stack.Path] = string(is.Status)
		if reason[stack.Path] == "" && !c.Bool("changed") {
			reason[stack.Path] = is.Why()
		}
	}
	return stacks, nil
}

// workspace is TF_WORKSPACE as it is part of the target.
func (env Env) workspace() string {
	return command.Recognise([]string{"terraform"}, env.Environ, "").Workspace
}
