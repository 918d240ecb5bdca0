package gitstate

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// allNotes are the notes of a repository in memory: commit → normal lines.
type allNotes map[string][]string

func (n allNotes) add(commit string, lines ...string) {
	n[commit] = note.NormalLines(append(slices.Clone(n[commit]), lines...))
}

func (n allNotes) merge(other allNotes) {
	for c, lines := range other {
		n.add(c, lines...)
	}
}

func (n allNotes) clone() allNotes {
	c := allNotes{}
	for k, v := range n {
		c[k] = slices.Clone(v)
	}
	return c
}

func (n allNotes) index() *index { return n.indexOf(nil) }

func (n allNotes) indexOf(keep func(string, *note.Record) bool) *index {
	b := newBuilder(nil)
	b.keep = keep
	for c, lines := range n {
		b.note(c, lines)
	}
	x, err := b.done(trees{}, func(c string) ([]string, error) { return n[c], nil })
	if err != nil {
		panic(err)
	}
	return x
}

func (n allNotes) changesTo(m allNotes) []notestree.Change {
	var out []notestree.Change
	all := maps.Clone(n)
	maps.Copy(all, m)
	for c := range all {
		if !slices.Equal(n[c], m[c]) {
			out = append(out, notestree.Change{Commit: c, Old: n[c], New: m[c]})
		}
	}
	slices.SortFunc(out, func(a, b notestree.Change) int { return strings.Compare(a.Commit, b.Commit) })
	return out
}

// naive says by reading everything which records of a slot nobody followed.
func (n allNotes) naive() map[slotKey][]string {
	type run struct {
		last   note.Record
		line   string
		commit string
		prev   []string
	}
	living, dead := map[slotKey]map[string]*run{}, map[slotKey]map[string][]string{}
	for c, lines := range n {
		for _, line := range lines {
			r, err := note.ParseRecord(line)
			if err != nil || r.Stack == "" || madeElsewhere(c, &r, lines) {
				continue
			}
			k := keyOf(&r)
			if living[k] == nil {
				living[k], dead[k] = map[string]*run{}, map[string][]string{}
			}
			if r.Event == note.Forgotten {
				dead[k][r.Run] = append(dead[k][r.Run], r.Prev...)
				continue
			}
			have := living[k][r.Run]
			if have == nil {
				have = &run{r, line, c, nil}
				living[k][r.Run] = have
			} else if newer(&r, line, &have.last, have.line) || line == have.line && c < have.commit {
				have.last, have.line, have.commit = r, line, c
			}
			have.prev = append(have.prev, r.Prev...)
		}
	}
	out := map[slotKey][]string{}
	for k, runs := range living {
		followed := map[string]bool{}
		var follow func(p string)
		follow = func(p string) {
			if followed[p] {
				return
			}
			followed[p] = true
			if runs[p] == nil {
				for _, q := range dead[k][p] {
					follow(q)
				}
			}
		}
		for name, r := range runs {
			for _, p := range r.prev {
				if p != name {
					follow(p)
				}
			}
		}
		heads := []string{}
		for name, r := range runs {
			if !followed[name] {
				heads = append(heads, r.commit+" "+r.line)
			}
		}
		slices.Sort(heads)
		out[k] = heads
	}
	return out
}

// madeElsewhere says as FORMAT.md does which lines of a note are history.
func madeElsewhere(commit string, r *note.Record, lines []string) bool {
	if on := r.MadeOn(); on != "" && on != commit {
		return true
	}
	var here, there []time.Time // heads of its run that were made on this commit, and on others
	for _, line := range lines {
		if head, err := note.ParseRecord(line); err == nil && head.Event == note.Started && head.Run == r.Run {
			if on := head.MadeOn(); on != "" && on != commit {
				there = append(there, head.At)
			} else {
				here = append(here, head.At)
			}
		}
	}
	return len(there) > 0 && (len(here) == 0 || r.At.Before(slices.MinFunc(here, time.Time.Compare)))
}

func headsOf(x *index) map[slotKey][]string {
	out := map[slotKey][]string{}
	for k, s := range x.slots {
		heads := []string{}
		for _, h := range s.heads {
			heads = append(heads, h.Commit+" "+h.line)
		}
		slices.Sort(heads)
		out[k] = heads
	}
	return out
}

