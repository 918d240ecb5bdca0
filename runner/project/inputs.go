package project

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar"
	"github.com/terramate-io/terramate/config"
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/tf"
)

// InputsVersion is that of the digests in [Inputs]; each begins with it. One of
// another version cannot be compared.
const InputsVersion = "2"

// Inputs are what the stacks of a project were made of at one commit: what
// Terramate's change detection looks at (stack/manager.go, ListChanged), from
// the trees of that commit alone. gitstate/FORMAT.md has the definition.
type Inputs struct {
	Commit string // or a tree
	git    workTree
	t      *commitTree
	stacks map[string]*stackInputs // by project path
}

type stackInputs struct {
	id     string
	digest string
	err    error
	parts  []part
	places []string // where the code has what cannot be followed, and what
}

// A part is one thing that a stack is made of.
type part struct {
	kind string // why it is looked at
	path string
	treeEntry
}

// The kinds of parts.
const (
	kindFile    = "file"
	kindLink    = "link"
	kindModule  = "module"
	kindWatch   = "watch"
	kindUnit    = "tg"
	kindRead    = "read"    // what code reads outside of the stack
	kindAny     = "any"     // the whole project: something cannot be followed
	kindEnv     = "env"     // a variable of terramate.config.run.env
	kindIgnored = "ignored" // code that is in the folder and not in the commit
)

// ErrInputs is returned by [Inputs.Digest] for a stack whose inputs cannot be
// known, and for one that is not there.
var ErrInputs = errors.New("its inputs cannot be known")

// Digest returns the digest of the stack at a project path. Two stacks with
// one digest are made of the same; where it is an [ErrInputs], nobody can say.
func (in *Inputs) Digest(stack string) (string, error) {
	s := in.stacks[stack]
	if s == nil {
		return "", fmt.Errorf("%s was no stack at %.12s: %w", stack, in.Commit, ErrInputs)
	}
	return s.digest, s.err
}

// All are the stacks whose inputs are known, with their digests, by path.
func (in *Inputs) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, stack := range slices.Sorted(maps.Keys(in.stacks)) {
			if s := in.stacks[stack]; s.err == nil && !yield(stack, s.digest) {
				return
			}
		}
	}
}

// Clean reports whether the files that the inputs are read from are HEAD's.
func (p *Project) Clean() (bool, error) {
	changes, err := p.changes()
	for file := range changes.paths {
		if path.Base(file) != lockFile {
			return false, err
		}
	}
	return true, err
}

// Inputs are the inputs of all stacks at HEAD. They are read from HEAD's trees,
// through the project that is loaded, or, where the files that are read for that
// are not HEAD's, through one that is loaded from HEAD; see [Project.InputsAt]. Code
// that git ignores is as it is in the work tree.
func (p *Project) Inputs(ctx context.Context) (*Inputs, error) {
	if !p.IsRepo() {
		return nil, errors.New("the inputs of stacks are read from commits: not a git repository")
	}
	commit, err := p.top().head(ctx)
	if err != nil {
		return nil, err
	}
	in, err := p.inputsHere(ctx, commit)
	if err == nil {
		p.known = in
	}
	return in, err
}

func (p *Project) inputsHere(ctx context.Context, commit string) (*Inputs, error) {
	if clean, err := p.Clean(); err != nil {
		return nil, err
	} else if !clean {
		return p.inputsFrom(ctx, commit, p.Root())
	}
	c, err := p.codeAt(ctx, commit)
	if err != nil {
		return nil, err
	}
	in, err := p.inputsOf(ctx, commit, c)
	if errors.Is(err, errNotCheckedOut) {
		return p.inputsFrom(ctx, commit, p.Root())
	}
	if err == nil {
		c.keep()
	}
	return in, err
}

// errNotCheckedOut: a file of the commit is not on the disk (git-sparse-checkout(1)).
var errNotCheckedOut = errors.New("not checked out")

// inputsOf computes what stacks are made of at a commit whose files are those on
// the disk.
func (p *Project) inputsOf(ctx context.Context, commit string, read *code) (*Inputs, error) {
	in, err := p.partsOf(commit, read)
	if err != nil {
		return nil, err
	}
	trees := p.root().Tree().Stacks()
	env := p.envParts(trees)
	for i, tree := range trees {
		at := tree.Dir().String()
		s := in.stacks[at]
		s.parts = append(s.parts, env[i].parts...)
		if s.err = cmp.Or(s.err, env[i].err); s.err != nil {
			s.err = fmt.Errorf("stack %s at %.12s: %w: %w", at, commit, ErrInputs, s.err)
			continue
		}
		s.digest = digestOf(s.parts)
	}
	return in, ctx.Err()
}

