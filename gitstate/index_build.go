package gitstate

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// builder makes an index from all notes, in any order, in memory that grows
// with the number of records but not with their text.
type builder struct {
	intern map[string]string
	slots  map[slotKey]*buildSlot
	record Stored // the one that is read, again and again
	// If set, the results that count. Others are taken for forgotten ones: they
	// tie who followed them to what they followed, and that is all.
	keep      func(commit string, r *note.Record) bool
	by        *trust // by which lines count; nil: all do
	uncounted map[string]map[string]int
}

type buildSlot struct {
	latest   map[string]latestLine // run → its latest record, while nobody followed it
	past     map[string]passed     // run → what is needed of it once it is followed
	followed map[string]bool
	// The runs whose record of the stack was forgotten or does not count, and
	// what it followed.
	forgotten map[string][]string
	// Where records have to be signed: what those of a run followed that are open, and need not be. That
	// counts of a run that has nothing else.
	open   map[string][]string
	ended  map[string]int64 // run → when it had destroyed the stack, or found drift
	paths  paths
	doubts map[string][]latestLine // run → its latest that is not signed, and those that are gone
}

type latestLine struct {
	commit, line string
	at           time.Time
	status       note.Status
	copied       bool // see Stored
	gone         bool // see Stored
}

type passed struct {
	at        int64
	commit    string
	ok, dirty bool
	prev      []string
	ended     bool // there is a record that is not open
}

func newBuilder(by *trust) *builder {
	return &builder{by: by, intern: map[string]string{}, slots: map[slotKey]*buildSlot{}}
}

func (b *builder) same(s string) string {
	if k, ok := b.intern[s]; ok {
		return k
	}
	k := strings.Clone(s)
	b.intern[k] = k
	return k
}

// judged takes in a note of which not every line may count.
func (b *builder) judged(j *reading) {
	commit := j.commit
	b.note(commit, j.counted)
	for i := range j.doubts {
		if d := &j.doubts[i]; b.counts(commit, &d.Record) {
			b.slot(&d.Record).doubt(d)
		}
	}
	if len(j.uncounted) > 0 {
		if b.uncounted == nil {
			b.uncounted = map[string]map[string]int{}
		}
		b.uncounted[commit] = j.uncounted
	}
}

// note takes in the lines of one note, which share memory with its text.
func (b *builder) note(commit string, lines []string) {
	is := b.by.historyOf(commit, lines)
	for _, line := range lines {
		if isRunEvent(line) || is.history(line) {
			continue // looked up at the end, for the runs that matter
		}
		b.record = Stored{Commit: commit, line: line}
		r := &b.record.Record
		switch err := r.Parse(line); {
		case err != nil:
		case r.Event == note.Forgotten && r.Stack != "", r.Status != "" && !b.counts(commit, r):
			s, run := b.slot(r), b.same(r.Run)
			if s.forgotten == nil {
				s.forgotten = map[string][]string{}
			}
			for _, p := range r.Prev {
				s.forgotten[run] = append(s.forgotten[run], b.same(p))
			}
		case r.Status != "":
			b.add(&b.record)
		}
	}
}

func (b *builder) counts(commit string, r *note.Record) bool {
	return b.keep == nil || b.keep(commit, r)
}

func (b *builder) slot(r *note.Record) *buildSlot {
	k := keyOf(r)
	s := b.slots[k]
	if s == nil {
		k = slotKey{b.same(k.group), b.same(k.target), b.same(k.ident), b.same(k.backend)}
		s = &buildSlot{latest: map[string]latestLine{}, past: map[string]passed{}, followed: map[string]bool{}}
		b.slots[k] = s
	}
	if !slices.Contains(s.paths, r.Stack) {
		s.paths.add(b.same(r.Stack))
	}
	return s
}

func (b *builder) add(of *Stored) {
	commit, r := of.Commit, &of.Record
	s, run := b.slot(r), b.same(r.Run)
	p, known := s.past[run]
	// Of several successes of a run the newest counts.
	if at, ok := r.At.UnixMilli(), success(r); !known || ok && !p.ok || ok == p.ok && (at > p.at || at == p.at && commit > p.commit) {
		p.at, p.commit, p.ok, p.dirty = at, commit, ok, r.Dirty
	}
	if ends(r) {
		if s.ended == nil {
			s.ended = map[string]int64{}
		}
		s.ended[run] = max(s.ended[run], r.At.UnixMilli())
	}
	p.ended = p.ended || !r.Status.Open()
	if b.by != nil && r.Status.Open() {
		if s.open == nil {
			s.open = map[string][]string{}
		}
		for _, prev := range r.Prev {
			s.open[run] = append(s.open[run], b.same(prev))
		}
	} else {
		b.follow(s, run, &p, r.Prev)
	}
	s.past[run] = p
	if !s.followed[run] {
		s.offer(run, of)
	}
}

