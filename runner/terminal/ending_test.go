package terminal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

// A table fits the terminal, and none is cut where there is none.
func TestTableWidths(t *testing.T) {
	t.Parallel()
	u := &Printer{}
	header := []string{"STATUS", "STACK", "TIME", "WHY"}
	rows := [][]string{{"failed", "/prod/eu/" + strings.Repeat("世界", 10) + "/db", "12.4s", strings.Repeat("a reason ", 20)}, {"ok", "/a", "0.1s", ""}}
	for width := range 200 {
		got := u.table(width, header, rows, StatusColor)
		for i, line := range got.lines {
			if w := ansi.StringWidth(line); w > width && width >= 10 { // four columns of one character, and what is between them
				t.Errorf("%d: line %d takes %d: %q", width, i, w, line)
			}
		}
		if all := got.lines[1]; width == 0 && (got.cut[0] || !strings.HasSuffix(all, "a reason") || !strings.Contains(all, "/db  12.4s")) {
			t.Errorf("cut for no terminal: %q", all)
		}
		if got.cut[1] && width > 30 {
			t.Errorf("%d: %v %q", width, got.cut, got.lines)
		}
		if row := got.lines[1]; width == 60 && (!strings.HasPrefix(row, "failed  …") || !strings.Contains(row, "世界/db   12.4s  a reason") || !strings.HasSuffix(row, "…")) {
			t.Errorf("%q", row)
		}
	}
}

// However many failures there are, each is named, and their blocks are bounded.
func TestMostLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ failures, height, room, want int }{
		{1, 0, -1, 20}, {10, 0, -1, 20}, {50, 0, -1, 4}, {67, 0, -1, 0},
		{1, 20, 8, 8}, {1, 20, 2, 0}, {1, 20, -5, 0}, {1, 90, 70, 20}, {3, 24, 9, 5}, {3, 60, 36, 12}, {100, 24, -99, 0},
	} {
		if got := mostLines(tt.failures, tt.height, tt.room); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
	var out strings.Builder
	e := Ending{Header: []string{"STATUS", "STACK", "WHY"}, Foot: []string{"the end"}}
	for i := range 100 {
		e.Failed = append(e.Failed, Failure{Row: []string{"failed", fmt.Sprint("/s", i), "no"}, Blocked: []string{"/a", "/b", "/c", "/d"},
			Block: func(int) []string { return []string{"a block"} }})
	}
	(&Printer{Err: &out}).Ending(e)
	if got := out.String(); strings.Count(got, "\nfailed  /s") != 100 || strings.Count(got, "\n  blocked: /a, /b and 2 more\n") != 100 || strings.Contains(got, "a block") || !strings.HasSuffix(got, "\ntmnotes: the end\n") {
		t.Error(got)
	}
}
