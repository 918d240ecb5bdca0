package gitstate

import (
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// copied tells the history in one note from what was recorded on its commit.
type copied struct {
	commit string
	runs   map[string]copiedRun // runs with a head that names another commit
	// Of what has ended nothing is history; see trust.historyOf.
	openOnly bool
}

// copiedRun is a run of which a note has a head that was made on another commit.
type copiedRun struct {
	own string // at of the first head that was made on this one; "" if there is none
}

// saysCommit is a quick look at whether a line may name the commit it was made on.
func saysCommit(line string) bool { return strings.Contains(line, " "+note.CommitKey+"=") }

// tellsHistory is a quick look at whether what is history in a note may hang on a line: on
// what names a commit, and on heads that name none beside one that does.
func tellsHistory(line string) bool { return isRunEvent(line) || saysCommit(line) }

func historyOf(commit string, lines []string) copied {
	c := copied{commit: commit}
	for _, line := range lines {
		if !isRunEvent(line) || !saysCommit(line) {
			continue
		}
		if r, err := note.ParseRecord(line); err == nil && r.Event == note.Started && r.Foreign(commit) {
			if c.runs == nil {
				c.runs = map[string]copiedRun{}
			}
			c.runs[r.Run] = copiedRun{}
		}
	}
	if c.runs == nil {
		return c
	}
	for _, line := range lines {
		if !isRunEvent(line) {
			continue
		}
		r, err := note.ParseRecord(line)
		if err != nil || r.Event != note.Started || r.Foreign(commit) {
			continue
		}
		if of, is := c.runs[r.Run]; is && (of.own == "" || line[:atEnd] < of.own) {
			c.runs[r.Run] = copiedRun{own: line[:atEnd]}
		}
	}
	return c
}

const atEnd = len("at=") + len(note.TimeLayout)

// history reports whether a line of the note was made on another commit. Of a run that
// went on here, what came before it did was.
func (c copied) history(line string) bool {
	if c.runs == nil && !saysCommit(line) {
		return false
	}
	r, err := note.ParseRecord(line)
	if err != nil || c.openOnly && !r.Status.Open() {
		return false
	}
	if r.Foreign(c.commit) {
		return true
	}
	of, is := c.runs[r.Run]
	return is && (of.own == "" || line[:atEnd] < of.own)
}

// sameHistory reports whether a change of a note leaves what is history there as it was
// for all lines that were there before.
func (t *trust) sameHistory(c notestree.Change) bool {
	was, is := t.historyOf(c.Commit, c.Old), t.historyOf(c.Commit, c.New)
	for _, line := range c.Old {
		if was.history(line) != is.history(line) {
			return false
		}
	}
	return true
}
