package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/signers"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// VerifiedRun is what the signatures say of a run, as one commit's note tells of it.
type VerifiedRun struct {
	Commit  string    `json:"commit"`
	Run     string    `json:"run"`
	By      string    `json:"by,omitempty"` // as its head says; the signers are who it was
	At      time.Time `json:"at"`           // of its first line
	Records int       `json:"records"`      // that can be signed: what is only queued or running is not
	Signed  int       `json:"signed"`       // of these, by somebody who may record them
	Missing int       `json:"missing"`      // records that were signed, and are gone without a tombstone
	Signers []string  `json:"signers"`      // as the file of signers names them
	Keys    []string  `json:"keys"`         // of all signatures, the bad ones too
	Bad     []string  `json:"bad"`          // what is wrong with signatures, and with what was signed
}

// OK reports whether all of it is there, and signed by who may record it.
func (v *VerifiedRun) OK() bool { return v.Signed == v.Records && v.Missing == 0 && len(v.Bad) == 0 }

// Verdict is that in a word: signed, unsigned or bad.
func (v *VerifiedRun) Verdict() string {
	switch {
	case v.OK():
		return "signed"
	case len(v.Bad) == 0 && v.Missing == 0:
		return "unsigned"
	}
	return "bad"
}

// Why is what is not as it should be, for people; "" if nothing is.
func (v *VerifiedRun) Why() (why []string) {
	why = slices.Clone(v.Bad)
	if n := v.Missing; n > 0 {
		why = append(why, fmt.Sprintf("signed, and gone: %d", n))
	}
	if n := v.Records - v.Signed; n > 0 && n < v.Records {
		why = append(why, fmt.Sprintf("not signed: %d of %d", n, v.Records))
	}
	return why
}

// Says is who signed it, and what is not as it should be, in a line; "" where there is nothing to sign.
func (v *VerifiedRun) Says() string {
	says := v.Why()
	if len(v.Signers) > 0 {
		says = append([]string{"signed by " + strings.Join(v.Signers, ", ")}, says...)
	}
	switch text := strings.Join(says, "; "); {
	case v.Verdict() == "bad":
		return "bad: " + text
	case text == "" && v.Records > 0:
		return "not signed"
	default:
		return text
	}
}

// Verify looks at the signatures of all runs that have a line here, or of those on some commits (of
// which "" is all), by the file of signers that [Store.Demand] or [Store.Accept] named. The newest run
// comes first.
func (s *Store) Verify(ctx context.Context, commits ...string) ([]VerifiedRun, error) {
	by, err := s.accepted(ctx)
	if err != nil {
		return nil, err
	}
	was := debug.SetGCPercent(200)
	defer func() { debug.SetGCPercent(min(was, 200)) }() // who starts may have it higher for the first collection
	runs := []VerifiedRun{}
	take := func(of []VerifiedRun) { runs = append(runs, of...) }
	err = s.notes(func(t noteReader, over map[string][]string) error {
		return judgeAll(by, func(fn func(commit string, lines []string) error) error {
			if len(commits) == 0 || commits[0] == "" {
				return s.eachOver(t, over, fn)
			}
			for _, commit := range commits {
				lines, err := s.noteLines(t, over, commit)
				if err == nil && len(lines) > 0 {
					err = fn(commit, lines)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}, verifiedRuns, take)
	})
	by.save()
	slices.SortFunc(runs, func(a, b VerifiedRun) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Run, a.Run), cmp.Compare(a.Commit, b.Commit))
	})
	return runs, err
}

// verifiedRuns are those of one note.
func verifiedRuns(j *reading) []VerifiedRun {
	runs := map[string]*VerifiedRun{}
	of := func(r *note.Record) *VerifiedRun {
		v := runs[r.Run]
		if v == nil {
			// Its texts are clones: they share memory with the whole note.
			v = &VerifiedRun{Commit: j.commit, Run: strings.Clone(r.Run), At: r.At, Signers: []string{}, Keys: []string{}, Bad: []string{}}
			runs[v.Run] = v
		}
		if r.At.Before(v.At) {
			v.At = r.At
		}
		return v
	}
	for i, line := range j.lines {
		r := &j.records[i]
		if r.Run == "" || r.Event == note.Signed || j.is.history(line) {
			continue
		}
		v := of(r)
		if r.Event == note.Started {
			v.By = cmp.Or(v.By, strings.Clone(r.By))
		}
		if r.Status.Open() {
			continue
		}
		v.Records++
		if principal, covered := j.covered[j.ids[i]]; covered && j.counts[i] {
			v.Signed++
		} else if covered {
			v.say(fmt.Sprintf("%s may not record %s of %s", principal, r.Op, r.Stack))
		}
	}
	for i := range j.signatures {
		sg := &j.signatures[i]
		if sg.Copied {
			continue
		}
		v := of(&sg.Record)
		v.Missing += sg.Missing
		v.Keys = addNew(v.Keys, strings.Clone(sg.Key))
		if sg.Bad == nil {
			v.Signers = addNew(v.Signers, sg.Principal)
		} else {
			v.say(saySignature(sg))
		}
	}
	found := make([]VerifiedRun, 0, len(runs))
	for _, v := range runs {
		found = append(found, *v)
	}
	return found
}

// saySignature says what is wrong with a signature.
func saySignature(sg *signedLine) string {
	switch {
	case errors.Is(sg.Bad, signers.ErrUnknown):
		return "the key " + sg.Key + " is not in the file of signers"
	case errors.Is(sg.Bad, signers.ErrBad):
		return "a signature with the key " + sg.Key + " does not fit what it is over"
	}
	return "the key " + sg.Key + ": " + sg.Bad.Error()
}

func (v *VerifiedRun) say(what string) { v.Bad = addNew(v.Bad, what) }

func addNew(list []string, word string) []string {
	if slices.Contains(list, word) {
		return list
	}
	return append(list, word)
}