// Several writers with clocks of their own, who now and then hear of each
// other: following the changes says what a reading of everything says.
func TestIndexProperties(t *testing.T) {
	t.Parallel()
	followed, rebuilt := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		type writer struct {
			notes allNotes
			x     *index
			s     *Store
			*Writer
			open []note.Record // what it began
		}
		now, hub := gittest.T0, allNotes{}
		var writers []*writer
		for _, skew := range []time.Duration{0, time.Hour, -24 * time.Hour} {
			s := &Store{private: "/nowhere", staleAfter: time.Hour, now: func() time.Time { return now.Add(skew) }}
			writers = append(writers, &writer{notes: allNotes{}, x: newIndex(), s: s, Writer: &Writer{store: s, lastAt: map[string]time.Time{}}})
		}
		runs := 0
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * time.Second)
			w := rapid.SampledFrom(writers).Draw(t, "writer")
			before := w.notes.clone()
			st := &State{s: w.s, x: w.x}
			w.basis = st
			commit := rapid.SampledFrom([]string{"c1", "c2", "c3"}).Draw(t, "commit")
			write := func(r note.Record) {
				w.stamp(&r)
				if rapid.IntRange(0, 3).Draw(t, "version 1") > 0 {
					r.SayCommit(commit)
				}
				w.notes.add(commit, mustLine(r))
			}
			switch rapid.IntRange(0, 10).Draw(t, "action") {
			case 0, 1, 2: // a run begins
				runs++
				r := note.Record{Status: note.Queued, Run: fmt.Sprintf("R%02d", runs), Op: rapid.SampledFrom([]string{note.Deploy, note.Deploy, note.Destroy, note.Drift}).Draw(t, "op"), Stack: "/a"}
				r.ID = rapid.SampledFrom([]string{"", "", "x"}).Draw(t, "id")
				l, err := st.Latest(note.Slot{ID: r.ID, Path: r.Stack, Target: "", Op: r.Op})
				if err != nil {
					t.Fatal(err)
				}
				r.Prev = l.Runs()
				if rapid.IntRange(0, 3).Draw(t, "with a head") > 0 {
					for _, leg := range rapid.SampledFrom([][]int{{0}, {0}, {0, 1, 2}, {2, 1}}).Draw(t, "legs") {
						write(*of(leg, &note.Record{Event: note.Started, Run: r.Run, Job: rapid.SampledFrom([]string{"", "j"}).Draw(t, "job"), Attempt: rapid.IntRange(0, 3).Draw(t, "attempt")}))
					}
				}
				r.SetLeg(rapid.IntRange(0, 2).Draw(t, "leg"))
				write(r)
				w.open = append(w.open, r)
			case 3, 4, 5: // a run has a result, or another one
				if len(w.open) == 0 {
					continue
				}
				r := rapid.SampledFrom(w.open).Draw(t, "run")
				r.SetBackend(rapid.SampledFrom([]string{"", "", "s3.x", "s3.y"}).Draw(t, "backend"))
				r.Dirty = rapid.IntRange(0, 3).Draw(t, "dirty") == 0
				r.At, r.Status = time.Time{}, rapid.SampledFrom([]note.Status{note.Running, note.OK, note.OK, note.Failed, note.Drifted}).Draw(t, "status")
				write(r)
				if rapid.Bool().Draw(t, "finished") {
					write(*of(r.Leg(), &note.Record{Event: note.Finished, Run: r.Run}))
				}
			case 7: // a rebase
				w.notes.add(rapid.SampledFrom([]string{"c1", "c2", "c3"}).Draw(t, "copied to"), w.notes[commit]...)
			case 6:
				if lines := w.notes[commit]; len(lines) > 0 {
					line := rapid.SampledFrom(lines).Draw(t, "forget")
					if r, err := note.ParseRecord(line); err == nil && r.Event != note.Forgotten {
						w.notes.add(commit, mustLine(note.Tombstone(line, note.Record{At: now, Run: "F"})))
					}
				}
			default: // a sync
				hub.merge(w.notes)
				w.notes.merge(hub)
			}
			fresh := w.notes.index()
			if why := w.notes.indexOf(func(string, *note.Record) bool { return true }).differs(fresh); why != "" {
				t.Fatalf("of all results: %s", why)
			}
			if none := w.notes.indexOf(func(string, *note.Record) bool { return false }); !(&State{x: none}).Empty() || len(none.runs) > 0 {
				t.Fatal("of no result: there is a latest one")
			}
			if w.x.apply(before.changesTo(w.notes)) {
				if why := w.x.differs(fresh); why != "" {
					t.Fatalf("%s\nbefore %q\nafter %q", why, before, w.notes)
				}
				if rapid.IntRange(0, 5).Draw(t, "reload") == 0 {
					path := filepath.Join(os.TempDir(), fmt.Sprintf("index-test-%d", os.Getpid()))
					if err := w.x.save(path); err != nil {
						t.Fatal(err)
					}
					again, err := loadIndex(path, nil)
					if err != nil {
						t.Fatal(err)
					}
					os.Remove(path)
					if why := again.differs(fresh) + fresh.differs(again); why != "" {
						t.Fatal("loaded: ", why)
					}
					w.x = again
				}
				followed++
			} else {
				w.x = fresh
				rebuilt++
			}
			want := w.notes.naive()
			got := headsOf(w.x)
			for k, heads := range want {
				if len(heads) == 0 {
					delete(want, k) // who follow each other in a circle; see TestIndexCircle
					delete(got, k)
				}
			}
			for k, heads := range got {
				if len(heads) == 0 && len(want[k]) == 0 {
					delete(got, k)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("-naive +index\n%s\n%q", diff, w.notes)
			}
		}
	})
	t.Logf("%d steps followed, %d made anew", followed, rebuilt)
}

