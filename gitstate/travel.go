package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// How notes travel. The remote's notes are fetched to a tracking ref of our
// own, never onto the notes themselves, and merged as Normal of all lines: of
// the local tip, the remote's, what was fetched last time (so that lines that
// somebody removed meanwhile come back), and the spool refs of writers who
// could not push. A push is one commit on top of the remote's.

// The first push is to the ref that all share; where that is contended, another
// one is to that and to a ref of the writer's own, which nobody contends for.
const pushTries = 2

// Traveled says what a Fetch or a Push did.
type Traveled struct {
	Remote   string
	Empty    bool // the remote has no notes yet
	Fetched  bool // notes came that were not here
	Pushed   bool
	Spooled  bool // pushed, to a ref of this writer's own that the next sync of anybody folds in
	Refused  bool // spooled, since the remote does not let this writer push to the ref that all share
	Tries    int  // pushes tried
	Returned int  // lines that somebody removed without `tmnotes forget`, put back
}

// Remotes are the names of the repository's remotes.
func (s *Store) Remotes() []string { return s.repo.Remotes }

// RemoteURL is the URL of a remote, as git resolves it (url.*.insteadOf).
func (r Remote) URL(ctx context.Context) (string, error) {
	s, remote := r.store, r.name
	if url, is := s.repo.OnlyURL(remote); is {
		return url, nil
	}
	out, err := s.repo.Git(ctx, nil, "remote", "get-url", remote)
	return strings.TrimSpace(out), err
}

// remotesPrefix is where the refs of remotes are kept as they were fetched last.
const remotesPrefix = "refs/tmnotes/remotes/"

func (s *Store) tracking(remote string) string {
	return remotesPrefix + remote + "/" + strings.TrimPrefix(s.ref, "refs/notes/")
}

func (s *Store) spoolPrefix(base string) string { return base + "-spool/" }

// remoteTips are the notes refs of a remote as they were fetched last.
type remoteTips struct {
	main  plumbing.Hash
	base  plumbing.Hash            // the newest that is known to stand there; main, unless that lags
	spool map[string]plumbing.Hash // ref on the remote → commit
	bad   []string                 // likewise, of what is no commit
	texts textTips
}

func (s *Store) fetchedTips(ctx context.Context, remote string) (remoteTips, error) {
	track := s.tracking(remote)
	t := remoteTips{spool: map[string]plumbing.Hash{}}
	refs, err := s.repo.Refs(ctx, track, s.spoolPrefix(track), track+textsSuffix, s.textsRef())
	if err != nil {
		return t, err
	}
	t.main, t.texts.theirs, t.texts.ours = refs[track], refs[track+textsSuffix], refs[s.textsRef()]
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		writer, ok := strings.CutPrefix(ref, s.spoolPrefix(track))
		if !ok {
			continue
		}
		_, kind, _, err := s.repo.Lookup(refs[ref].String())
		if err != nil {
			return t, fmt.Errorf("%s is %s, which cannot be read: %w; `git fsck` tells more", ref, refs[ref], err)
		}
		if there := s.spoolPrefix(s.ref) + writer; kind != plumbing.CommitObject {
			t.bad = append(t.bad, there)
		} else {
			t.spool[there] = refs[ref]
		}
	}
	return t, nil
}

// Fetch brings the remote's notes here and merges them into the local ref.
// Nothing local is lost, and nothing is pushed. An unreachable remote is an
// ErrRemote; a remote without notes is Traveled.Empty.
func (r Remote) Fetch(ctx context.Context) (Traveled, error) {
	return r.store.fetchLocked(ctx, r.name, everything)
}

func (s *Store) fetchLocked(ctx context.Context, remote string, what scope) (Traveled, error) {
	tr := Traveled{Remote: remote}
	ctx, done, err := s.turn(ctx, remote, 0)
	if err != nil {
		return tr, err
	}
	defer done()
	_, err = s.fetch(ctx, remote, what, &tr)
	return tr, err
}