// partsOf finds what stacks are made of, but for run.env.
func (p *Project) partsOf(commit string, read *code) (*Inputs, error) {
	if _, err := p.All(); err != nil { // IsTerragruntChangeDetectionEnabled needs it
		return nil, err
	}
	c := &collector{p: p, t: read.t, code: read, owners: map[string]string{}}
	trees := p.root().Tree().Stacks()
	in := &Inputs{Commit: commit, git: p.top(), t: c.t, stacks: make(map[string]*stackInputs, len(trees))}
	dirs := make([]string, len(trees))
	for i, tree := range trees {
		dirs[i] = tree.Dir().String()
		in.stacks[dirs[i]] = &stackInputs{}
	}
	for _, file := range c.t.files {
		if strings.HasPrefix(file, "/.tmtriggers/") {
			continue
		}
		if s := in.stacks[c.owner(path.Dir(file))]; s != nil {
			s.parts = append(s.parts, part{kindFile, file, c.t.entries[file]})
		}
	}
	read.all(dirs)
	for i, tree := range trees {
		s := in.stacks[dirs[i]]
		if s.err = c.stack(tree, s); errors.Is(s.err, errNotCheckedOut) {
			return nil, s.err
		}
		s.err = cmp.Or(s.err, c.t.namedOtherwise(dirs[i]))
	}
	return in, nil
}

// digestOf is the digest of a set of parts: that of what is in the commit, and
// behind it, if there is any, that of the code which is not.
func digestOf(parts []part) string {
	slices.SortFunc(parts, comparePart)
	inCommit := sha256.New()
	inCommit.Write([]byte("tmnotes inputs " + InputsVersion + "\x00"))
	var line, ignored []byte
	for i, e := range parts {
		if i > 0 && parts[i-1] == e {
			continue
		}
		line = append(line[:0], e.kind...)
		for _, s := range []string{e.path, e.mode, e.id} {
			line = append(append(line, 0), s...)
		}
		line = append(line, 0)
		if e.kind == kindIgnored {
			ignored = append(ignored, line...)
		} else {
			inCommit.Write(line)
		}
	}
	digest := InputsVersion + ":" + hex.EncodeToString(inCommit.Sum(nil)[:12])
	if len(ignored) > 0 {
		sum := sha256.Sum256(ignored)
		digest += ":" + hex.EncodeToString(sum[:6])
	}
	return digest
}

func comparePart(a, b part) int {
	if c := strings.Compare(a.path, b.path); c != 0 {
		return c
	}
	if c := strings.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	if c := strings.Compare(a.mode, b.mode); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}

// collector finds the parts of stacks.
type collector struct {
	p      *Project
	t      *commitTree
	code   *code
	owners map[string]string // folder → the nearest stack at or above it, "" if none
}

// owner is the nearest stack at or above a folder.
func (c *collector) owner(dir string) string {
	if o, ok := c.owners[dir]; ok {
		return o
	}
	o := ""
	if tree, ok := c.p.root().Lookup(tmproject.NewPath(dir)); ok && tree.IsStack() {
		o = dir
	} else if dir != "/" {
		o = c.owner(path.Dir(dir))
	}
	c.owners[dir] = o
	return o
}

// stack adds to the files of a stack all else that it is made of.
func (c *collector) stack(tree *config.Tree, s *stackInputs) error {
	dir := tree.Dir().String()
	st, err := tree.Stack()
	if err != nil {
		return err
	}
	s.id = strings.ToLower(st.ID)
	w := walk{collector: c, stackInputs: s, stack: dir, root: dir, seen: map[string]bool{}}
	if at, e, _ := c.t.resolve(dir); e.mode == modeGitlink {
		w.add(kindFile, at, e) // a stack in a submodule
	}
	for _, e := range s.parts {
		if e.mode == modeLink {
			w.follow(e.path)
		}
	}
	for _, file := range st.Watch {
		w.watch(file.String())
	}
	if err := w.calls(dir); err != nil {
		return err
	}
	if tree.IsTerragruntModule() && c.p.root().IsTerragruntChangeDetectionEnabled() {
		return w.unit(tree)
	}
	return nil
}

// walk goes from one stack to all that it refers to.
type walk struct {
	*collector
	*stackInputs
	stack string // its folder
	root  string // the working directory of what runs in it
	seen  map[string]bool
}

func (w *walk) add(kind, file string, e treeEntry) {
	w.parts = append(w.parts, part{kind, file, e})
}

// first reports whether something is seen for the first time.
func (w *walk) first(kind, file string) bool {
	key := kind + file
	was := w.seen[key]
	w.seen[key] = true
	return !was
}

// reach adds what a path leads to, with the links on the way, and returns it.
func (w *walk) reach(kind, file string) (real string, e treeEntry) {
	real, e, via := w.t.resolve(file)
	for _, link := range via {
		w.add(kindLink, link, w.t.entries[link])
	}
	w.add(kind, real, e)
	if e.mode == modeTree {
		for _, link := range w.t.linksBelow(real) {
			w.follow(link)
		}
	}
	return real, e
}

// follow adds what a link points to.
func (w *walk) follow(link string) {
	if w.first(kindLink, link) {
		w.reach(kindLink, link)
	}
}

