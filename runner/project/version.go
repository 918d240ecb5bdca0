package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tmnotes/tmnotes/runner/command"
)

// A Version is the project as it is in a tree that need not be the one that is checked out.
type Version struct {
	*Project // its files are those of the version, as far as they have a say in what is deployed
	Inputs   *Inputs
	Triggers map[string][]Trigger
	Reader   *command.Reader
}

// Read reads the project before and after the merge. Where only such files differ from those on
// the disk as Terramate does not look into, it serves for both; else it is loaded anew
// from a temporary folder, which takes as long as the project is large.
func (m *Merge) Read(ctx context.Context) (err error) {
	if m.After, err = m.version(ctx, m.tree); err != nil {
		return fmt.Errorf("after the merge: %w", err)
	}
	if m.Before, err = m.version(ctx, m.Base); err != nil {
		return fmt.Errorf("before the merge: %w", err)
	}
	return nil
}

func (m *Merge) version(ctx context.Context, rev string) (v *Version, err error) {
	clean, err := m.p.Clean()
	if err != nil {
		return nil, err
	}
	changed, err := m.git.compare(ctx, m.Head, rev)
	if err != nil {
		return nil, err
	}
	if clean && m.p.servesFor(changed) {
		v, err = m.here(ctx, rev, changed)
	}
	if err == nil && v == nil {
		v, err = m.checkedOut(ctx, rev)
	}
	if err != nil {
		return nil, err
	}
	v.Inputs.git = m.git
	v.Triggers, err = m.git.triggers(ctx, rev)
	return v, err
}

// A change is a path that is not the same in two trees.
type change struct {
	path    string
	was, is treeEntry
}

// compare are the changes from one tree to another.
func (top workTree) compare(ctx context.Context, from, to string) (changes []change, err error) {
	if from == to {
		return nil, nil
	}
	out, err := top.git(ctx, "diff-tree", "-r", "-z", "--no-renames", "--raw", "--full-index", from, to)
	if err != nil {
		return nil, err
	}
	text := string(out)
	for text != "" {
		// ":<mode> <mode> <object> <object> <status>\0<path>\0"
		head, rest, _ := strings.Cut(text, "\x00")
		name, after, ok := strings.Cut(rest, "\x00")
		f := strings.Fields(strings.TrimPrefix(head, ":"))
		if !ok || len(f) != 5 {
			return nil, fmt.Errorf("git diff-tree: cannot read its output %q", head)
		}
		changes = append(changes, change{"/" + name, treeEntry{f[0], f[2]}, treeEntry{f[1], f[3]}})
		text = after
	}
	return changes, nil
}

const noFile = "000000" // the mode of what is not there

// servesFor reports whether Terramate would see the same stacks, order and environments if files
// were changed so: if it looks into none of them. In doubt it does.
func (p *Project) servesFor(changed []change) bool {
	if len(changed) == 0 {
		return true
	}
	for _, c := range changed {
		name := path.Base(c.path)
		switch ext := path.Ext(name); {
		case c.was.mode == modeLink || c.is.mode == modeLink || c.was.mode == modeGitlink || c.is.mode == modeGitlink:
			return false
		case strings.HasPrefix(c.path, "/.tmtriggers/"), isCode(name), name == lockFile:
		case ext != ".md" && ext != ".tpl" && ext != ".tftpl":
			return false // .tm, .hcl, .tmskip, what may be a file of variables, an import, …
		}
	}
	env := p.hasRunEnv()
	for _, tree := range p.root().Tree().AsList() {
		if tree.IsTerragruntModule() || env && newEnvScope(tree).calls {
			return false // it may read any file
		}
	}
	return true
}

// here is a version whose stacks are those that are loaded; nil where the code on the disk
// cannot stand for it.
func (m *Merge) here(ctx context.Context, rev string, changed []change) (*Version, error) {
	p := m.p
	v := &Version{Project: p, Reader: command.NewReader(p.Root(), Tracked(ctx, p.Root()))}
	head, err := p.headCode(ctx, m.Head)
	if err != nil {
		return nil, err
	}
	c := head
	if len(changed) > 0 {
		if c, err = m.codeHere(ctx, head, rev, changed); err != nil || c == nil {
			return nil, err
		}
	}
	v.Inputs, err = p.inputsOf(ctx, rev, c)
	if errors.Is(err, errNotCheckedOut) {
		return nil, nil
	}
	if err == nil && c == head {
		c.keep()
	}
	return v, err
}

