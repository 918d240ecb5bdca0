package gitstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// State is what the notes and the journal say at one moment. Its methods do
// not see what is recorded later.
type State struct {
	s *Store
	x *index

	once   sync.Once
	newest map[string]time.Time // by ident
}

// Latest is the latest result of a stack for a target and a group of
// operations (deploy and destroy are one).
type Latest struct {
	Stored             // the newest record; the zero value if there is none
	Status   Status    // derived: that of the record, Interrupted, or Never
	Diverged []Stored  // newest records beside it: neither writer knew of the other
	OKCommit string    // where the latest success stands, "" if there was none
	OKAt     time.Time // and when it was
	By, Job  string    // from the head of the record's run
	Cmd      string
	okRun    string
}

// Runs are the runs that a record of the stack would follow now.
func (l *Latest) Runs() []string {
	if l.Status == Never {
		return nil
	}
	runs := []string{l.Run}
	for _, d := range l.Diverged {
		runs = append(runs, d.Run)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// Empty reports whether no stack has any record, or, if ops are named, none of
// these operations.
func (st *State) Empty(ops ...string) bool {
	for k, s := range st.x.slots {
		of := func(op string) bool { return groupOf(op) == k.group }
		if len(s.heads) > 0 && (len(ops) == 0 || slices.ContainsFunc(ops, of)) {
			return false
		}
	}
	return true
}

// Latest looks a stack up by its id and, for records from before it had one,
// by its path.
func (st *State) Latest(id, path, target, op string) (Latest, error) {
	var heads []Stored
	var out Latest
	out.Status = Never
	followed := map[string]bool{}
	for i, of := range idents(id, path) {
		s := st.x.slots[slotKey{groupOf(op), target, of}]
		if s == nil {
			continue
		}
		for _, f := range s.followed {
			followed[f] = true
		}
		for _, h := range s.heads {
			for _, p := range h.Prev {
				followed[p] = p != h.Run
			}
		}
		heads = append(heads, s.heads...)
		// What a stack with an id did before it had one counts only until it
		// has a success of its own.
		if s.okRun != "" && (i == 0 || out.OKCommit == "") {
			out.OKCommit, out.OKAt, out.okRun = s.okCommit, time.UnixMilli(s.okAt).UTC(), s.okRun
		}
	}
	if len(heads) == 0 {
		return out, nil
	}
	if kept := slices.DeleteFunc(slices.Clone(heads), func(h Stored) bool { return followed[h.Run] }); len(kept) > 0 {
		heads = kept
	}
	slices.SortFunc(heads, compareStored)
	out.Stored, out.Diverged = heads[0], heads[1:]
	out.Status = heads[0].Record.Status
	out.By = out.Record.By
	if head := st.x.runs[runKey{out.Run, out.Commit}].head(); head.Run != "" {
		out.By, out.Job, out.Cmd = cmpOr(out.By, head.By), head.Job, head.Cmd
	}
	if out.Status.open() {
		over, err := st.abandoned(&out.Stored)
		if err != nil {
			return Latest{}, err
		}
		if over {
			out.Status = Interrupted
		}
	}
	// Who has announced something before, and not begun, will know of it when he does.
	for i, d := range slices.Backward(out.Diverged) {
		if d.Record.Status == Queued && out.Record.Status != Queued {
			if over, err := st.abandoned(&d); err != nil {
				return Latest{}, err
			} else if !over {
				out.Diverged = slices.Delete(slices.Clone(out.Diverged), i, i+1)
			}
		}
	}
	return out, nil
}

// Abandoned are the runs that had queued or started a stack, or begun beside the latest
// record of it, and are at it no more. Who records something of the stack follows them:
// else they would stand beside it for good.
func (st *State) Abandoned(l *Latest) (runs []string, err error) {
	for _, r := range append([]Stored{l.Stored}, l.Diverged...) {
		if !r.Record.Status.open() {
			continue
		}
		over, err := st.abandoned(&r)
		if err != nil {
			return nil, err
		}
		if over {
			runs = append(runs, r.Run)
		}
	}
	return runs, nil
}

func idents(id, path string) []string {
	if id == "" {
		return []string{path}
	}
	return []string{ident(id, path), path}
}

// abandoned reports whether nobody works any more on what a queued or running
// record says: its run has ended, its process on this machine is gone, its CI
// job was started anew, or it is older than any run should take.
func (st *State) abandoned(r *Stored) (bool, error) {
	if ri := st.x.runs[runKey{r.Run, r.Commit}]; ri != nil && ri.over(r) {
		return true, nil
	}
	switch l, err := st.s.liveness(r.Run, r.Stack, r.Leg(), r.At); {
	case err != nil:
		return false, err
	case l == alive:
		return false, nil
	case l == gone:
		return true, nil
	}
	return st.s.now().Sub(r.At) > st.s.staleAfter, nil
}

// commitTime is the commit time that the run of a latest success recorded, for
// repositories in which that commit is not there; 0 if it is not known.
func (st *State) commitTime(run, commit string) int64 {
	return st.x.runs[runKey{run, commit}].head().CommitTime
}

// AnyVariant in a record that was made by hand stands for every command line.
const AnyVariant = "any"

// Done reports whether the stack needs no deployment of this variant on the
// commit, and if not, why not: in a few words for people.
func (l *Latest) Done(commit, variant string) (bool, string) {
	ok, why := l.Succeeded(Deploy, variant)
	if ok && l.Commit != commit {
		return false, fmt.Sprintf("deployed at %s", short(l.Commit))
	}
	return ok, why
}

// Succeeded reports whether the latest record of the slot is a success of the
// operation with this variant, wherever it stands, and if not, why not.
// AnyVariant asks for none.
func (l *Latest) Succeeded(op, variant string) (bool, string) {
	done := "deployed"
	if op != Deploy {
		done = "run"
	}
	switch {
	case l.Status == Never:
		return false, "never " + done
	case len(l.Diverged) > 0:
		return false, fmt.Sprintf("%s by runs that did not know of each other (%s, %s)", done, l.Run, l.Diverged[0].Run)
	case l.Op != op && op == Deploy:
		return false, fmt.Sprintf("destroyed, or a part of it, at %s", short(l.Commit))
	case l.Op != op:
		return false, fmt.Sprintf("%s came after it, at %s", l.Op, short(l.Commit))
	case l.Status == Blocked:
		why := "blocked at " + short(l.Commit)
		if l.Cause != "" {
			why = fmt.Sprintf("blocked by %s at %s", l.Cause, short(l.Commit))
		}
		if l.Reason != "" {
			why += ": " + l.Reason
		}
		return false, why
	case l.Status == Triggered:
		return false, fmt.Sprintf("triggered at %s: %s", short(l.Commit), l.Reason)
	case l.Status != OK:
		return false, fmt.Sprintf("%s at %s by run %s", l.Status, short(l.Commit), l.Run)
	case l.Dirty:
		return false, done + " with uncommitted changes"
	case variant != AnyVariant && l.Variant != variant && l.Variant != AnyVariant:
		return false, done + " with another command line"
	}
	return true, fmt.Sprintf("ok at %s, %s by run %s", short(l.Commit), l.At.Format(time.DateTime), l.Run)
}

// Superseded tells which of the latest successes stand on a descendant of
// head: there, head is an older commit that comes late. It asks git once for
// all. guessed is set where the history is not there to tell (a shallow clone,
// a commit that was not fetched), so that the commit times in the records
// decided.
func (st *State) Superseded(ctx context.Context, head string, latest []Latest) (late []bool, guessed int, err error) {
	late = make([]bool, len(latest))
	ask := map[string]bool{}
	for _, l := range latest {
		if l.OKCommit != "" && l.OKCommit != head {
			ask[l.OKCommit] = false
		}
	}
	if len(ask) == 0 {
		return late, 0, nil
	}
	r := st.s.repo
	const ahead, behind, unknown = 1, 2, 3
	verdict := map[string]int{}
	stdin := strings.Builder{}
	stdin.WriteString("^" + head + "\n")
	for c := range ask {
		_, t, _, err := r.lookup(c)
		if errors.Is(err, errMissing) || err == nil && t != plumbing.CommitObject {
			verdict[c] = unknown
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		verdict[c] = behind
		if r.shallow {
			verdict[c] = unknown
		}
		stdin.WriteString(c + "\n")
	}
	out, err := r.git(ctx, strings.NewReader(stdin.String()), "rev-list", "--ancestry-path", "--stdin")
	if err != nil {
		return nil, 0, fmt.Errorf("comparing HEAD with what is deployed: %w", err)
	}
	for c := range strings.Lines(out) {
		if c = strings.TrimSpace(c); verdict[c] != 0 {
			verdict[c] = ahead
		}
	}
	var headTime int64
	for i, l := range latest {
		switch verdict[l.OKCommit] {
		case ahead:
			late[i] = true
		case unknown:
			if r.shallow {
				// An ancestor that is there can still be told from a descendant.
				if _, err := r.git(ctx, nil, "merge-base", "--is-ancestor", l.OKCommit, head); err == nil {
					verdict[l.OKCommit] = behind
					continue
				}
			}
			if headTime == 0 {
				c, err := r.commit(head)
				if err != nil {
					return nil, 0, err
				}
				headTime = c.Committer.When.Unix()
			}
			guessed++
			late[i] = st.commitTime(l.okRun, l.OKCommit) > headTime
		}
	}
	return late, guessed, nil
}

// StackStatus is a stack's own status for a target: what its deployments and
// its drift runs say together.
//
// It is Failed after a deployment that failed, was canceled, blocked or
// interrupted, until a deployment succeeds or a drift run comes out clean;
// Drifted after a drift run that found changes, until a clean one or a
// deployment that succeeds; Running while a deployment is under way; else OK.
// A trigger changes none of it: it says that something is to be done, not that
// something is wrong.
func StackStatus(deploy, drift Latest) Status {
	for _, l := range []*Latest{&deploy, &drift} {
		if l.Status, l.At = l.Before(); l.Status.open() && l.Record.Status == Triggered {
			l.Status = Interrupted // what came of it is not known any more
		}
	}
	driftLater := drift.Status != Never && (deploy.Status == Never || drift.At.After(deploy.At))
	switch deploy.Status {
	case Failed, Canceled, Blocked, Interrupted:
		if driftLater && drift.Status == OK {
			return OK
		}
		return Failed
	case Queued, Running:
		return Running
	case OK:
		if driftLater && drift.Status == Drifted {
			return Drifted
		}
		return OK
	}
	switch drift.Status {
	case Drifted:
		return Drifted
	case OK:
		return OK
	}
	if deploy.Status != Never {
		return deploy.Status
	}
	return Never
}

// Before is the status, and when it was recorded, that a trigger of the stack
// leaves standing: its own, or of one that is triggered already, what that was.
func (l *Latest) Before() (Status, time.Time) {
	if l.Status != Triggered {
		return l.Status, l.At
	}
	return Status(cmpOr(string(l.Had), string(Never))), l.Was
}

// Matches reports whether a status is what a filter asks for, in Terramate's
// words: healthy is ok; unhealthy is failed, drifted, and all that is no
// success; failed includes interrupted; pending is queued or triggered.
func (s Status) Matches(filter string) bool {
	switch filter {
	case "healthy":
		return s == OK
	case "unhealthy":
		return s == Failed || s == Drifted || s == Canceled || s == Blocked || s == Interrupted
	case "failed":
		return s == Failed || s == Interrupted
	case "pending":
		return s == Queued || s == Triggered
	case "unknown":
		return s == Never
	}
	return string(s) == filter
}

const maxSkew = 10 * time.Minute

// newestAt is the time of the newest record of a stack that is known, of any
// operation and target. A time that is further ahead of this machine's clock
// than clocks are wrong is not counted.
func (st *State) newestAt(id, path string) time.Time {
	st.once.Do(func() {
		st.newest = make(map[string]time.Time, len(st.x.slots))
		limit := st.s.now().Add(maxSkew)
		for k, s := range st.x.slots {
			for _, h := range s.heads {
				if h.At.After(st.newest[k.ident]) && h.At.Before(limit) {
					st.newest[k.ident] = h.At
				}
			}
		}
	})
	var at time.Time
	for _, of := range idents(id, path) {
		if t := st.newest[of]; t.After(at) {
			at = t
		}
	}
	return at
}

// follows are the runs that a record follows: those that it names, and those
// that earlier records of its own run followed, in whose place it comes.
func (st *State) follows(r *Record) []string {
	prev := r.Prev
	of := st.x.slots[keyOf(r)]
	if of == nil {
		return prev
	}
	for _, h := range of.heads {
		if h.Run != r.Run {
			continue
		}
		for _, p := range h.Prev {
			if p != r.Run && !slices.Contains(prev, p) {
				prev = append(slices.Clone(prev), p)
			}
		}
	}
	return prev
}
