package query

import (
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
)

// What a place comes to, by what is deployed, what was tried last, and what stands in the way.
func TestReachedDecides(t *testing.T) {
	t.Parallel()
	const live, latest = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"
	of := func(status note.Status, op string) Reached {
		l := gitstate.Latest{Status: status, OKCommit: live, Stored: gitstate.Stored{Commit: latest, Record: note.Record{Status: status, Op: op, Run: "R", Stack: "/a"}}}
		if status == note.Never {
			l = gitstate.Latest{Status: status}
		}
		return Reached{Stack: "/a", Latest: l}
	}
	with := func(r Reached, change func(*Reached)) Reached {
		change(&r)
		return r
	}
	held := func(r *Reached) {
		r.Hold = &gitstate.Hold{Stored: gitstate.Stored{Record: note.Record{By: "Ann <a@b>", Reason: "migrating"}}}
	}
	for name, tt := range map[string]struct {
		r          Reached
		now, tried verdict
		want       note.Status
		why        string // a part of it
	}{
		"deployed":                           {of(note.OK, note.Deploy), yes, yes, Deployed, ""},
		"an older one is deployed":           {of(note.OK, note.Deploy), no, no, pending, "deployed at 111111111111"},
		"reverted":                           {of(note.OK, note.Deploy), reverted, reverted, Reverted, "because"},
		"not known":                          {of(note.OK, note.Deploy), unknown, unknown, Unknown, "because"},
		"never":                              {of(note.Never, ""), no, no, note.Never, "never deployed"},
		"never, held":                        {with(of(note.Never, ""), held), no, no, note.Held, "held by Ann: migrating"},
		"failed with it":                     {of(note.Failed, note.Deploy), no, yes, note.Failed, "at 222222222222 by run R"},
		"failed with it, held":               {with(of(note.Failed, note.Deploy), held), no, yes, note.Failed, "held by Ann"},
		"failed without it":                  {of(note.Failed, note.Deploy), no, no, pending, "failed at 222222222222"},
		"there, and failed with it":          {of(note.Failed, note.Deploy), yes, yes, Deployed, "failed at 222222222222"},
		"there, and failed without it":       {of(note.Failed, note.Deploy), yes, reverted, Unknown, "does not have it"},
		"there, and interrupted":             {of(note.Interrupted, note.Deploy), yes, unknown, Unknown, "does not have it"},
		"there, and being taken away":        {of(note.Running, note.Deploy), yes, no, Unknown, "does not have it"},
		"there, and blocked without it":      {of(note.Blocked, note.Deploy), yes, no, Deployed, "blocked at"},
		"there, and queued without it":       {of(note.Queued, note.Deploy), yes, no, Deployed, "queued at"},
		"reverted, the revert of it failed":  {of(note.Failed, note.Deploy), reverted, yes, note.Failed, ""},
		"reverted, and that failed once":     {of(note.Failed, note.Deploy), reverted, reverted, Reverted, "because"},
		"blocked":                            {of(note.Blocked, note.Deploy), no, yes, note.Blocked, ""},
		"blocked, held":                      {with(of(note.Blocked, note.Deploy), held), no, yes, note.Held, ""},
		"canceled":                           {of(note.Canceled, note.Deploy), no, yes, note.Canceled, ""},
		"queued":                             {of(note.Queued, note.Deploy), no, yes, note.Queued, ""},
		"running":                            {of(note.Running, note.Deploy), no, yes, note.Running, ""},
		"running, held since":                {with(of(note.Running, note.Deploy), held), no, yes, note.Running, "held by Ann"},
		"triggered":                          {of(note.Triggered, note.Deploy), no, no, pending, ""},
		"a part of it was applied":           {of(note.OK, "apply"), no, yes, pending, "a part of it"},
		"a part without it was applied":      {of(note.OK, "apply"), yes, no, Unknown, "a part of it"},
		"destroyed":                          {of(note.OK, note.Destroy), no, yes, gone, "destroyed at 222222222222"},
		"the destruction failed":             {of(note.Failed, note.Destroy), yes, yes, Unknown, "destroy failed at"},
		"a part was destroyed":               {of(note.OK, "destroy-target"), yes, yes, Unknown, "a part of it was destroyed"},
		"in conflict":                        {with(of(note.OK, note.Deploy), func(r *Reached) { r.Latest.Conflicts = []string{"S"} }), yes, yes, Unknown, "unaware of it by run S"},
		"not signed":                         {with(of(note.OK, note.Deploy), func(r *Reached) { r.Latest.Unsigned = true }), yes, yes, Unknown, "no valid signature"},
		"there, and no stack any more":       {with(of(note.OK, note.Deploy), func(r *Reached) { r.gone = true }), yes, yes, Deployed, "not destroyed"},
		"no stack any more":                  {with(of(note.OK, note.Deploy), func(r *Reached) { r.gone = true }), no, no, note.Orphaned, "not destroyed"},
		"the change removes it":              {with(of(note.OK, note.Deploy), func(r *Reached) { r.gone, r.touched = true, project.Touched{Removed: true} }), unknown, unknown, note.Orphaned, "removes it"},
		"the change removes it, destroyed":   {with(of(note.OK, note.Destroy), func(r *Reached) { r.gone, r.touched = true, project.Touched{Removed: true} }), no, no, gone, "removes it"},
		"the change removes it, it is back":  {with(of(note.OK, note.Deploy), func(r *Reached) { r.touched = project.Touched{Removed: true} }), unknown, unknown, Reverted, "a stack again"},
		"the change removes it, never there": {with(of(note.Never, ""), func(r *Reached) { r.gone, r.touched = true, project.Touched{Removed: true} }), no, no, note.Never, "removes it"},
	} {
		r := tt.r
		r.decide(tt.now, tt.tried, "because")
		if r.Status != tt.want || !strings.Contains(r.Why, tt.why) {
			t.Errorf("%s: %s (%s), not %s (%s)", name, r.Status, r.Why, tt.want, tt.why)
		}
	}
}

