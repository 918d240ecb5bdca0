package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/query"
)

// history makes the records of a stack from words like "ok@c1", one a second:
// a status, the commit, and more after commas: tries=2, op=destroy, in=x,
// var=x, dirty, by, run=R1, id=x, to=/path, why=text.
func history(words string) (records []query.Logged) {
	for i, w := range strings.Fields(words) {
		status, rest, _ := strings.Cut(w, "@")
		f := strings.Split(rest, ",")
		x := query.Logged{Commit: f[0], Record: note.Record{At: second(i), Status: note.Status(status), Op: note.Deploy, Stack: "/a", Run: fmt.Sprint("R", i), Variant: "v"}}
		r := &x.Record
		for _, opt := range f[1:] {
			key, value, _ := strings.Cut(opt, "=")
			switch key {
			case "tries":
				fmt.Sscan(value, &r.Tries)
			case "op":
				r.Op = value
			case "in":
				r.Inputs = value
			case "var":
				r.Variant = value
			case "dirty":
				r.Dirty = true
			case "by":
				r.By = "Alice"
			case "run":
				r.Run = value
			case "id":
				r.ID = value
			case "to":
				r.Stack = value
			case "target":
				r.Target = value
			case "why":
				r.Reason = value
			default:
				panic(opt)
			}
		}
		records = append(records, x)
	}
	return records
}

func second(i int) time.Time { return time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC) }

func TestFindFlaky(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ history, want string }{
		"nothing":                               {"", ""},
		"always ok":                             {"ok@1 ok@2 ok@3", ""},
		"ok at the second try":                  {"ok@1 ok@2,tries=2 ok@3", "/a deploy 1 of 3 R1 [2 tries]"},
		"failed, then ok":                       {"failed@1,why=net ok@1", "/a deploy 1 of 2 R1 [net]"},
		"failed twice, then ok":                 {"failed@1,why=net failed@1,why=dns ok@1", "/a deploy 1 of 3 R2 [dns net]"},
		"a reason once":                         {"failed@1,why=net ok@1 failed@1,why=net ok@1", "/a deploy 2 of 4 R3 [net]"},
		"repaired by a commit":                  {"failed@1 ok@2", ""},
		"by a commit that is not of its inputs": {"failed@1,in=x ok@2,in=x", "/a deploy 1 of 2 R1 [failed]"},
		"by one that is":                        {"failed@1,in=x ok@2,in=y", ""},
		"failed before a change, and after":     {"failed@1,why=bug failed@2,why=net ok@2", "/a deploy 1 of 3 R2 [net]"},
		"by another command line":               {"failed@1,var=a ok@1,var=b", ""},
		"by what is not committed":              {"failed@1 ok@1,dirty", ""},
		"marked by hand":                        {"failed@1 ok@1,by", ""},
		"blocked and canceled are no failures":  {"blocked@1 canceled@1 ok@1", ""},
		"but do not hide one":                   {"failed@1,why=net blocked@1 canceled@1 ok@1", "/a deploy 1 of 2 R3 [net]"},
		"ok in between":                         {"failed@1 ok@2 ok@1", ""},
		"drift that goes away":                  {"drifted@1,op=drift ok@1,op=drift", ""},
		"another operation":                     {"failed@1,op=plan ok@1", ""},
		"another target":                        {"failed@1,target=x ok@1", ""},
		"in one run":                            {"failed@1,run=R ok@1,run=R", "/a deploy 1 of 2 R [failed]"},
		"moved":                                 {"failed@1,in=x,id=i ok@2,in=x,id=I,to=/b", "/b deploy 1 of 2 R1 [failed]"},
		"got an id":                             {"failed@1 ok@1,id=i", "/a deploy 1 of 2 R1 [failed]"},
		"another stack at its path":             {"ok@1,id=i failed@1 ok@1,id=j", "/a deploy 1 of 2 R2 [failed]"},
		"two stacks":                            {"failed@1,id=i ok@1,id=j", ""},
	} {
		got := ""
		for _, f := range query.FindFlaky(history(tt.history), time.Time{}) {
			got += fmt.Sprintf("%s %s %d of %d %s %v", f.Stack, f.Op, f.Flaky, f.Of, f.Run, f.Reasons)
		}
		if got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
	// Since a moment, the failure before it included.
	records := history("ok@1,tries=2 failed@1,why=net ok@1 ok@1")
	got := query.FindFlaky(records, second(2))
	if len(got) != 1 || got[0].Flaky != 1 || got[0].Of != 2 || got[0].Run != "R2" {
		t.Errorf("since: %+v", got)
	}
	if got := query.FindFlaky(records, second(3)); len(got) != 0 {
		t.Errorf("since the last: %+v", got)
	}
}