// What runs do every day is followed without reading everything.
func TestIndexFollows(t *testing.T) {
	t.Parallel()
	x, notes := newIndex(), allNotes{}
	s := &Store{private: "/nowhere", staleAfter: time.Hour, now: func() time.Time { return gittest.T0 }}
	w := &Writer{store: s, lastAt: map[string]time.Time{}}
	step := func(what, commit string, records ...note.Record) {
		t.Helper()
		before := notes.clone()
		for _, r := range records {
			w.basis = &State{s: s, x: x}
			w.stamp(&r)
			notes.add(commit, mustLine(r))
		}
		if !x.apply(before.changesTo(notes)) {
			t.Fatalf("%s: not followed", what)
		}
		if why := x.differs(notes.index()); why != "" {
			t.Fatalf("%s: %s", what, why)
		}
	}
	var prev []string
	for i := range 5 {
		run, commit := fmt.Sprint("R", i), fmt.Sprint("c", i/2)
		r := note.Record{Op: note.Deploy, Stack: "/a", ID: "x", Run: run, Prev: prev}
		with := func(s note.Status) note.Record { r.Status = s; return r }
		step("announced", commit, note.Record{Event: note.Started, Run: run}, with(note.Queued))
		step("running", commit, with(note.Running))
		step("result", commit, with([]note.Status{note.OK, note.Failed}[i%2]))
		step("finished", commit, note.Record{Event: note.Finished, Run: run})
		prev = []string{run}
	}
}

