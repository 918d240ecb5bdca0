package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// sample is a project in which everything happened once.
func sample(t testing.TB) (*project, Options) {
	p := newProject(t)
	sec := time.Second
	res := func(status note.Status, path string) note.Record {
		return note.Record{Status: status, Stack: path, ID: "id" + strings.ReplaceAll(path, "/", "-"), Took: 12400 * time.Millisecond}
	}
	one, two := 1, 2
	c1 := p.commit(day(1, 0), "first stacks")
	p.records(c1, day(1, 1), note.Deploy, res("ok", "/prod/vpc"), res("ok", "/prod/db"), res("ok", "/prod/app"), res("ok", "/old"))
	c2 := p.commit(day(2, 0), "a larger database")
	failed := res("failed", "/prod/db")
	failed.Exit, failed.Took, failed.Tries = &one, 3*sec, 2
	failed.Reason = "Error: \x1b[31mcreating\x1b[0m DB <b>instance</b>: </script><script>alert(1)</script>"
	blocked := note.Record{Status: "blocked", Stack: "/prod/app", ID: "id-prod-app", Cause: "/prod/db"}
	p.records(c2, day(2, 1), note.Deploy, res("ok", "/prod/vpc"), failed, blocked)
	p.records(c2, day(3, 1), note.Deploy, res("ok", "/prod/db"), res("ok", "/prod/app"))
	drifted := res("drifted", "/prod/vpc")
	drifted.Exit = &two
	p.records(c2, day(4, 0), note.Drift, drifted, note.Record{Status: "ok", Stack: "/prod/db", ID: "id-prod-db", Took: 5 * sec})
	evil := note.Record{Status: "ok", Stack: "/<script>alert(1)</script>", Took: 1 * sec, Target: "staging"}
	p.records(c2, day(4, 5), note.Deploy, evil)
	c3 := p.commit(day(5, 0), "nothing \"deployed\" here yet & now")
	p.records(c3, day(5, 1), note.Deploy, failed, note.Record{Status: "running", Stack: "/prod/app", ID: "id-prod-app"})
	mark := note.Record{At: day(6, 0), Status: "ok", Op: note.Deploy, Stack: "/prod/db", ID: "id-prod-db", Variant: gitstate.AnyVariant,
		By: "Bob <bob@example.com>", Reason: "repaired by hand", Run: "RUN-MARK", Prev: []string{"RUN6"}, CommitTime: day(5, 0).Unix()}
	if err := p.store.Writer(mark.Run).Append(c3, &mark); err != nil {
		t.Fatal(err)
	}
	return p, Options{Repository: "git.example/acme/infra", Stacks: []Known{
		{Path: "/<script>alert(1)</script>", Target: "staging", Name: "<img src=x onerror=alert(1)>"},
		{Path: "/new", ID: "ID-new", Tags: []string{"dev"}},
		{Path: "/old", ID: "id-old", Gone: true, LastCommit: c1},
		{Path: "/prod/app", ID: "id-prod-app", Name: "app", Tags: []string{"prod"}},
		{Path: "/prod/db", ID: "id-prod-db", Name: "db", Tags: []string{"prod", "data"}},
		{Path: "/prod/vpc", ID: "id-prod-vpc", Name: "vpc", Tags: []string{"prod"}},
	}}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	var b bytes.Buffer
	if err := p.build(opt).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.Bytes())
}

// The latest results are there wherever they stand, and history is left out by
// whole commits: those on which nothing was recorded for longest.
func TestCommits(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	a := p.commit(day(1, 0), "a")
	b := p.commit(day(2, 0), "b")
	c := p.commit(day(3, 0), "c")
	ok := func(path string) note.Record {
		return note.Record{Status: "ok", Stack: path, Took: time.Second}
	}
	p.records(a, day(1, 1), note.Deploy, ok("/x"), note.Record{Status: "failed", Stack: "/y"})
	p.records(b, day(2, 1), note.Deploy, ok("/y"))
	p.records(c, day(3, 1), note.Deploy, ok("/z"))
	p.records(a, day(4, 1), note.Deploy, ok("/z")) // rolled back
	opt := Options{Stacks: []Known{{Path: "/x"}, {Path: "/y"}, {Path: "/z"}}, Commits: 2}
	r := p.build(opt)
	if got := []string{r.Commits[0].Subject, r.Commits[1].Subject}; len(r.Commits) != 2 || got[0] != "c" || got[1] != "a" || r.OlderCommits != 1 {
		t.Errorf("commits %+v, %d older", r.Commits, r.OlderCommits)
	}
	y := r.Stacks[1]
	if y.Status != note.OK || y.Deployment().Commit != b || y.LastFailure == nil || y.LastOK == nil || y.LastOK.Commit != b {
		t.Errorf("/y: %+v", y)
	}
	if len(y.History) != 1 || y.History[0].Commit != a {
		t.Errorf("history of /y: %+v", y.History)
	}
	// What happened on b is not here, so nothing from before then counts.
	if !r.Figures.Since.Equal(day(2, 1).Add(time.Second)) || r.Figures.Deployments != 2 || r.Figures.Failed != 0 {
		t.Errorf("figures %+v", r.Figures)
	}
	opt.Keep = func(deploy, drift gitstate.Latest, own note.Status) bool { return deploy.Commit == a }
	if r := p.build(opt); len(r.Stacks) != 2 || r.Stacks[0].Path != "/x" || r.Stacks[1].Path != "/z" {
		t.Errorf("kept: %+v", r.Stacks)
	}
}

