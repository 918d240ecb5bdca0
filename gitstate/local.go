package gitstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What stays in this clone: records of operations that are not synced are written to
// a journal and a ref of their own beside the shared ones, which no push takes along.
// All that reads notes reads both, as one note of two blobs.

// part is one of the two places of records: the shared one or the local one.
type part struct {
	ref     string
	journal *journal.Journal
	mark    string // see pending
}

func (s *Store) shared() part {
	return part{s.ref, s.journal, filepath.Join(s.private, "merged-"+s.refName())}
}

func (s *Store) local() part {
	return part{s.localRef(), s.localJournal, filepath.Join(s.private, "local-merged-"+s.refName())}
}

// localRef is no ref that git takes for notes by itself, and that no glob of ours for
// the remote covers.
func (s *Store) localRef() string {
	return "refs/tmnotes/local/" + strings.TrimPrefix(s.ref, "refs/notes/")
}

func (s *Store) localTextsRef() string { return s.localRef() + textsSuffix }

// KeepLocal has records and texts of some operations stay in this clone. Those of
// deployments and holds never do, and all records of a run go where its first one went. To be
// called before anything is recorded.
func (s *Store) KeepLocal(stays func(op string) bool) { s.stays = stays }

// CarryLocal has what stayed in this clone so far become part of the shared notes, with
// the next Flush, Fetch or Push.
func (s *Store) CarryLocal() { s.stays, s.carry = nil, true }

// staysHere tells where records go that are made together, of one run.
func (w *Writer) staysHere(records []*note.Record) bool {
	s := w.store
	if s.stays == nil || len(records) == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	run := records[0].Run
	local, known := w.local[run]
	if known {
		return local
	}
	for _, r := range records {
		for op := range strings.SplitSeq(r.Op, ",") {
			if op != "" && !s.staysOp(op) {
				w.local[run] = false
				return false
			}
			known = known || op != ""
		}
	}
	if !known { // the end of a run that other processes recorded
		_, here := os.Stat(filepath.Join(s.localJournal.Dir, journalName(run)))
		_, there := os.Stat(filepath.Join(s.journal.Dir, journalName(run)))
		return here == nil && there != nil
	}
	w.local[run] = true
	return true
}

func (s *Store) staysOp(op string) bool {
	return s.stays != nil && note.GroupOf(op) != note.Deploy && !note.Op(op).Holds() && s.stays(op)
}

// lines are those of a commit's note in one of the two parts, its journal's included.
func (s *Store) lines(ctx context.Context, of part, commit string) (map[string]bool, error) {
	_, tree, err := s.tip(of.ref)
	if err != nil {
		return nil, err
	}
	more, _, err := s.pending(ctx, of, tree)
	if err != nil {
		return nil, err
	}
	t, err := notestree.Open(s.repo.Read, tree)
	if err != nil {
		return nil, err
	}
	blobs, err := t.Get(plumbing.NewHash(commit))
	if err != nil {
		return nil, err
	}
	text, err := s.text(blobs)
	has := map[string]bool{}
	for _, line := range note.AppendLines(more[plumbing.NewHash(commit)], text) {
		has[line] = true
	}
	return has, err
}

// appendLocal is journal.append for what stays here, which makes its folder when it is
// first needed.
func (w *Writer) appendLocal(entries []journal.Entry, sync bool) error {
	if _, err := os.Stat(w.localFile.Dir); errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.MkdirAll(w.localFile.Dir, 0o777), git.SyncDir(w.store.private)); err != nil {
			return fmt.Errorf("writing the journal: %w", err)
		}
	}
	return w.localFile.Append(entries, sync)
}

// hasLocal reports whether anything may be recorded that stays here. A clone without
// it must not pay for asking git.
func (s *Store) hasLocal() bool {
	if list, err := os.ReadDir(s.localJournal.Dir); len(list) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return true
	}
	return s.hasRef(s.localRef())
}

