package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// session is one run as it is recorded: its head, a record for each change of
// a stack, its end. All records are made on the commit on which it began.
type session struct {
	env    Env
	store  *gitstate.Store
	commit gitstate.Commit
	run    string
	stacks map[string]recorded // by path
	made   *query.Made         // what they are made of, where that is known
	waves  *waves              // in which they run; nil before that is known
	leg    int                 // which leg of the run this is; 0 where the run is not in legs
	// waitsForLegs says whether a stack comes after one of another leg.
	waitsForLegs func(path string) bool
	legs         map[string]int  // of a run that others execute in legs: which leg has which stack
	net          context.Context // of all that goes to the remote once the run was announced
	changed      atomic.Bool     // something was recorded since the last flush
	// Results are synced in groups, a few times a second: stacks that finish
	// side by side do not wait for the disk one after the other. Who loses the
	// machine in between finds them interrupted, and runs them again.
	unsynced atomic.Bool

	by           string                  // who, as its head says
	queued       map[string]*note.Record // what was announced, by path
	shared       bool                    // and is on the ref that all share
	follows      sync.Map                // path → []string: what a stack follows, as far as that is newer than its prev
	mu           sync.Mutex              // guards the two
	settledState *gitstate.State
	settledAt    time.Time
	guard        stillSo         // whether stacks are what they were; nil where nobody looks
	touched      sync.Map        // path → true: stacks that are not
	left         sync.Map        // path → true: stacks that another job is at
	before       *gitstate.State // by which the stacks were selected
	newer        *newer          // pipelines of later commits
	forced       bool            // --force
	pendings     *query.Pendings // by which they were, with --pending
	reader       *command.Reader // of what commands see
	now          sync.Map        // path → recorded: what was seen since, where that is something else
	running      sync.Map        // path → *gitstate.Record: the line that says that it runs
	requeued     sync.Map        // path → *gitstate.Record: what took the place of its line in queued
	seen         sync.Map        // path → seen
	reselect     bool            // the selection is by what is deployed, so that others' runs may change it

	// watch is told of every event of the run once it is on record, from one
	// goroutine at a time, which starts nothing meanwhile: it must be quick.
	watch []func(runner.Event)
	// last is the record of the last result, for who is told of it.
	last *note.Record
}

// recorded is what every record of a stack in this run says.
type recorded struct {
	stack   runner.Stack
	op      command.Operation
	base    string            // --target
	place   command.Place     // where it is deployed to, as far as that is seen,
	assumed bool              // or taken to be because it is recorded
	maybe   []gitstate.Latest // at the other places that it may be at, where that is not known
	target  string            // with the workspace, as in records
	backend string
	look    func(command.Operation) (command.Operation, command.Place, error)
	// Of a script: which commands are said to deploy.
	deploying []bool
	dirty     bool
	prev      []string
	was       gitstate.Latest // when it was selected
	since     time.Time       // of a drift series: FORMAT.md, "since"
	seen      int
	driftAs   note.Status
	usual     time.Duration // what the latest took, if it succeeded
}

// runID is the run that this process takes part in: TMNOTES_RUN, or a new one.
func runID(env Env, s *gitstate.Store) (string, error) {
	if id := env.Getenv("TMNOTES_RUN"); id != "" {
		if !command.ValidRun(id) {
			return "", fmt.Errorf("TMNOTES_RUN=%q is no id of a run; unset it, or take one from `tmnotes log`", id)
		}
		return id, nil
	}
	return s.NewRun(), nil
}

// head is the first record of a run.
func (n *session) head(ctx context.Context, ci ciJob, op, target string, stacks int, cmd []string) *note.Record {
	by := ci.by
	if by == "" {
		by = n.store.Who(ctx)
	}
	n.by = by
	head := &note.Record{Event: note.Started, Op: op, Target: target, Run: n.run, Stacks: stacks, CommitTime: n.commit.Time.Unix(),
		By: by, Job: ci.job, Attempt: ci.attempt, Cmd: note.NewRedactor(n.env.Environ, cmd).Command(cmd), Version: 1}
	head.SetLeg(n.leg)
	return head
}

func (n *session) record(path string, status note.Status) *note.Record {
	s := n.of(path)
	r := &note.Record{Status: status, Op: s.op.Name, Target: s.target, Stack: path, ID: s.stack.ID, Variant: s.op.Variant, Dirty: s.dirty || n.isTouched(path), Prev: s.prev, Run: n.run}
	r.SetBackend(s.backend)
	r.SetValues(s.op.Values)
	if follows, ok := n.follows.Load(path); ok {
		r.Prev = follows.([]string)
	}
	if n.waves != nil {
		r.SetWave(n.waves.name(path))
	}
	if status == note.Queued || status == note.Running {
		r.SetLeg(max(n.leg, n.legs[path]))
	}
	return r
}

