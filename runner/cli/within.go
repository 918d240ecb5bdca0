package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Files whose places the repository chooses, or could lead elsewhere by a link: a
// branch that is checked out must not have anything written outside of the work tree,
// and nothing into .git, whose hooks are executed.

// checkWithin says what is wrong with a file that is to be written below a folder.
func checkWithin(top, file string) error {
	if !filepath.IsLocal(file) {
		return fmt.Errorf("%s is outside of the work tree; name a file in it, relative to its top, or use --report", file)
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return err
	}
	defer root.Close()
	return checkPath(root, file)
}

// checkPath refuses links on the way to a file, and git's own folders.
func checkPath(root *os.Root, file string) error {
	at := ""
	for _, part := range strings.Split(filepath.ToSlash(filepath.Clean(file)), "/") {
		if at = filepath.Join(at, part); isGitDir(part) {
			return fmt.Errorf("%s is inside %s, which belongs to git", file, at)
		}
		info, err := root.Lstat(at)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("%s is a symbolic link, and tmnotes does not write through links", at)
		}
	}
	return nil
}

// isGitDir tells .git, in the ways of writing it that some file systems take for it
// (git's own is_hfs_dotgit and is_ntfs_dotgit).
func isGitDir(name string) bool {
	name = strings.ToLower(strings.TrimRight(name, ". "))
	name, _, _ = strings.Cut(name, ":")
	return name == ".git" || name == "git~1" || strings.Map(visible, name) == ".git"
}

func visible(r rune) rune {
	if r > 0x7f {
		return -1
	}
	return r
}

// writeWithin is writeFile for a file below a folder that it must not leave.
func writeWithin(top, file string, write func(io.Writer) error) error {
	if err := checkWithin(top, file); err != nil {
		return err
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return err
	}
	defer root.Close()
	made := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+"."+rand.Text()[:8])
	f, err := root.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = root.Rename(made, file)
	}
	if err != nil {
		_ = root.Remove(made)
	}
	return err
}

// openFolder makes a folder and opens it. In the work tree no link leads to it.
func openFolder(workTree, dir string) (*os.Root, error) {
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, dir); err == nil && filepath.IsLocal(rel) {
			if real, err := filepath.EvalSymlinks(here); err == nil {
				dir = filepath.Join(real, rel) // as git sees it
			}
		}
	}
	if rel, err := filepath.Rel(workTree, dir); err == nil && workTree != "" && rel != "." && filepath.IsLocal(rel) {
		top, err := os.OpenRoot(workTree)
		if err != nil {
			return nil, err
		}
		defer top.Close()
		if err := checkPath(top, rel); err != nil {
			return nil, err
		}
		if err := top.MkdirAll(rel, 0o777); err != nil {
			return nil, err
		}
		return top.OpenRoot(rel)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// createIn makes a file that is not there yet, and no link either.
func createIn(root *os.Root, name string, content []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
