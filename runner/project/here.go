package project

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tmnotes/tmnotes/runner"
)

// Here is one stack whose project is not loaded: what else its inputs are, beside the files in its
// folder, is known only to who has loaded it. It is for one goroutine at a time.
type Here struct {
	ctx   context.Context
	top   workTree
	stack runner.Stack
	was   map[string]mark        // of what was in the folder before git looked at it; nil where that is too much
	clean bool                   // it was, when git looked
	index func() ([]byte, error) // what of it git tracked then
}

// LookHere remembers what the files in the folder of a stack look like.
func LookHere(ctx context.Context, root string, stack runner.Stack) *Here {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	h := &Here{ctx: ctx, top: workTree{dir: root}, stack: stack}
	h.was = h.marks()
	h.index = sync.OnceValues(func() ([]byte, error) { return h.top.index(ctx, stack.Path) })
	return h
}

// Ignored is [IgnoredDigests] of the stack.
func (h *Here) Ignored() (map[string]string, error) {
	return h.top.ignoredDigests([]string{h.stack.Path}, func(files []string) (map[string]bool, error) {
		if slices.ContainsFunc(files, func(file string) bool { return !strings.HasPrefix(file, strings.TrimSuffix(h.stack.Path, "/")+"/") }) {
			return h.top.tracked(h.ctx, files)
		}
		out, err := h.index()
		tracked := map[string]bool{}
		for entry := range strings.SplitSeq(string(out), "\x00") {
			if _, name, is := strings.Cut(entry, " "); is { // after a letter: see hidden
				tracked["/"+name] = true
			}
		}
		return tracked, err
	})
}

// Dirty reports whether files in the folder, those of stacks below it aside, have uncommitted changes.
func (h *Here) Dirty() (bool, error) {
	dirty, err := h.differs(false)
	h.clean = err == nil && !dirty
	return dirty, err
}

// Changed is Dirty after a command has run in the folder: new files that Terraform would not read are taken
// for what came of that. Where the folder was clean and nothing happened to the files, git is not asked.
func (h *Here) Changed() (bool, error) {
	if h.clean && h.untouched() {
		return false, nil
	}
	return h.differs(true)
}

func (h *Here) untouched() bool {
	if h.was == nil {
		return false
	}
	now := h.marks()
	for file, is := range now {
		if was, known := h.was[file]; !known || !is.same(was) {
			return false
		}
	}
	return len(now) == len(h.was)
}

// marks are those of all that is in the folder but what Terraform leaves there; nil where that is much, or
// another repository, or cannot be read.
func (h *Here) marks() map[string]mark {
	const most = 1000
	marks := map[string]mark{}
	dir := h.top.host(h.stack.Path)
	err := filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		below, _ := filepath.Rel(dir, host)
		file := path.Join(h.stack.Path, filepath.ToSlash(below))
		switch {
		case err != nil || len(marks) > most || d.Name() == ".git" && file != "/.git":
			return fs.ErrInvalid
		case host != dir && Artifact(file), file == "/.git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		var was *mark
		if w, known := h.was[file]; known {
			was = &w
		}
		m := h.top.look(file, was)
		if m.folder {
			m = mark{folder: true} // what is in there is seen by itself
		}
		marks[file] = m
		return m.err
	})
	if err != nil {
		return nil
	}
	return marks
}

func (h *Here) differs(ran bool) (bool, error) {
	index := h.index
	if ran {
		index = func() ([]byte, error) { return h.top.index(h.ctx, h.stack.Path) }
	}
	files, err := h.top.changedIn(h.ctx, index, h.stack.Path)
	if err != nil {
		return false, fmt.Errorf("looking for uncommitted changes: %w", err)
	}
	mine := map[string]bool{}
	for file, untracked := range files {
		if strings.HasPrefix(file, "/.tmtriggers/") || (untracked || ran) && Artifact(file) || untracked && ran && !matters(path.Base(file)) {
			continue
		}
		at := path.Dir(file)
		is, asked := mine[at]
		if !asked {
			in, _, err := StackAt(h.ctx, h.top.host(at), h.top.dir)
			is = err != nil || in.Path == h.stack.Path // where it cannot be told, it is
			mine[at] = is
		}
		if is {
			return true, nil
		}
	}
	return false, nil
}
