package project

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/printer"

	"github.com/tmnotes/tmnotes/runner"
)

// Relations say which stacks depend on which at a commit.
type Relations struct {
	Stacks []runner.Stack
	after  map[string][]string // by path: what the stack there comes after
	takes  map[string][]string // and whose outputs are inputs of it
	tree   *commitTree
}

// DependentsOf are the paths of the stacks that depend on the one at a path, sorted. A stack below
// it comes after it, as Terramate has it, without saying so: nested counts those, too.
func (r *Relations) DependentsOf(path string, nested bool) (paths []string) {
	for _, s := range r.Stacks {
		follows := slices.Contains(r.after[s.Path], path) && (nested || !strings.HasPrefix(s.Path, path+"/"))
		if follows || slices.Contains(r.takes[s.Path], path) {
			paths = append(paths, s.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// Ordered reports whether the order of execution has one stack before another.
func (r *Relations) Ordered(first, then string) bool {
	seen, todo := map[string]bool{}, []string{then}
	for len(todo) > 0 {
		path := todo[0]
		if todo = todo[1:]; slices.Contains(r.after[path], first) {
			return true
		}
		for _, next := range r.after[path] {
			if !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	return false
}

// Find is the stack with this id or, where it has none, at this path.
func (r *Relations) Find(of runner.Stack) (runner.Stack, bool) {
	i := slices.IndexFunc(r.Stacks, func(s runner.Stack) bool {
		return s.ID == of.ID && (of.ID != "" || s.Path == of.Path)
	})
	if i < 0 {
		return of, false
	}
	return r.Stacks[i], true
}

// Left is a file that keeps a stack's code at a path where there is no stack: of the code itself, or the .tmskip that
// has Terramate look away from it; "" where there is none.
func (r *Relations) Left(at string) string {
	for dir := at; dir != "/"; dir = path.Dir(dir) {
		if _, is := r.tree.entries[dir+"/.tmskip"]; is && r.tree.entries[at].mode != "" {
			return dir + "/.tmskip"
		}
	}
	for _, name := range append(slices.Clone(r.tree.code[at]), "terragrunt.hcl") {
		if file := path.Join(at, name); r.tree.entries[file].mode != "" {
			return file
		}
	}
	return ""
}

// RelationsAt are the relations of the project at any commit that is here. Of the stacks gone those that it has
// not are taken to be there, each with its id and its tags: somebody may still name them.
func (p *Project) RelationsAt(ctx context.Context, commit string, gone []runner.Stack) (r *Relations, err error) {
	err = p.at(ctx, commit, func(then *Project, t *commitTree) error {
		all, err := then.All()
		if err != nil {
			return err
		}
		r = &Relations{Stacks: all, tree: t}
		added := false
		for _, g := range gone {
			if _, is := r.Find(g); is || slices.ContainsFunc(all, func(s runner.Stack) bool { return s.Path == g.Path }) {
				continue
			}
			added = true
			if err := stackFile(then.Root(), g); err != nil {
				return err
			}
		}
		if added {
			if then, err = Load(ctx, Options{Dir: then.Root(), Environ: p.environ}); err == nil {
				all, err = then.All()
			}
		}
		if err == nil {
			err = then.relate(all, r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("who depends on whom at %.12s: %w", commit, err)
	}
	return r, nil
}

// stackFile writes what Terramate has to know of a stack.
func stackFile(root string, s runner.Stack) error {
	dir := filepath.Join(root, filepath.FromSlash(s.Path))
	text := "stack {\n"
	if s.ID != "" {
		text += fmt.Sprintf("  id = %q\n", s.ID)
	}
	if len(s.Tags) > 0 {
		text += "  tags = [\"" + strings.Join(s.Tags, `", "`) + "\"]\n"
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tmnotes_gone.tm"), []byte(text+"}\n"), 0o666)
}

// relate finds out what each of all stacks comes after, and takes outputs of.
func (p *Project) relate(all []runner.Stack, r *Relations) error {
	stderr := printer.Stderr
	printer.Stderr = printer.NewPrinter(io.Discard) // what is wrong at another commit is over
	graph, err := p.Graph(all)
	printer.Stderr = stderr
	if err != nil {
		return err
	}
	paths := map[string]string{} // by id
	for _, s := range all {
		if s.ID != "" {
			paths[s.ID] = s.Path
		}
	}
	r.after, r.takes = map[string][]string{}, map[string][]string{}
	for _, s := range all {
		r.after[s.Path] = graph.Predecessors(s.Path)
		ids, err := p.takesFrom(s)
		if err != nil {
			return oneLine("inputs of stack "+s.Path, err)
		}
		for _, id := range ids {
			if from := paths[id]; from != "" && from != s.Path {
				r.takes[s.Path] = append(r.takes[s.Path], from)
			}
		}
	}
	return nil
}

// takesFrom are the ids of the stacks whose outputs are inputs of s.
func (p *Project) takesFrom(s runner.Stack) (ids []string, err error) {
	tree, st, err := p.config(s)
	if err != nil || len(tree.Node.Inputs) == 0 {
		return nil, err
	}
	evalctx, err := p.engine.SetupEvalContext(st.HostDir(p.root()), st, "", map[string]string{})
	if err != nil {
		return nil, err
	}
	for _, block := range tree.Node.Inputs {
		input, err := config.EvalInput(evalctx, block)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", block.Name, err)
		}
		ids = append(ids, strings.ToLower(input.FromStackID))
	}
	return ids, nil
}
