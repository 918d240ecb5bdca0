package gitstate

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What the latest was when some of the results were not there yet.
func TestStateAt(t *testing.T) {
	t.Parallel()
	notes := allNotes{}
	for _, n := range []struct {
		commit string
		r      note.Record
	}{
		{"c1", rec(1, note.OK, note.Deploy, "/a", "R1")},
		{"side", rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")},
		{"c2", rec(3, note.OK, note.Deploy, "/a", "R3", "R2")},
		{"c1", rec(4, note.OK, note.Deploy, "/a", "R4", "R3")}, // rolled back
		{"c2", rec(5, note.Failed, note.Destroy, "/a", "R5", "R4")},
	} {
		notes.add(n.commit, mustLine(n.r))
	}
	until := func(second int) func(string, *note.Record) bool {
		return func(_ string, r *note.Record) bool {
			return !r.At.After(gittest.T0.Add(time.Duration(second) * time.Second))
		}
	}
	on := func(commits ...string) func(string, *note.Record) bool {
		return func(c string, _ *note.Record) bool { return slices.Contains(commits, c) }
	}
	for name, c := range map[string]struct {
		keep   func(string, *note.Record) bool
		run    string
		status note.Status
		ok     string
	}{
		"before all":                 {until(0), "", note.Never, ""},
		"at its very time":           {until(1), "R1", note.OK, "c1"},
		"failed then":                {until(2), "R2", note.Failed, "c1"},
		"repaired then":              {until(3), "R3", note.OK, "c2"},
		"rolled back then":           {until(4), "R4", note.OK, "c1"},
		"all":                        {until(9), "R5", note.Failed, "c1"},
		"on the first commit":        {on("c1"), "R4", note.OK, "c1"}, // R1 was followed by it, over others
		"on the branch":              {on("c1", "side"), "R4", note.OK, "c1"},
		"without the first":          {on("c2"), "R5", note.Failed, "c2"},
		"what the branch alone says": {on("side"), "R2", note.Failed, ""},
	} {
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.indexOf(c.keep)}
		l, err := st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})
		if err != nil || l.Run != c.run || l.Status != c.status || l.OKCommit != c.ok || len(l.Diverged) > 0 {
			t.Errorf("%s: run %q %s, success %q, beside it %d, %v", name, l.Run, l.Status, l.OKCommit, len(l.Diverged), err)
		}
	}
}

// However a history goes on, what the latest was at a moment stays the same.
func TestStateAtProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		notes, now := allNotes{}, gittest.T0
		s := &Store{now: func() time.Time { return now }, staleAfter: time.Hour, private: "/nowhere"}
		w := &Writer{store: s, lastAt: map[string]time.Time{}}
		var moments []time.Time
		var then []map[slotKey][]string
		for i := range rapid.IntRange(1, 20).Draw(t, "runs") {
			now = now.Add(time.Second)
			w.basis = &State{s: s, x: notes.index()}
			r := note.Record{Run: "R" + string(rune('A'+i)), Stack: rapid.SampledFrom([]string{"/a", "/b"}).Draw(t, "stack"),
				Op:     rapid.SampledFrom([]string{note.Deploy, note.Destroy, "plan"}).Draw(t, "op"),
				Status: rapid.SampledFrom([]note.Status{note.OK, note.Failed, note.Canceled, note.Triggered}).Draw(t, "status")}
			l, err := w.basis.Latest(note.Slot{ID: "", Path: r.Stack, Target: "", Op: r.Op})
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 9).Draw(t, "knows what came before") > 0 {
				r.Prev = l.Runs()
			}
			w.stamp(&r)
			notes.add(rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "commit"), mustLine(r))
			moments, then = append(moments, r.At), append(then, headsOf(notes.index()))
		}
		for i, at := range moments {
			x := notes.indexOf(func(_ string, r *note.Record) bool { return !r.At.After(at) })
			got := headsOf(x)
			for k, heads := range got {
				if len(heads) == 0 {
					delete(got, k)
				}
			}
			if diff := cmp.Diff(then[i], got); diff != "" {
				t.Fatalf("at %v: -then +now\n%s\n%q", at, diff, notes)
			}
		}
	})
}

