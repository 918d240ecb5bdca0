package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
)

// A Version is the project as it is in a tree that need not be the one that is checked out.
type Version struct {
	*Project // its files are those of the version, as far as they have a say in what is deployed
	Inputs   *Inputs
	Triggers map[string][]Trigger
	Reader   *command.Reader

	loaded string  // the commit or tree that the Project is loaded from
	code   *code   // of that
	lacks  folders // of that, which the version has not
}

// All are all stacks of the version, see [Project.All].
func (v *Version) All() ([]runner.Stack, error) {
	all, err := v.Project.All()
	return slices.DeleteFunc(all, func(s runner.Stack) bool { return v.lacks.have(s.Path) }), err
}

// List are stacks of the version, see [Project.List].
func (v *Version) List(sel Selection) ([]Selected, error) {
	selected, err := v.Project.List(sel)
	return slices.DeleteFunc(selected, func(s Selected) bool { return v.lacks.have(s.Path) }), err
}

// folders are some, with all that is below them.
type folders map[string]bool

func (f folders) have(file string) bool {
	for ; len(f) > 0 && file != "/"; file = path.Dir(file) {
		if f[file] {
			return true
		}
	}
	return false
}

// Read reads the project before and after the merge. Where such files alone differ from those on
// the disk as Terramate does not look into, or whole folders that the base has not, what is loaded serves for
// both; else the project is loaded anew from a temporary folder, which takes as long as it is large.
func (m *Merge) Read(ctx context.Context) error {
	clean, err := m.p.Clean()
	if err != nil {
		return err
	}
	var known []*Version
	if clean {
		known = []*Version{{Project: m.p, loaded: m.Head, Reader: command.NewReader(m.p.Root(), Tracked(ctx, m.p.Root()))}}
	}
	if m.After, err = m.version(ctx, m.tree, known); err != nil {
		return fmt.Errorf("after the merge: %w", err)
	}
	if m.After.Project != m.p {
		known = append(known, m.After)
	}
	if m.Before, err = m.version(ctx, m.Base, known); err != nil {
		return fmt.Errorf("before the merge: %w", err)
	}
	return nil
}

func (m *Merge) version(ctx context.Context, rev string, known []*Version) (v *Version, err error) {
	for _, from := range known {
		if v, err = m.derived(ctx, from, rev); v != nil || err != nil {
			break
		}
	}
	if v == nil && err == nil {
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
// were changed so, and some folders were not there: if it looks into none of the files, and nothing of what it
// makes of other folders depends on which stacks there are. In doubt it does.
func (p *Project) servesFor(changed []change, lacks folders) bool {
	if len(changed) == 0 {
		return true
	}
	for _, c := range changed {
		name := path.Base(c.path)
		switch ext := path.Ext(name); {
		case lacks.have(c.path):
		case c.was.mode == modeLink || c.is.mode == modeLink || c.was.mode == modeGitlink || c.is.mode == modeGitlink:
			return false
		case strings.HasPrefix(c.path, "/.tmtriggers/"), isCode(name), name == lockFile:
		case ext != ".md" && ext != ".tpl" && ext != ".tftpl":
			return false // .tm, .hcl, .tmskip, what may be a file of variables, an import, …
		}
	}
	env := p.hasRunEnv()
	for _, tree := range p.root().Tree().AsList() {
		switch {
		case tree.IsTerragruntModule(), env && newEnvScope(tree).calls: // it may read any file
			return false
		case len(lacks) == 0:
		case len(tree.Node.Bundles) > 0, env && !lacks.have(tree.Dir().String()) && needs(tree, lacks):
			return false // a bundle has a say in stacks anywhere
		}
	}
	return true
}

// without are the folders that are not there after changes.
func (t *commitTree) without(changed []change) folders {
	gone := folders{}
	for _, c := range changed {
		for dir := path.Dir(c.path); t.entries[dir].mode == "" && !gone[dir]; dir = path.Dir(dir) {
			gone[dir] = true
		}
	}
	return gone
}

// derived is a version whose stacks are loaded for another one; nil where that cannot stand for it. After
// the merge all stacks must be those: somebody may ask for their order.
func (m *Merge) derived(ctx context.Context, from *Version, rev string) (*Version, error) {
	changed, err := m.git.compare(ctx, from.loaded, rev)
	if err != nil {
		return nil, err
	}
	v := &Version{Project: from.Project, Reader: from.Reader, loaded: from.loaded}
	var t *commitTree
	if len(changed) > 0 {
		if t, err = m.git.readTree(ctx, rev); err != nil {
			return nil, err
		}
		if rev == m.Base {
			v.lacks = t.without(changed)
		}
	}
	if !v.servesFor(changed, v.lacks) {
		return nil, nil
	}
	if from.code == nil {
		if from.code, err = from.codeAt(ctx, from.loaded); err != nil {
			return nil, err
		}
	}
	v.code = from.code
	c := v.code
	if t != nil {
		if c, err = m.codeWith(ctx, v, t, rev, changed); err != nil || c == nil {
			return nil, err
		}
	}
	v.Inputs, err = v.inputsOf(ctx, rev, c)
	if errors.Is(err, errNotCheckedOut) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if c == v.code {
		c.keep()
	}
	maps.DeleteFunc(v.Inputs.stacks, func(stack string, _ *stackInputs) bool { return v.lacks.have(stack) })
	return v, nil
}

// codeWith is the code of a version, as it is in what was loaded where it did not change; nil where it declares
// other backends, which are read from the disk.
func (m *Merge) codeWith(ctx context.Context, v *Version, t *commitTree, rev string, changed []change) (*code, error) {
	from := v.code
	c := &code{root: from.root, work: from.work, commit: rev, t: t, known: map[string]string{}, absent: map[string]bool{}, content: map[string][]byte{}}
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
		if isCode(path.Base(x.path)) && !v.lacks.have(x.path) && !command.SameBackend(x.path, c.content[x.was.id], c.content[x.is.id]) {
			return nil, nil
		}
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	maps.Copy(c.known, from.known)
	c.calls = make(map[string]codeCalls, len(from.calls))
	for dir, calls := range from.calls {
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
	return &Version{Project: then, Inputs: in, loaded: rev, code: c, Reader: command.NewReader(dir, func(file string) (bool, error) {
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
