package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
)

// Merge is a commit on the branch that is deployed, and what was announced for it.
type Merge struct {
	Commit    string
	From      string // the commit before what was merged; "" is the first parent
	Announced []string
	Backlog   map[string]bool // of Announced
}

// Outcomes are what came of a merge, by stack: of those that were announced, and of those whose inputs it changed. What an
// announcement leaves out is none the less asked for.
//
// A stack is deployed where it is not pending now, or where the merge, or a commit after it, was deployed:
// then what is pending came later.
func (q *Pendings) Outcomes(ctx context.Context, v Views, m Merge) ([]report.Outcome, error) {
	all, err := q.P.All()
	if err != nil {
		return nil, err
	}
	at := map[string]runner.Stack{}
	for _, s := range all {
		at[s.Path] = s
	}
	names, err := q.touched(m, at)
	if err != nil {
		return nil, err
	}
	for _, name := range m.Announced {
		names[name] = true
	}
	if err := q.follow(m, names, at); err != nil {
		return nil, err
	}
	paths := slices.Sorted(maps.Keys(names))
	out := make([]report.Outcome, len(paths))
	views := make([]View, len(paths))
	var ask []gitstate.Latest
	for i, path := range paths {
		out[i] = report.Outcome{Stack: path, Backlog: m.Backlog[path], What: report.Dropped}
		stack, is := at[path]
		if is {
			if views[i], err = v.Of(stack); err != nil {
				return nil, err
			}
			place, err := v.Place(stack)
			if err != nil {
				return nil, err
			}
			out[i].What = report.Delivered
			var l gitstate.Latest
			if out[i].Why, l, err = q.Of(stack, Asked{Base: v.base, Place: place, Op: note.Deploy, As: gitstate.As{Variant: gitstate.AnyVariant}}); err != nil {
				return nil, err
			}
			if out[i].Why != "" {
				out[i].What, views[i].Deploy = report.NotYet, l
			}
		}
		l := &views[i].Deploy
		ask = append(ask, *l, gitstate.Latest{OKCommit: l.Commit})
	}
	after, _, err := q.St.Superseded(ctx, m.Commit, ask)
	if err != nil {
		return nil, err
	}
	for i := range out {
		tell(&out[i], &views[i], m.Commit, after[2*i], after[2*i+1])
	}
	return out, nil
}

// touched are the stacks whose inputs a merge changed: all of those at HEAD that may be among them, where what they are at
// the merge, or were before it, cannot be told.
func (q *Pendings) touched(m Merge, at map[string]runner.Stack) (map[string]bool, error) {
	names := map[string]bool{}
	now, err := q.Digests(m.Commit)
	if err != nil {
		return nil, err
	}
	before := map[string]string{}
	if parent, err := q.S.Resolve(cmp.Or(m.From, m.Commit+"^1")); err == nil {
		if before, err = q.Digests(parent.Hash); err != nil {
			return nil, err
		}
	} else if _, err := q.S.Ancestors(q.Ctx, m.Commit); err != nil { // else it is the first commit
		return nil, fmt.Errorf("what %s changed cannot be told: %w", note.Short(m.Commit), err)
	}
	for stack, digest := range now {
		if before[stack] != digest {
			names[stack] = true
		}
	}
	var ask []gitstate.At
	for stack := range at {
		if now[stack] == "" {
			ask = append(ask, gitstate.At{Commit: m.Commit, File: stack})
		}
	}
	there, err := q.S.FileIDs(q.Ctx, ask)
	for _, a := range ask {
		if now == nil || a.File == "/" || there[a] != "" { // else it came later
			names[a.File] = true
		}
	}
	return names, err
}

