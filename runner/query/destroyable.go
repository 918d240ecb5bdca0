package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// An Orphan is an orphaned stack with the commit whose code destroys it, or why it must not be destroyed.
//
// The commit is that of its latest success: that is known to be whole. The state may be newer where an
// attempt failed later, but Terraform destroys what is in the state, for which it needs the providers,
// and not the code; if it lacks one it fails, and says so. Of a stack that never succeeded there is
// only the attempt. The last commit that had the folder may never have been deployed.
type Orphan struct {
	StackView
	Target  string       // as records have it
	Commit  string       // in full
	At      runner.Stack // as that has it
	Blocked string

	named    runner.Stack // as it was called last
	dependOn []*Orphan    // those that depend on it, and go first
}

// Orphanage is what is known of all orphans of a project, for a target.
type Orphanage struct {
	ctx       context.Context
	store     *gitstate.Store
	state     *gitstate.State
	project   *project.Project
	target    string
	ancestors map[string]bool // of HEAD
	relations map[string]*project.Relations
	Head      *project.Relations // without uncommitted changes
	main      *project.Relations // of the remote's default branch, nil where that is HEAD's commit or there is no remote
	All       []*Orphan
}

// FindOrphans finds the orphans for a target, and whether they can be destroyed. The project was
// loaded at its top.
func FindOrphans(ctx context.Context, s *gitstate.Store, st *gitstate.State, p *project.Project, target string) (*Orphanage, error) {
	o := &Orphanage{ctx: ctx, store: s, state: st, project: p, target: target, relations: map[string]*project.Relations{}}
	stacks, err := p.All()
	if err != nil {
		return nil, err
	}
	views := make([]StackView, len(stacks))
	for i, stack := range stacks {
		views[i].Stack = stack
	}
	gone, err := Orphans(ctx, s, st, p, views, target)
	if err != nil || len(gone) == 0 {
		return o, err
	}
	head, err := s.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	if o.ancestors, err = s.Ancestors(ctx, head.Hash); err != nil {
		return nil, err
	}
	for _, x := range gone {
		orphan := &Orphan{StackView: x, Target: target}
		if err := o.find(orphan); err != nil {
			return nil, err
		}
		o.All = append(o.All, orphan)
	}
	var named []runner.Stack
	for _, x := range o.All {
		named = append(named, x.named)
	}
	if o.Head, err = p.RelationsAt(ctx, head.Hash, named); err != nil {
		return nil, err
	}
	// A branch has no say in what is removed before it is merged.
	if remote, branch := p.DefaultRemote(), p.DefaultBranch(); slices.Contains(s.Remotes(), remote) {
		main, err := s.Resolve(o.defaultBranch())
		if err != nil {
			return nil, fmt.Errorf("%s/%s, which may have the orphaned stacks still, is not in this clone: git fetch %[1]s %[2]s:refs/remotes/%[1]s/%[2]s", remote, branch)
		}
		if main.Hash != head.Hash {
			if o.main, err = o.at(main.Hash); err != nil {
				return nil, err
			}
		}
	}
	for _, x := range o.All {
		if x.Blocked, err = o.blocked(x); err != nil {
			return nil, err
		}
	}
	return o, o.order()
}

// defaultBranch is that of the remote, as this clone has it.
func (o *Orphanage) defaultBranch() string {
	return "refs/remotes/" + o.project.DefaultRemote() + "/" + o.project.DefaultBranch()
}

// at are the relations at a commit.
func (o *Orphanage) at(commit string) (*project.Relations, error) {
	if o.relations[commit] == nil {
		if _, err := o.store.Resolve(commit); err != nil {
			return nil, fmt.Errorf("%s is not in this clone: git fetch origin %s (or git fetch --unshallow)", note.Short(commit), commit)
		}
		r, err := o.project.RelationsAt(o.ctx, commit, nil)
		if err != nil {
			return nil, err
		}
		o.relations[commit] = r
	}
	return o.relations[commit], nil
}

// find finds the commit that an orphan was deployed at last, and the stack in it.
func (o *Orphanage) find(x *Orphan) error {
	for _, commit := range []string{x.Deploy.OKCommit, x.Deploy.Commit} {
		if commit == "" {
			continue
		}
		r, err := o.at(commit)
		if err != nil {
			return fmt.Errorf("%s, which is orphaned, was deployed at %w", x.Path, err)
		}
		if at, is := r.Find(x.Stack); is {
			x.Commit, x.At, x.named = commit, at, at
			break
		}
	}
	if x.Commit == "" {
		x.At, x.named = x.Stack, x.Stack
		return nil
	}
	last, err := o.at(x.Gone.Last)
	if err != nil {
		return err
	}
	if at, is := last.Find(x.Stack); is {
		x.named = at
	}
	return nil
}

