package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
)

// FlakyStack is how often a stack was flaky.
type FlakyStack struct {
	Stack   string    `json:"stack"`
	ID      string    `json:"id,omitempty"`
	Op      string    `json:"op"`
	Target  string    `json:"target,omitempty"`
	Flaky   int       `json:"flaky"` // so many successes came of trying again,
	Of      int       `json:"of"`    // of so many runs
	Last    time.Time `json:"last"`  // the newest of these
	Commit  string    `json:"commit"`
	Run     string    `json:"run"`
	Reasons []string  `json:"reasons,omitempty"` // of the failures before, the newest first, each once
}

// FindFlaky finds what succeeded since a time although nothing had changed, the
// most frequent first. Records are in any order.
func FindFlaky(records []Logged, since time.Time) []FlakyStack {
	type slot struct{ stack, op, target string }
	of := map[slot][]Logged{}
	records = slices.Clone(records)
	SortByTime(records)
	ids := idsOfPaths(records)
	for _, r := range records {
		if !executed(&r.Record) {
			continue
		}
		k := slot{ids.StackOf(&r.Record), r.Record.Op, r.Record.Target}
		of[k] = append(of[k], r)
	}
	found := []FlakyStack{}
	for k, runs := range of {
		f := FlakyStack{Op: k.op, Target: k.target}
		var failed []Logged // since the last success
		for _, x := range runs {
			r := x.Record
			if !r.At.Before(since) {
				f.Of++
			}
			if r.Status == note.Failed {
				failed = append(failed, x)
				continue
			}
			before := failed
			failed = nil
			if r.Status != note.OK || r.At.Before(since) {
				continue
			}
			// The failures that led to this success.
			from := len(before)
			for from > 0 && sameInputs(before[from-1], x) {
				from--
			}
			before = before[from:]
			if len(before) == 0 && r.Tries < 2 {
				continue
			}
			f.Flaky++
			f.Stack, f.ID, f.Last, f.Commit, f.Run = r.Stack, r.ID, r.At, x.Commit, r.Run
			for _, b := range before {
				f.Reasons = append(f.Reasons, cmp.Or(b.Record.Reason, "failed"))
			}
			if len(before) == 0 {
				f.Reasons = append(f.Reasons, fmt.Sprintf("%d tries", r.Tries))
			}
		}
		if f.Flaky > 0 {
			slices.Reverse(f.Reasons)
			f.Reasons = unique(f.Reasons)
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b FlakyStack) int {
		return cmp.Or(b.Flaky-a.Flaky, b.Last.Compare(a.Last), strings.Compare(a.Stack, b.Stack), strings.Compare(a.Op+" "+a.Target, b.Op+" "+b.Target))
	})
	return found
}

// executed reports whether a record tells of a command that ended, and not of
// what somebody marked.
func executed(r *note.Record) bool {
	return r.By == "" && (r.Status == note.OK || r.Status == note.Failed || r.Status == note.Drifted)
}

// sameInputs reports whether two results are surely of the same command on the
// same inputs.
func sameInputs(a, b Logged) bool {
	ra, rb := a.Record, b.Record
	return !ra.Dirty && !rb.Dirty && ra.Variant == rb.Variant && (a.Commit == b.Commit || ra.Inputs != "" && !project.Partial(ra.Inputs) && ra.Inputs == rb.Inputs)
}
