package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Issue is what an issue on a forge says of the drift of one stack.
type Issue struct {
	Stack, ID, Target string
	Commit, Subject   string // that it was compared with
	Run, By, Job      string
	Record            note.Record // of the drift run
	Plan              string      // its text, "" if none is kept
}

// Marker is the first line of the issue, by which it is known as that of the stack. Nobody sees it.
func (i *Issue) Marker() string {
	return "<!-- tmnotes:drift " + note.Digest(cmp.Or(strings.ToLower(i.ID), i.Stack) + "\n" + i.Target)[:24] + " -->\n"
}

func (i *Issue) name() string {
	if i.Target != "" {
		return inline(i.Stack) + " (" + inline(i.Target) + ")"
	}
	return inline(i.Stack)
}

// Title is what the issue is called.
func (i *Issue) Title() string {
	title := []rune("Drift: " + i.name())
	counts := ""
	if p := i.Record.Plan(); p != nil {
		counts = ": " + p.String()
	}
	const most = 200
	if len(title) > most {
		title = append(title[:most], '…')
	}
	return string(title) + counts
}

// Body is its text while the stack has drifted, in no more than limit bytes.
func (i *Issue) Body(limit int) string {
	var b strings.Builder
	b.WriteString(i.Marker())
	fmt.Fprintf(&b, "%s differs from its code", code(i.name(), 200))
	if p := i.Record.Plan(); p != nil {
		fmt.Fprintf(&b, ": <b>%s</b>", code(p.String(), 60))
	}
	fmt.Fprintf(&b, " (at %s %s).\n\n%s\n", code(short(i.Commit), 12), code(i.Subject, 80), i.when())
	name := shellWord(i.Stack)
	if i.Target != "" {
		name += " --target " + shellWord(i.Target)
	}
	fmt.Fprintf(&b, "\n%s shows the plan. A drift run that finds no difference, and a deployment of the stack, close this issue.\n", code("tmnotes show --plan "+name, 400))
	const least = 2048
	if room := limit - b.Len() - least; i.Plan != "" && room > 0 {
		// A fence, and what is escaped, may make it longer.
		for size := room; size >= least; size /= 2 {
			if plan := folded("plan", excerpt(i.Plan, size)); len(plan) <= room {
				b.WriteString(plan)
				break
			}
		}
	}
	return b.String()
}

func (i *Issue) when() string {
	says := []string{"found " + moment(i.Record.At)}
	if r := &i.Record; !r.Since.IsZero() && r.Seen > 1 {
		says = []string{fmt.Sprintf("found %d times since %s, last %s", r.Seen, moment(r.Since), moment(r.At))}
	}
	says = append(says, by(i.By), job(i.Job), "run "+code(note.ShortRun(i.Run), 40))
	line := join(says, ", ")
	return strings.ToUpper(line[:1]) + line[1:] + "."
}

// Closed is the text that an issue has, with why it is closed above it.
func (i *Issue) Closed(body, why string) string {
	return i.Marker() + "**Closed**: " + why + ", at " + code(short(i.Commit), 12) + " " + join([]string{by(i.By), job(i.Job), "run " + code(note.ShortRun(i.Run), 40)}, ", ") +
		".\n\n" + strings.TrimPrefix(body, i.Marker())
}
