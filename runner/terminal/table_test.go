package terminal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// A table fits: a path keeps its end, the last column its beginning, and what tells the least is
// left out before these say nothing.
func TestTableFits(t *testing.T) {
	t.Parallel()
	header := []string{"STATUS", "STACK", "LIVE", "SINCE", "LAST", "WHEN", "BY", "WHY"}
	rows := [][]string{
		{"failed", "/prod/eu-central-1/database", "d979431eeeed*", "3 h ago", "failed", "just now", "Alice", "Error: no capacity in eu-central-1; at 62ce3a8e563e by run 01M8M5SKZA"},
		{"ok", "/世界/一広い画面", "62ce3a8e563e", "3 h ago", "ok", "3 h ago", "Björn", ""},
		{"blocked", "/app", "-", "-", "blocked", "just now", "Alice", "/prod/eu-central-1/database failed"},
	}
	plain := [][]string{{"ok", "11:07:55", "/prod/eu-central-1/database", "0.1s", strings.Repeat("why ", 20)}, {"-", strings.Repeat("a line ", 30)}}
	var got bytes.Buffer
	for _, columns := range []int{0, 200, 140, 120, 100, 80, 60, 40, 20, 3} {
		for _, table := range []struct {
			header []string
			rows   [][]string
		}{{header, rows}, {nil, plain}} {
			var b bytes.Buffer
			(&Printer{Columns: columns}).Table(&b, table.header, table.rows, StatusColor)
			for line := range strings.Lines(b.String()) {
				if w := ansi.StringWidth(strings.TrimSuffix(line, "\n")); columns > 0 && w > columns {
					t.Errorf("%d columns, not %d: %s", w, columns, line)
				}
			}
			fmt.Fprintf(&got, "-- %d --\n%s", columns, b.String())
		}
	}
	gittest.Golden(t, "tables.txt", got.String())
	if rows[0][6] != "Alice" {
		t.Error("the caller's rows were changed")
	}
}

// A header is faint from its first word to its last, and a status has its colour.
func TestTableColours(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	(&Printer{color: true}).Table(&got, []string{"STATUS", "STACK"}, [][]string{{"failed", "/a"}}, StatusColor)
	if want := "\x1b[2mSTATUS  STACK\x1b[0m\n\x1b[31mfailed\x1b[0m  /a\n"; got.String() != want {
		t.Errorf("%q, not %q", got.String(), want)
	}
}
