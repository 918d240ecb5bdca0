package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/terramate-io/terramate"
	"github.com/terramate-io/terramate/config"
	tmfs "github.com/terramate-io/terramate/fs"
	"github.com/terramate-io/terramate/hcl"

	"github.com/tmnotes/tmnotes/runner"
)

// ErrNoStack is returned by [StackAt] in a project, outside all its stacks.
var ErrNoStack = errors.New("not in a stack: change into a folder with a stack block in a .tm file, or below one (terramate list shows them)")

// StackAt returns the stack that dir is in, and the top folder of its project,
// from the stack's own files: a project of thousands of stacks is not loaded,
// so that a process per stack may ask. It is the nearest folder at or above dir,
// within the project, with a stack block, as [Load] would find it; what a
// bundle would add to its name and tags is left out.
//
// Only where those files do not tell (none has a stack block, or one is wrong)
// is the project loaded, and the error is that of [Load], or [ErrNoStack].
//
// top is the top of the work tree, where that is known already, else "".
func StackAt(ctx context.Context, dir, top string) (s runner.Stack, root string, err error) {
	wd, err := workingDir(dir)
	if err != nil {
		return s, "", err
	}
	if root, err = filepath.EvalSymlinks(top); top == "" {
		root, err = projectRoot(ctx, wd)
	}
	if err != nil {
		return s, "", err
	}
	dirs, err := loadedDirs(root, wd)
	if err != nil {
		return s, "", err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		st, certain := stackIn(root, dirs[i])
		if st != nil {
			return newStack(root, st.Dir.String(), st.ID, st.Name, st.Tags), root, nil
		}
		if !certain {
			break
		}
	}

	p, err := Load(ctx, Options{Dir: wd})
	if err != nil {
		return s, "", err
	}
	at, _ := projectPath(p.Root(), wd)
	nearest, ok := p.enclosing(at)
	if !ok {
		return s, "", fmt.Errorf("%s: %w", wd, ErrNoStack)
	}
	_, st, err := p.config(runner.Stack{Path: nearest})
	if err != nil {
		return s, "", err
	}
	return p.stack(st), p.Root(), nil
}

// projectRoot finds the top folder of a project as engine.NewProject does: that
// of the git work tree, else the nearest folder with terramate.required_version.
func projectRoot(ctx context.Context, wd string) (string, error) {
	if top, err := gitTop(ctx, wd); err == nil {
		return top, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		found, err := isRoot(dir)
		if err != nil {
			return "", oneLine("looking for the Terramate project", err)
		}
		if found {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", ErrNoProject
		}
	}
}

func isRoot(dir string) (bool, error) {
	parser, err := hcl.NewTerramateParser(dir, dir)
	if err != nil {
		return false, err
	}
	if err := parser.AddDir(dir); err != nil {
		return false, err
	}
	return parser.IsRootConfig()
}

// loadedDirs are the folders from root to wd that Terramate looks into: none
// from a dot folder or one with .tmskip on, save that the root is always read
// (config, loadTree).
func loadedDirs(root, wd string) ([]string, error) {
	rel, ok := projectPath(root, wd)
	if !ok {
		return nil, fmt.Errorf("%s is not in the project at %s", wd, root)
	}
	dirs := []string{root}
	if skip, err := skips(root, root); skip || err != nil {
		return dirs, err
	}
	for name := range strings.SplitSeq(strings.Trim(rel, "/"), "/") {
		if name == "" {
			break
		}
		dir := filepath.Join(dirs[len(dirs)-1], name)
		if skip, err := skips(root, dir); skip || err != nil {
			return dirs, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// skips reports whether Terramate does not look into a folder, other than the root, nor below it.
func skips(root, dir string) (bool, error) {
	if dir != root && config.Skip(filepath.Base(dir)) {
		return true, nil
	}
	_, err := os.Lstat(filepath.Join(dir, terramate.SkipFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// stackIn returns the stack that the files in dir itself define, nil if they
// define none. It is not certain of that where they have errors. Errors aside
// from the stack block do not matter: they may be of imports, which cannot bring
// a stack, or of experiments, which the root enables.
func stackIn(root, dir string) (st *config.Stack, certain bool) {
	files, err := tmfs.ListTerramateFiles(dir)
	if err != nil {
		return nil, false
	}
	parser, err := hcl.NewTerramateParser(root, dir)
	if err != nil {
		return nil, false
	}
	mentioned := false
	for _, name := range files.TmFiles {
		file := filepath.Join(dir, name)
		content, err := os.ReadFile(file)
		if err != nil || parser.AddFileContent(file, content) != nil {
			return nil, false
		}
		mentioned = mentioned || bytes.Contains(content, []byte("stack"))
	}
	if !mentioned {
		return nil, true
	}
	_, err = parser.ParseConfig()
	blocks := 0
	for _, body := range parser.ParsedBodies() {
		for _, block := range body.Blocks {
			if block.Type == "stack" {
				blocks++
			}
		}
	}
	if blocks != 1 || parser.ParsedConfig.Stack == nil {
		return nil, blocks == 0 && err == nil
	}
	st, err = config.NewStackFromHCL(root, parser.ParsedConfig)
	if err != nil {
		return nil, false
	}
	return st, true
}
