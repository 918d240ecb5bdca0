package terminal

import (
	"fmt"
	"strings"
	"testing"
)

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