func TestSlots(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	head := repo.Head()
	a, b := result(note.OK, "/a", "R1"), result(note.OK, "/b", "R1")
	b.ID, b.Target = "B", "prod"
	noError(t, s.Append(head, a, b))
	moved, gone := result(note.OK, "/moved", "R2", "R1"), result(note.OK, "/gone", "R2")
	moved.ID, moved.Target, moved.Op = "b", "prod", note.Destroy
	noError(t, s.Append(head, moved, gone))
	noError(t, s.Flush(context.Background()))
	must[[]Line](t)(s.Forget(context.Background(), head, note.Record{Run: "F", Reason: "x"}, func(l Line) bool { return l.Record.Stack == "/gone" }))
	st := must[*State](t)(s.State(context.Background()))
	want := []note.Slot{{Path: "/a", Op: note.Deploy}, {ID: "b", Path: "/moved", Target: "prod", Op: note.Deploy}}
	if diff := cmp.Diff(want, st.Slots()); diff != "" {
		t.Error(diff)
	}
	same := must[*State](t)(s.StateAt(context.Background(), func(commit string, r *note.Record) bool { return commit == head }))
	if why := same.x.differs(st.x); why != "" {
		t.Errorf("of all results: %s", why)
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.Local) }
	for text, want := range map[string][2]time.Time{ // its start, its end
		"2026-11-20":                 {day(2026, 11, 20), day(2026, 11, 21).Add(-time.Millisecond)},
		"2026-11-20T14:00:00Z":       {time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)},
		"2026-11-24T11:07:55.784Z":   {time.Date(2026, 11, 24, 11, 7, 55, 784e6, time.UTC), time.Date(2026, 11, 24, 11, 7, 55, 784e6, time.UTC)},
		"2026-11-20 14:00:00 +0100":  {time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 13, 0, 0, 999e6, time.UTC)},
		"Nov 20 2025 14:00:00 +0000": {time.Date(2025, 11, 20, 14, 0, 0, 0, time.UTC), time.Date(2025, 11, 20, 14, 0, 0, 999e6, time.UTC)},
	} {
		for i, end := range []bool{false, true} {
			if got, err := s.Date(context.Background(), text, end); err != nil || !got.Equal(want[i]) {
				t.Errorf("%q, end %v: %v, not %v, %v", text, end, got, want[i], err)
			}
		}
	}
	for text, ago := range map[string]time.Duration{"yesterday": 24 * time.Hour, "2 days ago": 48 * time.Hour, "3.hours.ago": 3 * time.Hour, "now": 0, "Two Weeks Ago": 14 * 24 * time.Hour} {
		got, err := s.Date(context.Background(), text, false)
		if d := time.Since(got) - ago; err != nil || d < -2*time.Hour || d > 2*time.Hour { // a clock may change in between
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "main", "1234567", "v1.2", "yesterdya", "2026-02-31", "2026-13-01", "2026-13-01 10:00", "releases/2026", "maybe", "--all", "5 days ago or so"} {
		if got, err := s.Date(context.Background(), text, false); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestRemovedAndBetween(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx := context.Background()
	made := repo.Commit("made", map[string]string{"a/stack.tm": "1", "a/main.tf": "1", "b/stack.tm": "1", "ä [x]/stack.tm": "1"})
	changed := repo.Commit("a file less", map[string]string{"a/main.tf": "", "b/stack.tm": "2"})
	repo.Git("checkout", "-q", "-b", "side")
	repo.Commit("removed", map[string]string{"a": "", "ä [x]": ""})
	repo.Git("checkout", "-q", "main")
	before := repo.Commit("meanwhile", map[string]string{"c/stack.tm": "1"})
	repo.Git("merge", "-q", "--no-ff", "-m", "merged", "side")
	merge := repo.Head()
	repo.Commit("later", map[string]string{"c/stack.tm": "2"})
	s := open(t, repo.Dir)
	const missing = "1234567890123456789012345678901234567890"
	for name, c := range map[string]struct{ path, since, removed, last string }{
		"removed by a merge":     {"/a", made, merge, before},
		"since is not here":      {"/a", missing, merge, before},
		"since is not known":     {"/a", "", merge, before},
		"a name with brackets":   {"/ä [x]", made, merge, before},
		"still there":            {"/b", made, "", ""},
		"never there":            {"/d", made, "", ""},
		"the top of the project": {"/", made, "", ""},
	} {
		if removed, last, err := s.Removed(ctx, c.path, c.since); err != nil || removed != c.removed || last != c.last {
			t.Errorf("%s: removed by %q, last at %q, %v", name, removed, last, err)
		}
	}
	log := must[[]LogEntry](t)(s.Between(ctx, made, "HEAD", 10, "/b", "/ä [x]"))
	var subjects []string
	for _, l := range log {
		subjects = append(subjects, l.Subject)
	}
	slices.Sort(subjects)
	if !slices.Equal(subjects, []string{"a file less", "removed"}) || log[0].Author != "Alice" {
		t.Errorf("between: %+v", log)
	}
	if _, err := s.Between(ctx, missing, "HEAD", 10, "/a"); err == nil {
		t.Error("the commits after one that is not here")
	}
	if all := must[map[string]bool](t)(s.Ancestors(ctx, changed)); len(all) != 3 || !all[made] || all[merge] {
		t.Errorf("before %s: %v", changed, all)
	}
	if _, err := open(t, repo.Clone("--depth=1").Dir).Ancestors(ctx, repo.Head()); err == nil || !strings.Contains(err.Error(), "unshallow") {
		t.Errorf("in a shallow clone: %v", err)
	}
}