// settled is gitstate.Settled for this run, not older than a few seconds.
func (n *session) settled() (*gitstate.State, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settledState != nil && time.Since(n.settledAt) < 5*time.Second {
		return n.settledState, nil
	}
	dead := map[string]bool{}
	for path := range n.stacks {
		r := n.of(path)
		// Where its place was not known, it may have been queued at any of them.
		for _, was := range append([]gitstate.Latest{r.was}, r.maybe...) {
			gone, err := n.before.Abandoned(&was)
			if err != nil {
				return nil, err
			}
			for _, run := range gone {
				dead[run] = true
			}
		}
	}
	st, err := n.store.Settled(context.Background(), n.run, dead)
	if err == nil {
		n.settledState, n.settledAt = st, time.Now()
	}
	return st, err
}

// unsettle has settled look anew.
func (n *session) unsettle() {
	n.mu.Lock()
	n.settledState = nil
	n.mu.Unlock()
}

// follow takes down what a stack follows now, as is settled.
func (n *session) follow(st *gitstate.State, path string) (gitstate.Latest, error) {
	r := n.of(path)
	l, err := st.LatestAt(r.stack.ID, path, r.target, r.backend, r.op.Name)
	if err == nil {
		n.store.Exactly(r.stack.ID, path)
		n.follows.Store(path, slices.DeleteFunc(l.Runs(), func(run string) bool { return run == n.run }))
	}
	return l, err
}

// announce records the head and that every one of the stacks is queued.
func (n *session) announce(head *note.Record, paths []string) error {
	records := []*note.Record{head}
	n.queued = map[string]*note.Record{}
	for _, p := range paths {
		n.queued[p] = n.record(p, note.Queued)
		records = append(records, n.queued[p])
	}
	return n.store.Append(n.commit.Hash, records...)
}

// elsewhere reports whether a stack that was not started is another job's business:
// it was found done, or that job is at it, or at what it comes after.
func (n *session) elsewhere(r runner.Result) bool {
	of := r.Stack.Path
	if r.Status == runner.StatusBlocked {
		of = r.Cause
	}
	_, left := n.left.Load(of)
	return r.Started.IsZero() && (left || r.Status == runner.StatusSkipped)
}

