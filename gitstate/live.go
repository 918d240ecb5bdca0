package gitstate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// A process that works on a run holds a lock on a file of its own below
// .git/tmnotes/live/. The lock goes with the process, however it ends, so that
// a queued or running record of a run that nobody holds is an interrupted one.
// (A process number would say less: they are given out again.)

// Live marks this process as the one that works on the run (and, if it is one
// of several, on the stack) until the function that it returns is called.
func (s *Store) Live(run, stack string) (done func(), err error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	path := s.livePath(run, stack)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	l := flock.New(path, lockMode)
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("marking the run as live: %w", err)
	}
	return func() { os.Remove(path); l.Close() }, nil
}

func (s *Store) livePath(run, stack string) string {
	name := "run-" + run // never "..", whatever a note says
	if stack != "" {
		name += "~" + Digest(stack)[:16]
	}
	return filepath.Join(s.private, "live", name)
}

// liveness of a run's work on a stack, as far as this machine can tell.
type liveness int

const (
	elsewhere liveness = iota // no process here took part
	alive
	gone
)

func (s *Store) liveness(run, stack string) (liveness, error) {
	for _, of := range []string{stack, ""} {
		path := s.livePath(run, of)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return elsewhere, err
		}
		l := flock.New(path, flock.SetFlag(os.O_RDONLY))
		ok, err := l.TryRLock()
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended just now
		}
		if err != nil {
			return elsewhere, fmt.Errorf("looking whether run %s is live: %w", run, err)
		}
		l.Close()
		if ok {
			return gone, nil
		}
		return alive, nil
	}
	return elsewhere, nil
}

// sweepLive removes the marks of processes that are gone and of whose runs no
// record waits any more.
func (s *Store) sweepLive(waiting func(run string) bool) {
	list, _ := os.ReadDir(filepath.Join(s.private, "live"))
	for _, d := range list {
		run, _, _ := strings.Cut(strings.TrimPrefix(d.Name(), "run-"), "~")
		if waiting(run) {
			continue
		}
		path := filepath.Join(s.private, "live", d.Name())
		l := flock.New(path, flock.SetFlag(os.O_RDWR))
		if ok, err := l.TryLock(); err == nil && ok {
			os.Remove(path)
			l.Close()
		}
	}
}
