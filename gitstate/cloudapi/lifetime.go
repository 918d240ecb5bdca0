package cloudapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// How a run comes into the memory of the server, and leaves it.

// forgetAfter is when a run that has not ended is forgotten, if nobody asks for it.
const forgetAfter = 6 * time.Hour

const notRecorded = "the run could not be recorded: nothing was executed"

// begin keeps a run in memory, and marks it as one that this process works on.
func (s *Server) begin(r *run) error {
	s.evict()
	r.done, r.asked = func() {}, s.opt.Now()
	if s.opt.Live != nil && !s.opt.DryRun && !r.finished {
		done, err := s.opt.Live(r.id)
		if err != nil {
			return err
		}
		r.done, r.live = done, true
	}
	s.runs[r.id] = r
	return nil
}

// leave says that this process does not work on the run any more.
func (r *run) leave() {
	r.done()
	r.done, r.live = func() {}, false
}

// evict forgets runs that have ended, the oldest first, and those that nobody comes
// back to. What may still be asked of them is in the notes. A run that this process
// answers for is kept until it is settled.
func (s *Server) evict() {
	var ended []*run
	for _, r := range s.runs {
		switch {
		case !r.live && s.opt.Now().Sub(r.asked) > forgetAfter:
			maps.DeleteFunc(s.drifts, func(_ driftKey, d *run) bool { return d == r })
			r.closed = true
			s.keepLogs(r)
			_ = s.end(r) // what could not be recorded all the time is an interrupted run by now
			s.forget(r)
		case r.finished:
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b *run) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.id, b.id)) })
	for _, r := range ended[:max(len(ended)-s.most+1, 0)] {
		s.forget(r)
	}
}

func (s *Server) forget(r *run) {
	r.leave()
	delete(s.runs, r.id)
}

// open records the head of a run and what it begins with. Where it fails, the run
// is undone.
func (s *Server) open(r *run, records ...*note.Record) error {
	if err := s.begin(r); err != nil {
		return err
	}
	if err := s.append(r, records...); err != nil {
		return s.undo(r, err, notRecorded)
	}
	return nil
}

// undo takes back a run that must not go on because of err, which it returns: as if
// it had never been where nothing of it can be read, else what was announced is
// withdrawn, now or when the server ends.
func (s *Server) undo(r *run, err error, reason string) error {
	r.closed = true
	readable, _, rerr := s.readable(r, 0)
	if !readable && rerr == nil {
		s.forget(r)
		return err
	}
	r.undone = reason
	werr := s.end(r)
	r.leave()
	return withLate(err, werr)
}

func withLate(err, late error) error {
	if late == nil {
		return err
	}
	return fmt.Errorf("%w (nor could it be recorded that nothing was begun: %v)", err, late)
}

// undoOne takes back a stack of a run that goes on.
func (s *Server) undoOne(r *run, number int64, err error) error {
	_, readable, rerr := s.readable(r, number)
	if !readable && rerr == nil {
		delete(r.stacks, number)
		return err
	}
	return withLate(err, s.change(r, r.stacks[number], note.Canceled, notRecorded, nil))
}

// readable says whether the notes and the journal have anything of a run, and of a
// stack in it.
func (s *Server) readable(r *run, number int64) (any, one bool, err error) {
	lines, err := s.store.Note(r.commit)
	for _, l := range lines {
		if rec := l.Record; l.Err == nil && rec.Run == r.id {
			any = true
			one = one || rec.Status != "" && stackID(rec.Target, rec.ID) == number
		}
	}
	return any, one, err
}

// end records what is to be said at last of a run as it is.
func (s *Server) end(r *run) error {
	if r.undone != "" {
		return s.withdraw(r, r.undone)
	}
	return s.finish(r)
}

// withdraw records that what was announced is not going to happen.
func (s *Server) withdraw(r *run, reason string) error {
	r.closed = true
	for _, e := range r.stacks {
		if e.open() {
			var err error
			if r.undone != "" && e.rec.Status == note.Queued && !s.opt.DryRun {
				err = s.withdrawOne(r, e, reason)
			} else {
				err = s.change(r, e, note.Canceled, reason, nil)
			}
			if err != nil {
				return err
			}
		}
	}
	return s.finish(r)
}

// withdrawOne makes it as if a stack that was only announced had never been, also to who
// deploys it before that comes to the remote.
func (s *Server) withdrawOne(r *run, e *entry, reason string) error {
	r.asked = s.opt.Now()
	if err := s.writer.Withdraw(r.commit, &e.rec, note.Record{By: s.who(), Reason: reason}); err != nil {
		return err
	}
	if s.opt.Recorded != nil {
		s.opt.Recorded(r.op)
	}
	e.rec.Status, e.withdrawn = note.Canceled, true // to the CLI
	return nil
}

// who is named where a record is made by hand, or taken back.
func (s *Server) who() string { return cmp.Or(s.opt.By, s.store.Who(context.Background())) }

// Close ends the server: it answers nothing from now on, and returns when what it was
// answering has been answered. It ends what has no open stacks, and keeps what was
// said so far: the CLIs may come back to another server. To close again tries again what
// failed, and does no more.
func (s *Server) Close() error {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.closeDrifts()
	for _, r := range s.runs {
		s.keepLogs(r)
		if eerr := s.end(r); err == nil {
			err = eerr
		}
	}
	return err
}

// Settle is Close where the CLI is gone: it ends every run that was begun here and has
// stacks that are queued or running, and returns how many stacks that were.
func (s *Server) Settle(reason string) (open int, err error) {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		for _, e := range r.stacks {
			if e.open() {
				open++
			}
		}
		if werr := s.withdraw(r, cmp.Or(r.undone, reason)); err == nil {
			err = werr
		}
		r.leave()
	}
	return open, err
}

func (s *Server) keepLogs(r *run) {
	for _, e := range r.stacks {
		s.keepLog(e, note.Canceled) // it has not ended, and will not
	}
}
