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
	"github.com/tmnotes/tmnotes/runner/project"
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
	case c.Bool("why") && !sel.Changed && !filter.set() && !pending:
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
	if filter.set() || pending {
		if s, err = openStore(c, env, dir); err != nil {
			return err
		}
		defer s.Close()
		opt.Memory = s
	}
	restore := relaxGC(env)
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
func keepListed(c *cli.Context, s *gitstate.Store, p *project.Project, u *ui, stacks []runner.Stack, filter statusFilter, target, op string, status, reason map[string]string) ([]runner.Stack, error) {
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
	v := viewsOf(c.Context, u.env.Environ, st, p, target)
	if stacks, err = filterStacks(stacks, filter, v.of); err != nil {
		return nil, err
	}
	if pending && len(stacks) > 0 {
		if err := refuseEmpty(c, st, op); err != nil {
			return nil, err
		}
		q, err := newPendings(c.Context, s, p, st)
		if err != nil {
			return nil, err
		}
		q.explain = c.Bool("why") || c.String("format") == "json"
		late := 0
		if stacks, late, err = q.keep(stacks, reason, func(stack runner.Stack) (asked, error) {
			place, err := v.place(stack)
			return asked{base: target, place: place, op: op, as: gitstate.As{Variant: gitstate.AnyVariant}, late: op == note.Deploy}, err
		}); err != nil {
			return nil, err
		}
		if q.assumed > 0 {
			u.Say("the place of %s is not known here: assumed to be the recorded one", terminal.Plural(q.assumed, "stack"))
		}
		if late > 0 {
			u.Say("%s skipped: a newer commit is already deployed. `tmnotes run --pending --allow-rollback` deploys this older one.", terminal.Plural(late, "stack"))
		}
	}
	for _, stack := range stacks {
		is, err := v.of(stack)
		if err != nil {
			return nil, err
		}
		status[stack.Path] = string(is.status)
		if reason[stack.Path] == "" && !c.Bool("changed") {
			reason[stack.Path] = is.why()
		}
	}
	return stacks, nil
}

// workspace is TF_WORKSPACE as it is part of the target.
func (env Env) workspace() string {
	return command.Recognise([]string{"terraform"}, env.Environ, "").Workspace
}

// filterStacks keeps the stacks that a filter on status asks for, each by its
// state for its target.
func filterStacks(stacks []runner.Stack, f statusFilter, of func(runner.Stack) (view, error)) ([]runner.Stack, error) {
	if !f.set() {
		return stacks, nil
	}
	var kept []runner.Stack
	for _, s := range stacks {
		v, err := of(s)
		if err != nil {
			return nil, err
		}
		if f.admits(v) {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// admits reports whether a stack is one that the filter asks for. A drift run
// that did not come to an end has no word of its own in Terramate: it failed.
func (f statusFilter) admits(v view) bool {
	drift := v.drift.Status
	if drift == note.Canceled || drift == note.Blocked {
		drift = note.Failed
	}
	return (f.stack == "" || v.is(f.stack)) && (f.deployment == "" || v.deploy.Status.Matches(f.deployment)) &&
		(f.drift == "" || drift.Matches(f.drift))
}

// is reports whether the stack's own status is what a filter asks for. What a run did not
// come to start is to be tried again, though it is deployed and so ok.
func (v view) is(filter string) bool {
	if v.status.MatchesOwn(filter) || v.status != note.OK {
		return v.status.MatchesOwn(filter)
	}
	attempted := gitstate.Attempted(v.deploy, v.drift)
	return attempted.Unsuccessful() && attempted.MatchesOwn(filter)
}

// view is what the notes say of a stack for a target.
type view struct {
	deploy, drift gitstate.Latest
	status        note.Status
}

func viewOf(st *gitstate.State, s runner.Stack, target string) (v view, err error) {
	if v.deploy, err = st.Latest(s.ID, s.Path, target, note.Deploy); err != nil {
		return v, err
	}
	if v.drift, err = st.Latest(s.ID, s.Path, target, note.Drift); err != nil {
		return v, err
	}
	v.status = gitstate.StackStatus(v.deploy, v.drift)
	return v, nil
}

// why is what stands behind the status, in a few words.
func (v view) why() string {
	if v.status == note.Drifted || v.deploy.Status == note.Never && v.drift.Status != note.Never {
		return fmt.Sprintf("%s at %s by run %s", v.drift.Status, note.Short(v.drift.Commit), v.drift.Run)
	}
	l := v.deploy
	if l.Status == note.Never {
		return "never deployed"
	}
	why := fmt.Sprintf("%s at %s by run %s", l.Status, note.Short(l.Commit), l.Run)
	switch {
	case len(l.Conflicts) > 0:
		why += fmt.Sprintf("; conflict: run %s deployed it as well, unaware of this one", l.Conflicts[0])
	case len(l.Diverged) > 0 && l.Status == note.OK:
		_, beside := l.Succeeded(l.Op, gitstate.As{Variant: gitstate.AnyVariant})
		why += "; " + beside
	case l.Record.Why() != "":
		why += ": " + l.Record.Why()
	}
	if l.Dirty {
		why += ", with uncommitted changes"
	}
	if l.Status != note.OK && l.OKCommit != "" && l.OKCommit != l.Commit {
		why += "; last success at " + note.Short(l.OKCommit)
	}
	return why
}
