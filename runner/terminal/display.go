package terminal

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// CommandLine is what a task does, for a person.
func CommandLine(t runner.Task) string {
	var commands []string
	for _, c := range t.Commands {
		commands = append(commands, strings.Join(c.Args, " "))
	}
	return strings.Join(commands, " && ")
}

// The ways in which --output shows what the commands print.
const (
	OutputLive    = "live"    // as stream, above a view of the run
	OutputGrouped = "grouped" // each stack's in one piece
	OutputStream  = "stream"  // as it comes, led by the stack where several run at once
	OutputQuiet   = "quiet"   // in one piece, of those that fail
)

// Outputs are all of them.
var Outputs = []string{OutputLive, OutputGrouped, OutputStream, OutputQuiet}

// Display shows a run while it goes on: what the commands print, what becomes of the
// stacks, and the view, if there is one.
type Display struct {
	How     string
	U       *Printer
	Ci      string // whose job it is: "github", "gitlab", or another
	Tasks   map[string]runner.Task
	Root    string // of the repository, as its job knows files
	View    *View
	overlay *overlay
	folded  sync.Map // true, by path: its group was begun while it ran
}

// Folds says whether the log of a job has groups that a reader can fold.
func Folds(ci string) bool { return ci == "github" || ci == "gitlab" }

// HasView reports whether stderr is a terminal that a view can be drawn on.
func (u *Printer) HasView() bool {
	scr, terminal := u.Err.(*Screen)
	if terminal {
		_, _, terminal = scr.size()
	}
	return terminal && !u.dumb
}

// NewDisplay has the runner's options say how output is shown.
func NewDisplay(x *runner.Options, u *Printer, how, ci string, tasks map[string]runner.Task) *Display {
	d := &Display{How: how, U: u, Ci: ci, Tasks: tasks}
	x.Prefix = func(s runner.Stack) string { return u.Paint(Faint, runner.Printable(s.Path)+" | ") }
	x.GroupStart, x.GroupEnd = d.GroupStart, d.GroupEnd
	switch d.How {
	case OutputGrouped:
		x.Output = runner.OutputGrouped
	case OutputQuiet:
		x.Output = runner.OutputFailed
	default:
		x.Output = runner.OutputDirect
		if x.Parallel > 1 {
			x.Output = runner.OutputPrefixed
		}
	}
	x.Marks = u.Err
	if Folds(ci) && d.grouped() {
		// One stream, or what a stack says on stderr may stand outside its group.
		x.Stderr, x.Marks = x.Stdout, x.Stdout
	}
	return d
}

// Watch puts a view below what is printed.
func (d *Display) Watch(x *runner.Options, view *View) {
	scr := d.U.Err.(*Screen)
	x.Output, x.Clean = runner.OutputPrefixed, clean
	// Nobody would see what a command asks; one that does fails at once.
	x.Stdin, x.Stdout, x.Stderr = nil, scr, scr
	d.View = view
	d.overlay = scr.Show(view.frame)
}

func (d *Display) grouped() bool { return d.How == OutputGrouped || d.How == OutputQuiet }

// End takes the view away. It may be called more than once.
func (d *Display) End() {
	if d.overlay != nil {
		d.overlay.End()
	}
}

// Aside takes the view away for as long as something else has the terminal, and is what
// that writes to.
func (d *Display) Aside() (out io.Writer, resume func()) {
	scr, is := d.U.Err.(*Screen)
	if !is {
		return Outlasting(d.U.Err), func() {}
	}
	if d.overlay == nil {
		return Outlasting(scr.File), func() {}
	}
	d.overlay.End()
	return Outlasting(scr.File), func() { d.overlay = scr.Show(d.View.frame) }
}

// Entering says what is about to start, where nothing else names the stack.
func (d *Display) Entering(path string) {
	if d.How != OutputStream {
		return
	}
	for _, line := range d.enter(path) {
		d.U.Say("%s", line)
	}
}

// enter are the lines that `terramate run` has before a stack's output. The commands of
// a script have lines of their own.
func (d *Display) enter(path string) []string {
	if d.Tasks[path].Commands[0].Line != "" {
		return nil
	}
	return []string{"Entering stack in " + path, "Executing command " + strconv.Quote(CommandLine(d.Tasks[path]))}
}

// Event is told of what happens in the run, once it is on record.
func (d *Display) Event(e runner.Event) {
	if d.View != nil {
		d.View.event(e)
	}
	r := e.Result
	if e.Kind != runner.Finished {
		return
	}
	switch {
	case d.How == OutputLive && !r.Started.IsZero() && !d.U.Quiet,
		d.How == OutputGrouped && r.Started.IsZero() && r.Status != runner.StatusBlocked && Folds(d.Ci): // it had no group to stand under
		_, _ = io.WriteString(d.U.Err, d.resultLine(r))
	}
	if !d.grouped() {
		_, _ = io.WriteString(d.U.Err, d.annotation(r))
	}
}

