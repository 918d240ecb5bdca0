package gitstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Texts stand beside the notes, in a ref of their own: what a command said
// that is too long for a record. They are an aid, and the records are the
// truth: what goes wrong with a text is a warning, and is never in the way of
// a record. FORMAT.md, "Texts", has the form of their tree.

const (
	// PlanText is the kind of text that a plan is.
	PlanText = "plan"
	// TextLimit is how many bytes of a text are kept at most.
	TextLimit = 256 << 10

	textRuns = 5 // of each stack, target, operation and kind: the newest ones
)

// TextKey says what a text is about.
type TextKey struct {
	Kind       string // one word of a-z, such as PlanText
	ID, Path   string // of the stack, as in its record
	Target, Op string
	Run        string
}

// Text is a text that was kept.
type Text struct {
	Run  string
	At   time.Time // when it was kept, by the clock of who did
	Body string    // lines of plain characters
}

// KeepText keeps a text: when it returns, no death of this process loses it.
// It takes the place of an earlier one with the same key; an empty one removes
// that. Terminal escapes and control characters are taken out, then the
// secrets that r knows (the zero Redactor knows those of well-known shapes),
// then what is over TextLimit, from the middle. [Store.Flush] brings it into
// the ref of texts, [Store.Push] to the remote.
func (s *Store) KeepText(key TextKey, text string, r *Redactor) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	if !isTextName(2, key.Kind) {
		return fmt.Errorf("%q is no kind of text", key.Kind)
	}
	name := key.Run + "." + fmt.Sprintf("%013d", s.now().UnixMilli())
	if !isTextName(textDepth, name) {
		return fmt.Errorf("%q is no id of a run", key.Run)
	}
	whole := Excerpt{Limit: TextLimit}
	_, _ = whole.Write([]byte(r.hide(plainText(text))))
	// A file of its own for each, which the next Flush takes up, as records wait
	// in the journal.
	dir := s.textsDir()
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		err = writeSynced(filepath.Join(dir, key.slots()[0]+"."+key.Kind+"."+name), whole.String())
	}
	if err != nil {
		return fmt.Errorf("keeping the %s of %s: %w", key.Kind, key.Path, err)
	}
	return nil
}

