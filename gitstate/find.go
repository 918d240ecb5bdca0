package gitstate

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// NewRunFor makes the id of a run that somebody else has a name for, such as
// the UUID that the terramate CLI gives to a deployment: a ULID whose random
// part is derived from the name, so that RunIsFor tells it from all others
// without anything being remembered.
func (s *Store) NewRunFor(name string) string {
	id := ulid.ULID(entropyOf(name))
	if err := id.SetTime(ulid.Timestamp(s.now())); err != nil {
		panic(err) // a clock past the year 10889
	}
	return id.String()
}

// RunIsFor reports whether NewRunFor made the run for this name.
func RunIsFor(run, name string) bool {
	return len(run) == ulid.EncodedSize && run[10:] == ulid.ULID(entropyOf(name)).String()[10:]
}

// entropyOf is a ULID's 16 bytes with the time, the first six, left out.
func entropyOf(name string) (id [16]byte) {
	sum := sha256.Sum256([]byte(name))
	copy(id[6:], sum[:])
	return id
}

// KnownStack is a stack as its latest records name it.
type KnownStack struct {
	ID, Path, Target string
}

// Stacks lists the stacks that have records other than holds, once for each target, sorted by
// path, id and target. A stack that has records of its id and of its path is
// listed for both.
func (st *State) Stacks() []KnownStack {
	newest := map[[2]string]*Stored{}
	for k, s := range st.x.slots {
		if note.Op(k.group).Holds() {
			continue
		}
		for i := range s.heads {
			h, key := &s.heads[i], [2]string{k.ident, k.target}
			if old := newest[key]; old == nil || h.At.After(old.At) {
				newest[key] = h
			}
		}
	}
	all := make([]KnownStack, 0, len(newest))
	for key, h := range newest {
		all = append(all, KnownStack{strings.ToLower(h.ID), h.Stack, key[1]})
	}
	slices.SortFunc(all, func(a, b KnownStack) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.ID, b.ID), strings.Compare(a.Target, b.Target))
	})
	return all
}

// FindRun looks for a run by its id, and returns the commit on which it was
// made with all lines of that commit's note. Without such a run, commit is "".
// What has a stack's latest record is found at once; for another one every
// note is read.
func (s *Store) FindRun(st *State, is func(run string) bool) (commit string, lines []Line, err error) {
	for _, slot := range st.x.slots {
		for _, h := range slot.heads {
			if is(h.Run) {
				lines, err := s.Note(h.Commit)
				return h.Commit, lines, err
			}
		}
	}
	err = s.Notes(func(c string, all []Line) error {
		if commit == "" && slices.ContainsFunc(all, func(l Line) bool { return l.Err == nil && is(l.Record.Run) }) {
			commit, lines = c, slices.Clone(all)
		}
		return nil
	})
	return commit, lines, err
}
