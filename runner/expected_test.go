package runner

import (
	"testing"
	"time"
)

func TestExpected(t *testing.T) {
	t.Parallel()
	// /b and /c come after /a, /d after both; /e is by itself.
	g, err := NewGraph([]string{"/a", "/b", "/c", "/d", "/e"}, map[string][]string{"/b": {"/a"}, "/c": {"/a"}, "/d": {"/b", "/c"}})
	if err != nil {
		t.Fatal(err)
	}
	took := map[string]time.Duration{"/a": 1, "/b": 2, "/c": 4, "/d": 8, "/e": 16}
	all := g.Order()
	for _, tt := range []struct {
		todo     []string
		parallel int
		want     time.Duration
	}{
		{nil, 1, 0}, {all, 0, 31}, {all, 1, 31}, {all, 2, 16}, {all, 3, 16}, {all, 9, 16},
		{[]string{"/b", "/c"}, 2, 4}, {[]string{"/b", "/d"}, 2, 10}, {[]string{"/b", "/c", "/d"}, 1, 14},
	} {
		if got := Expected(g, tt.todo, took, tt.parallel); got != tt.want {
			t.Errorf("%v, %d at once: %d, not %d", tt.todo, tt.parallel, got, tt.want)
		}
	}
}
