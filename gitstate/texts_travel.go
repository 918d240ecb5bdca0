package gitstate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// How texts travel: with the notes, in the same fetch and, where notes are to
// be pushed as well, in the same push. Their ref is replaced as a whole, with a
// lease on what was merged into it, so that its old commits are gone from the
// remote as well.

// textTips are the commits of texts here and on a remote.
type textTips struct {
	ours, theirs plumbing.Hash
	err          error // why ours was not taken by the remote, if it was not
}

// mergeTexts merges what was fetched, and finds out where the local ref stands.
func (s *Store) mergeTexts(ctx context.Context, t *textTips) {
	waiting, err := s.waitingTexts(s.textsDir())
	if err == nil && s.carry {
		if err = s.carryTexts(ctx); err == nil {
			t.ours, _, err = s.tip(s.textsRef())
		}
	}
	if err == nil && (len(waiting) > 0 || t.ours != t.theirs) {
		t.ours, err = s.gatherTexts(ctx, s.textsRef(), s.textsDir(), t.theirs)
	}
	if err != nil {
		s.warn(err.Error())
		t.ours = plumbing.ZeroHash // nothing to push
	}
}

// pushWithTexts pushes a commit of notes, and the texts along with it. What
// becomes of the texts never decides on the notes: where both fail, the notes
// go again, alone.
func (s *Store) pushWithTexts(ctx context.Context, remote string, notes plumbing.Hash, t *textTips) error {
	refspec := notes.String() + ":" + s.ref
	if t.ours.IsZero() || t.ours == t.theirs || t.err != nil || s.textless.Load() {
		return s.push(ctx, remote, nil, refspec)
	}
	out, err := s.runPush(ctx, remote, s.textsLease(t), refspec, t.ours.String()+":"+s.textsRef())
	s.textsPushed(ctx, remote, t, pushError(remote, s.textsRef(), out, err))
	if err = pushError(remote, s.ref, out, err); err == nil {
		return nil
	}
	if errors.Is(err, errContended) {
		return err // the next try is without texts
	}
	return s.push(ctx, remote, nil, refspec)
}

func (s *Store) textsLease(t *textTips) []string {
	expect := ""
	if !t.theirs.IsZero() {
		expect = t.theirs.String()
	}
	return []string{"--force-with-lease=" + s.textsRef() + ":" + expect}
}

// textsPushed takes down what became of ours.
func (s *Store) textsPushed(ctx context.Context, remote string, t *textTips, err error) {
	if t.err = err; err != nil {
		return
	}
	// Where that fails, the next fetch finds out.
	_ = s.repo.SetRef(ctx, s.tracking(remote)+textsSuffix, "tmnotes: push", t.ours, t.theirs)
	t.theirs = t.ours
}

// pushTexts pushes the texts that did not go along with notes. It says so
// where it cannot, and that is all: the records are on the remote.
func (s *Store) pushTexts(ctx context.Context, remote string, t *textTips, tr *Traveled) {
	for try := range pushTries {
		if t.err != nil {
			if !errors.Is(t.err, errContended) {
				break
			}
			// Others push, or the remote takes no commit that is not on top of its own.
			if err := s.textsOnTop(ctx, remote, try, t, tr); err != nil {
				t.err = err
				break
			}
		}
		if t.ours.IsZero() || t.ours == t.theirs || s.textless.Load() {
			return
		}
		s.pushTextsOnce(ctx, remote, t, tr)
		if t.err == nil {
			return
		}
	}
	s.textless.Store(true) // not at every push of this process
	s.warn(fmt.Sprintf("%v: plans and other texts stay in this clone (they are in %s); the records are on %s", t.err, s.textsRef(), remote))
}

func (s *Store) pushTextsOnce(ctx context.Context, remote string, t *textTips, tr *Traveled) {
	err := s.push(ctx, remote, s.textsLease(t), t.ours.String()+":"+s.textsRef())
	if s.textsPushed(ctx, remote, t, err); err == nil {
		tr.Pushed = true
	}
}

// textsOnTop fetches once more, and puts our texts on top of what is there.
func (s *Store) textsOnTop(ctx context.Context, remote string, try int, t *textTips, tr *Traveled) error {
	if err := pause(ctx, backoff(try, 30*time.Millisecond, 2*time.Second)); err != nil {
		return err
	}
	tips, err := s.fetch(ctx, remote, notesAndSpool, tr)
	if err != nil {
		return err
	}
	if *t = tips.texts; t.ours == t.theirs || t.ours.IsZero() || t.theirs.IsZero() {
		return nil
	}
	_, root, err := s.tip(t.ours.String())
	if err != nil {
		return err
	}
	tip, err := s.commitTexts(ctx, &textTree{read: s.repo.Read}, root, t.theirs)
	if err != nil {
		return err
	}
	if err := s.repo.SetRef(ctx, s.textsRef(), "tmnotes: texts", tip, t.ours); err != nil {
		return err
	}
	t.ours = tip
	return nil
}
