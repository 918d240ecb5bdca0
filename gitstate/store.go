package gitstate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/oklog/ulid/v2"
)

// Options say which store to open. The zero value is the store of the working
// directory with its configured ref.
type Options struct {
	Dir        string // "" is the working directory
	Ref        string // notes ref; "" is git config tmnotes.ref, or DefaultRef
	Now        func() time.Time
	StaleAfter time.Duration // when a running record of another machine counts as interrupted; 0 is git config tmnotes.staleAfter, or 6 h
	// Warn gets one line for each thing that a person should know and that is
	// no error; nil drops them.
	Warn func(string)
}

// Store is the notes of one repository. It may be used from several
// goroutines, and several processes may have the same repository open.
//
// Errors of its methods: a note, a ref, an object or the journal that could
// not be read is always an error, never an empty answer. Append fails if the
// records are not on the disk; ErrReadOnly if they cannot be. Remote methods
// wrap ErrRemote and ErrNotPushed.
type Store struct {
	repo       *repo
	ref        string
	private    string // .git/tmnotes
	now        func() time.Time
	staleAfter time.Duration
	warn       func(string)
	readOnly   error // why nothing can be written, if so
	redactor   *Redactor

	mu         sync.Mutex
	journal    *journal
	lastAt     map[string]time.Time // by ident: what this process recorded
	lastResult time.Time            // the latest of these
	state      *State               // what was read last
	ident      *object.Signature
}

// Open opens the store of a repository, and brings what an earlier process
// left in the journal into reach of the reading methods. See ErrNoRepository
// and ErrUnsupported.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.Dir == "" {
		opt.Dir = "."
	}
	r, err := openRepo(ctx, opt.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{repo: r, private: filepath.Join(r.commonDir, "tmnotes"), now: opt.Now, staleAfter: opt.StaleAfter, warn: opt.Warn,
		redactor: NewRedactor(os.Environ()), lastAt: map[string]time.Time{}}
	if s.now == nil {
		s.now = time.Now
	}
	if v := r.config["tmnotes.staleafter"]; v != "" && s.staleAfter <= 0 {
		if s.staleAfter, err = time.ParseDuration(v); err != nil || s.staleAfter <= 0 {
			r.close()
			return nil, fmt.Errorf("git config tmnotes.staleAfter: %q is no duration; write it like 90m or 6h", v)
		}
	}
	if s.staleAfter <= 0 {
		s.staleAfter = 6 * time.Hour
	}
	if s.warn == nil {
		s.warn = func(string) {}
	}
	if s.ref, err = s.fullRef(ctx, cmpOr(opt.Ref, r.config["tmnotes.ref"], DefaultRef)); err != nil {
		r.close()
		return nil, err
	}
	s.journal = &journal{dir: filepath.Join(s.private, "journal")}
	if s.ref != DefaultRef {
		s.journal.dir += "-" + s.refName()
	}
	if _, err := os.Stat(s.journal.dir); errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(s.journal.dir, 0o777); err == nil {
			err = errors.Join(syncDir(s.private), syncDir(r.commonDir))
		}
		if err != nil {
			s.readOnly = fmt.Errorf("%w: %v", ErrReadOnly, err)
		}
	} else if err := writable(s.private); err != nil {
		s.readOnly = fmt.Errorf("%w: %v", ErrReadOnly, err)
	}
	s.journal.name = "local.log"
	return s, nil
}

