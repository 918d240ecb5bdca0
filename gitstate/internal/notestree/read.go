package notestree

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing"
)

// load reads d where that was not done. Where notes and directories
// overlap, those directories are read as well, and become one that is in no tree.
func (t *Tree) load(d *treeDir) error {
	if d.loaded {
		return nil
	}
	if !d.hash.IsZero() {
		items, others, err := t.entries(d, d.hash)
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
			c.loaded, c.hash = false, same[0].hash
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