// GroupStart is what comes before the output of a stack. What has failed is not folded, where
// that is known by then; else what to look at of it is shown at the end of the run.
//
// The marks are those of
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions and
// https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections. What a command
// prints of them itself is passed on, and not stopped with GitHub's ::stop-commands::, as
// it would be in a job without tmnotes: a script that masks a secret by
// ::add-mask:: has to be heard, and since GitHub took set-env and add-path away, what is left
// can spoil no more than the looks of a log.
func (d *Display) GroupStart(s runner.Stack, r runner.Result) string {
	title := runner.Printable(s.Path) + ": " + runner.Printable(CommandLine(d.Tasks[s.Path]))
	if r.Status == runner.StatusRunning {
		d.folded.Store(s.Path, true)
	}
	switch {
	case d.Ci == "github" && r.Status == runner.StatusFailed:
		return title
	case d.Ci == "github":
		return "::group::" + escapeData(title)
	case d.Ci == "gitlab":
		folded := "[collapsed=true]"
		if r.Status != runner.StatusOK && r.Status != runner.StatusRunning {
			folded = ""
		}
		return fmt.Sprintf("\x1b[0Ksection_start:%d:%s%s\r\x1b[0K%s", r.Started.Unix(), section(s), folded, title)
	case d.U.Quiet:
		return ""
	}
	text := ""
	for _, line := range d.enter(s.Path) {
		text += "tmnotes: " + runner.Printable(line) + "\n"
	}
	return text
}

// section is the name of a stack's section in GitLab, which takes [A-Za-z0-9_.-].
func section(s runner.Stack) string { return "tmnotes_" + note.Digest(s.Path)[:12] }

// GroupEnd is what comes after it: the end of the fold, what became of the stack in one line
// that is seen also where the fold is closed, and an annotation of the job.
func (d *Display) GroupEnd(s runner.Stack, r runner.Result) string {
	end := ""
	_, folded := d.folded.LoadAndDelete(s.Path)
	switch {
	case d.Ci == "github" && (folded || r.Status != runner.StatusFailed):
		end = "::endgroup::\n"
	case d.Ci == "gitlab":
		end = fmt.Sprintf("\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", r.Started.Add(r.Took).Unix(), section(s))
	}
	if r.Stack = s; !d.U.Quiet || r.Status != runner.StatusOK {
		end += d.resultLine(r)
	}
	return end + d.annotation(r)
}

// resultLine says what became of a stack: status, path, time, tries, reason.
func (d *Display) resultLine(r runner.Result) string {
	line := "tmnotes: " + d.U.Paint(StatusColor(string(r.Status)), string(r.Status)) + " " + runner.Printable(r.Stack.Path)
	if !r.Started.IsZero() {
		line += " " + runner.Took(max(r.Took, 1))
	}
	if r.Tries > 1 {
		line += fmt.Sprintf(", %d tries", r.Tries)
	}
	if why := (&note.Record{Cause: r.Cause, Reason: r.Reason}).Why(); why != "" {
		line += ": " + runner.Printable(why)
	}
	return line + "\n"
}

// annotation is what GitHub shows of a failure beside the log, and where in the code.
func (d *Display) annotation(r runner.Result) string {
	if d.Ci != "github" || r.Status != runner.StatusFailed {
		return ""
	}
	message := runner.Printable(r.Stack.Path) + " failed after " + runner.Took(max(r.Took, 1))
	if r.Tries > 1 {
		message += fmt.Sprintf(" and %d tries", r.Tries)
	}
	if reason := r.Reason; reason != "" {
		message += ": " + runner.Printable(reason)
	}
	return "::error " + d.place(r) + "title=" + escapeProperty("tmnotes: "+runner.Printable(r.Stack.Path)+" failed") + "::" + escapeData(message) + "\n"
}

// place says where the error is that a stack failed with, if that is a file of the repository.
func (d *Display) place(r runner.Result) string {
	i := strings.LastIndexByte(r.At, ':')
	if i < 0 || d.Root == "" {
		return ""
	}
	file := filepath.FromSlash(r.At[:i])
	if !filepath.IsAbs(file) {
		file = filepath.Join(r.Stack.Dir, file)
	}
	file, err := filepath.Rel(d.Root, file)
	if err != nil || !filepath.IsLocal(file) || strings.Contains(file, ".terraform") { // a module that was downloaded
		return ""
	}
	return "file=" + escapeProperty(runner.Printable(filepath.ToSlash(file))) + ",line=" + r.At[i+1:] + ","
}

// What a workflow command carries is escaped as in @actions/core (command.ts, escapeData and
// escapeProperty).
var (
	dataEscaper     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscaper = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string { return dataEscaper.Replace(s) }

func escapeProperty(s string) string { return propertyEscaper.Replace(s) }
