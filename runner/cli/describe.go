package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// describe says what is about to happen, in a few lines.
func describe(x *chosen) {
	if len(x.Order) == 0 {
		return
	}
	said := map[string]bool{"": true}
	for _, path := range x.Order {
		if op := x.Stacks[path].Op; !said[op.Note] {
			said[op.Note] = true
			x.u.Say("%s: %s", op.Name, op.Note)
		}
	}
	done, late, first := 0, 0, ""
	for _, path := range x.Order {
		switch x.Off[path].Verdict {
		case deploy.Done:
			done++
		case deploy.Late:
			if late++; late == 1 {
				first = path
			}
		}
	}
	left := len(x.Order) - len(x.Off)
	line := fmt.Sprintf("%s of %s at %s %q: %s selected", strings.Join(x.Ops, ", "), runner.Plural(left, "stack"), note.Short(x.Commit.Hash), x.Commit.Subject, strconv.Itoa(len(x.Order)))
	if done > 0 {
		line += fmt.Sprintf(", %d up to date", done)
	}
	if late > 0 {
		line += fmt.Sprintf(", %d with a newer commit deployed", late)
	}
	x.u.Say("%s", line)
	if left > 0 && len(x.Rollout.Filters) > 0 {
		x.u.Say("in waves %s", x.Rollout.String(x.Exec.Skip))
	}
	if late > 0 {
		of := first
		if late > 1 {
			of += fmt.Sprintf(" and %d more", late-1)
		}
		x.u.Say("%s skipped: %s", of, x.Off[first].WhyAndHow())
	}
	describeHeld(x.u, x.held)
}

// describeHeld says which stacks are blocked before anything starts, a line for each hold.
func describeHeld(u *ui, held []runner.Result) {
	of, whys := map[string][]string{}, []string{}
	for _, r := range held {
		if of[r.Reason] == nil {
			whys = append(whys, r.Reason)
		}
		of[r.Reason] = append(of[r.Reason], r.Stack.Path)
	}
	for _, why := range whys {
		u.Say("%s blocked: %s", terminal.SomeOf(of[why]), why)
	}
	if len(held) > 0 {
		u.Say("`tmnotes unlock` lists the holds, `tmnotes release` ends them; --break-hold REASON is for emergencies")
	}
}

// allDone says why none of the selected stacks runs, and how those that are up to
// date run all the same.
func allDone(off map[string]deploy.Decision, commit string) string {
	switch late := countLate(off); {
	case late == len(off):
		return "a newer commit is deployed for every selected stack"
	case late > 0:
		return fmt.Sprintf("every selected stack is up to date at %s, or has a newer commit deployed (--force runs those that are up to date)", note.Short(commit))
	}
	return fmt.Sprintf("every selected stack is up to date at %s (--force runs them again)", note.Short(commit))
}

// countLate is of how many a newer commit is deployed.
func countLate(off map[string]deploy.Decision) (late int) {
	for _, d := range off {
		if d.Verdict == deploy.Late {
			late++
		}
	}
	return late
}

func dryRun(ctx context.Context, x *chosen) error {
	for k, w := range x.Rollout.List {
		todo := x.Rollout.Todo(k, x.Exec.Skip)
		if len(todo) == 0 {
			continue
		}
		if w.Name != "" {
			if k > 0 && x.Rollout.Soak > 0 {
				x.u.Say("(dry-run) Soaking for %s", runner.Took(x.Rollout.Soak))
			}
			if k > 0 && x.Rollout.Gate != "" {
				x.u.Say("(dry-run) Asking the gate %s", strconv.Quote(x.Rollout.Gate))
			}
			x.u.Say("(dry-run) Wave %s", w.Name)
		}
		_, err := runner.Execute(ctx, x.Graph, x.Tasks, deploy.Only(x.Exec, x.Graph, todo), func(e runner.Event) error {
			task := x.Tasks[e.Result.Stack.Path]
			switch {
			case e.Kind != runner.Started:
			case task.Commands[0].Line != "":
				for _, c := range task.Commands {
					fmt.Fprintln(x.u.Err, c.Line)
				}
			default:
				x.u.Say("(dry-run) Entering stack in %s", task.Stack.Path)
				x.u.Say("(dry-run) Executing command %s", strconv.Quote(terminal.CommandLine(task)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// describePending says why stacks are about to run, of the first few; list is the
// command that lists all of them.
func describePending(u *ui, todo []string, why map[string]string, list string) {
	const most = 20
	for i, path := range todo {
		if i == most {
			u.Say("  and %d more; `%s` lists them all", len(todo)-most, list)
			return
		}
		if why[path] != "" {
			u.Say("  %s: %s", path, why[path])
		}
	}
}
