package serve

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// workTree is the project as one invocation of terramate finds it. That loads the project, which
// takes as long as all else that it does before it runs something; here it is loaded for what only
// then can be known: the stacks that nobody named, run.env, and whose an uncommitted change is.
type workTree struct {
	environ []string
	store   *gitstate.Store
	root    string
	reader  *command.Reader
	changed func() (bool, error)
	load    func() (*loaded, error)
	runEnv  func(dir string) (names []string, err error)

	mu   sync.Mutex // guards what follows, and is held where the loaded project is for one goroutine
	seen map[string]command.Surroundings
}

// loaded is the project, loaded.
type loaded struct {
	*project.Project
	stacks []runner.Stack
	byPath map[string]runner.Stack
}

func (h *Host) newWorkTree() *workTree {
	root := h.Store.WorkTree()
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // as terramate names it
	}
	ctx := context.Background()
	return &workTree{
		environ: h.Environ, store: h.Store, root: root, reader: query.NewReader(ctx, root), seen: map[string]command.Surroundings{},
		changed: sync.OnceValues(func() (bool, error) { return project.Changed(ctx, root) }),
		runEnv:  project.RunEnvIn(root),
		load: sync.OnceValues(func() (*loaded, error) {
			p, err := project.Load(ctx, project.Options{Dir: h.Dir, Environ: h.Environ})
			if err != nil {
				return nil, err
			}
			l := &loaded{Project: p, byPath: map[string]runner.Stack{}}
			if l.stacks, err = p.All(); err != nil {
				return nil, err
			}
			for _, s := range l.stacks {
				l.byPath[s.Path] = s
			}
			return l, nil
		}),
	}
}

// lookAhead begins what is going to be asked for, and the loading where that needs it.
func (w *workTree) lookAhead(dir string, stacks bool) {
	go func() { _, _ = w.changed() }()
	go func() {
		if names, err := w.runEnv(dir); stacks || err != nil || len(names) > 0 {
			_, _ = w.load()
		}
	}()
}

func (w *workTree) Stacks() ([]gitstate.KnownStack, error) {
	l, err := w.load()
	if err != nil {
		return nil, err
	}
	known := make([]gitstate.KnownStack, len(l.stacks))
	for i, s := range l.stacks {
		known[i] = gitstate.KnownStack{ID: s.ID, Path: s.Path}
	}
	return known, nil
}

// surroundings are the folder of a stack, if it is here, and the process's own environment with the
// stack's run.env.
func (w *workTree) surroundings(path string) (command.Surroundings, error) {
	w.mu.Lock()
	at, known := w.seen[path]
	w.mu.Unlock()
	if known {
		return at, nil
	}
	at = command.Surroundings{Env: w.environ}
	dir := w.dir(path)
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		at.Dir = dir
		if names, err := w.runEnv(dir); err != nil || len(names) > 0 {
			if at, err = w.evaluated(path); err != nil {
				return at, err
			}
		}
	}
	w.mu.Lock()
	w.seen[path] = at
	w.mu.Unlock()
	return at, nil
}

func (w *workTree) dir(path string) string { return filepath.Join(w.root, filepath.FromSlash(path)) }

// evaluated is surroundings by the loaded project. Where run.env cannot be evaluated, terramate does
// not run the stack either.
func (w *workTree) evaluated(path string) (command.Surroundings, error) {
	at := command.Surroundings{Env: w.environ}
	l, err := w.load()
	if err != nil {
		return at, err
	}
	if stack, here := l.byPath[path]; here {
		at.Dir = stack.Dir
		if own, err := l.Env(stack); err == nil {
			at.Env, at.RunEnv = own, l.RunEnv(own)
		}
	}
	return at, nil
}

// Env is that of surroundings, and the workspace.
func (w *workTree) Env(path string) ([]string, string, error) {
	at, err := w.surroundings(path)
	if err != nil {
		return nil, "", err
	}
	place, err := w.reader.Place(command.Surroundings{Dir: at.Dir, Env: at.Env})
	if err != nil {
		return at.Env, "", nil
	}
	return at.Env, place.Workspace, nil
}

// Dirty looks at the work tree, if it is the one that is deployed. (Of another
// one, the CLI's own safeguards have to do.)
func (w *workTree) Dirty(commit string, paths []string) (map[string]bool, error) {
	if head, err := w.store.Resolve("HEAD"); err != nil || head.Hash != commit {
		return nil, nil
	}
	if changed, err := w.changed(); err != nil || !changed {
		return nil, err
	}
	l, err := w.load()
	if err != nil {
		return nil, err
	}
	var stacks []runner.Stack
	for _, p := range paths {
		if s, ok := l.byPath[p]; ok {
			stacks = append(stacks, s)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return l.DirtyStacks(stacks)
}

// Inputs are digests of the code that git ignores, likewise: nobody finds that in the
// commit later.
func (w *workTree) Inputs(commit string, paths []string) (map[string]string, error) {
	if head, err := w.store.Resolve("HEAD"); err != nil || head.Hash != commit {
		return nil, nil
	}
	return project.IgnoredDigests(context.Background(), w.root, paths)
}

// withoutID are stacks that the CLI's cloud features cannot name.
func (w *workTree) withoutID() (paths []string, err error) {
	l, err := w.load()
	if err != nil {
		return nil, err
	}
	for _, s := range l.stacks {
		if s.ID == "" {
			paths = append(paths, s.Path)
		}
	}
	return paths, nil
}
