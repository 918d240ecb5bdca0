package cloudapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// preview is the operation of `terramate run --sync-preview`: a plan for a
// review. It says nothing of what is deployed.
const previewOp = "preview"

// run is a deployment, the drift runs of one command, or a preview, as long as
// the CLI may go on with it.
type run struct {
	id, op, commit string
	stacks         map[int64]*entry
	affected       map[int64]*entry // of a preview: of which it is not clear that nothing is done to them
	head           *note.Record     // where nothing of the run is recorded yet
	closed         bool             // no further stack is taken up: when all have ended, the run has
	finished       bool
	undone         string    // why it is over before it began, where that could not be recorded yet
	live           bool      // this process answers for it: see Options.Live
	done           func()    // it is not live any more
	asked          time.Time // when somebody wanted something of it

	announced chan struct{}           // closed when that is over; nil where nobody waits for it
	giveUp    context.CancelCauseFunc // of that
	refused   error                   // what came of it
}

// entry is a stack in a run. Its record is the last that was made; what it says
// of the run is the same in all of them.
type entry struct {
	rec     note.Record
	again   note.Record // of a drift run: the result before it, on the same commit and of the same command
	inputs  string      // digest of what it was made of
	started time.Time   // when it was running, as far as this process saw it
	out     output

	plan      *note.Plan // what it changes; nil where that is not known
	withdrawn bool       // its queued line has a tombstone

	base string  // the target without its workspace
	cmd  command // as far as this process was told it
}

// command is a command line as the CLI sends it: of deployments, the words joined
// by blanks alone.
type command struct {
	joined string
	argv   []string
}

func (e *entry) open() bool {
	return e.rec.Status == note.Queued || e.rec.Status == note.Running
}

// next is the following record of the entry's stack.
func (e *entry) next(status note.Status) *note.Record {
	r := e.rec
	next := &note.Record{Status: status, Op: r.Op, Target: r.Target, Stack: r.Stack, ID: r.ID, Variant: r.Variant, Dirty: r.Dirty, Prev: r.Prev, Run: r.Run, Extra: slices.Clone(r.Extra)}
	if status != note.Running && !r.Dirty {
		next.Inputs = e.inputs
	}
	if status != note.Running && e.plan != nil {
		next.SetPlan(e.plan)
	}
	return next
}

// origin is what a request says of where its stacks come from.
type origin struct {
	meta   *resources.DeploymentMetadata
	commit string // as named by the request
	url    string // of the CI job
}

// commitOf finds the commit that is deployed. A preview names the head of the
// review, which may not be here where the CI checked out its merge: then it is
// HEAD, as the metadata says it.
func (s *Server) commitOf(o origin) (gitstate.Commit, error) {
	names := []string{o.commit}
	if o.meta != nil && o.meta.GitCommitSHA != o.commit {
		names = append(names, o.meta.GitCommitSHA)
	}
	for _, name := range names {
		if !commitName.MatchString(name) {
			continue
		}
		if c, err := s.store.Resolve(name); err == nil {
			return c, nil
		}
	}
	return gitstate.Commit{}, bad("commit %q is not in the repository of this server; `git fetch` there may bring it", cmp.Or(o.commit, strings.Join(names, "")))
}

var (
	commitName = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	targetID   = regexp.MustCompile(`^[a-z0-9][-_a-z0-9]*[a-z0-9]$`) // engine.CheckTargetsConfiguration
)

func validTarget(target string) error {
	if target != "" && !targetID.MatchString(target) {
		return bad("target %q: use lower-case letters and digits, with - and _ in between", target)
	}
	return nil
}

const maxName = 4096 // bytes of a path or an id

// validStack refuses what could not stand in a record.
func (s *Server) validStack(st *resources.Stack) error {
	if err := st.Validate(); err != nil {
		return bad("%v", err)
	}
	switch {
	case !path.IsAbs(st.Path) || path.Clean(st.Path) != st.Path || !utf8.ValidString(st.Path) || len(st.Path) > maxName:
		return bad("%q is no path of a stack", st.Path)
	case !utf8.ValidString(st.MetaID) || len(st.MetaID) > maxName:
		return bad("%q is not the id of a stack", st.MetaID)
	}
	for _, t := range []string{st.Target, st.FromTarget} {
		if err := validTarget(t); err != nil {
			return err
		}
	}
	return s.isHere(st.Repository)
}

