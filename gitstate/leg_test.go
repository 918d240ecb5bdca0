package gitstate

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// of makes a record one of a leg.
func of(leg int, r *note.Record) *note.Record {
	r.SetLeg(leg)
	return r
}

// What a leg leaves open is interrupted once that leg is over, however it ended,
// and nothing of the others is.
func TestLegInterrupted(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	now := time.Now()
	s := openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { return now }, StaleAfter: time.Hour})
	want := func(stack string, want note.Status) {
		t.Helper()
		got := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: stack, Target: "", Op: note.Deploy}))
		if got.Status != want {
			t.Errorf("%s is %s, not %s", stack, got.Status, want)
		}
	}
	// later writes a second after everything that was written before.
	later := func(records ...*note.Record) {
		t.Helper()
		now = now.Add(time.Second)
		for _, r := range records {
			r.At = now
		}
		noError(t, s.Append(head, records...))
	}
	start := func(run, job string, attempt int) *note.Record {
		return &note.Record{Event: note.Started, Op: note.Deploy, Run: run, Job: job, Attempt: attempt, By: "Alice <alice@example.com>", Version: 1}
	}
	announced := start("R1", "https://ci/1", 1)
	announced.SetLegs(3)
	later(announced, of(1, result(note.Queued, "/a", "R1")), of(2, result(note.Queued, "/b", "R1")), of(3, result(note.Queued, "/c", "R1")))
	later(of(1, start("R1", "https://ci/1", 1)), of(1, result(note.Running, "/a", "R1")))
	later(of(2, start("R1", "https://ci/1", 1)), of(2, result(note.Running, "/b", "R1")))
	later(of(1, &note.Record{Event: note.Finished, Run: "R1"}))
	want("/a", note.Interrupted) // it went on without a word
	want("/b", note.Running)
	want("/c", note.Queued)

	// "Re-run failed jobs": of the same CI run, and only some of the legs. GitHub
	// lets nobody do that before all jobs of the first attempt are over.
	later(of(1, start("R1", "https://ci/1", 2)), of(1, result(note.Queued, "/a", "R1")))
	want("/a", note.Queued)
	want("/b", note.Interrupted)
	want("/c", note.Interrupted)
	later(of(1, result(note.OK, "/a", "R1")))
	want("/a", note.OK)

	// Jobs of their own, of which one is tried again, as on GitLab: nobody else's
	// concern.
	announced = start("R2", "https://ci/2#matrix", 10)
	later(announced, of(1, result(note.Queued, "/d", "R2")), of(2, result(note.Queued, "/e", "R2")), of(2, result(note.Queued, "/f", "R2")))
	later(of(1, start("R2", "https://ci/2#leg-1", 11)), of(1, result(note.Running, "/d", "R2")))
	later(of(2, start("R2", "https://ci/2#leg-2", 12)), of(2, result(note.Running, "/e", "R2")), of(2, result(note.Running, "/f", "R2")))
	later(of(2, start("R2", "https://ci/2#leg-2", 13)), of(2, result(note.Queued, "/e", "R2")))
	want("/d", note.Running)
	want("/e", note.Queued)
	want("/f", note.Interrupted) // the second try has not taken it up

	// The announcement was withdrawn, and with it all legs.
	later(&note.Record{Event: note.Finished, Run: "R2"})
	want("/d", note.Interrupted)

	// A process on this machine is that of its leg.
	later(start("R3", "", 0), of(1, result(note.Running, "/g", "R3")), of(2, result(note.Running, "/h", "R3")))
	leg, out := child(t, "live", repo.Dir, "R3", note.LegName(1))
	out.Scan()
	for _, mark := range must[[]os.DirEntry](t)(s.marks()) { // it was the one who recorded them
		future := time.Now().Add(time.Hour)
		noError(t, os.Chtimes(filepath.Join(s.liveDir(), mark.Name()), future, future))
	}
	leg.Process.Kill()
	leg.Wait()
	want("/g", note.Interrupted)
	want("/h", note.Running)

	noError(t, s.Flush(ctx))
	checkStore(t, s) // the index is what a reading of all notes gives
	noError(t, os.Remove(s.indexPath()))
	s.last = nil
	want("/f", note.Interrupted)
	want("/h", note.Running)
}

// Legs in clones of their own are one run: whatever order their notes arrive in,
// what is left of each stack is the last word on it.
func TestLegsMerge(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	planner, one, two := open(t, repo.Dir), open(t, repo.Clone().Dir), open(t, repo.Clone().Dir)
	noError(t, planner.Append(head, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R1", Version: 1},
		of(1, result(note.Queued, "/a", "R1")), of(1, result(note.Queued, "/b", "R1")), of(2, result(note.Queued, "/c", "R1"))))
	push(t, planner)
	for _, s := range []process{one, two} {
		fetch(t, s)
		must[*State](t)(s.State(ctx))
	}
	noError(t, one.Append(head, of(1, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R1"}), of(1, result(note.Running, "/a", "R1")), result(note.OK, "/a", "R1"), of(1, result(note.Running, "/b", "R1"))))
	noError(t, two.Append(head, of(2, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R1"}), of(2, result(note.Running, "/c", "R1")), result(note.Failed, "/c", "R1"), of(2, &note.Record{Event: note.Finished, Run: "R1", Failed: 1})))
	push(t, two)
	push(t, one)
	noError(t, one.Append(head, result(note.OK, "/b", "R1"), of(1, &note.Record{Event: note.Finished, Run: "R1", OK: 2})))
	push(t, one)
	for _, s := range []process{planner, one, two} {
		fetch(t, s)
		st := must[*State](t)(s.State(ctx))
		for stack, want := range map[string]note.Status{"/a": note.OK, "/b": note.OK, "/c": note.Failed} {
			if l := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: stack, Target: "", Op: note.Deploy})); l.Status != want || len(l.Diverged) > 0 {
				t.Errorf("%s is %s, beside it %d", stack, l.Status, len(l.Diverged))
			}
		}
		if lines := must[[]Line](t)(s.Note(head)); len(lines) != 3+3+2 {
			t.Errorf("3 results, 3 heads and 2 ends are left, not %q", texts(lines))
		}
		checkStore(t, s)
	}
}

// Clones that are copies of one clone have its name among those that spool. Each
// leg takes one of its own, so that no copy writes over another's records.
func TestOwnSpool(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	clone := s.spoolWriter()
	names := map[string]bool{clone: true}
	for range 2 {
		leg := open(t, s.WorkTree())
		leg.OwnSpool()
		names[leg.spoolWriter()] = true
	}
	if again := open(t, s.WorkTree()).spoolWriter(); again != clone || len(names) != 3 {
		t.Errorf("%s became %s; %v", clone, again, names)
	}
}
