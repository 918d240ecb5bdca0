package project

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/terramate-io/terramate/config"
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/tf"
	"github.com/terramate-io/terramate/tg"

	"github.com/tmnotes/tmnotes/runner"
)

const lockFile = ".terraform.lock.hcl"

// DirtyStacks returns those of stacks, by path, whose own inputs are not as in
// HEAD: modified, staged or untracked, but not ignored (git-status(1)). Inputs
// of a stack are the files whose nearest enclosing stack it is, what symbolic
// links among them point to, the files of stack.watch, the local modules that
// its code calls, transitively and with all that is below them, the files
// elsewhere that this code reads, and what its Terragrunt unit depends on. A
// dependency lock file counts for the stack it lies in alone, and trigger files for
// none.
//
// A stack whose code cannot be read, or followed, is dirty too where anything is:
// nobody can say what its inputs are. Where the work tree is clean, git status is all
// it costs.
func (p *Project) DirtyStacks(stacks []runner.Stack) (map[string]bool, error) {
	if !p.IsRepo() {
		return nil, errors.New("looking for uncommitted changes: not a git repository")
	}
	changes, err := p.changes()
	if err != nil || len(changes.paths) == 0 {
		return nil, err
	}
	if _, err := p.All(); err != nil { // IsTerragruntChangeDetectionEnabled needs it
		return nil, err
	}
	owners := map[string]bool{}
	for file := range changes.paths {
		if owner, ok := p.enclosing(path.Dir(file)); ok {
			owners[owner] = true
		}
	}
	calls := moduleCalls{top: p.top(), memo: map[string]codeCalls{}}
	dirty := map[string]bool{}
	for _, s := range stacks {
		tree, st, err := p.config(s)
		if err != nil {
			return nil, err
		}
		if owners[s.Path] || changes.above(s.Path) || changes.watched(st) || p.calledDirty(tree, changes, &calls) {
			dirty[s.Path] = true
		}
	}
	return dirty, nil
}

// changes are the project paths of what git status names.
type changes struct {
	paths map[string]bool
	below map[string]bool // every folder with a changed file in it that its users read
	any   bool            // one of them may be what code reads that cannot be followed
}

// above reports whether a change is the folder dir or one that dir is in, as a
// submodule is.
func (c changes) above(dir string) bool {
	for ; dir != "/"; dir = path.Dir(dir) {
		if c.paths[dir] {
			return true
		}
	}
	return false
}

func (c changes) watched(st *config.Stack) bool {
	for _, file := range st.Watch {
		if c.paths[file.String()] {
			return true
		}
	}
	return false
}

// in reports whether the file or folder at the project path p has changed.
func (c changes) in(p string) bool { return c.paths[p] || c.below[p] || c.above(p) }

func (c changes) add(file string) {
	c.paths[file] = true
	if path.Base(file) == lockFile {
		return // terraform reads none but that of its working directory
	}
	for dir := path.Dir(file); !c.below[dir]; dir = path.Dir(dir) {
		c.below[dir] = true
	}
}

// Changed reports whether anything in the work tree at root may make a stack dirty. It needs no
// project that is loaded.
func Changed(ctx context.Context, root string) (bool, error) {
	c, err := workTree{dir: root}.readChanges(ctx)
	return len(c.paths) > 0, err
}

// changes are asked for once: a Project is a snapshot.
func (p *Project) changes() (changes, error) {
	p.changesOnce.Do(func() {
		p.looked = time.Now()
		p.changed, p.changedErr = p.top().readChanges(context.Background())
	})
	return p.changed, p.changedErr
}

func (top workTree) readChanges(ctx context.Context) (changes, error) {
	c := changes{paths: map[string]bool{}, below: map[string]bool{}}
	files, err := top.changedFiles(ctx)
	if err != nil || len(files) == 0 {
		return c, err
	}
	for file, untracked := range files {
		if !strings.HasPrefix(file, "/.tmtriggers/") && !(untracked && Artifact(file)) {
			c.add(file)
			c.any = c.any || !untracked || matters(path.Base(file))
		}
	}
	if len(c.paths) == 0 {
		return c, nil
	}
	// A link is changed by what it points to.
	out, err := top.git(ctx, "ls-files", "--stage", "-z")
	if err != nil {
		return c, err
	}
	var links []string
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		if rest, ok := bytes.CutPrefix(entry, []byte("120000 ")); ok {
			_, file, _ := bytes.Cut(rest, []byte{'\t'})
			links = append(links, "/"+string(file))
		}
	}
	for again := true; again; { // a link may lead to a folder with a link in it
		again = false
		for _, link := range links {
			if target, ok := top.resolve(link); ok && !c.paths[link] && target != link && c.in(target) {
				c.add(link)
				again = true
			}
		}
	}
	return c, nil
}

