package gitstate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// basisWorld is a repository in which several writers record, with one clock.
type basisWorld struct {
	testing.TB
	*clock
	dir, head string
}

func newBasisWorld(t testing.TB) *basisWorld {
	r := gittest.New(t)
	return &basisWorld{t, &clock{at: time.Date(2026, 11, 23, 15, 10, 1, 0, time.UTC)}, r.Dir, r.Head()}
}

func (w *basisWorld) writer() process { return openWith(w, Options{Dir: w.dir, Now: w.now}) }

// know reads the state, by which what s records from now on is recorded.
func (w *basisWorld) know(s process) *State {
	w.Helper()
	st := must[*State](w)(s.State(context.Background()))
	s.Follow(st)
	return st
}

func (w *basisWorld) add(s process, records ...*note.Record) {
	w.Helper()
	noError(w, s.Append(w.head, records...))
}

// follow is a record of a stack that follows what is the latest in st.
func (w *basisWorld) follow(st *State, status note.Status, stack, run string) *note.Record {
	w.Helper()
	l := must[Latest](w)(st.Latest(note.Slot{ID: "", Path: stack, Target: "", Op: note.Deploy}))
	return result(status, stack, run, l.Runs()...)
}

func (w *basisWorld) note() string {
	w.Helper()
	return strings.ReplaceAll(strings.Join(texts(must[[]Line](w)(w.writer().Note(w.head))), "\n"), w.head, "HEAD")
}

// sequences are what writers do to one repository, and what stands in the note then, to
// the byte. between is called wherever somebody may read the state.
var sequences = map[string]struct {
	do   func(w *basisWorld, between func(process))
	want string
}{
	"a run after a run": {func(w *basisWorld, between func(process)) {
		for _, run := range []string{"R1", "R2"} {
			s := w.writer()
			st := w.know(s)
			between(s)
			w.add(s, &note.Record{Event: note.Started, Op: note.Deploy, Run: run, Version: 1}, w.follow(st, note.Queued, "/a", run), w.follow(st, note.Queued, "/b", run))
			between(s)
			for _, stack := range []string{"/a", "/b"} {
				w.add(s, w.follow(st, note.Running, stack, run))
				between(s)
				w.move(time.Second)
				w.add(s, w.follow(st, note.OK, stack, run))
				between(s)
			}
			w.add(s, &note.Record{Event: note.Finished, Run: run, OK: 2})
		}
	}, `at=2026-11-23T15:10:01.000Z event=started op=deploy run=R1 v=1 commit=HEAD
at=2026-11-23T15:10:02.000Z status=ok op=deploy stack=/a run=R1
at=2026-11-23T15:10:03.000Z event=started op=deploy run=R2 v=1 commit=HEAD
at=2026-11-23T15:10:03.000Z status=ok op=deploy stack=/b run=R1
at=2026-11-23T15:10:03.001Z event=finished run=R1 ok=2
at=2026-11-23T15:10:04.000Z status=ok op=deploy stack=/a prev=R1 run=R2
at=2026-11-23T15:10:05.000Z status=ok op=deploy stack=/b prev=R1 run=R2
at=2026-11-23T15:10:05.001Z event=finished run=R2 ok=2`},

	// Another process of the run has queued the stack, and named what it followed.
	"a run in several processes": {func(w *basisWorld, between func(process)) {
		first := w.writer()
		w.add(first, result(note.OK, "/a", "R1"))
		announcer := w.writer()
		st := w.know(announcer)
		between(announcer)
		w.add(announcer, w.follow(st, note.Queued, "/a", "R2"))
		worker := w.writer()
		between(worker)
		w.know(worker)
		w.add(worker, result(note.Running, "/a", "R2")) // which follows nothing of its own knowledge
		between(worker)
		w.add(worker, result(note.Failed, "/a", "R2"))
	}, `at=2026-11-23T15:10:01.000Z status=ok op=deploy stack=/a run=R1
at=2026-11-23T15:10:01.003Z status=failed op=deploy stack=/a prev=R1 run=R2`},

	// What comes after the basis is followed only if it becomes the basis, or is said.
	"a rival in between": {func(w *basisWorld, between func(process)) {
		s, rival := w.writer(), w.writer()
		st := w.know(s)
		w.add(s, w.follow(st, note.Queued, "/a", "R1"), w.follow(st, note.Queued, "/b", "R1"))
		w.move(time.Minute)
		seen := w.know(rival)
		w.add(rival, w.follow(seen, note.OK, "/a", "R2"), w.follow(seen, note.OK, "/b", "R2"))
		w.move(-time.Minute) // the clock of the first is behind
		between(s)
		w.add(s, w.follow(st, note.OK, "/a", "R1"))
		now := w.know(s)
		s.Exactly("", "/b")
		w.add(s, w.follow(now, note.OK, "/b", "R1"))
	}, `at=2026-11-23T15:10:01.001Z status=ok op=deploy stack=/a run=R1
at=2026-11-23T15:11:01.000Z status=ok op=deploy stack=/a prev=R1 run=R2
at=2026-11-23T15:11:01.000Z status=ok op=deploy stack=/b prev=R1 run=R2
at=2026-11-23T15:11:01.001Z status=ok op=deploy stack=/b prev=R2 run=R1`},

	"a writer that knows nothing": {func(w *basisWorld, between func(process)) {
		w.add(w.writer(), result(note.OK, "/a", "R1"))
		w.move(-time.Hour)
		s := w.writer()
		between(s)
		w.add(s, result(note.OK, "/a", "R2"), result(note.OK, "/a", "R2"))
	}, `at=2026-11-23T14:10:01.000Z status=ok op=deploy stack=/a run=R2
at=2026-11-23T14:10:01.001Z status=ok op=deploy stack=/a run=R2
at=2026-11-23T15:10:01.000Z status=ok op=deploy stack=/a run=R1`},
}

