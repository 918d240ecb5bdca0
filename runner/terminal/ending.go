package terminal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/tmnotes/tmnotes/runner"
)

// Ending is the end of a run: what became of the stacks, those that failed last, and then what
// is said of all of it.
type Ending struct {
	Header []string
	Rows   [][]string
	Failed []Failure
	Foot   []string
}

// Failure is a stack that failed.
type Failure struct {
	Row     []string
	Block   func(most int) []string // of its output, no more than most lines; nil for none
	Blocked []string                // the stacks that did not start for it
}

// Blocks of output have at most so many lines at the end of a run: each, and all of them.
const (
	blockLines  = 20
	blocksLines = 200
)

// Ending prints it to stderr. On a terminal the failure, if it is one, and all that comes after it are on
// the last screen: its reason whole, and of its output what there is room for.
func (u *Printer) Ending(e Ending) {
	width, height := Size(u.Err)
	rows, below := u.rows(&e, width)
	room := height - 1
	for i, f := range e.Failed {
		room -= 1 + len(below[i]) + min(len(f.Blocked), 1)
	}
	for i, line := range e.Foot {
		e.Foot[i] = "tmnotes: " + forPeople(line)
		room -= lineCount(e.Foot[i], width)
	}
	first := len(rows) - len(e.Failed)
	lines := append([]string{""}, rows[:first]...)
	for i, f := range e.Failed {
		lines = append(append(lines, rows[first+i]), below[i]...)
		if most := mostLines(len(e.Failed), height, room); f.Block != nil && most > 0 {
			for _, line := range f.Block(most) {
				lines = append(lines, u.Paint(Faint, within("  │ "+runner.Printable(line), width)))
			}
		}
		if len(f.Blocked) > 0 {
			lines = append(lines, within("  blocked: "+runner.Printable(SomeOf(f.Blocked)), width))
		}
	}
	for _, line := range append(lines, e.Foot...) {
		fmt.Fprintln(u.Err, line)
	}
}

// rows are the lines of the table, and below that of each failure its reason where the table would cut it.
func (u *Printer) rows(e *Ending, width int) (lines []string, below [][]string) {
	below = make([][]string, len(e.Failed))
	rows := slices.Clone(e.Rows)
	for _, f := range e.Failed {
		rows = append(rows, slices.Clone(f.Row))
	}
	if len(rows) == 0 {
		return nil, below
	}
	lines = u.table(width, e.Header, rows, StatusColor)
	for i := range e.Failed {
		row := rows[len(e.Rows)+i]
		why := &row[len(row)-1]
		if text := forPeople(*why); !strings.HasSuffix(lines[len(lines)-len(e.Failed)+i], text) {
			*why, below[i] = "", wrap(text, width-2)
		}
	}
	return u.table(width, e.Header, rows, StatusColor), below
}

// mostLines is how many lines of output each of so many failures has. Several need not fit on one screen.
func mostLines(failures, height, room int) int {
	most := min(blockLines, blocksLines/failures)
	if height > 0 {
		least := 0
		if failures > 1 {
			least = min(5, most)
		}
		most = min(most, max(room/failures, least))
	}
	if most < 3 {
		return 0
	}
	return most
}

// SomeOf names some of many, and says how many more there are.
func SomeOf(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:2], ", "), len(names)-2)
	}
	return strings.Join(names, ", ")
}

// within cuts a line to the width of a terminal, if it is for one.
func within(line string, width int) string {
	if width > 0 {
		return ansi.Truncate(line, width, "…")
	}
	return line
}

// wrap breaks a text into indented lines, between words where it can.
func wrap(text string, width int) []string {
	lines := strings.Split(ansi.Wrap(text, max(width, 1), ""), "\n")
	for i, l := range lines {
		lines[i] = "  " + strings.TrimSpace(l)
	}
	return lines
}

// lineCount is how many lines of a terminal a line takes.
func lineCount(line string, width int) int {
	return max(1, (ansi.StringWidth(line)+max(width, 1)-1)/max(width, 1))
}