// turn waits until nobody else fetches or pushes, in this process and in others of this
// clone. The context that it returns is then for as long as a remote is waited for, and
// more.
func (s *Store) turn(ctx context.Context, remote string, more time.Duration) (bounded context.Context, done func(), err error) {
	if s.readOnly != nil {
		return nil, nil, s.readOnly
	}
	select {
	case s.syncing <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, remoteError("waiting for another fetch or push of this run", remote, context.Cause(ctx))
	}
	unlock, err := git.Lock(ctx, filepath.Join(s.private, "sync.lock"), s.warn)
	if err != nil {
		<-s.syncing
		return nil, nil, err
	}
	bounded, cancel := s.bounded(ctx, more)
	return bounded, func() { cancel(); unlock(); <-s.syncing }, nil
}

// scope is what a fetch asks the remote for.
type scope int

const (
	nothing scope = iota // it works with what came last time
	notesAlone
	notesAndSpool // and texts
	everything    // and claims
)

// fetch does one git fetch and merges what came.
func (s *Store) fetch(ctx context.Context, remote string, what scope, tr *Traveled) (remoteTips, error) {
	// git fetch would blame the remote for a ref that is broken here.
	if _, _, err := s.tip(s.ref); err != nil {
		return remoteTips{}, err
	}
	before, err := s.fetchedTips(ctx, remote)
	if err != nil {
		return before, err
	}
	// One glob for the ref and its spool: a glob that matches nothing is no error, and
	// one is not looked for among tags and branches. Partial clones would leave
	// the notes' blobs behind without --no-filter.
	refspecs := []string{"+" + s.ref + "*:" + s.tracking(remote) + "*"}
	if what == notesAlone && !before.main.IsZero() {
		refspecs = append(refspecs, "^"+s.spoolPrefix(s.ref)+"*", "^"+s.textsRef())
	}
	if what != everything {
		refspecs = append(refspecs, "^"+s.claimsPrefix()+"*")
	}
	after := before
	if what != nothing {
		if err := s.gitFetchWithSigners(ctx, remote, refspecs); err != nil {
			return before, remoteError("fetching the notes from "+remote, remote, err)
		}
		if after, err = s.fetchedTips(ctx, remote); err != nil {
			return after, err
		}
	}
	s.warnOfSpools(remote, after.bad)
	if after.base, err = s.newest(ctx, remote, before.main, after.main); err != nil {
		return after, err
	}
	tr.Empty = after.base.IsZero() && len(after.spool) == 0
	tr.Fetched = tr.Fetched || after.main != before.main || len(after.spool) > 0
	sources := []plumbing.Hash{after.main, before.main, after.base}
	for _, ref := range slices.Sorted(maps.Keys(after.spool)) {
		sources = append(sources, after.spool[ref])
	}
	if err := s.merge(ctx, remote, after.main, sources); err != nil {
		return after, err
	}
	s.mergeTexts(ctx, &after.texts)
	if err := s.sayChanged(remote, before.main, after, tr); err != nil {
		return after, err
	}
	if what == nothing {
		return after, nil
	}
	s.touch("fetched-" + strings.ReplaceAll(remote, "/", "%"))
	return after, nil
}

// gitFetchWithSigners fetches the remote's default branch as well where it has the file of who may sign.
func (s *Store) gitFetchWithSigners(ctx context.Context, remote string, refspecs []string) error {
	if !s.demand.inDefaultBranch() {
		return s.gitFetch(ctx, remote, refspecs)
	}
	err := s.gitFetch(ctx, remote, append(slices.Clone(refspecs), "+HEAD:"+fetchedHead(remote)))
	if ge := (*git.Error)(nil); errors.As(err, &ge) && strings.Contains(ge.Stderr, "remote ref HEAD") { // it has none
		return s.gitFetch(ctx, remote, refspecs)
	}
	if err == nil {
		s.demandsOf(remote)
	}
	return err
}

