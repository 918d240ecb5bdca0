package deploy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Session is one run as it is recorded: its head, a record for each change of
// a stack, its end. All records are made on the commit on which it began.
type Session struct {
	World
	Store     *gitstate.Store
	Writer    *gitstate.Writer
	Commit    gitstate.Commit
	RunID     string
	LegNumber int                // which leg of the run this is; 0 where the run is not in legs
	Basis     *gitstate.State    // by which the stacks were selected
	Stacks    map[string]Planned // by path, as they were selected; see Session.Planned
	Rollout   *Waves             // in which they run; nil before that is known

	// Watch is told of every event of the run once it is on record, from one
	// goroutine at a time, which starts nothing meanwhile: it must be quick.
	Watch []func(runner.Event)
	// Last is the record of the last result, for who is told of it.
	Last *note.Record

	reader   *command.Reader // of what commands see
	pendings *query.Pendings // by which the stacks were selected, with --pending
	reselect bool            // the selection is by what is deployed, so that others' runs may change it
	newer    *newer          // pipelines of later commits
	made     *query.Made     // what the stacks are made of, where that is known
	guard    stillSo         // whether they are what they were; nil where nobody looks
	legs     map[string]int  // of a run that others execute in legs: which leg has which stack
	// waitsForLegs says whether a stack comes after one of another leg.
	waitsForLegs func(path string) bool

	breakHold string          // why stacks run though somebody holds them; "" where they do not
	heldBack  []runner.Result // that are left out because somebody holds them

	by      string                  // who, as its head says
	queued  map[string]*note.Record // what was announced, by path
	shared  bool                    // and is on the ref that all share
	net     context.Context         // of all that goes to the remote once the run was announced
	courier *Courier                // carries what is recorded
	course
}

// course is what happens to the stacks of a session while it lasts; all maps are by path.
type course struct {
	now      sync.Map // Planned: what was seen since it was selected, where that is something else
	follows  sync.Map // []string: the runs that it follows, as far as that is newer than its prev
	requeued sync.Map // *note.Record: what took the place of its line in queued
	running  sync.Map // *note.Record: the line that says that it runs
	seen     sync.Map // seen: by the command that deploys
	touched  sync.Map // true: its files, or HEAD, are not what they were
	left     sync.Map // true: another job is at it
	broken   sync.Map // true: somebody holds it
	plans    sync.Map // *note.Plan: what its command found to change, or applies
	issues   sync.Map // issue: that follows its drift, where that is another one than before

	mu           sync.Mutex // guards the two
	settledState *gitstate.State
	settledAt    time.Time
}

// watched is what the runner tells of a run: it is put on record, and then those are told who watch.
func (n *Session) watched(record func(runner.Event) error) func(runner.Event) error {
	return func(e runner.Event) error {
		err := record(e)
		for _, watch := range n.Watch {
			watch(e)
		}
		return err
	}
}

// head is the first record of a run.
func (n *Session) head(ctx context.Context, op, target string, stacks int, cmd []string) *note.Record {
	by := n.CI.By
	if by == "" {
		by = n.Store.Who(ctx)
	}
	n.by = by
	head := &note.Record{Event: note.Started, Op: op, Target: target, Run: n.RunID, Stacks: stacks, CommitTime: n.Commit.Time.Unix(),
		By: by, Job: n.CI.Job, Attempt: n.CI.Attempt, Cmd: note.NewRedactor(n.Environ, cmd).Command(cmd), Version: 1}
	head.SetLeg(n.LegNumber)
	head.SetBroke(n.breakHold)
	return head
}

func (n *Session) record(path string, status note.Status) *note.Record {
	s := n.Planned(path)
	r := &note.Record{Status: status, Op: s.Op.Name, Target: s.Target, Stack: path, ID: s.Stack.ID, Variant: s.Op.Variant, Dirty: s.Dirty || n.IsTouched(path), Prev: s.prev, Run: n.RunID}
	r.SetBackend(s.backend)
	r.SetValues(s.Op.Values)
	if follows, ok := n.follows.Load(path); ok {
		r.Prev = follows.([]string)
	}
	if n.Rollout != nil {
		r.SetWave(n.Rollout.NameOf(path))
	}
	if s.Op.Name == note.Drift {
		r.SetIssue(n.IssueOf(path))
	}
	if _, is := n.broken.Load(path); is {
		r.SetBroke(n.breakHold)
	}
	if status == note.Queued || status == note.Running {
		r.SetLeg(max(n.LegNumber, n.legs[path]))
	}
	return r
}

