package query

import (
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
	"github.com/tmnotes/tmnotes/runner/project"
)

// tracer knows of the commits on which something of the rows stands.
type tracer struct {
	Tracing
	here    map[string]bool            // whether a commit is in this clone
	has     map[string]bool            // it has the change in its history, or what that became
	before  map[string]bool            // it is before these
	landed  bool                       // the mainline has the change
	merge   string                     // by which it came there, if by one,
	without string                     // and the commit before
	merged  map[string]bool            // whether a commit has the merge
	reverts map[string]map[string]bool // commit that reverts the change → those of the others that have it
	undone  map[string][]string        // commit → those that revert it
	files   map[gitstate.At]string
	renamed map[gitstate.At]bool
}

// verdict is whether something that stands on a commit has the change.
type verdict int

const (
	no verdict = iota
	yes
	reverted // it had
	unknown
)

// learn asks git about all commits at once.
func (t *tracer) learn(ctx context.Context, rows []Reached) error {
	var commits []string
	for i := range rows {
		r := &rows[i]
		for _, s := range r.history {
			commits = append(commits, s.commit)
		}
		commits = append(commits, r.Latest.Commit, r.Latest.OKCommit)
	}
	var mainline []string
	for _, name := range t.Tips {
		if c, err := t.S.Resolve(name); err == nil {
			mainline = append(mainline, c.Hash)
		}
	}
	slices.Sort(commits)
	var known []string
	for _, c := range slices.Compact(append(commits, mainline...)) {
		if c == "" || t.here[c] {
			continue
		}
		has, err := t.S.Has(c)
		if err != nil {
			return err
		}
		if t.here[c] = has; has {
			known = append(known, c)
		}
	}
	if err := t.learnHistory(ctx, rows, known); err != nil {
		return err
	}
	t.landed = len(mainline) > 0 && t.has[mainline[0]]
	if i := slices.IndexFunc(mainline, func(tip string) bool { return t.has[tip] }); i >= 0 {
		var err error
		if t.merge, t.without, err = t.S.MergeOf(ctx, t.Change.Commit.Hash, mainline[i]); err != nil {
			return err
		}
		if t.merged, err = t.having(ctx, t.merge, known); err != nil {
			return err
		}
	}
	return t.learnFiles(ctx, rows)
}

// learnHistory finds out which of the commits have the change, or a revert of it.
func (t *tracer) learnHistory(ctx context.Context, rows []Reached, known []string) (err error) {
	to := t.Change.Commit.Hash
	if t.has, err = t.having(ctx, to, known); err != nil {
		return err
	}
	of := []string{to}
	without := slices.DeleteFunc(slices.Clone(known), func(c string) bool { return t.has[c] })
	if files := filesOf(rows); len(without) > 0 && len(files) <= mostFiles {
		landed, err := t.S.Landed(ctx, t.Change, files, without)
		if err != nil {
			return err
		}
		for _, c := range landed {
			more, err := t.having(ctx, c, without)
			if err != nil {
				return err
			}
			maps.Copy(t.has, more)
			of = append(of, c)
			without = slices.DeleteFunc(without, func(c string) bool { return t.has[c] })
		}
	}
	if t.before, err = t.S.Before(ctx, of, without); err != nil {
		return err
	}
	return t.learnReverts(ctx, of, known)
}

// mostFiles is how many files a change may have that is looked for under another name.
const mostFiles = 2000