// follow puts the paths that stacks have now in the place of those that they had at the merge. Where these cannot be told,
// those of their records are.
func (q *Pendings) follow(m Merge, names map[string]bool, at map[string]runner.Stack) error {
	gone := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(name string) bool { return at[name].Path != "" })
	if len(gone) == 0 {
		return nil
	}
	ids := map[string]string{}
	if then, err := q.P.Touched(q.Ctx, "", m.Commit); err == nil {
		for _, t := range then {
			ids[t.Path] = t.ID
		}
	} else if q.Ctx.Err() != nil {
		return context.Cause(q.Ctx)
	}
	for _, s := range at {
		for _, name := range gone {
			if s.ID != "" && (strings.EqualFold(ids[name], s.ID) || ids[name] == "" && q.St.PathsOf(s.ID, s.Path)[name]) {
				delete(names, name)
				names[s.Path] = true
				if m.Backlog[name] {
					m.Backlog[s.Path] = true
				}
			}
		}
	}
	return nil
}

// SettledBy are the commits, the newest first, on which stacks did not succeed before they did on this one: what came of
// those commits is another thing since.
func SettledBy(s *gitstate.Store, commit, target string) (commits []string, err error) {
	type result struct {
		at     time.Time
		commit string
		status note.Status
	}
	of := map[string][]result{}
	err = s.Notes(func(on string, lines []gitstate.Line) error {
		for _, l := range lines {
			r := &l.Record
			at, _, _ := strings.Cut(r.Target, "+")
			if l.Err == nil && !l.Copied && r.Status != "" && r.Op == note.Deploy && at == target {
				of[cmp.Or(r.ID, r.Stack)] = append(of[cmp.Or(r.ID, r.Stack)], result{r.At, on, r.Status})
			}
		}
		return nil
	})
	newest := map[string]time.Time{}
	for _, results := range of {
		slices.SortFunc(results, func(a, b result) int { return b.at.Compare(a.at) })
		i := slices.IndexFunc(results, func(r result) bool { return r.commit == commit && r.status == note.OK })
		for i++; i > 0 && i < len(results) && results[i].status != note.OK; i++ {
			if r := results[i]; r.commit != commit && r.at.After(newest[r.commit]) {
				newest[r.commit] = r.at
			}
		}
	}
	commits = slices.SortedFunc(maps.Keys(newest), func(a, b string) int { return newest[b].Compare(newest[a]) })
	return commits, err
}

// stands reports whether what the latest success deployed can be taken to be there: it was of committed
// files, nothing is in doubt about it, and neither a destruction nor what was tried of a commit before the merge may have taken it away.
func stands(l *gitstate.Latest, tried bool) bool {
	live, _ := l.Live()
	undone := !tried && (l.Status == note.Failed || l.Status == note.Interrupted || l.Status == note.Running)
	return live != "" && !undone && !l.OKDirty && !l.Unsigned && len(l.Conflicts) == 0 && (l.Status != note.OK || len(l.Diverged) == 0) &&
		(l.Op == note.Deploy || l.Status != note.Failed && l.Status != note.Interrupted && l.Status != note.Running)
}

// tell finds out what came of a stack. okAfter says that the latest success stands on a commit after the merge,
// triedAfter that the latest attempt does.
func tell(o *report.Outcome, v *View, merge string, okAfter, triedAfter bool) {
	l := &v.Deploy
	tried := l.Status != note.Never && (l.Commit == merge || triedAfter)
	if o.What == report.NotYet && (l.OKCommit == merge || okAfter) && stands(l, tried) {
		o.What, o.Why = report.Delivered, ""
	}
	if tried || o.What == report.Delivered {
		o.Job, o.Took, o.Commit = l.Job, l.Record.Took, l.Commit
	}
	switch {
	case o.What == report.Delivered:
		o.Commit = l.OKCommit
	case o.What == report.Dropped:
	case v.Hold != nil:
		o.Status, o.Why = string(note.Held), v.Hold.String()
	case !tried:
		o.Status = "pending"
	default:
		if o.Status = string(l.Status); l.Status == note.OK {
			o.Status = "pending" // a success that does not count, or something was triggered
			break
		}
		if why := l.Record.Why(); why != "" {
			o.Why = why
		}
		if l.Status == note.Failed || l.Status == note.Canceled || l.Status == note.Interrupted {
			o.What = report.Unlucky
		}
	}
}
