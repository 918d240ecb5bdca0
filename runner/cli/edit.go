package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func markCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "mark",
		Usage:     "record a result by hand",
		ArgsUsage: "--reason TEXT STACK...",
		Description: "For what happened outside tmnotes: somebody deployed a stack from a laptop, or repaired it in the console.\n" +
			"The record says who marked it and why. With --op destroy a stack that is gone from HEAD can be named, too.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required)"},
			&cli.StringFlag{Name: "status", Value: "ok", Usage: "record `STATUS`: ok, failed, canceled or drifted"},
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "record operation `NAME`"},
			&cli.StringFlag{Name: "commit", Value: "HEAD", Usage: "record it on commit `REV`"},
		}, syncFlags(), storeFlags()),
		Action: inClone(env, parseMark, mark),
	}
}

// markOptions is what the flags of mark say, checked.
type markOptions struct {
	names              []string
	op, commit, target string
	status             note.Status
	reason             string
}

// markable are the statuses that may be recorded by hand.
var markable = []string{string(note.OK), string(note.Failed), string(note.Canceled), string(note.Drifted)}

func parseMark(c *cli.Context) (o markOptions, err error) {
	o = markOptions{names: c.Args().Slice(), commit: c.String("commit"), target: c.String("target"), status: note.Status(c.String("status")), reason: strings.TrimSpace(c.String("reason"))}
	switch {
	case len(o.names) == 0:
		return o, errors.New("which stacks? Name them by path, as in: tmnotes mark --reason 'repaired by hand' /prod/db")
	case o.reason == "":
		return o, errors.New("a mark needs a reason: add --reason 'what happened'")
	case !slices.Contains(markable, string(o.status)):
		return o, fmt.Errorf("--status: %q cannot be marked%s; use ok, failed, canceled or drifted", o.status, query.DidYouMean(string(o.status), markable, "%s"))
	}
	if o.op, err = opFlag(c); err != nil {
		return o, err
	}
	return o, project.ValidTarget(o.target)
}

func mark(here *clone, o markOptions) error {
	commit, err := here.store.Resolve(o.commit)
	if err != nil {
		return err
	}
	if err := here.load(project.Options{}); err != nil {
		return err
	}
	all, err := here.project.All()
	if err != nil {
		return err
	}
	stacks := make([]runner.Stack, len(o.names))
	for i, want := range o.names {
		var found bool
		// A stack that is gone can still be destroyed.
		if stacks[i], found = query.FindStack(here.store, here.dir, all, want); !found && o.op != note.Destroy {
			return fmt.Errorf("%s is not a stack in this project%s; `tmnotes list` lists them (nothing was marked)", want, query.MeantStack(want, all))
		}
	}
	if err := here.know(o.op); err != nil {
		return err
	}
	for i, want := range o.names {
		if stacks[i].Path == "" {
			if stacks[i], err = query.GoneStack(here.store, here.dir, here.state, want, command.TargetOf(o.target, here.env.workspace())); err != nil {
				return fmt.Errorf("%w (nothing was marked)", err)
			}
		}
	}
	records, err := here.recordsOf(byHand{commit: commit, status: o.status, op: o.op, target: o.target, reason: o.reason}, stacks, nil)
	if err != nil {
		return err
	}
	if err := here.record(commit.Hash, records...); err != nil {
		return err
	}
	here.Say("marked %s as %s at %s", runner.Plural(len(records), "stack"), o.status, note.Short(commit.Hash))
	return nil
}

// byHand is what somebody says that became of stacks, without a run that executed anything.
type byHand struct {
	commit             gitstate.Commit
	status             note.Status
	op, target, reason string
}

// recordsOf makes the records of that, for the stacks that amend keeps. It is handed each
// record, and what that follows.
func (here *clone) recordsOf(what byHand, stacks []runner.Stack, amend func(*note.Record, *gitstate.Latest) (keep bool, err error)) (records []*note.Record, err error) {
	who, run := cmp.Or(here.env.ci().By, here.store.Who(here.c.Context)), here.store.NewRun()
	here.writer = here.store.Writer(run)
	here.writer.Follow(here.state)
	reader := query.NewReader(here.c.Context, here.store.WorkTree())
	for _, stack := range stacks {
		target, err := targetHere(here.env, reader, stack, what.target)
		if err != nil {
			return nil, err
		}
		r := &note.Record{Status: what.status, Op: what.op, Target: target, Stack: stack.Path, ID: stack.ID, Reason: what.reason,
			By: who, Run: run, CommitTime: what.commit.Time.Unix()}
		l, err := here.follow(r, what.target)
		if err != nil {
			return nil, err
		}
		keep := true
		if amend != nil {
			keep, err = amend(r, &l)
		}
		if err != nil {
			return nil, err
		}
		if keep {
			records = append(records, r)
		}
	}
	return records, nil
}

// follow has a record by hand follow what is recorded of its stack. base is --target.
func (here *clone) follow(r *note.Record, base string) (gitstate.Latest, error) {
	l, err := here.state.Latest(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op})
	if err != nil {
		return l, err
	}
	// Nobody says which backend is meant: it is every one that is recorded.
	prev, backends := l.Runs(), 0
	for _, p := range here.state.Places(note.Slot{ID: r.ID, Path: r.Stack, Target: base, Op: r.Op}) {
		if p.Target != r.Target {
			continue
		}
		at, err := here.state.LatestAt(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op}, p.Backend)
		if err != nil {
			return l, err
		}
		prev, backends = append(prev, at.Runs()...), backends+min(len(p.Backend), 1)
	}
	slices.Sort(prev)
	r.Prev = slices.Compact(prev)
	// Whoever marks a stack as deployed means the command line that it is
	// deployed with, which the record before this one has.
	r.Variant = l.Variant
	r.SetValues(l.Values())
	if l.Status == note.Never || r.Variant == "" || backends > 1 {
		r.Variant = gitstate.AnyVariant
		r.SetValues("")
	}
	return l, nil
}
