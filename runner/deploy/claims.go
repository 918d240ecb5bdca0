package deploy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Claims keep two jobs from starting one stack of one target at once
// (gitstate.Claimer). A stack is claimed right before it starts, where stacks end fast a
// few seconds ahead; then the notes are read again, since it may have been done by who
// had it before; and it is let go of once its result is on the remote.

// claims are those of a run. A nil one claims nothing.
type claims struct {
	n       *Session
	opt     ClaimOptions
	claimer *gitstate.Claimer
	remote  string
	code    string // the remote that has commits
	g       *runner.Graph
	skip    map[string]bool

	// What is decided again when a stack is about to start.
	rules       Rules
	holds       *holds
	named       bool // by a filter on state, which says what to run: nothing is left out
	lookedBack  bool
	overtook    *bool           // set if another pipeline began while the stacks were being selected
	unreachable time.Time       // since when the remote cannot be asked
	elsewhere   map[string]bool // stacks that --on-claimed=skip left to others
	held        sync.Map        // path → gitstate.Claim: as it was when the stack started

	taking sync.Mutex // held while stacks are claimed, or what was claimed ahead is let go of
	ahead  aheadClaims
	let    letGo
	says   map[string]said // what was said of a stack that is waited for
}

func (x *Plan) claim(head *note.Record, overtook *bool) *claims {
	push := x.courier
	if push.Remote == "" || x.Claims.Off {
		return nil
	}
	k := &claims{n: x.Session, opt: x.Claims, remote: push.Remote, code: x.Route.Code, g: x.Graph, skip: x.Exec.Skip, rules: x.rules(), named: x.Filter.Set(),
		overtook: overtook, elsewhere: map[string]bool{}, says: map[string]said{}}
	k.claimer = x.Store.Remote(k.remote).NewClaimer(x.Writer, gitstate.Claim{Commit: x.Commit.Hash, Run: x.RunID, Leg: x.LegNumber, By: head.By, Job: head.Job, Lease: k.opt.Lease})
	k.ahead.init(k.opt.Lease)
	k.let.most = waitMost(head.Stacks)
	k.let.begin(x.net, k.claimer, push, k.ahead.keep, k.letGoUnused)
	return k
}

// of is what is claimed for a stack.
func (k *claims) of(path string) (gitstate.Claim, bool) {
	r := k.n.Planned(path)
	return gitstate.Claim{Stack: path, ID: r.Stack.ID, Target: r.Target, Announced: k.n.shared && k.n.queued[path] != nil}, note.Op(r.Op.Name).Deploys()
}

// admit claims the stacks that are ready and decides again whether they need to run. (It is long since
// each way for the remote to answer is one for all that were asked about.)
func (k *claims) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	at := map[string]int{}
	var want []gitstate.Claim
	if k.wanting(ready) {
		k.let.keepUp(ctx, k.opt.Lease)
	}
	k.taking.Lock() // nothing is let go of meanwhile that is taken now
	defer k.taking.Unlock()
	for i, s := range ready {
		at[s.Path] = i
		c, is := k.of(s.Path)
		if after := k.afterElsewhere(s.Path); after != "" {
			k.elsewhere[s.Path] = true
			answers[i] = runner.Admission{Status: runner.StatusSkipped, Reason: "depends on " + after + ", which another job is deploying"}
		} else if a, decided := k.ahead.take(c); is && decided {
			if answers[i] = a; a.Hold == nil {
				k.let.now(c)
			}
		} else if is {
			want = append(want, c)
		}
	}
	if len(want) == 0 {
		return answers, nil
	}
	more := k.ahead.choose(func(path string) (gitstate.Claim, bool) {
		_, left := k.n.left.Load(path)
		c, is := k.of(path)
		return c, is && !left && (k.n.waitsForLegs == nil || !k.n.waitsForLegs(path)) && k.afterElsewhere(path) == ""
	})
	err := k.take(ctx, want, more, func(path string, a runner.Admission) {
		if i, asked := at[path]; asked {
			answers[i] = a
		} else {
			c, _ := k.of(path)
			k.ahead.put(c, a)
		}
	})
	k.ahead.took(len(ready))
	if err != nil {
		k.ahead.failed(more)
	}
	switch {
	case ctx.Err() != nil:
		return make([]runner.Admission, len(ready)), nil // what is interrupted does not start, whatever is said here
	case errors.Is(err, gitstate.ErrClaims):
		return nil, AdmitError{fmt.Errorf("stacks cannot be locked: %w (--locks=off deploys without locks, and does not see other jobs)", err)}
	case errors.Is(err, gitstate.ErrRemote):
		later, err := k.later(err)
		if err != nil {
			return nil, err
		}
		for _, c := range want {
			if i := at[c.Stack]; answers[i] == (runner.Admission{}) {
				answers[i] = later
			}
		}
		return answers, nil
	case err != nil:
		return nil, AdmitError{err}
	}
	k.unreachable = time.Time{}
	return answers, nil
}

