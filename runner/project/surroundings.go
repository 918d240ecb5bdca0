package project

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	hhcl "github.com/terramate-io/hcl/v2"
	tmfs "github.com/terramate-io/terramate/fs"
	"github.com/terramate-io/terramate/hcl"
)

// Tracked tells which files of the work tree at root are in git's index. It asks git once,
// when it is first asked.
func Tracked(ctx context.Context, root string) func(file string) (bool, error) {
	list := sync.OnceValues(func() (map[string]bool, error) {
		top := workTree{dir: root}
		out, err := top.git(ctx, "ls-files", "-z")
		if err != nil {
			return nil, err
		}
		tracked := map[string]bool{}
		for name := range bytes.SplitSeq(out, []byte{0}) {
			tracked[filepath.Join(root, filepath.FromSlash(string(name)))] = true
		}
		return tracked, nil
	})
	return func(file string) (bool, error) {
		tracked, err := list()
		return tracked[file], err
	}
}

// RunEnv are the names in env, an environment by [Project.Env] or [Project.Envs], that
// terramate.config.run.env sets.
func (p *Project) RunEnv(env []string) (names []string) {
	for _, kv := range env[min(len(p.environ), len(env)):] {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	return names
}

// RunEnvAt are the names that terramate.config.run.env sets for a stack, from the files of
// its folder and those above alone, as [StackAt] finds a stack: for who is run with
// that environment and does not know what of it is whose.
func RunEnvAt(root, dir string) (names []string, err error) { return RunEnvIn(root)(dir) }

// RunEnvIn is [RunEnvAt] for many stacks of a project: each folder is read once.
func RunEnvIn(root string) func(dir string) (names []string, err error) {
	type read struct {
		set     []runEnvName // of the folder and those above
		skipped bool         // nothing below is read
		err     error
	}
	var mu sync.Mutex
	known := map[string]read{}
	var at func(dir string) read
	at = func(dir string) (r read) {
		mu.Lock()
		r, is := known[dir]
		mu.Unlock()
		if is {
			return r
		}
		var above read
		if dir != root {
			above = at(filepath.Dir(dir))
		}
		if r = above; r.err == nil && !r.skipped {
			if r.skipped, r.err = skips(root, dir); r.err == nil && (!r.skipped || dir == root) {
				var own []runEnvName
				own, r.err = runEnvIn(root, dir)
				r.set = append(own, above.set...) // what is nearer comes first
			}
		}
		mu.Lock()
		known[dir] = r
		mu.Unlock()
		return r
	}
	return func(dir string) (names []string, err error) {
		if _, ok := projectPath(root, dir); !ok {
			return nil, fmt.Errorf("%s is not in the project at %s", dir, root)
		}
		r := at(dir)
		settled := map[string]bool{}
		for _, attr := range r.set {
			if !settled[attr.name] && !attr.unset {
				names = append(names, attr.name)
			}
			settled[attr.name] = true
		}
		return names, r.err
	}
}

type runEnvName struct {
	name  string
	unset bool
}

func runEnvIn(root, dir string) (names []runEnvName, err error) {
	files, err := tmfs.ListTerramateFiles(dir)
	if err != nil {
		return nil, oneLine("reading "+dir, err)
	}
	contents, mentioned := map[string][]byte{}, false
	for _, name := range files.TmFiles {
		file := filepath.Join(dir, name)
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		contents[file] = content
		mentioned = mentioned || bytes.Contains(content, []byte("env")) || bytes.Contains(content, []byte("import"))
	}
	if !mentioned {
		return nil, nil
	}
	// To make a parser takes longer than all of this.
	parser, err := hcl.NewTerramateParser(root, dir)
	if err != nil {
		return nil, oneLine("reading "+dir, err)
	}
	for file, content := range contents {
		if err := parser.AddFileContent(file, content); err != nil {
			return nil, oneLine("reading "+file, err)
		}
	}
	// Errors elsewhere in the files are terramate's to tell, which runs this process.
	_, _ = parser.ParseConfig()
	config := parser.ParsedConfig
	if !config.HasRunEnv() {
		return nil, nil
	}
	for _, attr := range config.Terramate.Config.Run.Env.Attributes.SortedList() {
		traversal, diags := hhcl.AbsTraversalForExpr(attr.Expr)
		unset := !diags.HasErrors() && len(traversal) == 1 && traversal.RootName() == "unset"
		names = append(names, runEnvName{attr.Name, unset})
	}
	return names, nil
}
