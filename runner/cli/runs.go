package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func runsCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "runs",
		Usage:     "list runs, newest first: who ran what, and what came of it",
		ArgsUsage: "[STACK]",
		Description: "With STACK, --op or --target: the runs that have such a record; the counts are of all of their stacks. `tmnotes show RUN`\n" +
			"shows one.\n" + refreshHelp,
		Flags:  slices.Concat(chdirFlags(), logFlags("runs"), []cli.Flag{formatFlag()}, refreshFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return inClone(looking(env), parseLog, listRuns)(c) },
	}
}

func listRuns(here *clone, o logOptions) error {
	if err := here.readFresh(); err != nil {
		return err
	}
	if err := here.read(); err != nil {
		return err
	}
	is := here.ofStack(o.stack)
	known, recorded := false, map[string]bool{}
	runs, err := query.Runs(here.store, here.state, func(r *note.Record) bool {
		if recorded[r.Stack] = true; !is(r) {
			return false
		}
		known = true
		return o.which.admits(r)
	})
	if err != nil {
		return err
	}
	if !known && o.stack != "" {
		return noRecord(o.stack, recorded)
	}
	ids := make([]string, len(runs))
	for i := range runs {
		ids[i] = runs[i].Run
	}
	if o.n > 0 && len(runs) > o.n {
		runs = runs[:o.n]
	}
	if here.json {
		return terminal.PrintJSON(here.Out, runs)
	}
	short := note.ShortRuns(ids)
	var rows [][]string
	for _, r := range runs {
		took := "-"
		if d := r.Finished.Sub(r.Started); d > 0 {
			took = runner.Took(d)
		}
		rows = append(rows, []string{string(r.Status), short(r.Run), r.Started.Local().Format(time.DateTime), opAt(r.Op, r.Target), countsOf(&r), took,
			note.Short(r.Commit), note.NameOf(r.By), r.Job})
	}
	err = here.Table(here.Out, []string{"STATUS", "RUN", "AT", "OP", "STACKS", "TIME", "COMMIT", "BY", "JOB"}, rows, terminal.StatusColor)
	o.sayNone(here, len(rows), "run")
	here.sayAge()
	return err
}

// countsOf is how many stacks of a run ended how, what is wrong first.
func countsOf(r *report.Run) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what note.Status
	}{{r.Failed, note.Failed}, {r.Interrupted, note.Interrupted}, {r.Blocked, note.Blocked}, {r.Canceled, note.Canceled}, {r.Drifted, note.Drifted}, {r.OK, note.OK}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if r.Open > 0 {
		parts = append(parts, fmt.Sprintf("%d open", r.Open))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// showRun prints what is recorded of the run that is meant, by its commits; unknown is the error
// where there is none.
func showRun(here *clone, typed string, unknown error) error {
	id, err := query.FindRun(here.store, typed)
	if err != nil {
		return err
	}
	if id == "" {
		return unknown
	}
	lines := map[string][]gitstate.Line{}
	logged := []query.Logged{}
	err = here.store.Notes(func(commit string, all []gitstate.Line) error {
		for _, l := range all {
			if l.Err == nil && l.Record.Run == id {
				lines[commit] = append(lines[commit], l)
				logged = append(logged, query.Logged{Commit: commit, By: l.Record.By, Record: l.Record})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	query.SortByTime(logged)
	signed, err := here.verified(slices.Collect(maps.Keys(lines))...)
	if err != nil {
		return err
	}
	if here.json {
		maps.DeleteFunc(signed, func(of runOn, _ *gitstate.VerifiedRun) bool { return of.run != id })
		return here.printShown(map[string]any{"run": id, "records": logged}, signed)
	}
	for _, x := range logged {
		if lines[x.Commit] == nil {
			continue // shown already
		}
		commit, err := resolveAnnotated(here.store, x.Commit)
		if err != nil {
			return err
		}
		fmt.Fprintf(here.Out, "commit %s %s\n", commit.Hash, runner.Printable(commit.Subject))
		runs, _ := runsOf(lines[x.Commit])
		runs[0].print(here.ui, signed.of(x.Commit, id))
		delete(lines, x.Commit)
	}
	here.sayAge()
	return nil
}
