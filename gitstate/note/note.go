// Package note is the format: a record, the line that it is in a note, the normal form
// that merging makes of lines, and what keeps secrets out of them. It knows no disk and no
// process. FORMAT.md in the folder above says what stays compatible.
package note

import (
	"fmt"
	"slices"
	"strings"
)

// Status is what became of a stack in a run.
type Status string

// The statuses that are stored, and those that are derived on reading.
const (
	Queued   Status = "queued"   // selected, not started
	Running  Status = "running"  // its command was about to start
	OK       Status = "ok"       // the command succeeded
	Failed   Status = "failed"   // the command failed
	Canceled Status = "canceled" // interrupted, or never started
	Blocked  Status = "blocked"  // a stack it depends on failed, or its wave was not reached
	Drifted  Status = "drifted"  // a drift run found changes
	// Triggered by hand: what the stack was before is in Had and Was, and it is
	// pending until something follows.
	Triggered Status = "triggered"

	Held     Status = "held"     // by a person, who says why: it must not be deployed
	Released Status = "released" // a hold came to its end

	Interrupted Status = "interrupted" // derived: queued or running, and nobody is at it any more
	Never       Status = "never"       // derived: no record
	Orphaned    Status = "orphaned"    // derived, by who knows the stacks of HEAD: it is none of them, and was not destroyed
)

// Open reports whether the status is one of work that has not ended.
func (s Status) Open() bool { return s == Queued || s == Running }

// The events of a run that are lines of their own.
const (
	Started   = "started"   // the head of a run
	Finished  = "finished"  // its end
	Forgotten = "forgotten" // a tombstone
)

// RecordError says which note could not be read, or which record not be made.
type RecordError struct {
	Commit string // the commit that is annotated, if known
	Err    error
}

func (e *RecordError) Error() string {
	if e.Commit == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("note of commit %s: %v", Short(e.Commit), e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Short is a hash as people are shown it.
func Short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

// shortRun is how many characters of a ULID are its time, to the millisecond.
const shortRun = 10

// ShortRun is the id of a run as people are shown it and type it: of a ULID the part that says when
// it was made, which two runs share by chance only. An id that somebody chose is left whole.
func ShortRun(run string) string {
	if isULID(run) {
		return run[:shortRun]
	}
	return run
}

// NameOf is who it was, of a "Name <mail>", without the mail address.
func NameOf(by string) string {
	name, _, _ := strings.Cut(by, " <")
	return name
}

var runInText = later(`\brun [0-7][0-9A-HJKMNP-TV-Z]{25}\b`)

// ShortenRuns has a text for people name runs as ShortRun does. Records, and what programs read, have whole ids.
func ShortenRuns(text string) string {
	return runInText().ReplaceAllStringFunc(text, func(run string) string { return run[:len("run ")+shortRun] })
}

// ShortRuns is ShortRun where many are known: of runs that were made in one millisecond it shows as
// much more as tells them apart.
func ShortRuns(runs []string) func(run string) string {
	runs = slices.Clone(runs)
	slices.Sort(runs)
	runs = slices.Compact(runs)
	return func(run string) string {
		short := len(ShortRun(run))
		i, _ := slices.BinarySearch(runs, run)
		for _, k := range []int{i - 1, i, i + 1} {
			if k >= 0 && k < len(runs) && runs[k] != run {
				short = max(short, min(commonPrefix(run, runs[k])+1, len(run)))
			}
		}
		return run[:short]
	}
}

// commonPrefix is how much two ids have in common.
func commonPrefix(a, b string) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// IsShortRun reports whether an id may be what ShortRun or ShortRuns made of a ULID.
func IsShortRun(run string) bool {
	return len(run) >= shortRun && len(run) < 26 && run[0] == '0' && ofULID(run)
}

func isULID(run string) bool { return len(run) == 26 && run[0] <= '7' && ofULID(run) }

func ofULID(run string) bool {
	return strings.Trim(run, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

// BeginsRun reports whether a run is meant by the first characters of its id, or all of them.
// Whether those of a ULID are capitals does not matter.
func BeginsRun(run, typed string) bool {
	return strings.HasPrefix(run, typed) || isULID(run) && strings.HasPrefix(run, strings.ToUpper(typed))
}

// Matches reports whether the status of a deployment or a drift run is what a filter
// asks for, in Terramate's words: healthy is ok; unhealthy is failed, drifted, and all
// that is no success; failed includes interrupted; pending is queued or triggered.
func (s Status) Matches(filter string) bool {
	switch filter {
	case "healthy":
		return s == OK
	case "unhealthy":
		return s == Drifted || s.Unsuccessful()
	case "failed":
		return s == Failed || s == Interrupted
	case "pending":
		return s == Queued || s == Triggered
	case "unknown":
		return s == Never
	}
	return string(s) == filter
}

// MatchesOwn is Matches for a stack's own status. There failed is all that has to be
// tried again, for which Terramate has the one word.
func (s Status) MatchesOwn(filter string) bool {
	if filter == "failed" {
		return s.Unsuccessful()
	}
	return s.Matches(filter)
}

// Unsuccessful reports whether something has ended, and not with a success.
func (s Status) Unsuccessful() bool {
	return s == Failed || s == Canceled || s == Blocked || s == Interrupted
}