// settled is gitstate.Settled for this run, not older than a few seconds.
func (n *Session) settled() (*gitstate.State, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settledState != nil && time.Since(n.settledAt) < 5*time.Second {
		return n.settledState, nil
	}
	dead := map[string]bool{}
	for path := range n.Stacks {
		r := n.Planned(path)
		// Where its place was not known, it may have been queued at any of them.
		for _, was := range append([]gitstate.Latest{r.was}, r.maybe...) {
			gone, err := n.Basis.Abandoned(&was)
			if err != nil {
				return nil, err
			}
			for _, run := range gone {
				dead[run] = true
			}
		}
	}
	st, err := n.Store.Settled(context.Background(), n.RunID, dead)
	if err == nil {
		n.settledState, n.settledAt = st, time.Now()
	}
	return st, err
}

// unsettle has settled look anew.
func (n *Session) unsettle() {
	n.mu.Lock()
	n.settledState = nil
	n.mu.Unlock()
}

// follow takes down what a stack follows now, as is settled.
func (n *Session) follow(st *gitstate.State, path string) (gitstate.Latest, error) {
	r := n.Planned(path)
	l, err := st.LatestAt(note.Slot{ID: r.Stack.ID, Path: path, Target: r.Target, Op: r.Op.Name}, r.backend)
	if err == nil {
		n.Writer.Exactly(r.Stack.ID, path)
		n.follows.Store(path, slices.DeleteFunc(l.Runs(), func(run string) bool { return run == n.RunID }))
	}
	return l, err
}

// announce records the head, that every one of the stacks is queued, and what is held back.
func (n *Session) announce(head *note.Record, paths []string) error {
	records := []*note.Record{head}
	n.queued = map[string]*note.Record{}
	for _, p := range paths {
		n.queued[p] = n.record(p, note.Queued)
		records = append(records, n.queued[p])
	}
	for _, r := range n.heldBack {
		rec, err := n.outcome(r)
		if err != nil {
			return err
		}
		rec.Cause, rec.Reason = r.Cause, r.Reason
		records = append(records, rec)
	}
	return n.Writer.Append(n.Commit.Hash, records...)
}

// elsewhere reports whether a stack that was not started is another job's business:
// it was found done, or that job is at it, or at what it comes after.
func (n *Session) elsewhere(r runner.Result) bool {
	of := r.Stack.Path
	if r.Status == runner.StatusBlocked {
		of = r.Cause
	}
	_, left := n.left.Load(of)
	return r.Started.IsZero() && (left || r.Status == runner.StatusSkipped)
}

// result records what came of a stack.
func (n *Session) result(r runner.Result) error {
	if q := n.announced(r.Stack.Path); q != nil && n.elsewhere(r) {
		n.courier.noted()
		return n.Writer.Withdraw(n.Commit.Hash, q, note.Record{By: n.by, Reason: r.Reason})
	}
	if !r.Started.IsZero() {
		if err := n.ended(r.Stack.Path); err != nil {
			return err
		}
	}
	rec, err := n.outcome(r)
	if err != nil {
		return err
	}
	if r.Exit >= 0 && !r.Started.IsZero() {
		rec.Exit = &r.Exit
	}
	if !r.Started.IsZero() {
		rec.Took = max(r.Took, 1)
	}
	if r.Tries > 1 {
		rec.Tries = r.Tries
	}
	rec.Cause = r.Cause
	if r.Status != runner.StatusOK && r.Reason != "" {
		rec.Reason = r.Reason
	}
	n.found(rec)
	n.made.Put(rec, r.Stack.Path)
	n.Last = rec
	n.courier.Recorded()
	err = n.Writer.AppendLazily(n.Commit.Hash, rec)
	if n.Rollout != nil {
		n.Rollout.came[r.Stack.Path] = *rec
	}
	return err
}

// found has a result say since when it is so, and what its command found to change.
func (n *Session) found(rec *note.Record) {
	if s := n.Planned(rec.Stack); s.seen > 0 && s.driftAs == rec.Status {
		rec.Since, rec.Seen = s.since, s.seen+1
	}
	if p := n.PlanOf(rec.Stack); p != nil {
		rec.SetPlan(p)
	}
}

