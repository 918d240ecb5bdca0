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
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func logCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:        "log",
		Usage:       "show what was run, newest first: of all stacks, or of one",
		ArgsUsage:   "[STACK]",
		Description: "STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.IntFlag{Name: "n", Value: 50, Usage: "show at most `N` records (0: all)"},
			&cli.StringFlag{Name: "op", Usage: "only the operation `NAME`"},
			&cli.StringFlag{Name: "target", Usage: "only this `TARGET`"},
			&cli.StringFlag{Name: "run", Usage: "only the run `ID`"},
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error { return logRecords(c, env) },
	}
}

func logRecords(c *cli.Context, env Env) error {
	if c.Args().Len() > 1 {
		return fmt.Errorf("one stack at a time, not %d", c.Args().Len())
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		age, err := readLocal(c, s)
		if err != nil {
			return err
		}
		is := func(r *note.Record) bool { return true }
		if want := c.Args().First(); want != "" {
			is = query.StackMatcher(c.Context, s, dir, want)
		}
		by := map[string]string{}
		var found []query.Logged
		recorded := map[string]bool{}
		err = s.Notes(func(commit string, lines []gitstate.Line) error {
			for _, l := range lines {
				r := l.Record
				recorded[r.Stack] = true
				switch {
				case l.Err != nil:
				case r.Event == note.Started:
					if r.Leg() == 0 || by[r.Run] == "" {
						by[r.Run] = r.By
					}
				case r.Status == "" || !is(&r),
					c.String("op") != "" && r.Op != c.String("op"),
					c.IsSet("target") && r.Target != c.String("target"),
					c.String("run") != "" && r.Run != c.String("run"):
				default:
					found = append(found, query.Logged{Commit: commit, Record: r})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(found) == 0 && c.Args().Present() {
			return fmt.Errorf("no record of %s%s; `tmnotes status` lists the stacks, `tmnotes fetch` brings the remote's records", c.Args().First(), query.MeantRecorded(c.Args().First(), recorded))
		}
		slices.SortFunc(found, func(a, b query.Logged) int {
			return cmp.Or(b.Record.At.Compare(a.Record.At), strings.Compare(a.Record.Stack, b.Record.Stack))
		})
		if n := c.Int("n"); n > 0 && len(found) > n {
			found = found[:n]
		}
		for i := range found {
			found[i].By = cmp.Or(found[i].Record.By, by[found[i].Record.Run])
		}
		if c.String("format") == "json" {
			return terminal.PrintJSON(env.Stdout, found)
		}
		u := newUI(env)
		rows := [][]string{{"STATUS", "AT", "OP", "STACK", "TIME", "COMMIT", "BY", "RUN", "WHY"}}
		for _, f := range found {
			r := f.Record
			op := r.Op
			if r.Target != "" {
				op += "@" + r.Target
			}
			who, _, _ := strings.Cut(f.By, " <")
			rows = append(rows, []string{string(r.Status), r.At.Local().Format("2006-01-02 15:04:05"), op, r.Stack, runner.Took(r.Took), note.Short(f.Commit), who, r.Run, whyOf(&r)})
		}
		u.Table(env.Stdout, rows, func(i int) string {
			if i == 0 {
				return terminal.Faint
			}
			return terminal.StatusColor(string(found[i-1].Record.Status))
		})
		if age != "" {
			u.Say("%s", age)
		}
		return nil
	})
}

func whyOf(r *note.Record) string {
	var why []string
	if r.Tries > 1 {
		why = append(why, fmt.Sprintf("%d tries", r.Tries))
	}
	if r.Dirty {
		why = append(why, "uncommitted changes")
	}
	if w := r.Why(); w != "" {
		why = append(why, w)
	}
	return strings.Join(why, "; ")
}

func showCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show the records of a commit, or the plan that is kept for a stack",
		ArgsUsage: "[REV] | --plan STACK | --log STACK",
		Description: "With --plan: the plan of the stack's newest drift run that found drift, else of its newest deployment with --plan-file.\n" +
			"STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "plan", Usage: "show the plan that is kept for a stack"},
			&cli.BoolFlag{Name: "log", Usage: "show the output of a stack that tmnotes cloud --keep-logs kept"},
			&cli.StringFlag{Name: "run", Usage: "with --plan: of the run `ID`"},
			&cli.StringFlag{Name: "target", Usage: "with --plan: of this `TARGET`"},
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error {
			if c.Bool("plan") || c.Bool("log") {
				if err := checkFormat(c); err != nil {
					return err
				}
				return showPlan(c, env)
			}
			if c.IsSet("run") || c.IsSet("target") {
				return errors.New("--run and --target go with --plan; `tmnotes log` takes them, too")
			}
			if c.Args().Len() > 1 {
				return errors.New("one commit at a time")
			}
			if err := checkFormat(c); err != nil {
				return err
			}
			return withStore(c, env, func(s *gitstate.Store, _ string) error {
				if _, err := readLocal(c, s); err != nil {
					return err
				}
				commit, err := resolveAnnotated(s, cmp.Or(c.Args().First(), "HEAD"))
				if err != nil {
					return err
				}
				lines, err := s.Note(commit.Hash)
				if err != nil {
					return err
				}
				return show(c, env, commit, lines)
			})
		},
	}
}

// resolveAnnotated finds a commit; the full name of one that is not here will
// do, since notes outlive their commits.
func resolveAnnotated(s *gitstate.Store, rev string) (gitstate.Commit, error) {
	commit, err := s.Resolve(rev)
	if err != nil && len(rev) == 40 && strings.Trim(rev, "0123456789abcdef") == "" {
		return gitstate.Commit{Hash: rev, Subject: "(not in this repository)"}, nil
	}
	return commit, err
}

func show(c *cli.Context, env Env, commit gitstate.Commit, lines []gitstate.Line) error {
	if c.String("format") == "json" {
		records := []note.Record{}
		for _, l := range lines {
			if l.Err == nil {
				records = append(records, l.Record)
			}
		}
		return terminal.PrintJSON(env.Stdout, map[string]any{"commit": commit.Hash, "records": records})
	}
	u := newUI(env)
	fmt.Fprintf(env.Stdout, "commit %s %s\n", commit.Hash, terminal.Printable(commit.Subject))
	if len(lines) == 0 {
		u.Say("no records on this commit")
		return nil
	}
	heads := map[string]note.Record{}
	var runs []string
	of := map[string][]note.Record{}
	var rest []string
	for _, l := range lines {
		switch {
		case l.Err != nil:
			rest = append(rest, l.Text)
		case l.Record.Event == note.Started && l.Record.Leg() == 0:
			heads[l.Record.Run] = l.Record
			fallthrough
		default:
			if !slices.Contains(runs, l.Record.Run) {
				runs = append(runs, l.Record.Run)
			}
			of[l.Record.Run] = append(of[l.Record.Run], l.Record)
		}
	}
	for _, run := range runs {
		h := heads[run]
		fmt.Fprintf(env.Stdout, "\nrun %s", run)
		for _, part := range []string{h.Op, h.Target, h.By, h.Job} {
			if part != "" {
				fmt.Fprintf(env.Stdout, "  %s", terminal.Printable(part))
			}
		}
		fmt.Fprintln(env.Stdout)
		if h.Cmd != "" {
			fmt.Fprintf(env.Stdout, "  $ %s\n", terminal.Printable(h.Cmd))
		}
		var rows [][]string
		var colors []string
		// The end may be of the same millisecond as the last result.
		slices.SortStableFunc(of[run], func(a, b note.Record) int {
			return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event))
		})
		for _, r := range of[run] {
			what := string(r.Status)
			switch r.Event {
			case note.Started:
				if r.Leg() == 0 {
					continue
				}
				what = "started"
			case note.Finished:
				what = "finished"
			case note.Forgotten:
				if what = "forgotten"; r.Had == note.Queued {
					what = "skipped" // it was announced, and need not be run
				}
			case gitstate.Unlocked:
				what = "unlocked"
			}
			about := r.Stack
			if r.Event != "" && r.Leg() > 0 {
				about = fmt.Sprintf("leg %d", r.Leg())
			}
			rows = append(rows, []string{what, r.At.Local().Format("15:04:05"), about, runner.Took(r.Took), strings.TrimSpace(whyOf(&r) + " " + by(r))})
			colors = append(colors, terminal.StatusColor(what))
		}
		if len(rows) > 0 {
			u.Table(env.Stdout, rows, func(i int) string { return colors[i] })
		}
	}
	if len(rest) > 0 {
		fmt.Fprintln(env.Stdout, "\nlines that are no records:")
		for _, t := range rest {
			fmt.Fprintf(env.Stdout, "  %s\n", terminal.Printable(t))
		}
	}
	return nil
}

func by(r note.Record) string {
	if r.By == "" {
		return ""
	}
	return "(by " + r.By + ")"
}
