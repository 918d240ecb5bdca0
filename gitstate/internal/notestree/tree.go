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
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Change is one note before and after.
type Change struct {
	Commit   string
	Old, New []string // lines, sorted
}

// ReadFunc returns the body of the object; it fails if it is missing or of another type.
type ReadFunc func(h plumbing.Hash, t plumbing.ObjectType) ([]byte, error)

// writeFunc stores an object and returns its name.
type writeFunc func(t plumbing.ObjectType, body []byte) (plumbing.Hash, error)

// Tree is the tree of a notes ref, read as far as it is needed and kept in
// memory from then on. It is not safe for concurrent use.
//
// A note is a regular file whose path, without slashes, is the hash of the
// object it is about; directories have two hex digits. Everything else is no
// note, at any depth, and keeps its name, mode and object. Where a commit has
// several notes (a mixed fan-out, AB/ beside ab/) they are one note in parts, in
// the order in which git loads them: that of the entries in the tree, depth first.
//
// set leaves every directory on its path as `git notes add` and `git notes remove`
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
//   - x in AB/ and in ab/, neither a note: git drops one; here set fails;
//   - one of several notes of a commit cannot be read: git drops it; here write fails;
//   - an odd mode (100664) of what is no note: git writes 100644; here it stays;
//   - a note that is set to what it is already: git may fan out anew; here nothing changes.
//
// And git aborts ("prefix_len is too small") on some trees with both AB/ and ab/.
type Tree struct {
	read   ReadFunc
	Root   *treeDir
	broken error // a set that failed half-way: the tree must not be written
}

// treeDir is a directory of the tree.
type treeDir struct {
	prefix plumbing.Hash // the first depth bytes count
	depth  int
	Hash   plumbing.Hash // the stored tree it equals; zero: none, or changed since

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
	t := &Tree{read: read, Root: &treeDir{Hash: root}}
	return t, t.load(t.Root)
}

