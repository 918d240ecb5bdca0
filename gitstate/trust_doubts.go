package gitstate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What is not signed by somebody who may sign it, and what was and is gone, is in doubt: by it a stack is
// not well until a record that counts follows it.

// doubt takes in a line that does not count. Whether it is a copy from another commit's note, heads
// say that need not be signed.
func (j *reading) doubt(line string, r *note.Record, copied bool) {
	if (r.Status != "" || r.Event == note.Forgotten) && !copied {
		j.uncounted[cmp.Or(note.NameOf(r.By), note.NameOf(j.by[r.Run]), "run "+note.ShortRun(r.Run))]++
	}
	if r.Status != "" && !isHold(r.Op) {
		j.doubts = append(j.doubts, unsigned(j.commit, line, *r))
	}
}

// unsigned is a record that nobody signed who may, as far as it counts: a stack is not well by it, and
// it follows nothing, nor has it ended anything.
func unsigned(commit, line string, r note.Record) Stored {
	r.Prev = nil
	if r.Status == note.OK {
		r.Status = note.Failed
	}
	return Stored{Commit: commit, Record: r, line: line, unsigned: true}
}

// missing finds what was signed, and is gone.
func (j *reading) missing() {
	for i := range j.signatures {
		sg := &j.signatures[i]
		if sg.Bad != nil {
			continue
		}
		v := &sg.vouched
		for k := range v.Others {
			if id, o := v.Lines[k], &v.Others[k]; !j.present[id] && !slices.ContainsFunc(j.removed[id], o.Same) && !j.repeated(o) {
				sg.Missing++
				j.stand(&sg.Record, o)
			}
		}
	}
	slices.Sort(j.counted)
}

// repeated reports whether a later result of drift, or what took one away, stands for one.
func (j *reading) repeated(o *note.Other) bool {
	if o.Status == "" {
		return false
	}
	for i := range j.records {
		r := &j.records[i]
		status, at := r.Status, r.At
		if r.Event == note.Forgotten {
			status, at = r.Had, r.Was
		}
		if j.counts[i] && status == o.Status && at.After(o.At) && r.Op == o.Op && r.Target == o.Target && r.Stack == o.Stack {
			return true
		}
	}
	return false
}

// stand has something stand for a record that is gone.
func (j *reading) stand(by *note.Record, o *note.Other) {
	r := note.Record{At: by.At, Status: cmp.Or(o.Status, note.Failed), Op: o.Op, Target: o.Target, Stack: o.Stack, ID: o.ID, Run: by.Run,
		Reason: "the record was signed, and is gone from the notes"}
	r.SetBackend(o.Backend)
	if isHold(o.Op) {
		r.Status = note.Held
	}
	line, err := r.Line()
	if err != nil {
		return // nothing can be recorded of what is no stack
	}
	if isHold(o.Op) {
		j.counted = append(j.counted, line)
	} else {
		d := unsigned(j.commit, line, r)
		d.gone = true
		j.doubts = append(j.doubts, d)
	}
}

// doubt takes in what is not signed, or is gone.
func (s *buildSlot) doubt(d *Stored) {
	if s.doubts == nil {
		s.doubts = map[string][]latestLine{}
	}
	of := s.doubts[d.Run]
	is := latestLine{commit: d.Commit, line: strings.Clone(d.line), at: d.At, status: d.Record.Status, gone: d.gone}
	i := slices.IndexFunc(of, func(was latestLine) bool { return !was.gone && !d.gone })
	if i < 0 {
		s.doubts[strings.Clone(d.Run)] = append(of, is)
	} else if newer(&d.Record, d.line, &note.Record{At: of[i].at, Status: of[i].status}, of[i].line) {
		of[i] = is
	}
}

// standing puts beside the heads what is not signed and nobody followed. Of what is there without a
// signature that is only what the heads' runs may not have known of, since it came when they had begun
// (clocks differ); if there is none, it is the newest.
func (s *buildSlot) standing(out *slot) error {
	if len(s.doubts) == 0 {
		return nil
	}
	var since time.Time
	for i := range out.heads {
		h := &out.heads[i]
		began := Began(h.Run)
		if began.IsZero() {
			began = h.At.Add(-h.Took)
		}
		if began = began.Add(-maxSkew); since.IsZero() || began.Before(since) {
			since = began
		}
	}
	alone := len(out.heads) == 0
	for run, of := range s.doubts {
		for _, d := range of {
			if alone && !s.wasFollowed(run) && d.at.After(since) {
				since = d.at
			}
		}
	}
	for run, of := range s.doubts {
		if s.wasFollowed(run) {
			continue
		}
		var was *latestLine
		if p := s.runs[run]; p != nil {
			was = p.latest
		}
		for _, d := range of {
			r, err := note.ParseRecord(d.line)
			if err != nil {
				return &note.RecordError{Commit: d.commit, Err: err}
			}
			is := unsigned(d.commit, d.line, r)
			if d.gone || !d.at.Before(since) && !(was != nil && (was.line == d.line || !newer(&is.Record, d.line, &note.Record{At: was.at, Status: was.status}, was.line))) {
				out.heads = append(out.heads, is)
			}
		}
	}
	slices.SortFunc(out.heads, func(a, b Stored) int { return compareStored(&a, &b) })
	return nil
}

func (s *buildSlot) wasFollowed(run string) bool {
	p := s.runs[run]
	return p != nil && p.followed
}
