package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
)

// reach is the network of something that is under way. What is recorded is on the disk
// in any case, so that no wait for a remote is worth more than its budget, or than a
// person's second Ctrl-C; the third ends the process.
type reach struct {
	ctx    context.Context // of all that is sent and asked
	giveUp context.CancelCauseFunc
	ending atomic.Bool
	budget time.Duration
	stop   chan struct{}
	timers []*time.Timer
}

var errGivenUp = errors.New("given up at the second signal")

// newReach watches the signals as well, of which there were so many. Done ends it.
func newReach(ctx context.Context, u *ui, s *gitstate.Store, remote string, signals int) *reach {
	r := &reach{budget: s.NetworkTimeout(), stop: make(chan struct{})}
	r.ctx, r.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
	incoming := make(chan os.Signal, 8)
	signal.Notify(incoming, interrupts...)
	go func() {
		defer signal.Stop(incoming)
		for {
			select {
			case <-r.stop:
				return
			case sig := <-incoming:
				signals++
				r.received(u, remote, sig, signals)
			}
		}
	}()
	return r
}

func (r *reach) received(u *ui, remote string, sig os.Signal, count int) {
	if count == 1 && r.ending.Load() && remote != "" {
		u.say("%v: the records are still being sent to %s; once more leaves that to `tmnotes sync`", sig, remote)
	}
	if count >= 2 {
		r.giveUp(errGivenUp)
		if r.ending.Load() || count > 2 {
			signal.Reset(interrupts...) // the next one ends the process, whatever it waits for
		}
	}
}

// end begins the end: all that is left to send has one budget of time.
func (r *reach) end(u *ui, remote string) {
	r.ending.Store(true)
	if r.ctx.Err() != nil {
		signal.Reset(interrupts...)
	}
	r.timers = append(r.timers, time.AfterFunc(r.budget, func() { r.giveUp(gitstate.NoAnswer(r.budget)) }))
	if remote != "" {
		r.timers = append(r.timers, time.AfterFunc(5*time.Second, func() {
			u.say("sending the records to %s (for up to %v; Ctrl-C twice leaves that to `tmnotes sync`)", remote, r.budget)
		}))
	}
}

func (r *reach) done() {
	close(r.stop)
	for _, t := range r.timers {
		t.Stop()
	}
	r.giveUp(context.Canceled)
}

// interruptible waits for what heeds no context, and not any longer than ctx.
func interruptible(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was executed")}
	}
}