// wanting reports whether one of the stacks was not claimed ahead.
func (k *claims) wanting(ready []runner.Stack) bool {
	k.taking.Lock()
	defer k.taking.Unlock()
	return slices.ContainsFunc(ready, func(s runner.Stack) bool { return !k.ahead.has(s.Path) })
}

// later has a stack wait for a remote that cannot be asked, for as long as a lease.
func (k *claims) later(unreachable error) (runner.Admission, error) {
	if k.unreachable.IsZero() {
		k.unreachable = time.Now()
	}
	if time.Since(k.unreachable) > k.opt.Lease {
		return runner.Admission{}, AdmitError{fmt.Errorf("stacks cannot be locked: %w", unreachable)}
	}
	return runner.Admission{Later: k.soon(), Reason: query.OneLine(unreachable)}, nil
}

// soon is when to look again: not all at once.
func (k *claims) soon() time.Duration { return k.claimer.Poll/2 + rand.N(k.claimer.Poll/2) }

// take says what becomes of the stacks that are wanted, and of more that are claimed with
// them if they are free. What others are at, or were, is looked at before it is
// claimed, so that a stack that is done is not claimed for nothing.
func (k *claims) take(ctx context.Context, want, more []gitstate.Claim, say func(string, runner.Admission)) error {
	want, err := k.lookAhead(ctx, want, say)
	if err != nil || len(want) == 0 {
		return err
	}
	asked := len(want)
	want = append(want, more...)
	got, err := k.claimer.Take(ctx, want)
	if err != nil {
		return err
	}
	var mine []string
	for i, t := range got {
		switch {
		case t.Hold != nil:
			mine = append(mine, want[i].Stack)
		case i >= asked: // it is asked about when its turn comes
		case t.By != nil:
			k.claimed(want[i].Stack, t.By, say)
		default:
			k.n.left.Store(want[i].Stack, true)
			say(want[i].Stack, runner.Admission{Later: k.soon(), Reason: "other jobs are locking it"})
		}
	}
	off, err := k.decide(ctx, k.claimer.Known(), mine)
	if err == nil {
		err = k.lookBack()
	}
	if err != nil {
		return err
	}
	for i, t := range got {
		if t.Hold == nil {
			continue
		}
		path := want[i].Stack
		k.n.left.Delete(path)
		answer := k.holds.of(k.claimer.Known(), path)
		if done, is := off[path]; is {
			answer = done.admission()
		}
		if answer.Status == "" {
			k.held.Store(path, want[i])
			answer.Hold = t.Hold
		} else if i < asked {
			k.let.now(want[i])
		}
		say(path, answer)
	}
	return nil
}