// writable tries whether files can be made in a folder, by one that is needed
// in any case.
func writable(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

func cmpOr(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// fullRef is what `git notes --ref` makes of a name (git-notes(1)).
func (s *Store) fullRef(ctx context.Context, name string) (string, error) {
	ref := name
	switch {
	case strings.HasPrefix(name, "refs/notes/"):
	case strings.HasPrefix(name, "notes/"):
		ref = "refs/" + name
	default:
		ref = "refs/notes/" + name
	}
	if ref == DefaultRef {
		return ref, nil
	}
	if _, err := s.repo.git(ctx, nil, "check-ref-format", ref); err != nil {
		return "", fmt.Errorf("%q is no name of a notes ref; use one like refs/notes/tmnotes", name)
	}
	return ref, nil
}

// Close ends the children of the store. What was acknowledged stays.
func (s *Store) Close() { s.repo.close() }

// Ref is the full name of the notes ref.
func (s *Store) Ref() string { return s.ref }

// GitDir is the common directory of the repository.
func (s *Store) GitDir() string { return s.repo.commonDir }

// WorkTree is the top of the work tree, "" in a bare repository.
func (s *Store) WorkTree() string { return s.repo.workTree }

// Shallow reports whether the repository's history is cut off.
func (s *Store) Shallow() bool { return s.repo.shallow }

// Config is the value of a key tmnotes.* of git's configuration, "" if unset.
func (s *Store) Config(key string) string { return s.repo.config["tmnotes."+strings.ToLower(key)] }

// Commit is a commit that can be annotated.
type Commit struct {
	Hash    string
	Time    time.Time // the committer's
	Subject string
}

// Resolve finds a commit by anything that git takes for a name of one. HEAD of
// a repository without commits is ErrNoCommit.
func (s *Store) Resolve(rev string) (Commit, error) {
	c, err := s.repo.commit(rev + "^{commit}")
	if errors.Is(err, errMissing) {
		if rev == "HEAD" {
			return Commit{}, fmt.Errorf("%w; commit something first", ErrNoCommit)
		}
		return Commit{}, fmt.Errorf("%s is no commit that is here; `git fetch` may bring it", rev)
	}
	if err != nil {
		return Commit{}, err
	}
	subject, _, _ := strings.Cut(c.Message, "\n")
	return Commit{c.Hash.String(), c.Committer.When, subject}, nil
}

// NewRun makes the id of a run: a ULID, so that runs sort by time.
func (s *Store) NewRun() string {
	return ulid.MustNew(ulid.Timestamp(s.now()), ulid.DefaultEntropy()).String()
}

// UseJournal lets the process append to a file of the run's own. Processes
// that take part in one run on one machine share it.
func (s *Store) UseJournal(run string) { s.journal.name = "run-" + run + ".log" }

// Append acknowledges records for a commit: when it returns they are in the
// journal and on the disk, and no crash, race or refused push loses them. A
// record without a time gets one that is later than that of every record of
// its stack that is known here. Reason and Cmd are redacted.
func (s *Store) Append(commit string, records ...*Record) error {
	return s.append(commit, true, records)
}

// AppendLazily is Append without waiting for the disk: the records survive the
// death of this process, but the machine's only after the next Append or Sync.
func (s *Store) AppendLazily(commit string, records ...*Record) error {
	return s.append(commit, false, records)
}

// Sync makes durable what AppendLazily wrote.
func (s *Store) Sync() error { return s.journal.sync() }

func (s *Store) append(commit string, sync bool, records []*Record) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	if !plumbing.IsHash(commit) {
		return fmt.Errorf("%q is no full name of a commit", commit)
	}
	entries := make([]journaled, 0, len(records))
	s.mu.Lock()
	for _, r := range records {
		s.stamp(r)
		if r.Reason != "" {
			r.Reason = s.redactor.Text(r.Reason, 500)
		}
		if r.Cmd != "" {
			r.Cmd = s.redactor.Text(r.Cmd, 1000)
		}
		line, err := r.Line()
		if err != nil {
			s.mu.Unlock()
			return &RecordError{commit, err}
		}
		entries = append(entries, journaled{plumbing.NewHash(commit), line})
	}
	s.mu.Unlock()
	return s.journal.append(entries, sync)
}

// stamp gives the record a time, later than those it follows.
func (s *Store) stamp(r *Record) {
	if r.At.IsZero() {
		r.At = s.now()
	}
	r.At = r.At.UTC().Truncate(time.Millisecond)
	if r.Stack == "" {
		// The end of a run comes after its last result.
		if r.Event == Finished && !r.At.After(s.lastResult) {
			r.At = s.lastResult.Add(time.Millisecond)
		}
		return
	}
	of := ident(r.ID, r.Stack)
	last := s.lastAt[of]
	if s.state != nil {
		if r.Status != "" {
			r.Prev = s.state.follows(r)
		}
		if t := s.state.newestAt(r.ID, r.Stack); t.After(last) {
			last = t
		}
	}
	if !r.At.After(last) {
		r.At = last.Add(time.Millisecond)
	}
	s.lastAt[of] = r.At
	if r.At.After(s.lastResult) {
		s.lastResult = r.At
	}
}

// tip is the notes commit and its tree; both zero if there is no such ref.
func (s *Store) tip(ref string) (commit, tree plumbing.Hash, err error) {
	h, err := s.repo.resolve(ref)
	if err != nil || h.IsZero() {
		return h, plumbing.ZeroHash, err
	}
	c, err := s.repo.commit(h.String())
	if err != nil {
		return h, plumbing.ZeroHash, fmt.Errorf("%s: %w", ref, err)
	}
	return h, c.TreeHash, nil
}

func (s *Store) openTree(tree plumbing.Hash) (*notesTree, error) {
	t, err := openTree(s.repo.read, tree)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w; `git fsck` tells more, and a clone or the remote has a copy", s.ref, err)
	}
	return t, nil
}

