package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"
)

// Claimer is the claims of one process on a remote. Its methods may be called
// from several goroutines.
type Claimer struct {
	s      *Store
	remote string
	about  Claim // what they have in common
	holder string
	// Poll is how often claims of others are worth another look.
	Poll time.Duration

	net sync.Mutex // held while claims that are held are pushed

	mu    sync.Mutex
	held  map[string]*holding // by ref
	seen  map[string]sighting // others', by ref
	tried map[plumbing.Hash]bool
	wake  chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

// sighting is another's claim, and since when it stands unchanged, as far as was seen.
type sighting struct {
	claim       Claim
	first, last time.Time // the end of the first look, the beginning of the last
	gone        bool      // its process was one of this clone, and is no more
}

func (v *sighting) expired() bool { return v.gone || v.last.Sub(v.first) >= v.claim.Lease }

// holding is a claim that is held.
type holding struct {
	claim   Claim
	since   time.Time // when the last push that went through began
	fetched bool      // the notes were fetched since it was claimed
	gone    bool      // it is another's now, or nobody's
	hold    context.Context
	lose    context.CancelCauseFunc
	giveUp  *time.Timer
}

// NewClaimer makes ready to claim stacks on a remote. about has what all claims
// say: Commit, Run, By, Job and Lease. Close ends it.
func (s *Store) NewClaimer(remote string, about Claim) *Claimer {
	c := &Claimer{s: s, remote: remote, about: about, holder: ulid.Make().String(), Poll: min(about.Lease/10, 5*time.Second),
		held: map[string]*holding{}, seen: map[string]sighting{}, tried: map[plumbing.Hash]bool{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go c.renewing()
	return c
}

// Taken is what became of a stack that was to be claimed: it may be worked on
// under Hold, or another has it (By), or neither is known yet.
type Taken struct {
	Hold context.Context // ends where the claim may be lost before the work is done
	By   *Claim
}

// Take claims those of the stacks that are free, in one push, and then fetches
// the notes: what others did before they let go of a stack is in them. Want has
// Stack, ID and Target. The error wraps ErrClaims where the remote takes no claims,
// ErrRemote where it cannot be asked.
func (c *Claimer) Take(ctx context.Context, want []Claim) ([]Taken, error) {
	refs := make([]string, len(want))
	for i := range want {
		refs[i] = c.s.claimRef(&want[i])
	}
	fresh := false
	for range 3 {
		if !fresh && c.unfetched(refs) {
			if err := c.look(ctx); err != nil {
				return nil, err
			}
		}
		free := c.free(want, refs)
		if len(free) == 0 {
			break
		}
		err := c.push(ctx, free)
		if err != nil && !errors.Is(err, errContended) {
			return nil, err
		}
		// Whose they are, or what was done under them before.
		if lerr := c.look(ctx); lerr != nil {
			return nil, lerr
		}
		if fresh = true; err == nil {
			break
		}
	}
	out := make([]Taken, len(want))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, ref := range refs {
		if h := c.held[ref]; h != nil && h.fetched {
			out[i].Hold = h.hold
		} else if v, ok := c.seen[ref]; ok && h == nil && !v.expired() {
			out[i].By = &v.claim
		}
	}
	return out, nil
}

// unfetched reports whether some are held, and the notes were not fetched since.
func (c *Claimer) unfetched(refs []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(refs, func(ref string) bool { return c.held[ref] != nil && !c.held[ref].fetched })
}

// Others are the claims of others on the stacks, nil for a stack that none is known
// on. It asks the remote about those that it knows, at most twice per Poll, and fetches
// the notes where one is gone, or another one.
func (c *Claimer) Others(ctx context.Context, stacks []Claim) ([]*Claim, error) {
	args := []string{"ls-remote", "--refs", c.remote}
	c.mu.Lock()
	for i := range stacks {
		ref := c.s.claimRef(&stacks[i])
		if v, ok := c.seen[ref]; ok && time.Since(v.last) > c.Poll/2 {
			args = append(args, ref)
		}
	}
	c.mu.Unlock()
	if len(args) > 3 {
		start := time.Now()
		now, err := c.list(ctx, args)
		if err != nil {
			return nil, err
		}
		changed := false
		c.mu.Lock()
		for _, ref := range args[3:] {
			if v := c.seen[ref]; now[ref] == v.claim.hash {
				v.last = start
				c.seen[ref] = v
			} else {
				changed = true
			}
		}
		c.mu.Unlock()
		if changed {
			if err := c.look(ctx); err != nil {
				return nil, err
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	others := make([]*Claim, len(stacks))
	for i := range stacks {
		if v, ok := c.seen[c.s.claimRef(&stacks[i])]; ok && !v.expired() {
			others[i] = &v.claim
		}
	}
	return others, nil
}

// list asks the remote where refs stand.
func (c *Claimer) list(ctx context.Context, args []string) (map[string]plumbing.Hash, error) {
	out, err := c.s.network(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("%w: asking %s for claims: %w", ErrRemote, c.remote, err)
	}
	now := map[string]plumbing.Hash{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			now[f[1]] = plumbing.NewHash(f[0])
		}
	}
	return now, nil
}

// free are the wanted ones that nobody has, or nobody any more, by ref; with the value
// that they are to replace.
func (c *Claimer) free(want []Claim, refs []string) map[string]*Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := map[string]*Claim{}
	for i, ref := range refs {
		v, taken := c.seen[ref]
		if c.held[ref] != nil || taken && !v.expired() && !c.tried[v.claim.hash] {
			continue
		}
		n := c.about
		n.Stack, n.ID, n.Target, n.ref, n.hash = want[i].Stack, want[i].ID, want[i].Target, ref, v.claim.hash
		free[ref] = &n
	}
	return free
}

// push claims stacks that nobody has.
func (c *Claimer) push(ctx context.Context, free map[string]*Claim) error {
	start := time.Now()
	claims := make([]*Claim, 0, len(free))
	for _, ref := range slices.Sorted(maps.Keys(free)) {
		claims = append(claims, free[ref])
	}
	changes, err := c.write(ctx, claims)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.about.Lease/2, fmt.Errorf("no answer within %v", c.about.Lease/2))
	defer cancel()
	if err := c.s.pushClaims(ctx, c.remote, true, changes); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range claims {
		h := &holding{claim: *n, since: start}
		h.claim.hash = changes[i].new
		h.hold, h.lose = context.WithCancelCause(context.Background())
		h.giveUp = time.AfterFunc(time.Until(start.Add(c.patience())), func() {
			h.lose(fmt.Errorf("its claim on %s was not renewed in time", c.remote))
		})
		c.held[n.ref] = h
		delete(c.seen, n.ref)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// patience is how long after its last renewal a claim is relied on.
func (c *Claimer) patience() time.Duration { return c.about.Lease * 2 / 3 }

// write makes the next commits of claims.
func (c *Claimer) write(ctx context.Context, claims []*Claim) ([]claimChange, error) {
	for _, n := range claims {
		n.At = c.s.now()
	}
	hashes, err := c.s.writeClaims(ctx, claims, c.holder)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := make([]claimChange, len(claims))
	for i, n := range claims {
		changes[i] = claimChange{n.ref, n.hash, hashes[i]}
		// Whether a push that broke off went through is seen when it stands there.
		c.tried[hashes[i]] = true
	}
	return changes, nil
}

// look fetches the notes, and the claims with them.
func (c *Claimer) look(ctx context.Context) error {
	c.mu.Lock()
	fetched := slices.Collect(maps.Values(c.held))
	c.mu.Unlock()
	start := time.Now()
	if _, err := c.s.FetchCurrent(ctx, c.remote); err != nil {
		return err
	}
	claims, err := c.s.Claims(ctx, c.remote)
	if err != nil {
		return err
	}
	end := time.Now()
	here := map[string]liveness{}
	for _, n := range claims {
		if here[n.ref], err = c.s.liveness(n.Run, n.Stack, n.Leg); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range fetched {
		h.fetched = true
	}
	was := c.seen
	c.seen = map[string]sighting{}
	for _, n := range claims {
		if c.held[n.ref] != nil {
			continue // the renewal finds out if it is not ours
		}
		v := sighting{n, end, start, here[n.ref] == gone}
		if old, ok := was[n.ref]; ok && old.claim.hash == n.hash {
			v.first = old.first
		}
		c.seen[n.ref] = v
	}
	return nil
}

// renewing renews what is held, three times a lease.
func (c *Claimer) renewing() {
	defer close(c.done)
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.wake: // something new is held
		case <-next.C:
			if err := c.renew(); err != nil {
				next.Reset(max(c.about.Lease/15, 200*time.Millisecond))
				continue
			}
		}
		next.Reset(max(c.untilDue(), 10*time.Millisecond))
	}
}

// untilDue is the time until the claim that was renewed the longest ago is due.
func (c *Claimer) untilDue() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := time.Hour
	for _, h := range c.held {
		due = min(due, time.Until(h.since.Add(c.about.Lease/3)))
	}
	return due
}

// renew renews all that is held, in one push.
func (c *Claimer) renew() error {
	c.net.Lock()
	defer c.net.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), c.about.Lease/3, fmt.Errorf("no answer within %v", c.about.Lease/3))
	defer cancel()
	for {
		c.mu.Lock()
		var held []*holding
		var claims []*Claim
		for _, ref := range slices.Sorted(maps.Keys(c.held)) {
			h := c.held[ref]
			n := h.claim
			n.Renewed++
			held, claims = append(held, h), append(claims, &n)
		}
		c.mu.Unlock()
		if len(held) == 0 {
			return nil
		}
		start := time.Now()
		changes, err := c.write(ctx, claims)
		if err == nil {
			err = c.s.pushClaims(ctx, c.remote, true, changes)
		}
		if err == nil {
			c.mu.Lock()
			for i, h := range held {
				h.claim, h.since = *claims[i], start
				h.claim.hash = changes[i].new
				if h.giveUp.Stop() {
					h.giveUp.Reset(time.Until(start.Add(c.patience())))
				}
			}
			c.mu.Unlock()
			return nil
		}
		if !errors.Is(err, errContended) {
			return err
		}
		changed, err := c.reconcile(ctx, held)
		if err != nil || !changed {
			return errors.Join(errContended, err)
		}
	}
}

// reconcile asks the remote what became of claims that a push found changed: some are
// lost, of others an earlier push went through that seemed to fail.
func (c *Claimer) reconcile(ctx context.Context, held []*holding) (changed bool, err error) {
	args := []string{"ls-remote", "--refs", c.remote}
	for _, h := range held {
		args = append(args, h.claim.ref)
	}
	now, err := c.list(ctx, args)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range held {
		switch at := now[h.claim.ref]; {
		case at == h.claim.hash:
		case c.tried[at]:
			h.claim.hash, changed = at, true
		default:
			why := "was removed, by hand or with `tmnotes unlock`"
			if !at.IsZero() {
				why = "was taken over by another"
			}
			h.lose(fmt.Errorf("its claim on %s %s", c.remote, why))
			h.giveUp.Stop()
			delete(c.held, h.claim.ref)
			h.gone, changed = true, true
		}
	}
	return changed, nil
}

// Release lets go of stacks, in one push. What cannot be released is not renewed
// any more, and expires.
func (c *Claimer) Release(ctx context.Context, stacks []Claim) error {
	c.net.Lock()
	defer c.net.Unlock()
	var held []*holding
	c.mu.Lock()
	for i := range stacks {
		if h := c.held[c.s.claimRef(&stacks[i])]; h != nil {
			held = append(held, h)
			delete(c.held, h.claim.ref)
			h.giveUp.Stop()
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.about.Lease/3, fmt.Errorf("no answer within %v", c.about.Lease/3))
	defer cancel()
	var err error
	for try := range 2 {
		var changes []claimChange
		for _, h := range held {
			h.lose(context.Canceled)
			changes = append(changes, claimChange{ref: h.claim.ref, old: h.claim.hash})
		}
		if len(changes) == 0 {
			return nil
		}
		if err = c.s.pushClaims(ctx, c.remote, false, changes); !errors.Is(err, errContended) || try > 0 {
			break
		}
		if _, rerr := c.reconcile(ctx, held); rerr != nil {
			return rerr
		}
		held = slices.DeleteFunc(held, func(h *holding) bool { return h.gone })
	}
	return err
}

// Sweep removes the claims that it has seen to be nobody's any more.
func (c *Claimer) Sweep(ctx context.Context) {
	var changes []claimChange
	c.mu.Lock()
	for ref, v := range c.seen {
		if v.expired() {
			changes = append(changes, claimChange{ref: ref, old: v.claim.hash})
		}
	}
	c.mu.Unlock()
	if len(changes) > 0 {
		_ = c.s.pushClaims(ctx, c.remote, false, changes) // the next one may, or takes them over
	}
}

// Held are the stacks that are claimed now.
func (c *Claimer) Held() []Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	var held []Claim
	for _, h := range c.held {
		held = append(held, h.claim)
	}
	return held
}

// Close ends the renewals. What is still held expires.
func (c *Claimer) Close() {
	close(c.stop)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		h.giveUp.Stop()
		h.lose(context.Canceled)
	}
}
