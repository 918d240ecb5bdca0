package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// describe says what is about to happen, in a few lines.
func describe(u *ui, n *session, order, ops []string, off map[string]taken, o runOptions) {
	if len(order) == 0 {
		return
	}
	said := map[string]bool{"": true}
	for _, path := range order {
		if op := n.stacks[path].op; !said[op.Note] {
			said[op.Note] = true
			u.Say("%s: %s", op.Name, op.Note)
		}
	}
	done, late := 0, 0
	var first taken
	for _, path := range order {
		switch t, is := off[path]; {
		case !is:
		case !t.superseded:
			done++
		default:
			if late++; late == 1 {
				first = t
			}
		}
	}
	left := len(order) - len(off)
	line := fmt.Sprintf("%s of %s at %s %q: %s selected", strings.Join(ops, ", "), terminal.Plural(left, "stack"), note.Short(n.commit.Hash), n.commit.Subject, strconv.Itoa(len(order)))
	if done > 0 {
		line += fmt.Sprintf(", %d up to date", done)
	}
	if late > 0 {
		line += fmt.Sprintf(", %d with a newer commit deployed", late)
	}
	u.Say("%s", line)
	if left > 0 && len(o.waves.filters) > 0 {
		u.Say("in waves %s", o.waves.String(o.exec.Skip))
	}
	if late > 0 {
		of := first.path
		if late > 1 {
			of += fmt.Sprintf(" and %d more", late-1)
		}
		u.Say("%s skipped: %s", of, first.whyAndHow())
	}
}

// atWork says that another run may be at stacks of this one, and what becomes of them.
func atWork(busy []recorded, claims claimOptions, remote string) string {
	first := busy[0]
	doing, then := "running", "if it is, both run them"
	if note.Op(first.op.Name).Deploys() {
		doing = "deploying"
		switch {
		case remote == "" || claims.off:
			then = "if it is, both deploy them"
		case claims.onClaimed == "skip":
			then = "those it has claimed are left to it (--on-claimed=skip)"
		case claims.onClaimed == "fail":
			then = "those it has claimed fail here (--on-claimed=fail)"
		default:
			then = "waiting for those it has claimed"
		}
	}
	return fmt.Sprintf("another run (%s of %s) may be %s %d of these stacks (%s is %s); %s", first.was.Run, first.was.By, doing, len(busy), first.stack.Path, first.was.Status, then)
}

// whyAndHow is why a stack is not executed, and where a flag would change that,
// which one.
func (t taken) whyAndHow() string {
	if t.superseded {
		return t.why + ". --allow-rollback deploys this older one."
	}
	return t.why
}

// allDone says why none of the selected stacks runs, and how those that are up to
// date run all the same.
func allDone(off map[string]taken, commit string) string {
	switch late := countLate(off); {
	case late == len(off):
		return "a newer commit is deployed for every selected stack"
	case late > 0:
		return fmt.Sprintf("every selected stack is up to date at %s, or has a newer commit deployed (--force runs those that are up to date)", note.Short(commit))
	}
	return fmt.Sprintf("every selected stack is up to date at %s (--force runs them again)", note.Short(commit))
}

// countLate is of how many a newer commit is deployed.
func countLate(off map[string]taken) (late int) {
	for _, t := range off {
		if t.superseded {
			late++
		}
	}
	return late
}

func dryRun(ctx context.Context, u *ui, g *runner.Graph, tasks map[string]runner.Task, o runOptions) error {
	for k, w := range o.waves.list {
		todo := o.waves.todo(k, o.exec.Skip)
		if len(todo) == 0 {
			continue
		}
		if w.name != "" {
			if k > 0 && o.waves.soak > 0 {
				u.Say("(dry-run) Soaking for %s", terminal.Took(o.waves.soak))
			}
			if k > 0 && o.waves.gate != "" {
				u.Say("(dry-run) Asking the gate %s", strconv.Quote(o.waves.gate))
			}
			u.Say("(dry-run) Wave %s", w.name)
		}
		_, err := runner.Execute(ctx, g, tasks, only(o.exec, g, todo), func(e runner.Event) error {
			task := tasks[e.Result.Stack.Path]
			switch {
			case e.Kind != runner.Started:
			case task.Commands[0].Line != "":
				for _, c := range task.Commands {
					fmt.Fprintln(u.Err, c.Line)
				}
			default:
				u.Say("(dry-run) Entering stack in %s", task.Stack.Path)
				u.Say("(dry-run) Executing command %s", strconv.Quote(terminal.CommandLine(task)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
