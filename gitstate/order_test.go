package gitstate

import (
	"slices"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What a run had announced that came to its end without it stands beside what another
// one did meanwhile, until a record follows both.
func TestAbandonedIsFollowed(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s, ctx := open(t, repo.Dir), t.Context()
	for _, r := range []*note.Record{{Event: note.Started, Op: note.Deploy, Run: "GONE", Stacks: 1}, result(note.Queued, "/a", "GONE"), result(note.OK, "/a", "DONE"), {Event: note.Finished, Run: "GONE"}} {
		must[int](t)(0, s.Append(repo.Head(), r))
	}
	latest := func() (*State, Latest) {
		st := must[*State](t)(s.State(ctx))
		return st, must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	}
	st, l := latest()
	gone := must[[]string](t)(st.Abandoned(&l))
	if l.Run != "DONE" || len(l.Diverged) != 1 || !slices.Equal(gone, []string{"GONE"}) {
		t.Fatalf("%s, diverged %v, abandoned %v", l.Run, l.Diverged, gone)
	}
	settled := must[*State](t)(s.Settled(ctx, "NEXT", map[string]bool{"GONE": true}))
	l = must[Latest](t)(settled.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	must[int](t)(0, s.Append(repo.Head(), result(note.OK, "/a", "NEXT", l.Runs()...)))
	if _, l = latest(); l.Run != "NEXT" || len(l.Diverged) > 0 {
		t.Errorf("%s, diverged %v", l.Run, l.Diverged)
	}
}
