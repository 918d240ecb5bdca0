package gitstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// A remote may read older than it writes: fetches go to a cache or a replica that lags,
// pushes to the primary. A push that is not on top of what is there is rejected; where
// the next fetch does not bring what was in its way, the notes that decide are not
// the remote's. What this process knows to be there itself, it builds upon.

// ErrLagging is wrapped by errors of a remote whose fetches do not bring what its pushes
// find there.
var ErrLagging = errors.New("fetches lag behind pushes")

// maxLag is how long the read side of a remote may take to catch up at most.
const maxLag = time.Minute

// Announce is Push for what is about to be done. It does not go past notes that cannot
// be read: it waits a while for them, and then is an ErrLagging. fetched is as with
// PushFetched.
func (r Remote) Announce(ctx context.Context, fetched bool) (Traveled, error) {
	return r.store.pushAll(ctx, r.name, pushMode{fetched: fetched, announce: true})
}

// FetchCurrent is Fetch for who must know what is there now, as does one who has claimed a
// stack that another had: where fetches and pushes go to different places it makes sure that the
// one has what the other has, waits a while for it, and then is an ErrLagging.
func (r Remote) FetchCurrent(ctx context.Context) (Traveled, error) {
	s, remote := r.store, r.name
	tr := Traveled{Remote: remote}
	ctx, done, err := s.turn(ctx, remote, s.lagPatience)
	if err != nil {
		return tr, err
	}
	defer done()
	tips, err := s.fetch(ctx, remote, notesAndSpool, &tr)
	if err != nil || !s.mayLag(ctx, remote) {
		return tr, err
	}
	for range 20 {
		err := s.dryPush(ctx, remote, tips.base)
		if !errors.Is(err, errContended) {
			return tr, err
		}
		if err := s.catchUp(ctx, remote, tips.main, &tr); err != nil {
			return tr, err
		}
		if tips, err = s.fetch(ctx, remote, nothing, &tr); err != nil {
			return tr, err
		}
	}
	return tr, s.lagging(ctx, remote)
}

// dryPush asks the side that takes pushes whether the notes stand on a commit there, or on
// one before it; on none, if it is zero. errContended: they do not.
func (s *Store) dryPush(ctx context.Context, remote string, tip plumbing.Hash) error {
	options := []string{"--dry-run"}
	if tip.IsZero() {
		local, err := s.repo.Resolve(s.ref)
		if err != nil || local.IsZero() {
			return err // nothing to ask with
		}
		tip, options = local, append(options, "--force-with-lease="+s.ref+":")
	}
	return s.push(ctx, remote, options, tip.String()+":"+s.ref)
}

// mayLag reports whether fetches and pushes go to different places, or were seen to differ.
func (s *Store) mayLag(ctx context.Context, remote string) bool {
	if s.lagged.Load() {
		return true
	}
	if apart, known := s.apart.Load(remote); known {
		return apart.(bool)
	}
	fetches, pushes, err := s.urls(ctx, remote)
	apart := err == nil && !slices.Contains(pushes, fetches)
	s.apart.Store(remote, apart)
	return apart
}

// catchUp fetches until the notes of a remote are others than those that a push was not on
// top of. Of a rival's push that is so at once.
func (s *Store) catchUp(ctx context.Context, remote string, stale plumbing.Hash, tr *Traveled) error {
	end := time.Now().Add(s.lagPatience)
	for try := 0; ; try++ {
		tips, err := s.fetch(ctx, remote, notesAlone, tr)
		if err != nil || tips.main != stale {
			return err
		}
		if !s.lagged.Swap(true) {
			s.warn(fmt.Sprintf("fetches from %s do not bring yet what a push found there; waiting for them for up to %v", remote, s.lagPatience))
		}
		if time.Now().After(end) {
			return s.lagging(ctx, remote)
		}
		if err := pause(ctx, min(backoff(try, 200*time.Millisecond, 5*time.Second), time.Until(end)+time.Millisecond)); err != nil {
			return err
		}
	}
}

func (s *Store) lagging(ctx context.Context, remote string) error {
	fetches, pushes, err := s.urls(ctx, remote)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrLagging, remote)
	}
	fetches, pushed := s.redactor.Text(fetches, 300), s.redactor.Text(pushes[0], 300)
	if fetches == pushed {
		return fmt.Errorf("%w: %s (%s) has newer notes than it gives to a fetch, a cache or replica of it may be behind", ErrLagging, remote, fetches)
	}
	return fmt.Errorf("%w: fetches from %s (%s) do not bring the notes that pushes find at %s", ErrLagging, remote, fetches, pushed)
}

// newest is the newest that is known to stand on a remote: what was read, or what was
// read or pushed before, if that is on top of it.
func (s *Store) newest(ctx context.Context, remote string, before, after plumbing.Hash) (plumbing.Hash, error) {
	s.mu.Lock()
	known := s.known[remote]
	s.mu.Unlock()
	best := after
	for _, later := range []plumbing.Hash{before, known} {
		if later.IsZero() || later == best {
			continue
		}
		if !best.IsZero() {
			on, err := s.isAncestor(ctx, best, later)
			if err != nil {
				return best, err
			}
			if !on {
				continue
			}
		}
		best = later
	}
	s.nowKnown(remote, best)
	return best, nil
}

func (s *Store) nowKnown(remote string, tip plumbing.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]plumbing.Hash{}
	}
	s.known[remote] = tip
}

// sayChanged tells what became of the notes on the remote since they were fetched last, if
// that is not what records do.
func (s *Store) sayChanged(remote string, before plumbing.Hash, after remoteTips, tr *Traveled) error {
	if after.base != after.main {
		if !s.saidOlder.Swap(true) {
			s.warn(fmt.Sprintf("%s on %s is older than it was: it was moved back or deleted, or fetches lag behind pushes; nothing is lost, and the next push brings it up to date", s.ref, remote))
		}
		return nil
	}
	if before == after.main || before.IsZero() {
		return nil
	}
	lines, err := s.takenAway(before, after.main)
	if err != nil {
		return err
	}
	if tr.Returned += lines; lines > 0 {
		s.warn(fmt.Sprintf("%d lines had been removed from the notes on %s and are put back; `tmnotes forget` is the way to remove a record everywhere", lines, remote))
	}
	return nil
}
