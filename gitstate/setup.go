package gitstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Setup configures the repository so that plain git shows the notes and brings
// them: a fetch refspec to the tracking ref, and notes.displayRef. It says
// what it changed; undo takes it back. With choose, later commands use this remote.
//
// git log shows the tracking ref where there is a remote, since that is what
// plain `git fetch` moves; it must not be made to move the notes themselves,
// as it would overwrite records that were not pushed.
func (r Remote) Setup(ctx context.Context, choose, undo bool) ([]string, error) {
	s, remote := r.store, r.name
	display := s.ref
	type entry struct{ key, value string }
	var entries []entry
	if remote != "" {
		// Globs, for as long as the remote has no notes: git fetch fails on a ref
		// that is not there, and git log warns of it.
		track := s.tracking(remote)
		entries = append(entries, entry{"remote." + remote + ".fetch", "+" + s.ref + "*:" + track + "*"})
		display = track[:len(track)-1] + "[" + track[len(track)-1:] + "]"
	}
	entries = append(entries, entry{"notes.displayRef", display})
	if choose {
		entries = append(entries, entry{"tmnotes.remote", remote})
	}
	var changed []string
	for _, e := range entries {
		out, err := s.repo.Git(ctx, nil, "config", "--local", "--get-all", e.key)
		var ge *git.Error
		if err != nil && !(errors.As(err, &ge) && ge.Code == 1) {
			return changed, err
		}
		has := slices.Contains(strings.Split(out, "\n"), e.value)
		switch {
		case has && undo:
			_, err = s.repo.Git(ctx, nil, "config", "--local", "--fixed-value", "--unset-all", e.key, e.value)
			changed = append(changed, fmt.Sprintf("git config: removed %s = %s", e.key, e.value))
		case !has && !undo:
			_, err = s.repo.Git(ctx, nil, "config", "--local", "--add", e.key, e.value)
			changed = append(changed, fmt.Sprintf("git config: %s = %s", e.key, e.value))
		default:
			err = nil
		}
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}
