// Package terminal is all that is printed or drawn: lines, tables, the view of a run, and what a job's
// log shows of it. It hears what happens, and decides nothing.
package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/tmnotes/tmnotes/runner"
)

// The rules of the user interface:
//
//   - stdout is for what was asked for (lists, JSON, the commands' own output),
//     stderr for what tmnotes has to say about it.
//   - A line of ours on stderr starts with "tmnotes: ". A warning says
//     "warning", an error is one line that says what happened, to what, and
//     what to type next.
//   - What comes from elsewhere (a note, a path, an error of git) is printed
//     without its control characters: it must not be able to drive a terminal.
//   - Colour only on a terminal, not with NO_COLOR or TERM=dumb; it never
//     carries meaning by itself.
//   - A row of a table is one line of a terminal: columns are cut. What has to be
//     read whole, as why a stack failed, stands below its row.
//   - Nothing is printed that a person who was woken up by it cannot use.
type Printer struct {
	Out, Err io.Writer
	dumb     bool // a terminal that can show no colour and no view, or is to show none
	color    bool
	Quiet    bool
}

// NewPrinter prints to stdout and stderr, as the environment says of colours and of the terminal.
func NewPrinter(stdout, stderr io.Writer, getenv func(string) string) *Printer {
	dumb := getenv("TERM") == "dumb"
	return &Printer{Out: stdout, Err: stderr, dumb: dumb, color: IsTerminal(stderr) && getenv("NO_COLOR") == "" && !dumb}
}

// IsTerminal reports whether what is written to w is seen by a person.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr }) // *os.File, *screen
	return ok && term.IsTerminal(int(f.Fd()))
}

// Say prints a line of ours, unless --quiet.
func (u *Printer) Say(format string, args ...any) {
	if !u.Quiet {
		fmt.Fprintf(u.Err, "tmnotes: %s\n", runner.Printable(fmt.Sprintf(format, args...)))
	}
}

// Warn prints a warning, also with --quiet.
func (u *Printer) Warn(message string) {
	fmt.Fprintf(u.Err, "tmnotes: %s: %s\n", u.Paint(Yellow, "warning"), runner.Printable(message))
}

// Fail prints an error.
func (u *Printer) Fail(err error) {
	fmt.Fprintf(u.Err, "tmnotes: %s\n", u.Paint(Red, runner.Printable(err.Error())))
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
	case "ok":
		return Green
	case "failed", "interrupted":
		return Red
	case "blocked", "canceled", "drifted", "triggered", "orphaned":
		return Yellow
	}
	return ""
}

// Table prints aligned columns, below their header if there is one. colorOf colours the first
// column by what it says. On a terminal columns are cut, so that each row is one line of it.
func (u *Printer) Table(w io.Writer, header []string, rows [][]string, colorOf func(first string) string) {
	width, _ := size(w)
	t := u.table(width, header, rows, colorOf)
	for _, line := range t.lines {
		fmt.Fprintln(w, line)
	}
}

// table is one as it is printed: a line for the header, if there is one, and for each row.
type table struct {
	lines []string
	cut   []bool // of each row: something is missing
}

// table makes one of so many columns at most; 0 is no limit.
func (u *Printer) table(width int, header []string, rows [][]string, colorOf func(first string) string) (t table) {
	all := rows
	if header != nil {
		all = slices.Insert(slices.Clone(rows), 0, header)
	}
	var widths []int
	for _, r := range all {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], ansi.StringWidth(runner.Printable(c)))
		}
	}
	if width > 0 {
		narrow(widths, width-2*(len(widths)-1))
	}
	for k, r := range all {
		line, cut := "", false
		for i, c := range r {
			c = runner.Printable(c)
			cut = cut || ansi.StringWidth(c) > widths[i]
			cell := fit(c, widths[i])
			gap := widths[i] - ansi.StringWidth(cell)
			switch {
			case i == 0 && k == 0 && header != nil:
				cell = u.Paint(Faint, cell)
			case i == 0 && colorOf != nil:
				cell = u.Paint(colorOf(r[0]), cell)
			}
			line += cell + strings.Repeat(" ", gap+2)
		}
		t.lines, t.cut = append(t.lines, strings.TrimRight(line, " ")), append(t.cut, cut)
	}
	t.cut = t.cut[len(all)-len(rows):]
	return t
}

// narrow takes from the widest columns what is too much for all of them together.
func narrow(widths []int, room int) {
	for {
		total, widest := 0, 0
		for i, w := range widths {
			if total += w; w > widths[widest] {
				widest = i
			}
		}
		if total <= room || widths[widest] <= 1 {
			return
		}
		widths[widest]--
	}
}

// fit cuts a text to so many columns; of a path the end says the most.
func fit(s string, columns int) string {
	w := ansi.StringWidth(s)
	switch {
	case w <= columns:
		return s
	case strings.HasPrefix(s, "/") && !strings.Contains(s, " "):
		short := ansi.TruncateLeft(s, w-columns+1, "…")
		if ansi.StringWidth(short) > columns { // a wide character stands across the edge
			short = ansi.TruncateLeft(s, w-columns+2, "…")
		}
		return short
	}
	return ansi.Truncate(s, columns, "…")
}

// size is that of the terminal that w is; 0 and 0 if it is none.
func size(w io.Writer) (width, height int) {
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
