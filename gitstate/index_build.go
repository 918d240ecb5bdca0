package gitstate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// builder makes an index from all notes, in any order, in memory that grows
// with the number of records but not with their text.
type builder struct {
	intern map[string]string
	slots  map[slotKey]*buildSlot
	record note.Record // the one that is read, again and again
	// If set, the results that count. Others are taken for forgotten ones: they
	// tie who followed them to what they followed, and that is all.
	keep func(commit string, r *note.Record) bool
}

type buildSlot struct {
	latest   map[string]latestLine // run → its latest record, while nobody followed it
	past     map[string]passed     // run → what is needed of it once it is followed
	followed map[string]bool
	// The runs whose record of the stack was forgotten or does not count, and
	// what it followed.
	forgotten map[string][]string
}

type latestLine struct {
	commit, line string
	at           time.Time
	status       note.Status
	copied       bool // see Stored
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

func (b *builder) same(s string) string {
	if k, ok := b.intern[s]; ok {
		return k
	}
	k := strings.Clone(s)
	b.intern[k] = k
	return k
}

// note takes in the lines of one note, which share memory with its text.
func (b *builder) note(commit string, lines []string) {
	is := historyOf(commit, lines)
	for _, line := range lines {
		if isRunEvent(line) || is.history(line) {
			continue // looked up at the end, for the runs that matter
		}
		r := &b.record
		*r = note.Record{}
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
			b.add(commit, line, r)
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
	return s
}

func (b *builder) add(commit, line string, r *note.Record) {
	s, run := b.slot(r), b.same(r.Run)
	p, known := s.past[run]
	// Of several successes of a run the newest counts.
	if at, ok := r.At.UnixMilli(), success(r); !known || ok && !p.ok || ok == p.ok && (at > p.at || at == p.at && commit > p.commit) {
		p.at, p.commit, p.ok = at, commit, ok
	}
	for _, prev := range missing(p.prev, r.Prev) {
		if prev != run {
			prev = b.same(prev)
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
func (s *buildSlot) offer(run, commit, line string, r *note.Record) {
	was, ok := s.latest[run]
	switch {
	case ok && line == was.line && commit != was.commit:
		was.commit, was.copied = min(commit, was.commit), true
		s.latest[run] = was
	case !ok || newer(r, line, &note.Record{At: was.at, Status: was.status}, was.line):
		s.latest[run] = latestLine{commit: commit, line: strings.Clone(line), at: r.At, status: r.Status}
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
				is := historyOf(p.commit, lines)
				for _, line := range lines {
					if r, err := note.ParseRecord(line); err == nil && !is.history(line) && r.Status != "" && r.Run == run && keyOf(&r) == k && b.counts(p.commit, &r) {
						s.offer(run, p.commit, line, &r)
					}
				}
			}
		}
		out := &slot{heads: make([]Stored, 0, len(s.latest))}
		for _, h := range s.latest {
			r, err := note.ParseRecord(h.line)
			if err != nil {
				return nil, &note.RecordError{Commit: h.commit, Err: err}
			}
			out.heads = append(out.heads, Stored{Commit: h.commit, Record: r, line: h.line, copied: h.copied})
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
