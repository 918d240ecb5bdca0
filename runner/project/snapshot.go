package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// InputsAt are the inputs of all stacks at any commit that is here, which need not
// be HEAD: the commit's files are written to a temporary folder and the project is
// loaded from there, as it was then. That takes as long as the project is large,
// so ask once for a commit.
//
// An error says that the project could not be loaded as it was then; a stack
// whose own inputs cannot be known is one of [Inputs.Digest].
//
// Code that git ignores is not in a commit: stacks have no parts of that kind.
func (p *Project) InputsAt(ctx context.Context, commit string) (*Inputs, error) {
	return p.inputsFrom(ctx, commit, "")
}

// inputsFrom is [Project.InputsAt], with the code that is not in the commit as it
// is below work.
func (p *Project) inputsFrom(ctx context.Context, commit, work string) (*Inputs, error) {
	var in *Inputs
	err := p.at(ctx, commit, func(then *Project, t *commitTree) (err error) {
		c := newCode(then.Root(), commit, t, p.memory)
		c.work = work
		if in, err = then.inputsOf(ctx, commit, c); err == nil {
			in.git = p.top()
		}
		return err
	})
	return in, err
}

// at has the project as it was at a commit, in a temporary folder that lasts as long as use runs.
func (p *Project) at(ctx context.Context, commit string, use func(then *Project, t *commitTree) error) error {
	t, err := p.top().readTree(ctx, commit)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tmnotes-commit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if err := p.top().checkout(ctx, t, dir); err != nil {
		return fmt.Errorf("writing the files of %.12s to %s: %w", commit, dir, err)
	}
	then, err := Load(ctx, Options{Dir: dir, Terragrunt: true, Environ: p.environ})
	if err != nil {
		return fmt.Errorf("the project as it was at %.12s: %w", commit, err)
	}
	if then.Root() != dir {
		return fmt.Errorf("the project as it was at %.12s cannot be loaded where GIT_WORK_TREE is set; unset it", commit)
	}
	return use(then, t)
}

// checkout writes the files of a commit below dir, as they are in the repository:
// no filter of gitattributes(5) is run, some of which ask a network. It makes dir a
// repository, since that is how Terramate finds the top of a project.
func (top workTree) checkout(ctx context.Context, t *commitTree, dir string) error {
	if _, err := (workTree{dir: top.dir}).git(ctx, "init", "--quiet", "--template=", dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // whatever a tree says, nothing is written elsewhere
	if err != nil {
		return err
	}
	defer root.Close()
	var files, ids []string
	made := map[string]bool{"/": true}
	for _, file := range t.files {
		if strings.HasPrefix(strings.ToLower(file), "/.git/") {
			return fmt.Errorf("the commit has a file %s, which git does not allow", file)
		}
		to := filepath.FromSlash(strings.TrimPrefix(file, "/"))
		if parent := path.Dir(file); !made[parent] {
			if err := root.MkdirAll(filepath.Dir(to), 0o777); err != nil {
				return err
			}
			made[parent] = true
		}
		switch e := t.entries[file]; e.mode {
		case modeGitlink:
			err = root.Mkdir(to, 0o777)
		case modeLink:
			err = linkAsGit(root, t.targets[file], to)
		default:
			files, ids = append(files, to), append(ids, e.id)
		}
		if err != nil {
			return err
		}
	}
	return top.readBlobs(ctx, ids, func(i int, body []byte) error { return root.WriteFile(files[i], body, 0o666) })
}

// linkAsGit makes a symbolic link, or where none can be made, as without a privilege on Windows, a file that
// says where it would lead (git-config(1), core.symlinks).
func linkAsGit(root *os.Root, target, to string) error {
	if err := root.Symlink(filepath.FromSlash(target), to); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return root.WriteFile(to, []byte(target), 0o666)
}
