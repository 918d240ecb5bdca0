package gitstate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// A process that works on a run holds a lock on a file of its own below
// .git/tmnotes/live/. The lock goes with the process, however it ends, so that
// a queued or running record of a run that nobody holds is an interrupted one.
// (A process number would say less: they are given out again.)

// Live marks this process as the one that works on the run (and, if it is one
// of several, on the stack, or on a leg: see LegName) until the function that it
// returns is called.
func (s *Store) Live(run, stack string) (done func(), err error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	dir := filepath.Join(s.private, "live")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	s.sweepLive(dir)
	// A file of its own for each process: nobody waits for anybody here.
	f, err := os.CreateTemp(dir, liveName(run, stack)+"*")
	if err != nil {
		return nil, err
	}
	f.Close()
	l := flock.New(f.Name(), lockMode)
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("marking the run as live: %w", err)
	}
	return func() { l.Close(); os.Remove(f.Name()) }, nil
}

func liveName(run, stack string) string {
	name := "run-" + run + "~" // never "..", whatever a note says
	if stack != "" {
		name += Digest(stack)[:16] + "~"
	}
	return name
}

// liveness of a run's work on a stack, as far as this machine can tell.
type liveness int

const (
	elsewhere liveness = iota // no process here took part
	alive
	gone
)

func (s *Store) liveness(run, stack string, leg int) (liveness, error) {
	dir := filepath.Join(s.private, "live")
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return elsewhere, nil
	}
	if err != nil {
		return elsewhere, err
	}
	all := "" // whose end is the end of the record's stack, too
	if leg > 0 {
		all = LegName(leg)
	}
	for _, name := range []string{liveName(run, stack), liveName(run, all)} {
		found := elsewhere
		for _, d := range list {
			// What follows the name is a number, so the run's own mark is not
			// taken for that of one of its stacks.
			if rest, ok := strings.CutPrefix(d.Name(), name); !ok || strings.Contains(rest, "~") {
				continue
			}
			l := flock.New(filepath.Join(dir, d.Name()), flock.SetFlag(os.O_RDONLY))
			ok, err := l.TryRLock()
			if errors.Is(err, os.ErrNotExist) {
				continue // it ended just now
			}
			if err != nil {
				return elsewhere, fmt.Errorf("looking whether run %s is live: %w", run, err)
			}
			l.Close()
			if !ok {
				return alive, nil
			}
			found = gone
		}
		if found == gone {
			return gone, nil
		}
	}
	return elsewhere, nil
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
