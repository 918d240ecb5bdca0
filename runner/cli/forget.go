package cli

import (
	"bufio"
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
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func forgetCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "forget",
		Usage:     "remove records of a commit for good, in every clone",
		ArgsUsage: "--reason TEXT (--stack STACK | --run ID | --line TEXT | --all) [REV]",
		Description: "Shows what it removes, and asks first on a terminal. --stack removes the records that the stack has for --target, and\n" +
			"without --target those that it has for no target; --all-targets removes both. A tombstone with the reason takes the place of\n" +
			"each record, so that no other clone brings it back. (What `git notes remove` takes away comes back with the next sync.)",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required)"},
			&cli.StringFlag{Name: "stack", Usage: "the records of this `STACK`"},
			&cli.StringFlag{Name: "run", Usage: "the records of the run `ID`; with --stack, of that stack alone"},
			&cli.StringFlag{Name: "line", Usage: "the lines that begin with `TEXT`, records or not; a line's digest will do"},
			&cli.BoolFlag{Name: "all", Usage: "all lines of the commit, but for holds"},
		}, targetFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "all-targets", Usage: "with --stack: its records for every target"},
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would be removed, and remove nothing"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
		}, syncFlags(), storeFlags()),
		Action: inClone(env, parseForget, forget),
	}
}

// forgetOptions is what the flags of forget say, checked.
type forgetOptions struct {
	rev              string
	stack, run, line string // whose lines; all of these have to be met
	target           string
	allTargets       bool
	reason           string
	dryRun, yes      bool
}

func parseForget(c *cli.Context) (forgetOptions, error) {
	o := forgetOptions{rev: cmp.Or(c.Args().First(), "HEAD"), stack: c.String("stack"), run: c.String("run"), line: c.String("line"), target: c.String("target"),
		allTargets: c.Bool("all-targets"), reason: strings.TrimSpace(c.String("reason")), dryRun: c.Bool("dry-run"), yes: c.Bool("yes")}
	switch named := o.stack != "" || o.run != "" || o.line != ""; {
	case c.Args().Len() > 1:
		return o, errors.New("one commit at a time")
	case o.reason == "":
		return o, errors.New("forget needs a reason: add --reason 'what was wrong'")
	case !named && !c.Bool("all"):
		return o, errors.New("which records? Add --stack, --run, --line or --all; `tmnotes show` lists them")
	case named && c.Bool("all"):
		return o, errors.New("--all removes all lines of the commit; leave out --all, or --stack, --run and --line")
	case o.allTargets && o.target != "":
		return o, errors.New("--all-targets removes the records for every target; leave out --all-targets, or --target")
	}
	return o, nil
}

func forget(here *clone, o forgetOptions) error {
	ctx := here.c.Context
	commit, err := resolveAnnotated(here.store, o.rev)
	if err != nil {
		return err
	}
	if err := here.fetch(note.Deploy); err != nil {
		return err
	}
	lines, err := here.store.Note(commit.Hash)
	if err != nil {
		return err
	}
	if o.run, err = runAmong(lines, o.run); err != nil {
		return err
	}
	picked := pickLines(o, lines, query.StackMatcher(ctx, here.store, here.dir, o.stack), here.env.workspace())
	if err := picked.show(here.ui, commit.Hash); err != nil {
		return err
	}
	some, on := runner.Plural(len(picked.lines), "line"), note.Short(commit.Hash)
	if o.dryRun {
		here.Say("nothing was removed (--dry-run): %s on %s would be", some, on)
		return nil
	}
	if !o.yes && terminal.IsTerminal(here.env.Stderr) && here.env.Stdin != nil && terminal.IsTerminal(here.env.Stdin) {
		if err := ask(ctx, here.env, fmt.Sprintf("Remove %s on %s for good, in every clone?", some, on)); err != nil {
			return err
		}
	}
	by := note.Record{By: cmp.Or(here.env.ci().By, here.store.Who(ctx)), Reason: o.reason, Run: here.store.NewRun()}
	gone, err := here.store.Writer(by.Run).Forget(ctx, commit.Hash, by, func(l gitstate.Line) bool { return picked.texts[l.Text] })
	if err != nil {
		return err
	}
	if err := here.send(); err != nil {
		return err
	}
	here.Say("forgot %s on %s", runner.Plural(len(gone), "line"), on)
	return nil
}

