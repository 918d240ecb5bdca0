package gitstate

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Writer is what a process records by: its own file of the journal, the marks that say what it is at,
// and what it knows of, by which its records get their times and what they follow. It may be used from
// several goroutines. The state that others read through the Store changes nothing in it.
//
// Its methods fail with [ErrReadOnly] where the repository cannot be written, and with a
// [note.RecordError] where a record cannot be one; other errors are the disk's. What an error is
// returned for is not acknowledged.
type Writer struct {
	store     *Store
	file      *journal.Journal
	localFile *journal.Journal // of what stays here

	mu         sync.Mutex           // guards what follows
	basis      *State               // see Follow
	exact      map[string]bool      // by ident: see Exactly
	lastAt     map[string]time.Time // by ident: what was recorded
	lastResult time.Time            // the latest of these
	local      map[string]bool      // by run: whether its records stay here
	lives      map[string]*Mark     // by run: what this process works on
	vouching
}

// Writer makes a writer, with a file of the journal that is the run's own: processes that take part in
// one run on one machine share it.
func (s *Store) Writer(run string) *Writer {
	file := func(of *journal.Journal) *journal.Journal {
		return &journal.Journal{Dir: of.Dir, Name: journalName(run), Say: of.Say}
	}
	w := &Writer{store: s, file: file(s.journal), localFile: file(s.localJournal),
		exact: map[string]bool{}, lastAt: map[string]time.Time{}, local: map[string]bool{}, lives: map[string]*Mark{}}
	s.signs(w, run)
	return w
}

func journalName(run string) string { return "run-" + run + ".log" }

// Append acknowledges records for a commit: when it returns they are in the
// journal and on the disk, and no crash, race or refused push loses them. A
// record without a time gets one that is later than that of every record of
// its stack that was recorded by it or that it follows. Reason and Cmd are redacted.
func (w *Writer) Append(commit string, records ...*note.Record) error {
	return w.append(commit, true, records)
}

// AppendLazily is Append without waiting for the disk: the records survive the
// death of this process, but the machine's only after the next Append or Sync.
func (w *Writer) AppendLazily(commit string, records ...*note.Record) error {
	return w.append(commit, false, records)
}

// Sync makes durable what AppendLazily wrote.
func (w *Writer) Sync() error { return errors.Join(w.file.Sync(), w.localFile.Sync()) }

func (w *Writer) append(commit string, sync bool, records []*note.Record) error {
	entries, err := w.entries(commit, records)
	if err != nil {
		return err
	}
	local := w.staysHere(records)
	if local {
		err = w.appendLocal(entries, sync)
	} else {
		err = w.file.Append(entries, sync)
	}
	if err == nil {
		w.toSign(entries, records, local)
	}
	return err
}

// entries makes records ready to be acknowledged.
func (w *Writer) entries(commit string, records []*note.Record) ([]journal.Entry, error) {
	if w.store.readOnly != nil {
		return nil, w.store.readOnly
	}
	if !plumbing.IsHash(commit) {
		return nil, fmt.Errorf("%q is not the full name of a commit", commit)
	}
	entries := make([]journal.Entry, 0, len(records))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range records {
		w.stamp(r)
		r.SayCommit(commit)
		if r.Reason != "" {
			r.Reason = w.store.redactor.Text(r.Reason, 500)
		}
		if r.Cmd != "" {
			r.Cmd = w.store.redactor.Text(r.Cmd, 1000)
		}
		line, err := r.Line()
		if err != nil {
			return nil, &note.RecordError{Commit: commit, Err: err}
		}
		entries = append(entries, journal.Entry{Commit: plumbing.NewHash(commit), Line: line})
		if m := w.lives[r.Run]; m != nil && r.Status.Open() {
			m.wrote(r.At)
		}
	}
	return entries, nil
}

// Follow says what the writer knows of: what it records from now on is later than the records in st,
// and comes in the place of earlier ones of its run. A state that was read before the one that is followed
// changes nothing.
func (w *Writer) Follow(st *State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.basis == nil || !st.read.Before(w.basis.read) {
		w.basis = st
	}
}

// Exactly says that records of a stack follow what they say and no more. Otherwise
// they follow as well what the earlier ones of their run did, in whose place they come.
func (w *Writer) Exactly(id, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exact[ident(id, path)] = true
}

// stamp gives the record a time, later than those it follows.
func (w *Writer) stamp(r *note.Record) {
	if r.At.IsZero() {
		r.At = w.store.now()
	}
	r.At = r.At.UTC().Truncate(time.Millisecond)
	if r.Stack == "" {
		// The end of a run comes after its last result.
		if r.Event == note.Finished && !r.At.After(w.lastResult) {
			r.At = w.lastResult.Add(time.Millisecond)
		}
		return
	}
	of := ident(r.ID, r.Stack)
	last := w.lastAt[of]
	if w.basis != nil {
		if r.Status != "" && !w.exact[of] {
			r.Prev = w.basis.follows(r)
		}
		if t := w.basis.newestAt(r.ID, r.Stack); t.After(last) {
			last = t
		}
	}
	if !r.At.After(last) {
		r.At = last.Add(time.Millisecond)
	}
	w.lastAt[of] = r.At
	if r.At.After(w.lastResult) {
		w.lastResult = r.At
	}
}

const maxSkew = 10 * time.Minute

// newestAt is the time of the newest record of a stack that is known, of any
// operation and target. A time that is further ahead of this machine's clock
// than clocks are wrong is not counted.
func (st *State) newestAt(id, path string) time.Time {
	st.once.Do(func() {
		st.newest = make(map[string]time.Time, len(st.x.slots))
		limit := st.s.now().Add(maxSkew)
		for k, s := range st.x.slots {
			for _, h := range s.heads {
				if h.At.After(st.newest[k.ident]) && h.At.Before(limit) {
					st.newest[k.ident] = h.At
				}
			}
		}
	})
	var at time.Time
	for _, of := range idents(id, path) {
		if t := st.newest[of]; t.After(at) {
			at = t
		}
	}
	return at
}

// follows are the runs that a record follows: those that it names, and those
// that earlier records of its own run followed, in whose place it comes.
func (st *State) follows(r *note.Record) []string {
	prev := r.Prev
	for _, backend := range append(st.backends(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op}), "") {
		k := keyOf(r)
		k.backend = backend
		of := st.x.slots[k]
		if of == nil {
			continue
		}
		for _, h := range of.heads {
			if h.Run != r.Run {
				continue
			}
			for _, p := range h.Prev {
				if p != r.Run && !slices.Contains(prev, p) {
					prev = append(slices.Clone(prev), p)
				}
			}
		}
	}
	return prev
}
