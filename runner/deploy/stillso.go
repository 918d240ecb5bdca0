package deploy

import (
	"fmt"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// stillSo tells whether HEAD, or what a stack is made of, is something else than when
// the stack was selected; [project.Guard] does.
type stillSo interface {
	Changed(stack string) (bool, error)
}

// recheck looks at a stack that is about to start, or that has ended. Where it is not
// what it was, or nobody can tell, its records are dirty from then on.
func (n *Session) recheck(path string) {
	if n.guard == nil || n.Stacks[path].Dirty {
		return
	}
	if _, known := n.touched.Load(path); known {
		return
	}
	changed, err := n.guard.Changed(path)
	if !changed && err == nil {
		return
	}
	n.touched.Store(path, true)
	if err != nil {
		n.Out.Warn(fmt.Sprintf("%s: cannot tell whether its files changed during the run, so this result will not count as deployed: %s", path, query.OneLine(err)))
		return
	}
	n.Out.Warn(fmt.Sprintf("%s: its files or HEAD changed during the run, so this result will not count as deployed (`git status` shows what changed)", path))
}

// IsTouched reports whether recheck has found the stack changed.
func (n *Session) IsTouched(path string) bool {
	_, is := n.touched.Load(path)
	return is
}

// stackHere looks at one stack without loading the project.
type stackHere struct {
	store *gitstate.Store
	files *project.Here
	head  string
}

// Changed looks after the command has run: what it left behind does not count.
func (h *stackHere) Changed(string) (bool, error) {
	head, err := h.store.Resolve("HEAD")
	if err != nil || head.Hash != h.head {
		return err == nil, err
	}
	return h.files.Changed()
}
