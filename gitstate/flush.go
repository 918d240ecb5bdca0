package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// pending reads the lines that may be missing in the notes tree of a part's tip: of
// the journal, and, where it was not tmnotes that made the tree, of what was
// last seen on the remotes, since a foreign writer may have lost some. A mark
// says of which tree it is known that it has what, so that this is not done
// twice; the new mark is what holds once the lines are in a tree.
func (s *Store) pending(ctx context.Context, of part, tree plumbing.Hash) (lines map[plumbing.Hash][]string, mark string, err error) {
	files, err := of.journal.Files()
	if err != nil {
		return nil, "", err
	}
	seen, known := of.merged(tree)
	lines = map[plumbing.Hash][]string{}
	var now []byte
	for i := range files {
		f := &files[i]
		if was := seen[f.Name]; was.is(f) {
			f.Id = was.id
		} else if err := of.journal.Read(f, func(id string) int64 { return seen[id].size }); err != nil {
			return nil, "", err
		}
		for _, e := range f.Entries {
			lines[e.Commit] = append(lines[e.Commit], e.Line)
		}
		if f.Id != "" {
			now = fmt.Appendf(now, " %s %d %s %d", f.Id, f.Size, f.Name, f.Mod.UnixNano())
		}
	}
	mark = string(now)
	if known || of.ref != s.ref {
		return lines, mark, nil
	}
	refs, err := s.repo.Refs(ctx, remotesPrefix)
	if err != nil {
		return nil, "", err
	}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if is, _ := path.Match(s.tracking("*"), ref); !is {
			continue
		}
		_, seen, err := s.tip(ref)
		if err != nil {
			return nil, "", err
		}
		changes, err := s.changes(tree, seen)
		if err != nil {
			return nil, "", err
		}
		for _, c := range changes {
			if add, _ := diffLines(c.Old, c.New); len(add) > 0 {
				h := plumbing.NewHash(c.Commit)
				lines[h] = append(lines[h], add...)
			}
		}
	}
	return lines, mark, nil
}

// mergedFile is what a mark says of a journal file.
type mergedFile struct {
	id   string
	size int64 // up to where its lines are known
	mod  int64 // when it was written last, in nanoseconds
}

// is reports whether nothing was written since. (Where the file system knows no parts of a second, it may
// have been.)
func (m mergedFile) is(f *journal.JournalFile) bool {
	return m.id != "" && m.size == f.Size && m.mod == f.Mod.UnixNano() && m.mod%int64(time.Second) != 0
}

// merged is what the mark says of the files, by id and by name, if it is of that tree. One of an older version has
// no names.
func (of part) merged(tree plumbing.Hash) (seen map[string]mergedFile, known bool) {
	text, err := os.ReadFile(of.mark)
	f := strings.Fields(string(text))
	if err != nil || len(f) == 0 || f[0] != tree.String() {
		return nil, false
	}
	seen = make(map[string]mergedFile, len(f))
	var last mergedFile
	for i := 1; i+1 < len(f); i += 2 {
		n, _ := strconv.ParseInt(f[i+1], 10, 64)
		if !strings.HasSuffix(f[i], ".log") {
			last = mergedFile{id: f[i], size: n}
		} else {
			last.mod = n
		}
		seen[f[i]] = last
	}
	return seen, true
}

// current is what both parts have, and what they lack.
func (s *Store) current(ctx context.Context) (notes noteReader, of trees, overlay []notestree.Change, err error) {
	var lines map[plumbing.Hash][]string
	for range 10 {
		var tip, after plumbing.Hash
		if tip, of.shared, err = s.tip(s.ref); err != nil {
			return nil, of, nil, err
		}
		if lines, _, err = s.pending(ctx, s.shared(), of.shared); err != nil {
			return nil, of, nil, err
		}
		if of.local, err = s.currentLocal(ctx, lines); err != nil {
			return nil, of, nil, err
		}
		// What left the journal meanwhile is in a later tip.
		if after, err = s.repo.Resolve(s.ref); err != nil {
			return nil, of, nil, err
		}
		if after == tip {
			break
		}
	}
	if notes, err = s.openBoth(of); err != nil {
		return nil, of, nil, err
	}
	overlay, err = s.missing(notes, lines)
	return notes, of, overlay, err
}

// currentLocal is the tree of what stays here, and adds what it lacks to the lines.
func (s *Store) currentLocal(ctx context.Context, lines map[plumbing.Hash][]string) (tree plumbing.Hash, err error) {
	if !s.hasLocal() {
		return tree, nil
	}
	if _, tree, err = s.tip(s.localRef()); err != nil {
		return tree, err
	}
	more, _, err := s.pending(ctx, s.local(), tree)
	for commit, add := range more {
		lines[commit] = append(lines[commit], add...)
	}
	return tree, err
}

// refName is the ref's name as a file's.
func (s *Store) refName() string {
	return strings.ReplaceAll(strings.TrimPrefix(s.ref, "refs/notes/"), "/", "%")
}

// setMark is a rename, so that no reader finds half of it. Without it the next one reads
// more, and finds the same.
func (of part) setMark(tree plumbing.Hash, mark string) {
	tmp := of.mark + ".new"
	if os.WriteFile(tmp, []byte(tree.String()+mark+"\n"), 0o666) == nil {
		_ = os.Rename(tmp, of.mark)
	}
}

// missing compares lines with the notes of a tree and returns the changes that
// bring them in: what is not there yet, and what somebody took away.
func (s *Store) missing(t noteReader, lines map[plumbing.Hash][]string) ([]notestree.Change, error) {
	var changes []notestree.Change
	for commit, add := range lines {
		old, err := s.noteLines(t, nil, commit.String())
		if err != nil {
			return nil, err
		}
		c := notestree.Change{Commit: commit.String(), Old: old}
		c.New = note.NormalLines(append(slices.Clone(c.Old), add...))
		if !slices.Equal(c.Old, c.New) {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b notestree.Change) int { return strings.Compare(a.Commit, b.Commit) })
	return changes, nil
}

