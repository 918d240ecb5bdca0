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
// not know of each other.
type index struct {
	tree  plumbing.Hash
	slots map[slotKey]*slot
	runs  map[string]*runInfo
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
	commit   string
	head     Record
	line     string // of the head
	finished string // line of the end
	newest   int    // the newest attempt seen of the head's CI job
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

// newer says whether a is the later record of one run's work on a stack.
func newer(a, b *Record) bool {
	if ao, bo := a.Status.open(), b.Status.open(); ao != bo {
		return bo
	}
	return a.At.After(b.At)
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
			if err != nil {
				continue
			}
			if r.Event != "" {
				x.seeEvent(c.commit, &r, line)
				continue
			}
			added = append(added, Stored{c.commit, r, line})
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
		if s := x.slots[keyOf(&gone[i].Record)]; s != nil {
			for _, h := range s.heads {
				if h.line == gone[i].line && h.Commit == gone[i].Commit {
					return false // a latest record was taken away
				}
			}
			if s.okRun == gone[i].Run && success(&gone[i].Record) {
				return false
			}
		}
	}
	return true
}

func (x *index) add(r *Stored) bool {
	k := keyOf(&r.Record)
	s := x.slots[k]
	if s == nil {
		s = new(slot)
		x.slots[k] = s
	}
	// A later word of the same run on the same stack.
	for i := range s.heads {
		if h := &s.heads[i]; h.Run == r.Run {
			if newer(&r.Record, &h.Record) {
				*h = *r
				s.sawOK(r)
			}
			return true
		}
	}
	if slices.Contains(s.followed, r.Run) || r.Run == s.okRun {
		return false // it comes late: somebody followed it already
	}
	for _, h := range s.heads {
		if !slices.Contains(r.Prev, h.Run) {
			return false // beside a head, or before it
		}
	}
	for _, p := range r.Prev {
		if !slices.ContainsFunc(s.heads, func(h Stored) bool { return h.Run == p }) && !slices.Contains(s.followed, p) {
			s.followed = append(s.followed, p)
		}
	}
	s.heads = []Stored{*r}
	s.sawOK(r)
	return true
}

func (s *slot) sawOK(r *Stored) {
	if success(&r.Record) {
		s.okRun, s.okCommit, s.okAt = r.Run, r.Commit, r.At.UnixMilli()
	}
}

