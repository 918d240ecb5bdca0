package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
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

// flakyStack is how often a stack was flaky.
type flakyStack struct {
	Stack   string    `json:"stack"`
	ID      string    `json:"id,omitempty"`
	Op      string    `json:"op"`
	Target  string    `json:"target,omitempty"`
	Flaky   int       `json:"flaky"` // so many successes came of trying again,
	Of      int       `json:"of"`    // of so many runs
	Last    time.Time `json:"last"`  // the newest of these
	Commit  string    `json:"commit"`
	Run     string    `json:"run"`
	Reasons []string  `json:"reasons,omitempty"` // of the failures before, the newest first, each once
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
		var records []logged
		err = s.Notes(func(commit string, lines []gitstate.Line) error {
			for _, l := range lines {
				r := l.Record
				if r.Status != "" && (c.String("op") == "" || r.Op == c.String("op")) && (!c.IsSet("target") || r.Target == c.String("target")) {
					records = append(records, logged{Commit: commit, Record: r})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		found := findFlaky(records, since)
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

// findFlaky finds what succeeded since a time although nothing had changed, the
// most frequent first. Records are in any order.
func findFlaky(records []logged, since time.Time) []flakyStack {
	type slot struct{ stack, op, target string }
	of := map[slot][]logged{}
	records = slices.Clone(records)
	sortByTime(records)
	ids := idsOfPaths(records)
	for _, r := range records {
		if !executed(&r.Record) {
			continue
		}
		k := slot{ids.StackOf(&r.Record), r.Record.Op, r.Record.Target}
		of[k] = append(of[k], r)
	}
	found := []flakyStack{}
	for k, runs := range of {
		f := flakyStack{Op: k.op, Target: k.target}
		var failed []logged // since the last success
		for _, x := range runs {
			r := x.Record
			if !r.At.Before(since) {
				f.Of++
			}
			if r.Status == note.Failed {
				failed = append(failed, x)
				continue
			}
			before := failed
			failed = nil
			if r.Status != note.OK || r.At.Before(since) {
				continue
			}
			// The failures that led to this success.
			from := len(before)
			for from > 0 && sameInputs(before[from-1], x) {
				from--
			}
			before = before[from:]
			if len(before) == 0 && r.Tries < 2 {
				continue
			}
			f.Flaky++
			f.Stack, f.ID, f.Last, f.Commit, f.Run = r.Stack, r.ID, r.At, x.Commit, r.Run
			for _, b := range before {
				f.Reasons = append(f.Reasons, cmp.Or(b.Record.Reason, "failed"))
			}
			if len(before) == 0 {
				f.Reasons = append(f.Reasons, fmt.Sprintf("%d tries", r.Tries))
			}
		}
		if f.Flaky > 0 {
			slices.Reverse(f.Reasons)
			f.Reasons = unique(f.Reasons)
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b flakyStack) int {
		return cmp.Or(b.Flaky-a.Flaky, b.Last.Compare(a.Last), strings.Compare(a.Stack, b.Stack), strings.Compare(a.Op+" "+a.Target, b.Op+" "+b.Target))
	})
	return found
}

// unique leaves the first of what is there several times.
func unique(in []string) (out []string) {
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// executed reports whether a record tells of a command that ended, and not of
// what somebody marked.
func executed(r *note.Record) bool {
	return r.By == "" && (r.Status == note.OK || r.Status == note.Failed || r.Status == note.Drifted)
}

// sameInputs reports whether two results are surely of the same command on the
// same inputs.
func sameInputs(a, b logged) bool {
	ra, rb := a.Record, b.Record
	return !ra.Dirty && !rb.Dirty && ra.Variant == rb.Variant && (a.Commit == b.Commit || ra.Inputs != "" && !project.Partial(ra.Inputs) && ra.Inputs == rb.Inputs)
}

// sortByTime puts the oldest first.
func sortByTime(records []logged) {
	slices.SortFunc(records, func(a, b logged) int {
		return cmp.Or(a.Record.At.Compare(b.Record.At), strings.Compare(a.Record.Run, b.Record.Run), strings.Compare(a.Commit, b.Commit))
	})
}

// idsOfPaths takes records that are sorted by time.
func idsOfPaths(records []logged) gitstate.PathIDs {
	ids := gitstate.PathIDs{}
	for i := range records {
		ids.Add(&records[i].Record)
	}
	return ids
}