// A stack that got an id or moved keeps its history; another stack at its old
// path has its own.
func TestIdentity(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := p.commit(day(1, 0), "a")
	at := func(d int, path, id string) {
		p.records(c, day(d, 0), note.Deploy, note.Record{Status: "ok", Stack: path, ID: id, Took: time.Second})
	}
	at(1, "/x", "")
	at(2, "/x", "one")
	at(3, "/y", "one")
	at(4, "/x", "two")
	at(5, "/never-had-one", "")
	r := p.build(Options{Stacks: []Known{{Path: "/never-had-one", ID: "three"}, {Path: "/x", ID: "TWO"}, {Path: "/y", ID: "one"}}})
	got := ""
	for _, s := range r.Stacks {
		got += s.Path
		for _, h := range s.History {
			got += fmt.Sprint(" ", h.Record.At.Day())
		}
		got += "; "
	}
	if want := "/never-had-one 5; /x 4; /y 1 2 3; "; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	// One of them is gone, and its place is taken.
	r = p.build(Options{Stacks: []Known{{Path: "/x", ID: "two"}, {Path: "/x", ID: "one", Gone: true, LastCommit: c}}})
	if len(r.Stacks[0].History) != 1 || len(r.Stacks[1].History) != 3 || r.Stacks[1].Status != note.Orphaned || r.Stacks[0].Status != note.OK {
		t.Errorf("gone: %+v", r.Stacks)
	}
}

// A note that cannot be read is an error, not a report without it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := p.commit(day(1, 0), "a")
	p.records(c, day(1, 0), note.Deploy, note.Record{Status: "ok", Stack: "/x"})
	if err := p.store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, err := p.store.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	blob := p.Git("rev-parse", "refs/notes/tmnotes:"+c)
	p.remove(blob)
	if r, err := Build(t.Context(), p.store, st, Options{Stacks: []Known{{Path: "/x"}}}); err == nil {
		t.Errorf("built %+v", r)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ history, want string }{
		"nothing":                {"", "0/0"},
		"deployed":               {"1:ok", "0/1 0.0"},
		"failed":                 {"1:failed", "1/1 1.0 failing 1"},
		"failed, then recovered": {"1:ok 2:failed 4:ok", "1/3 0.3 recovered 1 in 48h0m0s"},
		// It failed first when it failed first.
		"failed for long": {"1:failed 2:failed 5:ok", "2/3 0.7 recovered 1 in 96h0m0s"},
		// The median of one, two and three days.
		"often":                     {"1:failed 2:ok 3:failed 5:ok 6:failed 9:ok", "3/6 0.5 recovered 3 in 48h0m0s"},
		"interrupted":               {"1:interrupted 2:ok", "1/2 0.5 recovered 1 in 24h0m0s"},
		"canceled":                  {"1:canceled 2:ok", "0/1 0.0"},
		"blocked":                   {"1:blocked 2:ok", "0/1 0.0"},
		"canceled while it failed":  {"1:failed 2:canceled 3:ok", "1/2 0.5 recovered 1 in 48h0m0s"},
		"repaired by hand":          {"1:failed 2:ok,by", "1/1 1.0 recovered 1 in 24h0m0s"},
		"marked as failed":          {"1:ok 2:failed,by", "0/1 0.0 failing 1"},
		"destroyed":                 {"1:failed 2:ok,destroy", "1/1 1.0"},
		"the destruction failed":    {"1:ok 2:failed,destroy", "0/1 0.0 failing 1"},
		"a plan that failed":        {"1:failed,plan 2:ok", "0/1 0.0"},
		"at work":                   {"1:ok 2:running", "0/1 0.0"},
		"found drift, and repaired": {"1:ok 2:drifted,drift 3:ok", "0/2 0.0"},
	} {
		r := &Report{At: day(31, 0), Stacks: []Stack{{}}}
		for i, w := range strings.Fields(tt.history) {
			var d int
			var status string
			_, _ = fmt.Sscanf(w, "%d:%s", &d, &status)
			status, kind, _ := strings.Cut(status, ",")
			h := Result{Status: note.Status(status), Record: note.Record{At: day(d, 0), Op: note.Deploy, Run: fmt.Sprint(i)}}
			switch kind {
			case "by":
				h.Record.By = "Alice"
			case "":
			default:
				h.Record.Op = kind
			}
			r.Stacks[0].History = append(r.Stacks[0].History, h)
		}
		f := figures(r, time.Time{})
		got := fmt.Sprintf("%d/%d", f.Failed, f.Deployments)
		if f.FailureRate != nil {
			got += fmt.Sprintf(" %.1f", *f.FailureRate)
		}
		if f.Recoveries > 0 {
			got += fmt.Sprintf(" recovered %d in %v", f.Recoveries, time.Duration(f.TimeToRecover))
		}
		if f.Failing > 0 {
			got += fmt.Sprint(" failing ", f.Failing)
		}
		if got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
}

