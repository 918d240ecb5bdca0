package deploy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
)

// letGo lets go of stacks: of one that ended once its result is on the remote, with the
// next push of the notes, of which there is none for it alone.
type letGo struct {
	ctx     context.Context
	claimer *gitstate.Claimer
	push    *Courier
	wake    chan struct{}
	stop    chan struct{}
	done    sync.WaitGroup

	most   int // see waitMost
	mu     sync.Mutex
	over   []gitstate.Claim // to be let go of now
	wait   []waiting        // for a push
	spools int              // pushes in a row that came to a ref of this clone's own
	behind int              // how many ended and are not let go of
	less   chan struct{}    // there are fewer of them
}

// waiting is a stack whose result was recorded by some time.
type waiting struct {
	claim gitstate.Claim
	since time.Time
}

// waitMost is how many that ended are claimed still at most: then the notes are pushed before
// the interval is over, and no more are claimed before some are let go of. What a push of
// claims costs git grows with the refs that the remote has: a run of many stacks lets go of
// them more often, one of fewer needs no push for it.
func waitMost(stacks int) int {
	if stacks > 1000 {
		return 500
	}
	return 1000
}

// releaseMost is of how many stacks one push lets go.
const releaseMost = 500

// releaseWait is how long others that end are waited for, so that they are released together.
const releaseWait = 200 * time.Millisecond

func (l *letGo) begin(ctx context.Context, claimer *gitstate.Claimer, push *Courier, each time.Duration, also func()) {
	l.ctx, l.claimer, l.push, l.wake, l.stop = ctx, claimer, push, make(chan struct{}, 1), make(chan struct{})
	l.less = make(chan struct{}, 1)
	push.tell(l.pushed)
	l.done.Go(func() {
		tick := time.NewTicker(each)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				also()
			case <-l.wake:
				if !l.full() {
					select {
					case <-l.stop:
						return
					case <-time.After(releaseWait):
					}
				}
				l.release()
			}
		}
	})
}

// now lets go of a stack of which nothing was recorded.
func (l *letGo) now(c gitstate.Claim) {
	l.mu.Lock()
	l.over = append(l.over, c)
	l.behind++
	l.mu.Unlock()
	kick(l.wake)
}

// ended lets go of a stack whose result is recorded, but not pushed.
func (l *letGo) ended(c gitstate.Claim) {
	l.mu.Lock()
	l.wait = append(l.wait, waiting{c, time.Now()})
	l.behind++
	many := len(l.wait) >= l.most
	l.mu.Unlock()
	l.push.ask(time.Now().Add(releaseWait), many)
}

// pushed says that all that was recorded before a time is on the remote. Who comes next
// has to find it: while it is only on a spool ref, somebody who folds that in may be
// between his two pushes.
func (l *letGo) pushed(began time.Time, tr gitstate.Traveled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wait) == 0 {
		return
	}
	if tr.Spooled && !tr.Refused && l.spools < 4 {
		l.spools++
		l.push.ask(time.Now().Add(releaseWait<<l.spools), true)
		return
	}
	l.spools = 0
	l.wait = slices.DeleteFunc(l.wait, func(w waiting) bool {
		if w.since.After(began) {
			return false
		}
		l.over = append(l.over, w.claim)
		return true
	})
	if len(l.wait) > 0 {
		l.push.ask(time.Now(), false)
	}
	if len(l.over) > 0 {
		kick(l.wake)
	}
}

// full reports whether as many are to be let go of as one push does.
func (l *letGo) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.over) >= releaseMost
}

func (l *letGo) release() {
	l.mu.Lock()
	over := l.over
	l.over = nil
	l.mu.Unlock()
	for part := range slices.Chunk(over, releaseMost) {
		_ = l.claimer.Release(l.ctx, part) // what is not released expires
		l.mu.Lock()
		l.behind -= len(part)
		l.mu.Unlock()
		kick(l.less)
	}
}

// keepUp returns when not too many are behind, or after a time.
func (l *letGo) keepUp(ctx context.Context, most time.Duration) {
	late := time.After(most)
	for {
		l.mu.Lock()
		behind := l.behind
		l.mu.Unlock()
		if behind < l.most {
			return
		}
		select {
		case <-l.less:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// end stops it. What it was to let go of still is held.
func (l *letGo) end() {
	close(l.stop)
	l.done.Wait()
}
