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
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func triggerCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "trigger",
		Usage:     "have stacks deployed again, although nothing changed",
		ArgsUsage: "[STACK...]",
		Description: "Writes the trigger files of `terramate trigger`, one for each stack that is named or that the filters select.\n" +
			"Once they are committed, `--changed` lists the stacks, here and in stock Terramate. --note needs no commit: it\n" +
			"records the stacks as triggered, which makes them pending.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required with --note)"},
			&cli.BoolFlag{Name: "recursive", Usage: "also the stacks below the STACK paths"},
			&cli.BoolFlag{Name: "change", Usage: "mark the stacks as changed (the default)"},
			&cli.BoolFlag{Name: "ignore-change", Usage: "have change detection ignore what changed in the stacks"},
			&cli.BoolFlag{Name: "note", Usage: "record a note, in place of a file to commit"},
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "with --note, make operation `NAME` pending"},
		}, syncFlags(), storeFlags()),
		Action: inClone(env, parseTrigger, trigger),
	}
}

// triggerOptions is what the flags of trigger say, checked.
type triggerOptions struct {
	names           []string
	below           bool // these, and the stacks below them
	sel             *project.Selection
	target          string
	filter          query.StatusFilter
	inNotes, ignore bool
	op, reason      string
}

func parseTrigger(c *cli.Context) (o triggerOptions, err error) {
	o = triggerOptions{names: c.Args().Slice(), below: c.Bool("recursive"), inNotes: c.Bool("note"), ignore: c.Bool("ignore-change"), reason: strings.TrimSpace(c.String("reason"))}
	if err := setLogLevel(c); err != nil {
		return o, err
	}
	sel, filter, err := parseStacks(c)
	if err != nil {
		return o, err
	}
	if o.op, err = opFlag(c); err != nil {
		return o, err
	}
	named := len(o.names) > 0
	if named {
		sel.Changed = false // as in terramate: who names a stack means it
	}
	o.target, o.filter = sel.Target, filter
	if o.filter.Set() || query.Narrowed(sel) {
		o.sel = &sel
	}
	switch {
	case !named && o.sel == nil:
		return o, errors.New("which stacks? Name them, or filter, as in: tmnotes trigger --status failed")
	case !named && o.below:
		return o, errors.New("--recursive is about the stacks below a path; name it, as in: tmnotes trigger --recursive /prod")
	case c.Bool("change") && o.ignore:
		return o, errors.New("--change and --ignore-change say opposite things; leave one out")
	case o.inNotes && o.ignore:
		return o, errors.New("--note makes stacks pending, --ignore-change the opposite; leave one out")
	case o.inNotes && o.reason == "":
		return o, errors.New("a trigger without a commit needs a reason: add --reason 'what happened'")
	case !o.inNotes && c.IsSet("op"):
		return o, errors.New("--op goes with --note: a trigger file is for whatever runs next")
	}
	return o, nil
}

func trigger(here *clone, o triggerOptions) error {
	if err := here.load(project.Options{Terragrunt: o.sel != nil && o.sel.Terragrunt()}); err != nil {
		return err
	}
	if o.filter.Set() {
		if err := here.project.NeedsTarget(o.target); err != nil {
			return err
		}
	}
	stacks, err := here.selectStacks(o.names, o.below, o.sel)
	if err != nil {
		return err
	}
	if here.sync, err = here.plan(o.op); err != nil {
		return err
	}
	if o.inNotes || o.filter.Set() {
		if stacks, err = filterByNotes(here, o, stacks); err != nil {
			return err
		}
	}
	if len(stacks) == 0 {
		here.Say("no stack is selected: nothing to trigger")
		return nil
	}
	if o.inNotes {
		return triggerByNote(here, o, stacks)
	}
	return triggerByFile(here, o, stacks)
}

// filterByNotes reads the notes, the remote's also where the trigger itself is not synced.
func filterByNotes(here *clone, o triggerOptions, stacks []runner.Stack) (_ []runner.Stack, err error) {
	from := here.sync
	if from.Remote == "" {
		if from, err = here.plan(note.Deploy); err != nil {
			return nil, err
		}
	}
	if err := fetchNotes(here.c.Context, here.store, here.ui, from); err != nil {
		return nil, err
	}
	if err := here.read(); err != nil {
		return nil, err
	}
	return query.FilterStacks(stacks, o.filter, query.ViewsOf(here.c.Context, here.env.Environ, here.state, here.project, o.target).Of)
}

func triggerByFile(here *clone, o triggerOptions, stacks []runner.Stack) error {
	kind, sees := "change", "then `--changed` lists the stacks, in terramate as well"
	if o.ignore {
		kind, sees = "ignore", "then `--changed` does not list the stacks for what changed so far, in terramate as well"
	}
	reason := cmp.Or(o.reason, "Created by tmnotes trigger without a reason.")
	for i, st := range stacks {
		if err := here.project.Trigger(st, o.ignore, reason); err != nil {
			return fmt.Errorf("%w (%s written before)", err, runner.Plural(i, "trigger file"))
		}
		fmt.Fprintf(here.Out, "Created %s trigger for stack %q\n", kind, st.Path)
	}
	here.Say("commit .tmtriggers/ (git add .tmtriggers && git commit); %s", sees)
	return nil
}

func triggerByNote(here *clone, o triggerOptions, stacks []runner.Stack) error {
	head, err := here.store.Resolve("HEAD")
	if err != nil {
		return err
	}
	what := byHand{commit: head, status: note.Triggered, op: o.op, target: o.target, reason: o.reason}
	records, err := here.recordsOf(what, stacks, func(r *note.Record, l *gitstate.Latest) (bool, error) {
		if l.Status == note.Queued || l.Status == note.Running {
			here.Warn(fmt.Sprintf("%s is %s in run %s; it is pending after that, whatever comes of it", r.Stack, l.Status, note.ShortRun(l.Run)))
		}
		if l.Status != note.Never {
			r.Had, r.Was = l.Standing()
			if r.Had == note.Never {
				r.Had = ""
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := here.record(head.Hash, records...); err != nil {
		return err
	}
	here.Say("triggered %s at %s: pending until the next %s", runner.Plural(len(records), "stack"), note.Short(head.Hash), o.op)
	return nil
}
