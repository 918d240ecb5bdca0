package gitstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// git looks for the destination of a push as it does for any name: where the remote
// has a tag refs/tags/refs/notes/tmnotes, refs/notes/tmnotes is that tag, or is
// ambiguous. Only a pattern is taken as it stands (remote.c, match_push_refs); its
// other side is refs of ours, which are made for the one push.

// pushRefs are those. What a process that was killed left there is removed later.
const pushRefs = "refs/tmnotes/push/"

// shadowed reports whether a push went to, or was kept away by, something other than the refs
// that were meant.
func shadowed(out string, err error, refspecs []string) bool {
	if ge := (*git.Error)(nil); errors.As(err, &ge) && strings.Contains(ge.Stderr, "dst refspec ") && strings.Contains(ge.Stderr, " matches more than one") {
		return true
	}
	meant := map[string]bool{}
	for _, refspec := range refspecs {
		_, to, _ := strings.Cut(refspec, ":")
		meant[to] = true
	}
	for line := range strings.Lines(out) {
		if to := destination(line); to != "" && !meant[to] {
			return true
		}
	}
	return false
}

// destination is the ref on the remote that a line of git push --porcelain is about.
func destination(line string) string {
	if f := strings.SplitN(line, "\t", 3); len(f) == 3 {
		_, to, _ := strings.Cut(f[1], ":")
		return to
	}
	return ""
}

// pushExactly is a push whose destinations are not looked for.
func (s *Store) pushExactly(ctx context.Context, remote string, options, refspecs []string) (string, error) {
	s.sweepPushRefs(ctx)
	base := pushRefs + ulid.MustNew(ulid.Timestamp(time.Now()), ulid.DefaultEntropy()).String() + "/"
	var make, remove strings.Builder
	var updates, deletes []string
	for i, refspec := range refspecs {
		refspec, force := strings.CutPrefix(refspec, "+")
		from, to, _ := strings.Cut(refspec, ":")
		_, size := utf8.DecodeLastRuneInString(to)
		last := to[len(to)-size:]
		pattern := base + strconv.Itoa(i) + "/*:" + to[:len(to)-size] + "*"
		if force {
			pattern = "+" + pattern
		}
		if from == "" {
			// What else begins so would be deleted as well.
			if len(to)-strings.LastIndexByte(to, '/') <= ulid.EncodedSize {
				return "", fmt.Errorf("%s has a tag or branch with the name of %s, and git cannot tell which to delete; delete the tag or branch first", remote, to)
			}
			deletes = append(deletes, pattern)
			continue
		}
		local := base + strconv.Itoa(i) + "/" + last
		fmt.Fprintf(&make, "create %s %s\n", local, from)
		fmt.Fprintf(&remove, "delete %s %s\n", local, from)
		updates = append(updates, pattern)
	}
	if make.Len() > 0 {
		defer func() {
			_, _ = s.repo.Git(context.WithoutCancel(ctx), strings.NewReader(remove.String()), "update-ref", "--stdin")
		}()
		if _, err := s.repo.Git(ctx, strings.NewReader(make.String()), "update-ref", "--stdin"); err != nil {
			return "", err
		}
	}
	var out string
	if len(updates) > 0 {
		var err error
		if out, err = s.gitPush(ctx, remote, options, updates); err != nil {
			return out, err
		}
	}
	if len(deletes) > 0 {
		more, err := s.gitPush(ctx, remote, append(options[:len(options):len(options)], "--prune"), deletes)
		return out + more, err
	}
	return out, nil
}

// sweepPushRefs removes what killed processes left behind.
func (s *Store) sweepPushRefs(ctx context.Context) {
	refs, err := s.repo.Refs(ctx, pushRefs)
	if err != nil {
		return
	}
	var old strings.Builder
	for ref := range refs {
		name, _, _ := strings.Cut(strings.TrimPrefix(ref, pushRefs), "/")
		if id, err := ulid.ParseStrict(name); err == nil && time.Since(ulid.Time(id.Time())) > 24*time.Hour {
			old.WriteString("delete " + ref + "\n")
		}
	}
	if old.Len() > 0 {
		_, _ = s.repo.Git(ctx, strings.NewReader(old.String()), "update-ref", "--stdin")
	}
}