func (s *Store) hasRef(ref string) bool {
	if _, err := os.Lstat(filepath.Join(s.repo.CommonDir, filepath.FromSlash(ref))); !errors.Is(err, os.ErrNotExist) {
		return true
	}
	packed, err := os.ReadFile(filepath.Join(s.repo.CommonDir, "packed-refs"))
	return bytes.Contains(packed, []byte(" "+ref+"\n")) || err != nil && !errors.Is(err, os.ErrNotExist)
}

// flushLocal brings the journal of what stays here into its ref. The lock is held.
func (s *Store) flushLocal(ctx context.Context) error {
	if !s.hasLocal() {
		return nil
	}
	return s.retryMovedRef(ctx, s.localRef(), func() error { return s.flushPart(ctx, s.local()) })
}

// tidyLocal removes journal files whose lines have been in the local ref for a week:
// no remote will ever have them.
func (s *Store) tidyLocal() {
	if !s.hasLocal() {
		return
	}
	if tip, tree, err := s.tip(s.localRef()); err == nil && !tip.IsZero() {
		s.compact(s.localJournal, tree, journalAge)
	}
}

// carryRecords copies what stayed here to the shared journal; drop removes it here. The
// lock is held. Where it is cut short records stand in both, where each is one record.
func (s *Store) carryRecords(ctx context.Context) (drop func() error, err error) {
	drop = func() error { return nil }
	if !s.carry || !s.hasLocal() {
		return drop, nil
	}
	// As they are before they are flushed: what comes meanwhile stays.
	files, err := s.localJournal.Files()
	if err != nil {
		return nil, err
	}
	if err := s.flushLocal(ctx); err != nil {
		return nil, err
	}
	tip, tree, err := s.tip(s.localRef())
	if err != nil {
		return nil, err
	}
	changes, err := s.changes(plumbing.ZeroHash, tree)
	if err != nil {
		return nil, err
	}
	var entries []journal.Entry
	for _, c := range changes {
		for _, line := range c.New {
			entries = append(entries, journal.Entry{Commit: plumbing.NewHash(c.Commit), Line: line})
		}
	}
	if len(entries) > 0 {
		if err := s.journal.Append(entries, true); err != nil {
			return nil, err
		}
	}
	return func() error { return s.dropLocal(ctx, files, tip) }, nil
}

func (s *Store) dropLocal(ctx context.Context, files []journal.JournalFile, tip plumbing.Hash) error {
	for i := range files {
		size := files[i].Size
		if s.localJournal.Read(&files[i], nil) != nil || files[i].Damaged > 0 || files[i].Size != size {
			continue
		}
		if err := s.localJournal.Remove(files[i]); err != nil {
			return err
		}
	}
	if tip.IsZero() {
		return nil
	}
	if err := s.repo.SetRef(ctx, s.localRef(), "tmnotes: shared", plumbing.ZeroHash, tip); err != nil && !errors.Is(err, git.ErrMoved) {
		return err
	}
	return nil
}

func (s *Store) localTextsDir() string {
	if s.ref == DefaultRef {
		return filepath.Join(s.private, "local-texts")
	}
	return filepath.Join(s.private, "local-texts-"+s.refName())
}

func (w *Writer) staysText(key *TextKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if local, known := w.local[key.Run]; known {
		return local
	}
	return w.store.staysOp(key.Op)
}

func (s *Store) hasLocalTexts() bool {
	waiting, err := s.waitingTexts(s.localTextsDir())
	return len(waiting) > 0 || err != nil || s.hasRef(s.localTextsRef())
}

// carryTexts moves the texts that stayed here to those that are shared.
func (s *Store) carryTexts(ctx context.Context) error {
	if !s.carry || !s.hasLocalTexts() {
		return nil
	}
	tip, err := s.gatherTexts(ctx, s.localTextsRef(), s.localTextsDir(), plumbing.ZeroHash)
	if err != nil || tip.IsZero() {
		return err
	}
	if _, err := s.gatherTexts(ctx, s.textsRef(), s.textsDir(), tip); err != nil {
		return err
	}
	if err := s.repo.SetRef(ctx, s.localTextsRef(), "tmnotes: shared", plumbing.ZeroHash, tip); err != nil && !errors.Is(err, git.ErrMoved) {
		return err
	}
	return nil
}