// What is recorded does not depend on who reads the state meanwhile.
func TestBasis(t *testing.T) {
	t.Parallel()
	for name, sequence := range sequences {
		for reading, between := range map[string]func(process){
			"nobody reads": func(process) {},
			"others read":  func(s process) { must[*State](t)(s.State(context.Background())) },
		} {
			t.Run(name+", "+reading, func(t *testing.T) {
				t.Parallel()
				w := newBasisWorld(t)
				sequence.do(w, between)
				if got := w.note(); got != sequence.want {
					t.Errorf("the note is\n%s\nwant\n%s", got, sequence.want)
				}
			})
		}
	}
}

// A basis that was read earlier does not take the place of a later one.
func TestBasisGoesOn(t *testing.T) {
	t.Parallel()
	w := newBasisWorld(t)
	s := w.writer()
	old := w.know(s)
	w.move(time.Minute)
	w.add(w.writer(), result(note.OK, "/a", "R1"))
	w.move(-time.Minute)
	st := w.know(s)
	s.Follow(old)
	w.add(s, w.follow(st, note.OK, "/a", "R2"))
	if got := w.note(); !strings.HasSuffix(got, "at=2026-11-23T15:11:01.001Z status=ok op=deploy stack=/a prev=R1 run=R2") {
		t.Errorf("the note is\n%s", got)
	}
}

// Many read, many record, some set the basis: the race detector has nothing to say, and
// of each stack the records are in the order in which they were made.
func TestStateWhileAppending(t *testing.T) {
	t.Parallel()
	w := newBasisWorld(t)
	s := w.writer()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			stack := fmt.Sprint("/s", i)
			for k := range 10 {
				if err := s.AppendLazily(w.head, result(note.OK, stack, fmt.Sprint("R", k))); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for k := range 5 {
				st, err := s.State(context.Background())
				if err == nil {
					_, err = st.Latest(note.Slot{ID: "", Path: fmt.Sprint("/s", k%4), Target: "", Op: note.Deploy})
				}
				if err != nil {
					t.Error(err)
				} else if i == 0 {
					s.Follow(st)
				}
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		var last string
		for _, line := range strings.Split(w.note(), "\n") {
			if strings.Contains(line, fmt.Sprintf("stack=/s%d ", i)) {
				last = line
			}
		}
		if !strings.HasSuffix(last, "run=R9") {
			t.Errorf("the last of /s%d is %s", i, last)
		}
	}
}