func (x *index) seeEvent(commit string, r *Record, line string) {
	ri := x.runs[r.Run]
	if ri == nil {
		ri = new(runInfo)
		x.runs[r.Run] = ri
	}
	switch r.Event {
	case Started:
		if ri.line == "" || line < ri.line { // one run may have heads on several jobs; the first counts
			ri.commit, ri.head, ri.line = commit, *r, line
		}
		ri.newest = max(ri.newest, r.Attempt)
		if r.Job != "" {
			for _, other := range x.runs {
				if other.head.Job == r.Job {
					n := max(other.newest, ri.newest)
					other.newest, ri.newest = n, n
				}
			}
		}
	case Finished:
		ri.finished = line
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
	jobs   map[string]int // CI job → newest attempt
}

type buildSlot struct {
	latest   map[string]Stored // run → its latest record, while nobody followed it
	past     map[string]passed // run → what is needed of it once it is followed
	followed map[string]bool
}

type passed struct {
	at     int64
	commit string
	ok     bool
	prev   []string
}

func newBuilder() *builder {
	return &builder{intern: map[string]string{}, slots: map[slotKey]*buildSlot{},
		x: &index{slots: map[slotKey]*slot{}, runs: map[string]*runInfo{}}, jobs: map[string]int{}}
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
func (b *builder) note(commit string, lines []string) {
	for _, line := range lines {
		r, err := ParseRecord(line)
		switch {
		case err != nil:
		case r.Event == Started:
			if r.Job != "" {
				b.jobs[r.Job] = max(b.jobs[r.Job], r.Attempt)
			}
			ri := b.run(b.keep(r.Run))
			if l := strings.Clone(line); ri.line == "" || l < ri.line {
				ri.commit, ri.line = b.keep(commit), l
			}
		case r.Event == Finished:
			b.run(b.keep(r.Run)).finished = strings.Clone(line)
		case r.Status != "":
			b.record(commit, line, &r)
		}
	}
}

func (b *builder) run(run string) *runInfo {
	ri := b.x.runs[run]
	if ri == nil {
		ri = new(runInfo)
		b.x.runs[run] = ri
	}
	return ri
}

func (b *builder) record(commit, line string, r *Record) {
	k := keyOf(r)
	s := b.slots[k]
	if s == nil {
		k = slotKey{b.keep(k.group), b.keep(k.target), b.keep(k.ident)}
		s = &buildSlot{latest: map[string]Stored{}, past: map[string]passed{}, followed: map[string]bool{}}
		b.slots[k] = s
	}
	run := b.keep(r.Run)
	p := s.past[run]
	if ok := success(r); ok || !p.ok && r.At.UnixMilli() > p.at {
		p.at, p.commit, p.ok = r.At.UnixMilli(), b.keep(commit), ok
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
	if s.followed[run] {
		return
	}
	if was, ok := s.latest[run]; !ok || newer(r, &was.Record) {
		kept := strings.Clone(line)
		again, _ := ParseRecord(kept) // so that none of its strings holds the whole note
		s.latest[run] = Stored{b.keep(commit), again, kept}
	}
}

// done is the index of all that was taken in.
func (b *builder) done(tree plumbing.Hash, reread func(commit string) ([]string, error)) (*index, error) {
	b.x.tree = tree
	for k, s := range b.slots {
		if len(s.latest) == 0 {
			// Records that follow each other in a circle: none is the latest, so
			// all are. Only a forger writes such; nothing counts as done then.
			for run, p := range s.past {
				lines, err := reread(p.commit)
				if err != nil {
					return nil, err
				}
				for _, line := range lines {
					r, err := ParseRecord(line)
					if err == nil && r.Status != "" && r.Run == run && keyOf(&r) == k {
						s.latest[run] = Stored{p.commit, r, line}
					}
				}
			}
		}
		out := new(slot)
		for _, h := range s.latest {
			out.heads = append(out.heads, h)
		}
		for p := range s.followed {
			if _, seen := s.past[p]; !seen {
				out.followed = append(out.followed, p)
			}
		}
		slices.SortFunc(out.heads, func(a, b Stored) int {
			return cmp.Or(b.At.Compare(a.At), strings.Compare(a.line, b.line))
		})
		slices.Sort(out.followed)
		s.lastOK(out)
		b.x.slots[k] = out
	}
	for _, ri := range b.x.runs {
		if ri.line != "" {
			ri.head, _ = ParseRecord(ri.line)
			ri.newest = max(ri.head.Attempt, b.jobs[ri.head.Job])
		}
	}
	b.x.prune()
	return b.x, nil
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
			p, known := s.past[run]
			if !known || seen[run] {
				continue
			}
			seen[run] = true
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

// prune forgets the runs that no head belongs to.
func (x *index) prune() {
	used := map[string]bool{}
	for _, s := range x.slots {
		for _, h := range s.heads {
			used[h.Run] = true
		}
		used[s.okRun] = true
	}
	for run := range x.runs {
		if !used[run] {
			delete(x.runs, run)
		}
	}
}

const indexMagic = "tmnotes index 1 "

// save writes the index beside its place and renames it. It is not synced: a
// file that a crash damaged does not end as it should, and is made anew.
func (x *index) save(path string) error {
	var b bytes.Buffer
	b.WriteString(indexMagic + x.tree.String() + "\n")
	for k, s := range x.slots {
		fmt.Fprintf(&b, "s %q %q %q %q %s %d %s\n", k.group, k.target, k.ident, s.okRun, cmp.Or(s.okCommit, "-"), s.okAt, cmp.Or(strings.Join(s.followed, ","), "-"))
		for _, h := range s.heads {
			b.WriteString("h " + h.Commit + " " + h.line + "\n")
		}
	}
	for run, ri := range x.runs {
		fmt.Fprintf(&b, "r %q %s %d\n", run, cmp.Or(ri.commit, "-"), ri.newest)
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
	x := &index{tree: plumbing.NewHash(tree), slots: map[slotKey]*slot{}, runs: map[string]*runInfo{}}
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
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, errIndex
			}
			run, _ := strconv.Unquote(quoted)
			f := strings.Fields(rest[len(quoted):])
			if len(f) != 2 {
				return nil, errIndex
			}
			ri = new(runInfo)
			if f[0] != "-" {
				ri.commit = f[0]
			}
			if ri.newest, err = strconv.Atoi(f[1]); err != nil {
				return nil, errIndex
			}
			x.runs[run] = ri
		case kind == "b" && ri != nil:
			if ri.head, err = ParseRecord(rest); err != nil {
				return nil, errIndex
			}
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