// lookAhead returns what is left of the stacks that are wanted without those that others
// have, or have done meanwhile.
func (k *claims) lookAhead(ctx context.Context, want []gitstate.Claim, say func(string, runner.Admission)) ([]gitstate.Claim, error) {
	var busy []string
	for _, c := range want {
		_, left := k.n.left.Load(c.Stack)
		if r := k.n.Planned(c.Stack); left || r.was.Underway(k.n.RunID) {
			busy = append(busy, c.Stack)
		}
	}
	for range 2 { // by what is here, and by what there is to fetch
		if len(busy) == 0 {
			break
		}
		st, err := k.n.Store.State(ctx)
		if err != nil {
			return nil, err
		}
		off, err := k.decide(ctx, st, busy)
		if err != nil {
			return nil, err
		}
		want = slices.DeleteFunc(want, func(c gitstate.Claim) bool {
			t, is := off[c.Stack]
			if is {
				say(c.Stack, t.admission())
			}
			return is
		})
		busy = slices.DeleteFunc(busy, func(p string) bool { _, is := off[p]; return is })
		if len(busy) == 0 {
			break
		}
		others, err := k.claimer.Others(ctx, want)
		if err != nil {
			return nil, err
		}
		free := want[:0:0]
		for i, by := range others {
			if by != nil {
				k.claimed(want[i].Stack, by, say)
				busy = slices.DeleteFunc(busy, func(p string) bool { return p == want[i].Stack })
			} else {
				free = append(free, want[i])
			}
		}
		want = free
	}
	return want, nil
}

// claimed says what becomes of a stack that another job has claimed.
func (k *claims) claimed(path string, by *gitstate.Other, say func(string, runner.Admission)) {
	k.n.left.Store(path, true)
	reason := "locked by " + by.Who()
	switch k.opt.OnClaimed {
	case "skip":
		k.elsewhere[path] = true
		say(path, runner.Admission{Status: runner.StatusSkipped, Reason: reason})
	case "fail":
		say(path, runner.Admission{Status: runner.StatusFailed, Reason: reason + " (--on-locked=fail)"})
	default:
		say(path, runner.Admission{Later: k.soon(), Reason: k.waitsFor(path, by)})
	}
}

// said is what was said of a claim, and when.
type said struct {
	run, text string
	at        time.Time
}

// waitsFor says whose claim is waited for, not anew at each of its renewals.
func (k *claims) waitsFor(path string, by *gitstate.Other) string {
	if was := k.says[path]; was.run == by.Run && time.Since(was.at) < time.Minute {
		return was.text
	}
	text := "locked by " + by.Who() + " " + SinceWhen(&by.Claim)
	if by.Here {
		text += "; its command still runs on this machine"
	} else {
		text += fmt.Sprintf("; taken over at %s unless it is renewed", ClockTime(time.Now().Add(by.Left)))
	}
	k.says[path] = said{by.Run, text, time.Now()}
	return text
}

// SinceWhen is since when a stack is claimed, and when that was renewed last, by the
// holder's clock.
func SinceWhen(c *gitstate.Claim) string {
	text := "since " + ClockTime(c.Since)
	if c.Renewed > 0 {
		text += ", renewed at " + ClockTime(c.At)
	}
	return text
}

// ClockTime is a time of today without the date.
func ClockTime(t time.Time) string {
	if t, now := t.Local(), time.Now(); t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Local().Format(time.DateTime)
}

// afterElsewhere is a stack that was left to another job and that comes before this
// one, also over stacks that were done before.
func (k *claims) afterElsewhere(path string) string {
	for _, p := range k.g.Predecessors(path) {
		if k.elsewhere[p] {
			return p
		}
		if k.skip[p] {
			if after := k.afterElsewhere(p); after != "" {
				return after
			}
		}
	}
	return ""
}

