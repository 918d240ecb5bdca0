package deploy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// Whatever was looked at when, so many runs look at every stack, in the order that they have.
func TestRevisitReachesAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
		at := map[string]time.Time{}
		var stacks []runner.Stack
		for i := range rapid.IntRange(1, 30).Draw(rt, "stacks") {
			s := runner.Stack{Path: fmt.Sprintf("/%02d", i)}
			if ago := rapid.IntRange(-1, 100).Draw(rt, "looked at"); ago >= 0 {
				at[s.Path] = now.Add(-time.Duration(ago) * time.Hour)
			}
			stacks = append(stacks, s)
		}
		n := rapid.IntRange(1, len(stacks)).Draw(rt, "oldest")
		seen := map[string]bool{}
		for range (len(stacks) + n - 1) / n {
			kept, recent, later := Revisit{Oldest: n}.choose(stacks, func(path string) time.Time { return at[path] }, now)
			if len(kept) != n || recent != 0 || later != len(stacks)-n {
				rt.Fatalf("%d kept, %d and %d not", len(kept), recent, later)
			}
			if !slices.IsSortedFunc(kept, func(a, b runner.Stack) int {
				return slices.Index(paths(stacks), a.Path) - slices.Index(paths(stacks), b.Path)
			}) {
				rt.Fatalf("not in order: %v", kept)
			}
			for _, s := range kept {
				now = now.Add(time.Duration(rapid.IntRange(1, 3).Draw(rt, "takes")) * time.Second)
				seen[s.Path], at[s.Path] = true, now
			}
		}
		if len(seen) != len(stacks) {
			rt.Fatalf("%d of %d stacks were looked at", len(seen), len(stacks))
		}
	})
}

func paths(stacks []runner.Stack) (all []string) {
	for _, s := range stacks {
		all = append(all, s.Path)
	}
	return all
}

func TestRevisitInterval(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	at := map[string]time.Time{"/a": now.Add(-time.Hour), "/b": now.Add(-2 * time.Hour), "/d": now.Add(-30 * time.Hour), "/e": now.Add(time.Hour)}
	stacks := []runner.Stack{{Path: "/a"}, {Path: "/b"}, {Path: "/c"}, {Path: "/d"}, {Path: "/e"}}
	kept, recent, later := Revisit{Oldest: 2, MinInterval: 2 * time.Hour}.choose(stacks, func(path string) time.Time { return at[path] }, now)
	if got := paths(kept); !slices.Equal(got, []string{"/c", "/d"}) || recent != 2 || later != 1 {
		t.Errorf("%v, %d, %d", got, recent, later)
	}
}

// What was only announced was not looked at; what was begun was, whatever came of it.
func TestLookedAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		record note.Record
		derive note.Status
		looked bool
	}{
		{note.Record{}, note.Never, false},
		{note.Record{Status: note.OK, Took: 1}, note.OK, true},
		{note.Record{Status: note.OK}, note.OK, true}, // marked by hand
		{note.Record{Status: note.Failed}, note.Failed, true},
		{note.Record{Status: note.Queued}, note.Interrupted, false},
		{note.Record{Status: note.Running}, note.Interrupted, true},
		{note.Record{Status: note.Canceled}, note.Canceled, false},
		{note.Record{Status: note.Canceled, Took: 1}, note.Canceled, true},
		{note.Record{Status: note.Blocked}, note.Blocked, false},
	} {
		c.record.At = time.UnixMilli(1)
		l := gitstate.Latest{Stored: gitstate.Stored{Record: c.record}, Status: c.derive}
		if got := !lookedAt(&l).IsZero(); got != c.looked {
			t.Errorf("%s, now %s: %v", c.record.Status, c.derive, got)
		}
	}
}
