package query

import (
	"context"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// AsOf is --at: the moment, or the commit, whose state is asked for.
type AsOf struct {
	What  string // for people, "" without --at
	Until time.Time
	On    map[string]bool
}

// Set reports whether another moment than now is asked for.
func (a AsOf) Set() bool { return a.What != "" }

// State is what was known at that moment, or what stood on that commit.
func (a AsOf) State(ctx context.Context, s *gitstate.Store) (*gitstate.State, error) {
	if !a.Set() {
		return s.State(ctx)
	}
	return s.StateAt(ctx, func(commit string, r *note.Record) bool {
		if a.On != nil {
			return a.On[commit]
		}
		// Of drift runs that found the same only the newest has a line, which says
		// since when.
		return !r.At.After(a.Until) || !r.Since.IsZero() && !r.Since.After(a.Until)
	})
}

// Clamp takes a drift result that was repeated later for what it was first. What is held is so now, not then.
func (a AsOf) Clamp(v *View) {
	if a.Set() {
		v.Hold = nil
	}
	if a.Until.IsZero() || !v.Drift.At.After(a.Until) {
		return
	}
	v.Drift.At = v.Drift.Since
	v.Status = gitstate.StackStatus(v.Deploy, v.Drift)
}
