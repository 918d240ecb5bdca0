package gitstate

import (
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Which of a hold and a release counts is told by who knew of whom; the clock only tells when a hold is over.
func TestHolds(t *testing.T) {
	t.Parallel()
	hold := func(sec int, run string, prev ...string) note.Record {
		return rec(sec, note.Held, note.Hold, "/a", run, prev...)
	}
	release := func(sec int, run string, prev ...string) note.Record {
		return rec(sec, note.Released, note.Hold, "/a", run, prev...)
	}
	with := func(r note.Record, edit func(*note.Record)) note.Record { edit(&r); return r }
	until := func(r note.Record, d time.Duration) note.Record {
		return with(r, func(r *note.Record) { r.SetUntil(gittest.T0.Add(d)) })
	}
	target := func(r note.Record, target string) note.Record {
		return with(r, func(r *note.Record) { r.Target = target })
	}
	id := func(r note.Record, id, path string) note.Record {
		return with(r, func(r *note.Record) { r.ID, r.Stack = id, path })
	}
	all := func(r note.Record) note.Record {
		return with(r, func(r *note.Record) { r.Op, r.Stack = note.HoldAll, "/" })
	}
	for name, c := range map[string]struct {
		records []note.Record
		of      note.Slot // "/a" where it says no path
		by      string    // the run that holds, "" for none
	}{
		"nothing":                         {nil, note.Slot{}, ""},
		"held":                            {[]note.Record{hold(1, "R1")}, note.Slot{}, "R1"},
		"another stack":                   {[]note.Record{hold(1, "R1")}, note.Slot{Path: "/b"}, ""},
		"released":                        {[]note.Record{hold(1, "R1"), release(2, "R2", "R1")}, note.Slot{}, ""},
		"released, by a clock behind":     {[]note.Record{hold(1, "R1"), release(-9, "R2", "R1")}, note.Slot{}, ""},
		"held again":                      {[]note.Record{hold(1, "R1"), release(2, "R2", "R1"), hold(3, "R3", "R2")}, note.Slot{}, "R3"},
		"held again, by a clock behind":   {[]note.Record{hold(1, "R1"), release(2, "R2", "R1"), hold(-9, "R3", "R2")}, note.Slot{}, "R3"},
		"released, and held unaware":      {[]note.Record{hold(1, "R1"), release(3, "R3", "R1"), hold(2, "R2", "R1")}, note.Slot{}, "R2"},
		"neither knew of any":             {[]note.Record{release(2, "R2"), hold(1, "R1")}, note.Slot{}, "R1"},
		"a release that knows of both":    {[]note.Record{hold(1, "R1"), hold(2, "R2"), release(3, "R3", "R1", "R2")}, note.Slot{}, ""},
		"a release that knows of one":     {[]note.Record{hold(1, "R1"), hold(2, "R2"), release(3, "R3", "R1")}, note.Slot{}, "R2"},
		"until later":                     {[]note.Record{until(hold(1, "R1"), time.Hour)}, note.Slot{}, "R1"},
		"until now":                       {[]note.Record{until(hold(1, "R1"), 0)}, note.Slot{}, ""},
		"until earlier":                   {[]note.Record{until(hold(1, "R1"), -time.Hour)}, note.Slot{}, ""},
		"the longer of two counts":        {[]note.Record{until(hold(2, "R2"), time.Hour), hold(1, "R1")}, note.Slot{}, "R1"},
		"one of two is over":              {[]note.Record{until(hold(2, "R2"), -time.Hour), until(hold(1, "R1"), time.Hour)}, note.Slot{}, "R1"},
		"of every target":                 {[]note.Record{hold(1, "R1")}, note.Slot{Target: "prod+blue"}, "R1"},
		"of its target":                   {[]note.Record{target(hold(1, "R1"), "prod")}, note.Slot{Target: "prod"}, "R1"},
		"of its target's workspace":       {[]note.Record{target(hold(1, "R1"), "prod")}, note.Slot{Target: "prod+blue"}, "R1"},
		"of another target":               {[]note.Record{target(hold(1, "R1"), "prod")}, note.Slot{Target: "production"}, ""},
		"of a target, asked without":      {[]note.Record{target(hold(1, "R1"), "prod")}, note.Slot{}, ""},
		"of a target, released for all":   {[]note.Record{target(hold(1, "R1"), "prod"), release(2, "R2", "R1")}, note.Slot{Target: "prod"}, "R1"},
		"by its id, moved":                {[]note.Record{id(hold(1, "R1"), "x", "/old")}, note.Slot{ID: "X"}, "R1"},
		"from before it had an id":        {[]note.Record{hold(1, "R1")}, note.Slot{ID: "x"}, "R1"},
		"in code from before it had one":  {[]note.Record{id(hold(1, "R1"), "x", "/a")}, note.Slot{}, "R1"},
		"all":                             {[]note.Record{all(hold(1, "R1"))}, note.Slot{Path: "/new"}, "R1"},
		"all, released":                   {[]note.Record{all(hold(1, "R1")), all(release(2, "R2", "R1"))}, note.Slot{}, ""},
		"all released, and one by itself": {[]note.Record{all(hold(1, "R1")), hold(2, "R2"), all(release(3, "R3", "R1"))}, note.Slot{}, "R2"},
		"the stack at the top by itself":  {[]note.Record{id(hold(1, "R1"), "", "/")}, note.Slot{}, ""},
		"what a later version says":       {[]note.Record{rec(1, "paused", note.Hold, "/a", "R1")}, note.Slot{}, ""},
	} {
		notes := allNotes{}
		for i, r := range c.records {
			notes.add([]string{"c1", "c2"}[i%2], mustLine(r))
		}
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }}, x: notes.index()}
		if c.of.Path == "" {
			c.of.Path = "/a"
		}
		h, is := st.Hold(c.of)
		if is != (c.by != "") || h.Run != c.by {
			t.Errorf("%s: held %v by run %q, want %q", name, is, h.Run, c.by)
		}
		if len(st.Slots())+len(st.Stacks()) > 0 || !st.Empty() {
			t.Errorf("%s: taken for a deployment", name)
		}
	}
}