// changedFiles are the files at and below some project paths (all without any) that
// differ from HEAD or are not tracked, but not ignored; and which of the two. Files
// that git was told not to look at are compared by content.
func (top workTree) changedFiles(ctx context.Context, below ...string) (map[string]bool, error) {
	return top.changedIn(ctx, func() ([]byte, error) { return top.index(ctx, below...) }, below...)
}

// changedIn is changedFiles for who lists the index.
func (top workTree) changedIn(ctx context.Context, index func() ([]byte, error), below ...string) (map[string]bool, error) {
	type list struct {
		names []string
		err   error
	}
	hidden := make(chan list, 1)
	go func() {
		names, err := top.hidden(ctx, index)
		hidden <- list{names, err}
	}()
	ask := append([]string{"status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none", "--"}, literal(below)...)
	if len(below) > 0 {
		// git starts a thread for each 500 files of the whole index, to find a few (preload-index.c).
		ask = append([]string{"-c", "core.preloadIndex=false"}, ask...)
	}
	out, err := top.git(ctx, ask...)
	also := <-hidden
	if err = cmp.Or(err, also.err); err != nil {
		return nil, err
	}
	files := map[string]bool{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if entry == "" {
			continue
		}
		if len(entry) < 4 {
			return nil, fmt.Errorf("git status: cannot read its output %q", entry)
		}
		files["/"+strings.TrimSuffix(entry[3:], "/")] = entry[0] == '?'
	}
	for _, name := range also.names {
		files["/"+name] = false
	}
	return files, nil
}

// resolve returns where the project path leads to, as a project path too. It is
// false for what is not there and for what is outside the project.
func (top workTree) resolve(file string) (string, bool) {
	target, err := filepath.EvalSymlinks(filepath.Join(top.dir, filepath.FromSlash(file)))
	if err != nil {
		return "", false
	}
	return projectPath(top.dir, target)
}

// enclosing returns the path of the nearest stack at or above dir.
func (p *Project) enclosing(dir string) (string, bool) {
	for ; ; dir = path.Dir(dir) {
		if tree, ok := p.root().Lookup(tmproject.NewPath(dir)); ok && tree.IsStack() {
			return dir, true
		}
		if dir == "/" {
			return "", false
		}
	}
}

// calledDirty reports whether anything that the stack's code refers to has
// changed, or cannot be known.
func (p *Project) calledDirty(tree *config.Tree, c changes, calls *moduleCalls) bool {
	if dir := tree.Dir().String(); calls.dirty(dir, dir, c, map[string]bool{}) {
		return true
	}
	return tree.IsTerragruntModule() && p.root().IsTerragruntChangeDetectionEnabled() && p.unitDirty(tree, c, calls, map[string]bool{})
}

// unitDirty is [Project.calledDirty] for the Terragrunt unit at tree.
func (p *Project) unitDirty(tree *config.Tree, c changes, calls *moduleCalls, seen map[string]bool) bool {
	if seen[tree.HostDir()] {
		return false
	}
	seen[tree.HostDir()] = true
	unit, err := p.unit(tree)
	if err != nil {
		return true
	}
	if unit == nil {
		return false // meant to be included only
	}
	dir := tree.Dir().String()
	if (tf.Module{Source: unit.Source}).IsLocal() && calls.moduleDirty(dir, unit.Source, dir, c, map[string]bool{}) {
		return true
	}
	places, err := unitPlaces(p.Root(), unit, p.top().has)
	if err != nil {
		return true
	}
	for _, at := range places {
		if calls.readDirty(at.file, dir, at.mention, c) {
			return true
		}
	}
	for _, dep := range unit.DependsOn {
		if c.in(dep.String()) {
			return true
		}
		if other, ok := p.root().Lookup(dep); ok && other.IsTerragruntModule() && p.unitDirty(other, c, calls, seen) {
			return true
		}
	}
	return false
}

