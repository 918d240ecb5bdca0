package report

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Options say what to report.
type Options struct {
	// Now is the time of the report; zero is the clock's.
	Now        time.Time
	Repository string
	Remote     string
	Fetched    time.Time
	// Stacks are the stacks to report, once for each target, in the order in
	// which to show them.
	Stacks []Known
	// Commits is on how many commits the history stands: those on which something
	// was recorded last. 0 is DefaultCommits. The latest results are reported
	// wherever they stand.
	Commits int
	// Run is the run that the report is about: formats that can show one alone do.
	Run string
	// Keep, if set, chooses among the stacks by what the notes say of them.
	Keep func(deploy, drift gitstate.Latest, own note.Status) bool
}

// DefaultCommits is how many commits' records a report has.
const DefaultCommits = 200

// Known is a stack for a target, as the project knows it.
type Known struct {
	Path, ID, Name string
	Tags           []string
	Target         string
	// Gone is a stack that is none of HEAD's and was not destroyed; LastCommit
	// had it last, if that is known.
	Gone       bool
	LastCommit string
}

// row is a stack in the making.
type row struct {
	*Stack
	live map[runOf]note.Status // derived statuses of the latest results, by where they stand
}

// runOf is a run as one commit's note tells of it.
type runOf struct{ run, commit string }

// builder makes a report.
type builder struct {
	opt   Options
	notes noteHeap // of the commits that are reported
	older int
	since time.Time // the newest record that is left out
	rows  map[rowKey]*row
	paths map[rowKey]*row // of the stacks that are not gone
	runs  map[runOf]*Run
	last  map[rowKey]*lasts
}

// rowKey is what the records of a row have in common: gitstate.PathIDs.StackOf.
type rowKey struct{ target, stack string }

// lasts are the newest results of a kind, on whatever commit.
type lasts struct{ ok, failure, drift *Result }

// annotation is what stands on a commit.
type annotation struct {
	commit  string
	newest  time.Time
	results []note.Record
	events  []note.Record
}

// Build reads what the notes say. A note that cannot be read is an error, never
// a shorter report; lines that are no records are left out, and named by
// `tmnotes check`.
func Build(ctx context.Context, s *gitstate.Store, st *gitstate.State, opt Options) (*Report, error) {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.Commits <= 0 {
		opt.Commits = DefaultCommits
	}
	b := &builder{opt: opt, rows: map[rowKey]*row{}, paths: map[rowKey]*row{}, runs: map[runOf]*Run{}, last: map[rowKey]*lasts{}}
	r := &Report{At: opt.Now.UTC().Truncate(time.Millisecond), Repository: opt.Repository, Ref: s.Ref(), Remote: opt.Remote, Fetched: opt.Fetched.UTC().Truncate(time.Second),
		Run: opt.Run, Stacks: []Stack{}, Runs: []Run{}, Commits: []Commit{}}
	if err := s.Notes(func(commit string, lines []gitstate.Line) error {
		b.add(commit, lines)
		return context.Cause(ctx)
	}); err != nil {
		return nil, err
	}
	rows, err := b.latest(st)
	if err != nil {
		return nil, err
	}
	b.history()
	for _, x := range rows {
		r.Stacks = append(r.Stacks, *x.Stack)
	}
	r.addLogs(s)
	if err := b.verify(ctx, s); err != nil {
		return nil, err
	}
	r.Runs = b.sortedRuns()
	head, err := s.Resolve("HEAD")
	if err != nil && !errors.Is(err, gitstate.ErrNoCommit) {
		return nil, err
	}
	r.Head = head.Hash
	if r.Commits, err = b.commits(s, head); err != nil {
		return nil, err
	}
	r.OlderCommits = b.older
	r.Figures = figures(r, b.since)
	return r, nil
}

// noteHeap has the note with the oldest newest record on top.
type noteHeap []*annotation

func (h noteHeap) Len() int { return len(h) }

func (h noteHeap) Less(i, j int) bool { return h[i].newest.Before(h[j].newest) }

