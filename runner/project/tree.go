package project

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// A workTree is the top folder of a project in git.
type workTree struct {
	dir     string
	objects []string // variables that say where git finds objects which the repository has not, see Merge
}

// git runs git there, without taking its index lock.
func (top workTree) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := top.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if args[0] == "-c" {
			args = args[2:]
		}
		return nil, fmt.Errorf("git %s: %w%s", args[0], err, lastLine(stderr.Bytes()))
	}
	return out, nil
}

func (top workTree) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", top.dir}, args...)...)
	if top.objects != nil {
		cmd.Env = append(cmd.Environ(), top.objects...)
	}
	return cmd
}

// head is the full name of the commit that HEAD is.
func (top workTree) head(ctx context.Context) (string, error) {
	out, err := top.git(ctx, "rev-parse", "--verify", "HEAD^{commit}")
	return strings.TrimSpace(string(out)), err
}

// The modes of git's trees that mean something here (git-fast-import(1), M).
const (
	modeTree    = "040000"
	modeLink    = "120000"
	modeGitlink = "160000"
)

// treeEntry is what a path is in a commit: its mode, and the name of its object.
type treeEntry struct{ mode, id string }

// commitTree is all that a commit holds, by project path. The top folder is
// there as "/", with a name that is no object's.
type commitTree struct {
	entries map[string]treeEntry
	project string              // a name for all that is there but trigger files
	files   []string            // paths of all that is no folder, in git's order
	code    map[string][]string // folder → names of the files of code in it
	links   []string            // paths of the symbolic links, sorted
	targets map[string]string   // what these say
}

// readTree reads a commit's tree, or of it only what is below some folders: one
// git child, two where there are links.
func (top workTree) readTree(ctx context.Context, commit string, below ...string) (*commitTree, error) {
	out, err := top.git(ctx, append([]string{"ls-tree", "-r", "-t", "-z", "--full-tree", commit, "--"}, below...)...)
	if err != nil {
		return nil, err
	}
	text := string(out)
	t := &commitTree{entries: make(map[string]treeEntry, strings.Count(text, "\x00")), code: map[string][]string{}, targets: map[string]string{}}
	whole, project := sha256.New(), sha256.New()
	for text != "" {
		line, rest, _ := strings.Cut(text, "\x00")
		text = rest
		// "<mode> <type> <object>\t<path>"
		meta, name, ok := strings.Cut(line, "\t")
		mode, object, ok2 := strings.Cut(meta, " ")
		_, id, ok3 := strings.Cut(object, " ")
		if !ok || !ok2 || !ok3 {
			return nil, fmt.Errorf("git ls-tree: cannot read its output %q", line)
		}
		file := "/" + name
		t.entries[file] = treeEntry{mode, id}
		if !strings.Contains(name, "/") {
			whole.Write([]byte(line + "\x00"))
			if name != ".tmtriggers" {
				project.Write([]byte(line + "\x00"))
			}
		}
		if mode == modeTree {
			continue
		}
		t.files = append(t.files, file)
		if mode == modeLink {
			t.links = append(t.links, file)
		}
		if base := path.Base(name); mode != modeGitlink && isCode(base) {
			dir := path.Dir(file)
			t.code[dir] = append(t.code[dir], base)
		}
	}
	t.project = hex.EncodeToString(project.Sum(nil))
	t.entries["/"] = treeEntry{modeTree, hex.EncodeToString(whole.Sum(nil))}
	slices.Sort(t.links)
	return t, top.readLinks(ctx, t)
}

// isCode reports whether Terraform or OpenTofu read a file of this name as code.
// (Terramate looks at none in JSON: stack/manager.go, hasTFExt.)
func isCode(name string) bool {
	if name[0] == '.' {
		return false
	}
	ext := path.Ext(strings.TrimSuffix(name, ".json"))
	return ext == ".tf" || ext == ".tofu"
}