// follow has a run follow others.
func (b *builder) follow(s *buildSlot, run string, p *passed, others []string) {
	for _, prev := range missing(p.prev, others) {
		if prev != run {
			prev = b.same(prev)
			p.prev = append(p.prev, prev)
			s.followed[prev] = true
			delete(s.latest, prev)
		}
	}
}

// offer makes a record the latest of its run if it is.
func (s *buildSlot) offer(run string, of *Stored) {
	was, ok := s.latest[run]
	is := latestLine{commit: of.Commit, line: of.line, at: of.At, status: of.Record.Status}
	switch {
	case ok && of.line == was.line && of.Commit != was.commit:
		was.commit, was.copied = min(of.Commit, was.commit), true
		s.latest[run] = was
	case !ok || newer(&of.Record, of.line, &note.Record{At: was.at, Status: was.status}, was.line):
		is.line = strings.Clone(is.line)
		s.latest[run] = is
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
func (b *builder) done(tree trees, reread func(commit string) ([]string, error)) (*index, error) {
	x := newIndex()
	x.tree, x.by, x.uncounted = tree, b.by, b.uncounted
	for k, s := range b.slots {
		for run, others := range s.open {
			if p := s.past[run]; !p.ended {
				b.follow(s, run, &p, others)
				s.past[run] = p
			}
		}
		s.bridge()
		if len(s.latest) == 0 {
			// Records that follow each other in a circle: none is the latest, so
			// all are. Nothing counts as done then.
			for run, p := range s.past {
				lines, err := reread(p.commit)
				if err != nil {
					return nil, err
				}
				is := b.by.historyOf(p.commit, lines)
				for _, line := range lines {
					if r, err := note.ParseRecord(line); err == nil && !is.history(line) && r.Status != "" && r.Run == run && keyOf(&r) == k && b.counts(p.commit, &r) {
						s.offer(run, &Stored{Commit: p.commit, Record: r, line: line})
					}
				}
			}
		}
		out := &slot{heads: make([]Stored, 0, len(s.latest)), paths: s.paths}
		for _, h := range s.latest {
			r, err := note.ParseRecord(h.line)
			if err != nil {
				return nil, &note.RecordError{Commit: h.commit, Err: err}
			}
			out.heads = append(out.heads, Stored{Commit: h.commit, Record: r, line: h.line, copied: h.copied})
		}
		for p := range s.followed {
			if _, seen := s.past[p]; !seen && s.doubts[p] == nil {
				out.followed = append(out.followed, p)
			}
		}
		if err := s.standing(out); err != nil {
			return nil, err
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
		readRuns(commit, lines, runs)
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
	defer func() {
		if out.endedAt <= out.okAt {
			out.endedAt = 0
		}
	}()
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
			out.endedAt = max(out.endedAt, s.ended[run])
			if !p.ok {
				next = append(next, p.prev...)
			} else if p.at > out.okAt || p.at == out.okAt && run > out.okRun {
				out.okRun, out.okCommit, out.okAt, out.okDirty = run, p.commit, p.at, p.dirty
			}
		}
		if out.okRun != "" {
			return
		}
		at = next
	}
}

// changes are the notes that differ between two trees.
func (s *Store) changes(a, b plumbing.Hash) ([]notestree.Change, error) {
	var pairs []notePair
	err := notestree.DiffTrees(s.repo.Read, a, b, func(commit plumbing.Hash, old, new []plumbing.Hash) error {
		pairs = append(pairs, notePair{commit.String(), slices.Clone(old), slices.Clone(new)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.readPairs(pairs)
}

// notePair is the blobs of a note before and after.
type notePair struct {
	commit   string
	old, new []plumbing.Hash
}

func (s *Store) readPairs(pairs []notePair) ([]notestree.Change, error) {
	type side struct {
		blobs []plumbing.Hash
		lines *[]string
	}
	var unread []side
	var all []plumbing.Hash
	changes := make([]notestree.Change, len(pairs))
	for i, p := range pairs {
		c := &changes[i]
		c.Commit = p.commit
		for _, of := range []side{{p.old, &c.Old}, {p.new, &c.New}} {
			lines, is := s.long.get(of.blobs)
			if *of.lines = lines; !is {
				unread, all = append(unread, of), append(all, of.blobs...)
			}
		}
	}
	bodies := make([]string, len(all))
	if _, err := s.repo.ReadBlobs(all, func(i int, body []byte) error { bodies[i] = string(body); return nil }); err != nil {
		return nil, err
	}
	for _, of := range unread {
		n := len(of.blobs)
		*of.lines = note.NormalLines(splitTexts(bodies[:n]))
		s.long.put(of.blobs, *of.lines)
		bodies = bodies[n:]
	}
	return changes, nil
}

func splitTexts(texts []string) []string {
	var lines []string
	for _, t := range texts {
		lines = note.AppendLines(lines, t)
	}
	return lines
}

// rebuild reads every note; overlay replaces some of them.
func (s *Store) rebuild(t noteReader, tree trees, overlay []notestree.Change, by *trust) (*index, error) {
	return s.build(newBuilder(by), t, tree, overlay)
}

// manyLines is from where on memory matters more than time.
const manyLines = 100_000

func (s *Store) build(b *builder, t noteReader, tree trees, overlay []notestree.Change) (*index, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	over := map[string][]string{}
	for _, c := range overlay {
		over[c.Commit] = c.New
	}
	lines := 0
	all := func(fn func(commit string, lines []string) error) error {
		return s.eachOver(t, over, func(commit string, of []string) error {
			// Of a million records hundreds of megabytes are kept: no multiple of that is to be garbage.
			if few := lines < manyLines; few && lines+len(of) >= manyLines {
				debug.SetGCPercent(50)
			}
			lines += len(of)
			return fn(commit, of)
		})
	}
	var err error
	if b.by == nil {
		err = all(func(commit string, lines []string) error { b.note(commit, lines); return nil })
	} else {
		err = judgeAll(b.by, all, func(j *reading) *reading { return j }, b.judged)
	}
	if err != nil {
		return nil, err
	}
	return b.done(tree, func(commit string) ([]string, error) {
		lines, err := s.noteLines(t, over, commit)
		return b.by.effective(commit, lines), err
	})
}

// eachOver is each, with some notes in the place of those that are there.
func (s *Store) eachOver(t noteReader, over map[string][]string, fn func(commit string, lines []string) error) error {
	err := s.each(t, func(commit string, lines []string) error {
		if _, ok := over[commit]; ok {
			return nil
		}
		return fn(commit, lines)
	})
	for commit, lines := range over {
		err = cmp.Or(err, fn(commit, lines))
	}
	return err
}

// noteLines is one of them, in normal form.
func (s *Store) noteLines(t noteReader, over map[string][]string, commit string) ([]string, error) {
	if lines, ok := over[commit]; ok {
		return lines, nil
	}
	blobs, err := t.Get(plumbing.NewHash(commit))
	if err != nil {
		return nil, &note.RecordError{Commit: commit, Err: err}
	}
	if lines, is := s.long.get(blobs); is {
		return lines, nil
	}
	text, err := s.text(blobs)
	if err != nil {
		return nil, &note.RecordError{Commit: commit, Err: err}
	}
	lines := note.NormalLines(note.AppendLines(nil, text))
	s.long.put(blobs, lines)
	return lines, nil
}

// each hands on all notes in normal form, in any order. The lines share memory
// with the note, so who keeps one clones it, and the list of them is good until
// fn returns.
func (s *Store) each(t noteReader, fn func(commit string, lines []string) error) error {
	// A note has several blobs only where git would merge them.
	type parts struct {
		left  int
		lines []string
	}
	var commits, blobs []plumbing.Hash
	several := map[plumbing.Hash]*parts{}
	failed := func(where string, err error) error {
		return fmt.Errorf("reading %s: %w; `git fsck` tells more, and a clone or the remote has a copy", where, err)
	}
	err := t.Each(func(commit plumbing.Hash, of []plumbing.Hash) error {
		for _, b := range of {
			commits, blobs = append(commits, commit), append(blobs, b)
		}
		if len(of) > 1 {
			several[commit] = &parts{left: len(of)}
		}
		return nil
	})
	if err != nil {
		return failed(s.ref, err)
	}
	var lines []string
	at, err := s.repo.ReadBlobs(blobs, func(i int, body []byte) error {
		lines = note.AppendLines(lines[:0], string(body))
		of := lines
		if p := several[commits[i]]; p != nil {
			p.lines = append(p.lines, lines...)
			if p.left--; p.left > 0 {
				return nil
			}
			of = p.lines
		}
		return fn(commits[i].String(), note.NormalLines(of))
	})
	if err != nil {
		return failed(s.ref+", the note of "+note.Short(commits[at].String()), err)
	}
	return nil
}