// From the commit that was first tried to the deployment; what brought nothing new is none.
func TestLeadTimes(t *testing.T) {
	t.Parallel()
	written := map[string]time.Time{"a": day(1, 0), "b": day(2, 0), "c": day(3, 0), "d": day(4, 0)}
	for name, tt := range map[string]struct {
		history string // day, commit, status, inputs, and who or what
		since   int
		want    string
	}{
		"nothing":                       {"", 0, ""},
		"deployed":                      {"2aok1", 0, "24h0m0s"},
		"each commit":                   {"2aok1 5bok2", 0, "24h0m0s 72h0m0s"},
		"failed before":                 {"2aok1 3bfailed2 6cok3", 0, "24h0m0s 96h0m0s"},
		"blocked before":                {"2aok1 3bblocked- 6cok3", 0, "24h0m0s 96h0m0s"},
		"triggered":                     {"2aok1 3btriggered- 6cok3", 0, "24h0m0s 72h0m0s"},
		"the same again":                {"2aok1 3aok1 5bok1", 0, "24h0m0s"},
		"inputs unknown":                {"2aok- 5bok-", 0, "24h0m0s 72h0m0s"},
		"rolled back and forward":       {"2aok1 3bok2 4aok1 5bok2 6cok3", 0, "24h0m0s 24h0m0s 72h0m0s"},
		"adopted":                       {"9aok1:by 10bok2", 0, "192h0m0s"},
		"failed, repaired by hand":      {"2aok1 3bfailed2 4bok2:by 6cok3", 0, "24h0m0s 72h0m0s"},
		"uncommitted":                   {"2aok1 5bok-:dirty", 0, "24h0m0s"},
		"destroyed between":             {"2aok1 3aok-:destroy 5bok2", 0, "24h0m0s 72h0m0s"},
		"drift and plans":               {"2aok1 3bok-:drift 6cok2", 0, "24h0m0s 72h0m0s"},
		"a commit that is not known":    {"2aok1 5xok2", 0, "24h0m0s"},
		"a clock behind":                {"1bok1", 0, "0s"},
		"what came before is left out":  {"2aok1 5bok2", 3, "72h0m0s"},
		"an unknown success before":     {"5bok2 6cok3", 4, "72h0m0s"},
		"the oldest of several failed":  {"2aok1 4cfailed3 5bfailed2 6dok4", 0, "24h0m0s 96h0m0s"},
		"an older commit failed, later": {"3bok2 4afailed1 6cok3", 0, "24h0m0s 72h0m0s"},
	} {
		var history []Result
		for i, w := range strings.Fields(tt.history) {
			var d int
			var rest string
			_, _ = fmt.Sscanf(w, "%d%s", &d, &rest)
			rest, kind, _ := strings.Cut(rest, ":")
			last := len(rest) - 1
			h := Result{Commit: rest[:1], Status: note.Status(rest[1:last]), Record: note.Record{At: day(d, 0), Op: note.Deploy, Run: fmt.Sprint(i), Inputs: strings.Trim(rest[last:], "-")}}
			switch kind {
			case "by":
				h.Record.By = "Alice"
			case "dirty":
				h.Record.Dirty = true
			case "destroy", "drift":
				h.Record.Op = kind
			}
			history = append(history, h)
		}
		since := time.Time{}
		if tt.since > 0 {
			since = day(tt.since, 0)
		}
		got := strings.Trim(fmt.Sprint(leadTimes(history, written, since)), "[]")
		if got != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
}

// A deployment of several stacks is one, and has failed if any of them has.
func TestFiguresOfRuns(t *testing.T) {
	t.Parallel()
	result := func(run, status string, d int, took time.Duration) Result {
		return Result{Status: note.Status(status), Record: note.Record{At: day(d, 0), Op: note.Deploy, Run: run, Took: took}}
	}
	r := &Report{At: day(11, 0), Stacks: []Stack{
		{History: []Result{result("A", "ok", 1, 1*time.Second), result("B", "ok", 2, 3*time.Second), result("C", "ok", 3, 2*time.Second)}},
		{History: []Result{result("A", "ok", 1, 100*time.Second), result("B", "failed", 2, 0)}},
	}}
	f := figures(r, time.Time{})
	if f.Deployments != 3 || f.Failed != 1 || f.PerDay != 0.2 || f.Failing != 1 {
		t.Errorf("%+v", f)
	}
	if want := (Durations{4, Duration(2 * time.Second), Duration(100 * time.Second)}); f.Took != want {
		t.Errorf("took %+v, not %+v", f.Took, want)
	}
	// What came before is not counted.
	if f := figures(r, day(2, 0)); f.Deployments != 1 || f.Failing != 0 || !f.Since.Equal(day(2, 0)) {
		t.Errorf("since: %+v", f)
	}
}
