// Package terminal is all that is printed or drawn: lines, tables, the view of a run, and what a job's
// log shows of it. It hears what happens, and decides nothing.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/term"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// The rules of the user interface:
//
//   - stdout is for what was asked for (lists, JSON, the commands' own output),
//     stderr for what tmnotes has to say about it.
//   - A line of ours on stderr starts with "tmnotes: ", but for the table at the end of
//     a run and what stands below its rows. A warning says
//     "warning", an error is one line that says what happened, to what, and
//     what to type next.
//   - What comes from elsewhere (a note, a path, an error of git) is printed
//     without its control characters: it must not be able to drive a terminal.
//   - Colour only on a terminal, not with NO_COLOR or TERM=dumb; it never
//     carries meaning by itself.
//   - A row of a table is one line of a terminal: columns are cut. What has to be
//     read whole, as why a stack failed, stands below its row.
//   - Nothing is printed that a person who was woken up by it cannot use.
//   - A table fits the terminal that it is printed on: no line of it wraps. Elsewhere
//     nothing is cut.
type Printer struct {
	Out, Err io.Writer
	Columns  int  // how wide a table may be; 0: as wide as the terminal that it goes to
	dumb     bool // a terminal that can show no colour and no view, or is to show none
	color    bool
	Quiet    bool
}

// NewPrinter prints to stdout and stderr, as the environment says of colours and of the terminal.
func NewPrinter(stdout, stderr io.Writer, getenv func(string) string) *Printer {
	dumb := getenv("TERM") == "dumb"
	if f, is := stderr.(interface{ Fd() uintptr }); is && !showsEscapes(f.Fd()) {
		dumb = true
	}
	return &Printer{Out: stdout, Err: stderr, dumb: dumb, color: IsTerminal(stderr) && getenv("NO_COLOR") == "" && !dumb}
}

// IsTerminal reports whether what is written to w is seen by a person.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr }) // *os.File, *screen
	return ok && term.IsTerminal(int(f.Fd()))
}

// forPeople has a text drive no terminal, and name runs shortly.
func forPeople(text string) string { return runner.Printable(note.ShortenRuns(text)) }

// Width is how wide the terminal is that lines of ours go to; 0: they go to none.
func (u *Printer) Width() int {
	width, _ := Size(u.Err)
	return width
}

// Say prints a line of ours, unless --quiet.
func (u *Printer) Say(format string, args ...any) {
	if !u.Quiet {
		fmt.Fprintf(u.Err, "tmnotes: %s\n", forPeople(fmt.Sprintf(format, args...)))
	}
}

// Warn prints a warning, also with --quiet.
func (u *Printer) Warn(message string) {
	fmt.Fprintf(u.Err, "tmnotes: %s: %s\n", u.Paint(Yellow, "warning"), forPeople(message))
}

// Fail prints an error.
func (u *Printer) Fail(err error) {
	fmt.Fprintf(u.Err, "tmnotes: %s\n", u.Paint(Red, forPeople(err.Error())))
}

const (
	Red    = "31"
	Green  = "32"
	Yellow = "33"
	Faint  = "2"
)

// Paint gives a text a colour, where there are any.
func (u *Printer) Paint(color, s string) string {
	if !u.color || color == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// StatusColor is the colour of a status; "" is none.
func StatusColor(status string) string {
	switch status {
	case "ok", "deployed":
		return Green
	case "failed", "interrupted":
		return Red
	case "blocked", "canceled", "drifted", "triggered", "orphaned", "reverted", "unknown":
		return Yellow
	}
	return ""
}

// Size is that of the terminal that w is; 0 and 0 if it is none.
func Size(w io.Writer) (width, height int) {
	f, is := w.(interface{ Fd() uintptr }) // *os.File, *Screen
	if !is {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// JSONLine is v as one line of JSON for people and jq, in which nothing is escaped for a page.
func JSONLine(v any) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return line.Bytes(), err
}

// PrintJSON prints v as JSON for people and programs.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // for people and jq, not for a page
	return enc.Encode(v)
}

// Ago is how long ago something was, in words.
func Ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