// result records what came of a stack.
func (n *session) result(r runner.Result) error {
	if q := n.announced(r.Stack.Path); q != nil && n.elsewhere(r) {
		n.changed.Store(true)
		return n.store.Withdraw(n.commit.Hash, q, note.Record{By: n.by, Reason: r.Reason})
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
	if s := n.of(r.Stack.Path); s.seen > 0 && s.driftAs == rec.Status {
		rec.Since, rec.Seen = s.since, s.seen+1
	}
	n.made.Put(rec, r.Stack.Path)
	n.last = rec
	n.changed.Store(true)
	n.unsynced.Store(true)
	err = n.store.AppendLazily(n.commit.Hash, rec)
	if n.waves != nil {
		n.waves.came[r.Stack.Path] = *rec
	}
	return err
}

// outcome is the record of a stack that ended, or did not come to be started.
func (n *session) outcome(r runner.Result) (*note.Record, error) {
	path := r.Stack.Path
	was := n.of(path).was
	if r.Started.IsZero() {
		// What others announced, or tmnotes matrix for this leg, is not what it was.
		mine := was.Run == n.run && (was.Status == note.Queued || was.Status == note.Running)
		if others := was.Underway(n.run); others || mine {
			st, err := n.settled()
			if err == nil && others {
				was, err = n.follow(st, path)
			} else if err == nil {
				s := n.of(path)
				was, err = st.Latest(s.stack.ID, path, s.target, s.op.Name)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	rec := n.record(path, note.Status(r.Status))
	if r.Started.IsZero() && (rec.Status == note.Blocked || rec.Status == note.Canceled) {
		was.Untouched(rec, n.commit.Hash)
	}
	return rec, nil
}

func (n *session) started(path string) error {
	n.changed.Store(true)
	running := n.record(path, note.Running)
	n.running.Store(path, running)
	return n.store.AppendLazily(n.commit.Hash, running)
}

// finish records the end of the run, or of its leg, with how many stacks ended how.
func (n *session) finish(count map[runner.Status]int) error {
	end := &note.Record{Event: note.Finished, Run: n.run,
		OK: count[runner.StatusOK], Failed: count[runner.StatusFailed], Blocked: count[runner.StatusBlocked],
		Canceled: count[runner.StatusCanceled], Drifts: count[runner.StatusDrifted]}
	end.SetSkipped(count[runner.StatusSkipped])
	end.SetLeg(n.leg)
	return n.store.Append(n.commit.Hash, end)
}

// withdraw records that what was announced is not going to happen: it is as if it had
// never been, also to who deploys before this comes to the remote.
func (n *session) withdraw(paths []string, reason string) error {
	for _, p := range paths {
		if err := n.store.Withdraw(n.commit.Hash, n.queued[p], note.Record{By: n.by, Reason: reason}); err != nil {
			return err
		}
	}
	end := &note.Record{Event: note.Finished, Run: n.run}
	end.SetSkipped(len(paths))
	end.SetLeg(n.leg)
	return n.store.Append(n.commit.Hash, end)
}

// followed takes from the state what the records of a stack follow.
func (r *recorded) followed(l *gitstate.Latest, commit, run string) {
	for _, prev := range l.Runs() {
		if prev != run {
			r.prev = append(r.prev, prev)
		}
	}
	if l.Op == r.op.Name && (l.Status == note.OK || l.Status == note.Drifted) {
		r.usual = l.Took
	}
	if r.op.Name == note.Drift && l.Commit == commit && !l.At.IsZero() && l.Record.Variant == r.op.Variant {
		r.driftAs, r.since, r.seen = l.Record.Status, l.Since, max(l.Seen, 1)
		if r.since.IsZero() {
			r.since = l.At
		}
	}
}

// taken is why a stack that was selected is not executed.
type taken struct {
	path, why  string
	superseded bool
}

// takeOff says which of the selected stacks need not run: those that are done
// on this commit (unless done is false), and, for deployments, those of which a
// later commit is deployed already.
func takeOff(ctx context.Context, st *gitstate.State, n *session, order []string, done, resume, allowRollback bool, warn func(string)) (map[string]taken, error) {
	off := map[string]taken{}
	recorded := map[string]string{} // what those that are done were made of
	var ask []gitstate.Latest
	var paths, places []string
	for _, p := range order {
		r := n.of(p)
		deploy := r.op.Name == note.Deploy
		if !deploy && !resume {
			continue
		}
		l, err := n.locate(st, &r)
		if err != nil {
			return nil, err
		}
		if is, why := doneAs(&l, n.commit.Hash, &r); done && is && !r.dirty {
			off[p] = taken{path: p, why: why}
			recorded[p] = l.Inputs
		} else if deploy && !allowRollback {
			// Where the place is not known, the code that is later at one of them stays.
			for i, l := range append([]gitstate.Latest{l}, r.maybe...) {
				where := ""
				if i > 0 {
					where = " to " + placeOf(&l.Record) + ", which may be its place (not known before init)"
				}
				why, err := n.newer.back(&l, p)
				if err != nil {
					return nil, err
				}
				if why != "" {
					off[p] = taken{path: p, superseded: true, why: why + where}
					break
				}
				ask, paths, places = append(ask, l), append(paths, p), append(places, where)
			}
		}
	}
	if err := n.regenerated(ctx, off, recorded); err != nil {
		return nil, err
	}
	late, guessed, err := st.Superseded(ctx, n.commit.Hash, ask)
	if err != nil {
		return nil, err
	}
	for i, p := range paths {
		if _, is := off[p]; late[i] && !is {
			off[p] = taken{path: p, superseded: true, why: fmt.Sprintf("a newer commit (%s) is already deployed", note.Short(ask[i].OKCommit)) + places[i]}
		}
	}
	if guessed > 0 {
		warn(fmt.Sprintf("the history of %s is not in this clone: the commit times in the records tell which commit is later", terminal.Plural(guessed, "deployed commit")))
	}
	return off, nil
}

// doneAs is Latest.Done for deployments; of any other operation (--resume) the
// latest record must be a success of the same command on this commit.
func doneAs(l *gitstate.Latest, commit string, r *recorded) (bool, string) {
	if r.op.Name == note.Deploy {
		return l.Done(commit, r.as())
	}
	ok, _ := l.Succeeded(r.op.Name, r.as())
	return ok && l.Commit == commit, fmt.Sprintf("%s succeeded here in run %s", r.op.Name, l.Run)
}

func count(results []runner.Result) map[runner.Status]int {
	n := map[runner.Status]int{}
	for _, r := range results {
		n[r.Status]++
	}
	return n
}

var errNoCommand = errors.New("no command given; write it after --, as in: tmnotes run -- terraform apply -auto-approve")
