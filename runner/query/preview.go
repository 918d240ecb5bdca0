package query

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Merging asks what a merge changes of what is pending.
type Merging struct {
	Ctx     context.Context
	S       *gitstate.Store
	St      *gitstate.State
	P       *project.Project // as it is checked out
	Merge   *project.Merge
	Select  project.Selection
	Op      string
	Environ []string

	before, after side
	Assumed       int // stacks whose place is taken to be the recorded one
	Newer         int // of which a commit is deployed that is newer than the base
	Stacks        []runner.Stack
	Latest        map[string]gitstate.Latest // of Stacks
	rows          map[string]*report.PreviewStack
	undone        []report.PreviewStack
}

// side is the project before or after the merge.
type side struct {
	*project.Version
	pending *Pendings
	views   Views
}

func (m *Merging) side(v *project.Version) side {
	q := newPendings(m.Ctx, m.S, m.P, m.St, v.Reader)
	q.in, q.triggers, q.introduced = v.Inputs, v.Triggers, m.Merge.Introduced
	for _, known := range []*project.Version{m.Merge.Before, m.Merge.After} {
		q.Then[known.Inputs.Commit] = maps.Collect(known.Inputs.All())
	}
	return side{v, q, Views{Whereabouts{m.St, v.Reader}, m.Select.Target, m.Environ}}
}

// of tells why a stack is pending there, as `list --pending` does.
func (s *side) of(stack runner.Stack, op string) (why string, l gitstate.Latest, err error) {
	place, err := s.views.Place(stack)
	if err != nil {
		return "", l, err
	}
	return s.pending.Of(stack, Asked{Base: s.views.base, Place: place, Op: op, As: gitstate.As{Variant: gitstate.AnyVariant}})
}

// Look finds the stacks that would be deployed, and fills in what the notes say of them. The selection's
// filters go by the project after the merge.
func (m *Merging) Look(p *report.Preview) error {
	m.rows, m.Latest = map[string]*report.PreviewStack{}, map[string]gitstate.Latest{}
	m.before, m.after = m.side(m.Merge.Before), m.side(m.Merge.After)
	m.before.pending.introduced = m.Merge.IntroducedBefore
	were, err := m.stacksBefore()
	if err != nil {
		return err
	}
	sel := m.Select
	sel.Keep = func(stacks []runner.Stack) (kept []runner.Stack, err error) {
		for _, s := range stacks {
			is, err := m.keeps(s, were)
			if err != nil {
				return nil, err
			}
			if is {
				kept = append(kept, s)
			}
		}
		return kept, nil
	}
	selected, err := m.after.List(sel)
	if err != nil {
		return err
	}
	p.Stacks, p.Undone = []report.PreviewStack{}, append([]report.PreviewStack{}, m.undone...)
	for _, s := range selected {
		if m.rows[s.Path] == nil {
			m.rows[s.Path] = rowOf(s.Stack)
			m.rows[s.Path].Why = "selected by a dependency filter"
		}
		m.Stacks = append(m.Stacks, s.Stack)
	}
	m.Assumed = m.after.pending.Assumed
	if p.Removed, err = m.removed(); err != nil {
		return err
	}
	if err := m.newer(); err != nil {
		return err
	}
	return m.failing()
}

// Row is what is known of one of Stacks.
func (m *Merging) Row(path string) *report.PreviewStack { return m.rows[path] }

func rowOf(s runner.Stack) *report.PreviewStack {
	return &report.PreviewStack{Path: s.Path, ID: s.ID, Name: s.Name, Tags: s.Tags}
}

// stacksBefore are the stacks before the merge, by id and by path.
func (m *Merging) stacksBefore() (map[string]runner.Stack, error) {
	all, err := m.before.All()
	were := map[string]runner.Stack{}
	for _, s := range all {
		were[s.Path] = s
		if s.ID != "" {
			were[s.ID] = s
		}
	}
	return were, err
}

// keeps reports whether a stack is pending after the merge, and learns whether it is before.
func (m *Merging) keeps(s runner.Stack, were map[string]runner.Stack) (bool, error) {
	why, l, err := m.after.of(s, m.Op)
	if err != nil {
		return false, err
	}
	was, there := were[s.ID]
	if !there {
		was, there = were[s.Path]
	}
	changed, what := !there, []string(nil)
	if there {
		changed, what = m.changed(s, was)
	}
	before := ""
	switch {
	case !there:
	case !changed:
		before = why
	default:
		if before, _, err = m.before.of(was, m.Op); err != nil {
			return false, err
		}
	}
	if why == "" && before == "" {
		return false, nil
	}
	row := rowOf(s)
	row.Why, row.Changed, row.Backlog, row.Status = why, changed, before != "", l.Status
	row.LiveCommit, _ = l.Live()
	if why == "" {
		row.Why = before + " at the base; what is deployed is what the merge has"
		m.undone = append(m.undone, *row)
		return false, nil
	}
	if len(what) > 0 && strings.HasPrefix(why, inputsChanged) {
		row.Why += ": " + someOf(what)
	}
	m.rows[s.Path], m.Latest[s.Path] = row, l
	return true, nil
}

// changed reports whether the merge changes what a stack is made of, and what of it.
func (m *Merging) changed(s, was runner.Stack) (bool, []string) {
	before, errBefore := m.before.Inputs.Digest(was.Path)
	after, errAfter := m.after.Inputs.Digest(s.Path)
	ids := func(triggers []project.Trigger) (ids []string) {
		for _, tr := range triggers {
			ids = append(ids, tr.ID)
		}
		return ids
	}
	switch {
	case s.Path != was.Path:
		return true, []string{"moved from " + was.Path}
	case errBefore != nil || errAfter != nil || s.ID != was.ID:
		return true, nil
	}
	if before != after {
		return true, m.after.Inputs.Since(m.before.Inputs, s.Path)
	}
	return !slices.Equal(ids(m.before.Triggers[s.Path]), ids(m.after.Triggers[s.Path])), nil
}

