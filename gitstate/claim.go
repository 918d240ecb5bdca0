package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/oklog/ulid/v2"
)

// A claim says on the remote who is at work on a stack: a ref of its own for each
// target and stack, made, renewed and removed by pushes that name the value which
// they replace. The remote's compare-and-swap decides; nothing about a claim is
// ever spooled or put off. FORMAT.md has the names and the text.
//
// No two machines' clocks are compared. A claim that an observer has seen
// unchanged for as long as the claim's own lease, by the observer's monotonic clock,
// is nobody's any more; and its holder, who counts from before its last push that
// went through, has given up after two thirds of the lease.

// ErrClaims is wrapped by errors of a remote that does not take claims.
var ErrClaims = errors.New("claims are refused")

// The events of claims: the text of one, and the record of its removal by hand.
const (
	Claimed  = "claimed"
	Unlocked = "unlocked"
)

const (
	claimsSuffix = "-claims" // of the notes ref: the glob that fetches the notes covers it
	// MinLease is the shortest lease that makes sense: a push has to fit into a third of it.
	MinLease = 3 * time.Second
)

// Claim is who claims a stack, for which target.
type Claim struct {
	Stack, ID, Target string
	Commit            string // that is being deployed
	Run, By, Job      string
	Leg               int // of the run, from 1; 0 where it has none
	Lease             time.Duration
	Renewed           int       // how often
	At                time.Time // by the holder's clock: for people

	ref  string
	hash plumbing.Hash
}

// Who names the holder for people.
func (c *Claim) Who() string {
	who := "run " + c.Run
	if c.By != "" {
		who += " of " + c.By
	}
	if c.Job != "" {
		who += " (" + c.Job + ")"
	}
	return who
}

// Unlocked is the record of somebody who removed the claim by hand.
func (c *Claim) Unlocked(by, reason string) *Record {
	return &Record{Event: Unlocked, Op: Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Reason: reason, Run: c.Run, By: by}
}

func (s *Store) claimRef(c *Claim) string {
	key := TextKey{ID: c.ID, Path: c.Stack, Target: c.Target, Op: Deploy}
	return s.ref + claimsSuffix + "/" + key.slots()[0]
}

// text is the message of the commit that a claim is. holder tells apart what two
// processes would write alike.
func (c *Claim) text(holder string) (string, error) {
	r := Record{At: c.At.UTC().Truncate(time.Millisecond), Event: Claimed, Op: Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Run: c.Run, By: c.By, Job: c.Job,
		Extra: []Pair{{"commit", c.Commit}, {"holder", holder}, {"lease", c.Lease.String()}, {"renewed", strconv.Itoa(c.Renewed)}}}
	r.SetLeg(c.Leg)
	line, err := r.Line()
	if err != nil {
		return "", err
	}
	return "claim of " + string(appendValue(nil, c.Stack)) + "\n\n" + line + "\n", nil
}

func parseClaim(message string) (Claim, error) {
	_, line, _ := strings.Cut(message, "\n\n")
	r, err := ParseRecord(strings.TrimSuffix(line, "\n"))
	if err != nil {
		return Claim{}, err
	}
	if r.Event != Claimed || r.Stack == "" {
		return Claim{}, errors.New("it is no claim")
	}
	c := Claim{Stack: r.Stack, ID: r.ID, Target: r.Target, Run: r.Run, By: r.By, Job: r.Job, Leg: r.Leg(), At: r.At}
	for _, p := range r.Extra {
		switch p.Key {
		case "commit":
			c.Commit = p.Value
		case "lease":
			c.Lease, err = time.ParseDuration(p.Value)
		case "renewed":
			c.Renewed, err = strconv.Atoi(p.Value)
		}
		if err != nil {
			return Claim{}, err
		}
	}
	if c.Lease <= 0 || !plumbing.IsHash(c.Commit) {
		return Claim{}, errors.New("it lacks its lease or its commit")
	}
	return c, nil
}

