package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// The ways in which --output shows what the commands print.
const (
	outputLive    = "live"    // as stream, above a view of the run
	outputGrouped = "grouped" // each stack's in one piece
	outputStream  = "stream"  // as it comes, led by the stack where several run at once
	outputQuiet   = "quiet"   // in one piece, of those that fail
)

var outputs = []string{outputLive, outputGrouped, outputStream, outputQuiet}

// display shows a run while it goes on: what the commands print, what becomes of the
// stacks, and the view, if there is one.
type display struct {
	how     string
	u       *printer
	ci      string // whose job it is: "github", "gitlab", or another
	tasks   map[string]runner.Task
	view    *live
	overlay *overlay
}

// folds says whether the log of a job has groups that a reader can fold.
func folds(ci string) bool { return ci == "github" || ci == "gitlab" }

// hasView reports whether stderr is a terminal that a view can be drawn on.
func (u *printer) hasView() bool {
	scr, terminal := u.err.(*screen)
	if terminal {
		_, _, terminal = scr.size()
	}
	return terminal && !u.dumb
}

// newDisplay has the runner's options say how output is shown.
func newDisplay(x *runner.Options, u *printer, how, ci string, tasks map[string]runner.Task) *display {
	d := &display{how: how, u: u, ci: ci, tasks: tasks}
	x.Prefix = func(s runner.Stack) string { return u.paint(faint, printable(s.Path)+" | ") }
	x.GroupStart, x.GroupEnd = d.groupStart, d.groupEnd
	switch d.how {
	case outputGrouped:
		x.Output = runner.OutputGrouped
	case outputQuiet:
		x.Output = runner.OutputFailed
	default:
		x.Output = runner.OutputDirect
		if x.Parallel > 1 {
			x.Output = runner.OutputPrefixed
		}
	}
	x.Marks = u.err
	if folds(ci) && d.grouped() {
		// One stream, or what a stack says on stderr may stand outside its group.
		x.Stderr, x.Marks = x.Stdout, x.Stdout
	}
	return d
}

// watch puts a view below what is printed.
func (d *display) watch(x *runner.Options, view *live) {
	scr := d.u.err.(*screen)
	x.Output, x.Clean = runner.OutputPrefixed, clean
	// Nobody would see what a command asks; one that does fails at once.
	x.Stdin, x.Stdout, x.Stderr = nil, scr, scr
	d.view = view
	d.overlay = scr.show(view.frame)
}

func (d *display) grouped() bool { return d.how == outputGrouped || d.how == outputQuiet }

// end takes the view away. It may be called more than once.
func (d *display) end() {
	if d.overlay != nil {
		d.overlay.end()
	}
}

// pause takes the view away for as long as something else has the terminal.
func (d *display) pause() (resume func()) {
	scr, is := d.u.err.(*screen)
	if !is || d.overlay == nil {
		return func() {}
	}
	d.overlay.end()
	return func() { d.overlay = scr.show(d.view.frame) }
}

// entering says what is about to start, where nothing else names the stack.
func (d *display) entering(path string) {
	if d.how != outputStream {
		return
	}
	for _, line := range d.enter(path) {
		d.u.say("%s", line)
	}
}

// enter are the lines that `terramate run` has before a stack's output. The commands of
// a script have lines of their own.
func (d *display) enter(path string) []string {
	if d.tasks[path].Commands[0].Line != "" {
		return nil
	}
	return []string{"Entering stack in " + path, "Executing command " + strconv.Quote(commandLine(d.tasks[path]))}
}

// event is told of what happens in the run, once it is on record.
func (d *display) event(e runner.Event) {
	if d.view != nil {
		d.view.event(e)
	}
	r := e.Result
	if e.Kind != runner.Finished {
		return
	}
	switch {
	case d.how == outputLive && !r.Started.IsZero() && !d.u.quiet,
		d.how == outputGrouped && r.Started.IsZero() && folds(d.ci): // it had no group to stand under
		_, _ = io.WriteString(d.u.err, d.resultLine(r))
	}
	if !d.grouped() {
		_, _ = io.WriteString(d.u.err, d.annotation(r))
	}
}

// groupStart is what comes before the output of a stack. What has failed is not folded, where
// that can be told.
//
// The marks are those of
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions and
// https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections. What a command
// prints of them itself is passed on, and not stopped with GitHub's ::stop-commands::, as
// it would be in a job without tmnotes: a script that masks a secret by
// ::add-mask:: has to be heard, and since GitHub took set-env and add-path away, what is left
// can spoil no more than the looks of a log.
func (d *display) groupStart(s runner.Stack, r runner.Result) string {
	title := printable(s.Path) + ": " + printable(commandLine(d.tasks[s.Path]))
	switch {
	case d.ci == "github":
		return "::group::" + escapeData(title)
	case d.ci == "gitlab":
		folded := "[collapsed=true]"
		if r.Status != runner.StatusOK && r.Status != runner.StatusRunning {
			folded = ""
		}
		return fmt.Sprintf("\x1b[0Ksection_start:%d:%s%s\r\x1b[0K%s", r.Started.Unix(), section(s), folded, title)
	case d.u.quiet:
		return ""
	}
	text := ""
	for _, line := range d.enter(s.Path) {
		text += "tmnotes: " + printable(line) + "\n"
	}
	return text
}

// section is the name of a stack's section in GitLab, which takes [A-Za-z0-9_.-].
func section(s runner.Stack) string { return "tmnotes_" + note.Digest(s.Path)[:12] }

// groupEnd is what comes after it: the end of the fold, what became of the stack in one line
// that is seen also where the fold is closed, and an annotation of the job.
func (d *display) groupEnd(s runner.Stack, r runner.Result) string {
	end := ""
	switch d.ci {
	case "github":
		end = "::endgroup::\n"
	case "gitlab":
		end = fmt.Sprintf("\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", r.Started.Add(r.Took).Unix(), section(s))
	}
	if r.Stack = s; !d.u.quiet || r.Status != runner.StatusOK {
		end += d.resultLine(r)
	}
	return end + d.annotation(r)
}

// resultLine says what became of a stack: status, path, time, tries, reason.
func (d *display) resultLine(r runner.Result) string {
	line := "tmnotes: " + d.u.paint(statusColor(string(r.Status)), string(r.Status)) + " " + printable(r.Stack.Path)
	if !r.Started.IsZero() {
		line += " " + took(max(r.Took, 1))
	}
	if r.Tries > 1 {
		line += fmt.Sprintf(", %d tries", r.Tries)
	}
	if why := (&note.Record{Cause: r.Cause, Reason: r.Reason}).Why(); why != "" {
		line += ": " + printable(why)
	}
	return line + "\n"
}

// annotation is what GitHub shows of a failure beside the log.
func (d *display) annotation(r runner.Result) string {
	if d.ci != "github" || r.Status != runner.StatusFailed {
		return ""
	}
	message := printable(r.Stack.Path) + " failed after " + took(max(r.Took, 1))
	if r.Tries > 1 {
		message += fmt.Sprintf(" and %d tries", r.Tries)
	}
	if reason := r.Reason; reason != "" {
		message += ": " + printable(reason)
	}
	return "::error title=" + escapeProperty("tmnotes: "+printable(r.Stack.Path)+" failed") + "::" + escapeData(message) + "\n"
}

// What a workflow command carries is escaped as in @actions/core (command.ts, escapeData and
// escapeProperty).
var (
	dataEscaper     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscaper = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string { return dataEscaper.Replace(s) }

func escapeProperty(s string) string { return propertyEscaper.Replace(s) }
