package gitstate

import (
	"cmp"
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

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Claimer is the claims of one process on a remote. Its methods may be called
// from several goroutines.
type Claimer struct {
	s      *Store
	remote string
	about  Claim // what they have in common
	holder string
	clock  func() moment
	// Poll is how often claims of others are worth another look.
	Poll time.Duration

	net sync.Mutex // held while claims that are held are pushed

	mu       sync.Mutex
	known    *State                 // the notes as they were fetched last
	held     map[string]*holding    // by each of its refs
	seen     map[string]sighting    // others', by ref
	renewed  map[[2]string]sighting // by ref and holder: with the last renewal that was seen
	tried    map[plumbing.Hash]bool
	renewing bool
	kept     bool // the remote lets nothing be deleted
	stop     chan struct{}
	once     sync.Once
	done     sync.WaitGroup
}

// moment is a time by two clocks: one that goes steadily, and stands still while the
// machine sleeps, and that of the wall.
type moment struct {
	steady time.Duration
	wall   time.Time
}

// since is how long ago another moment was, by the clock that went further.
func (m moment) since(earlier moment) time.Duration {
	return max(m.steady-earlier.steady, m.wall.Sub(earlier.wall))
}

func clockFrom(start time.Time) func() moment {
	return func() moment {
		now := time.Now()
		return moment{now.Sub(start), now.Round(0)}
	}
}

// sighting is another's claim, and since when it stands unchanged, as far as was seen.
type sighting struct {
	claim       Claim
	bad         error         // why it cannot be read
	first, last time.Duration // by the steady clock: the end of the first look, the beginning of the last
	here        liveness      // of its process
}

// expired reports whether the claim is nobody's. That of a process which lives here
// is not, whatever became of its renewals.
func (v *sighting) expired() bool {
	return v.claim.Released || v.here == gone || v.here != alive && v.bad == nil && v.last-v.first >= v.claim.Lease
}

// holding is a claim that is held.
type holding struct {
	claim   Claim
	since   moment // when the last push that went through began
	fetched bool   // the notes were fetched since it was claimed
	gone    bool   // it is another's now, or nobody's
	hold    context.Context
	lose    context.CancelCauseFunc
}

// NewClaimer makes ready to claim stacks on a remote. about has what all claims
// say: Commit, Run, By, Job and Lease. Close ends it. Where the writer is marked as working
// on the run, it is the holder, and its death is seen in this clone.
func (r Remote) NewClaimer(w *Writer, about Claim) *Claimer {
	c := w.newClaimer(r.name, about, clockFrom(time.Now()))
	c.done.Go(c.watch)
	return c
}

func (w *Writer) newClaimer(remote string, about Claim, clock func() moment) *Claimer {
	c := &Claimer{s: w.store, remote: remote, about: about, holder: ulid.Make().String(), clock: clock, Poll: min(about.Lease/10, 5*time.Second),
		held: map[string]*holding{}, seen: map[string]sighting{}, tried: map[plumbing.Hash]bool{}, stop: make(chan struct{})}
	w.mu.Lock()
	if m := w.lives[about.Run]; m != nil {
		c.holder = m.holder
	}
	w.mu.Unlock()
	return c
}

// Taken is what became of a stack that was to be claimed: it may be worked on
// under Hold, or another has it (By), or neither is known yet.
type Taken struct {
	Hold context.Context // ends where the claim may be lost before the work is done
	By   *Other
}

// Other is another's claim, as far as it was seen.
type Other struct {
	Claim
	Here bool          // its process, or a command that it has left behind, lives in this clone
	Left time.Duration // until it is taken over, unless it is renewed
}

// Take claims those of the stacks that are free, in one push, and then fetches
// the notes: what others did before they let go of a stack is in them. Want has
// Stack, ID and Target. The error wraps ErrClaims where the remote takes no claims,
// ErrRemote where it cannot be asked.
func (c *Claimer) Take(ctx context.Context, want []Claim) ([]Taken, error) {
	refs, err := c.refs(ctx, want)
	if err == nil {
		_, err = c.lookAgain(ctx, refs)
	}
	if err != nil {
		return nil, err
	}
	for try := range 4 {
		if c.unfetched(refs) {
			if err := c.fetch(ctx); err != nil {
				return nil, err
			}
		}
		free := c.free(want)
		if len(free) == 0 {
			break
		}
		// What is in the way of one, and cannot be seen, must not be in that of all.
		err := c.push(ctx, free, try > 1)
		if errors.Is(err, errContended) && try < 3 { // whose they are
			if err = c.sight(ctx); err == nil {
				continue
			}
		}
		if err == nil || errors.Is(err, errContended) { // what was done under them before
			err = c.fetch(ctx)
		}
		if err != nil {
			return nil, err
		}
		halves := c.halves(want)
		if len(halves) == 0 {
			break
		}
		_ = c.Release(ctx, halves) // they are free for this one, whatever becomes of that
	}
	if refs, err = c.refs(ctx, want); err != nil {
		return nil, err
	}
	out := make([]Taken, len(want))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range want {
		if h := c.held[refs[i][0]]; h != nil {
			if h.fetched {
				out[i].Hold = h.hold
			}
			continue
		}
		by, err := c.other(refs[i])
		if err != nil {
			return nil, err
		}
		out[i].By = by
	}
	return out, nil
}

// other is the claim of another on a stack, nil if there is none that counts.
func (c *Claimer) other(refs []string) (*Other, error) {
	for _, ref := range refs {
		v, is := c.seen[ref]
		if !is || v.expired() {
			continue
		}
		if v.bad != nil {
			return nil, fmt.Errorf("%w: %w", ErrClaims, unreadableClaim(c.remote, ref, v.bad))
		}
		return &Other{Claim: v.claim, Here: v.here == alive, Left: max(v.claim.Lease-(c.clock().steady-v.first), 0)}, nil
	}
	return nil, nil
}

// unfetched reports whether some are held, and the notes were not fetched since.
func (c *Claimer) unfetched(refs [][]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(refs, func(refs []string) bool { h := c.held[refs[0]]; return h != nil && !h.fetched })
}

// Others are the claims of others on the stacks, nil for a stack that none is known
// on. It asks the remote about those that it knows, at most twice per Poll, and fetches
// the notes where one is gone, or another one.
func (c *Claimer) Others(ctx context.Context, stacks []Claim) ([]*Other, error) {
	refs, err := c.refs(ctx, stacks)
	if err != nil {
		return nil, err
	}
	changed, err := c.lookAgain(ctx, refs)
	if err == nil && changed {
		err = c.fetch(ctx)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	others := make([]*Other, len(stacks))
	for i := range stacks {
		var err error
		if others[i], err = c.other(refs[i]); err != nil {
			return nil, err
		}
	}
	return others, nil
}

// lookAgain asks whether claims of others stand as they were seen, where that was a while
// ago, and looks at all where some do not.
func (c *Claimer) lookAgain(ctx context.Context, refs [][]string) (changed bool, err error) {
	start := c.clock().steady
	var ask []string
	c.mu.Lock()
	for _, ref := range slices.Concat(refs...) {
		if v, ok := c.seen[ref]; ok && start-v.last > c.Poll/2 {
			ask = append(ask, ref)
		}
	}
	c.mu.Unlock()
	if len(ask) == 0 {
		return false, nil
	}
	now, err := c.list(ctx, ask)
	if err == nil {
		changed, err = c.stand(ask, now, start)
	}
	if err == nil && changed {
		err = c.sight(ctx)
	}
	return changed, err
}

// stand takes down that claims of others stood as they were seen, from some time on.
func (c *Claimer) stand(refs []string, now map[string]plumbing.Hash, start time.Duration) (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range refs {
		v, is := c.seen[ref]
		if !is || now[ref] != v.claim.at[0].hash {
			changed = true
			continue
		}
		if v.here, err = c.s.holderLives(v.claim.holder); err != nil {
			return false, err
		}
		v.last = start
		c.seen[ref] = v
	}
	return changed, nil
}

// list asks the remote where refs stand, of all claims if none are named.
func (c *Claimer) list(ctx context.Context, refs []string) (map[string]plumbing.Hash, error) {
	if len(refs) == 0 || len(refs) > 200 {
		refs = []string{c.s.claimsPrefix() + "*"}
	}
	out, err := c.s.network(ctx, append([]string{"ls-remote", "--refs", c.s.claimsAt(ctx, c.remote)}, refs...)...)
	if err != nil {
		return nil, remoteError("asking it for locks", c.remote, err)
	}
	now := map[string]plumbing.Hash{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(f[1], c.s.claimsPrefix()) {
			now[f[1]] = plumbing.NewHash(f[0])
		}
	}
	return now, nil
}

// sight looks at all claims of others.
func (c *Claimer) sight(ctx context.Context) error {
	for try := 0; ; try++ {
		start := c.clock().steady
		now, err := c.list(ctx, nil)
		if err != nil {
			return err
		}
		end := c.clock().steady
		if err = c.bring(ctx, now); err == nil {
			if err = c.seeing(now, start, end); err == nil {
				return nil
			}
		} else if !vanished(err) {
			return remoteError("fetching locks from "+c.remote, c.remote, err)
		}
		// Claims come and go.
		if !vanished(err) && !errors.Is(err, git.ErrMissing) || try == 20 {
			return fmt.Errorf("reading the locks on %s: %w", c.remote, err)
		}
	}
}

// seeing takes down where claims stood between two moments.
func (c *Claimer) seeing(now map[string]plumbing.Hash, start, end time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]sighting{}
	for ref, hash := range now {
		if c.held[ref] != nil {
			continue // the renewal finds out if it is not ours
		}
		v := sighting{first: end, last: start}
		if old, is := c.seen[ref]; is && old.claim.at[0].hash == hash {
			v.claim, v.bad, v.first = old.claim, old.bad, old.first
		} else if v.claim, v.bad = c.s.readClaim(ref, hash); errors.Is(v.bad, git.ErrMissing) {
			return v.bad
		} else if c.s.Demands() && v.bad == nil {
			c.renewedAt(ref, &v)
		}
		var err error
		if v.here, err = c.s.holderLives(v.claim.holder); err != nil {
			return err
		}
		seen[ref] = v
	}
	c.seen = seen
	return nil
}

// bring fetches the commits of claims that were not read yet.
func (c *Claimer) bring(ctx context.Context, now map[string]plumbing.Hash) error {
	var refs []string
	c.mu.Lock()
	for ref, hash := range now {
		if old, is := c.seen[ref]; c.held[ref] == nil && !(is && old.claim.at[0].hash == hash) && !c.tried[hash] {
			refs = append(refs, ref)
		}
	}
	c.mu.Unlock()
	slices.Sort(refs)
	for part := range slices.Chunk(refs, 200) {
		args := []string{"fetch", "--quiet", "--no-tags", "--no-filter", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--refmap=", c.s.claimsAt(ctx, c.remote)}
		if _, err := c.s.network(ctx, append(args, part...)...); err != nil {
			return err
		}
	}
	return nil
}

// fetch fetches the notes, without the claims.
func (c *Claimer) fetch(ctx context.Context) error {
	c.mu.Lock()
	held := slices.Collect(maps.Values(c.held))
	c.mu.Unlock()
	if _, err := c.s.Remote(c.remote).FetchCurrent(ctx); err != nil {
		return err
	}
	if err := c.learn(ctx, true); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range held {
		h.fetched = true
	}
	return nil
}

// free are the wanted ones that nobody has, or nobody any more, with the values that
// they are to replace.
func (c *Claimer) free(want []Claim) (free []*Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range want {
		n := c.about
		n.Stack, n.ID, n.Target = want[i].Stack, want[i].ID, want[i].Target
		is := true
		for _, name := range claimNames(&want[i], c.known) {
			ref := c.s.claimRefBy(name, n.Target)
			at := refValue{ref: ref, name: name}
			if v, taken := c.seen[ref]; taken {
				at.hash = v.claim.at[0].hash
				is = is && (v.expired() || c.tried[at.hash])
			}
			is = is && c.held[ref] == nil
			n.at = append(n.at, at)
		}
		if is {
			free = append(free, &n)
		}
	}
	return free
}

// push claims stacks that nobody has: all or none or, divided, those that can be.
func (c *Claimer) push(ctx context.Context, free []*Claim, divided bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.about.Lease/2, NoAnswer(c.about.Lease/2))
	defer cancel()
	for part := range slices.Chunk(free, claimsAtOnce) {
		if err := c.pushPart(ctx, part, divided); err != nil {
			return err
		}
	}
	return nil
}

func (c *Claimer) pushPart(ctx context.Context, part []*Claim, divided bool) error {
	start := c.clock()
	changes, err := c.put(ctx, part)
	if half := len(part) / 2; errors.Is(err, errContended) && divided && half > 0 {
		one, other := c.pushPart(ctx, part[:half], true), c.pushPart(ctx, part[half:], true)
		for _, err := range []error{one, other} {
			if err != nil && !errors.Is(err, errContended) {
				return err
			}
		}
		return cmp.Or(one, other)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range part {
		h := &holding{claim: *n, since: start}
		h.stands(changes[i])
		h.hold, h.lose = context.WithCancelCause(context.Background())
		for _, at := range h.claim.at {
			c.held[at.ref] = h
			delete(c.seen, at.ref)
		}
	}
	return nil
}

// stands takes down where the claim stands now.
func (h *holding) stands(changes []claimChange) {
	h.claim.at = slices.Clone(h.claim.at)
	for i, change := range changes {
		h.claim.at[i].hash = change.new
	}
}

// put pushes the next commits of claims, all or none, or a few hundred at once.
func (c *Claimer) put(ctx context.Context, claims []*Claim) ([][]claimChange, error) {
	changes, err := c.write(ctx, claims)
	if err == nil {
		err = c.s.changeClaims(ctx, c.remote, true, changes)
	}
	return changes, err
}

// write makes the next commits of claims.
func (c *Claimer) write(ctx context.Context, claims []*Claim) ([][]claimChange, error) {
	for _, n := range claims {
		n.At = c.s.now()
		if n.Since.IsZero() {
			n.Since = n.At
		}
	}
	changes, err := c.s.writeClaims(ctx, claims, c.holder)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, group := range changes {
		for _, change := range group {
			// Whether a push that broke off went through is seen when it stands there.
			c.tried[change.new] = true
		}
	}
	return changes, err
}
