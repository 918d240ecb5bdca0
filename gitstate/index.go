package gitstate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// index answers which record of a stack is its latest without reading all
// notes. It is derived from one notes tree, follows that tree's changes, and
// is made anew whenever it cannot follow them exactly: it is a cache, and what
// it says is what a reading of all notes would say.
//
// Latest is not a matter of clocks alone: prev in a record names the runs that
// its writer knew the stack to have had last. A record that is followed by
// another one is not the latest, whatever its time. What nobody followed are
// the heads of a stack's history; more than one of them means that writers did
// not know of each other. A forgotten record is nobody's latest, but ties who
// followed it to what it followed.
type index struct {
	tree  trees
	by    *trust // by which records count; nil where they need no signatures
	slots map[slotKey]*slot
	runs  map[runKey]*runInfo // of the heads and of the latest successes
	// How many records do not count for want of a signature, by commit and who made them.
	uncounted map[string]map[string]int
}

func newIndex() *index {
	return &index{slots: map[slotKey]*slot{}, runs: map[runKey]*runInfo{}}
}

// runKey is a run as one commit's note tells of it: its head and its end stand
// where its records stand, so that they are looked for nowhere else.
type runKey struct{ run, commit string }

// slotKey is what state is kept apart for.
type slotKey struct {
	group   string // operation; deploy and destroy share one
	target  string
	ident   string // "id:"+stack.id, or the project path of a stack without
	backend string // "" for records that name none
}

type slot struct {
	heads []Stored // newest first
	// The newest success at or before the heads; of it no more is needed than
	// where and when it was, and whether of uncommitted changes.
	okRun    string
	okCommit string
	okAt     int64 // Unix milliseconds
	okDirty  bool
	endedAt  int64 // when what it had deployed was destroyed since then, or drift was found; 0 if it was not
	// The greatest name of a run that has a record here. Runs are named by time,
	// so that one with a lesser name may be one that is past, of which nothing
	// is kept.
	last string
	// Runs that a head names as followed and whose record was not seen (yet):
	// it may be on its way, or belong to the time before the stack had its id.
	followed []string
	// All paths that its records name, of whichever runs; without an id there is one.
	paths paths
}

// uncounts adds to how many records of a commit's note do not count.
func (x *index) uncounts(commit string, of map[string]int) {
	for who, n := range of {
		if x.uncounted == nil {
			x.uncounted = map[string]map[string]int{}
		}
		if x.uncounted[commit] == nil {
			x.uncounted[commit] = map[string]int{}
		}
		x.uncounted[commit][who] += n
	}
}

// paths are sorted.
type paths []string

func (p *paths) add(path string) {
	if i, is := slices.BinarySearch(*p, path); !is {
		*p = slices.Insert(*p, i, path)
	}
}

// Stored is a record with the commit whose note holds it.
type Stored struct {
	Commit string
	note.Record
	line string
	// The line stands on other commits as well, and no head says which of them it was
	// made on: it is done on none.
	copied bool
	// Signatures are required, and none of somebody who may record it is over it; see the function.
	unsigned bool
	gone     bool // it was signed
}

// runInfo is the head and the end of a run, or of one of its legs.
type runInfo struct {
	line     string // of the head
	finished string // of the end
	newest   int    // the newest attempt of the head's CI job in the same note
	legs     map[int]*runInfo
}

func (ri *runInfo) head() note.Record {
	if ri == nil {
		return note.Record{}
	}
	r, _ := note.ParseRecord(ri.line)
	return r
}

func ident(id, path string) string {
	if id != "" {
		return "id:" + strings.ToLower(id)
	}
	return path
}

// idOf is the id that an ident is, if it is one.
func idOf(ident string) (id string, is bool) { return strings.CutPrefix(ident, "id:") }

func keyOf(r *note.Record) slotKey {
	return slotKey{note.GroupOf(r.Op), r.Target, ident(r.ID, r.Stack), r.Backend()}
}

// newer says whether a is the later record of one run's work on a stack. Where the
// times are equal, what did not succeed is later than what did. What ended is not
// later than what began after it: a run whose id is used once more is at the stack again.
func newer(a *note.Record, aLine string, b *note.Record, bLine string) bool {
	if c := a.At.Compare(b.At); c != 0 {
		return c > 0
	}
	if ao, bo := a.Status == note.OK, b.Status == note.OK; ao != bo {
		return bo
	}
	return aLine > bLine
}

// compareStored sorts the newest first. A record is half a kilobyte, and a stack whose writers never knew of
// each other has as many as there are: where there may be many, it is their addresses that are sorted.
func compareStored(a, b *Stored) int {
	return cmp.Or(b.At.Compare(a.At), strings.Compare(a.line, b.line), strings.Compare(a.Commit, b.Commit))
}

