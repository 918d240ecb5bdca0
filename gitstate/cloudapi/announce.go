package cloudapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/terramate-io/terramate"
)

// A stack waits so long for its deployment to be announced, which is less than terramate waits for
// an answer (cloud.DefaultTimeout): without one it would begin.
const defaultPatience = 50 * time.Second

// announce has a deployment announced that was recorded, or begins to where the CLI waits for
// that before it starts something: so does the release that is built in here, as its source says
// (commands/run, cloud/api). s.mu is held, but not for the network, which others need not wait for.
func (s *Server) announce(r *http.Request, d *run, wt WorkTree) error {
	ctx := r.Context()
	if s.opt.DryRun {
		s.seen.Deployments++
		return nil
	}
	if !s.opt.WaitsToStart || r.UserAgent() != "terramate/v"+terramate.Version() {
		s.mu.Unlock()
		inputs, err := s.bring(ctx, d, wt)
		s.mu.Lock()
		return s.brought(ctx, d, inputs, err)
	}
	ctx, d.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
	d.announced = make(chan struct{})
	s.announcing.Go(func() {
		defer close(d.announced)
		defer d.giveUp(nil)
		inputs, err := s.bring(ctx, d, wt)
		s.mu.Lock()
		d.refused = s.brought(ctx, d, inputs, err)
		s.mu.Unlock()
		if d.refused != nil && s.opt.Refused != nil {
			s.opt.Refused(d.refused)
		}
	})
	return nil
}

// bring brings what was recorded of a deployment to the disk, and to where others see it. The code
// that git ignores is looked at meanwhile.
func (s *Server) bring(ctx context.Context, d *run, wt WorkTree) (inputs map[string]string, err error) {
	var paths []string
	for _, e := range d.stacks {
		paths = append(paths, e.rec.Stack)
	}
	looked := make(chan error, 1)
	go func() {
		var err error
		inputs, err = wt.Inputs(d.commit, paths)
		looked <- err
	}()
	err = s.writer.Sync()
	if err == nil && s.opt.Announce != nil {
		if err = s.opt.Announce(ctx); err != nil {
			err = notAnnounced{err}
		}
	}
	unread := <-looked
	return inputs, cmp.Or(err, unread)
}

// notAnnounced is why a deployment is not where others see it.
type notAnnounced struct{ error }

func (e notAnnounced) Unwrap() error { return e.error }

// brought has a deployment begin, or takes it back. s.mu is held.
func (s *Server) brought(ctx context.Context, d *run, inputs map[string]string, err error) error {
	if ctx.Err() != nil {
		err = notAnnounced{fmt.Errorf("terramate did not wait for the deployment to be announced: %w", context.Cause(ctx))}
	}
	switch {
	case errors.As(err, &notAnnounced{}):
		return s.undo(d, unavailable(fmt.Errorf("%w; nothing was executed", err)), "the run could not be announced: nothing was executed")
	case err != nil:
		return s.undo(d, err, notRecorded)
	}
	for _, e := range d.stacks {
		e.inputs = inputs[e.rec.Stack]
	}
	s.seen.Deployments++
	return nil
}

// mayStart returns when a stack of a deployment may start. s.mu is held, but not while it waits.
func (s *Server) mayStart(ctx context.Context, d *run) error {
	if d.announced == nil {
		return nil
	}
	select {
	case <-d.announced:
		return d.refused
	default:
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case <-d.announced:
		return d.refused
	case <-ctx.Done(): // it has gone
		d.giveUp(ctx.Err())
	case <-late.C:
		why := fmt.Errorf("the deployment was not announced within %v; nothing was executed", s.patience)
		if s.opt.Refused != nil {
			s.opt.Refused(why) // at once: it goes on without an answer
		}
		d.giveUp(why)
	}
	<-d.announced
	return d.refused
}

// Interrupt gives up announcements that are under way. Nothing is executed of what they were to announce.
func (s *Server) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.runs {
		if d.giveUp != nil {
			d.giveUp(errors.New("it was interrupted"))
		}
	}
}
