package deploy

import (
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
)

// Where stacks end faster than the remote answers, those that come next are claimed
// along with those that start now. Only stacks that are ready are, so that nobody waits
// for another job with claims in his hands; and what is not started within seconds is
// let go of again.

// aheadMost is how many stacks are claimed ahead at most: as many as are one push.
const aheadMost = 490

// aheadClaims are stacks that were claimed, and decided on, before they were asked about.
// One goroutine at a time uses it.
type aheadClaims struct {
	keep    time.Duration // for how long
	next    func(most int) []runner.Stack
	decided map[string]decided

	// By these is told how many will be wanted.
	began time.Time // when stacks were claimed last
	ended time.Time
	let   int // how many were let in since
}

type decided struct {
	admission runner.Admission
	at        time.Time
	claim     gitstate.Claim
}

func (a *aheadClaims) init(lease time.Duration) {
	a.keep, a.decided = min(5*time.Second, lease/6), map[string]decided{}
}

// has reports whether a stack was decided on, and that was not taken yet.
func (a *aheadClaims) has(path string) bool {
	_, is := a.decided[path]
	return is
}

// take is what was decided of a stack, if that is so still. Else it is decided anew, and
// what is claimed then is in use: it must not be let go of here.
func (a *aheadClaims) take(c gitstate.Claim) (runner.Admission, bool) {
	d, is := a.decided[c.Stack]
	if !is || d.claim.ID != c.ID || d.claim.Target != c.Target {
		return runner.Admission{}, false
	}
	delete(a.decided, c.Stack)
	if time.Since(d.at) > a.keep || d.admission.Hold != nil && d.admission.Hold.Err() != nil {
		return runner.Admission{}, false
	}
	a.let++
	return d.admission, true
}

// choose says which stacks are to be claimed along with those that are wanted now: as
// many as will be started while the remote is asked eight times.
func (a *aheadClaims) choose(claim func(path string) (gitstate.Claim, bool)) (more []gitstate.Claim) {
	now := time.Now()
	cost, since := a.ended.Sub(a.began), max(now.Sub(a.ended), time.Millisecond)
	first := a.ended.IsZero()
	a.began = now
	if first || a.next == nil {
		return nil
	}
	most := min(float64(a.let)/since.Seconds()*min(8*cost, a.keep/2).Seconds(), aheadMost)
	if most < 1 {
		return nil
	}
	for _, s := range a.next(int(most) + len(a.decided)) {
		if a.has(s.Path) {
			continue
		}
		if c, is := claim(s.Path); is {
			more = append(more, c)
		}
	}
	return more
}

// put keeps what was decided of a stack that was chosen.
func (a *aheadClaims) put(c gitstate.Claim, admission runner.Admission) {
	a.decided[c.Stack] = decided{admission, time.Now(), c}
}

// failed has claims that may or may not have come about be unused.
func (a *aheadClaims) failed(claims []gitstate.Claim) {
	for _, c := range claims {
		a.decided[c.Stack] = decided{claim: c}
	}
}

// took says that the remote has answered, and that so many stacks start.
func (a *aheadClaims) took(stacks int) { a.ended, a.let = time.Now(), stacks }

// unused are the claims of stacks that were not asked about in time.
func (a *aheadClaims) unused() (claims []gitstate.Claim) {
	for path, d := range a.decided {
		if time.Since(d.at) > a.keep {
			delete(a.decided, path)
			claims = append(claims, d.claim)
		}
	}
	return claims
}
