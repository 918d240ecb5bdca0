package deploy

import (
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
)

// TestDecide has a row for each reason to leave a stack out, and beside it what it takes for the
// stack to run all the same.
func TestDecide(t *testing.T) {
	t.Parallel()
	const head, older, newer = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222", "3333333333333333333333333333333333333333"
	last := func(op string, status note.Status, commit, run string) gitstate.Latest {
		l := gitstate.Latest{Status: status}
		l.Record = note.Record{Op: op, Status: status, Run: run, Variant: "v"}
		l.Commit = commit
		if status == note.OK {
			l.OKCommit = commit
		}
		return l
	}
	dirty := func(l gitstate.Latest) gitstate.Latest { l.Record.Dirty = true; return l }
	ok, failed := last(note.Deploy, note.OK, head, "R1"), last(note.Deploy, note.Failed, head, "R1")
	before, after := last(note.Deploy, note.OK, older, "R1"), last(note.Deploy, note.OK, newer, "R1")
	planned := last("plan", note.OK, head, "R1")
	drifted := last(note.Drift, note.Drifted, head, "MINE")
	blue := before
	blue.Target = "+blue"
	for _, tt := range []struct {
		name  string
		op    string // "" for deploy
		dirty bool
		facts facts
		rules Rules
		want  Verdict
		why   string
	}{
		{name: "done here", facts: facts{latest: ok}, want: Done, why: "ok at 111111111111"},
		{name: "done here, forced", facts: facts{latest: ok}, rules: Rules{Force: true}},
		{name: "done here, with uncommitted changes now", dirty: true, facts: facts{latest: ok}},
		{name: "done here with uncommitted changes then", facts: facts{latest: dirty(ok)}},
		{name: "done here, with other generated code", facts: facts{latest: ok, anew: true}},
		{name: "failed here", facts: facts{latest: failed}},
		{name: "deployed at an earlier commit", facts: facts{latest: before, late: []bool{false}, stepBack: []string{""}}},
		{name: "deployed at a later commit", facts: facts{latest: after, late: []bool{true}, stepBack: []string{""}}, want: Late, why: "a newer commit (333333333333) is already deployed"},
		{name: "deployed at a later commit, forced", facts: facts{latest: after, late: []bool{true}, stepBack: []string{""}}, rules: Rules{Force: true}, want: Late},
		{name: "deployed at a later commit, rolled back", facts: facts{latest: after, late: []bool{true}}, rules: Rules{Rollback: true}},
		{name: "a later commit has what is deployed", facts: facts{latest: before, stepBack: []string{"what a newer commit has"}}, want: Late, why: "what a newer commit has"},
		{name: "a later commit may be at its place", facts: facts{latest: failed, others: []gitstate.Latest{blue}, late: []bool{false, true}, stepBack: []string{"", ""}}, want: Late, why: "workspace blue"},
		{name: "an operation that is no deployment", op: "plan", facts: facts{latest: planned}},
		{name: "an operation that is no deployment, resumed", op: "plan", facts: facts{latest: planned}, rules: Rules{Resume: true}, want: Done, why: "plan succeeded here"},
		{name: "an operation that is no deployment, late", op: "plan", facts: facts{latest: after, late: []bool{true}}, rules: Rules{Resume: true}},
		{name: "drifted in another run", op: note.Drift, facts: facts{latest: last(note.Drift, note.Drifted, head, "R1")}, rules: Rules{InRun: true}},
		{name: "drifted in this run", op: note.Drift, facts: facts{latest: drifted}, rules: Rules{InRun: true}, want: Done, why: "drifted in this run already"},
		{name: "drifted in this run, with uncommitted changes now", op: note.Drift, dirty: true, facts: facts{latest: drifted}, rules: Rules{InRun: true}},
		{name: "drifted in this run, which is not tried again", op: note.Drift, facts: facts{latest: drifted}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.facts.commit, tt.facts.run = head, "MINE"
			op := tt.op
			if op == "" {
				op = note.Deploy
			}
			stack := Planned{Op: command.Operation{Name: op, Variant: "v"}, Dirty: tt.dirty}
			got := decide(&stack, &tt.facts, tt.rules)
			if got.Verdict != tt.want || !strings.Contains(got.Why, tt.why) || (got.Why != "") != (tt.want != Run) {
				t.Errorf("decided %d (%q), want %d (%q)", got.Verdict, got.Why, tt.want, tt.why)
			}
		})
	}
}