// success of a group: what `superseded` looks at is the latest ok deployment.
func success(r *note.Record) bool {
	return r.Status == note.OK && (r.Op == note.Deploy || note.GroupOf(r.Op) != note.Deploy)
}

// destroyed reports whether nothing is left of what was deployed.
func destroyed(r *note.Record) bool { return r.Status == note.OK && r.Op == note.Destroy }

// ends reports whether an earlier success says nothing any more.
func ends(r *note.Record) bool {
	return destroyed(r) || r.Status == note.Drifted && r.Op == note.Drift
}

// apply follows changes. It reports false where the result would not surely be
// what a reading of all notes says; the index is of no use afterwards.
func (x *index) apply(changes []notestree.Change) bool {
	var added, gone []Stored
	notes := make(map[string][]string, len(changes))
	changes = slices.Clone(changes)
	if !x.judgeChanges(changes) {
		return false
	}
	for _, c := range changes {
		notes[c.Commit] = c.New
		add, del := diffLines(c.Old, c.New)
		if (slices.ContainsFunc(add, tellsHistory) || slices.ContainsFunc(del, tellsHistory)) && !x.by.sameHistory(c) {
			return false
		}
		is := x.by.historyOf(c.Commit, c.New)
		add, del = slices.DeleteFunc(add, is.history), slices.DeleteFunc(del, is.history)
		for _, line := range add {
			switch r, err := note.ParseRecord(line); {
			case err != nil:
			case r.Event == note.Forgotten && r.Stack != "":
				return false
			case r.Status != "":
				added = append(added, Stored{Commit: c.Commit, Record: r, line: line})
			}
		}
		for _, line := range del {
			if r, err := note.ParseRecord(line); err == nil && r.Status != "" {
				gone = append(gone, Stored{Commit: c.Commit, Record: r, line: line})
			}
		}
	}
	slices.SortStableFunc(added, func(a, b Stored) int { return a.At.Compare(b.At) })
	for i := range added {
		if !x.add(&added[i]) {
			return false
		}
	}
	for i := range gone {
		if !x.harmless(&gone[i]) {
			return false
		}
	}
	was := x.runs
	return nil == x.findRuns(func(commit string, runs map[string]*runInfo) error {
		lines, changed := notes[commit]
		if changed {
			readRuns(commit, lines, runs)
			return nil
		}
		for run := range runs {
			ri := was[runKey{run, commit}]
			if ri == nil {
				return errIndex
			}
			*runs[run] = *ri
		}
		return nil
	})
}

// findRuns makes x.runs what it should be: look fills in the runs of one note.
func (x *index) findRuns(look func(commit string, runs map[string]*runInfo) error) error {
	x.runs = map[runKey]*runInfo{}
	notes := map[string]map[string]*runInfo{}
	need := func(run, commit string) {
		k := runKey{run, commit}
		if run == "" || x.runs[k] != nil {
			return
		}
		if notes[commit] == nil {
			notes[commit] = map[string]*runInfo{}
		}
		ri := new(runInfo)
		x.runs[k], notes[commit][run] = ri, ri
	}
	for _, s := range x.slots {
		for _, h := range s.heads {
			need(h.Run, h.Commit)
		}
		need(s.okRun, s.okCommit)
	}
	for commit, runs := range notes {
		if err := look(commit, runs); err != nil {
			return err
		}
	}
	return nil
}

// readRuns fills in what the lines of a commit's note say of its runs.
func readRuns(commit string, lines []string, runs map[string]*runInfo) {
	jobs := map[string]int{}
	for _, line := range lines {
		if !isRunEvent(line) {
			continue
		}
		r, err := note.ParseRecord(line)
		if err != nil || r.Foreign(commit) {
			continue
		}
		if r.Job != "" {
			jobs[r.Job] = max(jobs[r.Job], r.Attempt)
		}
		ri := runs[r.Run]
		if leg := r.Leg(); ri != nil && leg > 0 {
			if ri.legs == nil {
				ri.legs = map[int]*runInfo{}
			}
			if ri.legs[leg] == nil {
				ri.legs[leg] = new(runInfo)
			}
			ri = ri.legs[leg]
		}
		switch {
		case ri == nil:
		case r.Event == note.Finished:
			ri.finished = max(ri.finished, line)
		case ri.line == "" || r.Leg() > 0 && line > ri.line || r.Leg() == 0 && line < ri.line:
			// Of several heads of a run the first counts, of a leg the last: it is
			// who took it up again.
			ri.line = line
		}
	}
	for _, ri := range runs {
		ri.settle(jobs)
		for _, leg := range ri.legs {
			leg.settle(jobs)
		}
	}
}

