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
		Usage: "list stacks that succeeded when they were just run again",
		Description: "A success counts that took several tries, and one that followed a failure of the same command with the same\n" +
			"inputs: on the same commit, or with the same digest. What was marked by hand does not count, nor what had\n" +
			"uncommitted changes.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "only what succeeded since `DATE`"},
			&cli.StringFlag{Name: "op", Usage: "only the operation `NAME`"},
			&cli.StringFlag{Name: "target", Usage: "only this `TARGET`"},
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error { return flaky(c, env) },
	}
}

func flaky(c *cli.Context, env Env) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withStore(c, env, func(s *gitstate.Store, _ string) error {
		var since time.Time
		if text := c.String("since"); text != "" {
			var err error
			if since, err = s.Date(c.Context, text, false); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
		}
		age, err := readLocal(c, s)
		if err != nil {
			return err
		}
		var records []query.Logged
		err = s.Notes(func(commit string, lines []gitstate.Line) error {
			for _, l := range lines {
				r := l.Record
				if r.Status != "" && (c.String("op") == "" || r.Op == c.String("op")) && (!c.IsSet("target") || r.Target == c.String("target")) {
					records = append(records, query.Logged{Commit: commit, Record: r})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		found := query.FindFlaky(records, since)
		if c.String("format") == "json" {
			return terminal.PrintJSON(env.Stdout, found)
		}
		u := newUI(env)
		if len(found) == 0 {
			u.Say("no stack succeeded by being run again")
		} else {
			rows := [][]string{{"FLAKY", "STACK", "OP", "LAST", "COMMIT", "RUN", "WHY"}}
			for _, f := range found {
				op := f.Op
				if f.Target != "" {
					op += "@" + f.Target
				}
				why := f.Reasons
				if len(why) > 3 {
					why = append(slices.Clone(why[:3]), fmt.Sprintf("and %d more reasons", len(why)-3))
				}
				rows = append(rows, []string{fmt.Sprintf("%d of %d", f.Flaky, f.Of), f.Stack, op, f.Last.Local().Format("2006-01-02 15:04:05"),
					note.Short(f.Commit), f.Run, strings.Join(why, "; ")})
			}
			u.Table(env.Stdout, rows, func(i int) string {
				if i == 0 {
					return terminal.Faint
				}
				return ""
			})
		}
		if age != "" {
			u.Say("%s", age)
		}
		return nil
	})
}
