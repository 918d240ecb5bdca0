package gitstate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
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
	tree  plumbing.Hash
	slots map[slotKey]*slot
	runs  map[string]*runInfo // of the heads, and all that have not ended
	past  map[string]bool     // the others, of which nothing is kept
	jobs  map[string]int      // CI job → its newest attempt, of jobs that were started anew
}

func newIndex() *index {
	return &index{slots: map[slotKey]*slot{}, runs: map[string]*runInfo{}, past: map[string]bool{}, jobs: map[string]int{}}
}

// slotKey is what state is kept apart for.
type slotKey struct {
	group  string // operation; deploy and destroy share one
	target string
	ident  string // "id:"+stack.id, or the project path of a stack without
}

type slot struct {
	heads []Stored // newest first
	// The newest success at or before the heads; of it no more is needed than
	// where and when it was.
	okRun    string
	okCommit string
	okAt     int64 // Unix milliseconds
	// Runs that a head names as followed and whose record was not seen (yet):
	// it may be on its way, or belong to the time before the stack had its id.
	followed []string
}

// Stored is a record with the commit whose note holds it.
type Stored struct {
	Commit string
	Record
	line string
}

// runInfo is the head and the end of a run.
type runInfo struct {
	line     string // of the head
	finished string // line of the end
}

// head is the record of the head, the zero value if there is none.
func (ri *runInfo) head() Record {
	if ri == nil {
		return Record{}
	}
	r, _ := ParseRecord(ri.line)
	return r
}

func groupOf(op string) string {
	if op == Destroy {
		return Deploy
	}
	return op
}

func ident(id, path string) string {
	if id != "" {
		return "id:" + strings.ToLower(id)
	}
	return path
}

func keyOf(r *Record) slotKey {
	return slotKey{groupOf(r.Op), r.Target, ident(r.ID, r.Stack)}
}

// newer says whether a is the later record of one run's work on a stack: what
// ended is later than what did not, and where the times are equal, what did not
// succeed is later than what did.
func newer(a *Record, aLine string, b *Record, bLine string) bool {
	if ao, bo := a.Status.open(), b.Status.open(); ao != bo {
		return bo
	}
	if c := a.At.Compare(b.At); c != 0 {
		return c > 0
	}
	if ao, bo := a.Status == OK, b.Status == OK; ao != bo {
		return bo
	}
	return aLine > bLine
}

// success of a group: what `superseded` looks at is the latest ok deployment.
func success(r *Record) bool { return r.Status == OK && r.Op != Destroy }

// change is one note before and after.
type change struct {
	commit   string
	old, new []string // lines, sorted
}