// blocked says why an orphan must not be destroyed whatever becomes of others, "" if it may.
func (o *Orphanage) blocked(x *Orphan) (string, error) {
	l := &x.Deploy
	if _, is := o.Head.Find(x.Stack); is {
		return "HEAD has it still: commit that it is removed", nil
	}
	if i := slices.IndexFunc(o.Head.Stacks, func(s runner.Stack) bool { return s.Path == x.Path || s.Path == x.At.Path }); i >= 0 {
		return "HEAD has another stack at its path, " + o.Head.Stacks[i].Path + ", whose resources may be the same", nil
	}
	if left := cmp.Or(o.Head.Left(x.Path), o.Head.Left(x.At.Path)); left != "" {
		return "HEAD still has " + left + ", although no stack is there: commit that its folder is removed", nil
	}
	if x.ID != "" && l.Record.ID == "" {
		return "a stack without an id was deployed at its path later: which resources are whose cannot be told", nil
	}
	if x.Commit == "" {
		return fmt.Sprintf("%s, at which it is recorded, has no such stack", note.Short(cmp.Or(l.OKCommit, l.Commit))), nil
	}
	if known, err := o.removed(x); err != nil || !known {
		return fmt.Sprintf("%s, at which it was deployed, is not in the history of HEAD, which may not know of it yet (git pull)", note.Short(x.Commit)), err
	}
	if o.main != nil {
		if _, is := o.main.Find(x.Stack); is {
			return strings.TrimPrefix(o.defaultBranch(), "refs/remotes/") + " has it still: push or merge that it is removed", nil
		}
	}
	if by := o.Head.DependentsOf(x.named.Path, false); len(by) > 0 {
		return by[0] + " depends on it at HEAD", nil
	}
	return o.liveDependent(x)
}

// removed reports whether HEAD is known to come after the last deployment: an older checkout has not
// got what was added later. A branch that was squashed is not in the history; then its removal has to
// be of later.
func (o *Orphanage) removed(x *Orphan) (bool, error) {
	l := &x.Deploy
	if o.ancestors[x.Commit] && (o.ancestors[l.Commit] || l.Record.Op == note.Destroy) {
		return true, nil
	}
	if x.Gone.removed == "" || l.Record.Op != note.Destroy && l.At.After(l.OKAt) {
		return false, nil
	}
	commit, err := o.store.Resolve(x.Gone.removed)
	return err == nil && commit.Time.After(l.OKAt), err
}

// liveDependent names a stack of HEAD that depended on an orphan when it was deployed last: what is
// live of it may still need what would be destroyed, whatever HEAD says.
func (o *Orphanage) liveDependent(x *Orphan) (string, error) {
	asked := map[string]bool{}
	for _, commit := range []string{x.Commit, x.Gone.Last} {
		r, err := o.at(commit)
		if err != nil {
			return "", err
		}
		then, is := r.Find(x.Stack)
		if !is {
			continue
		}
		for _, path := range r.DependentsOf(then.Path, true) {
			now, is := o.now(r, path)
			if !is || asked[now.Path] {
				continue
			}
			asked[now.Path] = true
			lives, err := o.lives(now)
			if err != nil {
				return "", err
			}
			for _, live := range lives {
				depends, err := o.depended(now, x, live)
				if err != nil {
					return fmt.Sprintf("%s depended on it, and whether it does as it is deployed cannot be told: %v", now.Path, err), nil
				}
				if depends {
					return fmt.Sprintf("%s depends on it as it is deployed, of %s: deploy %[1]s first", now.Path, note.Short(live)), nil
				}
			}
		}
	}
	return "", nil
}

// now is the stack of HEAD that was at a path.
func (o *Orphanage) now(r *project.Relations, path string) (runner.Stack, bool) {
	then := stackAt(r.Stacks, path)
	if s, is := o.Head.Find(then); is || then.ID != "" {
		return s, is
	}
	s := stackAt(o.Head.Stacks, path)
	return s, s.Path != "" // it has got an id
}

func stackAt(stacks []runner.Stack, path string) (s runner.Stack) {
	if i := slices.IndexFunc(stacks, func(s runner.Stack) bool { return s.Path == path }); i >= 0 {
		s = stacks[i]
	}
	return s
}