func (h noteHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *noteHeap) Push(x any) { *h = append(*h, x.(*annotation)) }

func (h *noteHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	*h = old[:len(old)-1]
	return n
}

// add takes in a commit's note, and lets go of that of the commit on which the
// last record is the oldest, if there are too many.
func (b *builder) add(commit string, lines []gitstate.Line) {
	n := &annotation{commit: commit}
	for _, l := range lines {
		switch r := l.Record; {
		case l.Err != nil, note.Op(r.Op).Holds():
		case r.Status != "":
			n.results = append(n.results, r)
			if r.At.After(n.newest) {
				n.newest = r.At
			}
		case r.Event == note.Started || r.Event == note.Finished:
			n.events = append(n.events, r)
		}
	}
	if len(n.results) == 0 {
		return
	}
	by := map[string]string{}
	for _, r := range n.events {
		by[r.Run] = cmp.Or(by[r.Run], r.By)
	}
	for i := range n.results {
		b.remember(commit, &n.results[i], by)
	}
	heap.Push(&b.notes, n)
	if len(b.notes) > b.opt.Commits {
		gone := heap.Pop(&b.notes).(*annotation)
		b.older++
		if gone.newest.After(b.since) {
			b.since = gone.newest
		}
	}
}

// remember keeps the newest results that are asked for wherever they stand.
func (b *builder) remember(commit string, r *note.Record, by map[string]string) {
	at := func(l *lasts) **Result {
		switch {
		case r.Op == note.Deploy && r.Status == note.OK:
			return &l.ok
		case note.Op(r.Op).Deploys() && r.Status == note.Failed:
			return &l.failure
		case r.Op == note.Drift && r.Status == note.Drifted:
			return &l.drift
		}
		return nil
	}
	if at(&lasts{}) == nil {
		return
	}
	key := rowKey{r.Target, gitstate.PathIDs(nil).StackOf(r)}
	if b.last[key] == nil {
		b.last[key] = &lasts{}
	}
	if to := at(b.last[key]); *to == nil || r.At.After((*to).Record.At) {
		*to = &Result{Commit: commit, Status: r.Status, By: cmp.Or(r.By, by[r.Run]), Record: *r}
	}
}

// latest makes the rows, with the latest results as gitstate tells them.
func (b *builder) latest(st *gitstate.State) ([]*row, error) {
	others := map[rowKey][]string{} // operations beside deployments and drift runs
	for _, slot := range st.Slots() {
		if slot.Op != note.Deploy && slot.Op != note.Drift {
			for _, of := range []string{keyOf(slot.ID, slot.Path), slot.Path} {
				k := rowKey{slot.Target, of}
				others[k] = append(others[k], slot.Op)
			}
		}
	}
	here := map[rowKey]bool{} // paths of stacks that are not gone
	for _, k := range b.opt.Stacks {
		if !k.Gone {
			here[rowKey{k.Target, k.Path}] = true
		}
	}
	var rows []*row
	for _, k := range b.opt.Stacks {
		path := k.Path
		if k.Gone && k.ID != "" && here[rowKey{k.Target, k.Path}] {
			path = "" // another stack stands there by now, with a history of its own
		}
		x, err := b.row(st, k, path, others)
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		b.rows[rowKey{k.Target, keyOf(k.ID, k.Path)}] = x
		if !k.Gone {
			b.paths[rowKey{k.Target, k.Path}] = x
		}
		rows = append(rows, x)
	}
	return rows, nil
}

