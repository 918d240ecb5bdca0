// Package notestree reads and writes the tree of a notes ref with the fan-out that git gives
// it (notes.c), touching only what changes.
package notestree

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing"
)

// Change is one note before and after.
type Change struct {
	Commit   string
	Old, New []string // lines, sorted
}

// ReadFunc returns the body of the object; it fails if it is missing or of another type.
type ReadFunc func(h plumbing.Hash, t plumbing.ObjectType) ([]byte, error)

// Tree is the tree of a notes ref, read as far as it is needed and kept in
// memory from then on. It is not safe for concurrent use.
//
// A note is a regular file whose path, without slashes, is the hash of the
// object it is about; directories have two hex digits. Everything else is no
// note, at any depth, and keeps its name, mode and object. Where a commit has
// several notes (a mixed fan-out, AB/ beside ab/) they are one note in parts, in
// the order in which git loads them: that of the entries in the tree, depth first.
//
// Set leaves every directory on its path as `git notes add` and `git notes remove`
// (notes.c of git 2.39.5, determine_fanout) would: in directories of their own if under
// each of the 16 first digits there are two notes or more, or a single
// directory not looked into; all in one directory otherwise. The trees are
// the same byte for byte, save where git writes a broken tree or loses something:
//
//   - git sorts what is no note by its name alone, and so writes foo/ before foo.txt
//     (fsck: treeNotSorted); here the order is that of trees;
//   - a file called ab where the directory ab/ is due: git writes both
//     (fsck: duplicateEntries); here the notes of ab stay one level up;
//   - an entry that is no note in the place of a note: git drops it; here the
//     note goes one level down;
//   - what is no note in a directory that git looks into only as it writes: git
//     drops it; here it stays, in AB/ if it was in AB/ and no note was beside it;
//   - x in AB/ and in ab/, neither a note: git drops one; here Set fails;
//   - one of several notes of a commit cannot be read: git drops it; here Write fails;
//   - an odd mode (100664) of what is no note: git writes 100644; here it stays;
//   - a note that is set to what it is already: git may fan out anew; here nothing changes.
//
// And git aborts ("prefix_len is too small") on some trees with both AB/ and ab/.
type Tree struct {
	read   ReadFunc
	root   *treeDir
	broken error // a set that failed half-way: the tree must not be written
}

// treeDir is a directory of the tree.
type treeDir struct {
	prefix plumbing.Hash // the first depth bytes count
	depth  int
	hash   plumbing.Hash // the stored tree it equals; zero: none, or changed since

	loaded bool // else only hash is known
	notes  []treeNote
	subs   []*treeDir  // by byte, which is one each
	others []treeEntry // what is no note, in stored order

	// touched is set while set is at work: git knows what is in here, so it
	// counts by its notes and not as a directory.
	touched bool
	clash   error // what is no note here was merged from two places, and collides
}

// treeNote is the note of a commit: blob and, if it has several, the others.
type treeNote struct {
	key, blob plumbing.Hash
	more      []plumbing.Hash
}

func (n treeNote) blobs() []plumbing.Hash {
	return append([]plumbing.Hash{n.blob}, n.more...)
}

// treeEntry is an entry of a stored tree as it stands there.
type treeEntry struct {
	mode, name string
	hash       plumbing.Hash
}

// treeItem is an entry that is a note or, with sub, a directory of notes.
type treeItem struct {
	key, hash plumbing.Hash
	sub       bool
}

// Open opens the notes tree root; the zero hash is the empty tree.
func Open(read ReadFunc, root plumbing.Hash) (*Tree, error) {
	t := &Tree{read: read, root: &treeDir{hash: root}}
	return t, t.load(t.root)
}

// Hash is the name of the tree as it is stored, zero if it is not, or not any more.
func (t *Tree) Hash() plumbing.Hash { return t.root.hash }

// Get returns the blobs of the note of commit, nil if it has none. More than one are a note in
// parts: git shows them with a blank line between, and leaves out empty ones.
func (t *Tree) Get(commit plumbing.Hash) ([]plumbing.Hash, error) {
	for d := t.root; d != nil; d = d.sub(commit[d.depth]) {
		if err := t.load(d); err != nil {
			return nil, err
		}
		if i, ok := d.find(commit); ok {
			return d.notes[i].blobs(), nil
		}
	}
	return nil, nil
}

// Set makes blob the one note of commit, whatever stood there; the zero blob
// removes the note. Nothing changes where it is so already. It costs the
// directories on the path of commit, and those that git's rule folds into them.
// After an error the tree cannot be written any more.
func (t *Tree) Set(commit, blob plumbing.Hash) error {
	old, err := t.Get(commit)
	if err != nil {
		return err
	}
	if blob.IsZero() && old == nil || len(old) == 1 && old[0] == blob {
		return nil
	}
	if err := t.change(commit, blob); err != nil {
		t.broken = fmt.Errorf("note of %s not set: %w", commit, err)
		return t.broken
	}
	return nil
}

func (t *Tree) change(commit, blob plumbing.Hash) error {
	d := t.root
	for {
		if err := t.touch(d); err != nil {
			return err
		}
		next := d.sub(commit[d.depth])
		if next == nil {
			break
		}
		d = next
	}
	i, ok := d.find(commit)
	switch n := (treeNote{key: commit, blob: blob}); {
	case !ok && !blob.IsZero():
		d.notes = slices.Insert(d.notes, i, n)
	case ok && blob.IsZero():
		d.notes = slices.Delete(d.notes, i, i+1)
	case ok:
		d.notes[i] = n
	}
	return t.balance(t.root)
}