// text is the text of a commit's note in a tree: of several blobs, all.
func (s *Store) text(blobs []plumbing.Hash) (string, error) {
	var b strings.Builder
	for _, h := range blobs {
		body, err := s.repo.read(h, plumbing.BlobObject)
		if err != nil {
			return "", err
		}
		b.Write(body)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// pending reads the lines that may be missing in the notes tree of the tip: of
// the journal, and, where it was not tmnotes that made the tree, of what was
// last seen on the remotes, since a foreign writer may have lost some. A mark
// says of which tree it is known that it has what, so that this is not done
// twice; the new mark is what holds once the lines are in a tree.
func (s *Store) pending(ctx context.Context, tree plumbing.Hash) (lines map[plumbing.Hash][]string, mark string, err error) {
	files, err := s.journal.files()
	if err != nil {
		return nil, "", err
	}
	seen, known := map[string]int64{}, false
	if old, err := os.ReadFile(s.markPath()); err == nil {
		if f := strings.Fields(string(old)); len(f) > 0 && f[0] == tree.String() {
			known = true
			for i := 1; i+1 < len(f); i += 2 {
				seen[f[i]], _ = strconv.ParseInt(f[i+1], 10, 64)
			}
		}
	}
	lines = map[plumbing.Hash][]string{}
	for i := range files {
		f := &files[i]
		if err := s.journal.read(f, seen); err != nil {
			return nil, "", err
		}
		for _, e := range f.entries {
			lines[e.commit] = append(lines[e.commit], e.line)
		}
		if f.id != "" {
			mark += fmt.Sprintf(" %s %d", f.id, f.size)
		}
	}
	if known {
		return lines, mark, nil
	}
	out, err := s.repo.git(ctx, nil, "for-each-ref", "--format=%(refname)", "refs/tmnotes/remotes/*/"+strings.TrimPrefix(s.ref, "refs/notes/"))
	if err != nil {
		return nil, "", err
	}
	for _, ref := range strings.Fields(out) {
		_, seen, err := s.tip(ref)
		if err != nil {
			return nil, "", err
		}
		changes, err := s.changes(tree, seen)
		if err != nil {
			return nil, "", err
		}
		for _, c := range changes {
			if add, _ := diffLines(c.old, c.new); len(add) > 0 {
				h := plumbing.NewHash(c.commit)
				lines[h] = append(lines[h], add...)
			}
		}
	}
	return lines, mark, nil
}

// current is the notes tree of the tip and what it lacks.
func (s *Store) current(ctx context.Context) (t *notesTree, tree plumbing.Hash, overlay []change, err error) {
	var lines map[plumbing.Hash][]string
	for range 10 {
		var tip, after plumbing.Hash
		if tip, tree, err = s.tip(s.ref); err != nil {
			return nil, tree, nil, err
		}
		if lines, _, err = s.pending(ctx, tree); err != nil {
			return nil, tree, nil, err
		}
		// What left the journal meanwhile is in a later tip.
		if after, err = s.repo.resolve(s.ref); err != nil {
			return nil, tree, nil, err
		}
		if after == tip {
			break
		}
	}
	if t, err = s.openTree(tree); err != nil {
		return nil, tree, nil, err
	}
	overlay, err = s.missing(t, lines)
	return t, tree, overlay, err
}

func (s *Store) markPath() string { return filepath.Join(s.private, "merged-"+s.refName()) }

// refName is the ref's name as a file's.
func (s *Store) refName() string {
	return strings.ReplaceAll(strings.TrimPrefix(s.ref, "refs/notes/"), "/", "%")
}

// setMark is a rename, so that no reader finds half of it.
func (s *Store) setMark(tree plumbing.Hash, mark string) error {
	tmp := s.markPath() + ".new"
	if err := os.WriteFile(tmp, []byte(tree.String()+mark+"\n"), 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, s.markPath())
}

// missing compares lines with the notes of a tree and returns the changes that
// bring them in: what is not there yet, and what somebody took away.
func (s *Store) missing(t *notesTree, lines map[plumbing.Hash][]string) ([]change, error) {
	var changes []change
	for commit, add := range lines {
		blobs, err := t.get(commit)
		if err != nil {
			return nil, &RecordError{commit.String(), err}
		}
		text, err := s.text(blobs)
		if err != nil {
			return nil, &RecordError{commit.String(), err}
		}
		c := change{commit: commit.String(), old: normalLines(appendLines(nil, text))}
		c.new = normalLines(append(slices.Clone(c.old), add...))
		if !slices.Equal(c.old, c.new) {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.commit, b.commit) })
	return changes, nil
}

// Flush brings the journal into the notes: as one commit, at most, and none if
// all of it is there. Where the repository cannot be written it does nothing.
func (s *Store) Flush(ctx context.Context) error {
	if s.readOnly != nil {
		return nil
	}
	unlock, err := lockFile(ctx, filepath.Join(s.private, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return s.retryMoved(ctx, func() error { return s.flush(ctx) })
}

// retryMoved does again what found that a foreign writer moved the ref.
func (s *Store) retryMoved(ctx context.Context, f func() error) error {
	var err error
	for try := range 40 {
		if err = f(); !errors.Is(err, errMoved) {
			return err
		}
		if pause(ctx, backoff(try, 5*time.Millisecond, 500*time.Millisecond)) != nil {
			return err
		}
	}
	return fmt.Errorf("%s: %w; if no git process is at work, a stale %s.lock is in the way", s.ref, err, filepath.Join(s.repo.commonDir, s.ref))
}

// backoff is a random time up to base·2^try, at most limit.
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

func (s *Store) flush(ctx context.Context) error {
	tip, tree, err := s.tip(s.ref)
	if err != nil {
		return err
	}
	lines, mark, err := s.pending(ctx, tree)
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
		w := &objectWriter{r: s.repo}
		if err := setNotes(t, w, changes); err != nil {
			return err
		}
		if err := s.commitTree(ctx, t, w, summary(changes), tip); err != nil {
			return err
		}
	}
	if tree = t.root.hash; tree.IsZero() {
		return nil // there are no notes
	}
	return s.setMark(tree, mark)
}

func setNotes(t *notesTree, w *objectWriter, changes []change) error {
	for _, c := range changes {
		blob, err := w.put(plumbing.BlobObject, []byte(joinLines(c.new)))
		if err != nil {
			return err
		}
		if err := t.set(plumbing.NewHash(c.commit), blob); err != nil {
			return &RecordError{c.commit, err}
		}
	}
	return nil
}

// commitTree writes the tree as a commit on the parents and moves the ref from
// the first of them to it.
func (s *Store) commitTree(ctx context.Context, t *notesTree, w *objectWriter, message string, old plumbing.Hash) error {
	var parents []plumbing.Hash
	if !old.IsZero() {
		parents = append(parents, old)
	}
	h, err := s.writeCommit(ctx, t, w, message, parents)
	if err != nil {
		return err
	}
	return s.repo.setRef(ctx, s.ref, "tmnotes: "+message, h, old)
}

func (s *Store) writeCommit(ctx context.Context, t *notesTree, w *objectWriter, message string, parents []plumbing.Hash) (plumbing.Hash, error) {
	root, err := t.write(w.put)
	if err != nil {
		return root, err
	}
	who := s.signature(ctx)
	h, err := w.putCommit(&object.Commit{Author: who, Committer: who, Message: message + "\n", TreeHash: root, ParentHashes: parents})
	if err != nil {
		return h, err
	}
	if err := w.flush(ctx); err != nil {
		return h, fmt.Errorf("writing notes: %w", err)
	}
	return h, nil
}

// summary is the subject of a notes commit.
func summary(changes []change) string {
	records := 0
	for _, c := range changes {
		add, _ := diffLines(c.old, c.new)
		records += len(add)
	}
	word := "records"
	if records == 1 {
		word = "record"
	}
	if len(changes) == 1 {
		return fmt.Sprintf("%d %s on %s", records, word, short(changes[0].commit))
	}
	return fmt.Sprintf("%d %s on %d commits", records, word, len(changes))
}

// signature is who git says we are; a machine without a configured user may
// record, too.
func (s *Store) signature(ctx context.Context) object.Signature {
	if s.ident == nil {
		s.ident = &object.Signature{Name: "tmnotes", Email: "tmnotes@localhost"}
		if out, err := s.repo.git(ctx, nil, "var", "GIT_COMMITTER_IDENT"); err == nil {
			if i := strings.LastIndex(out, ">"); i >= 0 {
				name, mail, ok := strings.Cut(out[:i], " <")
				if ok && name != "" {
					s.ident.Name, s.ident.Email = name, mail
				}
			}
		}
	}
	who := *s.ident
	who.When = s.now()
	return who
}

// Who is the committer as git knows it, "Name <mail>".
func (s *Store) Who(ctx context.Context) string {
	who := s.signature(ctx)
	return who.Name + " <" + who.Email + ">"
}

// State reads what is the latest of every stack: from the index as far as it
// goes, from the notes where it does not, and from the journal what is not in
// the notes yet.
func (s *Store) State(ctx context.Context) (*State, error) {
	t, tree, overlay, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.index(t, tree)
	if err != nil {
		return nil, err
	}
	if len(overlay) > 0 && !x.apply(overlay) {
		if x, err = s.rebuild(t, tree, overlay); err != nil {
			return nil, err
		}
	}
	st := &State{s: s, x: x}
	s.mu.Lock()
	s.state = st
	s.mu.Unlock()
	return st, nil
}

func (s *Store) indexPath() string {
	return filepath.Join(s.private, "index-"+s.refName())
}

// index is the index of a notes tree: the saved one, led on to this tree by
// what changed, or a new one.
func (s *Store) index(t *notesTree, tree plumbing.Hash) (*index, error) {
	x, err := loadIndex(s.indexPath())
	if err == nil && x.tree == tree {
		return x, nil
	}
	if err == nil {
		changes, err := s.changes(x.tree, tree)
		if err == nil && x.apply(changes) {
			x.tree = tree
			s.saveIndex(x)
			return x, nil
		}
	}
	if x, err = s.rebuild(t, tree, nil); err != nil {
		return nil, err
	}
	s.saveIndex(x)
	return x, nil
}

func (s *Store) saveIndex(x *index) {
	if s.readOnly == nil {
		_ = x.save(s.indexPath()) // without it the next command takes longer, no more
	}
}

// changes are the notes that differ between two trees.
func (s *Store) changes(a, b plumbing.Hash) ([]change, error) {
	type pair struct{ old, new []plumbing.Hash }
	var commits []string
	var pairs []pair
	err := diffTrees(s.repo.read, a, b, func(commit plumbing.Hash, old, new []plumbing.Hash) error {
		commits = append(commits, commit.String())
		pairs = append(pairs, pair{slices.Clone(old), slices.Clone(new)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []plumbing.Hash
	for _, p := range pairs {
		all = append(append(all, p.old...), p.new...)
	}
	bodies := make([]string, len(all))
	if err := s.repo.readBlobs(all, func(i int, body []byte) error { bodies[i] = string(body); return nil }); err != nil {
		return nil, err
	}
	changes := make([]change, len(pairs))
	for i, p := range pairs {
		o, n := len(p.old), len(p.new)
		changes[i] = change{commits[i], normalLines(splitTexts(bodies[:o])), normalLines(splitTexts(bodies[o : o+n]))}
		bodies = bodies[o+n:]
	}
	return changes, nil
}

func splitTexts(texts []string) []string {
	var lines []string
	for _, t := range texts {
		lines = appendLines(lines, t)
	}
	return lines
}

// rebuild reads every note; overlay replaces some of them.
func (s *Store) rebuild(t *notesTree, tree plumbing.Hash, overlay []change) (*index, error) {
	over := map[string][]string{}
	for _, c := range overlay {
		over[c.commit] = c.new
	}
	b := newBuilder()
	err := s.each(t, func(commit string, lines []string) error {
		if _, ok := over[commit]; !ok {
			b.note(commit, lines)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for commit, lines := range over {
		b.note(commit, lines)
	}
	return b.done(tree, func(commit string) ([]string, error) {
		if lines, ok := over[commit]; ok {
			return lines, nil
		}
		blobs, err := t.get(plumbing.NewHash(commit))
		if err != nil {
			return nil, err
		}
		text, err := s.text(blobs)
		return normalLines(appendLines(nil, text)), err
	})
}

// each hands on all notes in normal form, in the order of their commits'
// names. The lines share memory with the note, so who keeps one clones it, and
// the list of them is good until fn returns.
func (s *Store) each(t *notesTree, fn func(commit string, lines []string) error) error {
	// The notes are read while the tree is still being walked.
	type note struct {
		commit plumbing.Hash
		blobs  int
	}
	var mu sync.Mutex
	var found []note
	names := func(want func(plumbing.Hash)) error {
		return t.each(func(commit plumbing.Hash, blobs []plumbing.Hash) error {
			mu.Lock()
			found = append(found, note{commit, len(blobs)})
			mu.Unlock()
			for _, b := range blobs {
				want(b)
			}
			return nil
		})
	}
	n, of, left := 0, note{}, 0
	var lines []string
	err := s.repo.streamBlobs(names, func(_ int, body []byte) error {
		if left == 0 {
			mu.Lock()
			of = found[n]
			mu.Unlock()
			n, left, lines = n+1, of.blobs, lines[:0]
		}
		lines = appendLines(lines, string(body))
		if left--; left > 0 {
			return nil
		}
		return fn(of.commit.String(), normalLines(lines))
	})
	if err == nil {
		return nil
	}
	where := s.ref
	mu.Lock()
	if left > 0 {
		where += ", the note of " + short(of.commit.String())
	} else if n < len(found) {
		where += ", the note of " + short(found[n].commit.String())
	}
	mu.Unlock()
	return fmt.Errorf("reading %s: %w; `git fsck` tells more, and a clone or the remote has a copy", where, err)
}