func sameNumber(a, b string) error {
	return fmt.Errorf("the stacks with ids %q and %q have the same number here; give one of them another id", a, b)
}

// words are the command lines that a command may have been: one, but where its words
// were joined by blanks and may have had some.
func (s *Server) words(cmd command) [][]string {
	if cmd.argv != nil {
		return [][]string{cmd.argv}
	}
	for i := range s.opt.CommandLine {
		if joined(s.opt.CommandLine[i:]) == cmd.joined {
			return [][]string{s.opt.CommandLine[i:]}
		}
	}
	return [][]string{note.JoinedCommand(cmd.joined), strings.Fields(cmd.joined)}
}

// head is the first record of a run, of which e is a stack.
func (s *Server) head(ctx context.Context, r *run, o origin, c gitstate.Commit, e *entry, stacks int) *note.Record {
	words, secrets := s.words(e.cmd), s.redactor(e)
	h := &note.Record{Event: note.Started, Op: r.op, Target: e.rec.Target, Run: r.id, Stacks: stacks, CommitTime: c.Time.Unix(),
		By: s.opt.By, Job: s.opt.Job, Attempt: s.opt.Attempt, Version: 1, Cmd: secrets.Text(e.cmd.joined, 1000)}
	if cmd := secrets.Command(words[0]); strings.Contains(cmd, "***") {
		h.Cmd = cmd
	}
	if h.Job == "" && h.Attempt == 0 {
		h.Job, h.Attempt = jobOf(o)
	}
	if h.By == "" {
		h.By = cmp.Or(byOf(o), s.store.Who(ctx))
	}
	return h
}

// jobOf and byOf read from the CLI's metadata what runner/cli reads from the
// environment of a CI job, in the same form.
func jobOf(o origin) (job string, attempt int) {
	if base, n, ok := strings.Cut(o.url, "/attempts/"); ok {
		attempt, _ = strconv.Atoi(n)
		return base, clampCount(attempt)
	}
	if m := o.meta; m != nil && m.GitlabCICDPipelineURL != "" {
		attempt, _ = strconv.Atoi(m.GitlabCICDJobID)
		return m.GitlabCICDPipelineURL + "#" + m.GitlabCICDJobName, clampCount(attempt)
	}
	return o.url, 0
}

func clampCount(n int) int { return min(max(n, 0), 1<<31-1) }

func byOf(o origin) string {
	m := o.meta
	if m == nil {
		return ""
	}
	if by := m.GithubActionsDeploymentActor; by != "" {
		return by
	}
	by := m.GitlabCICDUserName
	if by != "" && m.GitlabCICDUserEmail != "" {
		by += " <" + m.GitlabCICDUserEmail + ">"
	}
	return by
}

// see looks at what the command of an entry sees.
func (s *Server) see(path, joined string, argv []string) (Sight, error) {
	if s.opt.See == nil {
		return Sight{}, nil
	}
	return s.opt.See(path, joined, argv)
}

// look looks again at what the command of an entry sees, and has the next record say so. What
// was announced for another place is withdrawn. What is not as it was when the command
// began is not what will be asked for: it is dirty.
func (s *Server) look(r *run, e *entry, rec *note.Record) error {
	if s.opt.See == nil || s.opt.DryRun || r.op != note.Deploy && r.op != note.Drift || e.cmd.joined == "" {
		return nil
	}
	seen, err := s.see(rec.Stack, e.cmd.joined, e.cmd.argv)
	switch {
	case err != nil:
		rec.Dirty = true
	case rec.Status == note.Running:
		rec.Variant = seen.Variant
		rec.SetValues(seen.Values)
	case seen.Variant != rec.Variant:
		rec.Dirty = true
	}
	if err != nil || !seen.Known {
		return nil
	}
	was := e.rec
	rec.Target = join(e.base, seen.Workspace)
	rec.SetBackend(seen.Backend)
	if rec.Target == was.Target && rec.Backend() == was.Backend() {
		return nil
	}
	st, err := s.store.State(context.Background())
	if err != nil {
		return err
	}
	l, err := st.LatestAt(note.Slot{ID: rec.ID, Path: rec.Stack, Target: rec.Target, Op: r.op}, rec.Backend())
	if err != nil {
		return err
	}
	rec.Prev = slices.DeleteFunc(l.Runs(), func(prev string) bool { return prev == r.id })
	if rec.Target == was.Target && was.Backend() == "" {
		return nil // what names no backend is one of every backend, until this follows it
	}
	return s.writer.Withdraw(r.commit, &was, note.Record{By: s.who(), Reason: "it is deployed elsewhere: " + cmp.Or(rec.Target, "the default workspace")})
}

