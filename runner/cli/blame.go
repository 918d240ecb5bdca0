package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func blameCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "blame",
		Usage:     "show since when a stack has failed, and what changed before",
		ArgsUsage: "STACK",
		Description: "STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id. Of a stack that is ok\n" +
			"it says since when. Reads what is here; `tmnotes fetch` brings what is on the remote.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "look at operation `NAME`"},
			formatFlag(),
		}, storeFlags()),
		Action: inClone(env, parseBlame, blame),
	}
}

// blameOptions is what the flags of blame say, checked.
type blameOptions struct {
	stack, op, target string
}

func parseBlame(c *cli.Context) (o blameOptions, err error) {
	o = blameOptions{stack: c.Args().First(), target: c.String("target")}
	switch {
	case !c.Args().Present():
		return o, errors.New("which stack? Name it by path, as in: tmnotes blame /prod/db")
	case c.Args().Len() > 1:
		return o, fmt.Errorf("one stack at a time, not %d", c.Args().Len())
	}
	if err := errors.Join(setLogLevel(c), project.ValidTarget(o.target)); err != nil {
		return o, err
	}
	o.op, err = opFlag(c)
	return o, err
}

func blame(here *clone, o blameOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	if err := here.read(); err != nil {
		return err
	}
	if err := here.load(project.Options{Memory: here.store}); err != nil {
		return err
	}
	all, err := here.project.All()
	if err != nil {
		return err
	}
	target := command.TargetOf(o.target, here.env.workspace())
	stack, found := query.FindStack(here.store, here.dir, all, o.stack)
	if !found {
		if stack, err = query.GoneStack(here.store, here.dir, here.state, o.stack, target); err != nil {
			return err
		}
	}
	v, err := query.Investigate(here.c.Context, here.store, here.state, query.Suspect{Stack: stack, Op: o.op, Target: target}, inputChanges(here.project))
	if err != nil {
		return err
	}
	if here.json {
		return terminal.PrintJSON(here.Out, v)
	}
	printVerdict(here.ui, v)
	here.sayAge()
	return nil
}

func inputChanges(p *project.Project) query.InputChanges {
	return func(ctx context.Context, stack runner.Stack, from, to string) ([]string, error) {
		in, err := p.InputsAt(ctx, to)
		if err != nil {
			return nil, err
		}
		differ, err := p.Differences(ctx, in, from)
		if err != nil {
			return nil, err
		}
		return differ(stack.Path), nil
	}
}

// printVerdict says it to somebody who was woken up by it: the verdict first.
func printVerdict(u *ui, v *query.Verdict) {
	out := u.Out
	say := func(format string, args ...any) { fmt.Fprintln(out, runner.Printable(fmt.Sprintf(format, args...))) }
	name := v.Stack
	if v.Target != "" {
		name += " (" + v.Target + ")"
	}
	if v.Latest == nil {
		say("%s: no %s has ended", name, v.Op)
	} else {
		say("%s: %s since %s (%s), %s", name, verb(v.Latest), v.Since.Local().Format("2006-01-02 15:04:05"), terminal.Ago(time.Since(*v.Since)), runner.Plural(v.Runs, "run"))
	}
	var rows [][]string
	add := func(what string, h *query.Happened) {
		if h == nil {
			return
		}
		rows = append(rows, []string{what, h.Record.At.Local().Format(time.DateTime), note.Short(h.Commit), note.NameOf(h.By), note.ShortRun(h.Record.Run), whyOf(&h.Record)})
	}
	switch {
	case v.Latest == nil:
	case v.OK():
		add("last-failed", v.LastBad)
		add("first-ok", v.First)
	default:
		add("last-ok", v.LastOK)
		add("first-"+string(v.First.Record.Status), v.First)
	}
	if v.Latest != nil && (v.Runs > 1 || v.First.Record.At != v.Latest.Record.At) {
		add("latest-"+string(v.Latest.Record.Status), v.Latest)
	}
	if v.Open != nil {
		add(string(v.Status), v.Open)
	}
	if len(rows) > 0 {
		u.Table(out, []string{"WHAT", "AT", "COMMIT", "BY", "RUN", "WHY"}, rows, func(what string) string {
			_, status, _ := strings.Cut(what, "-")
			return terminal.StatusColor(status)
		})
	}
	if len(v.Diverged) > 0 {
		say("conflict: deployed as well, unaware of the latest run, by %s", strings.Join(v.Diverged, ", "))
	}
	if v.Latest == nil || v.OK() {
		return
	}
	printChanges(say, v)
	if v.Latest.Job != "" {
		say("the job of the latest run: %s", v.Latest.Job)
	}
	next := "tmnotes log " + shellQuote(v.Stack)
	if v.Latest.Record.Status == note.Failed {
		next = "tmnotes show --log " + shellQuote(v.Stack)
	}
	if cause := v.Latest.Record.Cause; cause != "" {
		next = "tmnotes blame " + shellQuote(cause)
	}
	u.Say("next: %s", next)
}

func verb(h *query.Happened) string {
	if h.Record.Status == note.OK && h.Record.Op == note.Destroy {
		return "destroyed"
	}
	return string(h.Record.Status)
}

func printChanges(say func(string, ...any), v *query.Verdict) {
	ok, first := v.LastOK, v.First
	if ok == nil {
		say("it never succeeded before")
		return
	}
	between := fmt.Sprintf("between %s %q and %s %q", note.Short(ok.Commit), ok.Subject, note.Short(first.Commit), first.Subject)
	switch {
	case ok.Commit == first.Commit:
		say("it succeeded on the same commit: nothing in git changed")
	case v.Unknown != "":
		say("what changed %s cannot be told: %s", between, v.Unknown)
	case len(v.Inputs) == 0:
		say("no input of it changed %s", between)
	default:
		say("its inputs that changed %s:", between)
		const most = 20
		for i, what := range v.Inputs {
			if i == most {
				say("  and %d more", len(v.Inputs)-most)
				break
			}
			say("  %s", what)
		}
	}
	for i, c := range v.Commits {
		if i == 0 {
			say("by:")
		}
		if i == query.MostCommits {
			say("  and more: git log %s..%s", note.Short(ok.Commit), note.Short(first.Commit))
			break
		}
		say("  %s %s %s: %s", note.Short(c.Hash), c.Time.Local().Format("2006-01-02 15:04"), c.Author, c.Subject)
	}
	if ok.Record.Stack != first.Record.Stack {
		say("it moved from %s to %s", ok.Record.Stack, first.Record.Stack)
	}
	if first.Record.Dirty {
		say("the first failure had uncommitted changes")
	}
	if a, b := ok.Record.Variant, first.Record.Variant; a != b && a != gitstate.AnyVariant && b != gitstate.AnyVariant {
		say("the command was another one: %s; then %s", cmp.Or(ok.Cmd, a), cmp.Or(first.Cmd, b))
	}
}
