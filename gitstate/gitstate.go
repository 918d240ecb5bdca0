// Package gitstate keeps what happened to which stack on which commit, as git
// notes in the repository itself.
//
// # What it is for
//
// A note on refs/notes/tmnotes holds one line (a [Record]) for each result of
// a stack on the commit that was deployed. [Open] finds the repository as git
// finds it, [Writer.Append] acknowledges records once they are in a synced
// journal, [Store.Flush] brings the journal into the notes, [Store.State]
// answers what the latest result of a stack is, [Remote.Fetch] and [Remote.Push]
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
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// DefaultRef is the notes ref that is used where none is configured.
const DefaultRef = "refs/notes/tmnotes"

// How long is waited where nothing is configured; see Options.
const (
	DefaultStaleAfter     = 6 * time.Hour
	DefaultNetworkTimeout = git.DefaultNetworkTimeout
)

var (
	// ErrNoRepository is returned by Open where git finds no repository.
	ErrNoRepository = git.ErrNoRepository
	// ErrUnsupported is returned by Open for repositories that cannot be
	// written with go-git: SHA-256 objects, and reftable.
	ErrUnsupported = git.ErrUnsupported
	// ErrNoCommit is returned where HEAD names no commit yet.
	ErrNoCommit = errors.New("HEAD has no commit yet")
	// ErrRemote is wrapped by errors of asking the remote: it could not be
	// reached, or it did not answer as git does.
	ErrRemote = git.ErrRemote
	// ErrNotPushed is wrapped by errors of Push: the records are safe here and
	// are not on the remote.
	ErrNotPushed = errors.New("not pushed")
	// ErrReadOnly is returned by Append where nothing can be written below the
	// git directory.
	ErrReadOnly = errors.New("the repository cannot be written")
)
