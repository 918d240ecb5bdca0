package query

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
)

// Runs are the runs that have a record which keep chooses, the newest first. A run is as one
// commit's note tells of it; its counts are of all of its stacks.
func Runs(s *gitstate.Store, st *gitstate.State, keep func(*note.Record) bool) ([]report.Run, error) {
	runs := []report.Run{}
	err := s.Notes(func(commit string, lines []gitstate.Line) error {
		found := map[string]*gathered{}
		for _, l := range lines {
			if l.Err != nil || l.Record.Run == "" || l.Record.Status == "" && l.Record.Event != note.Started && l.Record.Event != note.Finished {
				continue
			}
			g := found[l.Record.Run]
			if g == nil {
				g = &gathered{results: map[[3]string]note.Record{}}
				found[l.Record.Run] = g
			}
			g.add(l.Record)
			g.kept = g.kept || l.Record.Status != "" && keep(&l.Record)
		}
		for id, g := range found {
			if !g.kept {
				continue
			}
			run, err := g.run(st, id, commit)
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		return nil
	})
	slices.SortFunc(runs, func(a, b report.Run) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.Run, a.Run), strings.Compare(a.Commit, b.Commit))
	})
	return runs, err
}

// gathered is what a note has of a run: its head, or that of its first leg, and the last word on
// each stack.
type gathered struct {
	head, last note.Record
	results    map[[3]string]note.Record // by stack, operation and target
	kept       bool
}

func (g *gathered) add(r note.Record) {
	if r.At.After(g.last.At) {
		g.last = r
	}
	switch k := [3]string{r.Stack, r.Op, r.Target}; {
	case r.Event == note.Finished:
	case r.Event == note.Started:
		if g.head.Run == "" || r.Leg() < g.head.Leg() || r.Leg() == g.head.Leg() && r.At.Before(g.head.At) {
			g.head = r
		}
	case !r.At.Before(g.results[k].At):
		g.results[k] = r
	}
}

func (g *gathered) run(st *gitstate.State, id, commit string) (report.Run, error) {
	run := report.Run{Run: id, Commit: commit, By: g.head.By, Job: g.head.Job, Attempt: g.head.Attempt, Cmd: g.head.Cmd,
		Started: g.head.At, Stacks: g.head.Stacks, ByHand: g.head.Run == ""}
	ops, targets := map[string]bool{}, map[string]bool{}
	for _, r := range g.results {
		if began := r.At.Add(-r.Took); run.ByHand && (run.Started.IsZero() || began.Before(run.Started)) {
			run.Started = began
		}
		run.By, ops[r.Op], targets[r.Target] = cmp.Or(run.By, r.By), true, true
		status := r.Status
		if status.Open() {
			l, err := st.LatestAt(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op}, r.Backend())
			if err != nil {
				return run, err
			}
			if status = note.Interrupted; l.Run == id && l.Commit == commit {
				status = l.Status
			}
		}
		run.Count(status)
		if status == note.Triggered {
			run.Status = status
		}
	}
	run.Op, run.Target = strings.Join(slices.Sorted(maps.Keys(ops)), ","), strings.Join(slices.Sorted(maps.Keys(targets)), ",")
	if run.Settle(); run.Status != note.Running && run.Interrupted == 0 {
		run.Finished = g.last.At
	}
	return run, nil
}

// FindRun is the run that is meant by the first characters of its id, or all of them; "" if there is
// none. More than one is an error.
func FindRun(s *gitstate.Store, typed string) (run string, err error) {
	began := map[string]time.Time{}
	err = s.Notes(func(_ string, lines []gitstate.Line) error {
		for _, l := range lines {
			if r := &l.Record; l.Err == nil && note.BeginsRun(r.Run, typed) {
				if at, known := began[r.Run]; !known || r.At.Before(at) {
					began[r.Run] = r.At
				}
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return MatchRun(typed, began)
}

// MatchRun is FindRun among runs that are known, with when they began.
func MatchRun(typed string, began map[string]time.Time) (run string, err error) {
	const most = 5
	var meant []string
	for id := range began {
		if id == typed {
			return id, nil
		}
		if note.BeginsRun(id, typed) {
			meant = append(meant, id)
		}
	}
	if len(meant) < 2 {
		return strings.Join(meant, ""), nil
	}
	slices.SortFunc(meant, func(a, b string) int { return cmp.Or(began[b].Compare(began[a]), strings.Compare(a, b)) })
	short := note.ShortRuns(meant)
	var names []string
	for _, id := range meant[:min(len(meant), most)] {
		names = append(names, fmt.Sprintf("%s (%s)", short(id), began[id].Local().Format(time.DateTime)))
	}
	if more := len(meant) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "", fmt.Errorf("%d runs begin with %s: %s; type more of the id", len(meant), typed, strings.Join(names, ", "))
}
