package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// mend puts the notes ref together again where a crash has left an empty file of it, or
// one that names a commit which is not here: from what its reflog last named, and, as
// for a ref that is missing, from the refs that were fetched and the journal. A fetched
// ref that is broken is moved aside after that, and comes with the next fetch.
func (s *Store) mend(ctx context.Context) error {
	if s.readOnly != nil {
		return nil
	}
	refs := []string{s.ref}
	for _, remote := range s.repo.Remotes {
		refs = append(refs, s.tracking(remote))
	}
	for _, ref := range refs {
		why, err := s.broken(ref)
		if err == nil && why != "" {
			err = s.mendRef(ctx, ref, why)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// broken says what is wrong with the file of a ref, "" if nothing is.
func (s *Store) broken(ref string) (string, error) {
	file, err := os.ReadFile(s.repo.RefPath(ref))
	if err != nil {
		return "", nil // it is packed, missing, or for git to complain of
	}
	says := strings.TrimSpace(string(file))
	switch {
	case strings.HasPrefix(says, "ref: "):
		return "", nil
	case !plumbing.IsHash(says):
		return fmt.Sprintf("its file held %q", shorten(says)), nil
	}
	if _, err = s.repo.Commit(says); errors.Is(err, git.ErrMissing) {
		return "it named " + note.Short(says) + ", which is not here", nil
	}
	return "", nil // what cannot be read is said by who reads it
}

func (s *Store) mendRef(ctx context.Context, ref, why string) error {
	unlock, err := git.Lock(ctx, filepath.Join(s.private, "mend.lock"), s.warn)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err := s.broken(ref); err != nil || now != why {
		return err // somebody was quicker
	}
	last := plumbing.ZeroHash
	if ref == s.ref {
		if last = s.lastInReflog(ref); last.IsZero() && !s.fetchedSomething() {
			return nil // the journal alone does not go back far enough: who reads it says what is wrong
		}
	}
	aside := filepath.Join(s.private, "broken-"+ulid.Make().String())
	if err := os.Rename(s.repo.RefPath(ref), aside); err != nil {
		return fmt.Errorf("moving the broken %s aside: %w", ref, err)
	}
	if ref != s.ref {
		return nil
	}
	s.warn(fmt.Sprintf("%s was broken (%s); repaired from its reflog, fetched notes and the journal", ref, why))
	packed, err := s.repo.Resolve(ref)
	if err != nil {
		return err
	}
	if !last.IsZero() && last != packed {
		err = s.repo.SetRef(ctx, ref, "tmnotes: put together again", last, packed)
		if errors.Is(err, git.ErrMoved) {
			err = nil
		}
	}
	return err
}

// fetchedSomething reports whether there are notes that were fetched from a remote, or
// pushed: the journal has what they lack.
func (s *Store) fetchedSomething() bool {
	return slices.ContainsFunc(s.repo.Remotes, func(remote string) bool {
		tip, _, err := s.tip(s.tracking(remote))
		return err == nil && !tip.IsZero()
	})
}

// lastInReflog is the newest commit that a ref stood on and that is here.
func (s *Store) lastInReflog(ref string) plumbing.Hash {
	log, _ := os.ReadFile(filepath.Join(s.repo.CommonDir, "logs", filepath.FromSlash(ref)))
	for _, line := range slices.Backward(strings.Split(string(log), "\n")) {
		f := strings.Fields(line)
		if len(f) < 2 || !plumbing.IsHash(f[1]) || plumbing.NewHash(f[1]).IsZero() {
			continue
		}
		if c, err := s.repo.Commit(f[1]); err == nil {
			if _, err := s.repo.Read(c.TreeHash, plumbing.TreeObject); err == nil {
				return c.Hash
			}
		}
	}
	return plumbing.ZeroHash
}