// apply follows changes. It reports false where the result would not surely be
// what a reading of all notes says; the index is of no use afterwards.
func (x *index) apply(changes []change) bool {
	var added, gone []Stored
	for _, c := range changes {
		add, del := diffLines(c.old, c.new)
		for _, line := range add {
			r, err := ParseRecord(line)
			switch {
			case err != nil:
			case r.Event == Forgotten && r.Stack != "" || x.past[r.Run]:
				return false
			case r.Event == Started || r.Event == Finished:
				x.seeEvent(&r, line)
			case r.Event != "":
			default:
				added = append(added, Stored{c.commit, r, line})
			}
		}
		for _, line := range del {
			r, err := ParseRecord(line)
			switch {
			case err != nil:
			case r.Status == "":
				return false // an event was taken away
			default:
				gone = append(gone, Stored{c.commit, r, line})
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
	return true
}

// add takes in a record that follows all that the index knows of its stack. It
// reports false for any other.
func (x *index) add(r *Stored) bool {
	k := keyOf(&r.Record)
	s := x.slots[k]
	if s == nil {
		s = &slot{followed: slices.Clone(r.Prev)}
		slices.Sort(s.followed)
		s.followed = slices.Compact(s.followed)
		if i, ok := slices.BinarySearch(s.followed, r.Run); ok {
			s.followed = slices.Delete(s.followed, i, i+1)
		}
		x.slots[k] = s
	} else if len(s.heads) == 1 && s.heads[0].Run == r.Run {
		// A later word of the run on the stack.
		h := &s.heads[0]
		if !newer(&r.Record, r.line, &h.Record, h.line) || !containsAll(h.Prev, r.Prev) {
			return false
		}
		*h = *r
		s.sawOK(r)
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
		if slices.Contains(s.followed, r.Run) || r.Run == s.okRun || !containsAll(r.Prev, runs) || !containsAll(runs, r.Prev) {
			return false
		}
	}
	s.heads = []Stored{*r}
	s.sawOK(r)
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
			return h.line != r.line && containsAll(h.Prev, r.Prev) && !success(&r.Record)
		}
	}
	return false
}

// containsAll reports whether every one of few is among many.
func containsAll(many, few []string) bool {
	return !slices.ContainsFunc(few, func(s string) bool { return !slices.Contains(many, s) })
}

func (s *slot) sawOK(r *Stored) {
	if success(&r.Record) {
		s.okRun, s.okCommit, s.okAt = r.Run, r.Commit, r.At.UnixMilli()
	}
}

func (x *index) seeEvent(r *Record, line string) {
	ri := x.runs[r.Run]
	if ri == nil {
		ri = new(runInfo)
		x.runs[r.Run] = ri
	}
	switch r.Event {
	case Started:
		if ri.line == "" || line < ri.line { // one run may have heads on several jobs; the first counts
			ri.line = line
		}
		x.sawAttempt(r)
	case Finished:
		ri.finished = max(ri.finished, line)
	}
}

func (x *index) sawAttempt(r *Record) {
	if r.Job != "" && r.Attempt > 1 {
		x.jobs[r.Job] = max(x.jobs[r.Job], r.Attempt)
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

// builder makes an index from all notes, in any order, in memory that grows
// with the number of records but not with their text.
type builder struct {
	intern map[string]string
	slots  map[slotKey]*buildSlot
	x      *index
}

type buildSlot struct {
	latest   map[string]latestLine // run → its latest record, while nobody followed it
	past     map[string]passed     // run → what is needed of it once it is followed
	followed map[string]bool
	// The runs whose record of the stack was forgotten, and what it followed.
	forgotten map[string][]string
}

type latestLine struct {
	commit, line string
	at           time.Time
	status       Status
}

type passed struct {
	at     int64
	commit string
	ok     bool
	prev   []string
}

func newBuilder() *builder {
	return &builder{intern: map[string]string{}, slots: map[slotKey]*buildSlot{}, x: newIndex()}
}

func (b *builder) keep(s string) string {
	if k, ok := b.intern[s]; ok {
		return k
	}
	k := strings.Clone(s)
	b.intern[k] = k
	return k
}

// note takes in the lines of one note.
func (b *builder) note(commit string, entries []entry) {
	for _, e := range entries {
		switch r := e.record; {
		case r == nil:
		case r.Event == Started:
			ri := b.run(r.Run)
			if ri.line == "" || e.line < ri.line {
				ri.line = strings.Clone(e.line)
			}
			if r.Job != "" && r.Attempt > 1 {
				b.x.jobs[b.keep(r.Job)] = max(b.x.jobs[r.Job], r.Attempt)
			}
		case r.Event == Finished:
			if ri := b.run(r.Run); e.line > ri.finished {
				ri.finished = strings.Clone(e.line)
			}
		case r.Event == Forgotten && r.Stack != "":
			s, run := b.slot(r), b.keep(r.Run)
			if s.forgotten == nil {
				s.forgotten = map[string][]string{}
			}
			for _, p := range r.Prev {
				s.forgotten[run] = append(s.forgotten[run], b.keep(p))
			}
		case r.Status != "":
			b.record(commit, e.line, r)
		}
	}
}

func (b *builder) run(run string) *runInfo {
	ri := b.x.runs[run]
	if ri == nil {
		ri = new(runInfo)
		b.x.runs[b.keep(run)] = ri
	}
	return ri
}

func (b *builder) slot(r *Record) *buildSlot {
	k := keyOf(r)
	s := b.slots[k]
	if s == nil {
		k = slotKey{b.keep(k.group), b.keep(k.target), b.keep(k.ident)}
		s = &buildSlot{latest: map[string]latestLine{}, past: map[string]passed{}, followed: map[string]bool{}}
		b.slots[k] = s
	}
	return s
}

func (b *builder) record(commit, line string, r *Record) {
	s, run, commit := b.slot(r), b.keep(r.Run), b.keep(commit)
	p, known := s.past[run]
	// Of several successes of a run the newest counts.
	if at, ok := r.At.UnixMilli(), success(r); !known || ok && !p.ok || ok == p.ok && (at > p.at || at == p.at && commit > p.commit) {
		p.at, p.commit, p.ok = at, commit, ok
	}
	for _, prev := range r.Prev {
		if prev != run && !slices.Contains(p.prev, prev) {
			prev = b.keep(prev)
			p.prev = append(p.prev, prev)
			s.followed[prev] = true
			delete(s.latest, prev)
		}
	}
	s.past[run] = p
	if !s.followed[run] {
		s.offer(run, commit, line, r)
	}
}

// offer makes a record the latest of its run if it is.
func (s *buildSlot) offer(run, commit, line string, r *Record) {
	was, ok := s.latest[run]
	if !ok || newer(r, line, &Record{At: was.at, Status: was.status}, was.line) {
		s.latest[run] = latestLine{commit, strings.Clone(line), r.At, r.Status}
	}
}

// bridge follows what forgotten records followed, on behalf of who followed them.
func (s *buildSlot) bridge() {
	if len(s.forgotten) == 0 {
		return
	}
	var todo []string
	for run := range s.followed {
		todo = append(todo, run)
	}
	for seen := map[string]bool{}; len(todo) > 0; {
		run := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, alive := s.past[run]; alive || seen[run] {
			continue
		}
		seen[run] = true
		for _, p := range s.forgotten[run] {
			s.followed[p] = true
			delete(s.latest, p)
			todo = append(todo, p)
		}
	}
}

// done is the index of all that was taken in.
func (b *builder) done(tree plumbing.Hash, reread func(commit string) ([]entry, error)) (*index, error) {
	b.x.tree = tree
	for k, s := range b.slots {
		s.bridge()
		if len(s.latest) == 0 {
			// Records that follow each other in a circle: none is the latest, so
			// all are. Nothing counts as done then.
			for run, p := range s.past {
				entries, err := reread(p.commit)
				if err != nil {
					return nil, err
				}
				for _, e := range entries {
					if r := e.record; r != nil && r.Status != "" && r.Run == run && keyOf(r) == k {
						s.offer(run, p.commit, e.line, r)
					}
				}
			}
		}
		out := new(slot)
		for _, h := range s.latest {
			r, err := ParseRecord(h.line)
			if err != nil {
				return nil, &RecordError{h.commit, err}
			}
			out.heads = append(out.heads, Stored{h.commit, r, h.line})
		}
		for p := range s.followed {
			if _, seen := s.past[p]; !seen {
				out.followed = append(out.followed, p)
			}
		}
		slices.SortFunc(out.heads, compareStored)
		slices.Sort(out.followed)
		s.lastOK(out)
		b.x.slots[k] = out
	}
	b.x.prune()
	return b.x, nil
}

// compareStored sorts the newest first.
func compareStored(a, b Stored) int {
	return cmp.Or(b.At.Compare(a.At), strings.Compare(a.line, b.line), strings.Compare(a.Commit, b.Commit))
}

// lastOK goes back from the heads to the nearest success.
func (s *buildSlot) lastOK(out *slot) {
	var at []string
	for _, h := range out.heads {
		at = append(at, h.Run)
	}
	for seen := map[string]bool{}; len(at) > 0; {
		var next []string
		for _, run := range at {
			if seen[run] {
				continue
			}
			seen[run] = true
			p, known := s.past[run]
			if !known {
				next = append(next, s.forgotten[run]...)
				continue
			}
			if !p.ok {
				next = append(next, p.prev...)
			} else if p.at > out.okAt || p.at == out.okAt && run > out.okRun {
				out.okRun, out.okCommit, out.okAt = run, p.commit, p.at
			}
		}
		if out.okRun != "" {
			return
		}
		at = next
	}
}

// prune leaves out the runs that have ended and that no head belongs to.
func (x *index) prune() {
	used := map[string]bool{}
	for _, s := range x.slots {
		for _, h := range s.heads {
			used[h.Run] = true
		}
		if s.okRun != "" {
			used[s.okRun] = true
		}
	}
	for run, ri := range x.runs {
		if !used[run] && ri.finished != "" {
			delete(x.runs, run)
			x.past[run] = true
		}
	}
}

const indexMagic = "tmnotes index 2 "

// save writes the index beside its place and renames it. It is not synced: a
// file that a crash damaged does not end as it should, and is made anew.
func (x *index) save(path string) error {
	var b bytes.Buffer
	b.WriteString(indexMagic + x.tree.String() + "\n")
	for k, s := range x.slots {
		b.WriteString("s ")
		for _, word := range []string{k.group, k.target, k.ident, s.okRun} {
			b.Write(strconv.AppendQuote(b.AvailableBuffer(), word))
			b.WriteByte(' ')
		}
		b.WriteString(cmp.Or(s.okCommit, "-") + " " + strconv.FormatInt(s.okAt, 10) + " " + cmp.Or(strings.Join(s.followed, ","), "-") + "\n")
		for _, h := range s.heads {
			b.WriteString("h " + h.Commit + " " + h.line + "\n")
		}
	}
	for run, ri := range x.runs {
		b.WriteString("r " + run + "\n")
		if ri.line != "" {
			b.WriteString("b " + ri.line + "\n")
		}
		if ri.finished != "" {
			b.WriteString("e " + ri.finished + "\n")
		}
	}
	for run := range x.past {
		b.WriteString("p " + run + "\n")
	}
	for job, attempt := range x.jobs {
		fmt.Fprintf(&b, "j %q %d\n", job, attempt)
	}
	b.WriteString("end\n")
	tmp, err := os.CreateTemp(filepath.Dir(path), "index-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b.Bytes())
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

var errIndex = errors.New("no usable index")

// loadIndex reads what save wrote; anything else is errIndex.
func loadIndex(path string) (*index, error) {
	data, err := os.ReadFile(path)
	if err != nil || !bytes.HasSuffix(data, []byte("\nend\n")) {
		return nil, errIndex
	}
	text := string(data)
	head, text, _ := strings.Cut(text, "\n")
	tree, ok := strings.CutPrefix(head, indexMagic)
	if !ok || !plumbing.IsHash(tree) {
		return nil, errIndex
	}
	x := newIndex()
	x.tree = plumbing.NewHash(tree)
	var s *slot
	var ri *runInfo
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case kind == "s":
			s = new(slot)
			var k slotKey
			if s.okRun, rest, ok = unquoteKey(rest, &k); !ok {
				return nil, errIndex
			}
			f := strings.Split(rest, " ")
			if len(f) != 3 {
				return nil, errIndex
			}
			if s.okAt, err = strconv.ParseInt(f[1], 10, 64); err != nil {
				return nil, errIndex
			}
			if f[0] != "-" {
				s.okCommit = f[0]
			}
			if f[2] != "-" {
				s.followed = strings.Split(f[2], ",")
			}
			x.slots[k] = s
		case kind == "h" && s != nil:
			commit, l, _ := strings.Cut(rest, " ")
			r, err := ParseRecord(l)
			if err != nil {
				return nil, errIndex
			}
			s.heads = append(s.heads, Stored{commit, r, l})
		case kind == "r":
			ri = new(runInfo)
			x.runs[rest] = ri
		case kind == "p":
			x.past[rest] = true
		case kind == "j":
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, errIndex
			}
			job, _ := strconv.Unquote(quoted)
			if x.jobs[job], err = strconv.Atoi(strings.TrimPrefix(rest[len(quoted):], " ")); err != nil {
				return nil, errIndex
			}
		case kind == "b" && ri != nil:
			ri.line = rest
		case kind == "e" && ri != nil:
			ri.finished = rest
		case kind == "end":
			return x, nil
		default:
			return nil, errIndex
		}
	}
	return nil, errIndex
}

// unquoteKey reads the quoted words at the start of a slot's line.
func unquoteKey(s string, k *slotKey) (okRun, rest string, ok bool) {
	for _, to := range []*string{&k.group, &k.target, &k.ident, &okRun} {
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", false
		}
		if *to, err = strconv.Unquote(q); err != nil || len(s) == len(q) {
			return "", "", false
		}
		s = s[len(q)+1:]
	}
	return okRun, s, true
}
