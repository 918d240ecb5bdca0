package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Texts stand beside the notes, in a ref of their own: what a command said
// that is too long for a record. They are an aid, and the records are the
// truth: what goes wrong with a text is a warning, and is never in the way of
// a record. FORMAT.md, "Texts", has the form of their tree.

const (
	// PlanText is the kind of text that a plan is.
	PlanText = "plan"
	// LogText is the kind of text that the output of a stack's commands is.
	LogText = "log"
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

// Hider takes out of a text what is secret, as a [note.Redactor] does.
type Hider interface{ Hide(text string) string }

// KeepText keeps a text: when it returns, no death of this process loses it.
// It takes the place of an earlier one with the same key; an empty one removes
// that. Terminal escapes and control characters are taken out, then the
// secrets that r knows (the zero note.Redactor knows those of well-known shapes),
// then what is over TextLimit, from the middle. [Store.Flush] brings it into
// the ref of texts, [Remote.Push] to the remote.
func (w *Writer) KeepText(key TextKey, text string, r Hider) error {
	s := w.store
	dir := s.textsDir()
	if w.staysText(&key) {
		dir = s.localTextsDir()
	}
	return s.keepText(dir, key, text, r, s.now())
}

func (s *Store) keepText(dir string, key TextKey, text string, r Hider, at time.Time) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	if !isTextName(2, key.Kind) {
		return fmt.Errorf("%q is not a kind of text", key.Kind)
	}
	name := key.Run + "." + fmt.Sprintf("%013d", at.UnixMilli())
	if !isTextName(textDepth, name) {
		return fmt.Errorf("%q is not the id of a run", key.Run)
	}
	whole := note.Excerpt{Limit: TextLimit}
	_, _ = whole.Write([]byte(r.Hide(note.PlainText(text))))
	// A file of its own for each, which the next Flush takes up, as records wait
	// in the journal.
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
	t, err := s.textsNow()
	if err != nil {
		return Text{}, false, err
	}
	return t.find(key)
}

// Logs returns what finds the output that is kept of a result, as it is here now: "" where none
// is. It is an aid: what cannot be read is a warning, once.
func (s *Store) Logs() func(r *note.Record) string {
	t, err := s.textsNow()
	return func(r *note.Record) string {
		text, found := Text{}, false
		if err == nil {
			text, found, err = t.find(TextKey{Kind: LogText, ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op, Run: r.Run})
			if err != nil {
				s.warn(err.Error())
			}
		}
		if err != nil || !found {
			return ""
		}
		return text.Body
	}
}

// textsHere are all that are here at one moment.
type textsHere struct {
	s       *Store
	waiting []waitingText
	roots   []plumbing.Hash
	tree    textTree
}

func (s *Store) textsNow() (t *textsHere, err error) {
	t = &textsHere{s: s, tree: textTree{read: s.repo.Read}}
	// In this order: what waits no longer is in a later tree.
	if t.waiting, err = s.waitingTexts(s.textsDir(), s.localTextsDir()); err != nil {
		return nil, err
	}
	t.roots, err = s.textRoots()
	return t, err
}

