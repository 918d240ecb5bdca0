package gitstate

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// State is what the notes and the journal say at one moment. Its methods do
// not see what is recorded later. One fails where it has to look at the mark of a process,
// or at a commit, and cannot.
type State struct {
	s    *Store
	x    *index
	read time.Time // when it was read

	once   sync.Once
	newest map[string]time.Time // by ident

	placesOnce sync.Once
	placesOf   map[slotKey][]Place // by group and ident

	holdsOnce sync.Once
	holds     []Hold // see everHeld
	others    string // see Fresh

	namesOnce sync.Once
	names     map[string][]string // by path
}

// Latest is the latest result of a stack for a target and a group of
// operations (deploy and destroy are one).
type Latest struct {
	Stored               // the newest record; the zero value if there is none
	Status   note.Status // derived: that of the record, Interrupted, or Never
	Diverged []Stored    // newest records beside it: neither writer followed the other
	// Conflicts are the runs of those that were at the stack and could not know of each
	// other. Who only announced it, or was killed before another began, is in none.
	Conflicts []string
	OKCommit  string    // where the latest success stands, "" if there was none
	OKAt      time.Time // and when it was
	OKDirty   bool      // of files that are not in the commit
	By, Job   string    // from the head of the record's run
	Cmd       string
	okRun     string
	endedAt   int64 // see slot
	Unsigned  bool  // the record is no success, and not signed although that is required
}

// Live is what is deployed, and since when, whatever became of later attempts; "" where nothing
// is, as after a destroy. (What a part was changed of since then, by a targeted apply, is not told.)
func (l *Latest) Live() (commit string, since time.Time) {
	if l.endedAt > 0 || destroyed(&l.Record) {
		return "", since
	}
	return l.OKCommit, l.OKAt
}

// Runs are the runs that a record of the stack would follow now.
func (l *Latest) Runs() []string {
	if l.Status == note.Never {
		return nil
	}
	runs := []string{l.Run}
	for i := range l.Diverged {
		runs = append(runs, l.Diverged[i].Run)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// Empty reports whether no stack has any record beside holds, or, if ops are named, none of
// these operations.
func (st *State) Empty(ops ...string) bool {
	for k, s := range st.x.slots {
		of := func(op string) bool { return note.GroupOf(op) == k.group }
		if len(s.heads) > 0 && (len(ops) == 0 && !note.Op(k.group).Holds() || slices.ContainsFunc(ops, of)) {
			return false
		}
	}
	return true
}

// Latest is the latest result of a stack wherever it was deployed to: of several
// backends that one whose latest is not well, else the newest.
func (st *State) Latest(of note.Slot) (Latest, error) {
	var least Latest
	for i, backend := range st.backends(of) {
		l, err := st.LatestAt(of, backend)
		if err != nil {
			return Latest{}, err
		}
		if i == 0 || l.worse(&least) {
			least = l
		}
	}
	return least, nil
}

// worse reports whether l tells more of what is to be done than m.
func (l *Latest) worse(m *Latest) bool {
	if a, b := l.well(), m.well(); a != b {
		return b
	}
	return l.At.After(m.At)
}

func (l *Latest) well() bool {
	return (l.Status == note.OK || l.Status == note.Drifted) && len(l.Diverged) == 0 && !l.Dirty
}

// backends are those that a stack has records of, at least one: "" where no record names
// one.
func (st *State) backends(of note.Slot) []string {
	found := []string{}
	for _, p := range st.places(of) {
		if p.Target == of.Target && p.Backend != "" && !slices.Contains(found, p.Backend) {
			found = append(found, p.Backend)
		}
	}
	if len(found) == 0 {
		return []string{""}
	}
	return found
}

// A Place is what a stack was deployed to: the target, with the workspace as in
// "prod+blue" or "+blue", and the backend, as a record names them.
type Place struct{ Target, Backend string }

// Places are the places that records of a stack name, of a target and of its workspaces
// ("+" is no part of a target's name), sorted.
func (st *State) Places(of note.Slot) []Place {
	var found []Place
	for _, p := range st.places(of) {
		if p.Target == of.Target || strings.HasPrefix(p.Target, of.Target+"+") {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Place) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Backend, b.Backend))
	})
	return slices.Compact(found)
}

// places are all that a stack has records of.
func (st *State) places(of note.Slot) (found []Place) {
	st.placesOnce.Do(func() {
		st.placesOf = make(map[slotKey][]Place, len(st.x.slots))
		for k, s := range st.x.slots {
			if len(s.heads) > 0 {
				key := slotKey{group: k.group, ident: k.ident}
				st.placesOf[key] = append(st.placesOf[key], Place{k.target, k.backend})
			}
		}
	})
	for _, ident := range idents(of.ID, of.Path) {
		found = append(found, st.placesOf[slotKey{group: note.GroupOf(of.Op), ident: ident}]...)
	}
	return found
}

