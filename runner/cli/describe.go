package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/runner"
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
			u.say("%s: %s", op.Name, op.Note)
		}
	}
	done, late := 0, 0
	var why string
	for _, path := range order {
		switch t, is := off[path]; {
		case !is:
		case !t.superseded:
			done++
		default:
			if late++; late == 1 {
				why = t.path + ": " + t.why
			}
		}
	}
	left := len(order) - len(off)
	line := fmt.Sprintf("%s of %s at %s %q: %s selected", strings.Join(ops, ", "), plural(left, "stack"), shortHash(n.commit.Hash), n.commit.Subject, strconv.Itoa(len(order)))
	if done > 0 {
		line += fmt.Sprintf(", %d done already", done)
	}
	if late > 0 {
		line += fmt.Sprintf(", %d superseded", late)
	}
	u.say("%s", line)
	if left > 0 && len(o.waves.filters) > 0 {
		u.say("in waves %s", o.waves.String(o.exec.Skip))
	}
	if late > 0 {
		u.say("superseded, as in %s (--allow-rollback deploys this commit all the same)", why)
	}
}

func allDone(off map[string]taken) string {
	late := 0
	for _, t := range off {
		if t.superseded {
			late++
		}
	}
	switch {
	case late == len(off):
		return "every selected stack is superseded"
	case late > 0:
		return "every selected stack is deployed or superseded"
	}
	return "every selected stack is deployed"
}

// commandLine is what a task does, for a person.
func commandLine(t runner.Task) string {
	var commands []string
	for _, c := range t.Commands {
		commands = append(commands, strings.Join(c.Args, " "))
	}
	return strings.Join(commands, " && ")
}

func dryRun(ctx context.Context, u *ui, g *runner.Graph, tasks map[string]runner.Task, o runOptions) error {
	for k, w := range o.waves.list {
		todo := o.waves.todo(k, o.exec.Skip)
		if len(todo) == 0 {
			continue
		}
		if w.name != "" {
			if k > 0 && o.waves.soak > 0 {
				u.say("(dry-run) Soaking for %s", took(o.waves.soak))
			}
			if k > 0 && o.waves.gate != "" {
				u.say("(dry-run) Asking the gate %s", strconv.Quote(o.waves.gate))
			}
			u.say("(dry-run) Wave %s", w.name)
		}
		_, err := runner.Execute(ctx, g, tasks, only(o.exec, g, todo), func(e runner.Event) error {
			task := tasks[e.Result.Stack.Path]
			switch {
			case e.Kind != runner.Started:
			case task.Commands[0].Line != "":
				for _, c := range task.Commands {
					fmt.Fprintln(u.env.Stderr, c.Line)
				}
			default:
				u.say("(dry-run) Entering stack in %s", task.Stack.Path)
				u.say("(dry-run) Executing command %s", strconv.Quote(commandLine(task)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
