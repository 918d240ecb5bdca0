package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// report is the table at the end, and what to type next.
func (x *chosen) report(out *deploy.Outcome) {
	u := x.u
	bad := len(out.Results) - out.Counts[runner.StatusOK] - out.Counts[runner.StatusSkipped]
	if u.Quiet && bad == 0 {
		return
	}
	header := []string{"STATUS", "STACK", "TIME", "WHY"}
	if x.Rollout.List[0].Name != "" {
		header = slices.Insert(header, 2, "WAVE")
	}
	fmt.Fprintln(u.Err)
	if rows := x.rows(out.Results); len(rows) > 0 {
		u.Table(u.Err, header, rows, terminal.StatusColor)
	}
	u.Quiet = false
	u.Say("run %s on %s: %s", x.RunID, note.Short(x.Commit.Hash), x.total(out.Counts))
	if x.Route.Remote != "" && out.Unsent == nil {
		u.Say("recorded on %s: git log --notes=%s", x.Route.Remote, strings.TrimPrefix(x.Store.Ref(), "refs/notes/"))
	}
	if out.Counts[runner.StatusFailed]+out.Counts[runner.StatusCanceled]+out.Counts[runner.StatusBlocked] > 0 {
		u.Say("%s", x.next(out.Results))
	}
}

// rows are what the table has of the stacks.
func (x *chosen) rows(results []runner.Result) (rows [][]string) {
	const most = 40 // beyond that those that are ok are counted
	redactor := note.NewRedactor(x.Environ)
	for _, r := range results {
		if r.Status == runner.StatusOK && len(results) > most {
			continue
		}
		why := ""
		switch {
		case r.Status != runner.StatusOK:
			why = (&note.Record{Cause: r.Cause, Reason: redactor.Text(r.Reason, 200)}).Why()
		case x.Planned(r.Stack.Path).Dirty || x.IsTouched(r.Stack.Path):
			why = "with uncommitted changes: does not count as deployed"
		}
		if r.Tries > 1 {
			why = strings.TrimSpace(fmt.Sprintf("%d tries; %s", r.Tries, why))
			why = strings.TrimSuffix(why, ";")
		}
		row := []string{string(r.Status), r.Stack.Path, runner.Took(r.Took), why}
		if w := x.Rollout.NameOf(r.Stack.Path); w != "" {
			row = slices.Insert(row, 2, w)
		}
		rows = append(rows, row)
	}
	return rows
}

// total says how many stacks ended how, and how many were left out.
func (x *chosen) total(counts map[runner.Status]int) string {
	var parts []string
	for _, st := range []runner.Status{runner.StatusOK, runner.StatusDrifted, runner.StatusFailed, runner.StatusBlocked, runner.StatusCanceled, runner.StatusSkipped} {
		if counts[st] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[st], st))
		}
	}
	late := countLate(x.Off)
	if done := len(x.Off) - late; done > 0 {
		parts = append(parts, fmt.Sprintf("%d already up to date", done))
	}
	if late > 0 {
		parts = append(parts, fmt.Sprintf("%d with a newer commit deployed", late))
	}
	return strings.Join(parts, ", ")
}

// next is what to type after a run in which something did not succeed.
func (x *chosen) next(results []runner.Result) string {
	next := "next: run the same command again"
	switch deploys := x.Planned(results[0].Stack.Path).Op.Name == note.Deploy; {
	case deploys && x.Force:
		next += " without --force; only what is not ok runs"
	case deploys:
		next += "; only what is not ok runs"
	case x.Force:
		next += " with --resume in place of --force; only what did not succeed here runs"
	default:
		next += " with --resume; only what did not succeed here runs"
	}
	if i := slices.IndexFunc(results, func(r runner.Result) bool { return r.Status == runner.StatusFailed }); i >= 0 {
		next += fmt.Sprintf(" (tmnotes log %s has its history)", results[i].Stack.Path)
	}
	return next
}
