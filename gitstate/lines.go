package gitstate

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The lines of notes, as they are read: of one, of all, or of those that differ between two trees.

// changes are the notes that differ between two trees.
func (s *Store) changes(a, b plumbing.Hash) ([]notestree.Change, error) {
	var pairs []notePair
	err := notestree.DiffTrees(s.repo.Read, a, b, func(commit plumbing.Hash, old, new []plumbing.Hash) error {
		pairs = append(pairs, notePair{commit.String(), slices.Clone(old), slices.Clone(new)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.readPairs(pairs)
}

// notePair is the blobs of a note before and after.
type notePair struct {
	commit   string
	old, new []plumbing.Hash
}

func (s *Store) readPairs(pairs []notePair) ([]notestree.Change, error) {
	type side struct {
		blobs []plumbing.Hash
		lines *[]string
	}
	var unread []side
	var all []plumbing.Hash
	changes := make([]notestree.Change, len(pairs))
	for i, p := range pairs {
		c := &changes[i]
		c.Commit = p.commit
		for _, of := range []side{{p.old, &c.Old}, {p.new, &c.New}} {
			lines, is := s.long.get(of.blobs)
			if *of.lines = lines; !is {
				unread, all = append(unread, of), append(all, of.blobs...)
			}
		}
	}
	bodies := make([]string, len(all))
	if _, err := s.repo.ReadBlobs(all, func(i int, body []byte) error { bodies[i] = string(body); return nil }); err != nil {
		return nil, err
	}
	for _, of := range unread {
		n := len(of.blobs)
		*of.lines = note.NormalLines(splitTexts(bodies[:n]))
		s.long.put(of.blobs, *of.lines)
		bodies = bodies[n:]
	}
	return changes, nil
}

func splitTexts(texts []string) []string {
	var lines []string
	for _, t := range texts {
		lines = note.AppendLines(lines, t)
	}
	return lines
}

// eachOver is each, with some notes in the place of those that are there.
func (s *Store) eachOver(t noteReader, over map[string][]string, fn func(commit string, lines []string) error) error {
	err := s.each(t, func(commit string, lines []string) error {
		if _, ok := over[commit]; ok {
			return nil
		}
		return fn(commit, lines)
	})
	for commit, lines := range over {
		err = cmp.Or(err, fn(commit, lines))
	}
	return err
}

// noteLines is one of them, in normal form.
func (s *Store) noteLines(t noteReader, over map[string][]string, commit string) ([]string, error) {
	if lines, ok := over[commit]; ok {
		return lines, nil
	}
	blobs, err := t.Get(plumbing.NewHash(commit))
	if err != nil {
		return nil, &note.RecordError{Commit: commit, Err: err}
	}
	if lines, is := s.long.get(blobs); is {
		return lines, nil
	}
	text, err := s.text(blobs)
	if err != nil {
		return nil, &note.RecordError{Commit: commit, Err: err}
	}
	lines := note.NormalLines(note.AppendLines(nil, text))
	s.long.put(blobs, lines)
	return lines, nil
}

// each hands on all notes in normal form, in any order. The lines share memory
// with the note, so who keeps one clones it, and the list of them is good until
// fn returns.
func (s *Store) each(t noteReader, fn func(commit string, lines []string) error) error {
	// A note has several blobs only where git would merge them.
	type parts struct {
		left  int
		lines []string
	}
	var mu sync.Mutex // the notes are read while the tree is still being walked
	var commits []plumbing.Hash
	several := map[plumbing.Hash]*parts{}
	names := func(want func(plumbing.Hash)) error {
		return t.Each(func(commit plumbing.Hash, blobs []plumbing.Hash) error {
			mu.Lock()
			for range blobs {
				commits = append(commits, commit)
			}
			if len(blobs) > 1 {
				several[commit] = &parts{left: len(blobs)}
			}
			mu.Unlock()
			for _, b := range blobs {
				want(b)
			}
			return nil
		})
	}
	var lines []string
	at, err := s.repo.StreamBlobs(names, func(i int, body []byte) error {
		mu.Lock()
		commit := commits[i]
		p := several[commit]
		mu.Unlock()
		lines = note.AppendLines(lines[:0], unsafe.String(unsafe.SliceData(body), len(body))) // nobody changes it
		if p == nil {
			return fn(commit.String(), note.NormalLines(lines))
		}
		p.lines = append(p.lines, lines...)
		if p.left--; p.left > 0 {
			return nil
		}
		return fn(commit.String(), note.NormalLines(p.lines))
	})
	if err == nil {
		return nil
	}
	where := s.ref
	if at >= 0 {
		where += ", the note of " + note.Short(commits[at].String())
	}
	return fmt.Errorf("reading %s: %w; `git fsck` tells more, and a clone or the remote has a copy", where, err)
}

// longNotes are the lines of a few notes that were read or written last, in normal form: the note of a run of
// many stacks is looked at again with each of its records. Nobody changes them.
type longNotes struct {
	mu   sync.Mutex
	last [4]struct {
		blob  plumbing.Hash
		lines []string
	}
	next int
}

func (n *longNotes) get(blobs []plumbing.Hash) (lines []string, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.last {
		if len(blobs) == 1 && l.blob == blobs[0] && len(l.lines) > 0 {
			return slices.Clip(l.lines), true
		}
	}
	return nil, false
}

// manyLines is from where on memory matters more than time.
const manyLines = 100_000

func (n *longNotes) put(blobs []plumbing.Hash, lines []string) {
	if _, has := n.get(blobs); has || len(blobs) != 1 || len(lines) < 100 || len(lines) > manyLines {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last[n.next].blob, n.last[n.next].lines = blobs[0], lines
	n.next = (n.next + 1) % len(n.last)
}
