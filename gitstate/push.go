package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Push makes the remote have every record that is here: fetch, merge, push, a
// few times with pauses where others push as well, then to a ref of this
// writer's own. If neither is taken the error wraps ErrNotPushed; if the
// remote cannot be reached, ErrRemote too. Either way nothing is lost here.
func (r Remote) Push(ctx context.Context) (Traveled, error) {
	return r.store.pushAll(ctx, r.name, pushMode{})
}

// PushFetched is Push for who fetched a moment ago: the remote is asked again
// only where it has moved on, and does not take the push.
func (r Remote) PushFetched(ctx context.Context) (Traveled, error) {
	return r.store.pushAll(ctx, r.name, pushMode{fetched: true})
}

type pushMode struct {
	fetched  bool // a moment ago
	announce bool // nothing that stands there may be missing here
}

func (s *Store) pushAll(ctx context.Context, remote string, mode pushMode) (Traveled, error) {
	tr := Traveled{Remote: remote}
	more := time.Duration(0)
	if mode.announce {
		more = s.lagPatience
	}
	ctx, done, err := s.turn(ctx, remote, more)
	if err != nil {
		return tr, err
	}
	defer done()
	if err := s.signForPush(ctx, mode.announce); err != nil {
		return tr, err
	}
	err = s.pushShared(ctx, remote, mode, &tr)
	if err == nil {
		return tr, nil
	}
	contended, refused := errors.Is(err, errContended), errors.Is(err, errRefused)
	if !contended && !refused || CauseOf(err) == Denied || s.pushSpool(ctx, remote, &tr) != nil {
		return tr, fmt.Errorf("%w: %w", ErrNotPushed, err)
	}
	tr.Pushed, tr.Spooled, tr.Refused = true, true, refused
	return tr, nil
}

// pushShared pushes to the ref that all share, a few times where others do as well. It
// succeeds, too, where the last of these was to a ref of this writer's own.
func (s *Store) pushShared(ctx context.Context, remote string, mode pushMode, tr *Traveled) error {
	var texts textTips
	ask := !mode.fetched
	for try := 0; ; try++ {
		what := nothing
		switch {
		case ask && try > 0:
			// Who comes again has only to know what was in the way: where hundreds push
			// at once the spool refs are as many, and somebody reads them later.
			what = notesAlone
		case ask:
			what = notesAndSpool
		}
		tips, err := s.fetch(ctx, remote, what, tr)
		if err != nil {
			return err
		}
		texts.ours, texts.theirs = tips.texts.ours, tips.texts.theirs
		spool := ""
		if try > 0 {
			spool = s.spoolRef()
		}
		taken, err := s.pushOnce(ctx, remote, tips, &texts, spool, tr)
		if err == nil {
			tr.Pushed = tr.Pushed || taken
			s.settle(ctx, remote, tips)
			s.pushTexts(ctx, remote, &texts, tr)
			return nil
		}
		ask = true
		if mode.announce && errors.Is(err, errBehind) {
			if err := s.catchUp(ctx, remote, tips.main, tr); err != nil {
				return err
			}
			ask = false
		}
		if errors.Is(err, errSpooled) {
			tr.Pushed, tr.Spooled = true, true
			return nil
		}
		if mode.fetched && errors.Is(err, errContended) {
			mode.fetched, try = false, -1
			continue
		}
		if try == pushTries-1 || !errors.Is(err, errContended) {
			return err
		}
		if err := pause(ctx, backoff(try, 30*time.Millisecond, 2*time.Second)); err != nil {
			return err
		}
	}
}

var (
	errContended = errors.New("others push to the same ref")
	errBehind    = fmt.Errorf("%w: the remote has changed since the fetch", errContended)
	errRefused   = errors.New("refused")
	errSpooled   = errors.New("others push to the same ref; the notes are on a ref of this writer's own")
)

// pushOnce puts what the remote lacks on top of its tip, as one commit. With a spool ref
// it puts it there as well, in the same push: errSpooled if that is what was taken.
func (s *Store) pushOnce(ctx context.Context, remote string, tips remoteTips, texts *textTips, spool string, tr *Traveled) (pushed bool, err error) {
	local, tree, err := s.tip(s.ref)
	if err != nil || local.IsZero() {
		return false, err
	}
	if local == tips.main {
		return false, nil
	}
	squashed := local
	if !tips.base.IsZero() {
		_, theirs, err := s.tip(tips.base.String())
		if err != nil {
			return false, err
		}
		if theirs == tree {
			squashed = tips.base
		} else if squashed, err = s.squash(ctx, local, tree, theirs, tips.base); err != nil {
			return false, err
		}
	} else if squashed, err = s.squash(ctx, local, tree, plumbing.ZeroHash); err != nil {
		return false, err
	}
	if squashed != tips.main {
		tr.Tries++
		if spool == "" {
			err = s.pushWithTexts(ctx, remote, squashed, texts)
		} else {
			var out string
			out, err = s.runPush(ctx, remote, spoolLease(spool, tips), squashed.String()+":"+s.ref, squashed.String()+":"+spool)
			spooled := pushError(remote, spool, out, err) == nil
			if spooled {
				s.spooled(ctx, remote, spool, squashed, tips)
			}
			if err = pushError(remote, s.ref, out, err); errors.Is(err, errContended) && spooled {
				err = fmt.Errorf("%w: %w", errSpooled, err)
			} else if err == nil && spooled {
				tips.spool[spool] = squashed // not needed, and removed with those that were folded in
			}
		}
		if err != nil {
			return false, err
		}
		pushed = true
		s.nowKnown(remote, squashed)
		// git has moved it, but where it pushed to a URL.
		if at, err := s.repo.Resolve(s.tracking(remote)); err != nil || at != squashed {
			if err := s.repo.SetRef(ctx, s.tracking(remote), "tmnotes: push", squashed, tips.main); err != nil && !errors.Is(err, git.ErrMoved) {
				return pushed, err
			}
		}
	}
	// The local ref takes the shape that all others see. If a foreign writer
	// moved it meanwhile it stays, and the next sync merges.
	if squashed == local {
		return pushed, nil
	}
	if err := s.repo.SetRef(ctx, s.ref, "tmnotes: pushed to "+remote, squashed, local); err != nil && !errors.Is(err, git.ErrMoved) {
		return pushed, err
	}
	return pushed, nil
}

