package notestree

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// WriteFunc stores an object and returns its name.
type WriteFunc func(t plumbing.ObjectType, body []byte) (plumbing.Hash, error)

// Write stores the directories that were changed and returns the name of the
// tree; an empty tree is stored too.
func (t *Tree) Write(write WriteFunc) (plumbing.Hash, error) {
	if t.broken != nil {
		return plumbing.ZeroHash, t.broken
	}
	return t.store(t.root, write)
}

func (t *Tree) store(d *treeDir, write WriteFunc) (plumbing.Hash, error) {
	if !d.hash.IsZero() {
		return d.hash, nil
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
	d.hash = h
	return h, nil
}

// join makes one blob of a note in parts, as git does (notes.c,
// combine_notes_concatenate): a blank line between, empty parts left out.
func (t *Tree) join(n *treeNote, write WriteFunc) error {
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
