package query

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// InputChanges says what of the inputs of a stack, which stands at its path in
// the later one, differs between two commits, a project path each, maybe with a word before it. Where that cannot be told,
// as of a commit that is not here, it is an error.
type InputChanges func(ctx context.Context, stack runner.Stack, from, to string) ([]string, error)

// Happened is a record that blame speaks of.
type Happened struct {
	Commit  string      `json:"commit"`
	Subject string      `json:"subject,omitempty"`
	By      string      `json:"by,omitempty"`
	Job     string      `json:"job,omitempty"`
	Cmd     string      `json:"cmd,omitempty"`
	Record  note.Record `json:"record"`
}

// Verdict is what blame finds.
type Verdict struct {
	Stack  string      `json:"stack"`
	ID     string      `json:"id,omitempty"`
	Op     string      `json:"op"`
	Target string      `json:"target,omitempty"`
	Status note.Status `json:"status"`           // of the latest record
	Since  *time.Time  `json:"since,omitempty"`  // it is so, or as bad
	Runs   int         `json:"runs,omitempty"`   // since then
	First  *Happened   `json:"first,omitempty"`  // the record that began it,
	Latest *Happened   `json:"latest,omitempty"` // the latest one that ended,
	LastOK *Happened   `json:"last_ok,omitempty"`
	// Of a stack that is ok: what failed right before.
	LastBad *Happened `json:"last_failed,omitempty"`
	Open    *Happened `json:"open,omitempty"` // a run that is at work, or a trigger

	// Between the last ok and the first failure:
	Inputs   []string            `json:"inputs,omitempty"`       // what changed,
	Unknown  string              `json:"inputs_error,omitempty"` // or why that is not known,
	Commits  []gitstate.LogEntry `json:"commits,omitempty"`      // and who changed it
	Diverged []string            `json:"diverged,omitempty"`     // runs in conflict with the latest
}

// OK reports whether there is nobody to blame: the latest deployment succeeded.
func (v *Verdict) OK() bool { return v.Latest != nil && v.Latest.Record.Status == note.OK }

// Suspect is a stack, and what is done to it that fails.
type Suspect struct {
	Stack      runner.Stack
	Op, Target string
}

// Investigate reads all notes for what happened to a stack.
func Investigate(ctx context.Context, s *gitstate.Store, st *gitstate.State, of Suspect, changes InputChanges) (*Verdict, error) {
	stack, op, target := of.Stack, of.Op, of.Target
	l, err := st.Latest(note.Slot{ID: stack.ID, Path: stack.Path, Target: target, Op: op})
	if err != nil {
		return nil, err
	}
	all, heads, err := recordsOf(s, st, of)
	if err != nil {
		return nil, err
	}
	v := Convict(all, &l)
	v.Stack, v.ID, v.Op, v.Target = stack.Path, stack.ID, op, target
	v.Diverged = l.Conflicts
	for _, h := range []*Happened{v.First, v.Latest, v.LastOK, v.LastBad, v.Open} {
		if h == nil {
			continue
		}
		head := heads[[2]string{h.Record.Run, h.Commit}]
		h.By, h.Job, h.Cmd = cmp.Or(h.Record.By, head.By), head.Job, head.Cmd
		if c, err := s.Resolve(h.Commit); err == nil {
			h.Subject = c.Subject
		}
	}
	if v.OK() || v.First == nil || v.LastOK == nil || v.First.Commit == v.LastOK.Commit {
		return v, nil
	}
	from, to := v.LastOK.Commit, v.First.Commit
	stack.Path = v.First.Record.Stack // it may have moved since
	if v.Inputs, err = changes(ctx, stack, from, to); err != nil {
		v.Unknown = err.Error()
		return v, nil
	}
	paths := []string{stack.Path, v.LastOK.Record.Stack}
	for _, what := range v.Inputs {
		if i := strings.IndexByte(what, '/'); i >= 0 {
			paths = append(paths, what[i:])
		}
	}
	v.Commits, err = s.Between(ctx, from, to, MostCommits+1, unique(paths)...)
	return v, err
}

// recordsOf are those of a suspect, by time, and the heads of all runs, by run and commit.
func recordsOf(s *gitstate.Store, st *gitstate.State, of Suspect) (all []Logged, heads map[[2]string]note.Record, err error) {
	heads = map[[2]string]note.Record{}
	paths := st.PathsOf(of.Stack.ID, of.Stack.Path)
	err = s.Notes(func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			switch r := line.Record; {
			case r.Event == note.Started:
				if r.Leg() == 0 {
					heads[[2]string{r.Run, commit}] = r
				}
			case !paths[r.Stack]:
			case r.Status != "" && r.Target == of.Target && (r.Op == of.Op || note.Op(r.Op).Deploys() && note.Op(of.Op).Deploys()):
				all = append(all, Logged{Commit: commit, Record: r})
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	SortByTime(all)
	ids := idsOfPaths(all)
	key := gitstate.PathIDs(nil).StackOf(&note.Record{Stack: of.Stack.Path, ID: of.Stack.ID})
	return slices.DeleteFunc(all, func(x Logged) bool {
		// A stack that has an id has the records of its path from before.
		return ids.StackOf(&x.Record) != key && !(x.Record.ID == "" && x.Record.Stack == of.Stack.Path)
	}), heads, nil
}

// MostCommits is how many commits blame shows: who has to look at more of them
// has to look at git's log.
const MostCommits = 10

// Convict finds when it began, in what happened to one stack, sorted by time.
// What somebody triggered changed nothing, and what is at work is not known yet.
func Convict(history []Logged, l *gitstate.Latest) *Verdict {
	v := &Verdict{Status: l.Status}
	as := func(x Logged) *Happened { return &Happened{Commit: x.Commit, Record: x.Record} }
	var ended []Logged
	for _, x := range history {
		r := x.Record
		switch open := r.Status == note.Queued || r.Status == note.Running; {
		case r.Status == note.Triggered, open && r.Run == l.Run && l.Status != note.Interrupted:
			if r.Run == l.Run {
				v.Open = as(x)
			}
			continue
		case open:
			x.Record.Status = note.Interrupted
		}
		ended = append(ended, x)
	}
	if len(ended) == 0 {
		return v
	}
	latest := ended[len(ended)-1]
	v.Latest = as(latest)
	const bad = "bad"
	is := func(x Logged) string {
		if x.Record.Status == note.OK {
			return x.Record.Op
		}
		return bad
	}
	from := len(ended) - 1
	for from > 0 && is(ended[from-1]) == is(latest) {
		from--
	}
	before := ended[:from]
	if is(latest) != bad {
		if len(before) > 0 && is(before[len(before)-1]) == bad {
			v.LastBad = as(before[len(before)-1])
		}
	} else {
		if len(before) > 0 {
			v.LastOK = as(before[len(before)-1])
		}
		// What was canceled before the first failure might have succeeded.
		for i := from; i < len(ended); i++ {
			if ended[i].Record.Status != note.Canceled {
				from = i
				break
			}
		}
	}
	v.First = as(ended[from])
	v.Since = &v.First.Record.At
	runs := map[string]bool{}
	for _, x := range ended[from:] {
		runs[x.Record.Run] = true
	}
	v.Runs = len(runs)
	return v
}