func TestConvict(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		history string
		status  note.Status // of the latest record, as derived
		want    string
	}{
		"nothing":                   {"", note.Never, "never"},
		"ok":                        {"ok@1", "", "ok first R0 latest R0 runs 1"},
		"ok for long":               {"failed@1 ok@1 ok@2 ok@3", "", "ok first R1 latest R3 runs 3 bad R0"},
		"never ok":                  {"failed@1 failed@2", "", "failed first R0 latest R1 runs 2"},
		"failed":                    {"ok@1 ok@2 failed@3 failed@4", "", "failed first R2 latest R3 runs 2 ok R1"},
		"failed, in one run again":  {"ok@1 failed@3,run=X failed@3,run=X", "", "failed first X latest X runs 1 ok R0"},
		"canceled before it failed": {"ok@1 canceled@2 failed@3", "", "failed first R2 latest R2 runs 1 ok R0"},
		"canceled alone":            {"ok@1 canceled@2 canceled@3", "", "canceled first R1 latest R2 runs 2 ok R0"},
		"blocked":                   {"ok@1 blocked@2 failed@2", "", "failed first R1 latest R2 runs 2 ok R0"},
		"interrupted":               {"ok@1 running@2 failed@2", "", "failed first R1 latest R2 runs 2 ok R0"},
		"the latest interrupted":    {"ok@1 queued@2", note.Interrupted, "interrupted first R1 latest R1 runs 1 ok R0"},
		"at work now":               {"ok@1 failed@2 running@2", note.Running, "running first R1 latest R1 runs 1 ok R0 open R2"},
		"triggered":                 {"ok@1 failed@2 triggered@2", note.Triggered, "triggered first R1 latest R1 runs 1 ok R0 open R2"},
		"triggered, then failed":    {"ok@1 triggered@1 failed@1", "", "failed first R2 latest R2 runs 1 ok R0"},
		"triggered only":            {"triggered@1", note.Triggered, "triggered open R0"},
		"destroyed":                 {"failed@1 ok@1 ok@1,op=destroy", "", "ok first R2 latest R2 runs 1"},
		"the destruction failed":    {"ok@1 failed@1,op=destroy", "", "failed first R1 latest R1 runs 1 ok R0"},
		"drifted":                   {"ok@1,op=drift drifted@1,op=drift", "", "drifted first R1 latest R1 runs 1 ok R0"},
		"marked as ok":              {"failed@1 ok@1,by", "", "ok first R1 latest R1 runs 1 bad R0"},
	} {
		h := history(tt.history)
		l := gitstate.Latest{Status: tt.status}
		if len(h) > 0 {
			last := h[len(h)-1]
			l.Stored = gitstate.Stored{Commit: last.Commit, Record: last.Record}
			if tt.status == "" {
				l.Status = last.Record.Status
			}
		}
		v := query.Convict(h, &l)
		got := string(v.Status)
		for _, x := range []struct {
			what string
			h    *query.Happened
		}{{"first", v.First}, {"latest", v.Latest}, {"runs", nil}, {"ok", v.LastOK}, {"bad", v.LastBad}, {"open", v.Open}} {
			switch {
			case x.what == "runs" && v.Runs > 0:
				got += fmt.Sprint(" runs ", v.Runs)
			case x.h != nil:
				got += " " + x.what + " " + x.h.Record.Run
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// A drift result that was repeated stands for the time since it was seen first.
func TestAsOfClamp(t *testing.T) {
	t.Parallel()
	drift := gitstate.Latest{Stored: gitstate.Stored{Record: note.Record{At: second(9), Since: second(1), Status: note.OK}}, Status: note.OK}
	failed := gitstate.Latest{Stored: gitstate.Stored{Record: note.Record{At: second(3), Status: note.Failed}}, Status: note.Failed}
	for at, want := range map[int]note.Status{5: note.Failed, 9: note.OK} {
		v := query.View{Deploy: failed, Drift: drift}
		v.Status = gitstate.StackStatus(v.Deploy, v.Drift)
		query.AsOf{What: "x", Until: second(at)}.Clamp(&v)
		if v.Status != want {
			t.Errorf("at second %d: %s, not %s", at, v.Status, want)
		}
	}
}