// readLinks asks what the links say. It is asked of git: where links cannot be made,
// the file on the disk is not one.
func (top workTree) readLinks(ctx context.Context, t *commitTree) error {
	if len(t.links) == 0 {
		return nil
	}
	ids := make([]string, len(t.links))
	for i, link := range t.links {
		ids[i] = t.entries[link].id
	}
	return top.readBlobs(ctx, ids, func(i int, body []byte) error {
		t.targets[t.links[i]] = string(body)
		return nil
	})
}

// readBlobs hands on blobs in order, while git is still reading others. A body is
// good until got returns.
func (top workTree) readBlobs(ctx context.Context, ids []string, got func(i int, body []byte) error) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := top.command(ctx, "cat-file", "--batch", "--buffer")
	cmd.Stdin = strings.NewReader(strings.Join(ids, "\n") + "\n")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git cat-file: %w", err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	out := bufio.NewReaderSize(pipe, 1<<16)
	var body []byte
	for i, id := range ids {
		head, err := out.ReadString('\n')
		f := strings.Fields(head)
		if err != nil || len(f) != 3 || f[1] != "blob" {
			return fmt.Errorf("git cat-file: blob %s cannot be read (%q); `git fsck` tells more", id, strings.TrimSpace(head))
		}
		size, err := strconv.Atoi(f[2])
		if err != nil || size < 0 {
			return fmt.Errorf("git cat-file answered %q", head)
		}
		body = slices.Grow(body[:0], size+1)[:size+1]
		if _, err := io.ReadFull(out, body); err != nil {
			return fmt.Errorf("git cat-file ended early: %w", err)
		}
		if err := got(i, body[:size]); err != nil {
			return err
		}
	}
	return nil
}

// Where a path leads that is not in the tree.
const (
	missing = "missing"
	outside = "outside"
)

// resolve follows a project path through the tree's links, to what is there. At a
// submodule it stops: what is in there is named by the submodule's commit. via are
// the links on the way. The entry has missing or outside for a mode where it leads
// to nothing, or out of the project.
func (t *commitTree) resolve(file string) (real string, e treeEntry, via []string) {
	const most = 40 // links, as Linux has it (path_resolution(7))
	todo := strings.Split(strings.Trim(file, "/"), "/")
	real = "/"
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if real == "/" {
				return file, treeEntry{mode: outside}, via
			}
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, name)
		e, ok := t.entries[next]
		switch {
		case !ok:
			return path.Join(append([]string{next}, todo...)...), treeEntry{mode: missing}, via
		case e.mode == modeGitlink:
			return next, e, via
		case e.mode == modeLink:
			via = append(via, next)
			target := t.targets[next]
			if len(via) > most || strings.HasPrefix(target, "/") {
				return next, treeEntry{mode: outside}, via
			}
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		real = next
	}
	return real, t.entries[real], via
}

// linksBelow are the links in a folder.
func (t *commitTree) linksBelow(dir string) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	from, _ := slices.BinarySearch(t.links, prefix)
	to := from
	for to < len(t.links) && strings.HasPrefix(t.links[to], prefix) {
		to++
	}
	return t.links[from:to]
}

// namedOtherwise is an error where a folder of the work tree is not the commit's by its name, but by another one that
// the file system takes for the same: in other case, or composed in another way (git-config(1), core.ignoreCase and
// core.precomposeUnicode). Git sees no change in it, and its files are not found in the commit.
func (t *commitTree) namedOtherwise(dir string) error {
	if t.entries[dir].mode != "" {
		return nil
	}
	alike := func(name string) string { return strings.ToLower(norm.NFC.String(name)) }
	is := alike(dir)
	for name, e := range t.entries {
		if e.mode == modeTree && alike(name) == is {
			return fmt.Errorf("the commit calls it %s; rename the folder to that, or commit its new name by `git mv`", name)
		}
	}
	return nil
}
