package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func holdCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "hold",
		Usage:     "have stacks not deployed until they are released",
		ArgsUsage: "--reason TEXT [--until TIME|DURATION] (STACK... | --tags TAGS | --all)",
		Description: "A held stack, and what depends on it, is blocked in every run that would deploy or destroy it, in all clones. In a run\n" +
			"that is under way, what has not started does not start. --all holds also stacks that are yet to come.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required)"},
			&cli.StringFlag{Name: "until", DefaultText: "released", Usage: "hold until a `TIME`, or for a duration: 2026-12-24, 2026-12-24T14:00:00Z, 36h"},
		}, holdFlags("hold"), syncFlags(), storeFlags()),
		Action: inClone(env, parseHold, hold),
	}
}

func releaseCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:        "release",
		Usage:       "end the hold of stacks",
		ArgsUsage:   "[--reason TEXT] (STACK... | --tags TAGS | --all)",
		Description: "--all ends what `tmnotes hold --all` began. Stacks that were held by themselves stay held: release them by name.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason"},
		}, holdFlags("release"), syncFlags(), storeFlags()),
		Action: inClone(env, parseHold, release),
	}
}

func holdFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: what + " all stacks"},
		&cli.StringSliceFlag{Name: "tags", Usage: "only stacks with `TAGS` (a:b is both, a,b is either)"},
		&cli.StringSliceFlag{Name: "no-tags", Usage: "only stacks with none of `TAGS`"},
		settings.target.flagFor("only for this `TARGET` and its workspaces, in place of all"),
	}
}

// holdOptions is what the flags of hold and release say, checked.
type holdOptions struct {
	names                 []string
	tags                  *project.Selection
	all                   bool
	reason, until, target string
}

func parseHold(c *cli.Context) (holdOptions, error) {
	o := holdOptions{names: c.Args().Slice(), all: c.Bool("all"), reason: strings.TrimSpace(c.String("reason")), until: strings.TrimSpace(c.String("until")), target: c.String("target")}
	if sel := (project.Selection{Tags: nonEmpty(c.StringSlice("tags")), NoTags: splitCommas(c.StringSlice("no-tags"))}); query.Narrowed(sel) {
		o.tags = &sel
	}
	narrowed := len(o.names) > 0 || o.tags != nil
	switch name := c.Command.Name; {
	case !o.all && !narrowed:
		return o, fmt.Errorf("which stacks? Name them, filter with --tags, or take --all, as in: tmnotes %s --reason 'migration' /prod/db", name)
	case o.all && narrowed:
		return o, errors.New("--all means all stacks; leave it out, or the stacks that you named")
	case name == "hold" && o.reason == "":
		return o, errors.New("a hold needs a reason, which whoever is stopped by it reads: add --reason 'what is going on'")
	case c.IsSet("until") && o.until == "":
		return o, errors.New("--until needs a time or a duration; leave it out to hold until somebody releases")
	}
	return o, project.ValidTarget(o.target)
}

// end is what --until says, zero where that is nothing.
func (o *holdOptions) end(here *clone) (time.Time, error) {
	if o.until == "" {
		return time.Time{}, nil
	}
	now := time.Now()
	d, err := time.ParseDuration(o.until)
	until := now.Add(d)
	if err != nil {
		if until, err = here.store.Date(here.c.Context, o.until, true); err != nil {
			return until, fmt.Errorf("--until: %q is neither a time nor a duration; write it like 2026-12-24, 2026-12-24T14:00:00Z or 36h", o.until)
		}
	}
	if !until.After(now) {
		return until, fmt.Errorf("--until: %s is not in the future", o.until)
	}
	return until, nil
}

func hold(here *clone, o holdOptions) error {
	until, err := o.end(here)
	if err != nil {
		return err
	}
	stacks := []runner.Stack{{Path: "/"}}
	if err := here.load(project.Options{}); err != nil {
		return err
	}
	if !o.all {
		if stacks, err = here.selectStacks(o.names, false, o.tags); err != nil {
			return fmt.Errorf("%w (nothing is held)", err)
		}
		if len(stacks) == 0 {
			here.Say("no stack is selected: nothing to hold")
			return nil
		}
	}
	if err := here.know(note.Hold); err != nil {
		return err
	}
	var records []*note.Record
	for _, stack := range stacks {
		r := &note.Record{Status: note.Held, Op: note.Hold, Target: o.target, Stack: stack.Path, ID: stack.ID, Reason: o.reason}
		if o.all {
			r.Op = note.HoldAll
		}
		if !until.IsZero() {
			r.SetUntil(until)
		}
		l, err := here.state.Latest(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op})
		if err != nil {
			return err
		}
		r.Prev = l.Runs()
		records = append(records, r)
	}
	if err := here.recordHolds(records); err != nil {
		return err
	}
	what, name := runner.Plural(len(stacks), "stack"), shellQuote(stacks[0].Path)
	switch {
	case o.all:
		what, name = "all stacks", "--all"
	case len(stacks) > 1:
		name = "STACK"
	}
	here.Say("held %s: blocked until `%s`%s", what, releaseLine(name, o.target), orUntil(until))
	return nil
}

// releaseLine is the command that releases.
func releaseLine(name, target string) string {
	if target != "" {
		name = "--target " + shellQuote(target) + " " + name
	}
	return "tmnotes release " + name
}

func orUntil(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", or until " + t.Local().Format("2006-01-02 15:04:05 -0700")
}