// runAmong is the run of a note that is meant by one that was typed, which may be its beginning.
func runAmong(lines []gitstate.Line, typed string) (string, error) {
	if typed == "" {
		return "", nil
	}
	began := map[string]time.Time{}
	for _, l := range lines {
		if l.Err == nil {
			began[l.Record.Run] = l.Record.At
		}
	}
	run, err := query.MatchRun(typed, began)
	return cmp.Or(run, typed), err
}

// pick is what forget is about to remove from a note.
type pick struct {
	lines  []gitstate.Line
	texts  map[string]bool
	target string
	others []string // targets for which the stack has records, too, that stay
}

// pickLines picks the lines that are to be removed: all conditions have to be met. The
// stack's records for another target than the one that was named are not meant:
// another place's state would be lost with them.
func pickLines(o forgetOptions, lines []gitstate.Line, isStack func(*note.Record) bool, workspace string) *pick {
	p := &pick{texts: map[string]bool{}, target: o.target}
	if !strings.Contains(p.target, "+") { // else the workspace is in it already
		p.target = command.TargetOf(p.target, workspace)
	}
	limited := o.target != "" || o.stack != "" && !o.allTargets
	for _, l := range lines {
		r := l.Record
		switch {
		case r.Event == note.Forgotten,
			o.run == "" && o.line == "" && note.Op(r.Op).Holds(), // who means a result does not mean to release the stack
			r.Event == note.Signed && o.line == "",               // it vouches for what else is there, and was
			o.stack != "" && (l.Err != nil || r.Stack == "" || !isStack(&r)),
			o.run != "" && (l.Err != nil || r.Run != o.run),
			o.line != "" && !strings.HasPrefix(l.Text, o.line) && note.Digest(l.Text) != o.line:
		case limited && r.Target != p.target:
			if i, found := slices.BinarySearch(p.others, r.Target); !found {
				p.others = slices.Insert(p.others, i, r.Target)
			}
		default:
			p.lines, p.texts[l.Text] = append(p.lines, l), true
		}
	}
	return p
}

// show says what is about to be removed, and what is not.
func (p *pick) show(u *ui, commit string) error {
	names := make([]string, len(p.others))
	for i, target := range p.others {
		names[i] = targetName(target)
	}
	others := strings.Join(names, ", ")
	if len(p.lines) == 0 {
		if others != "" {
			return fmt.Errorf("no such record for %s on %s, but for %s: name one with --target, or add --all-targets", targetName(p.target), note.Short(commit), others)
		}
		return fmt.Errorf("no such record on %s; `tmnotes show %s` lists them", note.Short(commit), note.Short(commit))
	}
	var rows [][]string
	for _, l := range p.lines {
		r := l.Record
		if l.Err != nil {
			rows = append(rows, []string{"-", l.Text})
			continue
		}
		what := cmp.Or(string(r.Status), r.Event)
		rows = append(rows, []string{what, r.At.Local().Format("2006-01-02 15:04:05"), cmp.Or(r.Op, "-"), cmp.Or(r.Stack, "-"), targetName(r.Target), runner.Took(r.Took), note.ShortRun(r.Run)})
	}
	u.Table(u.Out, nil, rows, terminal.StatusColor)
	if others != "" {
		u.Say("the records for %s stay: name one with --target, or add --all-targets", others)
	}
	return nil
}

// targetName is a target as people read it.
func targetName(target string) string {
	if target == "" {
		return "no target"
	}
	return target
}

// ask has a person on the terminal confirm what cannot be taken back.
func ask(ctx context.Context, env Env, question string) error {
	fmt.Fprintf(env.Stderr, "%s [y/N] ", runner.Printable(question))
	said, _ := answer(ctx, bufio.NewReader(env.Stdin))
	if ctx.Err() != nil {
		fmt.Fprintln(env.Stderr)
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was removed")}
	}
	if said = strings.ToLower(strings.TrimSpace(said)); said == "y" || said == "yes" {
		return nil
	}
	return errors.New("nothing was removed")
}

// answer reads a line, unless ctx ends before somebody has typed it.
func answer(ctx context.Context, from *bufio.Reader) (string, error) {
	var line string
	var err error
	read := make(chan struct{})
	go func() {
		line, err = from.ReadString('\n')
		close(read)
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-read:
		return line, err
	}
}
