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
	u, results, counts := x.u, out.Results, out.Counts
	bad := len(results) - counts[runner.StatusOK] - counts[runner.StatusSkipped]
	if u.Quiet && bad == 0 {
		return
	}
	const most = 40
	header := []string{"STATUS", "STACK", "TIME", "WHY"}
	if x.Rollout.List[0].Name != "" {
		header = slices.Insert(header, 2, "WAVE")
	}
	var rows [][]string
	for _, r := range results {
		if r.Status == runner.StatusOK && len(results) > most {
			continue
		}
		rec := x.Planned(r.Stack.Path)
		why := ""
		switch {
		case r.Status != runner.StatusOK:
			why = (&note.Record{Cause: r.Cause, Reason: note.NewRedactor(u.env.Environ).Text(r.Reason, 200)}).Why()
		case rec.Dirty || x.IsTouched(r.Stack.Path):
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
	fmt.Fprintln(u.Err)
	if len(rows) > 0 {
		u.Table(u.Err, header, rows, terminal.StatusColor)
	}
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
	u.Quiet = false
	u.Say("run %s on %s: %s", x.RunID, note.Short(x.Commit.Hash), strings.Join(parts, ", "))
	if x.Route.Remote != "" && out.Unsent == nil {
		u.Say("recorded on %s: git log --notes=%s", x.Route.Remote, strings.TrimPrefix(x.Store.Ref(), "refs/notes/"))
	}
	if counts[runner.StatusFailed]+counts[runner.StatusCanceled]+counts[runner.StatusBlocked] > 0 {
		first := ""
		for _, r := range results {
			if r.Status == runner.StatusFailed {
				first = r.Stack.Path
				break
			}
		}
		next := x.next(x.Planned(results[0].Stack.Path).Op.Name)
		if first != "" {
			next += fmt.Sprintf(" (tmnotes log %s has its history)", first)
		}
		u.Say("%s", next)
	}
}

// next is what to type after a run in which something did not succeed.
func (x *chosen) next(op string) string {
	switch {
	case op == note.Deploy && x.Force:
		return "next: run the same command again without --force; only what is not ok runs"
	case op == note.Deploy:
		return "next: run the same command again; only what is not ok runs"
	case x.Force:
		return "next: run the same command again with --resume in place of --force; only what did not succeed here runs"
	}
	return "next: run the same command again with --resume; only what did not succeed here runs"
}
