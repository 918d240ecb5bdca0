package gitstate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// claimChange is one ref of a push; a zero new one removes it.
type claimChange struct {
	ref      string
	old, new plumbing.Hash
}

// changeClaims is pushClaims of as many as there are. What belongs together is in
// one push. Unless atomic, it goes on with what is left where some are contended.
func (s *Store) changeClaims(ctx context.Context, remote string, atomic bool, groups [][]claimChange) error {
	var failed error
	for part := range pushes(groups) {
		switch err := s.pushClaims(ctx, remote, atomic, part); {
		case !atomic && errors.Is(err, errContended):
			failed = err
		case err != nil:
			return err
		}
	}
	return failed
}

// claimsAtOnce is of how many claims one push is, with two refs of 300 bytes each on its
// command line.
var claimsAtOnce = map[bool]int{false: 500, true: 40}[runtime.GOOS == "windows"]

// pushes divides what is to be changed into as many pushes as command lines hold.
func pushes(groups [][]claimChange) func(yield func([]claimChange) bool) {
	limit := 2 * claimsAtOnce
	return func(yield func([]claimChange) bool) {
		var part []claimChange
		for i, g := range groups {
			part = append(part, g...)
			if i+1 == len(groups) || len(part)+len(groups[i+1]) > limit {
				if len(part) > 0 && !yield(part) {
					return
				}
				part = nil
			}
		}
	}
}

// pushClaims changes claims on the remote, all or, unless atomic, those that are
// as they are thought to be. errContended: some are not. ErrClaims: the remote
// does not take them.
func (s *Store) pushClaims(ctx context.Context, remote string, atomic bool, changes []claimChange) error {
	var options, refspecs []string
	for _, c := range changes {
		from := ""
		if !c.new.IsZero() {
			from = c.new.String()
		}
		refspecs = append(refspecs, from+":"+c.ref)
		// Where there is to be nothing, a push that is not forced does as well, and git
		// compares each lease with each ref of the remote.
		if !c.old.IsZero() {
			options = append(options, "--force-with-lease="+c.ref+":"+c.old.String())
		}
	}
	if atomic && len(changes) > 1 {
		options = append(options, "--atomic")
	}
	out, err := s.runPush(ctx, remote, options, refspecs...)
	if err == nil {
		return nil
	}
	var ge *git.Error
	if errors.As(err, &ge) && strings.Contains(ge.Stderr, "does not support --atomic") {
		return fmt.Errorf("%w by %s: it cannot change several refs as one (git push --atomic)", ErrClaims, remote)
	}
	contended := false
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if f[0] != "!" {
			continue
		}
		// Of an atomic push that fails git blames the others, too.
		switch why := f[len(f)-1]; {
		case strings.Contains(why, "atomic "), strings.Contains(why, "(needs force)"):
			contended = true
		default:
			if err := pushError(remote, "", line, err); !errors.Is(err, errContended) {
				return fmt.Errorf("%w: %w", ErrClaims, err)
			}
			contended = true
		}
	}
	if contended {
		return errContended
	}
	if err = pushError(remote, "", out, err); errors.Is(err, errRefused) {
		return fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return err
}