// writeClaims makes the commits of claims. They have the empty tree, so that a
// `git log` that takes their refs for notes finds none in them, and no parents.
func (s *Store) writeClaims(ctx context.Context, claims []*Claim, holder string) ([]plumbing.Hash, error) {
	w := &objectWriter{r: s.repo}
	tree, err := w.put(plumbing.TreeObject, nil)
	if err != nil {
		return nil, err
	}
	who := s.signature(ctx)
	hashes := make([]plumbing.Hash, len(claims))
	for i, c := range claims {
		text, err := c.text(holder)
		if err != nil {
			return nil, &RecordError{"", fmt.Errorf("claiming %s: %w", c.Stack, err)}
		}
		if hashes[i], err = w.putCommit(&object.Commit{Author: who, Committer: who, Message: text, TreeHash: tree}); err != nil {
			return nil, err
		}
	}
	return hashes, w.flush(ctx)
}

// Claims are the claims that were on a remote when its notes were fetched last,
// sorted by stack and target.
func (s *Store) Claims(ctx context.Context, remote string) ([]Claim, error) {
	track := s.tracking(remote) + claimsSuffix + "/"
	out, err := s.repo.git(ctx, nil, "for-each-ref", "--format=%(objectname) %(refname)", track)
	if err != nil {
		return nil, err
	}
	var found []Claim
	for line := range strings.Lines(out) {
		hash, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		commit, err := s.repo.commit(hash)
		var c Claim
		if err == nil {
			c, err = parseClaim(commit.Message)
		}
		c.ref, c.hash = s.ref+claimsSuffix+"/"+strings.TrimPrefix(ref, track), plumbing.NewHash(hash)
		if err == nil && s.claimRef(&c) != c.ref {
			err = fmt.Errorf("it claims %s, for which it has the wrong name", c.Stack)
		}
		if err != nil {
			return nil, fmt.Errorf("the claim %s on %s cannot be read: %w; `git push %s :%s` removes it", c.ref, remote, err, remote, c.ref)
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b Claim) int {
		return strings.Compare(a.Stack+"\n"+a.Target, b.Stack+"\n"+b.Target)
	})
	return found, nil
}

// Unclaim removes claims of others, if they are as they were read.
func (s *Store) Unclaim(ctx context.Context, remote string, claims []Claim) error {
	changes := make([]claimChange, len(claims))
	for i, c := range claims {
		changes[i] = claimChange{ref: c.ref, old: c.hash}
	}
	return s.pushClaims(ctx, remote, true, changes)
}

// claimChange is one ref of a push; a zero new one removes it.
type claimChange struct {
	ref      string
	old, new plumbing.Hash
}

// pushClaims changes claims on the remote, all or, unless atomic, those that are
// as they are thought to be. errContended: some are not. ErrClaims: the remote
// does not take them.
func (s *Store) pushClaims(ctx context.Context, remote string, atomic bool, changes []claimChange) error {
	var options, refspecs []string
	for _, c := range changes {
		expect, from := "", ""
		if !c.old.IsZero() {
			expect = c.old.String()
		}
		if !c.new.IsZero() {
			from = c.new.String()
		}
		options, refspecs = append(options, "--force-with-lease="+c.ref+":"+expect), append(refspecs, from+":"+c.ref)
	}
	if atomic && len(changes) > 1 {
		options = append(options, "--atomic")
	}
	out, err := s.runPush(ctx, remote, options, refspecs...)
	var ge *gitError
	if errors.As(err, &ge) && strings.Contains(ge.stderr, "does not support --atomic") {
		return fmt.Errorf("%w by %s: it cannot change several refs as one (git push --atomic)", ErrClaims, remote)
	}
	contended := false
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if f[0] != "!" {
			continue
		}
		// Of an atomic push that fails git blames the others, too.
		if why := f[len(f)-1]; strings.Contains(why, "atomic ") {
			contended = true
		} else if err := pushError(remote, "", line, err); !errors.Is(err, errContended) {
			return fmt.Errorf("%w: %w", ErrClaims, err)
		} else {
			contended = true
		}
	}
	if contended {
		return errContended
	}
	if err = pushError(remote, "", out, err); errors.Is(err, errRefused) {
		return fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return err
}

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
	if _, err := c.s.Fetch(ctx, c.remote); err != nil {
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