// row is a stack with its latest results, nil if it is not kept. path is where its
// records from before it had an id may stand, "" if nowhere.
func (b *builder) row(st *gitstate.State, k Known, path string, others map[rowKey][]string) (*row, error) {
	x := &row{Stack: &Stack{Path: k.Path, ID: strings.ToLower(k.ID), Name: k.Name, Tags: k.Tags, Target: k.Target, LastCommit: k.LastCommit}, live: map[runOf]note.Status{}}
	ask := func(op string) (gitstate.Latest, error) {
		l, err := st.Latest(note.Slot{ID: x.ID, Path: path, Target: x.Target, Op: op})
		if err == nil && l.Status != note.Never {
			x.live[runOf{l.Run, l.Commit}] = l.Status
			x.Latest = append(x.Latest, Result{Commit: l.Commit, Status: l.Status, By: l.By, Record: l.Record})
		}
		return l, err
	}
	deploy, err := ask(note.Deploy)
	if err != nil {
		return nil, err
	}
	drift, err := ask(note.Drift)
	if err != nil {
		return nil, err
	}
	own := gitstate.StackStatus(deploy, drift)
	if k.Gone {
		own = note.Orphaned
	}
	if b.opt.Keep != nil && !b.opt.Keep(deploy, drift, own) {
		return nil, nil
	}
	x.Status, x.DeploymentStatus, x.DriftStatus = own, deploy.Status, drift.Status
	x.Diverged = deploy.Conflicts
	key := rowKey{k.Target, keyOf(k.ID, k.Path)}
	ops := others[key]
	if path != "" {
		ops = slices.Concat(ops, others[rowKey{k.Target, path}])
	}
	slices.Sort(ops)
	for _, op := range slices.Compact(ops) {
		if _, err := ask(op); err != nil {
			return nil, err
		}
	}
	for _, k := range []rowKey{key, {k.Target, path}} {
		if l := b.last[k]; l != nil {
			x.LastOK, x.LastFailure, x.LastDrift = cmp.Or(x.LastOK, l.ok), cmp.Or(x.LastFailure, l.failure), cmp.Or(x.LastDrift, l.drift)
		}
	}
	if d := x.Deployment(); deploy.Status == note.Interrupted && (x.LastFailure == nil || d.Record.At.After(x.LastFailure.Record.At)) {
		x.LastFailure = d
	}
	return x, nil
}

func keyOf(id, path string) string {
	return gitstate.PathIDs(nil).StackOf(&note.Record{ID: id, Stack: path})
}

// history gives each row what is recorded on the commits of the report, and
// each run what came of it.
func (b *builder) history() {
	type placed struct {
		commit string
		r      *note.Record
	}
	var all []placed
	events := map[runOf][2]*note.Record{} // head and end
	for _, n := range b.notes {
		for i := range n.results {
			all = append(all, placed{n.commit, &n.results[i]})
		}
		for i := range n.events {
			e := &n.events[i]
			k := runOf{e.Run, n.commit}
			is := events[k]
			switch { // of several heads the first counts, of several ends the last
			case e.Event == note.Started && (is[0] == nil || e.At.Before(is[0].At)):
				is[0] = e
			case e.Event == note.Finished && (is[1] == nil || e.At.After(is[1].At)):
				is[1] = e
			}
			events[k] = is
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(a.r.At.Compare(b.r.At), strings.Compare(a.r.Run, b.r.Run), strings.Compare(a.commit, b.commit), strings.Compare(a.r.Stack, b.r.Stack))
	})
	ids := gitstate.PathIDs{}
	for _, x := range all {
		ids.Add(x.r)
	}
	for _, x := range all {
		row := b.rows[rowKey{x.r.Target, ids.StackOf(x.r)}]
		if row == nil && x.r.ID == "" { // from before the stack had an id
			row = b.paths[rowKey{x.r.Target, x.r.Stack}]
		}
		if row == nil {
			continue
		}
		k := runOf{x.r.Run, x.commit}
		status := x.r.Status
		if isOpen(status) {
			if status = row.live[k]; !isOpen(status) {
				status = note.Interrupted
			}
		}
		run := b.run(k, x.r, events[k])
		run.Count(status)
		row.History = append(row.History, Result{Commit: x.commit, Status: status, By: cmp.Or(x.r.By, run.By), Record: *x.r})
	}
	for _, x := range b.rows {
		x.Took = durations(x.History)
	}
}

