package project

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// WorkTreeAt makes a work tree of a commit in a folder or, where there is one already, has the files of the
// commit be as they are in it; what git does not track stays. made says that it was not there.
// Who is killed meanwhile leaves one that the next call mends, or makes again.
func (p *Project) WorkTreeAt(ctx context.Context, commit, dir string) (made bool, err error) {
	if p.isWorkTree(ctx, commit, dir) {
		if _, err := (workTree{dir: dir}).git(ctx, "reset", "--hard", "--quiet"); err == nil {
			return false, nil
		}
	}
	if err := p.RemoveWorkTree(ctx, dir); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return false, err
	}
	// A hook is for the work trees of people.
	_, err = p.top().git(ctx, "-c", "core.hooksPath="+os.DevNull, "worktree", "add", "--force", "--detach", dir, commit)
	if err != nil {
		return false, fmt.Errorf("making a work tree of %.12s: %w", commit, err)
	}
	return true, nil
}

// isWorkTree reports whether a folder is the top of a work tree of a commit.
func (p *Project) isWorkTree(ctx context.Context, commit, dir string) bool {
	if info, err := os.Lstat(filepath.Join(dir, ".git")); err != nil || info.IsDir() {
		return false // git would look further up
	}
	head, err := workTree{dir: dir}.head(ctx)
	return err == nil && head == commit
}

// RemoveWorkTree removes a work tree with all that is in it, if there is one.
func (p *Project) RemoveWorkTree(ctx context.Context, dir string) error {
	if _, err := p.top().git(ctx, "worktree", "remove", "--force", "--force", dir); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the work tree %s: %w", dir, err)
	}
	_, _ = p.top().git(ctx, "worktree", "remove", "--force", "--force", dir) // git may know of it
	return nil
}
