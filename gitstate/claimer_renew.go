package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// patience is how long after its last renewal a claim is relied on.
func (c *Claimer) patience() time.Duration { return c.about.Lease * 2 / 3 }

// watch looks at what is held, each second or more often, until Close.
func (c *Claimer) watch() {
	tick := time.NewTicker(min(time.Second, c.about.Lease/15))
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			if c.look() {
				c.done.Go(func() { c.renewSoon() })
			}
		}
	}
}

// look gives up what was not renewed in time, and says whether something is due to
// be. Where the machine has slept meanwhile, whose claims they are is found out
// first: until then their commands go on, so it is not waited for long.
func (c *Claimer) look() (due bool) {
	now := c.clock()
	c.mu.Lock()
	slept := false
	for _, h := range c.held {
		slept = slept || now.since(h.since) >= c.patience() && now.steady-h.since.steady < c.patience() && h.hold.Err() == nil
	}
	c.mu.Unlock()
	if slept && c.net.TryLock() {
		_ = c.renewHeld(min(c.about.Lease/12, 5*time.Second))
		c.net.Unlock()
		now = c.clock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		age := now.since(h.since)
		if age >= c.patience() {
			h.lose(fmt.Errorf("its lock on %s was not renewed in time", c.remote))
		}
		due = due || age >= c.about.Lease/3
	}
	if due = due && !c.renewing; due {
		c.renewing = true
	}
	return due
}

// renewSoon renews what is held. What fails is tried again after a while.
func (c *Claimer) renewSoon() {
	if c.renew() != nil {
		select {
		case <-c.stop:
		case <-time.After(max(c.about.Lease/15, 200*time.Millisecond)):
		}
	}
	c.mu.Lock()
	c.renewing = false
	c.mu.Unlock()
}

func (c *Claimer) renew() error {
	c.net.Lock()
	defer c.net.Unlock()
	return c.renewHeld(c.about.Lease / 3)
}

// holdings are those that are held, sorted.
func (c *Claimer) holdings() (held []*holding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ref := range slices.Sorted(maps.Keys(c.held)) {
		if h := c.held[ref]; h.claim.at[0].ref == ref {
			held = append(held, h)
		}
	}
	return held
}

// renewHeld renews all that is held.
func (c *Claimer) renewHeld(limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, NoAnswer(limit))
	defer cancel()
	go func() { // Close waits for no answer
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for part := range slices.Chunk(c.holdings(), claimsAtOnce) {
		if err := c.renewPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// renewPart renews claims in one push.
func (c *Claimer) renewPart(ctx context.Context, held []*holding) error {
	for {
		claims := make([]*Claim, len(held))
		c.mu.Lock()
		for i, h := range held {
			n := h.claim
			n.Renewed++
			claims[i] = &n
		}
		c.mu.Unlock()
		start := c.clock()
		changes, err := c.put(ctx, claims)
		if err == nil {
			c.mu.Lock()
			for i, h := range held {
				h.claim, h.since = *claims[i], start
				h.stands(changes[i])
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
		if held = slices.DeleteFunc(held, func(h *holding) bool { return h.gone }); len(held) == 0 {
			return nil
		}
	}
}

// reconcile asks the remote what became of claims that a push found changed: some are
// lost, of others an earlier push went through that seemed to fail.
func (c *Claimer) reconcile(ctx context.Context, held []*holding) (changed bool, err error) {
	var refs []string
	for _, h := range held {
		for _, at := range h.claim.at {
			refs = append(refs, at.ref)
		}
	}
	now, err := c.list(ctx, refs)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range held {
		for i, was := range h.claim.at {
			switch at := now[was.ref]; {
			case at == was.hash:
			case c.tried[at]:
				h.claim.at = slices.Clone(h.claim.at)
				h.claim.at[i].hash, changed = at, true
			default:
				why := "was removed, by hand or with `tmnotes unlock`"
				if !at.IsZero() {
					why = "was taken over by another"
				}
				h.lose(fmt.Errorf("its lock on %s %s", c.remote, why))
				c.drop(h)
				h.gone, changed = true, true
			}
		}
	}
	return changed, nil
}

// drop has a claim not be held any more.
func (c *Claimer) drop(h *holding) {
	for _, at := range h.claim.at {
		if c.held[at.ref] == h {
			delete(c.held, at.ref)
		}
	}
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
			c.drop(h)
			h.lose(context.Canceled)
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.about.Lease/3, NoAnswer(c.about.Lease/3))
	defer cancel()
	for try := 0; ; try++ {
		if len(held) == 0 {
			return nil
		}
		err := c.letGo(ctx, try == 0, held)
		if !errors.Is(err, errContended) || try > 1 {
			return err
		}
		if _, rerr := c.reconcile(ctx, held); rerr != nil {
			return rerr
		}
		held = slices.DeleteFunc(held, func(h *holding) bool { return h.gone })
	}
}

// letGo deletes claims or, where the remote refuses that, has them say that they are
// nobody's.
func (c *Claimer) letGo(ctx context.Context, atomic bool, held []*holding) error {
	c.mu.Lock()
	kept := c.kept
	c.mu.Unlock()
	if !kept {
		var groups [][]claimChange
		for _, h := range held {
			groups = append(groups, removal(&h.claim))
		}
		err := c.s.changeClaims(ctx, c.remote, atomic, groups)
		if !errors.Is(err, ErrClaims) {
			return err
		}
		c.mu.Lock()
		c.kept = true
		c.mu.Unlock()
		c.s.warn(fmt.Sprintf("%s does not allow deleting refs: old locks stay there, marked as released (allow deleting %s*): %s",
			c.remote, c.s.claimsPrefix(), strings.TrimPrefix(err.Error(), ErrClaims.Error()+": ")))
	}
	over := make([]*Claim, len(held))
	for i, h := range held {
		n := h.claim
		n.Released, n.Lease = true, releasedLease
		over[i] = &n
	}
	_, err := c.put(ctx, over)
	return err
}

// renewedAt has a claim that is signed stand for as long as its holder did not renew it, whoever else puts
// there again what the holder had signed.
func (c *Claimer) renewedAt(ref string, v *sighting) {
	if c.renewed == nil {
		c.renewed = map[[2]string]sighting{}
	}
	of := [2]string{ref, v.claim.holder}
	if last, is := c.renewed[of]; is && cmp.Or(v.claim.At.Compare(last.claim.At), v.claim.Renewed-last.claim.Renewed) <= 0 {
		v.first = last.first
	} else {
		c.renewed[of] = *v
	}
}

// Sweep removes the claims that it has seen to be nobody's any more.
func (c *Claimer) Sweep(ctx context.Context) {
	var groups [][]claimChange
	c.mu.Lock()
	for _, v := range c.seen {
		if v.expired() && !(c.kept && v.claim.Released) {
			groups = append(groups, removal(&v.claim))
		}
	}
	c.mu.Unlock()
	if len(groups) > 0 {
		_ = c.s.changeClaims(ctx, c.remote, false, groups) // the next one may, or takes them over
	}
}

// Held are the stacks that are claimed now.
func (c *Claimer) Held() []Claim {
	holdings := c.holdings()
	c.mu.Lock() // a renewal may be under way
	defer c.mu.Unlock()
	var held []Claim
	for _, h := range holdings {
		held = append(held, h.claim)
	}
	return held
}

// Close ends the renewals. What is still held expires. It may be called again.
func (c *Claimer) Close() {
	c.once.Do(func() { close(c.stop) })
	c.done.Wait()
	for _, h := range c.holdings() {
		h.lose(context.Canceled)
	}
}