// PlanOf is what the command of a stack found to change, or applies; nil where that is not known.
func (n *Session) PlanOf(path string) *note.Plan {
	p, _ := n.plans.Load(path)
	plan, _ := p.(*note.Plan)
	return plan
}

// SetPlan has the result of a stack say what its command found to change, or applies. nil is not known.
func (n *Session) SetPlan(path string, p *note.Plan) { n.plans.Store(path, p) }

// issue is one on the forge.
type issue struct {
	number int
	closed bool
}

// IssueOf is the issue that follows the drift of a stack in a drift run, as its records say: 0 is none.
func (n *Session) IssueOf(path string) (number int, closed bool) {
	if i, is := n.issues.Load(path); is {
		return i.(issue).number, i.(issue).closed
	}
	was := n.Planned(path).was
	return was.Issue()
}

// DriftOf is what the record of a stack that has drifted is going to say.
func (n *Session) DriftOf(path string) note.Record {
	rec := n.record(path, note.Drifted)
	rec.At = time.Now()
	n.found(rec)
	return *rec
}

// SetIssue has the records of a stack name another one.
func (n *Session) SetIssue(path string, number int, closed bool) {
	n.issues.Store(path, issue{number, closed})
}

// outcome is the record of a stack that ended, or did not come to be started.
func (n *Session) outcome(r runner.Result) (*note.Record, error) {
	path := r.Stack.Path
	was := n.Planned(path).was
	if r.Started.IsZero() {
		// What others announced, or tmnotes matrix for this leg, is not what it was.
		mine := was.Run == n.RunID && (was.Status == note.Queued || was.Status == note.Running)
		if others := was.Underway(n.RunID); others || mine {
			st, err := n.settled()
			if err == nil && others {
				was, err = n.follow(st, path)
			} else if err == nil {
				s := n.Planned(path)
				was, err = st.Latest(note.Slot{ID: s.Stack.ID, Path: path, Target: s.Target, Op: s.Op.Name})
			}
			if err != nil {
				return nil, err
			}
		}
	}
	rec := n.record(path, note.Status(r.Status))
	if r.Started.IsZero() && (rec.Status == note.Blocked || rec.Status == note.Canceled) {
		was.Untouched(rec, n.Commit.Hash)
	}
	return rec, nil
}

func (n *Session) started(path string) error {
	n.courier.noted()
	running := n.record(path, note.Running)
	n.running.Store(path, running)
	return n.Writer.AppendLazily(n.Commit.Hash, running)
}

// finish records the end of the run, or of its leg, with how many stacks ended how.
func (n *Session) finish(count map[runner.Status]int) error {
	end := &note.Record{Event: note.Finished, Run: n.RunID,
		OK: count[runner.StatusOK], Failed: count[runner.StatusFailed], Blocked: count[runner.StatusBlocked],
		Canceled: count[runner.StatusCanceled], Drifts: count[runner.StatusDrifted]}
	end.SetSkipped(count[runner.StatusSkipped])
	end.SetLeg(n.LegNumber)
	return n.Writer.Append(n.Commit.Hash, end)
}

// withdraw records that what was announced is not going to happen: it is as if it had
// never been, also to who deploys before this comes to the remote.
func (n *Session) withdraw(paths []string, reason string) error {
	for _, p := range paths {
		if err := n.Writer.Withdraw(n.Commit.Hash, n.queued[p], note.Record{By: n.by, Reason: reason}); err != nil {
			return err
		}
	}
	end := &note.Record{Event: note.Finished, Run: n.RunID}
	end.SetSkipped(len(paths))
	end.SetLeg(n.LegNumber)
	return n.Writer.Append(n.Commit.Hash, end)
}

// followed takes from the state what the records of a stack follow.
func (r *Planned) followed(l *gitstate.Latest, commit, run string) {
	for _, prev := range l.Runs() {
		if prev != run {
			r.prev = append(r.prev, prev)
		}
	}
	if l.Op == r.Op.Name && (l.Status == note.OK || l.Status == note.Drifted) {
		r.Usual = l.Took
	}
	if r.Op.Name == note.Drift && l.Commit == commit && !l.At.IsZero() && l.Record.Variant == r.Op.Variant {
		r.driftAs, r.since, r.seen = l.Record.Status, l.Since, max(l.Seen, 1)
		if r.since.IsZero() {
			r.since = l.At
		}
	}
}

func count(results []runner.Result) map[runner.Status]int {
	n := map[runner.Status]int{}
	for _, r := range results {
		n[r.Status]++
	}
	return n
}