// recordHolds appends holds or releases, made here and now on HEAD.
func (here *clone) recordHolds(records []*note.Record) error {
	head, err := here.store.Resolve("HEAD")
	if err != nil {
		return err
	}
	who, run := cmp.Or(here.env.ci().By, here.store.Who(here.c.Context)), here.store.NewRun()
	here.writer = here.store.Writer(run)
	here.writer.Follow(here.state)
	for _, r := range records {
		r.By, r.Run, r.CommitTime = who, run, head.Time.Unix()
	}
	return here.record(head.Hash, records...)
}

func release(here *clone, o holdOptions) error {
	if o.tags != nil {
		if err := here.load(project.Options{}); err != nil {
			return err
		}
	}
	if err := here.know(note.Hold); err != nil {
		return err
	}
	held, err := releasable(here, o)
	if err != nil {
		return err
	}
	if len(held) == 0 {
		here.Say("none of these stacks is held: nothing to release")
		return nil
	}
	var records []*note.Record
	for _, h := range held {
		here.Say("%s was %s", nameOfHold(&h), h.String())
		records = append(records, &note.Record{Status: note.Released, Op: h.Op, Target: h.Target, Stack: h.Stack, ID: h.ID, Reason: o.reason, Prev: h.Runs()})
	}
	if err := here.recordHolds(records); err != nil {
		return err
	}
	for _, h := range here.state.Holds() {
		if h.All() && !o.all && (h.Target == "" || h.Target == o.target) {
			here.Say("released, but every stack is still %s; `%s` ends that", h.String(), releaseLine("--all", h.Target))
			return nil
		}
	}
	if o.all {
		here.Say("released; stacks that were held by themselves stay held (`tmnotes unlock` lists them)")
	} else {
		here.Say("released %s", runner.Plural(len(records), "stack"))
	}
	return nil
}

func nameOfHold(h *gitstate.Hold) string {
	name := h.Stack
	if h.All() {
		name = "every stack"
	}
	if h.Target != "" {
		name += " for " + h.Target
	}
	return name
}

// releasable are the holds that are meant.
func releasable(here *clone, o holdOptions) (meant []gitstate.Hold, err error) {
	all := here.state.Holds()
	keep := func(is func(*gitstate.Hold) bool) (found int) {
		for _, h := range all {
			if h.Target == o.target && is(&h) {
				meant, found = append(meant, h), found+1
			}
		}
		return found
	}
	if o.all {
		if keep((*gitstate.Hold).All) == 0 {
			return nil, fmt.Errorf("nobody holds all stacks%s; `tmnotes unlock` lists the holds (nothing was released)", forTarget(o.target))
		}
		return meant, nil
	}
	if o.tags != nil {
		stacks, err := here.selectStacks(o.names, false, o.tags)
		if err != nil {
			return nil, err
		}
		keep(func(h *gitstate.Hold) bool {
			return !h.All() && slices.ContainsFunc(stacks, func(s runner.Stack) bool { return s.Path == h.Stack || s.ID != "" && s.ID == h.ID })
		})
		return meant, nil
	}
	for _, want := range o.names {
		is := query.StackMatcher(here.c.Context, here.store, here.dir, want)
		named := func(h *gitstate.Hold) bool { return !h.All() && is(&h.Record) }
		if keep(named) > 0 {
			continue
		}
		for _, h := range all {
			if named(&h) || h.All() && (h.Target == "" || h.Target == o.target) {
				name := shellQuote(h.Stack)
				if h.All() {
					name = "--all"
				}
				return nil, fmt.Errorf("%s is not held by itself%s: %s is %s; `%s` ends that (nothing was released)", want, forTarget(o.target), nameOfHold(&h), h.String(), releaseLine(name, h.Target))
			}
		}
		return nil, fmt.Errorf("%s is not held%s; `tmnotes unlock` lists the holds (nothing was released)", want, forTarget(o.target))
	}
	return meant, nil
}

func forTarget(target string) string {
	if target == "" {
		return ""
	}
	return " for " + target
}

// holdShown is a hold in JSON.
type holdShown struct {
	Hold   bool      `json:"hold"` // true: it is no lock of a job
	Stack  string    `json:"stack,omitempty"`
	ID     string    `json:"id,omitempty"`
	All    bool      `json:"all,omitempty"`
	Target string    `json:"target,omitempty"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
	Run    string    `json:"run"`
}

func jsonOfHold(h *gitstate.Hold) *holdShown {
	if h == nil {
		return nil
	}
	out := &holdShown{Hold: true, Stack: h.Stack, ID: h.ID, All: h.All(), Target: h.Target, By: h.By, Reason: h.Reason, Since: h.At, Until: h.Until(), Run: h.Run}
	if out.All {
		out.Stack = ""
	}
	return out
}

// tableHolds lists holds, with the commands that release them.
func (here *clone) tableHolds(holds []gitstate.Hold) {
	var rows [][]string
	for _, h := range holds {
		stack, name, until := h.Stack, shellQuote(h.Stack), "released"
		if h.All() {
			stack, name = "(all)", "--all"
		}
		if t := h.Until(); !t.IsZero() {
			until = "in " + runner.Took(time.Until(t))
		}
		rows = append(rows, []string{stack, cmp.Or(h.Target, "-"), terminal.Ago(time.Since(h.At)), until, note.NameOf(h.By), h.Reason, releaseLine(name, h.Target)})
	}
	here.Table(here.Out, []string{"HELD", "TARGET", "SINCE", "UNTIL", "BY", "REASON", "RELEASE"}, rows, nil)
}
