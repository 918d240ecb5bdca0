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
	runs  map[runKey]*runInfo // of the heads and of the latest successes
}

func newIndex() *index {
	return &index{slots: map[slotKey]*slot{}, runs: map[runKey]*runInfo{}}
}

// runKey is a run as one commit's note tells of it: its head and its end stand
// where its records stand, so that they are looked for nowhere else.
type runKey struct{ run, commit string }

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
	// The greatest name of a run that has a record here. Runs are named by time,
	// so that one with a lesser name may be one that is past, of which nothing
	// is kept.
	last string
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
	finished string // of the end
	newest   int    // the newest attempt of the head's CI job in the same note
}

func (ri *runInfo) head() Record {
	if ri == nil {
		return Record{}
	}
	r, _ := ParseRecord(ri.line)
	return r
}

// groupOf joins the operations that end each other. To destroy a part of a
// stack (runner.Recognise calls it destroy-target) is no destruction, but what
// was deployed before is not what is there afterwards.
func groupOf(op string) string {
	if op == Destroy || op == "destroy-target" {
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
func success(r *Record) bool {
	return r.Status == OK && (r.Op == Deploy || groupOf(r.Op) != Deploy)
}

// change is one note before and after.
type change struct {
	commit   string
	old, new []string // lines, sorted
}

// apply follows changes. It reports false where the result would not surely be
// what a reading of all notes says; the index is of no use afterwards.
func (x *index) apply(changes []change) bool {
	var added, gone []Stored
	notes := make(map[string][]string, len(changes))
	for _, c := range changes {
		notes[c.commit] = c.new
		add, del := diffLines(c.old, c.new)
		for _, line := range add {
			switch r, err := ParseRecord(line); {
			case err != nil:
			case r.Event == Forgotten && r.Stack != "":
				return false
			case r.Status != "":
				added = append(added, Stored{c.commit, r, line})
			}
		}
		for _, line := range del {
			if r, err := ParseRecord(line); err == nil && r.Status != "" {
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
	was := x.runs
	return nil == x.findRuns(func(commit string, runs map[string]*runInfo) error {
		lines, changed := notes[commit]
		if changed {
			readRuns(lines, runs)
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

// readRuns fills in what the lines of a note say of its runs.
func readRuns(lines []string, runs map[string]*runInfo) {
	jobs := map[string]int{}
	for _, line := range lines {
		if !isRunEvent(line) {
			continue
		}
		r, err := ParseRecord(line)
		if err != nil {
			continue
		}
		if r.Job != "" {
			jobs[r.Job] = max(jobs[r.Job], r.Attempt)
		}
		switch ri := runs[r.Run]; {
		case ri == nil:
		case r.Event == Finished:
			ri.finished = max(ri.finished, line)
		case ri.line == "" || line < ri.line: // of several heads the first counts
			ri.line = line
		}
	}
	for _, ri := range runs {
		if ri.line != "" {
			ri.newest = jobs[ri.head().Job]
		}
		ri.line, ri.finished = strings.Clone(ri.line), strings.Clone(ri.finished)
	}
}

// isRunEvent tells the head and the end of a run from other lines, as far as
// that can be done without reading the line.
func isRunEvent(line string) bool {
	const at = len("at=") + len(timeLayout)
	return len(line) > at && (strings.HasPrefix(line[at:], " event="+Started+" ") || strings.HasPrefix(line[at:], " event="+Finished+" "))
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
	record Record // the one that is read, again and again
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
	return &builder{intern: map[string]string{}, slots: map[slotKey]*buildSlot{}}
}

func (b *builder) keep(s string) string {
	if k, ok := b.intern[s]; ok {
		return k
	}
	k := strings.Clone(s)
	b.intern[k] = k
	return k
}

// note takes in the lines of one note, which share memory with its text.
func (b *builder) note(commit string, lines []string) {
	for _, line := range lines {
		if isRunEvent(line) {
			continue // looked up at the end, for the runs that matter
		}
		r := &b.record
		*r = Record{}
		switch err := r.parse(line); {
		case err != nil:
		case r.Event == Forgotten && r.Stack != "":
			s, run := b.slot(r), b.keep(r.Run)
			if s.forgotten == nil {
				s.forgotten = map[string][]string{}
			}
			for _, p := range r.Prev {
				s.forgotten[run] = append(s.forgotten[run], b.keep(p))
			}
		case r.Status != "":
			b.add(commit, line, r)
		}
	}
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

func (b *builder) add(commit, line string, r *Record) {
	s, run := b.slot(r), b.keep(r.Run)
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
func (b *builder) done(tree plumbing.Hash, reread func(commit string) ([]string, error)) (*index, error) {
	x := newIndex()
	x.tree = tree
	for k, s := range b.slots {
		s.bridge()
		if len(s.latest) == 0 {
			// Records that follow each other in a circle: none is the latest, so
			// all are. Nothing counts as done then.
			for run, p := range s.past {
				lines, err := reread(p.commit)
				if err != nil {
					return nil, err
				}
				for _, line := range lines {
					if r, err := ParseRecord(line); err == nil && r.Status != "" && r.Run == run && keyOf(&r) == k {
						s.offer(run, p.commit, line, &r)
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
		for run := range s.past {
			out.last = max(out.last, run)
		}
		x.slots[k] = out
	}
	err := x.findRuns(func(commit string, runs map[string]*runInfo) error {
		lines, err := reread(commit)
		readRuns(lines, runs)
		return err
	})
	return x, err
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

const indexMagic = "tmnotes index 3 "

// save writes the index beside its place and renames it. It is not synced: a
// file that a crash damaged does not end as it should, and is made anew.
func (x *index) save(path string) error {
	var b bytes.Buffer
	b.WriteString(indexMagic + x.tree.String() + "\n")
	for k, s := range x.slots {
		b.WriteString("s ")
		for _, word := range []string{k.group, k.target, k.ident, s.okRun, s.last} {
			b.Write(strconv.AppendQuote(b.AvailableBuffer(), word))
			b.WriteByte(' ')
		}
		b.WriteString(cmp.Or(s.okCommit, "-") + " " + strconv.FormatInt(s.okAt, 10) + " " + cmp.Or(strings.Join(s.followed, ","), "-") + "\n")
		for _, h := range s.heads {
			b.WriteString("h " + h.Commit + " " + h.line + "\n")
		}
	}
	for k, ri := range x.runs {
		fmt.Fprintf(&b, "r %q %s %d\n", k.run, k.commit, ri.newest)
		if ri.line != "" {
			b.WriteString("b " + ri.line + "\n")
		}
		if ri.finished != "" {
			b.WriteString("e " + ri.finished + "\n")
		}
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
			if rest, ok = unquote(rest, &k.group, &k.target, &k.ident, &s.okRun, &s.last); !ok {
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
			var k runKey
			if rest, ok = unquote(rest, &k.run); !ok {
				return nil, errIndex
			}
			commit, newest, _ := strings.Cut(rest, " ")
			if ri.newest, err = strconv.Atoi(newest); err != nil {
				return nil, errIndex
			}
			k.commit = commit
			x.runs[k] = ri
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

// unquote reads quoted words at the start of a line.
func unquote(s string, words ...*string) (rest string, ok bool) {
	for _, to := range words {
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", false
		}
		if *to, err = strconv.Unquote(q); err != nil || len(s) == len(q) {
			return "", false
		}
		s = s[len(q)+1:]
	}
	return s, true
}
