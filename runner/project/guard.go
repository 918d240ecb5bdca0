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
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// A Guard tells whether what stacks are made of is still what it was when they were
// selected. It may be asked by several goroutines.
type Guard struct {
	ctx    context.Context
	top    workTree
	commit string
	t      *commitTree
	head   *headWatch
	stacks map[string]*guarded // by project path
	ours   map[string]string   // code that git ignores → its blob name
	read   map[string]bool     // folders whose code Terraform reads

	mu    sync.Mutex
	marks map[string]mark // what files and folders looked like, by project path
}

// guarded is what a stack is made of, as paths.
type guarded struct {
	files   []string
	folders []string
	trees   []*guardedTree
	asks    []string // what only git can tell: submodules
	changed bool     // already when the guard began
}

// guardedTree is a folder with all that is below it, which many stacks may share.
type guardedTree struct{ files, folders []string }

// Guard remembers what the files look like that some stacks are made of, whose inputs
// are HEAD's but for those that DirtyStacks has named: call it after that. What changed
// in between is noticed, too.
func (p *Project) Guard(ctx context.Context, stacks []runner.Stack) (*Guard, error) {
	if _, err := p.changes(); err != nil {
		return nil, err
	}
	in, err := p.partsAtHead(ctx)
	if err != nil {
		return nil, err
	}
	g := &Guard{ctx: context.WithoutCancel(ctx), top: p.top(), commit: in.Commit, t: in.t,
		stacks: map[string]*guarded{}, ours: map[string]string{}, read: map[string]bool{}, marks: map[string]mark{}}
	if g.head, err = watchHead(ctx, g.top, g.commit); err != nil {
		return nil, err
	}
	trees := map[string]*guardedTree{}
	for _, s := range stacks {
		parts := in.stacks[s.Path]
		if parts == nil { // it is not committed
			g.stacks[s.Path] = &guarded{changed: true}
			continue
		}
		g.stacks[s.Path] = g.guard(s.Path, parts.parts, trees)
	}
	return g, g.begin(p.looked)
}

// partsAtHead are the parts of all stacks at HEAD: those that were found for the
// inputs, or now, from the work tree. (There a stack that is dirty may seem to have
// others, which matters no more.)
func (p *Project) partsAtHead(ctx context.Context) (*Inputs, error) {
	commit, err := p.top().head(ctx)
	if err != nil {
		return nil, err
	}
	if p.known != nil && p.known.Commit == commit {
		return p.known, nil
	}
	c, err := p.codeAt(ctx, commit)
	if err != nil {
		return nil, err
	}
	if clean, err := p.Clean(); err != nil {
		return nil, err
	} else if !clean {
		// What is known of files by their names in the commit is not to be mixed up
		// with what is on the disk.
		c = newCode(c.root, commit, c.t, nil)
		c.work = c.root
	}
	in, err := p.partsOf(commit, c)
	if errors.Is(err, errNotCheckedOut) {
		return p.inputsFrom(ctx, commit, p.Root())
	}
	return in, err
}

// guard is what a stack's parts are on the disk.
func (g *Guard) guard(stack string, parts []part, trees map[string]*guardedTree) *guarded {
	s := &guarded{folders: []string{stack}}
	g.read[stack] = true
	for _, e := range parts {
		switch {
		case e.kind == kindEnv || e.mode == outside || Artifact(e.path) && e.kind != kindModule:
		case e.mode == modeGitlink:
			s.asks = append(s.asks, e.path)
		case e.mode == modeTree:
			if e.kind == kindModule {
				g.read[e.path] = true
			}
			tree := trees[e.path]
			if tree == nil {
				tree = g.tree(e.path)
				trees[e.path] = tree
			}
			if !slices.Contains(s.trees, tree) {
				s.trees = append(s.trees, tree)
			}
		default:
			if e.kind == kindIgnored {
				g.ours[e.path] = e.id
			}
			s.files = append(s.files, e.path)
			if e.kind == kindFile {
				s.folders = append(s.folders, path.Dir(e.path))
			}
		}
	}
	for _, list := range []*[]string{&s.files, &s.folders} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return s
}

// tree is a folder of the commit.
func (g *Guard) tree(dir string) *guardedTree {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	tree := &guardedTree{folders: []string{dir}}
	from, _ := slices.BinarySearch(g.t.files, prefix)
	for _, file := range g.t.files[from:] {
		if !strings.HasPrefix(file, prefix) {
			break
		}
		if Artifact(file) || strings.HasPrefix(file, "/.tmtriggers/") {
			continue
		}
		tree.files = append(tree.files, file)
		tree.folders = append(tree.folders, path.Dir(file))
	}
	slices.Sort(tree.folders)
	tree.folders = slices.Compact(tree.folders)
	return tree
}