func isOpen(s note.Status) bool { return s == note.Queued || s == note.Running }

// run is the run that a result is of.
func (b *builder) run(k runOf, r *note.Record, events [2]*note.Record) *Run {
	run := b.runs[k]
	if run == nil {
		run = &Run{Run: k.run, Commit: k.commit, Op: r.Op, Target: r.Target, By: r.By, Started: r.At, ByHand: r.By != ""}
		if head := events[0]; head != nil {
			run.By, run.Job, run.Attempt, run.Cmd, run.Started, run.Stacks, run.ByHand = head.By, head.Job, head.Attempt, head.Cmd, head.At, head.Stacks, false
		}
		if end := events[1]; end != nil {
			run.Finished = end.At
		}
		b.runs[k] = run
	}
	if run.Op != r.Op {
		run.Op = ""
	}
	if run.Target != r.Target {
		run.Target = ""
	}
	return run
}

// Count takes in what became of a stack.
func (r *Run) Count(s note.Status) {
	switch s {
	case note.OK:
		r.OK++
	case note.Failed:
		r.Failed++
	case note.Blocked:
		r.Blocked++
	case note.Canceled:
		r.Canceled++
	case note.Drifted:
		r.Drifted++
	case note.Queued, note.Running:
		r.Open++
		r.Status = note.Running
	case note.Interrupted:
		r.Interrupted++
		if r.Status == "" {
			r.Status = note.Interrupted
		}
	}
}

func (b *builder) sortedRuns() []Run {
	runs := make([]Run, 0, len(b.runs))
	for _, r := range b.runs {
		r.Settle()
		if r.Status == note.Running {
			r.Finished = time.Time{} // it goes on after an end
		}
		runs = append(runs, *r)
	}
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.Run, a.Run), strings.Compare(a.Commit, b.Commit))
	})
	return runs
}

// Settle makes its status of what was counted.
func (r *Run) Settle() {
	switch {
	case r.Status != "":
	case r.Failed > 0:
		r.Status = note.Failed
	case r.Blocked > 0:
		r.Status = note.Blocked
	case r.Canceled > 0:
		r.Status = note.Canceled
	case r.Drifted > 0:
		r.Status = note.Drifted
	default:
		r.Status = note.OK
	}
}

// commits are those of the report, and HEAD, the newest first. Of a commit that
// is not in this clone the records tell the time.
func (b *builder) commits(s *gitstate.Store, head gitstate.Commit) ([]Commit, error) {
	type dated struct {
		Commit
		first time.Time // record on it
	}
	var all []dated
	if head.Hash != "" {
		all = append(all, dated{Commit: Commit{head.Hash, head.Subject, head.Time.UTC()}, first: b.opt.Now})
	}
	for _, n := range b.notes {
		c := dated{Commit: Commit{Hash: n.commit}, first: n.newest}
		for _, r := range n.events {
			if r.CommitTime != 0 {
				c.Time = time.Unix(r.CommitTime, 0).UTC()
			}
		}
		for _, r := range n.results {
			if r.CommitTime != 0 {
				c.Time = time.Unix(r.CommitTime, 0).UTC()
			}
			if r.At.Before(c.first) {
				c.first = r.At
			}
		}
		if n.commit == head.Hash {
			continue
		}
		has, err := s.Has(n.commit)
		if err != nil {
			return nil, fmt.Errorf("looking for commit %s: %w", n.commit, err)
		}
		if has {
			found, err := s.Resolve(n.commit)
			if err != nil {
				return nil, err
			}
			c.Subject, c.Time = found.Subject, found.Time.UTC()
		} else if c.Time.IsZero() {
			c.Time = c.first
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b dated) int {
		return cmp.Or(b.Time.Compare(a.Time), b.first.Compare(a.first), strings.Compare(a.Hash, b.Hash))
	})
	out := make([]Commit, len(all))
	for i, c := range all {
		out[i] = c.Commit
	}
	return out, nil
}