// settle keeps what readRuns found, without the memory of the note.
func (ri *runInfo) settle(jobs map[string]int) {
	if ri.line != "" {
		ri.newest = jobs[ri.head().Job]
	}
	ri.line, ri.finished = strings.Clone(ri.line), strings.Clone(ri.finished)
}

// isRunEvent tells the head and the end of a run from other lines, as far as
// that can be done without reading the line.
func isRunEvent(line string) bool {
	const at = len("at=") + len(note.TimeLayout)
	return len(line) > at && (strings.HasPrefix(line[at:], " event="+note.Started+" ") || strings.HasPrefix(line[at:], " event="+note.Finished+" "))
}

// add takes in a record that follows all that the index knows of its stack. It
// reports false for any other.
func (x *index) add(r *Stored) bool {
	k := keyOf(&r.Record)
	s := x.slots[k]
	if s == nil || len(s.heads) == 0 && s.last == "" {
		if s == nil {
			s = &slot{}
		} else if len(r.Prev) > 0 {
			return false // something of it was forgotten: it may have followed others, see bridge
		}
		s.followed = slices.Clone(r.Prev)
		slices.Sort(s.followed)
		s.followed = slices.Compact(s.followed)
		if i, ok := slices.BinarySearch(s.followed, r.Run); ok {
			s.followed = slices.Delete(s.followed, i, i+1)
		}
		s.last = r.Run
		x.slots[k] = s
	} else if len(s.heads) == 1 && s.heads[0].Run == r.Run {
		// A later word of the run on the stack.
		h := &s.heads[0]
		if !newer(&r.Record, r.line, &h.Record, h.line) || !containsAll(h.Prev, r.Prev) {
			return false
		}
		*h = *r
		s.sawOK(r)
		s.paths.add(r.Stack)
		return true
	} else {
		runs := make([]string, len(s.heads))
		for i, h := range s.heads {
			runs[i] = h.Run
			if slices.Contains(h.Prev, r.Run) {
				return false // it comes late
			}
		}
		// Not beside a head or before it; and of what is past nothing is known.
		if r.Run <= s.last || slices.Contains(s.followed, r.Run) || !containsAll(r.Prev, runs) || !containsAll(runs, r.Prev) {
			return false
		}
		s.last = r.Run
	}
	s.heads = []Stored{*r}
	s.sawOK(r)
	s.paths.add(r.Stack)
	return true
}

// harmless reports whether a reading of all notes without the record would
// surely say the same: a later word of its run says all that it said.
func (x *index) harmless(r *Stored) bool {
	s := x.slots[keyOf(&r.Record)]
	if s == nil {
		return false
	}
	for _, h := range s.heads {
		if h.Run == r.Run {
			return h.line != r.line && containsAll(h.Prev, r.Prev) && !success(&r.Record) && !ends(&r.Record)
		}
	}
	return false
}

// containsAll reports whether every one of few is among many.
func containsAll(many, few []string) bool { return len(missing(many, few)) == 0 }

// missing are those of few that are not among many. Either may be long: of a stack
// whose writers never knew of each other.
func missing(many, few []string) (not []string) {
	if len(many) == 0 {
		return few
	}
	among := func(s string) bool { return slices.Contains(many, s) }
	if len(few) > 16 && len(many) > 16 {
		known := make(map[string]bool, len(many))
		for _, s := range many {
			known[s] = true
		}
		among = func(s string) bool { return known[s] }
	}
	for _, s := range few {
		if !among(s) {
			not = append(not, s)
		}
	}
	return not
}

func (s *slot) sawOK(r *Stored) {
	at := r.At.UnixMilli()
	if success(&r.Record) {
		s.okRun, s.okCommit, s.okAt, s.okDirty, s.endedAt = r.Run, r.Commit, at, r.Dirty, 0
	} else if ends(&r.Record) && at > s.okAt {
		s.endedAt = max(s.endedAt, at)
	}
}

// diffLines compares two sorted lists of lines.
func diffLines(old, new []string) (added, removed []string) {
	i, j := 0, 0
	for i < len(old) || j < len(new) {
		switch {
		case i == len(old) || j < len(new) && new[j] < old[i]:
			added = append(added, new[j])
			j++
		case j == len(new) || old[i] < new[j]:
			removed = append(removed, old[i])
			i++
		default:
			i++
			j++
		}
	}
	return added, removed
}
