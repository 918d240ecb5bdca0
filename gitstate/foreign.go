package gitstate

import "strings"

// A note may hold lines that were not made on its commit: git copies notes to what a
// rebase or an amended commit becomes (notes.rewriteRef in git-config(1)), and people do
// with `git notes copy`. What was deployed then is the old commit. So the heads of runs
// and the records that are made by hand name their commit, and what another commit's
// head stands above is history: it is kept, shown and merged, and decides nothing.

// foreign reports whether a record says that it was made on another commit than the one
// whose note holds it.
func (r *Record) foreign(commit string) bool {
	on := r.MadeOn()
	return on != "" && on != commit
}

// copied tells the history in one note from what was recorded on its commit.
type copied struct {
	commit string
	runs   map[string]copiedRun // runs with a head that names another commit
}

// copiedRun is a run of which a note has a head that was made on another commit.
type copiedRun struct {
	own string // at of the first head that was made on this one; "" if there is none
}

// saysCommit is a quick look at whether a line may name the commit it was made on.
func saysCommit(line string) bool { return strings.Contains(line, " "+commitKey+"=") }

func historyOf(commit string, lines []string) copied {
	c := copied{commit: commit}
	for _, line := range lines {
		if !isRunEvent(line) || !saysCommit(line) {
			continue
		}
		if r, err := ParseRecord(line); err == nil && r.Event == Started && r.foreign(commit) {
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
		r, err := ParseRecord(line)
		if err != nil || r.Event != Started || r.foreign(commit) {
			continue
		}
		if of, is := c.runs[r.Run]; is && (of.own == "" || line[:atEnd] < of.own) {
			c.runs[r.Run] = copiedRun{own: line[:atEnd]}
		}
	}
	return c
}

const atEnd = len("at=") + len(timeLayout)

// history reports whether a line of the note was made on another commit. Of a run that
// went on here, what came before it did was.
func (c copied) history(line string) bool {
	if c.runs == nil && !saysCommit(line) {
		return false
	}
	r, err := ParseRecord(line)
	if err != nil {
		return false
	}
	if r.foreign(c.commit) {
		return true
	}
	of, is := c.runs[r.Run]
	return is && (of.own == "" || line[:atEnd] < of.own)
}

// sameHistory reports whether a change of a note leaves what is history there as it was
// for all lines that were there before.
func sameHistory(c change) bool {
	was, is := historyOf(c.commit, c.old), historyOf(c.commit, c.new)
	for _, line := range c.old {
		if was.history(line) != is.history(line) {
			return false
		}
	}
	return true
}