// trees are the notes trees of the two parts, zero where there is none.
type trees struct{ shared, local plumbing.Hash }

// noteReader is what reads notes: of one tree, or of both.
type noteReader interface {
	Get(commit plumbing.Hash) ([]plumbing.Hash, error)
	Each(fn func(commit plumbing.Hash, blobs []plumbing.Hash) error) error
}

// bothParts reads two trees as one, in which a note has the blobs of both.
type bothParts struct{ shared, local *notestree.Tree }

func (s *Store) openBoth(of trees) (noteReader, error) {
	shared, err := s.openTree(of.shared)
	if err != nil || of.local.IsZero() {
		return shared, err
	}
	local, err := notestree.Open(s.repo.Read, of.local)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w; `git fsck` tells more", s.localRef(), err)
	}
	return bothParts{shared, local}, nil
}

func (b bothParts) Get(commit plumbing.Hash) ([]plumbing.Hash, error) {
	shared, err := b.shared.Get(commit)
	if err != nil {
		return nil, err
	}
	local, err := b.local.Get(commit)
	return slices.Concat(shared, local), err
}

// Each keeps the names of what is in the local tree.
func (b bothParts) Each(fn func(commit plumbing.Hash, blobs []plumbing.Hash) error) error {
	type note struct {
		commit plumbing.Hash
		blobs  []plumbing.Hash
	}
	var local []note
	if err := b.local.Each(func(commit plumbing.Hash, blobs []plumbing.Hash) error {
		local = append(local, note{commit, slices.Clone(blobs)})
		return nil
	}); err != nil {
		return err
	}
	until := func(before func(commit plumbing.Hash) bool) error {
		for len(local) > 0 && before(local[0].commit) {
			next := local[0]
			local = local[1:]
			if err := fn(next.commit, next.blobs); err != nil {
				return err
			}
		}
		return nil
	}
	err := b.shared.Each(func(commit plumbing.Hash, blobs []plumbing.Hash) error {
		if err := until(func(c plumbing.Hash) bool { return notestree.CompareHash(c, commit) < 0 }); err != nil {
			return err
		}
		if len(local) > 0 && local[0].commit == commit {
			blobs = slices.Concat(blobs, local[0].blobs)
			local = local[1:]
		}
		return fn(commit, blobs)
	})
	if err != nil {
		return err
	}
	return until(func(plumbing.Hash) bool { return true })
}

// changesOf are the notes that differ between what both parts were and are.
func (s *Store) changesOf(was, is trees) ([]notestree.Change, error) {
	if was.local.IsZero() && is.local.IsZero() {
		return s.changes(was.shared, is.shared)
	}
	old, err := s.openBoth(was)
	if err != nil {
		return nil, err
	}
	now, err := s.openBoth(is)
	if err != nil {
		return nil, err
	}
	touched := map[plumbing.Hash]bool{}
	touch := func(commit plumbing.Hash, _, _ []plumbing.Hash) error {
		touched[commit] = true
		return nil
	}
	if err := errors.Join(notestree.DiffTrees(s.repo.Read, was.shared, is.shared, touch), notestree.DiffTrees(s.repo.Read, was.local, is.local, touch)); err != nil {
		return nil, err
	}
	var differ []notePair
	for commit := range touched {
		p := notePair{commit: commit.String()}
		if p.old, err = old.Get(commit); err == nil {
			p.new, err = now.Get(commit)
		}
		if err != nil {
			return nil, err
		}
		differ = append(differ, p)
	}
	slices.SortFunc(differ, func(a, b notePair) int { return strings.Compare(a.commit, b.commit) })
	return s.readPairs(differ)
}