// squash makes one commit of the local one's tree on top of the parents, of which theirs
// is the tree. One that is such a commit already is taken as it is.
func (s *Store) squash(ctx context.Context, local, tree, theirs plumbing.Hash, parents ...plumbing.Hash) (plumbing.Hash, error) {
	if len(parents) == 1 && s.grewFrom(parents[0], local) == 1 {
		return local, nil
	}
	changes, err := s.changes(theirs, tree)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	for _, c := range changes {
		// A foreign writer may have taken lines away since they were merged: that
		// must not be pushed. The next try merges again.
		if both := note.NormalLines(append(slices.Clone(c.Old), c.New...)); !slices.Equal(both, c.New) {
			return plumbing.ZeroHash, fmt.Errorf("%w: the note of %s lost lines here meanwhile", errContended, note.Short(c.Commit))
		}
	}
	if is, err := s.madeBy(ctx, local, s.message(summary(changes), ""), parents); err != nil || is {
		return local, err
	}
	t, err := s.openTree(tree)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return s.writeCommit(ctx, t, &git.ObjectWriter{R: s.repo}, summary(changes), parents)
}

// push runs git push and sorts its answers: errContended if another try may
// do, errRefused if the remote does not want it.
func (s *Store) push(ctx context.Context, remote string, options []string, refspecs ...string) error {
	out, err := s.runPush(ctx, remote, options, refspecs...)
	return pushError(remote, "", out, err)
}

// runPush pushes commits to refs of their full names, COMMIT:REF or :REF to delete it.
func (s *Store) runPush(ctx context.Context, remote string, options []string, refspecs ...string) (string, error) {
	if s.shadowed.Load() {
		return s.pushExactly(ctx, remote, options, refspecs)
	}
	out, err := s.gitPush(ctx, remote, options, refspecs)
	if !shadowed(out, err, refspecs) {
		return out, err
	}
	s.shadowed.Store(true)
	s.warn(fmt.Sprintf("%s has a tag or branch that is named like a ref of the notes; it is ignored: `git ls-remote %s '*/%s*'` shows it", remote, remote, s.ref))
	return s.pushExactly(ctx, remote, options, refspecs)
}

func (s *Store) gitPush(ctx context.Context, remote string, options, refspecs []string) (string, error) {
	args := append(append(s.pushArgs(remote), options...), s.pushTarget(ctx, remote))
	return s.networkWith(ctx, s.pushSettings(remote), append(args, refspecs...)...)
}

// settle removes the spool refs that were folded in, and the journal files
// whose lines are all in a tip that was pushed. What it cannot do now the next
// sync does.
func (s *Store) settle(ctx context.Context, remote string, tips remoteTips) {
	if len(tips.spool) > 0 {
		var leases, deletes []string
		for _, ref := range slices.Sorted(maps.Keys(tips.spool)) {
			leases = append(leases, "--force-with-lease="+ref+":"+tips.spool[ref].String())
			deletes = append(deletes, ":"+ref)
		}
		_ = s.push(ctx, remote, leases, deletes...)
	}
	if pushed, tree, err := s.tip(s.tracking(remote)); err == nil && !pushed.IsZero() {
		s.compact(s.journal, tree, 0)
	}
	s.tidyLocal()
}

// compact removes the journal files that are not needed any more: all of their
// lines are in the notes of the tree, and nothing was added for the given time.
func (s *Store) compact(of *journal.Journal, tree plumbing.Hash, age time.Duration) {
	files, err := of.Files()
	if err != nil {
		return
	}
	t, err := s.openTree(tree)
	if err != nil {
		return
	}
	for i := range files {
		f := &files[i]
		if age > 0 && time.Since(f.Mod) < age {
			continue
		}
		if of.Read(f, nil) != nil || f.Damaged > 0 {
			continue
		}
		lines := map[plumbing.Hash][]string{}
		for _, e := range f.Entries {
			lines[e.Commit] = append(lines[e.Commit], e.Line)
		}
		if changes, err := s.missing(t, lines); err == nil && len(changes) == 0 {
			_ = of.Remove(*f)
		}
	}
}

// journalAge is how long a journal is kept where there is no remote to hold a
// second copy of its lines.
const journalAge = 7 * 24 * time.Hour

// Tidy is what Push does with the journal, for repositories without a remote:
// files whose lines the local tip has had for a week are removed.
func (s *Store) Tidy() {
	if s.readOnly != nil {
		return
	}
	if tip, tree, err := s.tip(s.ref); err == nil && !tip.IsZero() {
		s.compact(s.journal, tree, journalAge)
	}
	s.tidyLocal()
}