// newEntry makes the first record of a stack in a run, and says what it follows.
func (s *Server) newEntry(st *gitstate.State, r *run, of looked, status note.Status) (int64, *entry, error) {
	seen := of.seen
	rec := note.Record{Status: status, Op: r.op, Target: join(of.Target, of.workspace), Stack: of.Path, ID: of.MetaID, Variant: seen.Variant, Run: r.id}
	rec.SetBackend(seen.Backend)
	rec.SetValues(seen.Values)
	if of.FromTarget != "" && of.FromTarget != of.Target {
		rec.Extra = append(rec.Extra, note.Pair{Key: fromKey, Value: of.FromTarget})
	}
	l, err := st.Latest(note.Slot{ID: rec.ID, Path: rec.Stack, Target: rec.Target, Op: r.op})
	if seen.Known {
		l, err = st.LatestAt(note.Slot{ID: rec.ID, Path: rec.Stack, Target: rec.Target, Op: r.op}, rec.Backend())
	}
	if err != nil {
		return 0, nil, err
	}
	for _, prev := range l.Runs() {
		if prev != r.id {
			rec.Prev = append(rec.Prev, prev)
		}
	}
	if r.op == note.Drift {
		rec.SetIssue(l.Record.Issue())
	}
	e := &entry{rec: rec, base: of.Target, cmd: of.cmd}
	if r.op == note.Drift && l.Commit == r.commit && !l.At.IsZero() && l.Record.Variant == rec.Variant {
		e.again = l.Record
	}
	n := stackID(rec.Target, rec.ID)
	if other := r.stacks[n]; other != nil {
		if strings.EqualFold(other.rec.ID, rec.ID) {
			return 0, nil, bad("the stack with id %q is there twice", rec.ID)
		}
		return 0, nil, sameNumber(other.rec.ID, rec.ID)
	}
	return n, e, nil
}

// append records, lazily where somebody else sees to the disk.
func (s *Server) append(r *run, records ...*note.Record) error {
	r.asked = s.opt.Now()
	if s.opt.DryRun {
		return nil
	}
	made := func() {}
	if s.opt.Watch != nil {
		made = s.opt.Watch(r.commit, records)
	}
	var err error
	if s.opt.Recorded == nil {
		err = s.writer.Append(r.commit, records...)
	} else if err = s.writer.AppendLazily(r.commit, records...); err == nil {
		s.opt.Recorded(r.op)
	}
	if err == nil {
		made()
	}
	return err
}

// find is the run that is meant, from memory or, where another process began
// it, from the notes. It is nil if there is none.
func (s *Server) find(ctx context.Context, is func(id string) bool) (*run, error) {
	for id, r := range s.runs {
		if is(id) {
			r.asked = s.opt.Now()
			return r, nil
		}
	}
	st, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	s.writer.Follow(st)
	commit, lines, err := s.store.FindRun(st, is)
	if err != nil || commit == "" {
		return nil, err
	}
	r := &run{commit: commit, stacks: map[int64]*entry{}}
	for _, l := range lines { // in order of time
		rec := l.Record
		if l.Err != nil || !is(rec.Run) {
			continue
		}
		r.id = rec.Run
		switch {
		case rec.Event == note.Finished:
			r.finished = true
		case rec.Event == note.Forgotten && rec.ID != "":
			delete(r.stacks, stackID(rec.Target, rec.ID))
		case rec.Status != "" && rec.ID != "":
			r.op = rec.Op
			n := stackID(rec.Target, rec.ID)
			if old := r.stacks[n]; old != nil && !strings.EqualFold(old.rec.ID, rec.ID) {
				return nil, sameNumber(old.rec.ID, rec.ID)
			}
			r.stacks[n] = &entry{rec: rec}
		}
	}
	for _, e := range r.stacks {
		if e.rec.Op == note.Drift {
			e.again = before(lines, e.rec)
		}
	}
	r.closed = true
	return r, s.begin(r)
}