// gitFetch runs git fetch, again where what is in its way may be gone the next time.
func (s *Store) gitFetch(ctx context.Context, remote string, refspecs []string) (err error) {
	for range 20 {
		_, err = s.network(ctx, append([]string{"fetch", "--quiet", "--no-tags", "--no-filter", "--no-write-fetch-head", "--no-recurse-submodules", "--prune",
			"--refmap=", remote}, refspecs...)...)
		if vanished(err) && !strings.Contains(err.Error(), "remote ref HEAD") {
			continue
		}
		if !git.LockedOut(err) || !s.breakFetchLocks(remote) && pause(ctx, 400*time.Millisecond) != nil {
			break
		}
	}
	return err
}

// breakFetchLocks removes the stale locks that a fetch can find in its way: one that was killed
// leaves them behind, of any ref that it was writing.
func (s *Store) breakFetchLocks(remote string) (broke bool) {
	broke = s.repo.BreakLock(s.tracking(remote))
	for _, file := range s.StaleLocks() {
		ref, err := filepath.Rel(s.repo.CommonDir, strings.TrimSuffix(file, ".lock"))
		if ref = filepath.ToSlash(ref); err == nil && strings.HasPrefix(ref, "refs/") {
			broke = s.repo.BreakLock(ref) || broke
		}
	}
	return broke
}

// vanished reports whether a ref that the remote had listed was gone when its
// commit was asked for: claims and spool refs come and go.
func vanished(err error) bool {
	var ge *git.Error
	return errors.As(err, &ge) && (strings.Contains(ge.Stderr, "not our ref") || strings.Contains(ge.Stderr, "no such remote ref"))
}

func (s *Store) touch(name string) {
	path := filepath.Join(s.private, name)
	_ = os.WriteFile(path, nil, 0o666)
	now := time.Now()
	_ = os.Chtimes(path, now, now)
}

