package query

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Removal is when a stack went from HEAD.
type Removal struct {
	removed string // the commit that removed its folder; "" if that cannot be told
	Last    string // the last commit that is known to have had it
}

func (r *Removal) String() string {
	if r.removed == "" {
		return "no stack of the project any more; at " + note.Short(r.Last) + " it was"
	}
	return fmt.Sprintf("gone from HEAD since %s; %s had it last", note.Short(r.removed), note.Short(r.Last))
}

// Narrowed reports whether a selection is by what a stack that is gone has not:
// tags, changes, dependencies.
func Narrowed(sel project.Selection) bool {
	return sel.Changed || len(sel.Tags)+len(sel.NoTags) > 0 || sel.Dependencies.HasDependencyFilters()
}

// Orphans are the stacks below the working directory that were deployed to the
// target, are none of HEAD's, by id or path, and were not destroyed. What there
// is to ask of git and of all notes is asked only where there is one.
func Orphans(ctx context.Context, s *gitstate.Store, st *gitstate.State, p *project.Project, selected []StackView, target string) ([]StackView, error) {
	below := "/"
	if rel, err := filepath.Rel(p.Root(), p.Dir()); err == nil && rel != "." {
		below = "/" + filepath.ToSlash(rel)
	}
	ids, paths, err := present(p, selected, below)
	if err != nil {
		return nil, err
	}
	var gone []StackView
	goneByID := map[string]bool{}
	bare := map[string]bool{} // paths of those without an id
	for _, slot := range st.Slots() {
		if slot.Op != note.Deploy || slot.Target != target || slot.ID != "" && ids[slot.ID] || slot.ID == "" && paths[slot.Path] {
			continue
		}
		if slot.ID == "" {
			bare[slot.Path] = true
		} else {
			goneByID[slot.Path] = true
		}
		gone = append(gone, StackView{Stack: runner.Stack{ID: slot.ID, Path: slot.Path}})
	}
	if len(gone) == 0 {
		return nil, nil
	}
	adopted := map[string]bool{}
	if len(bare) > 0 {
		if adopted, err = adoptedPaths(ctx, s, st, bare, target); err != nil {
			return nil, err
		}
	}
	var left []StackView
	for _, x := range gone {
		if x.ID == "" && (adopted[x.Path] || goneByID[x.Path]) || !isBelow(x.Path, below) {
			continue
		}
		// Another stack may stand at its path by now, with a history of its own.
		as := x.Stack
		if paths[x.Path] {
			as.Path = ""
		}
		if x.View, err = viewOf(st, as, target); err != nil {
			return nil, err
		}
		if Destroyed(&x.Deploy) {
			continue
		}
		if x.Gone, err = removal(ctx, s, x.Path, x.Deploy.Commit); err != nil {
			return nil, err
		}
		left = append(left, x)
	}
	return left, nil
}

// present are the ids and paths of HEAD's stacks.
func present(p *project.Project, selected []StackView, below string) (ids, paths map[string]bool, err error) {
	ids, paths = map[string]bool{}, map[string]bool{}
	has := func(x runner.Stack) { ids[x.ID], paths[x.Path] = true, true }
	for _, x := range selected {
		has(x.Stack)
	}
	if below == "/" { // all are selected
		return ids, paths, nil
	}
	all, err := p.All()
	for _, x := range all {
		has(x)
	}
	return ids, paths, err
}

// removal is when a stack that a commit had went from HEAD.
func removal(ctx context.Context, s *gitstate.Store, path, commit string) (*Removal, error) {
	removed, last, err := s.Removed(ctx, path, commit)
	if removed == "" {
		last = commit
	}
	return &Removal{removed, last}, err
}

// Destroyed reports whether nothing is left of a stack, as far as is known.
func Destroyed(l *gitstate.Latest) bool {
	return l.Status == note.OK && l.Op == note.Destroy && len(l.Diverged) == 0
}

// adoptedPaths are those of the paths whose stack got an id later: the records
// that it has by its id follow those that it has by its path.
func adoptedPaths(ctx context.Context, s *gitstate.Store, st *gitstate.State, paths map[string]bool, target string) (map[string]bool, error) {
	runs := map[string][]string{}
	for path := range paths {
		l, err := st.Latest(note.Slot{ID: "", Path: path, Target: target, Op: note.Deploy})
		if err != nil {
			return nil, err
		}
		runs[path] = l.Runs()
	}
	adopted := map[string]bool{}
	err := s.Counted(ctx, func(_ string, lines []gitstate.Line) error {
		for _, l := range lines {
			r := l.Record
			if r.ID != "" && paths[r.Stack] && r.Target == target &&
				slices.ContainsFunc(r.Prev, func(p string) bool { return slices.Contains(runs[r.Stack], p) }) {
				adopted[r.Stack] = true
			}
		}
		return nil
	})
	return adopted, err
}

// GoneStack finds a stack that is none of HEAD's among those that have records
// of deployments to the target, by its id, or else by its path.
func GoneStack(s *gitstate.Store, dir string, st *gitstate.State, want, target string) (runner.Stack, error) {
	path, _ := projectPath(s, dir, want)
	var found runner.Stack
	var elsewhere []string
	recorded := map[string]bool{}
	for _, slot := range st.Slots() {
		recorded[slot.Path] = true
		byID := slot.ID != "" && slot.ID == strings.ToLower(want)
		switch {
		case slot.Op != note.Deploy, !byID && slot.Path != want && slot.Path != path:
		case slot.Target != target:
			elsewhere = append(elsewhere, fmt.Sprintf("%q", slot.Target))
		case byID:
			return runner.Stack{ID: slot.ID, Path: slot.Path}, nil
		case found.ID != "" && slot.ID != "":
			return found, fmt.Errorf("several stacks that are gone were at %s; name one by its id: %s or %s", want, found.ID, slot.ID)
		case found.ID == "":
			found = runner.Stack{ID: slot.ID, Path: slot.Path}
		}
	}
	switch {
	case found.Path != "":
		return found, nil
	case len(elsewhere) > 0:
		return found, fmt.Errorf("%s is not a stack in this project, and is deployed to other targets only: %s; add --target", want, strings.Join(slices.Compact(elsewhere), ", "))
	}
	return found, fmt.Errorf("%s is not a stack in this project, and no deployment of it is recorded%s; `tmnotes status` lists the stacks", want, MeantRecorded(want, recorded))
}
