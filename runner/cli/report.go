package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
)

// grouping says how the children's output is shown: as it comes for one at a
// time, led by the stack for several, foldable in a CI that can fold.
func grouping(x *runner.Options, u *ui, ci ciJob, tasks map[string]runner.Task) {
	command := func(s runner.Stack) string { return commandLine(tasks[s.Path]) }
	switch {
	case ci.name == "github":
		// One stream, or what a stack says on stderr may stand outside its group.
		x.Stderr = x.Stdout
		x.Output = runner.OutputGrouped
		x.GroupStart = func(s runner.Stack) string {
			return "::group::" + printable(s.Path) + ": " + printable(command(s)) + "\n"
		}
		x.GroupEnd = func(s runner.Stack, r runner.Result) string {
			end := "::endgroup::\n"
			if r.Status == runner.StatusFailed {
				end += "tmnotes: " + printable(s.Path) + " failed: " + printable(r.Reason) + "\n"
			}
			return end
		}
	case ci.name == "gitlab":
		x.Stderr = x.Stdout
		section := func(s runner.Stack) string { return "tmnotes_" + gitstate.Digest(s.Path)[:12] }
		x.Output = runner.OutputGrouped
		x.GroupStart = func(s runner.Stack) string {
			return fmt.Sprintf("\x1b[0Ksection_start:%d:%s[collapsed=true]\r\x1b[0K%s: %s\n", time.Now().Unix(), section(s), printable(s.Path), printable(command(s)))
		}
		x.GroupEnd = func(s runner.Stack, r runner.Result) string {
			end := fmt.Sprintf("\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", time.Now().Unix(), section(s))
			if r.Status == runner.StatusFailed {
				end += "tmnotes: " + printable(s.Path) + " failed: " + printable(r.Reason) + "\n"
			}
			return end
		}
	case x.Parallel > 1:
		x.Output = runner.OutputPrefixed
		x.Prefix = func(s runner.Stack) string { return u.paint(faint, printable(s.Path)+" | ") }
	default:
		x.Output = runner.OutputDirect
	}
}

// report is the table at the end, and what to type next.
func (n *session) report(u *ui, results []runner.Result, off map[string]taken, sync syncPlan, pushErr error) {
	counts := count(results)
	bad := len(results) - counts[runner.StatusOK]
	if u.quiet && bad == 0 {
		return
	}
	const most = 40
	rows := [][]string{{"STATUS", "STACK", "TIME", "WHY"}}
	if n.waves.list[0].name != "" {
		rows[0] = slices.Insert(rows[0], 2, "WAVE")
	}
	var colors []string
	for _, r := range results {
		if r.Status == runner.StatusOK && len(results) > most {
			continue
		}
		rec := n.stacks[r.Stack.Path]
		why := ""
		switch {
		case r.Status != runner.StatusOK:
			why = (&gitstate.Record{Cause: r.Cause, Reason: gitstate.NewRedactor(os.Environ()).Text(r.Reason, 200)}).Why()
		case rec.dirty:
			why = "with uncommitted changes: does not count as deployed"
		}
		if r.Tries > 1 {
			why = strings.TrimSpace(fmt.Sprintf("%d tries; %s", r.Tries, why))
			why = strings.TrimSuffix(why, ";")
		}
		row := []string{string(r.Status), r.Stack.Path, took(r.Took), why}
		if w := n.waves.name(r.Stack.Path); w != "" {
			row = slices.Insert(row, 2, w)
		}
		rows = append(rows, row)
		colors = append(colors, statusColor(string(r.Status)))
	}
	fmt.Fprintln(u.env.Stderr)
	if len(rows) > 1 {
		u.table(u.env.Stderr, rows, func(i int) string {
			if i == 0 {
				return faint
			}
			return colors[i-1]
		})
	}
	var parts []string
	for _, st := range []runner.Status{runner.StatusOK, runner.StatusDrifted, runner.StatusFailed, runner.StatusBlocked, runner.StatusCanceled} {
		if counts[st] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[st], st))
		}
	}
	line := fmt.Sprintf("run %s on %s: %s", n.run, shortHash(n.commit.Hash), strings.Join(parts, ", "))
	if len(off) > 0 {
		line += fmt.Sprintf("; %d were not needed", len(off))
	}
	u.quiet = false
	u.say("%s", line)
	if sync.remote != "" && pushErr == nil {
		u.say("recorded on %s: git log --notes=%s", sync.remote, strings.TrimPrefix(n.store.Ref(), "refs/notes/"))
	}
	if counts[runner.StatusFailed]+counts[runner.StatusCanceled]+counts[runner.StatusBlocked] > 0 {
		first := ""
		for _, r := range results {
			if r.Status == runner.StatusFailed {
				first = r.Stack.Path
				break
			}
		}
		next := "next: run the same command again; only what is not ok runs"
		if op := n.stacks[results[0].Stack.Path].op.Name; op != gitstate.Deploy {
			next = "next: run the same command again with --resume; only what did not succeed here runs"
		}
		if first != "" {
			next += fmt.Sprintf(" (tmnotes log %s has its history)", first)
		}
		u.say("%s", next)
	}
}
