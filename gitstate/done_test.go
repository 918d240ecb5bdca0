package gitstate

import (
	"slices"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What a stack was deployed as against what it is about to be deployed as. In doubt it runs.
func TestSucceededAs(t *testing.T) {
	t.Parallel()
	const here = "env:AWS_PROFILE=aaaaaa env:TF_VAR_v=111111 run.env:TF_VAR_tag=222222 -var-file:..%2Fenv%2Fcommon.tfvars=333333"
	for name, c := range map[string]struct {
		variant, values string
		as              As
		why             string // "" where it is done
	}{
		"version 1, same words":       {"5d02ab12", "", As{Variant: "2:11111111", Legacy: "5d02ab12", Values: here}, ""},
		"version 1, other words":      {"5d02ab12", "", As{Variant: "2:11111111", Legacy: "99999999"}, "deployed with another command line"},
		"version 1, nothing about to": {"5d02ab12", "", As{Variant: AnyVariant, Values: here}, ""},
		"marked by hand":              {AnyVariant, "", As{Variant: "2:11111111", Legacy: "5d02ab12", Values: here}, ""},
		"same":                        {"2:11111111", here, As{Variant: "2:11111111", Values: here}, ""},
		"words":                       {"2:11111111", here, As{Variant: "2:22222222", Values: here}, "deployed with another command line"},
		"an old variant is no new":    {"2:11111111", "", As{Variant: "2:22222222", Legacy: "2:11111111"}, "deployed with another command line"},
		"variable": {"2:11111111", here, As{Variant: "2:22222222", Values: "env:AWS_PROFILE=aaaaaa env:TF_VAR_v=999999 run.env:TF_VAR_tag=222222 -var-file:..%2Fenv%2Fcommon.tfvars=333333"},
			"deployed with another TF_VAR_v"},
		"run.env": {"2:11111111", "run.env:TF_VAR_tag=1", As{Variant: "2:22222222", Values: "run.env:TF_VAR_tag=2"}, "deployed with another run.env TF_VAR_tag"},
		"one is gone": {"2:11111111", "env:TF_VAR_v=1 env:TF_VAR_w=2", As{Variant: "2:22222222", Values: "env:TF_VAR_w=2"},
			"deployed with another TF_VAR_v"},
		"one has come": {"2:11111111", "env:TF_VAR_w=2", As{Variant: "2:22222222", Values: "env:TF_VAR_v=1 env:TF_VAR_w=2"},
			"deployed with another TF_VAR_v"},
		"many": {"2:11111111", "", As{Variant: "2:22222222", Values: "env:A=1 env:B=1 env:C=1 env:D=1"},
			"deployed with other values: A, B, C, 1 more"},
		"nothing about to, a file": {"2:11111111", here, As{Variant: AnyVariant, Values: "-var-file:..%2Fenv%2Fcommon.tfvars=444444"},
			"deployed with another -var-file ../env/common.tfvars"},
		"nothing about to, nothing seen": {"2:11111111", here, As{Variant: AnyVariant}, ""},
		"nothing about to, a new file":   {"2:11111111", here, As{Variant: AnyVariant, Values: "-var-file:x=1"}, ""},
	} {
		r := note.Record{Status: note.OK, Op: note.Deploy, Variant: c.variant, Run: "R"}
		r.SetValues(c.values)
		l := Latest{Stored: Stored{Commit: "c1", Record: r}, Status: note.OK}
		done, why := l.Succeeded(note.Deploy, c.as)
		if done != (c.why == "") || !done && why != c.why {
			t.Errorf("%s: %v, %q", name, done, why)
		}
	}
}

// What was to end a deployment, and failed, is said to have failed.
func TestSucceededAfterFailedDestroy(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]string{note.Destroy: "destroy failed at c1 by run R", "destroy-target": "destroy-target failed at c1 by run R", "apply": "apply failed at c1 by run R"} {
		l := Latest{Stored: Stored{Commit: "c1", Record: note.Record{Status: note.Failed, Op: op, Run: "R"}}, Status: note.Failed}
		if done, why := l.Succeeded(note.Deploy, As{}); done || why != want {
			t.Errorf("%s: %v, %q", op, done, why)
		}
	}
}

// State is kept apart by backend. A record that names none is one of all, until somebody
// who named his followed it.
func TestLatestByBackend(t *testing.T) {
	t.Parallel()
	at := func(r note.Record, backend string) note.Record { r.SetBackend(backend); return r }
	old := rec(1, note.OK, note.Deploy, "/a", "R1")
	for name, c := range map[string]struct {
		records   []note.Record
		x, y, any note.Status
		places    []Place
	}{
		"none":         {nil, note.Never, note.Never, note.Never, nil},
		"of version 1": {[]note.Record{old}, note.OK, note.OK, note.OK, []Place{{}}},
		"then to x":    {[]note.Record{old, at(rec(2, note.OK, note.Deploy, "/a", "R2", "R1"), "x")}, note.OK, note.Never, note.OK, []Place{{}, {"", "x"}}},
		"to x and then to y": {[]note.Record{at(rec(1, note.Failed, note.Deploy, "/a", "R1"), "x"), at(rec(2, note.OK, note.Deploy, "/a", "R2"), "y")}, note.Failed, note.OK, note.Failed,
			[]Place{{"", "x"}, {"", "y"}}},
		"announced before it was known": {[]note.Record{rec(1, note.Queued, note.Deploy, "/a", "R1"), at(rec(2, note.OK, note.Deploy, "/a", "R1"), "x")}, note.OK, note.Never, note.OK, []Place{{"", "x"}}},
		"announced after x, and gone": {[]note.Record{at(rec(1, note.OK, note.Deploy, "/a", "R1"), "x"), rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")}, note.Failed, note.Failed, note.Failed,
			[]Place{{}, {"", "x"}}},
		"and then to y": {[]note.Record{at(rec(1, note.OK, note.Deploy, "/a", "R1"), "x"), rec(2, note.Failed, note.Deploy, "/a", "R2", "R1"), at(rec(3, note.OK, note.Deploy, "/a", "R3", "R2"), "y")},
			note.Failed, note.OK, note.Failed, []Place{{}, {"", "x"}, {"", "y"}}},
	} {
		notes := allNotes{}
		for _, r := range c.records {
			notes.add("c1", mustLine(r))
		}
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		x := must[Latest](t)(st.LatestAt(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}, "x"))
		y := must[Latest](t)(st.LatestAt(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}, "y"))
		all := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
		if x.Status != c.x || y.Status != c.y || all.Status != c.any {
			t.Errorf("%s: x %s, y %s, any %s", name, x.Status, y.Status, all.Status)
		}
		if got := st.Places(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}); !slices.Equal(got, c.places) {
			t.Errorf("%s: places %v", name, got)
		}
	}
}

func TestPlacesOfTarget(t *testing.T) {
	t.Parallel()
	notes := allNotes{}
	for i, target := range []string{"", "+blue", "prod", "prod+blue", "production"} {
		r := rec(i, note.OK, note.Deploy, "/a", "R"+string(rune('0'+i)))
		r.Target = target
		notes.add("c1", mustLine(r))
	}
	st := &State{x: notes.index()}
	for target, want := range map[string][]Place{"": {{}, {"+blue", ""}}, "prod": {{"prod", ""}, {"prod+blue", ""}}, "pro": nil} {
		if got := st.Places(note.Slot{ID: "", Path: "/a", Target: target, Op: note.Deploy}); !slices.Equal(got, want) {
			t.Errorf("%q: %v", target, got)
		}
	}
}