func (t *textsHere) find(key TextKey) (Text, bool, error) {
	type place struct {
		name string
		read func() ([]byte, error)
	}
	var found []place
	s := t.s
	for _, slot := range key.slots() {
		for _, root := range t.roots {
			names, err := t.tree.list(root, slot[:2], slot, key.Kind)
			if err != nil {
				return Text{}, false, fmt.Errorf("reading %s: %w; `git fsck` tells more", s.textsRef(), err)
			}
			for name, blob := range names {
				found = append(found, place{name, func() ([]byte, error) { return s.repo.Read(blob, plumbing.BlobObject) }})
			}
		}
		for _, w := range t.waiting {
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
		if errors.Is(err, os.ErrNotExist) {
			return s.Text(key) // it was taken up just now
		}
		if err != nil {
			return Text{}, false, fmt.Errorf("reading the %s of run %s: %w; `git fsck` tells more", key.Kind, run, err)
		}
		if len(body) == 0 { // removed
			gone = run
			continue
		}
		ms, _ := strconv.ParseInt(at, 10, 64)
		// Whoever wrote it: it is about to be printed.
		return Text{run, time.UnixMilli(ms).UTC(), note.PlainText(string(body))}, true, nil
	}
	return Text{}, false, nil
}

// forgetTexts removes what is kept of a stack's result, whose record was
// forgotten: it may have the same secret in it.
func (s *Store) forgetTexts(r *note.Record) error {
	key := TextKey{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op, Run: r.Run}
	roots, err := s.textRoots()
	if err != nil {
		return err
	}
	kinds := map[string]bool{PlanText: true, LogText: true}
	t := &textTree{read: s.repo.Read}
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
		text, is, err := s.Text(key)
		if err == nil && is {
			// Later than the text, whatever this machine's clock says.
			at := text.At.Add(time.Millisecond)
			if now := s.now(); now.After(at) {
				at = now
			}
			err = s.keepText(s.textsDir(), key, "", &note.Redactor{}, at)
			if err == nil && s.hasLocalTexts() {
				err = s.keepText(s.localTextsDir(), key, "", &note.Redactor{}, at)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// KeepsLog says whether what a stack's commands printed is kept where it ended so. which is one
// of KeepLogs.
func KeepsLog(which string, status note.Status) bool {
	return which == "all" || which == "failed" && (status == note.Failed || status == note.Canceled)
}

// KeepLogs are the words for the stacks whose output is kept.
var KeepLogs = []string{"failed", "off", "all"}

// slots are the digests of what the key is about: by the stack's id, and by
// its path, under which a text stands from before it had one.
func (k *TextKey) slots() (digests []string) {
	for _, name := range idents(k.ID, k.Path) {
		digests = append(digests, slotDigest(k.Op, k.Target, name))
	}
	return digests
}

// slotDigest is the digest of a stack's slot, by one of its names (see ident).
func slotDigest(op, target, name string) string {
	line := note.AppendPair(nil, "op", note.GroupOf(op))
	if target != "" {
		line = note.AppendPair(line, "target", target)
	}
	if id, is := idOf(name); is {
		line = note.AppendPair(line, "id", id)
	} else {
		line = note.AppendPair(line, "stack", name)
	}
	return note.Digest(string(line))
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
	for _, remote := range s.repo.Remotes {
		refs = append(refs, s.tracking(remote)+textsSuffix)
	}
	if s.hasRef(s.localTextsRef()) {
		refs = append(refs, s.localTextsRef())
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

func (s *Store) waitingTexts(dirs ...string) (found []waitingText, err error) {
	for _, dir := range dirs {
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
	}
	return found, nil
}

// flushTexts brings the texts that wait into the ref. Where that fails they go
// on waiting.
func (s *Store) flushTexts(ctx context.Context) {
	err := s.carryTexts(ctx)
	for _, of := range [][2]string{{s.textsRef(), s.textsDir()}, {s.localTextsRef(), s.localTextsDir()}} {
		waiting, werr := s.waitingTexts(of[1])
		if werr == nil && len(waiting) > 0 {
			_, werr = s.gatherTexts(ctx, of[0], of[1], plumbing.ZeroHash)
		}
		err = errors.Join(err, werr)
	}
	if err != nil {
		s.warn(err.Error())
	}
}

// gatherTexts makes a ref of texts hold what waits in a folder, and what another
// tip has, and returns where it stands then. A text is not part of any history: the
// commits have no parents, so that what is over the limits is gone.
func (s *Store) gatherTexts(ctx context.Context, ref, dir string, theirs plumbing.Hash) (tip plumbing.Hash, err error) {
	unlock, err := git.Lock(ctx, filepath.Join(s.private, "lock"), s.warn)
	if err != nil {
		return tip, err
	}
	defer unlock()
	err = s.retryMovedRef(ctx, ref, func() error {
		waiting, err := s.waitingTexts(dir)
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
		t := &textTree{read: s.repo.Read, made: map[plumbing.Hash]*plumbing.MemoryObject{}}
		root, err := t.merge(0, tree, theirTree)
		if err != nil {
			return err
		}
		for _, w := range waiting {
			body, err := os.ReadFile(w.path)
			if err != nil {
				return err
			}
			if root, err = t.merge(0, root, t.putText(w, body)); err != nil {
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
			if err := s.repo.SetRef(ctx, ref, "tmnotes: texts", tip, ours); err != nil {
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
	w := &git.ObjectWriter{R: s.repo}
	if err := t.write(w, 0, root); err != nil {
		return root, err
	}
	h, err := s.newCommit(ctx, w, s.message("plans and other texts", ""), root, parents...)
	if err == nil {
		err = w.Flush(ctx)
	}
	return h, err
}
