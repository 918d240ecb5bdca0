package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Reach is the network of something that is under way. What is recorded is on the disk
// in any case, so that no wait for a remote is worth more than its budget, or than a
// person's second Ctrl-C; the third ends the process.
type Reach struct {
	Context context.Context // of all that is sent and asked
	giveUp  context.CancelCauseFunc
	budget  time.Duration
	stop    chan struct{}
	timers  []*time.Timer

	mu      sync.Mutex
	signals int
	last    time.Time // when one was counted
	ending  bool
}

var errGivenUp = errors.New("given up at a signal")

// NewReach watches the signals as well, of which there were so many. Done ends it.
func NewReach(ctx context.Context, out Voice, s *gitstate.Store, remote string, signals int) *Reach {
	r := &Reach{budget: s.NetworkTimeout(), stop: make(chan struct{}), signals: signals}
	r.Context, r.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
	incoming := make(chan os.Signal, 8)
	signal.Notify(incoming, runner.Interrupts...)
	go func() {
		defer signal.Stop(incoming)
		for {
			select {
			case <-r.stop:
				return
			case sig := <-incoming:
				r.received(out, remote, sig)
			}
		}
	}()
	return r
}

// received counts a signal. While commands run they are the runner's business, which has
// the third one kill; should it be stuck all the same, one that comes much later helps. A
// person does not press a key ten times a second for ten different things.
func (r *Reach) received(out Voice, remote string, sig os.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := time.Since(r.last)
	switch {
	case !r.ending:
		if r.signals++; r.signals > 3 && since > 5*time.Second {
			raise(sig)
		}
	case r.Context.Err() != nil && since > time.Second:
		raise(sig)
	case r.Context.Err() != nil || since < 500*time.Millisecond:
		return
	case r.signals == 0 && remote != "":
		r.signals++
		out.Say("%v: the records are still being sent to %s; once more leaves that to `tmnotes sync`", sig, remote)
	default:
		r.giveUp(errGivenUp)
	}
	r.last = time.Now()
}

// raise has a signal do what it does where nobody listens.
func raise(sig os.Signal) {
	signal.Reset(runner.Interrupts...)
	runner.Resend(sig)
}

// End begins the end: all that is left to send has one budget of time.
func (r *Reach) End(out Voice, remote string) {
	r.mu.Lock()
	r.ending, r.last = true, time.Now()
	r.mu.Unlock()
	r.timers = append(r.timers, time.AfterFunc(r.budget, func() { r.giveUp(gitstate.NoAnswer(r.budget)) }))
	if remote != "" {
		r.timers = append(r.timers, time.AfterFunc(5*time.Second, func() {
			out.Say("sending the records to %s (for up to %v; Ctrl-C leaves that to `tmnotes sync`)", remote, r.budget)
		}))
	}
}

// Done ends it: nothing more is sent.
func (r *Reach) Done() {
	close(r.stop)
	for _, t := range r.timers {
		t.Stop()
	}
	r.giveUp(context.Canceled)
}

// interruptible waits for what heeds no context, and not any longer than ctx, or than a
// remote may take to answer.
func interruptible(ctx context.Context, s *gitstate.Store, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	silent := time.NewTimer(s.NetworkTimeout())
	defer silent.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ErrInterrupted
	case <-silent.C:
		return fmt.Errorf("the safeguard git-out-of-sync of Terramate needs the remote: %w; nothing was executed (--disable-safeguards=git-out-of-sync turns it off)", gitstate.NoAnswer(s.NetworkTimeout()))
	}
}

// CheckSafeguards is Terramate's check before a run. It asks the remote, for as long as git does.
func (w *World) CheckSafeguards(ctx context.Context, s *gitstate.Store, p *project.Project, r *Request) error {
	remote := p.DefaultRemote()
	err := interruptible(ctx, s, func() error {
		return s.Remote(remote).AskOtherwise(ctx, "comparing HEAD with "+remote+"/"+p.DefaultBranch(), func() (stderr string, err error) {
			err = p.CheckSafeguards(ctx, r.Safeguards, r.Select, r.Exec.DryRun)
			if unheard, is := errors.AsType[*project.RemoteError](err); is {
				stderr = unheard.Said
			}
			return stderr, err
		})
	})
	if !errors.Is(err, gitstate.ErrRemote) {
		return err
	}
	do := Remedy(err, remote, s.Ref(), w.CI)
	if do != "" {
		do += "; "
	}
	return fmt.Errorf("%w; nothing was executed (%s--disable-safeguards=git-out-of-sync turns the check off)", err, do)
}