// LatestAt is the latest result of a stack at one backend. A record that names none
// counts as one of every backend, until one that names its own has followed it. The
// stack is looked up by its id and, for records from before it had one, by its path.
func (st *State) LatestAt(of note.Slot, backend string) (Latest, error) {
	var heads []*Stored // thousands, it may be, of half a kilobyte each
	var out Latest
	own := false // there is something of this backend
	out.Status = note.Never
	followed := map[string]bool{}
	backends := st.backends(of)
	if backends[len(backends)-1] != "" {
		backends = append(backends, "")
	}
	for i, ident := range idents(of.ID, of.Path) {
		for _, at := range backends {
			s := st.x.slots[slotKey{note.GroupOf(of.Op), of.Target, ident, at}]
			if s == nil {
				continue
			}
			for _, f := range s.followed {
				followed[f] = true
			}
			for i := range s.heads {
				h := &s.heads[i]
				for _, p := range h.Prev {
					followed[p] = p != h.Run
				}
				if at == "" || at == backend {
					heads = append(heads, h)
				}
			}
			if at != "" && at != backend {
				continue
			}
			own = own || at == backend
			out.endedAt = max(out.endedAt, s.endedAt)
			// What a stack with an id did before it had one counts only until it
			// has a success of its own; so does what names no backend.
			if s.okRun != "" && (out.OKCommit == "" || i == 0 && at == backend) {
				out.OKCommit, out.OKAt, out.okRun, out.OKDirty = s.okCommit, time.UnixMilli(s.okAt).UTC(), s.okRun, s.okDirty
			}
		}
	}
	if out.OKCommit != "" && out.endedAt <= out.OKAt.UnixMilli() {
		out.endedAt = 0
	}
	heads = lastWords(heads)
	// Who follow each other in a circle are all the latest. What names no backend and was
	// followed at another one only was of that one.
	if kept := slices.DeleteFunc(slices.Clone(heads), func(h *Stored) bool { return followed[h.Run] }); len(kept) > 0 || !own {
		heads = kept
	}
	if len(heads) == 0 {
		return Latest{Status: note.Never}, nil
	}
	slices.SortFunc(heads, compareStored)
	err := st.tell(&out, heads)
	return out, err
}

// lastWords keeps of each run its last word: what it announced before it knew the
// backend stands beside what came of it.
func lastWords(heads []*Stored) []*Stored {
	if len(heads) < 2 {
		return heads
	}
	last := make([]*Stored, 0, len(heads))
	at := make(map[string]int, len(heads)) // by run
	for _, h := range heads {
		i, known := at[h.Run]
		switch {
		case !known:
			at[h.Run] = len(last)
			last = append(last, h)
		case newer(&h.Record, h.line, &last[i].Record, last[i].line):
			last[i] = h
		}
	}
	return last
}

// tell fills in what the records say that nobody followed.
func (st *State) tell(out *Latest, heads []*Stored) error {
	out.Stored = *heads[0]
	out.Unsigned = out.unsigned
	out.Status = out.Record.Status
	out.By = out.Record.By
	if head := st.x.runs[runKey{out.Run, out.Commit}].head(); head.Run != "" {
		out.By, out.Job, out.Cmd = cmp.Or(out.By, head.By), head.Job, head.Cmd
	}
	if out.Status.Open() {
		over, err := st.abandoned(&out.Stored)
		if err != nil {
			return err
		}
		if over {
			out.Status = note.Interrupted
		}
	}
	// Who has announced something before, and not begun, will know of it when he does.
	announced := out.Record.Status == note.Queued
	out.Diverged = make([]Stored, 0, len(heads)-1)
	for _, d := range heads[1:] {
		if !announced && d.Record.Status == note.Queued {
			over, err := st.abandoned(d)
			if err != nil {
				return err
			}
			if !over {
				continue
			}
		}
		out.Diverged = append(out.Diverged, *d)
	}
	return st.conflicts(out)
}

// conflicts finds Latest.Conflicts.
func (st *State) conflicts(out *Latest) error {
	if len(out.Diverged) == 0 {
		return nil
	}
	var runs []string
	if out.began() {
		runs = append(runs, out.Run)
	}
	for i := range out.Diverged {
		d := &out.Diverged[i]
		if !d.began() {
			continue
		}
		if d.Record.Status.Open() && d.At.Before(out.At.Add(-out.Took)) {
			if over, err := st.abandoned(d); err != nil {
				return err
			} else if over {
				continue
			}
		}
		runs = append(runs, d.Run)
	}
	if len(runs) > 1 {
		out.Conflicts = slices.DeleteFunc(runs, func(run string) bool { return run == out.Run })
	}
	return nil
}

// began reports whether a record's run began with its stack, and did not just announce
// it, or come to say that it does not.
func (r *Stored) began() bool {
	if r.unsigned {
		return false // who made it is not known
	}
	switch r.Record.Status {
	case note.Queued, note.Triggered, note.Blocked:
		return false
	case note.Canceled:
		return r.Took > 0
	}
	return true
}

// Abandoned are the runs that had queued or started a stack, or begun beside the latest
// record of it, and are at it no more. Who records something of the stack follows them:
// else they would stand beside it for good.
func (st *State) Abandoned(l *Latest) (runs []string, err error) {
	for _, r := range append([]Stored{l.Stored}, l.Diverged...) {
		if !r.Record.Status.Open() {
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

// namesAt are the idents of all that was ever deployed, or was going to be, from a path.
func (st *State) namesAt(path string) []string {
	st.namesOnce.Do(func() {
		st.names = make(map[string][]string, len(st.x.slots))
		for k, s := range st.x.slots {
			if k.group != note.GroupOf(note.Deploy) {
				continue
			}
			for _, p := range s.paths {
				if !slices.Contains(st.names[p], k.ident) {
					st.names[p] = append(st.names[p], k.ident)
				}
			}
		}
		for _, names := range st.names {
			slices.Sort(names)
		}
	})
	return st.names[path]
}

// PathsOf are all paths that records of a stack name, and its own.
func (st *State) PathsOf(id, path string) map[string]bool {
	paths := map[string]bool{path: true}
	for k, s := range st.x.slots {
		if k.ident == ident(id, path) {
			for _, p := range s.paths {
				paths[p] = true
			}
		}
	}
	return paths
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

// DeployedTime is the commit time of OKCommit, as its run recorded it; zero if it did not.
func (st *State) DeployedTime(l *Latest) (at time.Time) {
	if ct := st.commitTime(l.okRun, l.OKCommit); ct != 0 {
		at = time.Unix(ct, 0).UTC()
	}
	return at
}
