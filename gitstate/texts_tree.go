package gitstate

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
)

// textTree reads and makes trees of texts. Merging them is a union in which,
// of each slot and kind, the newest text of each of the newest runs stays, so it
// is commutative, associative and idempotent. What is equal is not read.
type textTree struct {
	read notestree.ReadFunc
	made map[plumbing.Hash]*plumbing.MemoryObject // not in the repository yet
}

// textDepth is how many directories are above a text.
const textDepth = 3

var textNames = sync.OnceValue(func() [textDepth + 1]*regexp.Regexp {
	return [textDepth + 1]*regexp.Regexp{
		regexp.MustCompile(`^[0-9a-f]{2}$`),             // of the slot's digest
		regexp.MustCompile(`^[0-9a-f]{64}$`),            // the slot
		regexp.MustCompile(`^[a-z]{1,20}$`),             // the kind
		regexp.MustCompile(`^[0-9A-Z]{26}\.[0-9]{13}$`), // the run, and when, in milliseconds since 1970
	}
})

func isTextName(depth int, name string) bool { return textNames()[depth].MatchString(name) }

// entries are those of a directory that are of our form, by name.
func (t *textTree) entries(depth int, dir plumbing.Hash) (map[string]plumbing.Hash, error) {
	o := t.made[dir]
	if o == nil {
		body, err := t.read(dir, plumbing.TreeObject)
		if err != nil {
			return nil, err
		}
		o = new(plumbing.MemoryObject)
		o.SetType(plumbing.TreeObject)
		_, _ = o.Write(body)
	}
	var tree object.Tree
	if err := tree.Decode(o); err != nil {
		return nil, fmt.Errorf("tree %s: %w", dir, err)
	}
	found := make(map[string]plumbing.Hash, len(tree.Entries))
	for _, e := range tree.Entries {
		if e.Mode.IsFile() == (depth == textDepth) && isTextName(depth, e.Name) {
			found[e.Name] = e.Hash
		}
	}
	return found, nil
}

// list is what stands below a tree in a folder of a folder ..., nil if it is not there.
func (t *textTree) list(root plumbing.Hash, folders ...string) (found map[string]plumbing.Hash, err error) {
	for depth := range len(folders) + 1 {
		if found, err = t.entries(depth, root); err != nil || depth == len(folders) {
			break
		}
		if root = found[folders[depth]]; root.IsZero() {
			return nil, nil
		}
	}
	return found, err
}

// merge unites two directories; the zero hash is an empty one.
func (t *textTree) merge(depth int, a, b plumbing.Hash) (plumbing.Hash, error) {
	switch {
	case a == b || b.IsZero():
		return a, nil
	case a.IsZero():
		return b, nil
	}
	merged, err := t.entries(depth, a)
	if err != nil {
		return a, err
	}
	other, err := t.entries(depth, b)
	if err != nil {
		return a, err
	}
	for name, h := range other {
		switch have, both := merged[name]; {
		case !both:
		case depth < textDepth:
			if h, err = t.merge(depth+1, have, h); err != nil {
				return a, err
			}
		case notestree.CompareHash(have, h) > 0:
			h = have
		}
		merged[name] = h
	}
	if depth == textDepth {
		keepNewest(merged)
	}
	return t.putDir(depth, merged), nil
}

// keepNewest leaves the newest text of each of the newest runs.
func keepNewest(texts map[string]plumbing.Hash) {
	runs, last := 0, ""
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(texts))) {
		run, _, _ := strings.Cut(name, ".")
		if run == last || runs == textRuns {
			delete(texts, name)
			continue
		}
		runs, last = runs+1, run
	}
}

func (t *textTree) put(kind plumbing.ObjectType, body []byte) plumbing.Hash {
	o := new(plumbing.MemoryObject)
	o.SetType(kind)
	_, _ = o.Write(body)
	t.made[o.Hash()] = o
	return o.Hash()
}

func (t *textTree) putDir(depth int, entries map[string]plumbing.Hash) plumbing.Hash {
	mode := "40000"
	if depth == textDepth {
		mode = "100644"
	}
	var body bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		h := entries[name]
		fmt.Fprintf(&body, "%s %s\x00%s", mode, name, h[:])
	}
	return t.put(plumbing.TreeObject, body.Bytes())
}

// putText makes the tree of one text.
func (t *textTree) putText(w waitingText, body []byte) plumbing.Hash {
	h := t.put(plumbing.BlobObject, body)
	for depth, name := range slices.Backward([]string{w.slot[:2], w.slot, w.kind, w.name}) {
		h = t.putDir(depth, map[string]plumbing.Hash{name: h})
	}
	return h
}

// write hands on what was made and is part of the directory.
func (t *textTree) write(w *git.ObjectWriter, depth int, dir plumbing.Hash) error {
	if t.made[dir] == nil {
		return nil
	}
	entries, err := t.entries(depth, dir)
	if err != nil {
		return err
	}
	for _, h := range entries {
		if depth < textDepth {
			err = t.write(w, depth+1, h)
		} else if text := t.made[h]; text != nil {
			err = w.PutObject(text)
		}
		if err != nil {
			return err
		}
	}
	return w.PutObject(t.made[dir])
}