// Flush brings the journal into the notes: as one commit, at most, and none if
// all of it is there. Where the repository cannot be written it does nothing.
func (s *Store) Flush(ctx context.Context) error {
	if s.readOnly != nil {
		return nil
	}
	s.flushTexts(ctx)
	signed := s.signAll(ctx, true)
	unlock, err := git.Lock(ctx, filepath.Join(s.private, "lock"), s.warn)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(signed, s.retryMoved(ctx, func() error { return s.flush(ctx) }), s.flushLocal(ctx))
}

// retryMoved does again what found that a foreign writer moved the notes ref.
func (s *Store) retryMoved(ctx context.Context, f func() error) error {
	return s.retryMovedRef(ctx, s.ref, f)
}

func (s *Store) retryMovedRef(ctx context.Context, ref string, f func() error) error {
	var err error
	for try := range 40 {
		if err = f(); !errors.Is(err, git.ErrMoved) {
			return err
		}
		s.repo.BreakLock(ref)
		if pause(ctx, backoff(try, 5*time.Millisecond, 500*time.Millisecond)) != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w; if no git process is running, remove the stale %s.lock", ref, err, filepath.Join(s.repo.CommonDir, ref))
}

// backoff is a random time between a quarter and five quarters of base·2^try, which is at most
// limit. It is never none, as full jitter may be: others have to be through first.
func backoff(try int, base, limit time.Duration) time.Duration {
	d := limit
	if try < 20 {
		d = min(base<<try, limit)
	}
	return d/4 + rand.N(d)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// flush brings the shared journal into the notes. The lock is held.
func (s *Store) flush(ctx context.Context) error {
	drop, err := s.carryRecords(ctx)
	if err != nil {
		return err
	}
	// A reader finds them in the one or in the other at any time.
	if err := s.flushPart(ctx, s.shared()); err != nil {
		return err
	}
	return drop()
}

func (s *Store) flushPart(ctx context.Context, of part) error {
	tip, tree, err := s.tip(of.ref)
	if err != nil {
		return err
	}
	lines, mark, err := s.pending(ctx, of, tree)
	if err != nil {
		return err
	}
	t, err := s.openTree(tree)
	if err != nil {
		return err
	}
	changes, err := s.missing(t, lines)
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		w := &git.ObjectWriter{R: s.repo}
		if err := s.setNotes(t, w, changes); err != nil {
			return err
		}
		h, err := s.commitTree(ctx, of.ref, t, w, summary(changes), tip)
		if err != nil {
			return err
		}
		s.grew(tip, h)
	}
	if tree = t.Hash(); tree.IsZero() {
		return nil // there are no notes
	}
	of.setMark(tree, mark)
	return nil
}

func (s *Store) setNotes(t *notestree.Tree, w *git.ObjectWriter, changes []notestree.Change) error {
	for _, c := range changes {
		blob, err := w.Put(plumbing.BlobObject, []byte(note.JoinLines(c.New)))
		if err != nil {
			return err
		}
		if err := t.Set(plumbing.NewHash(c.Commit), blob); err != nil {
			return &note.RecordError{Commit: c.Commit, Err: err}
		}
		s.long.put([]plumbing.Hash{blob}, c.New)
	}
	return nil
}

// grew says that a commit of ours has all lines of the one that it stands on: to read both again would
// find that out.
func (s *Store) grew(from, to plumbing.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown == nil || len(s.grown) > 1000 {
		s.grown = map[plumbing.Hash]plumbing.Hash{}
	}
	s.grown[to] = from
}

// grewFrom says how many commits of ours have led from one to another, and only added lines; 0 where
// that is not known.
func (s *Store) grewFrom(from, to plumbing.Hash) (steps int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := to; !from.IsZero(); {
		before, known := s.grown[at]
		if !known {
			break
		}
		if steps++; before == from {
			return steps
		}
		at = before
	}
	return 0
}

// commitTree writes the tree as a commit on the old one and moves the ref there.
func (s *Store) commitTree(ctx context.Context, ref string, t *notestree.Tree, w *git.ObjectWriter, message string, old plumbing.Hash) (plumbing.Hash, error) {
	var parents []plumbing.Hash
	if !old.IsZero() {
		parents = append(parents, old)
	}
	h, err := s.writeCommit(ctx, t, w, message, parents)
	if err != nil {
		return h, err
	}
	return h, s.repo.SetRef(ctx, ref, "tmnotes: "+message, h, old)
}

func (s *Store) writeCommit(ctx context.Context, t *notestree.Tree, w *git.ObjectWriter, message string, parents []plumbing.Hash) (plumbing.Hash, error) {
	root, err := t.Write(w.Put)
	if err != nil {
		return root, err
	}
	h, err := s.newCommit(ctx, w, s.message(message, ""), root, parents...)
	if err != nil {
		return h, err
	}
	if err := w.Flush(ctx); err != nil {
		return h, fmt.Errorf("writing notes: %w", err)
	}
	return h, nil
}

// summary is the subject of a notes commit.
func summary(changes []notestree.Change) string {
	records := 0
	for _, c := range changes {
		add, _ := diffLines(c.Old, c.New)
		records += len(add)
	}
	word := "records"
	if records == 1 {
		word = "record"
	}
	if len(changes) == 1 {
		return fmt.Sprintf("%d %s on %s", records, word, note.Short(changes[0].Commit))
	}
	return fmt.Sprintf("%d %s on %d commits", records, word, len(changes))
}
