package gitstate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A process that works on a run holds a lock on a file of its own below
// .git/tmnotes/live/. The lock goes with the process, however it ends, and with the
// commands that inherited it, so that a queued or running record of a run that
// nobody holds is an interrupted one. (A process number would say less: they are
// given out again.)
//
// The file says of which machine and of which file system entry it is. In a copy of
// the clone that is not so, and the copy says nothing of who works in the original.

// Mark is what [Writer.Live] made.
type Mark struct {
	by     *Writer
	run    string
	file   *os.File
	lock   io.Closer
	holder string // what claims of this process say
}

// Inherited are files that a command of the run is to inherit, so that it is seen to
// be alive also where this process was killed. None on Windows, where a lock is the
// process's own.
func (m *Mark) Inherited() []*os.File {
	if m == nil || !git.Inheritable {
		return nil
	}
	return []*os.File{m.file}
}

// Done takes the mark away: what was to be done is done.
func (m *Mark) Done() {
	m.by.mu.Lock()
	if m.by.lives[m.run] == m {
		delete(m.by.lives, m.run)
	}
	m.by.mu.Unlock()
	// First, since what a command left in the background holds the lock on; Windows
	// removes no open file.
	err := os.Remove(m.file.Name())
	m.lock.Close()
	m.file.Close()
	if err != nil {
		os.Remove(m.file.Name())
	}
}

// Live marks this process as the one that works on the run (and, if it is one
// of several, on the stack, or on a leg: see LegName) until Done is called.
func (w *Writer) Live(run, stack string) (*Mark, error) {
	s := w.store
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	dir := s.liveDir()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	s.sweepLive(dir)
	// A file of its own for each process: nobody waits for anybody here.
	m := &Mark{by: w, run: run, holder: ulid.Make().String()}
	path := filepath.Join(dir, liveName(run, stack)+m.holder)
	var err error
	if m.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err == nil {
		var where string
		if where, err = identify(path); err == nil {
			if _, err = m.file.WriteString(where + "\n"); err == nil {
				m.lock, err = git.LockMark(m.file)
			}
		}
		if err != nil {
			m.file.Close()
			os.Remove(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("marking the run as live: %w", err)
	}
	w.mu.Lock()
	w.lives[run] = m
	w.mu.Unlock()
	return m, nil
}

func (s *Store) liveDir() string { return filepath.Join(s.private, "live") }

// wrote has the mark say that its process recorded something so late: it speaks for no
// later record, which is another clone's.
func (m *Mark) wrote(at time.Time) { _ = os.Chtimes(m.file.Name(), at, at) }

func liveName(run, stack string) string {
	name := "run-" + run + "~" // never "..", whatever a note says
	if stack != "" {
		name += note.Digest(stack)[:16] + "~"
	}
	return name
}

// liveness of a process, as far as this machine can tell.
type liveness int

const (
	elsewhere liveness = iota // no process here took part
	alive
	gone
)

// liveness of a run's work on a stack, of which a record says at a time.
func (s *Store) liveness(run, stack string, leg int, at time.Time) (liveness, error) {
	list, err := s.marks()
	if err != nil {
		return elsewhere, err
	}
	all := "" // whose end is the end of the record's stack, too
	if leg > 0 {
		all = note.LegName(leg)
	}
	for _, name := range []string{liveName(run, stack), liveName(run, all)} {
		found := elsewhere
		for _, d := range list {
			// What follows the name is one word, so the run's own mark is not
			// taken for that of one of its stacks.
			if rest, ok := strings.CutPrefix(d.Name(), name); !ok || strings.Contains(rest, "~") {
				continue
			}
			is, err := s.became(d)
			if err != nil {
				return elsewhere, fmt.Errorf("looking whether run %s is live: %w", run, err)
			}
			if is == alive {
				return alive, nil
			}
			// A run may be taken up again in another clone.
			if info, err := d.Info(); is == gone && err == nil && !at.After(info.ModTime().Add(time.Second)) {
				found = gone
			}
		}
		if found == gone {
			return gone, nil
		}
	}
	return elsewhere, nil
}

// holderLives is the liveness of who holds a claim.
func (s *Store) holderLives(holder string) (liveness, error) {
	list, err := s.marks()
	if err != nil {
		return elsewhere, err
	}
	for _, d := range list {
		if holder == "" || !strings.HasSuffix(d.Name(), "~"+holder) {
			continue
		}
		is, err := s.became(d)
		if err != nil {
			return elsewhere, fmt.Errorf("checking whether the holder of a lock is alive: %w", err)
		}
		return is, nil
	}
	return elsewhere, nil
}

func (s *Store) marks() ([]os.DirEntry, error) {
	list, err := os.ReadDir(s.liveDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// became tells what became of the process of a mark. Of a mark that came here with a
// copy of the clone, or that was made before this machine started, that is not known.
func (s *Store) became(d os.DirEntry) (liveness, error) {
	path := filepath.Join(s.liveDir(), d.Name())
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := l.TryRLock()
	if errors.Is(err, os.ErrNotExist) {
		return elsewhere, nil // it ended just now
	}
	if err != nil {
		return elsewhere, err
	}
	defer l.Close()
	if !free {
		return alive, nil
	}
	says, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return elsewhere, nil
	}
	if err != nil {
		return elsewhere, err
	}
	is, err := identify(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(says)) != is {
		return elsewhere, nil
	}
	return gone, err
}

// sweepLive removes the marks of processes that are gone, and so long ago that
// what they left behind counts as interrupted without them.
func (s *Store) sweepLive(dir string) {
	list, _ := os.ReadDir(dir)
	for _, d := range list {
		info, err := d.Info()
		if err != nil || s.now().Sub(info.ModTime()) < max(2*s.staleAfter, 24*time.Hour) {
			continue
		}
		path := filepath.Join(dir, d.Name())
		l := flock.New(path, flock.SetFlag(os.O_RDWR))
		if ok, err := l.TryLock(); err == nil && ok {
			l.Close()
			os.Remove(path)
		}
	}
}