// The inputs that were recorded decide where they can; code that git ignores is no part of a change.
func TestReachedByInputs(t *testing.T) {
	t.Parallel()
	was, is := "2:000000000000000000000001", "2:000000000000000000000002"
	for name, tt := range map[string]struct {
		s       standing
		change  project.Touched
		want    verdict
		exactly bool
	}{
		"as after":            {standing{commit: "c", inputs: is}, project.Touched{Before: was, After: is}, yes, true},
		"as before":           {standing{commit: "c", inputs: was}, project.Touched{Before: was, After: is}, no, true},
		"with generated code": {standing{commit: "c", inputs: is + ":0123"}, project.Touched{Before: was, After: is}, yes, true},
		"others":              {standing{commit: "c", inputs: "2:03"}, project.Touched{Before: was, After: is}, unknown, false},
		"not recorded":        {standing{commit: "c"}, project.Touched{Before: was, After: is}, unknown, false},
		"only generated code": {standing{commit: "c", inputs: "2::0123"}, project.Touched{Before: "2::0123", After: is}, unknown, false},
		"another version":     {standing{commit: "c", inputs: "1:02"}, project.Touched{Before: was, After: is}, unknown, false},
		"uncommitted changes": {standing{commit: "c", inputs: is, dirty: true}, project.Touched{Before: was, After: is}, unknown, true},
		"a stack that is new": {standing{}, project.Touched{After: is, Added: true}, no, true},
	} {
		r := Reached{touched: tt.change}
		if v, exactly := r.byInputs(tt.s); v != tt.want || exactly != tt.exactly {
			t.Errorf("%s: %v %v, not %v %v", name, v, exactly, tt.want, tt.exactly)
		}
	}
}