func filesOf(rows []Reached) (files []string) {
	for i := range rows {
		files = append(files, rows[i].touched.Files...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// having are those of some commits that have another one in their history, or are it.
func (t *tracer) having(ctx context.Context, commit string, known []string) (map[string]bool, error) {
	if commit == "" {
		return nil, nil
	}
	has, err := t.S.After(ctx, commit, known)
	if err == nil && slices.Contains(known, commit) {
		has[commit] = true
	}
	return has, err
}

func (t *tracer) learnReverts(ctx context.Context, of, known []string) error {
	t.reverts, t.undone = map[string]map[string]bool{}, map[string][]string{}
	if len(known) == 0 {
		return nil
	}
	all, err := t.S.Reverts(ctx, of[0], known)
	if err != nil {
		return err
	}
	for todo := of; len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		for r, of := range all {
			if !strings.HasPrefix(c, of) || t.reverts[r] != nil {
				continue
			}
			if t.reverts[r], err = t.having(ctx, r, known); err != nil {
				return err
			}
			t.undone[c] = append(t.undone[c], r)
			todo = append(todo, r)
		}
	}
	for _, c := range of[1:] { // what reverts one of them reverts the change
		t.undone[of[0]] = append(t.undone[of[0]], t.undone[c]...)
	}
	return nil
}

// undoes is the commit in the history of at that reverts another one, and is itself not
// reverted there; "" if there is none.
func (t *tracer) undoes(commit, at string) string {
	for _, r := range t.undone[commit] {
		if t.reverts[r][at] && t.undoes(r, at) == "" {
			return r
		}
	}
	return ""
}

// learnFiles looks up what the files of the change are where that decides.
func (t *tracer) learnFiles(ctx context.Context, rows []Reached) (err error) {
	var ask []gitstate.At
	asked := map[gitstate.At]bool{}
	want := func(commit, file string) {
		if at := (gitstate.At{Commit: commit, File: file}); !asked[at] {
			asked[at] = true
			ask = append(ask, at)
		}
	}
	for i := range rows {
		r := &rows[i]
		all := r.standings()
		for _, s := range all {
			if _, exactly := r.byInputs(s); exactly || !t.here[s.commit] || t.before[s.commit] {
				continue
			}
			for _, file := range r.touched.Files {
				want(s.commit, r.moved(file, s.path))
				want(t.Change.Commit.Hash, file)
				want(t.Change.From, file)
				want(t.merge, file)
				want(t.without, file)
			}
		}
	}
	t.files, err = t.S.FileIDs(ctx, ask)
	t.renamed = map[gitstate.At]bool{}
	return err
}

// standings are all of which it is asked whether they have the change.
func (r *Reached) standings() []standing {
	all := []standing{r.attempt(), r.live()}
	for _, s := range r.history {
		all = append(all, s.standing)
	}
	return all
}

func (r *Reached) attempt() standing {
	l := &r.Latest
	return standing{l.Commit, l.Record.Stack, l.Inputs, l.Dirty}
}

// live is the latest success; the zero value if there is nothing deployed.
func (r *Reached) live() standing {
	commit, at := r.Latest.Live()
	for _, s := range slices.Backward(r.history) {
		if s.commit == commit && s.at.Equal(at) {
			return s.standing
		}
	}
	return standing{commit: commit, path: r.Stack, dirty: r.Latest.OKDirty}
}

// moved is where a file of the stack is, if the stack is at another path than in the change.
func (r *Reached) moved(file, path string) string {
	if path != "" && path != r.touched.Path && isBelow(file, r.touched.Path) {
		return strings.TrimSuffix(path, "/") + "/" + strings.TrimPrefix(strings.TrimPrefix(file, r.touched.Path), "/")
	}
	return file
}

// byInputs decides by what was recorded, where that does.
func (r *Reached) byInputs(s standing) (v verdict, exactly bool) {
	t := &r.touched
	switch {
	case s.dirty || t.Unknown != "" || t.Removed:
		return unknown, true
	case t.Added && s.commit == "":
		return no, true
	case project.SameCommitted(s.inputs, t.After):
		return yes, true
	case project.SameCommitted(s.inputs, t.Before):
		return no, true
	}
	return unknown, false
}

// of tells whether something that stands on a commit has the change, and why that is not as one
// might think.
func (t *tracer) of(ctx context.Context, r *Reached, s standing) (v verdict, why string, err error) {
	c := note.Short(s.commit)
	v, exactly := r.byInputs(s)
	switch {
	case s.commit == "":
		return no, "", nil
	case s.dirty:
		return unknown, fmt.Sprintf("uncommitted changes were deployed at %s", c), nil
	case r.touched.Unknown != "":
		return unknown, r.touched.Unknown, nil
	case exactly && v == no && t.has[s.commit]:
		return reverted, t.revertOf(s.commit), nil
	case exactly:
		return v, "", nil
	case !t.here[s.commit]:
		return unknown, fmt.Sprintf("%s, which is deployed, is not in this clone; `git fetch` may bring it", c), nil
	}
	as := func(commit string) bool {
		return !slices.ContainsFunc(r.touched.Files, func(file string) bool {
			return t.files[gitstate.At{Commit: s.commit, File: r.moved(file, s.path)}] != t.files[gitstate.At{Commit: commit, File: file}]
		})
	}
	switch {
	case t.before[s.commit]:
		return no, "", nil
	case t.has[s.commit] && as(t.Change.Commit.Hash):
		return yes, "", nil
	case t.has[s.commit] && t.undoes(t.Change.Commit.Hash, s.commit) != "":
		return reverted, t.revertOf(s.commit), nil
	case as(t.Change.From):
		renamed, err := t.elsewhere(ctx, r, s)
		if t.has[s.commit] && renamed || err != nil {
			return yes, "", err
		} else if t.has[s.commit] {
			return reverted, t.revertOf(s.commit), nil
		}
		return no, "", nil
	case t.has[s.commit] && t.merged[s.commit] && t.dropped(r) != "":
		return unknown, fmt.Sprintf("its merge, %s, left %s as it was", note.Short(t.merge), t.dropped(r)), nil
	case t.has[s.commit]:
		return yes, "", nil
	case t.S.Shallow():
		return unknown, fmt.Sprintf("the history of %s is not in this clone; `git fetch --unshallow` brings it", c), nil
	}
	return unknown, fmt.Sprintf("%s, which is deployed, does not have %s in its history, and its files are neither as before nor as after", c, note.Short(t.Change.Commit.Hash)), nil
}

// dropped is a file of which the merge that brought the change took nothing, as where a conflict is resolved to
// the other side, though it was not as the change leaves it either; "" if there is none.
func (t *tracer) dropped(r *Reached) string {
	at := func(commit, file string) string { return t.files[gitstate.At{Commit: commit, File: file}] }
	for _, file := range r.touched.Files {
		before := at(t.without, file)
		renamed := before == "" && at(t.Change.From, file) != ""
		if before == at(t.merge, file) && before != at(t.Change.Commit.Hash, file) && !renamed {
			return file
		}
	}
	return ""
}

func (t *tracer) revertOf(commit string) string {
	if r := t.undoes(t.Change.Commit.Hash, commit); r != "" {
		return "reverted by " + note.Short(r)
	}
	return "its files are as before again at " + note.Short(commit)
}

// elsewhere reports whether a file that the change added, and that is not where it was, is there
// under another name.
func (t *tracer) elsewhere(ctx context.Context, r *Reached, s standing) (bool, error) {
	for _, file := range r.touched.Files {
		id := t.files[gitstate.At{Commit: t.Change.Commit.Hash, File: file}]
		if id == "" || t.files[gitstate.At{Commit: t.Change.From, File: file}] != "" {
			continue
		}
		at := gitstate.At{Commit: s.commit, File: id}
		if _, asked := t.renamed[at]; !asked {
			is, err := t.S.HasBlob(ctx, s.commit, s.path, id)
			if err != nil {
				return false, err
			}
			t.renamed[at] = is
		}
		if t.renamed[at] {
			return true, nil
		}
	}
	return false, nil
}

// judge fills in what came of the change at a place.
func (t *tracer) judge(ctx context.Context, r *Reached) error {
	now, why, err := t.of(ctx, r, r.live())
	if err != nil {
		return err
	}
	tried, _, err := t.of(ctx, r, r.attempt())
	if err != nil {
		return err
	}
	r.Live, _ = r.Latest.Live()
	r.decide(now, tried, why)
	if r.Status == pending && !t.landed && t.here[r.Latest.Commit] {
		r.Why = strings.TrimSuffix("it is not merged; "+r.Why, "; ")
	}
	// Since when it has it, or from when until when it had.
	var from, until *success
	for i := range r.history {
		s := &r.history[i]
		v, _, err := t.of(ctx, r, s.standing)
		switch {
		case err != nil:
			return err
		case v == yes && !s.destroyed && (from == nil || until != nil):
			from, until = s, nil
		case (v != yes || s.destroyed) && from != nil && until == nil:
			until = s
		}
	}
	r.say(from, until, t.Change.Commit.Time)
	return nil
}

// decide is the table of what a place comes to: now is whether what is deployed has the
// change, tried whether what was done last does.
func (r *Reached) decide(now, tried verdict, why string) {
	l := &r.Latest
	_, notOK := l.Succeeded(note.Deploy, gitstate.As{Variant: gitstate.AnyVariant})
	standing, _ := l.Standing()
	changes := l.Status == note.Failed || l.Status == note.Interrupted || l.Status == note.Running || l.Status == note.OK && l.Op != note.Deploy
	ok := standing == note.OK && l.Op == note.Deploy && len(l.Diverged) == 0 && !l.Unsigned
	switch {
	case r.touched.Removed:
		r.decideRemoved()
	case l.Status == note.OK && l.Op == note.Destroy && len(l.Diverged) == 0:
		r.Status, r.Why = gone, "destroyed at "+note.Short(l.Commit)
	case l.Unsigned, len(l.Conflicts) > 0, l.Status == note.OK && len(l.Diverged) > 0:
		r.Status, r.Why = Unknown, notOK
	case now == unknown && l.Status != note.Never:
		r.Status, r.Why = Unknown, why
	case now == yes && changes && (l.Op == note.Destroy || l.Op == "destroy-target"):
		r.Status, r.Why = Unknown, notOK
	case now == yes && changes && tried != yes:
		r.Status, r.Why = Unknown, notOK+", which does not have it"
	case now == yes:
		r.Status = Deployed
		if r.gone {
			r.Why = "no stack of the project any more, and not destroyed"
		} else if !ok {
			r.Why = notOK
		}
	case r.gone:
		r.Status, r.Why = note.Orphaned, "no stack of the project any more, and not destroyed"
	case now == reverted && (tried == reverted || tried == no || ok):
		r.Status, r.Why = Reverted, why
	case r.Hold != nil && !l.Status.Open() && l.Status != note.Failed && l.Status != note.Interrupted:
		r.Status, r.Why = note.Held, r.Hold.String()
	case l.Status == note.Never:
		r.Status, r.Why = note.Never, "never deployed"
	case ok:
		r.Status, r.Why = pending, "deployed at "+note.Short(l.OKCommit)
	case tried == yes && l.Status != note.OK && l.Status != note.Triggered:
		r.Status, r.Why = l.Status, r.attempted()
	default:
		r.Status, r.Why = pending, notOK
	}
	if r.Hold != nil && r.Status != note.Held && r.Status != Deployed && !strings.Contains(r.Why, r.Hold.String()) {
		r.Why = strings.TrimPrefix(r.Why+"; "+r.Hold.String(), "; ")
	}
}

// decideRemoved is of a stack that the change takes out of the project: it has got there where
// the stack is destroyed.
func (r *Reached) decideRemoved() {
	l := &r.Latest
	switch {
	case l.Status == note.Never:
		r.Status, r.Why = note.Never, "never deployed; the change removes it"
	case l.Status == note.OK && l.Op == note.Destroy && len(l.Diverged) == 0:
		r.Status, r.Why = gone, "the change removes it"
	case !r.gone:
		r.Status, r.Why = Reverted, "the change removes it, and it is a stack again"
	default:
		r.Status, r.Why = note.Orphaned, "the change removes it, and it is not destroyed"
	}
}

// attempted is why what was tried has not come to its end.
func (r *Reached) attempted() string {
	l := &r.Latest
	why := fmt.Sprintf("at %s by run %s", note.Short(l.Commit), l.Run)
	if l.Wave() != "" {
		why += ", wave " + l.Wave()
	}
	if reason := l.Record.Why(); reason != "" {
		why = reason + "; " + why
	}
	return why
}

// say says what brought the change, or what was tried last.
func (r *Reached) say(from, until *success, written time.Time) {
	l := &r.Latest
	switch {
	case r.Status == Deployed && from != nil && until == nil:
		r.Since, r.Commit, r.Run, r.By = from.at, from.commit, from.run, from.by
		r.LeadTime = report.Duration(max(0, from.at.Sub(written)))
		return
	case r.Status == Deployed:
		r.Commit, r.Since = l.Live()
		return
	case from != nil && until != nil:
		r.Since, r.Until = from.at, until.at
		r.Why = strings.TrimPrefix(fmt.Sprintf("%s; it had it from %s until %s, run %s", r.Why, stamp(from.at), stamp(until.at), runner.Printable(until.run)), "; ")
	}
	r.Commit, r.Run, r.By = l.Commit, l.Run, l.By
}

func stamp(at time.Time) string { return at.Local().Format("2006-01-02 15:04") }