// decide looks at stacks as the selection did, with what was recorded until st, and
// says which need not run. What they follow is taken down.
func (k *claims) decide(ctx context.Context, st *gitstate.State, paths []string) (map[string]Decision, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	k.n.Writer.Follow(st)
	began, err := st.Began(k.n.Basis)
	if err != nil {
		return nil, err
	}
	if err := k.n.newer.know(ctx, began); err != nil {
		return nil, err
	}
	off := map[string]Decision{}
	var settled *gitstate.State
	var again []string
	for _, p := range paths {
		r := k.n.Planned(p)
		news, err := st.News(&r.was, note.Slot{ID: r.Stack.ID, Path: p, Target: r.Target, Op: r.Op.Name}, k.n.RunID)
		if err != nil {
			return nil, err
		}
		l := r.was
		if news {
			if settled == nil {
				k.n.unsettle()
				if settled, err = k.n.settled(); err != nil {
					return nil, err
				}
			}
			if l, err = k.n.follow(settled, p); err != nil {
				return nil, err
			}
		}
		switch {
		case k.named:
		case news && (l.Run != r.was.Run || !l.At.Equal(r.was.At) || len(r.was.Diverged) > 0):
			again = append(again, p)
		case r.Op.Name == note.Deploy && !k.rules.Rollback:
			if why, err := k.n.newer.back(&l, p); err != nil {
				return nil, err
			} else if why != "" {
				off[p] = Decision{Late, why}
			}
		}
	}
	if len(again) == 0 {
		return off, nil
	}
	if err := k.bring(ctx, settled, again); err != nil {
		return nil, err
	}
	more, err := k.n.decideAll(ctx, settled, again, k.rules)
	for p, t := range more {
		off[p] = t
	}
	return off, err
}

// lookBack finds out, once the notes were fetched after the announcement, whether
// another pipeline announced itself before: what it did not know of, and what this
// one did not, is selected anew.
func (k *claims) lookBack() error {
	if k.lookedBack || !k.n.reselect {
		return nil
	}
	st, err := k.n.Store.State(context.Background())
	if err != nil {
		return err
	}
	k.n.Writer.Follow(st)
	began, err := st.Began(k.n.Basis)
	k.lookedBack = true
	*k.overtook = k.n.overtaken(began, k.n.newer.target)
	return err
}

// bring has the commits here on which the stacks were deployed meanwhile: which of two
// is later is told by the history.
func (k *claims) bring(ctx context.Context, st *gitstate.State, paths []string) error {
	var commits []string
	for _, p := range paths {
		l, err := k.n.latest(st, p)
		if err != nil {
			return err
		}
		if l.OKCommit != "" {
			commits = append(commits, l.OKCommit)
		}
	}
	return k.n.Store.Remote(k.code).Bring(ctx, commits)
}

// finished lets go of a stack that has ended, after its result was recorded.
func (k *claims) finished(r runner.Result) {
	if k == nil || r.Started.IsZero() {
		return
	}
	if c, is := k.held.Load(r.Stack.Path); is {
		k.let.ended(c.(gitstate.Claim))
	}
}

// end lets go of all that is held, if all that is recorded is on the remote.
func (k *claims) end(pushed bool) {
	if k == nil {
		return
	}
	k.let.end()
	if pushed {
		k.settle()
		for part := range slices.Chunk(k.claimer.Held(), releaseMost) {
			_ = k.claimer.Release(k.n.net, part) // what is not released expires
		}
		k.claimer.Sweep(k.n.net)
		if err := k.lookBack(); err != nil {
			k.n.Out.Warn(err.Error())
		}
	}
	k.claimer.Close()
}

// letGoUnused lets go of what was claimed ahead for nothing.
func (k *claims) letGoUnused() {
	k.taking.Lock()
	defer k.taking.Unlock()
	if unused := k.ahead.unused(); len(unused) > 0 {
		_ = k.claimer.Release(k.n.net, unused)
	}
}

// settle tries to have the results on the ref that all share. Who comes next has to find
// them: while they are only on a spool ref, somebody who folds that in may be between
// his two pushes.
func (k *claims) settle() {
	for range 8 {
		tr, err := k.n.Store.Remote(k.remote).PushFetched(k.n.net)
		if err == nil && (!tr.Spooled || tr.Refused) || k.n.net.Err() != nil {
			return
		}
		time.Sleep(releaseWait)
	}
}