func (p *Project) unit(tree *config.Tree) (unit *tg.Module, err error) {
	if p.terragrunt {
		return tree.TerragruntModule()
	}
	defer func() {
		if r := recover(); r != nil { // tg.LoadModule, for what it does not expect
			err = fmt.Errorf("%v", r)
		}
	}()
	unit, _, err = tg.LoadModule(p.Root(), tree.Dir(), tree.TgRootFile, false)
	return unit, err
}

// moduleCalls remembers what the code of a folder refers to.
type moduleCalls struct {
	top  workTree
	memo map[string]codeCalls // by folder
}

// dirty reports whether a module that the code in dir calls has changed, or what it
// reads, or whether that cannot be known. The code is that of the stack at root.
func (m *moduleCalls) dirty(dir, root string, c changes, seen map[string]bool) bool {
	if seen[dir] {
		return false
	}
	seen[dir] = true
	calls := m.callsIn(dir)
	if calls.err != nil || len(calls.computed) > 0 && c.any {
		return true
	}
	for _, at := range calls.files {
		if file, ok := at.at(dir, root, calls.locals); ok && m.readDirty(file, root, at, c) {
			return true
		}
	}
	for _, source := range calls.modules {
		if m.moduleDirty(dir, source, root, c, seen) {
			return true
		}
	}
	return false
}

// readDirty reports whether a file or folder that code reads has changed.
func (m *moduleCalls) readDirty(file, root string, at mention, c changes) bool {
	real, ok := m.top.resolve(file)
	if !ok {
		real = file // gone, which is a change
	}
	switch {
	case at.glob != "":
		prefix := strings.TrimSuffix(real, "/") + "/"
		for changed := range c.paths {
			if rest, is := strings.CutPrefix(changed, prefix); is && globMatches(at.glob, rest) {
				return true
			}
		}
		return false
	case below(root, real) && (!at.read || real == root), Artifact(real):
		return false // a way to say where the top is
	}
	return c.in(file) || c.in(real)
}

func (m *moduleCalls) moduleDirty(dir, source, root string, c changes, seen map[string]bool) bool {
	module, ok := inProject(dir, filepath.ToSlash(source))
	if !ok {
		return false // as in stock, what is outside the project is nobody's change
	}
	if c.in(module) {
		return true
	}
	real, ok := m.top.resolve(module)
	if !ok {
		return false // not there, and not there in HEAD either, or it would be a change; or outside
	}
	return c.in(real) || m.dirty(real, root, c, seen)
}

// folders finds the folders whose code a stack uses, from one on.
func (m *moduleCalls) folders(dir string, seen map[string]bool) {
	if seen[dir] {
		return
	}
	seen[dir] = true
	for _, source := range m.callsIn(dir).modules {
		if module, ok := inProject(dir, filepath.ToSlash(source)); ok {
			if real, ok := m.top.resolve(module); ok {
				m.folders(real, seen)
			}
		}
	}
}

func (m *moduleCalls) callsIn(dir string) codeCalls {
	calls, ok := m.memo[dir]
	if !ok {
		calls = m.top.callsIn(dir)
		m.memo[dir] = calls
	}
	return calls
}

// callsIn reads the code in a folder.
func (top workTree) callsIn(dir string) codeCalls {
	names, err := folderNames(top.host(dir))
	if err != nil {
		return codeCalls{err: err}
	}
	var calls codeCalls
	for _, name := range names {
		file := path.Join(dir, name)
		host := top.host(file)
		if !isCode(name) || isFolder(host) {
			continue
		}
		calls.names = append(calls.names, file)
		content, err := os.ReadFile(host)
		if err != nil {
			calls.err = err
			continue
		}
		found, err := readRefs(name, content)
		if err != nil {
			calls.err = err
			continue
		}
		calls.merge(name, found)
	}
	return calls
}

// has reports whether there is something at a project path.
func (top workTree) has(file string) bool {
	_, err := os.Lstat(filepath.Join(top.dir, filepath.FromSlash(file)))
	return err == nil
}

// projectPath is the absolute path file as a path in the project at root.
func projectPath(root, file string) (string, bool) {
	rel, err := filepath.Rel(root, file)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return path.Join("/", filepath.ToSlash(rel)), true
}

// gitTop is the top of the work tree that dir is in.
func gitTop(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	top := filepath.FromSlash(strings.TrimRight(string(out), "\n"))
	if !filepath.IsAbs(top) {
		top = filepath.Join(dir, top)
	}
	return filepath.EvalSymlinks(top)
}
