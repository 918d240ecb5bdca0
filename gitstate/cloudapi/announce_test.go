package cloudapi_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/terramate-io/terramate"
	"github.com/terramate-io/terramate/cloud"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// Where the CLI waits for the answer that a stack is running, a deployment is taken while it is
// being announced, and no stack starts before it is.
func TestStartsWhenAnnounced(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	arrive := make(chan struct{})
	var arrived atomic.Bool
	s := serve(t, r.Dir, func(o *cloudapi.Options) {
		o.WaitsToStart = true
		o.Announce = func(context.Context) error { <-arrive; return nil }
		o.Refused = func(err error) { t.Error(err) }
	})
	id := newUUID()
	res, err := s.announce(r.Head(), id, newStack("a"), newStack("b"))
	if err != nil || len(res) != 2 {
		t.Fatal(res, err)
	}
	if s.api.Seen().Deployments != 0 {
		t.Error("it counts as announced")
	}
	started := make(chan bool, len(res))
	for _, stack := range res {
		go func() {
			if err := s.tryUpdate(id, stack.StackID, deployment.Running); err != nil {
				t.Error(err)
			}
			started <- arrived.Load()
		}()
	}
	s.with("", resources.StatusFilters{}) // others are answered meanwhile
	if got := s.note(r.Head()); strings.Contains(got, "status=running") {
		t.Errorf("it began before it was announced:\n%s", got)
	}
	arrived.Store(true)
	close(arrive)
	for range res {
		if !<-started {
			t.Error("a stack started before the deployment was announced")
		}
	}
	for _, stack := range res {
		s.update(id, stack.StackID, deployment.OK)
	}
	if got := s.note(r.Head()); strings.Count(got, "status=ok") != 2 || s.api.Seen().Deployments != 1 {
		t.Errorf("%s%+v", got, s.api.Seen())
	}
}

// Where it is not announced, or not in time, no stack starts, and the CLI is stopped before it could
// go on without an answer.
func TestStartsNothingUnannounced(t *testing.T) {
	t.Parallel()
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, c := range map[string]struct {
		announce  func(context.Context) error
		meanwhile func(*service)
		patience  time.Duration
		why       string
	}{
		"refused":     {announce: func(context.Context) error { return errors.New("the remote is down") }, why: "the remote is down; nothing was executed"},
		"late":        {announce: wait, patience: time.Millisecond, why: "not announced within 1ms"},
		"interrupted": {announce: wait, meanwhile: func(s *service) { s.api.Interrupt() }, why: "it was interrupted; nothing was executed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := gittest.New(t)
			var first atomic.Pointer[error]
			s := serve(t, r.Dir, func(o *cloudapi.Options) {
				o.WaitsToStart, o.Announce = true, c.announce
				o.Refused = func(err error) { first.CompareAndSwap(nil, &err) }
			})
			if c.patience > 0 {
				s.api.Patience(c.patience)
			}
			id := newUUID()
			res, err := s.announce(r.Head(), id, newStack("a"))
			if err != nil {
				t.Fatal(err)
			}
			if c.meanwhile != nil {
				c.meanwhile(s)
			}
			err = s.tryUpdate(id, res[0].StackID, deployment.Running)
			if err == nil {
				t.Error("it may start")
			}
			if why := first.Load(); why == nil || !strings.Contains((*why).Error(), c.why) {
				t.Errorf("refused for %v", why)
			}
			s.api.Interrupt() // or a test that fails would not end
			if _, err := s.api.Settle("the end"); err != nil {
				t.Error(err)
			}
			if got := s.note(r.Head()); strings.Contains(got, "status=") || !strings.Contains(got, "event=forgotten") || s.api.Seen().Deployments != 0 {
				t.Errorf("%s%+v", got, s.api.Seen())
			}
		})
	}
}

// A server that ends waits for what becomes of an announcement, also where nobody waits for the
// deployment any more.
func TestEndWaitsForAnnouncement(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	arrive := make(chan struct{})
	var arrived atomic.Bool
	s := serve(t, r.Dir, func(o *cloudapi.Options) {
		o.WaitsToStart = true
		o.Announce = func(context.Context) error { <-arrive; arrived.Store(true); return nil }
	})
	if _, err := s.announce(r.Head(), newUUID(), newStack("a")); err != nil {
		t.Fatal(err)
	}
	go close(arrive)
	open, err := s.api.Settle("it ended")
	if err != nil || open != 1 || !arrived.Load() {
		t.Errorf("%d open, %v, arrived: %v", open, err, arrived.Load())
	}
	if got := s.note(r.Head()); !strings.Contains(got, "status=canceled") || !strings.Contains(got, "event=finished") {
		t.Errorf("the note is\n%s", got)
	}
}

// Who is told that all has ended is told when nothing is open any more, each time.
func TestEndedIsTold(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	var ended atomic.Int64
	s := serve(t, r.Dir, func(o *cloudapi.Options) { o.Ended = func() { ended.Add(1) } })
	begin := func(name string) func() {
		id := newUUID()
		res, err := s.announce(r.Head(), id, newStack(name))
		if err != nil {
			t.Fatal(err)
		}
		return func() { s.update(id, res[0].StackID, deployment.OK) }
	}
	a, b := begin("a"), begin("b")
	for i, step := range []struct {
		do   func()
		told int64
	}{{a, 0}, {b, 1}, {func() { begin("c")() }, 2}} {
		if step.do(); ended.Load() != step.told {
			t.Errorf("step %d: told %d times", i, ended.Load())
		}
	}
}

// agent is a client that says that it is another release of terramate.
type agent string

func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", string(a))
	return http.DefaultTransport.RoundTrip(r)
}

// Of another release nobody knows that it waits for that answer: it has the first one when its deployment
// is announced.
func TestAnotherReleaseWaitsBefore(t *testing.T) {
	t.Parallel()
	for version, before := range map[string]bool{terramate.Version(): false, "0.18.0": true} {
		r := gittest.New(t)
		arrive := make(chan struct{})
		var arrived atomic.Bool
		s := serve(t, r.Dir, func(o *cloudapi.Options) {
			o.WaitsToStart = true
			o.Announce = func(context.Context) error { <-arrive; arrived.Store(true); return nil }
		})
		s.Client = cloud.NewClient(cloud.WithBaseURL(s.url), cloud.WithHTTPClient(&http.Client{Transport: agent("terramate/v" + version)}), cloud.WithCredential(credential(token)))
		if before {
			close(arrive)
		}
		if _, err := s.announce(r.Head(), newUUID(), newStack("a")); err != nil {
			t.Fatal(err)
		}
		if arrived.Load() != before {
			t.Errorf("terramate %s: announced before it has an answer: %v", version, !before)
		}
		if !before {
			close(arrive)
		}
		if _, err := s.api.Settle("the end"); err != nil {
			t.Error(err)
		}
	}
}