// writeSynced makes a file, whole or not at all.
func writeSynced(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(0o666&^0o022), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Text finds the text of a run, or, if key names none, of the newest run that
// one is kept of: here, or as it was fetched last.
func (s *Store) Text(key TextKey) (Text, bool, error) {
	type place struct {
		name string
		read func() ([]byte, error)
	}
	var found []place
	roots, err := s.textRoots()
	if err != nil {
		return Text{}, false, err
	}
	waiting, err := s.waitingTexts()
	if err != nil {
		return Text{}, false, err
	}
	t := &textTree{read: s.repo.read}
	for _, slot := range key.slots() {
		for _, root := range roots {
			names, err := t.list(root, slot[:2], slot, key.Kind)
			if err != nil {
				return Text{}, false, fmt.Errorf("reading %s: %w; `git fsck` tells more", s.textsRef(), err)
			}
			for name, blob := range names {
				found = append(found, place{name, func() ([]byte, error) { return s.repo.read(blob, plumbing.BlobObject) }})
			}
		}
		for _, w := range waiting {
			if w.slot == slot && w.kind == key.Kind {
				found = append(found, place{w.name, func() ([]byte, error) { return os.ReadFile(w.path) }})
			}
		}
	}
	slices.SortFunc(found, func(a, b place) int { return strings.Compare(b.name, a.name) })
	gone := ""
	for _, p := range found {
		run, at, _ := strings.Cut(p.name, ".")
		if run == gone || key.Run != "" && run != key.Run {
			continue
		}
		body, err := p.read()
		if err != nil {
			return Text{}, false, fmt.Errorf("reading the %s of run %s: %w; `git fsck` tells more", key.Kind, run, err)
		}
		if len(body) == 0 { // removed
			gone = run
			continue
		}
		ms, _ := strconv.ParseInt(at, 10, 64)
		// Whoever wrote it: it is about to be printed.
		return Text{run, time.UnixMilli(ms).UTC(), plainText(string(body))}, true, nil
	}
	return Text{}, false, nil
}

// forgetTexts removes what is kept of a stack's result, whose record was
// forgotten: it may have the same secret in it.
func (s *Store) forgetTexts(r *Record) error {
	key := TextKey{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op, Run: r.Run}
	roots, err := s.textRoots()
	if err != nil {
		return err
	}
	kinds := map[string]bool{PlanText: true}
	t := &textTree{read: s.repo.read}
	for _, root := range roots {
		slot := key.slots()[0]
		found, err := t.list(root, slot[:2], slot)
		if err != nil {
			return err
		}
		for kind := range found {
			kinds[kind] = true
		}
	}
	for key.Kind = range kinds {
		_, is, err := s.Text(key)
		if err == nil && is {
			err = s.KeepText(key, "", &Redactor{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// slots are the digests of what the key is about: by the stack's id, and by
// its path, under which a text stands from before it had one.
func (k *TextKey) slots() (digests []string) {
	for _, of := range idents(k.ID, k.Path) {
		line := appendPair(nil, "op", groupOf(k.Op))
		if k.Target != "" {
			line = appendPair(line, "target", k.Target)
		}
		name := "stack"
		if id, is := strings.CutPrefix(of, "id:"); is {
			name, of = "id", id
		}
		digests = append(digests, Digest(string(appendPair(line, name, of))))
	}
	return digests
}

func (s *Store) textsRef() string { return s.ref + textsSuffix }

// textsSuffix makes the name of the ref of texts from that of the notes. The
// glob that fetches the notes covers it.
const textsSuffix = "-texts"

func (s *Store) textsDir() string {
	if s.ref == DefaultRef {
		return filepath.Join(s.private, "texts")
	}
	return filepath.Join(s.private, "texts-"+s.refName())
}

// textRoots are the trees of all refs that have texts: ours, and what was fetched.
func (s *Store) textRoots() (roots []plumbing.Hash, err error) {
	refs := []string{s.textsRef()}
	for _, remote := range s.repo.remotes {
		refs = append(refs, s.tracking(remote)+textsSuffix)
	}
	for _, ref := range refs {
		tip, root, err := s.tip(ref)
		if err != nil {
			return nil, err
		}
		if !tip.IsZero() && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// waitingText is a text that is not in the ref yet.
type waitingText struct{ path, slot, kind, name string }

func (s *Store) waitingTexts() (found []waitingText, err error) {
	dir := s.textsDir()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the texts that were kept: %w", err)
	}
	for _, d := range list {
		f := strings.SplitN(d.Name(), ".", 3)
		if len(f) == 3 && isTextName(1, f[0]) && isTextName(2, f[1]) && isTextName(textDepth, f[2]) {
			found = append(found, waitingText{filepath.Join(dir, d.Name()), f[0], f[1], f[2]})
		}
	}
	return found, nil
}

// flushTexts brings the texts that wait into the ref. Where that fails they go
// on waiting.
func (s *Store) flushTexts(ctx context.Context) {
	waiting, err := s.waitingTexts()
	if err == nil && len(waiting) > 0 {
		_, err = s.gatherTexts(ctx, plumbing.ZeroHash)
	}
	if err != nil {
		s.warn(err.Error())
	}
}

// gatherTexts makes the ref of texts hold what waits, and what another tip
// has, and returns where it stands then. A text is not part of any history: the
// commits have no parents, so that what is over the limits is gone.
func (s *Store) gatherTexts(ctx context.Context, theirs plumbing.Hash) (tip plumbing.Hash, err error) {
	unlock, err := lockFile(ctx, filepath.Join(s.private, "lock"))
	if err != nil {
		return tip, err
	}
	defer unlock()
	ref := s.textsRef()
	err = s.retryMovedRef(ctx, ref, func() error {
		waiting, err := s.waitingTexts()
		if err != nil {
			return err
		}
		ours, tree, err := s.tip(ref)
		if err != nil {
			return err
		}
		theirTree := plumbing.ZeroHash
		if !theirs.IsZero() {
			if _, theirTree, err = s.tip(theirs.String()); err != nil {
				return err
			}
		}
		t := &textTree{read: s.repo.read, made: map[plumbing.Hash]*plumbing.MemoryObject{}}
		root, err := t.merge(0, tree, theirTree)
		if err != nil {
			return err
		}
		for _, w := range waiting {
			body, err := os.ReadFile(w.path)
			if err != nil {
				return err
			}
			one := t.put(plumbing.BlobObject, body)
			for depth, name := range slices.Backward([]string{w.slot[:2], w.slot, w.kind, w.name}) {
				one = t.putDir(depth, map[string]plumbing.Hash{name: one})
			}
			if root, err = t.merge(0, root, one); err != nil {
				return err
			}
		}
		switch {
		case root == theirTree && !theirs.IsZero():
			tip = theirs // all that is here is there
		case root == tree:
			tip = ours
		default:
			if tip, err = s.commitTexts(ctx, t, root); err != nil {
				return err
			}
		}
		if tip != ours {
			if err := s.repo.setRef(ctx, ref, "tmnotes: texts", tip, ours); err != nil {
				return err
			}
		}
		for _, w := range waiting {
			_ = os.Remove(w.path) // else it is merged once more
		}
		return nil
	})
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("%s: %w (this concerns plans and other texts, no record)", ref, err)
	}
	return tip, nil
}

// commitTexts writes a tree and a commit of it.
func (s *Store) commitTexts(ctx context.Context, t *textTree, root plumbing.Hash, parents ...plumbing.Hash) (plumbing.Hash, error) {
	w := &objectWriter{r: s.repo}
	if err := t.write(w, 0, root); err != nil {
		return root, err
	}
	who := s.signature(ctx)
	h, err := w.putCommit(&object.Commit{Author: who, Committer: who, Message: "plans and other texts\n", TreeHash: root, ParentHashes: parents})
	if err == nil {
		err = w.flush(ctx)
	}
	return h, err
}

// textTree reads and makes trees of texts. Merging them is a union in which,
// of each slot and kind, the newest text of each of the newest runs stays, so it
// is commutative, associative and idempotent. What is equal is not read.
type textTree struct {
	read readFunc
	made map[plumbing.Hash]*plumbing.MemoryObject // not in the repository yet
}

// textDepth is how many directories are above a text.
const textDepth = 3

var textNames = [textDepth + 1]*regexp.Regexp{
	regexp.MustCompile(`^[0-9a-f]{2}$`),             // of the slot's digest
	regexp.MustCompile(`^[0-9a-f]{64}$`),            // the slot
	regexp.MustCompile(`^[a-z]{1,20}$`),             // the kind
	regexp.MustCompile(`^[0-9A-Z]{26}\.[0-9]{13}$`), // the run, and when, in milliseconds since 1970
}

func isTextName(depth int, name string) bool { return textNames[depth].MatchString(name) }

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
		case compareHash(have, h) > 0:
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
	names := make([]string, 0, len(texts))
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	runs, last := 0, ""
	for _, name := range names {
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

// write hands on what was made and is part of the directory.
func (t *textTree) write(w *objectWriter, depth int, dir plumbing.Hash) error {
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
			err = w.putObject(text)
		}
		if err != nil {
			return err
		}
	}
	return w.putObject(t.made[dir])
}
