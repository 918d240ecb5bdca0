// Package gitstate keeps what happened to which stack on which commit, as git
// notes in the repository itself.
//
// # What it is for
//
// A note on refs/notes/tmnotes holds one line (a [Record]) for each result of
// a stack on the commit that was deployed. [Open] finds the repository as git
// finds it, [Store.Append] acknowledges records once they are in a synced
// journal, [Store.Flush] brings the journal into the notes, [Store.State]
// answers what the latest result of a stack is, [Store.Fetch] and [Store.Push]
// carry the notes to and from a remote without losing anybody's lines.
//
// # What stays compatible
//
// The notes are plain git notes: `git log --notes=tmnotes` shows them and what
// `git notes` writes is read. The format of the lines is in FORMAT.md; a later
// version may add keys, and this one keeps those that it does not know.
// Everything below .git/tmnotes/ but the journal is a cache that can be
// deleted at any time.
//
// The package knows git and nothing of Terramate. Objects are made and
// understood with go-git; refs are moved and remotes are spoken to by the git
// binary, for reasons that were measured: go-git writes refs without a lock.
package gitstate

import (
	"errors"
	"fmt"
)

// DefaultRef is the notes ref that is used where none is configured.
const DefaultRef = "refs/notes/tmnotes"

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

	Interrupted Status = "interrupted" // derived: queued or running, and nobody is at it any more
	Never       Status = "never"       // derived: no record
	Orphaned    Status = "orphaned"    // derived, by who knows the stacks of HEAD: it is none of them, and was not destroyed
)

// Open reports whether the status is one of work that has not ended.
func (s Status) open() bool { return s == Queued || s == Running }

// The events of a run that are lines of their own.
const (
	Started   = "started"   // the head of a run
	Finished  = "finished"  // its end
	Forgotten = "forgotten" // a tombstone
)

var (
	// ErrNoRepository is returned by Open where git finds no repository.
	ErrNoRepository = errNoRepository
	// ErrUnsupported is returned by Open for repositories that cannot be
	// written with go-git: SHA-256 objects, and reftable.
	ErrUnsupported = errUnsupported
	// ErrNoCommit is returned where HEAD names no commit yet.
	ErrNoCommit = errors.New("HEAD has no commit yet")
	// ErrRemote is wrapped by errors of asking the remote: it could not be
	// reached, or it did not answer as git does.
	ErrRemote = errors.New("the remote could not be asked")
	// ErrNotPushed is wrapped by errors of Push: the records are safe here and
	// are not on the remote.
	ErrNotPushed = errors.New("not pushed")
	// ErrReadOnly is returned by Append where nothing can be written below the
	// git directory.
	ErrReadOnly = errors.New("the repository cannot be written")
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
	return fmt.Sprintf("note of commit %s: %v", short(e.Commit), e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}
