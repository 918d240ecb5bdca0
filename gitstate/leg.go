package gitstate

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// of are the head and the end that say something of a record: those of its leg,
// where the leg has begun.
func (ri *runInfo) of(r *note.Record) *runInfo {
	if leg := ri.legs[r.Leg()]; leg != nil && leg.line != "" {
		return leg
	}
	return ri
}

// over reports whether what a queued or running record says came to an end with
// the run, or with its leg, or with the CI job that was at it.
func (ri *runInfo) over(r *Stored) bool {
	at := len("at=") + len(note.TimeLayout)
	later := func(line string) bool { return len(line) > at && line[:at] > r.line[:at] }
	// A run, or a leg, that is taken up again by another job may have ended before.
	if later(ri.finished) {
		return true
	}
	of := ri.of(&r.Record)
	// Who takes up a leg again queues what is left of it after its head.
	if of != ri && (later(of.finished) || later(of.line)) {
		return true
	}
	return of.newest > of.head().Attempt
}

// Began is when a run was announced, as its name says; zero for a name that is no
// ULID.
func Began(run string) time.Time {
	id, err := ulid.ParseStrict(run)
	if err != nil {
		return time.Time{}
	}
	return id.Timestamp().UTC()
}
