package deploy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
)

// Courier sends what was recorded while stacks finish: to the disk a few times
// a second, into the notes every second or two, to the remote at most once an
// interval. The disk does not wait for the network.
//
// Errors are not reported from here: the push at the end says what is left, and the
// journal has it.
type Courier struct {
	store    *gitstate.Store
	writer   *gitstate.Writer
	Remote   string
	interval time.Duration
	changed  atomic.Bool // something was recorded since the last flush
	// Results are synced in groups, a few times a second: stacks that finish
	// side by side do not wait for the disk one after the other. Who loses the
	// machine in between finds them interrupted, and runs them again.
	unsynced atomic.Bool

	dirty  atomic.Bool   // the notes have what was not pushed
	kicked chan struct{} // push at once
	woken  chan struct{} // look anew when
	stop   chan struct{}
	done   sync.WaitGroup
	cancel context.CancelFunc

	mu     sync.Mutex
	wanted time.Time // when somebody wants a push, the zero time if nobody does
	urgent bool      // also before the interval is over
	tells  func(began time.Time, tr gitstate.Traveled)
}

const (
	syncInterval  = 100 * time.Millisecond
	flushInterval = 2 * time.Second
	pushInterval  = 10 * time.Second
)

// NewCourier makes ready to carry what a writer records, to a remote unless that is "".
func NewCourier(s *gitstate.Store, w *gitstate.Writer, remote string, interval time.Duration) *Courier {
	return &Courier{store: s, writer: w, Remote: remote, interval: interval, kicked: make(chan struct{}, 1), woken: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Start sends by the context's leave; what is written heeds none.
func (p *Courier) Start(ctx context.Context) {
	ctx, p.cancel = context.WithCancel(ctx)
	p.done.Go(func() { p.writing(context.WithoutCancel(ctx)) })
	if p.Remote != "" {
		p.done.Go(func() { p.pushing(ctx) })
	}
}

// noted says that something was recorded.
func (p *Courier) noted() { p.changed.Store(true) }

// Recorded says that a result was recorded, which is to be on the disk soon.
func (p *Courier) Recorded() {
	p.changed.Store(true)
	p.unsynced.Store(true)
}

func (p *Courier) writing(ctx context.Context) {
	flush, disk := time.NewTicker(flushInterval), time.NewTicker(syncInterval)
	defer flush.Stop()
	defer disk.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-disk.C:
			if p.unsynced.Swap(false) {
				_ = p.writer.Sync()
			}
		case <-flush.C:
			if p.changed.Swap(false) {
				p.dirty.Store(true)
				_ = p.store.Flush(ctx)
			}
		}
	}
}

func (p *Courier) pushing(ctx context.Context) {
	last := time.Now() // the announcement
	looked, failures := last, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(p.due(last, looked)))
		select {
		case <-p.stop:
			return
		case <-p.woken:
			continue
		case <-p.kicked:
		case <-timer.C:
			looked = time.Now()
			if !p.claimTurn() && !(p.interval > 0 && (p.changed.Load() || p.dirty.Load())) {
				continue
			}
		}
		last = time.Now()
		p.changed.Store(false)
		p.dirty.Store(false)
		tr, err := p.store.Remote(p.Remote).Push(ctx)
		looked = time.Now()
		if err != nil {
			p.dirty.Store(true)
			p.ask(time.Now().Add(min(time.Second<<min(failures, 5), pushInterval)), true)
			failures++
			continue
		}
		failures = 0
		p.mu.Lock()
		tell := p.tells
		p.mu.Unlock()
		if tell != nil {
			tell(last, tr)
		}
	}
}

// due is when to push, or to look whether there is something to push.
func (p *Courier) due(last, looked time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	gap := p.interval
	if gap <= 0 {
		gap = pushInterval
	}
	next := looked.Add(gap)
	if p.interval <= 0 {
		next = looked.Add(time.Hour)
	}
	switch at := p.wanted; {
	case at.IsZero():
	case p.urgent || at.After(last.Add(gap)):
		next = at
	default:
		next = last.Add(gap)
	}
	return next
}

// claimTurn reports whether somebody wants a push by now, who is served with it.
func (p *Courier) claimTurn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted.IsZero() || p.wanted.After(time.Now()) {
		return false
	}
	p.wanted, p.urgent = time.Time{}, false
	return true
}

// ask wants a push at a time or, unless it is urgent, when the interval is over.
func (p *Courier) ask(at time.Time, urgent bool) {
	p.mu.Lock()
	if p.wanted.IsZero() || urgent && !p.urgent {
		p.wanted, p.urgent = at, urgent
	}
	p.mu.Unlock()
	kick(p.woken)
}

// tell has somebody told of each push that went through, and when it began.
func (p *Courier) tell(f func(began time.Time, tr gitstate.Traveled)) {
	p.mu.Lock()
	p.tells = f
	p.mu.Unlock()
}

// Now asks for a push at once, without waiting for it.
func (p *Courier) Now() { kick(p.kicked) }

// End waits for a push that is under way, but not for long: what it sends is sent again.
func (p *Courier) End() {
	close(p.stop)
	late := time.AfterFunc(p.store.NetworkTimeout()/4, p.cancel)
	defer late.Stop()
	p.done.Wait()
	p.cancel()
}

// kick wakes whoever listens, if he is not about to wake already.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