// headCode is the code of HEAD, read once.
func (p *Project) headCode(ctx context.Context, head string) (c *code, err error) {
	if p.head == nil {
		p.head, err = p.codeAt(ctx, head)
	}
	return p.head, err
}

// codeHere is the code of a version, as it is in HEAD where it did not change; nil where it declares
// other backends, which are read from the disk.
func (m *Merge) codeHere(ctx context.Context, head *code, rev string, changed []change) (*code, error) {
	t, err := m.git.readTree(ctx, rev)
	if err != nil {
		return nil, err
	}
	c := &code{root: head.root, work: head.work, commit: rev, t: t, known: map[string]string{}, absent: map[string]bool{}, content: map[string][]byte{}}
	differs := map[string]bool{} // folders
	var ids []string
	for _, x := range changed {
		c.absent[x.path] = x.is.mode == noFile
		differs[path.Dir(x.path)] = true
		for _, e := range []treeEntry{x.was, x.is} {
			if e.mode != noFile && isCode(path.Base(x.path)) {
				ids = append(ids, e.id)
			}
		}
	}
	for _, link := range t.links {
		if isCode(path.Base(link)) {
			differs[path.Dir(link)] = true
			if _, e, _ := t.resolve(link); e.id != "" && e.mode != modeTree && e.mode != modeGitlink {
				ids = append(ids, e.id)
			}
		}
	}
	if err := m.git.readBlobs(ctx, ids, func(i int, body []byte) error {
		c.content[ids[i]] = append([]byte{}, body...)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, x := range changed {
		if isCode(path.Base(x.path)) && !command.SameBackend(x.path, c.content[x.was.id], c.content[x.is.id]) {
			return nil, nil
		}
	}
	head.mu.Lock()
	defer head.mu.Unlock()
	maps.Copy(c.known, head.known)
	c.calls = make(map[string]codeCalls, len(head.calls))
	for dir, calls := range head.calls {
		if !differs[dir] {
			c.calls[dir] = calls
		}
	}
	return c, nil
}

// checkedOut is a version that is loaded from a folder of its own, in which also lies what git
// ignores in the work tree: what Terraform initialised, and code that is generated.
func (m *Merge) checkedOut(ctx context.Context, rev string) (*Version, error) {
	dir, err := m.folder()
	if err != nil {
		return nil, err
	}
	t, err := m.git.readTree(ctx, rev)
	if err != nil {
		return nil, err
	}
	if err := m.git.checkout(ctx, t, dir); err != nil {
		return nil, fmt.Errorf("writing the files of %.12s to %s: %w", rev, dir, err)
	}
	if err := m.p.top().linkIgnored(ctx, dir); err != nil {
		return nil, err
	}
	wd := dir
	if rel, err := filepath.Rel(m.p.Root(), m.p.wd); err == nil {
		wd = filepath.Join(dir, rel)
	}
	if err := os.MkdirAll(wd, 0o777); err != nil {
		return nil, err
	}
	then, err := Load(ctx, Options{Dir: wd, Terragrunt: true, Environ: m.p.environ})
	if err != nil {
		return nil, err
	}
	if then.Root() != dir {
		return nil, fmt.Errorf("the project as it is at %.12s cannot be loaded where GIT_WORK_TREE is set; unset it", rev)
	}
	c := newCode(dir, rev, t, m.p.memory)
	c.work = dir
	in, err := then.inputsOf(ctx, rev, c)
	return &Version{Project: then, Inputs: in, Reader: command.NewReader(dir, func(file string) (bool, error) {
		rel, err := filepath.Rel(dir, file)
		return t.entries["/"+filepath.ToSlash(rel)].mode != "", err
	})}, err
}

// linkIgnored puts links to what git ignores in the work tree into a folder with the files of
// another commit, where that has something beside it. Where links cannot be made, it is as in a new clone.
func (top workTree) linkIgnored(ctx context.Context, dir string) error {
	out, err := top.git(ctx, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	if err != nil {
		return err
	}
	to, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	for name := range strings.SplitSeq(string(out), "\x00") {
		if name = strings.TrimSuffix(name, "/"); name != "" {
			_ = to.Symlink(top.host("/"+name), filepath.FromSlash(name))
		}
	}
	return nil
}
