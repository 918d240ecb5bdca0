package query

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// FindStack finds a stack of the project by its project path, by a path as a
// shell completes it, or by its id.
func FindStack(s *gitstate.Store, dir string, all []runner.Stack, want string) (runner.Stack, bool) {
	path, _ := projectPath(s, dir, want)
	want = withoutSlash(want)
	i := slices.IndexFunc(all, func(st runner.Stack) bool {
		return st.Path == want || st.Path == path || st.ID != "" && st.ID == strings.ToLower(want)
	})
	if i < 0 {
		return runner.Stack{}, false
	}
	return all[i], true
}

// withoutSlash is a project path without the slash that may end it.
func withoutSlash(path string) string {
	if len(path) > 1 && strings.HasPrefix(path, "/") {
		return strings.TrimRight(path, "/")
	}
	return path
}

// projectPath makes a project path of a path as a shell completes it.
func projectPath(s *gitstate.Store, dir, path string) (string, bool) {
	top := s.WorkTree()
	if top == "" {
		return "", false
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	rel, err := filepath.Rel(top, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	if rel == "." {
		return "/", true
	}
	return "/" + filepath.ToSlash(rel), true
}

// StackMatcher finds the records of a stack that was named by its project
// path, by a path as the shell completes it, or by its id. By a path it also
// finds those that the stack that is there now has by its id, made elsewhere.
func StackMatcher(ctx context.Context, s *gitstate.Store, dir, want string) func(*note.Record) bool {
	want = withoutSlash(want)
	paths, ids := map[string]bool{want: true}, map[string]bool{strings.ToLower(want): true}
	if p, ok := projectPath(s, dir, want); ok {
		paths[p] = true
	}
	for p := range paths {
		folder := filepath.Join(s.WorkTree(), filepath.FromSlash(p))
		if info, err := os.Stat(folder); !strings.HasPrefix(p, "/") || s.WorkTree() == "" || err != nil || !info.IsDir() {
			continue
		}
		// Where the project cannot be read the records of the path are shown.
		if st, _, err := project.StackAt(ctx, folder, s.WorkTree()); err == nil && paths[st.Path] && st.ID != "" {
			ids[st.ID] = true
		}
	}
	return func(r *note.Record) bool { return paths[r.Stack] || r.ID != "" && ids[strings.ToLower(r.ID)] }
}

// NamedStacks are the stacks that were named, in the order of the project; with
// below also those below.
func NamedStacks(s *gitstate.Store, dir string, all []runner.Stack, names []string, below bool) ([]runner.Stack, error) {
	chosen := map[string]bool{}
	for _, want := range names {
		st, found := FindStack(s, dir, all, want)
		if found {
			chosen[st.Path] = true
		}
		if below {
			path, ok := projectPath(s, dir, want)
			switch {
			case found:
				path = st.Path
			case strings.HasPrefix(want, "/") || !ok:
				path = want
			}
			for _, st := range all {
				if isBelow(st.Path, path) {
					chosen[st.Path], found = true, true
				}
			}
		}
		switch {
		case !found && below:
			return nil, fmt.Errorf("%s is not a stack in this project, and has none below it%s; `tmnotes list` lists the stacks", want, MeantStack(want, all))
		case !found:
			return nil, fmt.Errorf("%s is not a stack in this project%s; `tmnotes list` lists them", want, MeantStack(want, all))
		}
	}
	var stacks []runner.Stack
	for _, st := range all {
		if chosen[st.Path] {
			stacks = append(stacks, st)
		}
	}
	return stacks, nil
}

// Among are the stacks that were selected, too.
func Among(stacks []runner.Stack, selected []project.Selected) []runner.Stack {
	in := map[string]bool{}
	for _, x := range selected {
		in[x.Path] = true
	}
	return slices.DeleteFunc(slices.Clone(stacks), func(st runner.Stack) bool { return !in[st.Path] })
}

// isBelow reports whether a project path is another one or lies below it.
func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