// A head that does not say on which commit it was made was made where it stands. Beside a
// copied one it tells which records are history there: one comes or goes, and they are others.
func TestIndexHeadsBesideCopiedOnes(t *testing.T) {
	t.Parallel()
	line := func(sec int, r note.Record, commit string) string {
		r.At, r.Run = gittest.T0.Add(time.Duration(sec)*time.Second), "R1"
		if commit != "" {
			r.SayCommit(commit)
		}
		return mustLine(r)
	}
	copied := line(1, note.Record{Event: note.Started}, "c1")
	own, later := line(2, note.Record{Event: note.Started}, ""), line(4, note.Record{Event: note.Started}, "")
	queued := line(3, note.Record{Status: note.Queued, Op: note.Deploy, Stack: "/a"}, "")
	forgotten := mustLine(note.Tombstone(own, note.Record{At: gittest.T0, Run: "F"}))
	followed := 0
	for name, x := range map[string]struct{ before, change []string }{
		"the only one is forgotten":        {[]string{copied, own, queued}, []string{forgotten}},
		"the earlier of two is forgotten":  {[]string{copied, own, later, queued}, []string{forgotten}},
		"one comes":                        {[]string{copied, queued}, []string{own}},
		"one comes that is earlier":        {[]string{copied, later, queued}, []string{own}},
		"the copied one comes":             {[]string{later, queued}, []string{copied}},
		"one that changes nothing is gone": {[]string{own, later, queued}, []string{forgotten}},
	} {
		before := allNotes{}
		before.add("c2", x.before...)
		after := before.clone()
		after.add("c2", x.change...)
		follower := before.index()
		if !follower.apply(before.changesTo(after)) {
			continue // it is made anew
		}
		followed++
		if why := follower.differs(after.index()) + after.index().differs(follower); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
	if followed == 0 {
		t.Error("each is made anew")
	}
}

func TestIndexCircle(t *testing.T) {
	t.Parallel()
	notes := allNotes{}
	notes.add("c1", mustLine(rec(1, note.OK, note.Deploy, "/a", "R1", "R2")))
	notes.add("c2", mustLine(rec(2, note.OK, note.Deploy, "/a", "R2", "R1")))
	l, err := (&State{x: notes.index()}).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})
	if err != nil || len(l.Diverged) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestIndexFileDamage(t *testing.T) {
	t.Parallel()
	notes := allNotes{}
	notes.add("c1", mustLine(rec(1, note.OK, note.Deploy, "/a b\n", "R1", "R0")), mustLine(note.Record{At: gittest.T0, Event: note.Started, Run: "R1", Job: "a \"b", Attempt: 2}))
	x, path := notes.index(), filepath.Join(t.TempDir(), "index")
	noError(t, x.save(path))
	again := must[*index](t)(loadIndex(path, nil))
	if why := again.differs(x) + x.differs(again); why != "" {
		t.Error(why)
	}
	data := must[[]byte](t)(os.ReadFile(path))
	for n := range data {
		noError(t, os.WriteFile(path, data[:n], 0o666))
		if _, err := loadIndex(path, nil); err == nil {
			t.Errorf("cut off at %d it is taken for whole", n)
		}
	}
	for n := range data { // one bit of a disk
		flipped := slices.Clone(data)
		flipped[n] ^= 1 << (n % 8)
		noError(t, os.WriteFile(path, flipped, 0o666))
		if _, err := loadIndex(path, nil); err == nil {
			t.Errorf("with a wrong bit at %d it is taken for whole", n)
		}
	}
	for _, text := range []string{"", "tmnotes index 1 x\nend\n", string(data[:60]) + "h x y\nend\n", strings.Replace(string(data), "\nh ", "\nx ", 1)} {
		noError(t, os.WriteFile(path, []byte(text), 0o666))
		if _, err := loadIndex(path, nil); err == nil {
			t.Errorf("%q is taken for an index", text)
		}
	}
}

// What the store makes of a saved index is what it reads without one.
func TestIndexInStore(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, s := context.Background(), open(t, repo.Dir)
	for i := range 12 {
		head := repo.Commit(fmt.Sprint(i), nil)
		var prev []string
		if i > 0 {
			prev = []string{fmt.Sprint("R", i-1)}
		}
		noError(t, s.Append(head, result(note.OK, "/a", fmt.Sprint("R", i), prev...)))
		if i%3 == 0 {
			repo.Git("notes", "--ref=tmnotes", "append", "-m", "by hand", head)
		}
		noError(t, s.Flush(ctx))
		must[*State](t)(s.State(ctx))
		checkStore(t, s)
	}
	path := s.indexPath()
	data := must[[]byte](t)(os.ReadFile(path))
	wrong := strings.Replace(string(data), "status=ok", "status=failed", 1)
	noError(t, os.WriteFile(path, []byte(wrong), 0o666))
	if l := must[Latest](t)(must[*State](t)(open(t, repo.Dir).State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Status != note.OK {
		t.Errorf("a damaged index is believed: %s", l.Status)
	}
	if again := must[[]byte](t)(os.ReadFile(path)); string(again) == wrong {
		t.Error("a damaged index is not made anew")
	}
	wrong = wrong[:strings.LastIndex(wrong, "\nend ")+1]
	noError(t, os.WriteFile(path, []byte(wrong+"end "+checksum([]byte(wrong))+"\n"), 0o666))
	problems := must[[]Problem](t)(s.Check(ctx))
	if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.What, "index") && p.Fatal }) {
		t.Errorf("check does not see a wrong index: %+v", problems)
	}
}

