package query

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// How far a change has got. The stacks that it touches are those whose inputs are others at
// its commit than at the one before. Of each of them and each place that it was deployed to, what
// is deployed has the change
//
//   - if its inputs were recorded, and are those at the change's commit, wherever it stands; and has
//     not, if they are those at the commit before;
//   - else if it stands on a commit that has the change's commit in its history, or one that it
//     became (see gitstate.Landed): where all changed files that are the stack's are as the change
//     left them; unless it was reverted since, by a commit that says so, or by any that left all of
//     these files as they were before;
//   - not, if it stands on a commit that is before these, or if these files are as before.
//
// All else is not known: files that were deployed and are in no commit, a commit that is not here, one
// beside these where the files are neither as before nor as after.

// Reached is how far a change has got with a stack at a place.
type Reached struct {
	Stack   string `json:"stack"`         // where it is now
	Was     string `json:"was,omitempty"` // and was in the change, if elsewhere
	ID      string `json:"id,omitempty"`
	Target  string `json:"target,omitempty"`
	Backend string `json:"backend,omitempty"` // as records name it
	// Deployed, Reverted, Unknown, or why it is not deployed.
	Status note.Status `json:"status"`
	// When it came, and when it was taken away again; what brought it, or else what was tried last.
	Since    time.Time       `json:"since,omitzero"`
	Until    time.Time       `json:"until,omitzero"`
	Commit   string          `json:"commit,omitempty"`
	Run      string          `json:"run,omitempty"`
	By       string          `json:"by,omitempty"`
	LeadTime report.Duration `json:"lead_time,omitzero"` // from the time of the change's commit to Since
	Live     string          `json:"live_commit,omitempty"`
	Why      string          `json:"why,omitempty"`

	Latest gitstate.Latest `json:"-"` // at this place
	Hold   *gitstate.Hold  `json:"-"` // that lasts now

	touched project.Touched
	gone    bool   // it is no stack at HEAD
	path    string // that its records from before it had an id name; "" where another stack stands
	history []success
}

// The statuses that a record cannot have.
const (
	Deployed note.Status = "deployed" // it is there
	Reverted note.Status = "reverted" // it was there, or was overtaken, and is taken back
	Unknown  note.Status = "unknown"

	pending note.Status = "pending" // nothing with it was tried since
	gone    note.Status = "destroyed"
)

// success is a deployment that succeeded, or a destruction.
type success struct {
	standing
	at        time.Time
	run, by   string
	destroyed bool
}

// standing is what was deployed, or was to be.
type standing struct {
	commit, path, inputs string
	dirty                bool
}

// Tracing is a question of Trace.
type Tracing struct {
	S       *gitstate.Store
	St      *gitstate.State
	Project func() (*project.Project, error) // it is loaded where it is asked for what a change touches
	Stacks  []runner.Stack                   // HEAD's
	Change  gitstate.Change
	Target  string   // "" for all that are recorded
	Tips    []string // names of the mainline, of which the first one that is here counts
}

