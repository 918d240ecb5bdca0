package deploy

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
)

// Stacks are claimed ahead where they end faster than the remote answers, as many as will
// be started while it does; and what was not started in time is let go of.
func TestClaimedAhead(t *testing.T) {
	t.Parallel()
	ready := make([]runner.Stack, 1000)
	for i := range ready {
		ready[i].Path = fmt.Sprintf("/%03d", i)
	}
	of := func(path string) (gitstate.Claim, bool) { return gitstate.Claim{Stack: path}, path != "/001" }
	for _, c := range []struct {
		name       string
		cost, took time.Duration // of a question, and what the stacks took that were let in by it
		let        int
		least      int
		most       int
	}{
		{"fast stacks", 100 * time.Millisecond, 10 * time.Millisecond, 4, 200, aheadMost},
		{"stacks of a second", 100 * time.Millisecond, time.Second, 4, 2, 4},
		{"stacks of ten seconds, a slow remote", 3 * time.Second, 10 * time.Second, 4, 0, 1},
		{"stacks of minutes", 3 * time.Second, 5 * time.Minute, 4, 0, 0},
	} {
		var a aheadClaims
		a.init(2 * time.Minute)
		a.next = func(most int) []runner.Stack { return ready[:min(most, len(ready))] }
		if more := a.choose(of); len(more) > 0 {
			t.Errorf("%s: %d ahead before anything is known", c.name, len(more))
		}
		now := time.Now()
		a.began, a.ended, a.let = now.Add(-c.took-c.cost), now.Add(-c.took), c.let
		more := a.choose(of)
		if len(more) < c.least || len(more) > c.most || slices.ContainsFunc(more, func(n gitstate.Claim) bool { return n.Stack == "/001" }) {
			t.Errorf("%s: %d ahead, want %d to %d", c.name, len(more), c.least, c.most)
		}
	}

	var a aheadClaims
	a.init(2 * time.Minute)
	hold, lose := context.WithCancel(t.Context())
	for _, path := range []string{"/held", "/lost", "/late", "/done"} {
		answer := runner.Admission{Hold: t.Context()}
		switch path {
		case "/lost":
			answer.Hold = hold
		case "/done":
			answer = runner.Admission{Status: runner.StatusSkipped}
		}
		a.put(gitstate.Claim{Stack: path}, answer)
	}
	lose()
	late := a.decided["/late"]
	late.at = late.at.Add(-a.keep)
	a.decided["/late"] = late
	for path, want := range map[string]bool{"/held": true, "/lost": false, "/late": false, "/done": true, "/unknown": false} {
		if _, is := a.take(gitstate.Claim{Stack: path}); is != want {
			t.Errorf("%s: %v", path, is)
		}
	}
	a.failed([]gitstate.Claim{{Stack: "/failed"}})
	var unused []string
	for _, n := range a.unused() {
		unused = append(unused, n.Stack)
	}
	// What was too late was claimed anew, and is in use.
	if !slices.Equal(unused, []string{"/failed"}) {
		t.Errorf("unused: %q", unused)
	}
}

// However many are still to be let go of: who claims nothing waits for none of them, and as many as one
// push lets go of wait for no others.
func TestClaimsBehind(t *testing.T) {
	t.Parallel()
	var k claims
	k.ahead.init(2 * time.Minute)
	k.ahead.put(gitstate.Claim{Stack: "/held"}, runner.Admission{Hold: t.Context()})
	held, free := runner.Stack{Path: "/held"}, runner.Stack{Path: "/free"}
	if k.wanting([]runner.Stack{held}) || !k.wanting([]runner.Stack{held, free}) {
		t.Error("only who claims something waits")
	}
	for range releaseMost {
		if k.let.full() {
			t.Fatal("fewer than one push lets go of")
		}
		k.let.over = append(k.let.over, gitstate.Claim{Stack: "/held"})
	}
	if !k.let.full() {
		t.Error("as many as one push lets go of")
	}
}

// A push that is wanted waits until the interval is over, one that is urgent does not, and
// without either there is one an interval.
func TestWhenToPush(t *testing.T) {
	t.Parallel()
	last := time.Now().Add(-3 * time.Second)
	for _, c := range []struct {
		name     string
		interval time.Duration
		wanted   time.Duration // from last on; 0: not at all
		urgent   bool
		want     time.Duration
	}{
		{"nobody wants one", 10 * time.Second, 0, false, 10 * time.Second},
		{"soon after the last", 10 * time.Second, 2 * time.Second, false, 10 * time.Second},
		{"long after the last", 10 * time.Second, time.Minute, false, time.Minute},
		{"urgent", 10 * time.Second, 2 * time.Second, true, 2 * time.Second},
		{"only at the end", 0, 0, false, time.Hour},
		{"only at the end, and a stack is to be let go of", 0, 2 * time.Second, false, pushInterval},
	} {
		p := &Courier{interval: c.interval, woken: make(chan struct{}, 1)}
		if c.wanted > 0 {
			p.ask(last.Add(c.wanted), c.urgent)
		}
		if got := p.due(last, last).Sub(last); got != c.want {
			t.Errorf("%s: after %v, want %v", c.name, got, c.want)
		}
	}
}