// before is the drift result that a drift run of a note repeats, if it is there.
func before(lines []gitstate.Line, of note.Record) (last note.Record) {
	for _, l := range lines {
		r := l.Record
		if l.Err == nil && r.Op == of.Op && r.Target == of.Target && r.Stack == of.Stack && r.Variant == of.Variant && r.Run != of.Run && r.At.Before(of.At) &&
			r.Status != note.Queued && r.Status != note.Running {
			last = r
		}
	}
	return last
}

// change records that a stack of a run has another status. What is so already
// is not said twice. reason is why it did not succeed, "" to look for it in
// what the command said; exit is its exit code, where that is known.
func (s *Server) change(r *run, e *entry, status note.Status, reason string, exit *int) error {
	if e.rec.Status == status {
		return s.finish(r) // if that could not be recorded before
	}
	if r.undone != "" && status != note.Canceled {
		return &wireError{http.StatusConflict, fmt.Errorf("this was refused: %s", r.undone)}
	}
	rec := e.next(status)
	rec.Exit = exit
	if status == note.Running || !e.started.IsZero() {
		if err := s.look(r, e, rec); err != nil {
			return err
		}
	}
	if status == note.Running {
		if !e.open() {
			return &wireError{http.StatusConflict, fmt.Errorf("%s has ended in this run: %s", rec.Stack, e.rec.Status)}
		}
		e.started = time.Now()
	} else {
		if !e.started.IsZero() {
			rec.Took = max(time.Since(e.started), 1)
		}
		if status == note.Failed || status == note.Canceled {
			rec.Reason = reason
			if reason == "" && s.opt.Reason != nil {
				// Before a line is picked and cut: nobody could tell half a secret any more.
				secrets := s.redactor(e)
				hide := func(text []byte) []byte { return []byte(secrets.Hide(note.PlainText(string(text)))) }
				// And once more where lines were put together.
				rec.Reason = secrets.Hide(s.opt.Reason(hide(e.out.stderr), hide(e.out.stdout)))
			}
		}
		if a := e.again; a.Status == status && status != "" {
			rec.Since, rec.Seen = a.Since, max(a.Seen, 1)+1
			if rec.Since.IsZero() {
				rec.Since = a.At
			}
		}
	}
	if err := s.append(r, rec); err != nil {
		return err
	}
	if e.rec = *rec; !e.open() {
		e.out = output{}
	}
	return s.finish(r)
}

// finish records the end of a run once all of its stacks have ended.
func (s *Server) finish(r *run) error {
	end := &note.Record{Event: note.Finished, Run: r.id}
	skipped := 0
	for _, e := range r.stacks {
		if e.withdrawn {
			skipped++
			continue
		}
		switch e.rec.Status {
		case note.OK:
			end.OK++
		case note.Failed:
			end.Failed++
		case note.Canceled:
			end.Canceled++
		case note.Blocked:
			end.Blocked++
		case note.Drifted:
			end.Drifts++
		default:
			return nil
		}
	}
	if !r.closed || r.finished || r.head != nil {
		return nil
	}
	end.SetSkipped(skipped)
	if err := s.append(r, end); err != nil {
		return err
	}
	r.finished = true
	r.leave()
	if s.opt.Ended != nil {
		for _, other := range s.runs {
			if !other.finished {
				return nil
			}
		}
		s.opt.Ended()
	}
	return nil
}

// runAndStack is an id that names a stack in a run.
func runAndStack(run string, n int64) string { return run + "-" + strconv.FormatInt(n, 10) }

// entryOf finds what such an id means.
func (s *Server) entryOf(ctx context.Context, id, op string) (*run, *entry, error) {
	runID, number, ok := strings.Cut(id, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || len(runID) != 26 {
		return nil, nil, bad("%q is not an id that this server gave out", id)
	}
	r, err := s.find(ctx, func(have string) bool { return have == runID })
	if err != nil {
		return nil, nil, err
	}
	if r != nil && r.op == op && r.stacks[n] != nil {
		return r, r.stacks[n], nil
	}
	return nil, nil, notFound("there is no %s %q", op, id)
}