// Trace finds how far a change has got, by stack and place; nothing where it touches no stack.
func (q Tracing) Trace(ctx context.Context) ([]Reached, error) {
	touched, err := q.touched(ctx)
	if err != nil || len(touched) == 0 {
		return nil, err
	}
	rows, err := q.rows(touched)
	if err != nil {
		return nil, err
	}
	if err := q.readHistory(rows); err != nil {
		return nil, err
	}
	t := &tracer{Tracing: q, here: map[string]bool{}}
	if err := t.learn(ctx, rows); err != nil {
		return nil, err
	}
	for i := range rows {
		if err := t.judge(ctx, &rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// touched asks the project, once for a change.
func (q Tracing) touched(ctx context.Context) (touched []project.Touched, err error) {
	c := q.Change
	text, err := q.S.Cached(fmt.Sprintf("touched-%s-%s-%s", project.InputsVersion, c.Commit.Hash, cmp.Or(c.From, "none")), func() (string, error) {
		p, err := q.Project()
		if err != nil {
			return "", err
		}
		found, err := p.Touched(ctx, c.From, c.Commit.Hash)
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(found)
		return string(text), err
	})
	if err == nil {
		err = json.Unmarshal([]byte(text), &touched)
	}
	if err != nil {
		err = fmt.Errorf("what %s touches cannot be told: %w", note.Short(c.Commit.Hash), err)
	}
	return touched, err
}

// rows are the places of the stacks, with what is recorded last.
func (q Tracing) rows(touched []project.Touched) (rows []Reached, err error) {
	byID, byPath := map[string]runner.Stack{}, map[string]runner.Stack{}
	for _, s := range q.Stacks {
		byPath[s.Path] = s
		if s.ID != "" {
			byID[s.ID] = s
		}
	}
	targets := []string{q.Target}
	if q.Target == "" {
		targets = nil
		for _, t := range AllTargets(q.St) {
			t, _, _ = strings.Cut(t, "+")
			targets = append(targets, t)
		}
		targets = unique(targets)
	}
	for _, t := range touched {
		now, is := byID[t.ID]
		if at := byPath[t.Path]; !is && at.Path != "" && (t.ID == "" || at.ID == "") {
			now, is = at, true
		}
		if !is {
			now = runner.Stack{ID: t.ID, Path: t.Path}
		}
		as := now
		if !is && t.ID != "" && byPath[t.Path].Path != "" {
			as.Path = "" // another stack stands there by now
		}
		for _, place := range q.places(as, targets) {
			r := Reached{Stack: now.Path, ID: now.ID, Target: place.Target, Backend: place.Backend, touched: t, path: as.Path}
			of := note.Slot{ID: as.ID, Path: as.Path, Target: place.Target, Op: note.Deploy}
			if r.Latest, err = q.St.LatestAt(of, place.Backend); err != nil {
				return nil, err
			}
			if t.Path != now.Path {
				r.Was = t.Path
			}
			if r.gone = !is; is {
				if h, held := q.St.Hold(of); held {
					r.Hold = &h
				}
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// places are those that a stack has records of, at least one: that of the target that was asked
// for, or, if there is but one, of that.
func (q Tracing) places(stack runner.Stack, targets []string) (found []gitstate.Place) {
	for _, target := range targets {
		all := q.St.Places(note.Slot{ID: stack.ID, Path: stack.Path, Target: target, Op: note.Deploy})
		for _, p := range all {
			// What names no backend is of one that others name.
			if p.Backend != "" || !slices.ContainsFunc(all, func(o gitstate.Place) bool { return o.Target == p.Target && o.Backend != "" }) {
				found = append(found, p)
			}
		}
	}
	if len(found) == 0 {
		found = []gitstate.Place{{}}
		if len(targets) == 1 {
			found[0].Target = targets[0]
		}
	}
	return found
}

// readHistory finds the successes of each row, oldest first.
func (q Tracing) readHistory(rows []Reached) error {
	type key struct{ target, stack string }
	of := map[key][]*Reached{}
	paths, ids := map[string]bool{}, map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if r.path != "" {
			paths[r.path] = true
			of[key{r.Target, r.path}] = append(of[key{r.Target, r.path}], r)
		}
		if r.ID != "" {
			ids[r.ID] = true
			of[key{r.Target, "id:" + r.ID}] = append(of[key{r.Target, "id:" + r.ID}], r)
		}
	}
	err := q.S.RecordsOf(paths, ids, func(commit string, records []note.Record) error {
		by := map[string]string{}
		for i := range records {
			if r := &records[i]; r.Event == note.Started {
				by[r.Run] = cmp.Or(by[r.Run], r.By)
			}
		}
		for i := range records {
			r := &records[i]
			stack := r.Stack
			if r.ID != "" {
				stack = "id:" + strings.ToLower(r.ID)
			}
			if r.Status != note.OK || r.Op != note.Deploy && r.Op != note.Destroy {
				continue
			}
			for _, row := range of[key{r.Target, stack}] {
				if r.Backend() == "" || r.Backend() == row.Backend || row.Backend == "" {
					row.history = append(row.history, success{standing{commit, r.Stack, r.Inputs, r.Dirty}, r.At, r.Run, cmp.Or(r.By, by[r.Run]), r.Op == note.Destroy})
				}
			}
		}
		return nil
	})
	for i := range rows {
		slices.SortFunc(rows[i].history, func(a, b success) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.commit, b.commit)) })
	}
	return err
}
