package gitstate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Append acknowledges records for a commit: when it returns they are in the
// journal and on the disk, and no crash, race or refused push loses them. A
// record without a time gets one that is later than that of every record of
// its stack that this store recorded or that its Basis has. Reason and Cmd are redacted.
func (s *Store) Append(commit string, records ...*note.Record) error {
	return s.append(commit, true, records)
}

// AppendLazily is Append without waiting for the disk: the records survive the
// death of this process, but the machine's only after the next Append or Sync.
func (s *Store) AppendLazily(commit string, records ...*note.Record) error {
	return s.append(commit, false, records)
}

// Sync makes durable what AppendLazily wrote.
func (s *Store) Sync() error { return errors.Join(s.journal.Sync(), s.localJournal.Sync()) }

func (s *Store) append(commit string, sync bool, records []*note.Record) error {
	entries, err := s.entries(commit, records)
	if err != nil {
		return err
	}
	s.mu.Lock()
	local := s.staysHere(records)
	s.mu.Unlock()
	if local {
		return s.appendLocal(entries, sync)
	}
	return s.journal.Append(entries, sync)
}

// entries makes records ready to be acknowledged.
func (s *Store) entries(commit string, records []*note.Record) ([]journal.Entry, error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	if !plumbing.IsHash(commit) {
		return nil, fmt.Errorf("%q is not the full name of a commit", commit)
	}
	entries := make([]journal.Entry, 0, len(records))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		s.stamp(r)
		r.SayCommit(commit)
		if r.Reason != "" {
			r.Reason = s.redactor.Text(r.Reason, 500)
		}
		if r.Cmd != "" {
			r.Cmd = s.redactor.Text(r.Cmd, 1000)
		}
		line, err := r.Line()
		if err != nil {
			return nil, &note.RecordError{Commit: commit, Err: err}
		}
		entries = append(entries, journal.Entry{Commit: plumbing.NewHash(commit), Line: line})
		if m := s.lives[r.Run]; m != nil && r.Status.Open() {
			m.wrote(r.At)
		}
	}
	return entries, nil
}

// Exactly says that records of a stack follow what they say and no more. Otherwise
// they follow as well what the earlier ones of their run did, in whose place they come.
func (s *Store) Exactly(id, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exact[ident(id, path)] = true
}

// stamp gives the record a time, later than those it follows.
func (s *Store) stamp(r *note.Record) {
	if r.At.IsZero() {
		r.At = s.now()
	}
	r.At = r.At.UTC().Truncate(time.Millisecond)
	if r.Stack == "" {
		// The end of a run comes after its last result.
		if r.Event == note.Finished && !r.At.After(s.lastResult) {
			r.At = s.lastResult.Add(time.Millisecond)
		}
		return
	}
	of := ident(r.ID, r.Stack)
	last := s.lastAt[of]
	if s.basis != nil {
		if r.Status != "" && !s.exact[of] {
			r.Prev = s.basis.follows(r)
		}
		if t := s.basis.newestAt(r.ID, r.Stack); t.After(last) {
			last = t
		}
	}
	if !r.At.After(last) {
		r.At = last.Add(time.Millisecond)
	}
	s.lastAt[of] = r.At
	if r.At.After(s.lastResult) {
		s.lastResult = r.At
	}
}

// Basis says what the caller knows, who is going to record: records that are appended from
// now on are later than those in st, and come in the place of earlier ones of their run. A
// state that was read before the present basis changes nothing.
func (s *Store) Basis(st *State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.basis == nil || st.read >= s.basis.read {
		s.basis = st
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
