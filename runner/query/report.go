package query

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner/project"
)

// AllTargets are those that something is recorded for, at least the one without
// a name.
func AllTargets(st *gitstate.State) []string {
	targets := []string{}
	for _, slot := range st.Slots() {
		if i, found := slices.BinarySearch(targets, slot.Target); !found {
			targets = slices.Insert(targets, i, slot.Target)
		}
	}
	if len(targets) == 0 {
		return []string{""}
	}
	return targets
}

// KnownStacks are the selected stacks with the targets that they have records for, or,
// if there is one target only, for that; and, unless they were chosen by what those have
// not, the stacks that are gone.
func KnownStacks(ctx context.Context, s *gitstate.Store, st *gitstate.State, p *project.Project, sel project.Selection, targets []string) ([]report.Known, error) {
	selected, err := p.List(sel)
	if err != nil {
		return nil, err
	}
	stacks := make([]StackView, len(selected))
	type place struct{ target, stack string }
	has := map[place]bool{}
	for _, slot := range st.Slots() {
		has[place{slot.Target, cmp.Or(slot.ID, slot.Path)}] = true
	}
	var known []report.Known
	for i, x := range selected {
		stacks[i].Stack = x.Stack
		k := report.Known{Path: x.Path, ID: x.ID, Name: x.Name, Tags: x.Tags}
		before := len(known)
		for _, k.Target = range targets {
			if len(targets) == 1 || has[place{k.Target, x.ID}] || has[place{k.Target, x.Path}] {
				known = append(known, k)
			}
		}
		if len(known) == before {
			k.Target = ""
			known = append(known, k)
		}
	}
	if !Narrowed(sel) {
		for _, target := range targets {
			gone, err := Orphans(ctx, s, st, p, stacks, target)
			if err != nil {
				return nil, err
			}
			for _, o := range gone {
				known = append(known, report.Known{Path: o.Path, ID: o.ID, Target: target, Gone: true, LastCommit: o.Gone.Last})
			}
		}
	}
	slices.SortStableFunc(known, func(a, b report.Known) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Target, b.Target))
	})
	return known, nil
}

// RepositoryName is what people call a repository: as its remote does, without
// scheme and credentials, or else as its folder.
func RepositoryName(ctx context.Context, s *gitstate.Store, remote string) string {
	if remote != "" {
		if url, err := s.Remote(remote).URL(ctx); err == nil {
			if name, err := project.CloudRepository(url); err == nil {
				return name
			}
		}
	}
	dir := cmp.Or(s.WorkTree(), strings.TrimSuffix(s.GitDir(), ".git"))
	return filepath.Base(dir)
}
