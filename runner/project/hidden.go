package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// index lists git's index at and below some project paths, all of it without any.
func (top workTree) index(ctx context.Context, below ...string) ([]byte, error) {
	return top.git(ctx, append([]string{"ls-files", "-v", "-z", "--"}, literal(below)...)...)
}

// hidden are the files of an index that differ from it though git status does not name them, because
// git was told not to look: `git update-index --skip-worktree` and --assume-unchanged. What a sparse
// checkout leaves out is no difference.
func (top workTree) hidden(ctx context.Context, index func() ([]byte, error)) ([]string, error) {
	out, err := index()
	if err != nil {
		return nil, err
	}
	var names []string
	absent := map[string]bool{} // may be
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		if len(entry) < 3 || entry[0] == 'H' {
			continue
		}
		// "S" is skip-worktree, a small letter assume-unchanged, "s" both (git-ls-files(1)).
		if entry[0] == 'S' || entry[0] >= 'a' && entry[0] <= 'z' {
			name := string(entry[2:])
			names = append(names, name)
			absent[name] = entry[0] == 'S' || entry[0] == 's'
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return top.differing(ctx, names, absent)
}

// differing are those of files in the index, by their names, whose content on the
// disk is another one.
func (top workTree) differing(ctx context.Context, names []string, absent map[string]bool) ([]string, error) {
	index, err := top.indexed(ctx, names)
	if err != nil {
		return nil, err
	}
	var found, ask []string
	for _, name := range names {
		e := index[name]
		host := filepath.Join(top.dir, filepath.FromSlash(name))
		st, err := os.Lstat(host)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			if !absent[name] {
				found = append(found, name)
			}
		case err != nil:
			return nil, err
		case e.mode == modeGitlink:
			found = append(found, name) // what is in there, git was told not to look at
		case e.mode == modeLink && st.Mode().Type() == os.ModeSymlink:
			target, err := os.Readlink(host)
			if err != nil {
				return nil, err
			}
			if blobName([]byte(filepath.ToSlash(target)), len(e.id)) != e.id {
				found = append(found, name)
			}
		case !st.Mode().IsRegular() || strings.ContainsAny(name, "\n\""):
			found = append(found, name)
		default:
			ask = append(ask, name)
		}
	}
	ids, err := top.hashes(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, name := range ask {
		if ids[i] != index[name].id {
			found = append(found, name)
		}
	}
	return found, nil
}

// indexed are the entries of the index at some names.
func (top workTree) indexed(ctx context.Context, names []string) (map[string]treeEntry, error) {
	args := []string{"ls-files", "--stage", "-z"}
	var paths []string
	for _, name := range names {
		paths = append(paths, "/"+name)
	}
	if specs := literal(paths); len(names) < 100 && len(strings.Join(specs, " ")) < 16<<10 { // see tracked
		args = append(append(args, "--"), specs...)
	}
	out, err := top.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	index := map[string]treeEntry{}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		meta, name, _ := strings.Cut(entry, "\t")
		if f := strings.Fields(meta); len(f) == 3 {
			index[name] = treeEntry{f[0], f[1]}
		}
	}
	return index, nil
}

// hashes are the names that git would give to files, after its own filters.
func (top workTree) hashes(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	cmd := top.command(ctx, "hash-object", "--stdin-paths")
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git hash-object: %w%s", err, lastLine(stderr.Bytes()))
	}
	ids := strings.Fields(string(out))
	if len(ids) != len(names) {
		return nil, fmt.Errorf("git hash-object named %d of %d files", len(ids), len(names))
	}
	return ids, nil
}

// literal are project paths as pathspecs of git, from the top; none for all.
func literal(paths []string) []string {
	if slices.Contains(paths, "/") {
		return nil
	}
	specs := make([]string, len(paths))
	for i, file := range paths {
		specs[i] = ":(top,literal)" + strings.TrimPrefix(file, "/")
	}
	return specs
}
