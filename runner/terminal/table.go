package terminal

import (
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

const (
	gap      = 2  // between columns
	leastWhy = 16 // columns of the last one,
	leastRow = 12 // and of a path, before another one is left out
)

// expendable are the columns that a terminal which is too narrow for all does without, the first
// ones first; but a table's first two say what a row is about. --format json has them all.
var expendable = []string{"JOB", "BY", "TIME", "SINCE", "RENEWED", "OP", "TARGET", "WHEN", "RUN", "COMMIT", "LAST", "AT", "LIVE"}

// Table prints aligned columns, below their header if there is one. colorOf colours the first
// column by what it says. The error is the writer's.
func (u *Printer) Table(w io.Writer, header []string, rows [][]string, colorOf func(first string) string) error {
	var b strings.Builder
	for _, line := range u.table(u.columnsOf(w), header, rows, colorOf) {
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// table is one as it is printed: a line for the header, if there is one, and for each row.
func (u *Printer) table(columns int, header []string, rows [][]string, colorOf func(first string) string) []string {
	if header != nil {
		rows = slices.Insert(slices.Clone(rows), 0, header)
	}
	lines := layOut(rows, header != nil, columns)
	for i, line := range lines {
		if i == 0 && header != nil {
			lines[i] = u.Paint(Faint, line)
		} else if first, rest, ok := strings.Cut(line, " "); ok && colorOf != nil {
			lines[i] = u.Paint(colorOf(rows[i][0]), first) + " " + rest
		}
	}
	return lines
}

// columnsOf is how wide a line may be; 0: as it likes.
func (u *Printer) columnsOf(w io.Writer) int {
	if u.Columns > 0 || !IsTerminal(w) {
		return u.Columns
	}
	columns, _ := Size(w)
	return columns
}

// layOut aligns the cells of rows into lines that fit so many columns, if any are said. The last
// column is cut, and of paths the beginning; where that is not enough, columns are left out.
func layOut(rows [][]string, header bool, columns int) []string {
	cells := make([][]string, len(rows))
	for i, r := range rows {
		cells[i] = make([]string, len(r))
		for k, c := range r {
			cells[i][k] = forPeople(c)
		}
	}
	widths := widthsOf(cells)
	for header && columns > 0 && !squeeze(cells, widths, columns) {
		k := -1
		for _, name := range expendable {
			if k = slices.Index(cells[0], name); k >= 2 {
				break
			}
		}
		if k < 2 {
			break
		}
		for i := range cells {
			if k < len(cells[i]) {
				cells[i] = slices.Delete(cells[i], k, k+1)
			}
		}
		widths = widthsOf(cells)
	}
	if !header && columns > 0 {
		squeeze(cells, widths, columns)
	}
	lines := make([]string, len(cells))
	for i, r := range cells {
		var b strings.Builder
		for k, c := range r {
			width, last := ansi.StringWidth(c), k == len(r)-1
			if columns > 0 && width > widths[k] && (!last || k == len(widths)-1) {
				if width = widths[k]; isPath(c) && !last {
					c = pad(c, width)
				} else {
					c = ansi.Truncate(c, width, "…")
				}
			}
			b.WriteString(c)
			if !last {
				b.WriteString(strings.Repeat(" ", max(widths[k]-width, 0)+gap))
			}
		}
		lines[i] = strings.TrimRight(b.String(), " ")
		if columns > 0 {
			lines[i] = ansi.Truncate(lines[i], columns, "…")
		}
	}
	return lines
}

func isPath(cell string) bool { return strings.HasPrefix(cell, "/") }

// widthsOf are those of columns. What ends a row that is shorter than others widens none.
func widthsOf(rows [][]string) (widths []int) {
	most := 0
	for _, r := range rows {
		most = max(most, len(r))
	}
	widths = make([]int, most)
	for _, r := range rows {
		for k, c := range r {
			if k < len(r)-1 || k == most-1 {
				widths[k] = max(widths[k], ansi.StringWidth(c))
			}
		}
	}
	return widths
}

// squeeze narrows the last column and those of paths until a line has so many columns, and reports
// whether that is possible.
func squeeze(rows [][]string, widths []int, columns int) bool {
	least := slices.Clone(widths)
	for _, r := range rows {
		for k, c := range r {
			if isPath(c) && k < len(r)-1 {
				least[k] = min(least[k], leastRow)
			}
		}
	}
	last := len(widths) - 1
	least[last] = min(least[last], leastWhy)
	total := gap * last
	for _, n := range widths {
		total += n
	}
	for total > columns {
		widest := -1
		for k, n := range widths {
			if n > least[k] && (widest < 0 || n >= widths[widest]) {
				widest = k
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
		total--
	}
	return true
}