// Get returns the blobs of the note of commit, nil if it has none. More than one are a note in
// parts: git shows them with a blank line between, and leaves out empty ones.
func (t *Tree) Get(commit plumbing.Hash) ([]plumbing.Hash, error) {
	for d := t.Root; d != nil; d = d.sub(commit[d.depth]) {
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
	d := t.Root
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
	return t.balance(t.Root)
}

// Each calls fn for every note, in the order of commits. It keeps nothing of what it reads.
func (t *Tree) Each(fn func(commit plumbing.Hash, blobs []plumbing.Hash) error) error {
	return diffDirs(t.read, &treeDir{loaded: true}, t.Root, func(c plumbing.Hash, _, blobs []plumbing.Hash) error {
		return fn(c, blobs)
	})
}

// DiffTrees calls fn for each commit whose note differs between the notes trees a and b, in the
// order of commits; nil stands for no note, the zero hash for the empty tree. Of
// directories that are the same in both nothing is read.
func DiffTrees(read ReadFunc, a, b plumbing.Hash, fn func(commit plumbing.Hash, old, new []plumbing.Hash) error) error {
	return diffDirs(read, &treeDir{Hash: a}, &treeDir{Hash: b}, fn)
}

func diffDirs(read ReadFunc, a, b *treeDir, fn func(commit plumbing.Hash, old, new []plumbing.Hash) error) error {
	if a.Hash == b.Hash && !a.Hash.IsZero() {
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
	c.Hash = plumbing.ZeroHash
	c.add(slices.Clip(c.notes), d.notes[lo:hi])
	return &c, err
}

// Write stores the directories that were changed and returns the name of the
// tree; an empty tree is stored too.
func (t *Tree) Write(write writeFunc) (plumbing.Hash, error) {
	if t.broken != nil {
		return plumbing.ZeroHash, t.broken
	}
	return t.store(t.Root, write)
}

func (t *Tree) store(d *treeDir, write writeFunc) (plumbing.Hash, error) {
	if !d.Hash.IsZero() {
		return d.Hash, nil
	}
	entries := make([]treeEntry, 0, len(d.subs)+len(d.notes)+len(d.others))
	for _, s := range d.subs {
		h, err := t.store(s, write)
		if err != nil {
			return h, err
		}
		name := hexByte(s.last())
		if d.taken(name) {
			name = strings.ToUpper(name) // as it was: AB/ beside a file ab
		}
		entries = append(entries, treeEntry{"40000", name, h})
	}
	for i := range d.notes {
		n := &d.notes[i]
		if err := t.join(n, write); err != nil {
			return plumbing.ZeroHash, err
		}
		entries = append(entries, treeEntry{"100644", d.name(n.key), n.blob})
	}
	entries = append(entries, d.others...)
	// As `git fsck` wants it: a directory is compared as if it ended in a slash.
	slices.SortStableFunc(entries, func(a, b treeEntry) int { return strings.Compare(a.sortName(), b.sortName()) })
	var body bytes.Buffer
	for _, e := range entries {
		body.WriteString(e.mode)
		body.WriteByte(' ')
		body.WriteString(e.name)
		body.WriteByte(0)
		body.Write(e.hash[:])
	}
	h, err := write(plumbing.TreeObject, body.Bytes())
	if err != nil {
		return h, err
	}
	d.Hash = h
	return h, nil
}

// join makes one blob of a note in parts, as git does (notes.c,
// combine_notes_concatenate): a blank line between, empty parts left out.
func (t *Tree) join(n *treeNote, write writeFunc) error {
	if len(n.more) == 0 {
		return nil
	}
	var text []byte
	blob := n.blob
	for i, h := range n.blobs() {
		if i > 0 && h == blob {
			continue
		}
		part, err := t.read(h, plumbing.BlobObject)
		if err != nil {
			return fmt.Errorf("one of the notes of %s cannot be read: %w", n.key, err)
		}
		switch {
		case len(part) == 0:
		case len(text) == 0:
			text, blob = slices.Clone(part), h
		default:
			text = append(append(bytes.TrimSuffix(text, []byte("\n")), "\n\n"...), part...)
			if blob, err = write(plumbing.BlobObject, text); err != nil {
				return err
			}
		}
	}
	n.blob, n.more = blob, nil
	return nil
}

// load reads d where that was not done. Where notes and directories
// overlap, those directories are read as well, and become one that is in no tree.
func (t *Tree) load(d *treeDir) error {
	if d.loaded {
		return nil
	}
	if !d.Hash.IsZero() {
		items, others, err := t.entries(d, d.Hash)
		if err != nil {
			return err
		}
		if err := t.fill(d, items); err != nil {
			return err
		}
		d.others = others
	}
	d.loaded = true
	return nil
}

// fill puts the items into d.
func (t *Tree) fill(d *treeDir, items []treeItem) error {
	byByte := func(a, b treeItem) int { return cmp.Compare(a.key[d.depth], b.key[d.depth]) }
	slices.SortStableFunc(items, byByte)
	notes, subs := make([]treeNote, 0, len(items)), []*treeDir{}
	for len(items) > 0 {
		n := 1
		for n < len(items) && byByte(items[0], items[n]) == 0 {
			n++
		}
		same := items[:n]
		items = items[n:]
		if !slices.ContainsFunc(same, func(i treeItem) bool { return i.sub }) {
			slices.SortStableFunc(same, func(a, b treeItem) int { return CompareHash(a.key, b.key) })
			for _, i := range same {
				notes = addPart(notes, i)
			}
			continue
		}
		c := d.child(same[0].key[d.depth])
		if n == 1 {
			c.loaded, c.Hash = false, same[0].hash
		} else if err := t.merge(c, same); err != nil {
			return err
		}
		subs = append(subs, c)
	}
	d.notes, d.subs = notes, subs
	return nil
}

// merge fills d with the notes and the content of the directories of items, as git
// does: it looks into a directory as soon as something else has its prefix.
func (t *Tree) merge(d *treeDir, items []treeItem) error {
	var in []treeItem
	for _, i := range items {
		if !i.sub {
			in = append(in, i)
			continue
		}
		notes, others, err := t.entries(d, i.hash)
		if err != nil {
			return err
		}
		in = append(in, notes...)
		for _, o := range others {
			switch k := slices.IndexFunc(d.others, func(p treeEntry) bool { return p.name == o.name }); {
			case k < 0:
				d.others = append(d.others, o)
			case d.others[k] != o:
				d.clash = fmt.Errorf("the notes tree has two entries %q (neither is a note) in directories %q that differ in case only: remove one", o.name, hexByte(d.last()))
			}
		}
	}
	d.touched = true
	return t.fill(d, in)
}

// addPart appends a note, or makes it a part of the last one if that is of the same commit.
func addPart(notes []treeNote, i treeItem) []treeNote {
	if n := len(notes); n > 0 && notes[n-1].key == i.key {
		// git takes the same blob twice for one note.
		if last := &notes[n-1]; len(last.more) > 0 || last.blob != i.hash {
			last.more = append(last.more, i.hash)
		}
		return notes
	}
	return append(notes, treeNote{key: i.key, blob: i.hash})
}

// entries reads the tree h, which stands in the place of d.
func (t *Tree) entries(d *treeDir, h plumbing.Hash) (items []treeItem, others []treeEntry, err error) {
	body, err := t.read(h, plumbing.TreeObject)
	if err != nil {
		return nil, nil, fmt.Errorf("notes tree %s: %w", h, err)
	}
	for rest := body; len(rest) > 0; {
		mode, tail, ok1 := bytes.Cut(rest, []byte(" "))
		name, tail, ok2 := bytes.Cut(tail, []byte{0})
		bits, err := strconv.ParseUint(string(mode), 8, 32)
		if !ok1 || !ok2 || err != nil || len(name) == 0 || len(tail) < len(plumbing.ZeroHash) {
			return nil, nil, fmt.Errorf("notes tree %s: malformed entry at byte %d: see git fsck", h, len(body)-len(rest))
		}
		i := treeItem{key: d.prefix, sub: len(name) == 2 && isDir(bits)}
		rest = tail[copy(i.hash[:], tail):]
		if !i.sub && (len(name) != 2*(len(i.key)-d.depth) || bits&0o170000 != 0o100000) ||
			i.sub && d.depth == len(i.key)-1 || i.hash.IsZero() || !IsHex(name) {
			others = append(others, treeEntry{string(mode), string(name), i.hash})
			continue
		}
		_, _ = hex.Decode(i.key[d.depth:], name)
		items = append(items, i)
	}
	return items, others, nil
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