// Each calls fn for every note, in the order of commits. It keeps nothing of what it reads.
func (t *Tree) Each(fn func(commit plumbing.Hash, blobs []plumbing.Hash) error) error {
	return diffDirs(t.read, &treeDir{loaded: true}, t.root, func(c plumbing.Hash, _, blobs []plumbing.Hash) error {
		return fn(c, blobs)
	})
}

// DiffTrees calls fn for each commit whose note differs between the notes trees a and b, in the
// order of commits; nil stands for no note, the zero hash for the empty tree. Of
// directories that are the same in both nothing is read.
func DiffTrees(read ReadFunc, a, b plumbing.Hash, fn func(commit plumbing.Hash, old, new []plumbing.Hash) error) error {
	return diffDirs(read, &treeDir{hash: a}, &treeDir{hash: b}, fn)
}

func diffDirs(read ReadFunc, a, b *treeDir, fn func(commit plumbing.Hash, old, new []plumbing.Hash) error) error {
	if a.hash == b.hash && !a.hash.IsZero() {
		return nil
	}
	// Copies, so that what is read can be forgotten.
	x, y, t := *a, *b, Tree{read: read}
	if err := errors.Join(t.load(&x), t.load(&y)); err != nil {
		return err
	}
	if len(x.subs)+len(y.subs) > 0 {
		for i := range 256 {
			cx, err := t.part(&x, byte(i))
			if err != nil {
				return err
			}
			cy, err := t.part(&y, byte(i))
			if err != nil {
				return err
			}
			if err := diffDirs(read, cx, cy, fn); err != nil {
				return err
			}
		}
		return nil
	}
	for i, j := 0, 0; i < len(x.notes) || j < len(y.notes); {
		var old, new []plumbing.Hash
		var key plumbing.Hash
		order := cmp.Compare(len(y.notes)-j, 0) - cmp.Compare(len(x.notes)-i, 0) // the one that is at its end comes last
		if order == 0 {
			order = CompareHash(x.notes[i].key, y.notes[j].key)
		}
		if order <= 0 {
			key, old = x.notes[i].key, x.notes[i].blobs()
			i++
		}
		if order >= 0 {
			key, new = y.notes[j].key, y.notes[j].blobs()
			j++
		}
		if !slices.Equal(old, new) {
			if err := fn(key, old, new); err != nil {
				return err
			}
		}
	}
	return nil
}

// part returns what d has under b, as a directory.
func (t *Tree) part(d *treeDir, b byte) (*treeDir, error) {
	sub, lo, hi := d.sub(b), d.from(int(b)), d.from(int(b)+1)
	if sub == nil {
		c := d.child(b)
		c.notes = d.notes[lo:hi]
		return c, nil
	}
	if lo == hi {
		return sub, nil
	}
	c := *sub
	err := t.load(&c)
	c.hash = plumbing.ZeroHash
	c.add(slices.Clip(c.notes), d.notes[lo:hi])
	return &c, err
}

func (d *treeDir) last() byte { return d.prefix[d.depth-1] }

// name is that of a note in d.
func (d *treeDir) name(key plumbing.Hash) string { return hex.EncodeToString(key[d.depth:]) }

func (d *treeDir) find(key plumbing.Hash) (int, bool) {
	return slices.BinarySearchFunc(d.notes, key, func(n treeNote, k plumbing.Hash) int { return CompareHash(n.key, k) })
}

// from returns the index of the first note whose next byte is b or more.
func (d *treeDir) from(b int) int {
	i, _ := slices.BinarySearchFunc(d.notes, b, func(n treeNote, b int) int { return cmp.Compare(int(n.key[d.depth]), b) })
	return i
}

// sub returns the directory of b, or nil.
func (d *treeDir) sub(b byte) *treeDir {
	if i, ok := d.findSub(b); ok {
		return d.subs[i]
	}
	return nil
}

func (d *treeDir) findSub(b byte) (int, bool) {
	return slices.BinarySearchFunc(d.subs, b, func(s *treeDir, b byte) int { return cmp.Compare(s.last(), b) })
}

// child returns an empty directory of b, which is not in d.
func (d *treeDir) child(b byte) *treeDir {
	c := &treeDir{prefix: d.prefix, depth: d.depth + 1, loaded: true}
	c.prefix[d.depth] = b
	return c
}

// taken tells whether something that is no note has this name.
func (d *treeDir) taken(name string) bool {
	return slices.ContainsFunc(d.others, func(e treeEntry) bool { return e.name == name })
}

func (d *treeDir) empty() bool { return d.loaded && len(d.notes)+len(d.subs)+len(d.others) == 0 }

// add makes the union of two lists of notes, which have no commit in common, the notes of d.
func (d *treeDir) add(a, b []treeNote) {
	d.notes = append(a, b...)
	slices.SortFunc(d.notes, func(a, b treeNote) int { return CompareHash(a.key, b.key) })
}

func (e treeEntry) sortName() string {
	if bits, _ := strconv.ParseUint(e.mode, 8, 32); isDir(bits) {
		return e.name + "/"
	}
	return e.name
}

func isDir(mode uint64) bool { return mode&0o170000 == 0o040000 }

// IsHex says whether s is made of hexadecimal digits alone, in either case.
func IsHex(s []byte) bool {
	for _, c := range s {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

func hexByte(b byte) string { return hex.EncodeToString([]byte{b}) }

// CompareHash orders hashes by their bytes, as the names of notes are ordered.
func CompareHash(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) }
