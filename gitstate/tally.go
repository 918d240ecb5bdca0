package gitstate

import (
	"context"
	"maps"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// TallyKey is what deployments are counted by.
type TallyKey struct {
	Op, Target string
	Status     note.Status
}

// tally is how often deployments ended how in the notes of one tree.
type tally struct {
	tree   trees
	counts map[TallyKey]int
}

// Tally counts the deployments (deploy, destroy, and parts of a destroy) that
// have ended and are on record. What was forgotten was a deployment, too, so that
// no count ever falls; what was recorded by hand (mark, adopt) was none.
//
// The first call reads all notes, a later one only those that changed.
func (s *Store) Tally(ctx context.Context) (map[TallyKey]int, error) {
	t, tree, overlay, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	old := s.tally
	s.mu.Unlock()
	now := &tally{tree: tree}
	if old != nil {
		// A tree that was squashed away may be gone.
		if changes, err := s.changesOf(old.tree, tree); err == nil {
			now.counts = maps.Clone(old.counts)
			countChanges(now.counts, changes)
		}
	}
	if now.counts == nil {
		now.counts = map[TallyKey]int{}
		if err := s.each(t, func(_ string, lines []string) error {
			countDeployments(now.counts, lines, 1)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.tally = now
	s.mu.Unlock()
	counts := maps.Clone(now.counts)
	countChanges(counts, overlay)
	return counts, nil
}

func countChanges(counts map[TallyKey]int, changes []notestree.Change) {
	for _, c := range changes {
		added, removed := diffLines(c.Old, c.New)
		countDeployments(counts, added, 1)
		countDeployments(counts, removed, -1)
	}
}

func countDeployments(counts map[TallyKey]int, lines []string, by int) {
	for _, line := range lines {
		r, err := note.ParseRecord(line)
		if err != nil || note.GroupOf(r.Op) != note.Deploy || r.Variant == AnyVariant {
			continue
		}
		status := r.Status
		if r.Event == note.Forgotten {
			status = r.Had
		}
		switch status {
		case note.OK, note.Failed, note.Canceled, note.Blocked:
			counts[TallyKey{r.Op, r.Target, status}] += by
		}
	}
}

// Unpushed counts the records that are here, in the notes or in the journal, are to
// be on the remote and were not seen there, and says when the oldest of them was made.
func (r Remote) Unpushed(ctx context.Context) (n int, oldest time.Time, err error) {
	s, remote := r.store, r.name
	_, theirs, err := s.tip(s.tracking(remote))
	if err != nil {
		return 0, oldest, err
	}
	_, ours, err := s.tip(s.ref)
	if err != nil {
		return 0, oldest, err
	}
	lines, _, err := s.pending(ctx, s.shared(), ours)
	if err != nil {
		return 0, oldest, err
	}
	t, err := s.openTree(ours)
	if err != nil {
		return 0, oldest, err
	}
	overlay, err := s.missing(t, lines)
	if err != nil {
		return 0, oldest, err
	}
	changes, err := s.changes(theirs, ours)
	if err != nil {
		return 0, oldest, err
	}
	for _, c := range append(changes, overlay...) {
		added, _ := diffLines(c.Old, c.New)
		for _, line := range added {
			n++
			if r, err := note.ParseRecord(line); err == nil && (oldest.IsZero() || r.At.Before(oldest)) {
				oldest = r.At
			}
		}
	}
	return n, oldest, nil
}
