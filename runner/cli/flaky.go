package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func flakyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "flaky",
		Usage: "list flaky stacks: failed, then succeeded without a change",
		Description: "A success counts that took several tries, and one that followed a failure of the same command with the same\n" +
			"inputs: on the same commit, or with the same digest. What was marked by hand does not count, nor what had\n" +
			"uncommitted changes.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "only successes since `DATE`"},
			&cli.StringFlag{Name: "op", Usage: "only the operation `NAME`"},
			&cli.StringFlag{Name: "target", Usage: "only this `TARGET`"},
			formatFlag(),
		}, storeFlags()),
		Action: inClone(env, parseFlaky, flaky),
	}
}

// flakyOptions is what the flags of flaky say, checked.
type flakyOptions struct {
	since string
	which recordFilter
}

func parseFlaky(c *cli.Context) (flakyOptions, error) {
	return flakyOptions{c.String("since"), parseRecordFilter(c)}, noArgs(c)
}

func flaky(here *clone, o flakyOptions) error {
	var since time.Time
	if o.since != "" {
		var err error
		if since, err = here.store.Date(here.c.Context, o.since, false); err != nil {
			return fmt.Errorf("--since: %w", err)
		}
	}
	if err := here.readHere(); err != nil {
		return err
	}
	var records []query.Logged
	err := here.store.Notes(func(commit string, lines []gitstate.Line) error {
		for _, l := range lines {
			if r := l.Record; r.Status != "" && o.which.admits(&r) {
				records = append(records, query.Logged{Commit: commit, Record: r})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	found := query.FindFlaky(records, since)
	if here.json {
		return terminal.PrintJSON(here.Out, found)
	}
	var rows [][]string
	for _, f := range found {
		why := f.Reasons
		if len(why) > 3 {
			why = append(slices.Clone(why[:3]), fmt.Sprintf("and %d more reasons", len(why)-3))
		}
		rows = append(rows, []string{fmt.Sprintf("%d of %d", f.Flaky, f.Of), f.Stack, opAt(f.Op, f.Target), f.Last.Local().Format(time.DateTime),
			note.Short(f.Commit), note.ShortRun(f.Run), strings.Join(why, "; ")})
	}
	if len(rows) == 0 {
		here.Say("no stack succeeded by being run again")
	} else {
		here.Table(here.Out, []string{"FLAKY", "STACK", "OP", "LAST", "COMMIT", "RUN", "WHY"}, rows, nil)
	}
	here.sayAge()
	return nil
}