// LastFetch is when the notes of a remote were fetched last, zero if never.
func (r Remote) LastFetch() time.Time {
	s, remote := r.store, r.name
	info, err := os.Stat(filepath.Join(s.private, "fetched-"+strings.ReplaceAll(remote, "/", "%")))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// merge makes the local ref hold every line of the sources and of the journal.
// Where the remote's tip has them all, the local ref becomes it.
func (s *Store) merge(ctx context.Context, remote string, tip plumbing.Hash, sources []plumbing.Hash) error {
	unlock, err := git.Lock(ctx, filepath.Join(s.private, "lock"), s.warn)
	if err != nil {
		return err
	}
	defer unlock()
	return s.retryMoved(ctx, func() error {
		if err := s.takeOver(ctx, remote, tip); err != nil {
			return err
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		local, localTree, err := s.tip(s.ref)
		if err != nil {
			return err
		}
		differ := slices.DeleteFunc(slices.Clone(sources), func(src plumbing.Hash) bool { return s.grewFrom(src, local) > 0 })
		t, w, changes, err := s.union(localTree, differ)
		if err != nil {
			return err
		}
		if tip.IsZero() {
			if len(changes) == 0 {
				return nil
			}
		} else {
			_, tipTree, err := s.tip(tip.String())
			if err != nil {
				return err
			}
			root, err := t.Write(w.Put)
			if err != nil {
				return err
			}
			switch {
			case root == tipTree && local == tip:
				return nil
			case root == tipTree:
				// All that is here is there: take over the remote's commit.
				return s.repo.SetRef(ctx, s.ref, "tmnotes: notes of "+remote, tip, local)
			case root == localTree:
				if contains, err := s.isAncestor(ctx, tip, local); err != nil || contains {
					return err
				}
			}
		}
		parents := make([]plumbing.Hash, 0, 2)
		for _, p := range []plumbing.Hash{local, tip} {
			if !p.IsZero() {
				parents = append(parents, p)
			}
		}
		h, err := s.writeCommit(ctx, t, w, "merge the notes of "+remote, parents)
		if err != nil {
			return err
		}
		return s.repo.SetRef(ctx, s.ref, "tmnotes: merge the notes of "+remote, h, local)
	})
}

// takeOver has a clone that has no notes begin with those of the remote. What is merged is read, and
// what a foreign writer lost is put back, line by line: a million records take half a minute and a gigabyte so.
func (s *Store) takeOver(ctx context.Context, remote string, tip plumbing.Hash) error {
	if local, err := s.repo.Resolve(s.ref); err != nil || !local.IsZero() || tip.IsZero() {
		return err
	}
	return s.repo.SetRef(ctx, s.ref, "tmnotes: notes of "+remote, tip, plumbing.ZeroHash)
}

// Absorb merges what a plain `git fetch` brought to the tracking ref (see
// Setup), and the journal, into the notes. It asks no remote.
func (r Remote) Absorb(ctx context.Context) error {
	s, remote := r.store, r.name
	if s.readOnly != nil {
		return nil
	}
	tracked, err := s.repo.Resolve(s.tracking(remote))
	if err != nil {
		return err
	}
	local, err := s.repo.Resolve(s.ref)
	if err != nil {
		return err
	}
	if tracked.IsZero() || tracked == local {
		return s.Flush(ctx)
	}
	if !local.IsZero() {
		if known, err := s.isAncestor(ctx, tracked, local); err != nil || known {
			return errors.Join(err, s.Flush(ctx))
		}
	}
	return s.merge(ctx, remote, tracked, []plumbing.Hash{tracked})
}

// isAncestor looks at the parents first: most often it is one of them, and git takes longer to start.
func (s *Store) isAncestor(ctx context.Context, a, b plumbing.Hash) (bool, error) {
	if c, err := s.repo.Commit(b.String()); err == nil && (a == b || slices.Contains(c.ParentHashes, a)) {
		return true, nil
	}
	_, err := s.repo.Git(ctx, nil, "merge-base", "--is-ancestor", a.String(), b.String())
	var ge *git.Error
	if errors.As(err, &ge) && ge.Code == 1 {
		return false, nil
	}
	return err == nil, err
}

// union brings the notes of other commits into a tree, in memory. Only notes
// that differ are read.
func (s *Store) union(tree plumbing.Hash, sources []plumbing.Hash) (*notestree.Tree, *git.ObjectWriter, []notestree.Change, error) {
	t, err := s.openTree(tree)
	if err != nil {
		return nil, nil, nil, err
	}
	w := &git.ObjectWriter{R: s.repo}
	merged := map[string]notestree.Change{}
	done := map[plumbing.Hash]bool{tree: true}
	for _, src := range sources {
		if src.IsZero() {
			continue
		}
		_, other, err := s.tip(src.String())
		if err != nil {
			return nil, nil, nil, err
		}
		if done[other] {
			continue
		}
		done[other] = true
		changes, err := s.changes(tree, other)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, c := range changes {
			m, ok := merged[c.Commit]
			if !ok {
				m = notestree.Change{Commit: c.Commit, Old: c.Old, New: c.Old}
			}
			m.New = note.NormalLines(append(slices.Clone(m.New), c.New...))
			merged[c.Commit] = m
		}
	}
	var out []notestree.Change
	for _, c := range merged {
		if !slices.Equal(c.Old, c.New) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b notestree.Change) int { return strings.Compare(a.Commit, b.Commit) })
	return t, w, out, s.setNotes(t, w, out)
}

// takenAway counts the lines that a writer other than tmnotes removed between
// two tips of the remote.
func (s *Store) takenAway(before, after plumbing.Hash) (n int, err error) {
	_, a, err := s.tip(before.String())
	if err != nil {
		return 0, err
	}
	_, b, err := s.tip(after.String())
	if err != nil {
		return 0, err
	}
	changes, err := s.changes(a, b)
	for _, c := range changes {
		_, removed := diffLines(c.Old, c.New)
		both := note.NormalLines(append(slices.Clone(c.Old), c.New...))
		for _, line := range removed {
			if _, still := slices.BinarySearch(both, line); still {
				n++
			}
		}
	}
	return n, err
}