// removed are the stacks that are deployed, and that are none after the merge.
func (m *Merging) removed() (gone []report.PreviewStack, err error) {
	gone = []report.PreviewStack{}
	if m.before.Project == m.after.Project {
		return gone, nil
	}
	left, err := m.after.All()
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, s := range left {
		has[s.ID], has[s.Path] = true, true
	}
	sel := m.Select
	sel.Dependencies, sel.NoRecursive = project.DependencyFilters{}, false
	selected, err := m.before.List(sel)
	if err != nil {
		return nil, err
	}
	for _, s := range selected {
		if s.ID != "" && has[s.ID] || has[s.Path] {
			continue
		}
		v, err := m.before.views.Of(s.Stack)
		if err != nil {
			return nil, err
		}
		if v.Deploy.Status == note.Never || Destroyed(&v.Deploy) {
			continue
		}
		row := rowOf(s.Stack)
		row.Status, row.Changed = v.Deploy.Status, true
		row.LiveCommit, _ = v.Deploy.Live()
		row.Why = "removed by this change, and not destroyed: it leaves resources behind"
		gone = append(gone, *row)
	}
	return gone, nil
}

// newer counts the stacks of which something newer is deployed than the base has.
func (m *Merging) newer() error {
	var ask []gitstate.Latest
	for _, s := range m.Stacks {
		ask = append(ask, m.Latest[s.Path])
	}
	late, _, err := m.St.Superseded(m.Ctx, m.Merge.Base, ask)
	for i := range late {
		if late[i] && ask[i].OKCommit != m.Merge.Head {
			m.Newer++
		}
	}
	return err
}

// failing finds since when the deployments of the backlog fail. Looked at are the commits since the last
// that succeeded; what others recorded elsewhere may have begun earlier.
func (m *Merging) failing() error {
	const most = 200 // commits
	look := map[string]bool{}
	asked := map[[2]string]bool{}
	for path, l := range m.Latest {
		if !m.rows[path].Backlog || !l.Status.Unsuccessful() {
			continue
		}
		look[l.Commit] = true
		span := [2]string{l.OKCommit, l.Commit}
		if l.OKCommit == "" || asked[span] {
			continue
		}
		asked[span], look[l.OKCommit] = true, true
		for _, commit := range span {
			if has, err := m.S.Has(commit); err != nil || !has {
				span = [2]string{}
			}
		}
		if span[0] == "" {
			continue
		}
		between, err := m.S.Between(m.Ctx, span[0], span[1], most)
		if err != nil {
			return err
		}
		for _, c := range between {
			look[c.Hash] = true
		}
	}
	if len(look) == 0 {
		return nil
	}
	return m.convict(slices.Sorted(maps.Keys(look)))
}

// convict reads the notes of commits for when the stacks of the backlog began to fail.
func (m *Merging) convict(commits []string) error {
	by := map[[2]string]note.Record{} // heads, by run and commit
	history := map[string][]Logged{}
	of := map[string][]string{} // stacks by the paths of their records
	for path, l := range m.Latest {
		if m.rows[path].Backlog && l.Status.Unsuccessful() {
			for name := range m.St.PathsOf(m.rows[path].ID, path) {
				of[name] = append(of[name], path)
			}
		}
	}
	err := m.S.NotesOf(commits, func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			r := line.Record
			if r.Event == note.Started && r.Leg() == 0 {
				by[[2]string{r.Run, commit}] = r
			}
			for _, path := range of[r.Stack] {
				l := m.Latest[path]
				if r.Status != "" && r.Target == l.Target && note.Op(r.Op).Deploys() && (r.ID == "" || strings.EqualFold(r.ID, m.rows[path].ID)) {
					history[path] = append(history[path], Logged{Commit: commit, Record: r})
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for path, all := range history {
		l, row := m.Latest[path], m.rows[path]
		SortByTime(all)
		v := Convict(all, &l)
		if v.First == nil || v.OK() {
			continue
		}
		head := by[[2]string{v.First.Record.Run, v.First.Commit}]
		row.Since, row.Commit, row.Reason = v.First.Record.At, v.First.Commit, v.First.Record.Why()
		if row.By, row.Job = v.First.Record.By, head.Job; row.By == "" {
			row.By = head.By
		}
	}
	return nil
}

// Held says which of the stacks would not be deployed for a hold, of theirs or of one that they
// come after in the graph.
func (m *Merging) Held(g *runner.Graph) error {
	stacks := map[string]runner.Stack{}
	for _, s := range m.Stacks {
		stacks[s.Path] = s
	}
	for _, path := range g.Order() {
		row := m.rows[path]
		for _, first := range g.Predecessors(path) {
			if up := m.rows[first]; up != nil && up.Hold != "" {
				row.Cause, row.Hold = first, up.Hold
				if up.Cause != "" {
					row.Cause = up.Cause
				}
				break
			}
		}
		s := stacks[path]
		place, err := m.after.views.Place(s)
		if err != nil {
			return err
		}
		if h, is := m.St.Hold(note.Slot{ID: s.ID, Path: path, Target: command.TargetOf(m.Select.Target, place.Workspace)}); is {
			row.Hold, row.Cause = h.String(), ""
		}
	}
	return nil
}