// A note of very many lines of one stack is read in the time that its bytes need,
// whatever they say: ten times the lines take about ten times as long.
func TestLongNoteTakesNoLonger(t *testing.T) {
	most := 16000
	if testing.Short() {
		most = 4000
	}
	run := func(i int) string { return fmt.Sprintf("01KA%022d", i) }
	kinds := map[string]func(i int) note.Record{
		"none knew of another":  func(i int) note.Record { return rec(i, note.OK, note.Deploy, "/a", run(i)) },
		"each knew of the last": func(i int) note.Record { return rec(i, note.Failed, note.Deploy, "/a", run(i), run(i-1)) },
		"announced":             func(i int) note.Record { return rec(i, note.Queued, note.Deploy, "/a", run(i)) },
		"one run":               func(i int) note.Record { return rec(i, note.Failed, note.Deploy, "/a", run(0)) },
		"drift": func(i int) note.Record {
			r := rec(i, note.Drifted, note.Drift, "/a", run(i))
			r.Variant = fmt.Sprint(i)
			return r
		},
		"forgotten": func(i int) note.Record {
			return note.Tombstone(mustLine(rec(i, note.OK, note.Deploy, "/a", run(i), run(i-1))), note.Record{At: gittest.T0, Run: run(0)})
		},
	}
	read := func(kind string, lines int) time.Duration {
		var all []string
		for i := 1; i <= lines; i++ {
			all = append(all, mustLine(kinds[kind](i)))
		}
		// One that follows them all, and says so three times.
		last := rec(lines+9, note.OK, note.Deploy, "/b", run(lines+9))
		for i := 1; i <= lines/10; i++ {
			last.Prev = append(last.Prev, run(i))
		}
		for i := range 3 {
			last.At = last.At.Add(time.Second)
			last.Status = []note.Status{note.Queued, note.Running, note.OK}[i]
			all = append(all, mustLine(last))
		}
		start := time.Now()
		b := newBuilder(nil)
		b.note("c1", note.NormalLines(all))
		x, err := b.done(trees{}, func(string) ([]string, error) { return all, nil })
		noError(t, err)
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: t.TempDir()}, x: x}
		for _, op := range []string{note.Deploy, note.Drift} {
			must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: op}))
		}
		return time.Since(start)
	}
	for kind := range kinds {
		var ratio float64
		for range 4 { // others may be at work on this machine
			if ratio = read(kind, most).Seconds() / read(kind, most/10).Seconds(); ratio < 35 {
				break
			}
		}
		if ratio >= 35 {
			t.Errorf("%s: ten times the lines take %.0f times as long", kind, ratio)
		}
	}
}

// What a forgotten record followed is followed by who followed that one, also where nothing else of
// the stack is known.
func TestIndexAfterForgotten(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 15, 10, 28, 0, time.UTC)
	record := func(run, prev string, after time.Duration) string {
		return mustLine(note.Record{At: at.Add(after), Status: note.Queued, Op: note.Drift, Stack: "/a", Run: run, Prev: []string{prev}})
	}
	notes := allNotes{}
	notes.add("c1", mustLine(note.Tombstone(record("R05", "R03", 0), note.Record{At: at.Add(time.Second), Run: "F"})))
	x, before := notes.index(), allNotes{}
	before.merge(notes)
	notes.add("c2", record("R10", "R05", time.Minute))
	if fresh := notes.index(); x.apply(before.changesTo(notes)) && x.differs(fresh) != "" {
		t.Error(x.differs(fresh))
	}
}
