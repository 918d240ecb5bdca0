package gitstate

import (
	"context"
	"maps"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What was deployed is counted from what changed since the last count, and as from
// all notes; what is forgotten was deployed all the same.
func TestTally(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, s, head := context.Background(), open(t, repo.Dir), repo.Head()
	want := map[TallyKey]int{}
	check := func(what string) {
		t.Helper()
		fresh := open(t, repo.Dir)
		for _, s := range []process{s, fresh} {
			got := must[map[TallyKey]int](t)(s.Tally(ctx))
			maps.DeleteFunc(got, func(_ TallyKey, n int) bool { return n == 0 })
			if !maps.Equal(got, want) {
				t.Errorf("%s: %v, not %v", what, got, want)
			}
		}
	}
	add := func(commit string, r *note.Record) {
		t.Helper()
		if r.Variant == "" {
			r.Variant = "v1"
		}
		noError(t, s.Append(commit, r))
	}
	check("nothing")
	add(head, result(note.Queued, "/a", "R1"))
	add(head, result(note.OK, "/a", "R1"))
	add(head, result(note.Failed, "/b", "R1"))
	drift := result(note.OK, "/a", "R2")
	drift.Op = note.Drift
	add(head, drift)
	byHand := result(note.OK, "/c", "R3")
	byHand.Variant = AnyVariant
	add(head, byHand)
	want[TallyKey{note.Deploy, "", note.OK}], want[TallyKey{note.Deploy, "", note.Failed}] = 1, 1
	check("in the journal")
	noError(t, s.Flush(ctx))
	check("in the notes")

	next := repo.Commit("second", map[string]string{"a": "1"})
	gone := result(note.OK, "/a", "R4")
	gone.Op, gone.Target = note.Destroy, "staging"
	add(next, gone)
	add(next, result(note.Blocked, "/b", "R4"))
	noError(t, s.Flush(ctx))
	want[TallyKey{note.Destroy, "staging", note.OK}], want[TallyKey{note.Deploy, "", note.Blocked}] = 1, 1
	check("on another commit")

	if forgot := must[[]Line](t)(s.Forget(ctx, head, note.Record{By: "Alice", Reason: "a test", Run: "R5"}, func(l Line) bool { return l.Record.Status != "" })); len(forgot) != 4 {
		t.Fatalf("forgot %d lines", len(forgot))
	}
	check("forgotten")
}
