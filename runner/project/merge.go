package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/runner"
)

// A Merge is what merging HEAD into another commit comes to. The repository's refs, index, objects
// and work tree are left as they are: what git makes on the way lies in temporary folders.
//
// No commit is made: whatever somebody makes of the merge, it has this tree (but for a rebase of
// commits that undo each other), and is newer than all that is deployed.
type Merge struct {
	Base, Head string // commits
	Contained  bool   // Base has Head already
	Before     *Version
	After      *Version
	p          *Project
	git        workTree // with the objects of the merge
	tree       string   // after the merge: HEAD, or a tree
	folders    []string
}

// ErrConflict is wrapped by the error of [Project.Merge] for a merge that git cannot make by itself.
var ErrConflict = errors.New("the merge conflicts")

// Merge finds out what merging HEAD into a revision comes to. Who is done with it closes it.
func (p *Project) Merge(ctx context.Context, base string) (m *Merge, err error) {
	m = &Merge{p: p, git: p.top()}
	if m.Head, err = p.top().head(ctx); err != nil {
		return nil, err
	}
	if m.tree, m.Base, err = m.Head, "", nil; !strings.HasPrefix(base, "-") {
		out, err := p.top().git(ctx, "rev-parse", "--verify", "--quiet", base+"^{commit}")
		if m.Base = strings.TrimSpace(string(out)); ctx.Err() != nil {
			return nil, err
		}
	}
	if m.Base == "" {
		return nil, fmt.Errorf("the base %s is not in this clone; `git fetch` may bring it (in CI: check out the whole history), --base REV names another one", base)
	}
	common, err := p.top().git(ctx, "merge-base", m.Base, m.Head)
	var failed *exec.ExitError
	switch at := strings.TrimSpace(string(common)); {
	case errors.As(err, &failed) && failed.ExitCode() == 1:
		return nil, fmt.Errorf("HEAD and %s have no commit in common in this clone; if it is shallow, fetch the whole history: git fetch --unshallow", base)
	case err != nil:
		return nil, err
	case at == m.Head:
		m.Contained = true
	case at != m.Base:
		err = m.make(ctx, base)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close removes what is left of the merge.
func (m *Merge) Close() {
	for _, dir := range m.folders {
		_ = os.RemoveAll(dir)
	}
}

// folder is a new temporary one.
func (m *Merge) folder() (string, error) {
	dir, err := os.MkdirTemp("", "tmnotes-merge-")
	if err != nil {
		return "", err
	}
	m.folders = append(m.folders, dir)
	return filepath.EvalSymlinks(dir)
}

// make has git merge the two, with its objects in a folder of their own, as git-receive-pack(1)
// has those of a push that is not accepted yet.
func (m *Merge) make(ctx context.Context, base string) error {
	dir, err := m.folder()
	if err != nil {
		return err
	}
	out, err := m.git.git(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return err
	}
	const also = "GIT_ALTERNATE_OBJECT_DIRECTORIES"
	objects := strings.TrimRight(string(out), "\n")
	if strings.ContainsRune(objects, os.PathListSeparator) || strings.HasPrefix(objects, `"`) {
		objects = strconv.Quote(objects)
	}
	if others := runner.Getenv(m.git.command(ctx).Environ(), also); others != "" {
		objects += string(os.PathListSeparator) + others
	}
	m.git.objects = []string{"GIT_OBJECT_DIRECTORY=" + dir, also + "=" + objects}
	cmd := m.git.command(ctx, "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", m.Base, m.Head)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	tree, rest, _ := strings.Cut(string(out), "\x00")
	var failed *exec.ExitError
	switch {
	case err == nil:
		m.tree = tree
		return nil
	case !errors.As(err, &failed) || ctx.Err() != nil:
		return fmt.Errorf("git merge-tree: %w", cmp.Or(context.Cause(ctx), err))
	case failed.ExitCode() == 129: // git 2.38 was the first with --write-tree
		version, _ := m.git.git(ctx, "version")
		return fmt.Errorf("HEAD and %s have to be merged, for which this git is too old (%s, 2.38 is needed); update git, or merge %s into the branch first", base, strings.TrimSpace(string(version)), base)
	case failed.ExitCode() == 1:
		names := strings.Split(strings.Trim(rest, "\x00"), "\x00")
		return fmt.Errorf("%w: HEAD and %s both change %s; merge %s into the branch, resolve that, and try again: git merge %s", ErrConflict, base, firstFew(slices.Compact(names)), base, base)
	}
	return fmt.Errorf("git merge-tree: %w%s", err, lastLine([]byte(stderr.String())))
}

// IntroducedBefore is [Project.Introduced] of a trigger that the base has.
func (m *Merge) IntroducedBefore(ctx context.Context, tr Trigger) (commit, parent string, err error) {
	return m.p.introduced(ctx, m.Base, tr)
}

// Introduced is [Project.Introduced] of a trigger that is there after the merge: a commit, or
// the tree that the merge makes. What the merge brings is introduced by it as a whole, as by a merge commit or a
// squashed one; a rebased or fast-forwarded branch has its commits one by one.
func (m *Merge) Introduced(ctx context.Context, tr Trigger) (commit, parent string, err error) {
	if slices.ContainsFunc(m.Before.Triggers[tr.Stack], func(was Trigger) bool { return was.ID == tr.ID }) {
		return m.IntroducedBefore(ctx, tr)
	}
	return m.After.Inputs.Commit, m.Base, nil
}
