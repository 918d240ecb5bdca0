package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func statusCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the latest result of each stack",
		Description: "LIVE is the commit that is deployed, SINCE when, and * says that uncommitted changes were deployed with it; LAST is\n" +
			"what the latest deployment came to, and WHEN.\n" + refreshHelp +
			"A stack that is gone from HEAD and was not destroyed is orphaned.\n" +
			"--at REV counts what is recorded on REV and the commits before it, whenever that was; --at DATE what was recorded by\n" +
			"then, on whatever commit. A day alone is the end of that day.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "at", Usage: "the state as of a commit or a date, `REV|DATE`"}, formatFlag(), watchFlag(),
		}, refreshFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			env := looking(env)
			return inClone(env, func(c *cli.Context) (statusOptions, error) { return parseStatus(c, env) }, status)(c)
		},
	}
}

// shown is a stack in the JSON of status: the stack's three statuses, and the
// record of its latest deployment and drift run.
type shown struct {
	Stack            string      `json:"stack"`
	ID               string      `json:"id,omitempty"`
	Status           note.Status `json:"status"`
	DeploymentStatus note.Status `json:"deployment_status"`
	DriftStatus      note.Status `json:"drift_status"`
	Target           string      `json:"target,omitempty"`
	Commit           string      `json:"commit,omitempty"`
	OKCommit         string      `json:"ok_commit,omitempty"` // of the latest deployment that succeeded
	// What is deployed, since when, and whether with uncommitted changes. Nothing is where it was
	// never deployed, or was destroyed.
	LiveCommit string    `json:"live_commit,omitempty"`
	LiveSince  time.Time `json:"live_since,omitzero"`
	LiveDirty  bool      `json:"live_dirty,omitempty"`

	By         string       `json:"by,omitempty"`
	Job        string       `json:"job,omitempty"`
	Why        string       `json:"why,omitempty"`
	Deployment *note.Record `json:"deployment,omitempty"`
	Drift      *note.Record `json:"drift,omitempty"`
	// Of a stack that is gone from HEAD: the last commit that had it.
	LastCommit string `json:"last_commit,omitempty"`
	// Why it is not deployed for now.
	Hold *holdShown `json:"hold,omitempty"`
}

// statusOptions is what the flags of status say, checked.
type statusOptions struct {
	sel    project.Selection
	filter query.StatusFilter
	at     string        // "" for now
	every  time.Duration // of --watch; 0: once
}

func parseStatus(c *cli.Context, env Env) (o statusOptions, err error) {
	o = statusOptions{at: c.String("at")}
	if err := errors.Join(noArgs(c), setLogLevel(c), checkRefresh(c)); err != nil {
		if every := c.Args().First(); c.IsSet("watch") && (&interval{}).Set(every) == nil {
			err = fmt.Errorf("--watch %[1]s: write --watch=%[1]s", every)
		}
		return o, err
	}
	if o.every, err = parseWatch(c, env); err != nil {
		return o, err
	}
	if o.sel, o.filter, err = parseStacks(c); err != nil {
		return o, err
	}
	switch {
	case o.at != "" && o.every > 0:
		return o, errors.New("--watch follows what is now; leave out --watch, or --at")
	case o.at == "" && c.IsSet("at"):
		return o, errors.New("--at needs a commit or a date")
	case o.at != "" && o.filter.Stack == string(note.Orphaned):
		return o, errors.New("--at and --status orphaned cannot be combined: orphaned is decided by HEAD")
	}
	return o, nil
}

func status(here *clone, o statusOptions) error {
	if o.every > 0 {
		return watch(here, o.every, func(here *clone) error { return statusOnce(here, o) })
	}
	return statusOnce(here, o)
}

func statusOnce(here *clone, o statusOptions) error {
	at, err := momentOf(here, o.at)
	if err != nil {
		return err
	}
	stacks, err := viewStacks(here, o, at)
	if err != nil {
		return err
	}
	if here.json {
		target := command.TargetOf(o.sel.Target, here.env.workspace())
		out := make([]shown, len(stacks))
		for i, x := range stacks {
			out[i] = jsonOf(&x, target)
		}
		return terminal.PrintJSON(here.Out, out)
	}
	if at.Set() {
		here.Say("%s", at.What)
	}
	if len(stacks) == 0 {
		here.Say("no stack is selected")
		return nil
	}
	var rows [][]string
	now := time.Now()
	for _, x := range stacks {
		rows = append(rows, rowOf(&x, now))
	}
	err = here.Table(here.Out, []string{"STATUS", "STACK", "LIVE", "SINCE", "LAST", "WHEN", "BY", "WHY"}, rows, terminal.StatusColor)
	hintOrphans(here.ui, stacks, o.sel.Target)
	if !at.Set() {
		if err := errors.Join(err, sayClaims(here, stacks, o.sel.Target), here.sayElsewhere()); err != nil {
			return err
		}
	}
	here.sayAge()
	return err
}