// lives are the commits that are live of a stack, or half so.
func (o *Orphanage) lives(s runner.Stack) ([]string, error) {
	commits := map[string]bool{}
	of := note.Slot{ID: s.ID, Path: s.Path, Target: o.target, Op: note.Deploy}
	for _, place := range o.state.Places(of) {
		of.Target = place.Target
		l, err := o.state.LatestAt(of, place.Backend)
		if err != nil {
			return nil, err
		}
		if live, _ := l.Live(); live != "" {
			commits[live] = true
		} else if l.Status != note.Never && !Destroyed(&l) {
			commits[l.Commit] = true
		}
	}
	return slices.Sorted(maps.Keys(commits)), nil
}

// depended reports whether a stack of HEAD depended on an orphan at a commit.
func (o *Orphanage) depended(now runner.Stack, x *Orphan, commit string) (bool, error) {
	r, err := o.at(commit)
	if err != nil {
		return false, err
	}
	then, is := r.Find(x.Stack)
	if !is {
		return false, nil
	}
	for _, path := range r.DependentsOf(then.Path, true) {
		if s, is := o.now(r, path); is && s.Path == now.Path {
			return true, nil
		}
	}
	return false, nil
}

// order finds out which orphans depend on which. Who is gone and destroyed stands between them.
func (o *Orphanage) order() error {
	for _, x := range o.All {
		for _, commit := range o.commits() {
			r, err := o.at(commit)
			if err != nil {
				return err
			}
			then, is := r.Find(x.Stack)
			if !is {
				continue
			}
			seen, todo := map[string]bool{then.Path: true}, r.DependentsOf(then.Path, true)
			for len(todo) > 0 {
				path := todo[0]
				todo = todo[1:]
				if _, is := o.now(r, path); is || seen[path] {
					continue
				}
				seen[path] = true
				if by := o.orphanAt(r, path); by == nil {
					todo = append(todo, r.DependentsOf(path, true)...)
				} else if by != x && !slices.Contains(x.dependOn, by) {
					x.dependOn = append(x.dependOn, by)
				}
			}
		}
	}
	return nil
}

// commits are those that orphans are destroyed at, and that had them last, sorted.
func (o *Orphanage) commits() []string {
	all := map[string]bool{}
	for _, x := range o.All {
		if x.Commit != "" {
			all[x.Commit], all[x.Gone.Last] = true, true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// orphanAt is the orphan that was at a path, nil if none was.
func (o *Orphanage) orphanAt(r *project.Relations, path string) *Orphan {
	then := stackAt(r.Stacks, path)
	i := slices.IndexFunc(o.All, func(x *Orphan) bool { return x.ID == then.ID && (x.ID != "" || x.Path == path) })
	if i < 0 {
		return nil
	}
	return o.All[i]
}

// Narrow leaves only the orphans below a folder of the project to be destroyed.
func (o *Orphanage) Narrow(below string) (others int) {
	for _, x := range o.All {
		if !isBelow(x.Path, below) {
			others++
			x.Blocked = NotAsked
		}
	}
	return others
}

// NotAsked is why an orphan that nobody asked for stays.
const NotAsked = "it is not below the working directory"

// Next are orphans of one commit that can be destroyed in one run: what depends on them is among them, or is in gone.
// What cannot be destroyed any more is blocked. There are none when all are gone or blocked.
func (o *Orphanage) Next(gone map[*Orphan]bool) []*Orphan {
	for again := true; again; {
		again = false
		for _, x := range o.All {
			i := slices.IndexFunc(x.dependOn, func(by *Orphan) bool { return !gone[by] && by.Blocked != "" })
			if x.Blocked == "" && !gone[x] && i >= 0 {
				x.Blocked, again = x.dependOn[i].Path+" depends on it, and is not destroyed", true
			}
		}
	}
	for _, commit := range o.commits() {
		r := o.relations[commit]
		var set []*Orphan
		for _, x := range o.All {
			if x.Blocked == "" && !gone[x] && x.Commit == commit {
				set = append(set, x)
			}
		}
		for before := -1; before != len(set); {
			before = len(set)
			all := slices.Clone(set)
			set = slices.DeleteFunc(set, func(x *Orphan) bool {
				return slices.ContainsFunc(x.dependOn, func(by *Orphan) bool {
					return !gone[by] && !(slices.Contains(all, by) && r.Ordered(x.At.Path, by.At.Path))
				})
			})
		}
		if len(set) > 0 {
			return set
		}
	}
	for _, x := range o.All {
		if x.Blocked == "" && !gone[x] {
			x.Blocked = "the order of it and what depends on it is not the same at all commits"
		}
	}
	return nil
}