// begin marks everything. What may be another thing than git looked at, since it changed
// after looked as far as clocks tell, git is asked about once more.
func (g *Guard) begin(looked time.Time) error {
	var paths []string
	for _, s := range g.stacks {
		s.each(func(file string) bool {
			paths = append(paths, file)
			return true
		})
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	marks := make([]mark, len(paths))
	concurrently(len(paths), func(i int) { marks[i] = g.top.look(paths[i], nil) })
	var ask []string
	late := map[string]bool{} // folders with new code in them
	for i, file := range paths {
		g.marks[file] = marks[i]
		switch {
		case marks[i].err != nil:
			return marks[i].err
		case !marks[i].since(looked):
		case g.folder(file):
			more, changed, err := g.listed(file)
			if err != nil {
				return err
			}
			late[file] = changed
			ask = append(ask, more...)
		default:
			ask = append(ask, file)
		}
	}
	const most = 500 // arguments of a command
	if len(ask) > most {
		ask = []string{"/"}
	}
	differing, err := g.ask(ask)
	if err != nil {
		return err
	}
	for _, file := range differing {
		late[file] = true
		for dir := path.Dir(file); ; dir = path.Dir(dir) {
			if g.folder(dir) {
				late[dir] = true
				break
			}
		}
	}
	for _, s := range g.stacks {
		s.each(func(file string) bool {
			s.changed = s.changed || late[file]
			return !s.changed
		})
	}
	return nil
}

// folder reports whether a path is a folder in the commit.
func (g *Guard) folder(file string) bool { return g.t.entries[file].mode == modeTree }

// each calls do with every file and folder until it returns false.
func (s *guarded) each(do func(file string) bool) {
	for _, list := range [][]string{s.files, s.folders} {
		for _, file := range list {
			if !do(file) {
				return
			}
		}
	}
	for _, tree := range s.trees {
		for _, list := range [][]string{tree.files, tree.folders} {
			for _, file := range list {
				if !do(file) {
					return
				}
			}
		}
	}
}

// Changed reports whether HEAD, or anything that the stack at a project path is made
// of, is something else than when it was selected. What Terraform itself leaves behind
// does not count, nor do files that are new and that Terraform would not read. As long
// as nothing was touched it asks the file system alone.
func (g *Guard) Changed(stack string) (bool, error) {
	s := g.stacks[stack]
	if s == nil {
		return false, fmt.Errorf("%s is not guarded", stack)
	}
	if s.changed {
		return true, nil
	}
	if moved, err := g.head.moved(g.ctx); moved || err != nil {
		return moved, err
	}
	seen, err := g.touched(s)
	if err != nil {
		return false, err
	}
	ask := slices.Clone(s.asks)
	for file, now := range seen {
		switch id, ours := g.ours[file]; {
		case ours:
			if g.blob(file) != id {
				return true, nil
			}
		case g.folder(file) && now.folder:
			more, changed, err := g.listed(file)
			if changed || err != nil {
				return changed, err
			}
			ask = append(ask, more...)
		default:
			ask = append(ask, file)
		}
	}
	differing, err := g.ask(ask)
	if err != nil || len(differing) > 0 {
		return err == nil, err
	}
	g.mu.Lock()
	maps.Copy(g.marks, seen)
	g.mu.Unlock()
	return false, nil
}

// touched are the files and folders of a stack to which something happened since they
// were marked, with new marks.
func (g *Guard) touched(s *guarded) (map[string]mark, error) {
	seen := map[string]mark{}
	var failed error
	s.each(func(file string) bool {
		g.mu.Lock()
		was := g.marks[file]
		g.mu.Unlock()
		now := g.top.look(file, &was)
		if failed = now.err; failed != nil {
			return false
		}
		if !now.same(was) {
			seen[file] = now
		} else if was.racy && !now.racy { // so far it is known to be the same
			g.mu.Lock()
			g.marks[file] = now
			g.mu.Unlock()
		}
		return true
	})
	return seen, failed
}

// blob is what git would call a file that it ignores, "" if it is gone.
func (g *Guard) blob(file string) string {
	content, err := os.ReadFile(g.top.host(file))
	if err != nil {
		return ""
	}
	return blobName(content, len(g.commit))
}

// listed looks for names in a folder that are not in the commit: which of them git is
// to be asked about, and whether there is code among them that Terraform reads in any case.
func (g *Guard) listed(dir string) (ask []string, changed bool, err error) {
	names, err := folderNames(g.top.host(dir))
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		file := path.Join(dir, name)
		_, committed := g.t.entries[file]
		_, ours := g.ours[file]
		switch {
		case committed || ours || name == ".git" || Artifact(file):
		case isCode(name) && g.read[dir]:
			return nil, true, nil
		case matters(name) || isFolder(g.top.host(file)):
			ask = append(ask, file)
		}
	}
	return ask, false, nil
}

// matters reports whether Terraform, Terragrunt or Terramate read a file of this name
// though nothing in the commit names it.
func matters(name string) bool {
	if isCode(name) {
		return true
	}
	for _, end := range []string{".tfvars", ".tfvars.json", ".hcl", ".hcl.json", ".tm"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// ask has git compare files and folders with HEAD: those that differ.
func (g *Guard) ask(paths []string) (differing []string, err error) {
	if len(paths) == 0 {
		return nil, nil
	}
	files, err := g.top.changedFiles(g.ctx, paths...)
	if err != nil {
		return nil, err
	}
	for file, untracked := range files {
		if !Artifact(file) && (!untracked || matters(path.Base(file))) {
			differing = append(differing, file)
		}
	}
	return differing, nil
}

func (top workTree) host(file string) string {
	return filepath.Join(top.dir, filepath.FromSlash(file))
}
