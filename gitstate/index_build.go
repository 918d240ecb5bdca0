package gitstate

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	runs map[string]*buildRun // those that are recorded, and those that were followed
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

// buildRun is what is needed of a run's records of a stack, also once it is followed.
type buildRun struct {
	name      string
	known     bool // there is a record
	followed  bool
	latest    *latestLine // while nobody followed it
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
		s = &buildSlot{runs: map[string]*buildRun{}}
		b.slots[k] = s
	}
	if !slices.Contains(s.paths, r.Stack) {
		s.paths.add(b.same(r.Stack))
	}
	return s
}

// run is one of a slot, which need not be known.
func (b *builder) run(s *buildSlot, name string) *buildRun {
	r := s.runs[name]
	if r == nil {
		r = &buildRun{name: b.same(name)}
		s.runs[r.name] = r
	}
	return r
}

func (b *builder) add(of *Stored) {
	commit, r := of.Commit, &of.Record
	s := b.slot(r)
	p := b.run(s, r.Run)
	// Of several successes of a run the newest counts.
	if at, ok := r.At.UnixMilli(), success(r); !p.known || ok && !p.ok || ok == p.ok && (at > p.at || at == p.at && commit > p.commit) {
		p.at, p.commit, p.ok, p.dirty = at, commit, ok, r.Dirty
	}
	if ends(r) {
		if s.ended == nil {
			s.ended = map[string]int64{}
		}
		s.ended[p.name] = max(s.ended[p.name], r.At.UnixMilli())
	}
	p.known, p.ended = true, p.ended || !r.Status.Open()
	if b.by != nil && r.Status.Open() {
		if s.open == nil {
			s.open = map[string][]string{}
		}
		for _, prev := range r.Prev {
			s.open[p.name] = append(s.open[p.name], b.same(prev))
		}
	} else {
		b.follow(s, p, r.Prev)
	}
	if !p.followed {
		p.offer(of)
	}
}

// follow has a run follow others.
func (b *builder) follow(s *buildSlot, p *buildRun, others []string) {
	for _, prev := range missing(p.prev, others) {
		if prev != p.name {
			of := b.run(s, prev)
			of.followed, of.latest = true, nil
			p.prev = append(p.prev, of.name)
		}
	}
}

// offer makes a record the latest of its run if it is.
func (p *buildRun) offer(of *Stored) {
	was := p.latest
	switch {
	case was != nil && of.line == was.line && of.Commit != was.commit:
		was.commit, was.copied = min(of.Commit, was.commit), true
	case was == nil || newer(&of.Record, of.line, &note.Record{At: was.at, Status: was.status}, was.line):
		p.latest = &latestLine{commit: of.Commit, line: strings.Clone(of.line), at: of.At, status: of.Record.Status}
	}
}

// bridge follows what forgotten records followed, on behalf of who followed them.
func (b *builder) bridge(s *buildSlot) {
	if len(s.forgotten) == 0 {
		return
	}
	var todo []*buildRun
	for _, p := range s.runs {
		if p.followed {
			todo = append(todo, p)
		}
	}
	for seen := map[*buildRun]bool{}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p.known || seen[p] {
			continue
		}
		seen[p] = true
		for _, prev := range s.forgotten[p.name] {
			of := b.run(s, prev)
			of.followed, of.latest = true, nil
			todo = append(todo, of)
		}
	}
}

// done is the index of all that was taken in.
func (b *builder) done(tree trees, reread func(commit string) ([]string, error)) (*index, error) {
	x := newIndex()
	x.tree, x.by, x.uncounted = tree, b.by, b.uncounted
	for k, s := range b.slots {
		for run, others := range s.open {
			if p := s.runs[run]; !p.ended {
				b.follow(s, p, others)
			}
		}
		b.bridge(s)
		if !s.headed() {
			// Records that follow each other in a circle: none is the latest, so
			// all are. Nothing counts as done then.
			for _, p := range s.runs {
				if !p.known {
					continue
				}
				lines, err := reread(p.commit)
				if err != nil {
					return nil, err
				}
				is := b.by.historyOf(p.commit, lines)
				for _, line := range lines {
					if r, err := note.ParseRecord(line); err == nil && !is.history(line) && r.Status != "" && r.Run == p.name && keyOf(&r) == k && b.counts(p.commit, &r) {
						p.offer(&Stored{Commit: p.commit, Record: r, line: line})
					}
				}
			}
		}
		out := &slot{paths: s.paths}
		for name, p := range s.runs {
			if p.known {
				out.last = max(out.last, name)
			} else if p.followed && s.doubts[name] == nil {
				out.followed = append(out.followed, name)
			}
		}
		var err error
		if out.heads, err = s.heads(); err != nil {
			return nil, err
		}
		if err := s.standing(out); err != nil {
			return nil, err
		}
		slices.Sort(out.followed)
		s.lastOK(out)
		x.slots[k] = out
	}
	err := x.findRuns(func(commit string, runs map[string]*runInfo) error {
		lines, err := reread(commit)
		readRuns(commit, lines, runs)
		return err
	})
	return x, err
}

// heads are the latest records of the runs that nobody followed, sorted as compareStored does.
func (s *buildSlot) heads() ([]Stored, error) {
	var latest []*latestLine
	for _, p := range s.runs {
		if p.latest != nil {
			latest = append(latest, p.latest)
		}
	}
	slices.SortFunc(latest, func(a, b *latestLine) int {
		return cmp.Or(b.at.Compare(a.at), strings.Compare(a.line, b.line), strings.Compare(a.commit, b.commit))
	})
	heads := make([]Stored, len(latest))
	for i, l := range latest {
		h := &heads[i]
		h.Commit, h.line, h.copied = l.commit, l.line, l.copied
		if err := h.Parse(l.line); err != nil {
			return nil, &note.RecordError{Commit: l.commit, Err: err}
		}
	}
	return heads, nil
}

// headed reports whether a run is that nobody followed.
func (s *buildSlot) headed() bool {
	for _, p := range s.runs {
		if p.latest != nil {
			return true
		}
	}
	return false
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
	for seen := make(map[string]bool, len(at)); len(at) > 0; {
		var next []string
		for _, run := range at {
			if seen[run] {
				continue
			}
			seen[run] = true
			p := s.runs[run]
			if p == nil || !p.known {
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

// rebuild reads every note; overlay replaces some of them.
func (s *Store) rebuild(t noteReader, tree trees, overlay []notestree.Change, by *trust) (*index, error) {
	return s.build(newBuilder(by), t, tree, overlay)
}

func (s *Store) build(b *builder, t noteReader, tree trees, overlay []notestree.Change) (*index, error) {
	over := map[string][]string{}
	for _, c := range overlay {
		over[c.Commit] = c.New
	}
	all := func(fn func(commit string, lines []string) error) error { return s.eachOver(t, over, fn) }
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
