package cli

import (
	"errors"
	"io"
	"slices"
	"strings"

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
		Usage: "list stacks, filtered by changes or by recorded status",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "with --pending, for operation `NAME`"},
			&cli.BoolFlag{Name: "why", Usage: "say why each stack is listed: what changed, why it is pending, or what the notes say"},
			&cli.BoolFlag{Name: "run-order", Usage: "sort in order of execution"},
			formatFlag(),
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			o, err := parseList(c)
			if err != nil {
				return err
			}
			return list(c, env, o)
		},
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

// listOptions is what the flags of list say, checked.
type listOptions struct {
	sel                   project.Selection
	filter                query.StatusFilter
	op                    string
	pending, why, byOrder bool
}

func parseList(c *cli.Context) (o listOptions, err error) {
	o = listOptions{pending: c.Bool("pending"), why: c.Bool("why"), byOrder: c.Bool("run-order")}
	if err := errors.Join(noArgs(c), checkFormat(c), setLogLevel(c)); err != nil {
		return o, err
	}
	if o.sel, o.filter, err = parseStacks(c); err != nil {
		return o, err
	}
	if o.op, err = opFlag(c); err != nil {
		return o, err
	}
	switch {
	case o.why && !o.sel.Changed && !o.asksNotes():
		return o, errors.New("--why goes with --changed, --pending, or a filter on status")
	case c.IsSet("op") && !o.pending:
		return o, errors.New("--op goes with --pending")
	}
	return o, nil
}

// asksNotes reports whether the notes say which stacks are listed: else there may be no
// repository.
func (o *listOptions) asksNotes() bool { return o.filter.Set() || o.pending }

// listing is what is found out of the stacks that list selects.
type listing struct {
	clone
	o              listOptions
	status, reason map[string]string // by path
}

func list(c *cli.Context, env Env, o listOptions) error {
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	l := &listing{clone{ui: newUI(env), c: c, dir: dir, json: c.String("format") == "json"}, o, map[string]string{}, map[string]string{}}
	load := project.Options{Terragrunt: o.sel.Terragrunt() || o.pending, Inputs: o.pending}
	if o.asksNotes() {
		if l.store, err = openStore(c, env, dir); err != nil {
			return err
		}
		defer l.store.Close()
		load.Memory = l.store
		o.sel.Keep = l.keep
	}
	restore := project.RelaxGC(env.Environ)
	if err := l.load(load); err != nil {
		return err
	}
	if o.filter.Set() {
		if err := l.project.NeedsTarget(o.sel.Target); err != nil {
			return err
		}
	}
	selected, err := l.project.List(o.sel)
	if err != nil {
		return err
	}
	restore()
	stacks := make([]runner.Stack, len(selected))
	for i, s := range selected {
		stacks[i] = s.Stack
		if l.reason[s.Path] == "" {
			l.reason[s.Path] = s.Reason
		}
	}
	if o.byOrder {
		if err := l.sortByOrder(stacks); err != nil {
			return err
		}
	}
	return l.print(stacks)
}

func (l *listing) sortByOrder(stacks []runner.Stack) error {
	g, err := l.project.Graph(stacks)
	if err != nil {
		return err
	}
	rank := map[string]int{}
	for i, path := range g.Order() {
		rank[path] = i
	}
	slices.SortStableFunc(stacks, func(a, b runner.Stack) int { return rank[a.Path] - rank[b.Path] })
	return nil
}

func (l *listing) print(stacks []runner.Stack) error {
	if l.json {
		out := make([]listed, len(stacks))
		for i, s := range stacks {
			out[i] = listed{s.Path, s.ID, s.Name, s.Tags, l.status[s.Path], l.reason[s.Path]}
		}
		return terminal.PrintJSON(l.Out, out)
	}
	var b strings.Builder
	for _, s := range stacks {
		b.WriteString(runner.Printable(l.project.Friendly(s.Path)))
		if l.o.why {
			b.WriteString(" - " + runner.Printable(l.reason[s.Path]))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(l.Out, b.String()) // who deploys what is listed has to know that it was
	return err
}

// keep keeps the stacks that the filters on status and --pending ask for, and learns what
// the notes say of them.
func (l *listing) keep(stacks []runner.Stack) ([]runner.Stack, error) {
	if err := l.know(note.Deploy); err != nil {
		return nil, err
	}
	views := query.ViewsOf(l.c.Context, l.env.Environ, l.state, l.project, l.o.sel.Target)
	stacks, err := query.FilterStacks(stacks, l.o.filter, views.Of)
	if err == nil && l.o.pending && len(stacks) > 0 {
		stacks, err = l.keepPending(stacks, views)
	}
	if err != nil {
		return nil, err
	}
	for _, stack := range stacks {
		is, err := views.Of(stack)
		if err != nil {
			return nil, err
		}
		l.status[stack.Path] = string(is.Status)
		if l.reason[stack.Path] == "" && !l.o.sel.Changed {
			l.reason[stack.Path] = is.Why()
		}
		if is.Hold != nil && l.reason[stack.Path] != "" && !strings.Contains(l.reason[stack.Path], is.Hold.String()) {
			l.reason[stack.Path] += "; " + is.Hold.String()
		}
	}
	return stacks, nil
}

func (l *listing) keepPending(stacks []runner.Stack, views query.Views) ([]runner.Stack, error) {
	if err := deploy.RefuseEmpty(l.state, l.o.op, l.c.Bool("init")); err != nil {
		return nil, err
	}
	q, err := query.NewPendings(l.c.Context, l.store, l.project, l.state)
	if err != nil {
		return nil, err
	}
	q.Explain = l.o.why || l.json
	stacks, late, err := q.Keep(stacks, l.reason, func(stack runner.Stack) (query.Asked, error) {
		place, err := views.Place(stack)
		return query.Asked{Base: l.o.sel.Target, Place: place, Op: l.o.op, As: gitstate.As{Variant: gitstate.AnyVariant}, Late: l.o.op == note.Deploy}, err
	})
	if err != nil {
		return nil, err
	}
	if q.Assumed > 0 {
		l.Say("the place of %s is not known here: assumed to be the recorded one", runner.Plural(q.Assumed, "stack"))
	}
	if late > 0 {
		l.Say("%s skipped: a newer commit is already deployed. `tmnotes run --pending --allow-rollback` deploys this older one.", runner.Plural(late, "stack"))
	}
	return stacks, nil
}

// workspace is TF_WORKSPACE as it is part of the target.
func (env Env) workspace() string {
	return command.Recognise([]string{"terraform"}, env.Environ, "").Workspace
}