// watch adds a file of stack.watch. A folder is none: Terramate looks for the very
// path among the changed files.
func (w *walk) watch(file string) {
	if e, ok := w.t.entries[file]; ok && e.mode != modeTree {
		w.add(kindWatch, file, e)
		if e.mode == modeLink {
			w.follow(file)
		}
		return
	}
	w.add(kindWatch, file, treeEntry{mode: missing})
}

// calls adds what the code in a folder refers to, and what that refers to.
func (w *walk) calls(dir string) error {
	calls := w.code.callsIn(dir)
	if calls.err != nil {
		return calls.err
	}
	w.parts = append(w.parts, calls.ignored...)
	for _, m := range calls.files {
		file, ok := m.at(dir, w.root, calls.locals)
		if ok && (dir == w.stack || !below(file, dir)) { // or it is the module's own
			w.read(file, m)
		}
	}
	for _, place := range calls.computed {
		w.places = append(w.places, path.Join(dir, place))
		w.add(kindAny, "/", treeEntry{modeTree, w.t.project})
	}
	for _, source := range calls.modules {
		if err := w.module(dir, source); err != nil {
			return err
		}
	}
	return nil
}

// read adds what the code reads, or mentions, outside of the stack, if it is there.
func (w *walk) read(file string, m mention) {
	real, e, via := w.t.resolve(file)
	switch {
	case e.mode == missing || e.mode == outside || Artifact(real):
		return
	case e.mode == modeTree && m.glob != "":
		w.globbed(real, m.glob)
		return
	case e.mode == modeTree && below(w.stack, real) && (!m.read || real == w.stack):
		return // a way to say where the top is
	case e.mode != modeTree && len(via) == 0 && w.owner(path.Dir(real)) == w.stack:
		return // one of its files
	}
	if w.first(kindRead, file) {
		w.reach(kindRead, file)
	}
}

// globbed adds the files below a folder that a pattern of fileset() matches.
func (w *walk) globbed(dir, pattern string) {
	if !w.first(kindRead, dir+"\x00"+pattern) {
		return
	}
	prefix := strings.TrimSuffix(dir, "/") + "/"
	from, _ := slices.BinarySearch(w.t.files, prefix)
	for _, file := range w.t.files[from:] {
		rest, is := strings.CutPrefix(file, prefix)
		if !is {
			break
		}
		if w.owner(path.Dir(file)) == w.stack {
			continue
		}
		if globMatches(pattern, rest) {
			w.reach(kindRead, file)
		}
	}
}

// globMatches reports whether a pattern of fileset() matches a file; one that is none
// may match anything.
func globMatches(pattern, file string) bool {
	matches, err := doublestar.Match(path.Clean(pattern), file)
	return matches || err != nil
}

// below reports whether a folder is another one, or in it.
func below(dir, other string) bool {
	return dir == other || other == "/" || strings.HasPrefix(dir, other+"/")
}

func (w *walk) module(dir, source string) error {
	rel := path.Join(strings.TrimPrefix(dir, "/"), filepath.ToSlash(source))
	if rel == ".." || strings.HasPrefix(rel, "../") {
		w.add(kindModule, rel, treeEntry{mode: outside})
		return nil
	}
	if !w.first(kindModule, "/"+rel) {
		return nil
	}
	real, e := w.reach(kindModule, "/"+rel)
	generated := e.mode == missing && w.code.work != "" && isFolder(workTree{dir: w.code.work}.host(real))
	if e.mode != modeTree && !generated || !w.first("code", real) {
		return nil
	}
	return w.calls(real)
}

// unit adds what the Terragrunt unit at tree is made of.
func (w *walk) unit(tree *config.Tree) error {
	if !w.first("unit", tree.Dir().String()) {
		return nil
	}
	unit, err := w.p.unit(tree)
	if err != nil || unit == nil { // nil: meant to be included only
		return oneLine("Terragrunt unit "+tree.Dir().String(), err)
	}
	if (tf.Module{Source: unit.Source}).IsLocal() {
		if err := w.module(tree.Dir().String(), unit.Source); err != nil {
			return err
		}
	}
	places, err := unitPlaces(w.code.root, unit, func(file string) bool { return w.t.entries[file].mode != "" })
	if err != nil {
		return err
	}
	for _, at := range places {
		w.read(at.file, at.mention)
	}
	for _, dep := range unit.DependsOn {
		at, e := w.reach(kindUnit, dep.String())
		if e.mode != modeTree {
			continue
		}
		other, ok := w.p.root().Lookup(tmproject.NewPath(at))
		if !ok {
			continue
		}
		if other.IsStack() && w.first("stack", at) {
			st, err := other.Stack()
			if err != nil {
				return err
			}
			for _, file := range st.Watch {
				w.watch(file.String())
			}
			root := w.root
			w.root = at
			if err := w.calls(at); err != nil {
				return err
			}
			w.root = root
		}
		if other.IsTerragruntModule() {
			if err := w.unit(other); err != nil {
				return err
			}
		}
	}
	return nil
}
