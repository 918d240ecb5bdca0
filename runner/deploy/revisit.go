package deploy

import (
	"fmt"
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Revisit leaves stacks out of a drift run that were looked at lately.
type Revisit struct {
	Oldest      int           // at most so many: those that were looked at longest ago; 0 is all
	MinInterval time.Duration // only those that were not looked at for so long
}

func (r Revisit) set() bool { return r != Revisit{} }

// choose keeps the order of the stacks. recent and later are how many of those it leaves out were looked at within
// the interval, and how many later than the oldest.
func (r Revisit) choose(stacks []runner.Stack, lookedAt func(path string) time.Time, now time.Time) (kept []runner.Stack, recent, later int) {
	for _, s := range stacks {
		if at := lookedAt(s.Path); r.MinInterval == 0 || at.IsZero() || now.Sub(at) >= r.MinInterval {
			kept = append(kept, s)
		}
	}
	recent = len(stacks) - len(kept)
	if r.Oldest == 0 || len(kept) <= r.Oldest {
		return kept, recent, 0
	}
	byAge := slices.Clone(kept)
	slices.SortStableFunc(byAge, func(a, b runner.Stack) int { return lookedAt(a.Path).Compare(lookedAt(b.Path)) })
	due := map[string]bool{}
	for _, s := range byAge[:r.Oldest] {
		due[s.Path] = true
	}
	later = len(kept) - r.Oldest
	return slices.DeleteFunc(kept, func(s runner.Stack) bool { return !due[s.Path] }), recent, later
}

// lookedAt is when a drift run began or ended that looked at a stack, zero if none did: one that was only to be looked at
// was not.
func lookedAt(drift *gitstate.Latest) (at time.Time) {
	switch r := &drift.Record; {
	case drift.Status == note.Never, r.Status == note.Queued, r.Took == 0 && (r.Status == note.Canceled || r.Status == note.Blocked):
		return at
	}
	return drift.At
}

// NoDrift is the error of what is for drift runs alone.
func NoDrift(op string) error {
	return fmt.Errorf("--oldest and --min-interval are for drift runs, and this is recorded as %s: add --op drift if the command looks for drift", op)
}

// revisit leaves out the stacks that need not be looked at.
func (x *Plan) revisit(stacks []runner.Stack, ops []string, of func(runner.Stack) (query.View, error)) ([]runner.Stack, error) {
	for _, op := range ops {
		if op != note.Drift {
			return nil, NoDrift(op)
		}
	}
	looked := map[string]time.Time{}
	for _, s := range stacks {
		v, err := of(s)
		if err != nil {
			return nil, err
		}
		looked[s.Path] = lookedAt(&v.Drift)
	}
	kept, recent, later := x.Revisit.choose(stacks, func(path string) time.Time { return looked[path] }, time.Now())
	if recent > 0 {
		x.Out.Say("%s looked at within %s skipped", runner.Plural(recent, "stack"), runner.Span(x.Revisit.MinInterval))
	}
	if later > 0 {
		x.Out.Say("%s skipped: the %d of --oldest were looked at longer ago", runner.Plural(later, "stack"), len(kept))
	}
	return kept, nil
}