// viewStacks finds what the notes say of the selected stacks, and of those that are gone.
func viewStacks(here *clone, o statusOptions, at query.AsOf) ([]query.StackView, error) {
	ctx := here.c.Context
	// The notes are read while Terramate reads the project.
	read := make(chan error, 1)
	go func() {
		err := here.readFresh()
		if err == nil {
			here.state, err = at.State(ctx, here.store)
		}
		read <- err
	}()
	if err := here.load(project.Options{Terragrunt: o.sel.Terragrunt()}); err != nil {
		return nil, err
	}
	selected, err := here.project.List(o.sel)
	if err != nil {
		return nil, err
	}
	if err := <-read; err != nil {
		return nil, err
	}
	stacks := make([]query.StackView, len(selected))
	views := query.ViewsOf(ctx, here.env.Environ, here.state, here.project, o.sel.Target)
	for i, stack := range selected {
		stacks[i].Stack = stack.Stack
		if stacks[i].View, err = views.Of(stack.Stack); err != nil {
			return nil, err
		}
		at.Clamp(&stacks[i].View)
	}
	if !query.Narrowed(o.sel) {
		gone, err := query.Orphans(ctx, here.store, here.state, here.project, stacks, command.TargetOf(o.sel.Target, here.env.workspace()))
		if err != nil {
			return nil, err
		}
		for _, x := range gone {
			if at.Set() {
				at.Clamp(&x.View) // what it was then; that it is gone is of today
			} else {
				x.Status = note.Orphaned
			}
			stacks = append(stacks, x)
		}
	}
	return slices.DeleteFunc(stacks, func(x query.StackView) bool { return !o.filter.Admits(x.View) }), nil
}

// jsonOf is a stack as --format json has it.
func jsonOf(x *query.StackView, target string) shown {
	l := x.Deploy
	sh := shown{Stack: x.Path, ID: x.ID, Target: target, Status: x.Status, DeploymentStatus: l.Status, DriftStatus: x.Drift.Status,
		Commit: l.Commit, OKCommit: l.OKCommit, By: l.By, Job: l.Job, Why: x.Why(), Hold: jsonOfHold(x.Hold)}
	sh.LiveCommit, sh.LiveSince = l.Live()
	sh.LiveDirty = sh.LiveCommit != "" && l.OKDirty
	if l.Status != note.Never {
		sh.Deployment = &x.Deploy.Record
	}
	if x.Drift.Status != note.Never {
		sh.Drift = &x.Drift.Record
	}
	if x.Gone != nil {
		sh.LastCommit, sh.Why = x.Gone.Last, x.Gone.String()
	}
	return sh
}

// rowOf is a stack as a line of the table.
func rowOf(x *query.StackView, now time.Time) []string {
	l, why := x.Deploy, ""
	switch {
	case x.Gone != nil:
		why = x.Gone.String()
	case x.Status != note.OK && x.Status != note.Never || l.Status != note.OK && l.Status != note.Never || l.Dirty || len(l.Diverged) > 0 && l.Status == note.OK || len(l.Conflicts) > 0:
		why = x.Last()
	}
	if x.Hold != nil && !strings.Contains(why, x.Hold.String()) {
		why = strings.TrimSuffix(x.Hold.String()+"; "+why, "; ")
	}
	last, when, live, since := string(l.Status), "-", "-", "-"
	if l.Status != note.Never && l.Op != note.Deploy {
		last = l.Op + ": " + last
	}
	if len(l.Conflicts) > 0 {
		last += ", conflict" // run does not count it as done
	}
	if l.Status != note.Never {
		when = terminal.Ago(now.Sub(l.At))
	}
	if commit, at := l.Live(); commit != "" {
		live, since = note.Short(commit), terminal.Ago(now.Sub(at))
		if l.OKDirty {
			live += "*"
		}
	}
	return []string{string(x.Status), x.Path, live, since, last, when, note.NameOf(l.By), why}
}

// momentOf is what --at means, a commit or else a date.
//
// Of a commit the results count that are recorded on it and on what it grew
// from, whenever they came to be: that is what a branch that stands there has
// deployed. Of a date those count that were recorded by then, on any commit.
func momentOf(here *clone, text string) (a query.AsOf, err error) {
	if text == "" {
		return a, nil
	}
	if commit, err := here.store.Resolve(text); err == nil {
		a.What = fmt.Sprintf("records up to %s %q", note.Short(commit.Hash), commit.Subject)
		a.On, err = here.store.Ancestors(here.c.Context, commit.Hash)
		return a, err
	}
	if a.Until, err = here.store.Date(here.c.Context, text, true); err != nil {
		return a, fmt.Errorf("--at: %q is neither a commit in this clone nor a date; write a date like 2026-11-20, 2026-11-20T14:00:00Z, yesterday or '3 days ago'", text)
	}
	a.What = "what was recorded until " + a.Until.Local().Format("2006-01-02 15:04:05 -0700")
	return a, nil
}
