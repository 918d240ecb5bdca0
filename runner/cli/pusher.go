package cli

import (
	"context"
	"sync/atomic"
	"time"
)

// pusher sends what was recorded while stacks finish: to the disk a few times
// a second, into the notes every second or two, to the remote every interval, and sooner
// after a push that failed.
type pusher struct {
	kick, stop, written, sent chan struct{}
	cancel                    context.CancelFunc
	patience                  time.Duration
}

const (
	syncInterval  = 100 * time.Millisecond
	flushInterval = 2 * time.Second
)

// startPusher sends by the context's leave; what is written heeds none.
func startPusher(ctx context.Context, n *session, remote string, interval time.Duration) *pusher {
	p := &pusher{kick: make(chan struct{}, 1), stop: make(chan struct{}), written: make(chan struct{}), sent: make(chan struct{}), patience: n.store.NetworkTimeout() / 4}
	ctx, p.cancel = context.WithCancel(ctx)
	var flushed atomic.Bool // since the last push
	// The disk never waits for the network.
	go p.write(context.WithoutCancel(ctx), n, &flushed)
	go p.send(ctx, n, remote, interval, &flushed)
	return p
}

// Errors are not reported from here: the push at the end says what is left, and the
// journal has it.
func (p *pusher) write(ctx context.Context, n *session, flushed *atomic.Bool) {
	defer close(p.written)
	flush := time.NewTicker(flushInterval)
	defer flush.Stop()
	disk := time.NewTicker(syncInterval)
	defer disk.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-disk.C:
			if n.unsynced.Swap(false) {
				_ = n.store.Sync()
			}
		case <-flush.C:
			if n.changed.Swap(false) {
				flushed.Store(true)
				_ = n.store.Flush(ctx)
			}
		}
	}
}

func (p *pusher) send(ctx context.Context, n *session, remote string, interval time.Duration, flushed *atomic.Bool) {
	defer close(p.sent)
	if remote == "" {
		<-p.stop
		return
	}
	wait := interval
	if interval <= 0 {
		wait = 1 << 62 // at a signal only
	}
	next := time.NewTimer(wait)
	defer next.Stop()
	failures := 0
	for {
		asked := false
		select {
		case <-p.stop:
			return
		case <-p.kick:
			asked = true
		case <-next.C:
		}
		again := wait
		if changed := n.changed.Swap(false); flushed.Swap(false) || changed || asked || failures > 0 {
			failures++
			if _, err := n.store.Push(ctx, remote); err == nil {
				failures = 0
			} else {
				again = min(wait, time.Second<<min(failures, 6))
			}
		}
		next.Reset(again)
	}
}

// now asks for a push at once, without waiting for it.
func (p *pusher) now() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// end waits for a push that is under way, but not for long: what it sends is sent again.
func (p *pusher) end() {
	close(p.stop)
	late := time.AfterFunc(p.patience, p.cancel)
	defer late.Stop()
	<-p.written
	<-p.sent
	p.cancel()
}
