package gitstate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

func TestLatestAndDone(t *testing.T) {
	t.Parallel()
	with := func(r Record, edit func(*Record)) Record { edit(&r); return r }
	type annotation struct {
		commit string
		r      Record
	}
	ok1, ok2 := rec(1, OK, Deploy, "/a", "R1"), rec(2, OK, Deploy, "/a", "R2", "R1")
	id := func(r *Record) { r.ID = "ABC" }
	headAt := func(sec int, commit string) Record {
		r := Record{At: t0.Add(time.Duration(sec) * time.Second), Event: Started, Run: "R1"}
		r.sayCommit(commit)
		return r
	}
	head := func(commit string) Record { return headAt(0, commit) }
	for name, c := range map[string]struct {
		notes    []annotation
		id       string
		status   Status
		done     bool // on c1
		ok       string
		diverged int
	}{
		"nothing":                    {nil, "", Never, false, "", 0},
		"ok":                         {[]annotation{{"c1", ok1}}, "", OK, true, "c1", 0},
		"on another commit":          {[]annotation{{"c2", ok1}}, "", OK, false, "c2", 0},
		"rolled back from":           {[]annotation{{"c1", ok1}, {"c2", ok2}}, "", OK, false, "c2", 0},
		"deployed again":             {[]annotation{{"c1", ok1}, {"c2", ok2}, {"c1", rec(3, OK, Deploy, "/a", "R3", "R2")}}, "", OK, true, "c1", 0},
		"failed later":               {[]annotation{{"c1", ok1}, {"c1", rec(2, Failed, Deploy, "/a", "R2", "R1")}}, "", Failed, false, "c1", 0},
		"destroyed":                  {[]annotation{{"c1", ok1}, {"c1", rec(2, OK, Destroy, "/a", "R2", "R1")}}, "", OK, false, "c1", 0},
		"a plan is no deployment":    {[]annotation{{"c1", rec(1, OK, "plan", "/a", "R1")}}, "", Never, false, "", 0},
		"drift is no deployment":     {[]annotation{{"c1", rec(1, OK, Drift, "/a", "R1")}}, "", Never, false, "", 0},
		"dirty":                      {[]annotation{{"c1", with(ok1, func(r *Record) { r.Dirty = true })}}, "", OK, false, "c1", 0},
		"another variant":            {[]annotation{{"c1", with(ok1, func(r *Record) { r.Variant = "x" })}}, "", OK, false, "c1", 0},
		"another target":             {[]annotation{{"c1", with(ok1, func(r *Record) { r.Target = "x" })}}, "", Never, false, "", 0},
		"neither knew of the other":  {[]annotation{{"c1", ok1}, {"c1", rec(2, OK, Deploy, "/a", "R2")}}, "", OK, false, "c1", 1},
		"another is queued":          {[]annotation{{"c1", rec(2, OK, Deploy, "/a", "R1")}, {"c1", rec(1, Queued, Deploy, "/a", "R2")}}, "", OK, true, "c1", 0},
		"and never began":            {[]annotation{{"c1", rec(7200, OK, Deploy, "/a", "R1")}, {"c1", rec(-7200, Queued, Deploy, "/a", "R2")}}, "", OK, false, "c1", 1},
		"resolved by the next":       {[]annotation{{"c1", ok1}, {"c1", rec(2, OK, Deploy, "/a", "R2")}, {"c1", rec(3, OK, Deploy, "/a", "R3", "R1", "R2")}}, "", OK, true, "c1", 0},
		"an hour ahead, then failed": {[]annotation{{"c1", rec(3600, OK, Deploy, "/a", "R1")}, {"c1", rec(2, Failed, Deploy, "/a", "R2", "R1")}}, "", Failed, false, "c1", 0},
		"a day back":                 {[]annotation{{"c1", ok1}, {"c1", rec(-86400, Failed, Deploy, "/a", "R2", "R1")}}, "", Failed, false, "c1", 0},
		"id":                         {[]annotation{{"c1", with(ok1, id)}}, "abc", OK, true, "c1", 0},
		"id, moved":                  {[]annotation{{"c1", with(ok1, func(r *Record) { r.ID, r.Stack = "abc", "/old" })}}, "ABC", OK, true, "c1", 0},
		"id adopted":                 {[]annotation{{"c1", ok1}}, "abc", OK, true, "c1", 0},
		"id adopted, then on":        {[]annotation{{"c1", ok1}, {"c2", with(ok2, id)}}, "abc", OK, false, "c2", 0},
		"id adopted, failed":         {[]annotation{{"c1", ok1}, {"c2", with(rec(2, Failed, Deploy, "/a", "R2", "R1"), id)}}, "abc", Failed, false, "c1", 0},
		"id of another":              {[]annotation{{"c1", with(ok1, id)}}, "other", Never, false, "", 0},
		"of one run the end counts":  {[]annotation{{"c1", rec(0, Queued, Deploy, "/a", "R1")}, {"c2", ok1}}, "", OK, false, "c2", 0},
		"its id is used once more":   {[]annotation{{"c1", rec(2, Running, Deploy, "/a", "R1")}, {"c1", ok1}}, "", Running, false, "c1", 0},
		"copied, of version 1":       {[]annotation{{"c1", ok1}, {"c2", ok1}}, "", OK, false, "c2", 0},
		"copied from c2":             {[]annotation{{"c1", head("c2")}, {"c1", ok1}, {"c2", head("c2")}, {"c2", ok1}}, "", OK, false, "c2", 0},
		"copied to c2":               {[]annotation{{"c1", head("c1")}, {"c1", ok1}, {"c2", head("c1")}, {"c2", ok1}}, "", OK, true, "c1", 0},
		"copied, and gone on there":  {[]annotation{{"c2", head("c2")}, {"c2", ok1}, {"c1", head("c2")}, {"c1", ok1}, {"c1", headAt(5, "c1")}, {"c1", rec(6, Failed, Deploy, "/a", "R1")}}, "", Failed, false, "c2", 0},
		"marked by hand, copied":     {[]annotation{{"c1", with(ok1, func(r *Record) { r.CommitTime = 5; r.sayCommit("c2") })}}, "", Never, false, "", 0},
		"triggered":                  {[]annotation{{"c1", ok1}, {"c2", rec(2, Triggered, Deploy, "/a", "R2", "R1")}}, "", Triggered, false, "c1", 0},
		"deployed once triggered":    {[]annotation{{"c1", ok1}, {"c2", rec(2, Triggered, Deploy, "/a", "R2", "R1")}, {"c1", rec(3, OK, Deploy, "/a", "R3", "R2")}}, "", OK, true, "c1", 0},
		"ok, then failed in one ms":  {[]annotation{{"c1", ok1}, {"c1", with(ok1, func(r *Record) { r.Status = Failed })}}, "", Failed, false, "c1", 0},
	} {
		notes := allNotes{}
		for _, n := range c.notes {
			notes.add(n.commit, mustLine(n.r))
		}
		st := &State{s: &Store{now: func() time.Time { return t0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		l, err := st.Latest(c.id, "/a", "", Deploy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		done, why := l.Done("c1", As{})
		if l.Status != c.status || done != c.done || l.OKCommit != c.ok || len(l.Diverged) != c.diverged {
			t.Errorf("%s: %s, done %v (%s), success %q, beside it %d", name, l.Status, done, why, l.OKCommit, len(l.Diverged))
		}
	}
}

// In conflict are runs that were at a stack and could not know of each other.
func TestConflicts(t *testing.T) {
	t.Parallel()
	took := func(r Record, seconds int) Record { r.Took = time.Duration(seconds) * time.Second; return r }
	ok, old := took(rec(9, OK, Deploy, "/a", "R9", "R0"), 4), -7200
	for name, c := range map[string]struct {
		others []Record
		want   string
	}{
		"nobody":                             {nil, ""},
		"another success":                    {[]Record{rec(3, OK, Deploy, "/a", "R3", "R0")}, "R3"},
		"a failure":                          {[]Record{took(rec(3, Failed, Deploy, "/a", "R3"), 1)}, "R3"},
		"a destruction":                      {[]Record{rec(3, OK, Destroy, "/a", "R3")}, "R3"},
		"announced, not begun":               {[]Record{rec(3, Queued, Deploy, "/a", "R3", "R0")}, ""},
		"announced, and nobody began":        {[]Record{rec(old, Queued, Deploy, "/a", "R3", "R0")}, ""},
		"announced later":                    {[]Record{rec(12, Queued, Deploy, "/a", "R3", "R0")}, ""},
		"announced twice":                    {[]Record{rec(12, Queued, Deploy, "/a", "R3", "R9"), rec(3, Queued, Deploy, "/a", "R4", "R0")}, ""},
		"triggered":                          {[]Record{rec(12, Triggered, Deploy, "/a", "R3")}, ""},
		"blocked":                            {[]Record{rec(12, Blocked, Deploy, "/a", "R3")}, ""},
		"canceled before it began":           {[]Record{rec(3, Canceled, Deploy, "/a", "R3")}, ""},
		"canceled when it ran":               {[]Record{took(rec(3, Canceled, Deploy, "/a", "R3"), 1)}, "R3"},
		"at work":                            {[]Record{rec(3, Running, Deploy, "/a", "R3")}, "R3"},
		"killed before it":                   {[]Record{rec(old, Running, Deploy, "/a", "R3")}, ""},
		"killed, the latest":                 {[]Record{rec(10, Running, Deploy, "/a", "R3")}, "R9"},
		"announced beside two that knew not": {[]Record{rec(12, Queued, Deploy, "/a", "R3", "R0"), rec(3, OK, Deploy, "/a", "R4", "R0")}, "R4 R9"},
	} {
		notes := allNotes{}
		for _, r := range append([]Record{ok}, c.others...) {
			notes.add("c1", mustLine(r))
		}
		st := &State{s: &Store{now: func() time.Time { return t0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		l, err := st.Latest("", "/a", "", Deploy)
		slices.Sort(l.Conflicts)
		if got := strings.Join(l.Conflicts, " "); err != nil || got != c.want {
			t.Errorf("%s: the latest is %s, in conflict with %q, not %q: %v", name, l.Run, got, c.want, err)
		}
		if done, why := l.Done("c1", As{Variant: AnyVariant}); done && len(l.Diverged) > 0 || done && c.want != "" || !done && why == "" {
			t.Errorf("%s: done %v, %q", name, done, why)
		}
	}
}

func TestStackStatus(t *testing.T) {
	t.Parallel()
	early, late := Stored{Record: Record{At: t0}}, Stored{Record: Record{At: t0.Add(time.Second)}}
	for _, c := range []struct {
		deploy, drift Status
		driftLater    bool
		want          Status
	}{
		{Never, Never, false, Never}, {OK, Never, false, OK}, {Failed, Never, false, Failed}, {Interrupted, Never, false, Interrupted},
		{Blocked, Never, false, Blocked}, {Canceled, Never, false, Canceled}, {Blocked, Drifted, true, Blocked}, {Blocked, OK, true, OK}, {Canceled, OK, true, OK}, {Failed, OK, false, Failed}, {Failed, Drifted, true, Failed},
		{OK, Drifted, true, Drifted}, {OK, Drifted, false, OK}, {OK, OK, true, OK}, {Never, Drifted, true, Drifted}, {Never, OK, true, OK},
		{Running, OK, true, Running}, {Queued, Never, false, Running}, {OK, Failed, true, OK}, {Never, Failed, true, Never},
	} {
		deploy, drift := Latest{Stored: late, Status: c.deploy}, Latest{Stored: early, Status: c.drift}
		if c.driftLater {
			deploy.Stored, drift.Stored = early, late
		}
		if got := StackStatus(deploy, drift); got != c.want {
			t.Errorf("deployment %s, drift %s (later: %v): %s, not %s", c.deploy, c.drift, c.driftLater, got, c.want)
		}
	}
}

// A trigger leaves the stack's own status as it was.
func TestStackStatusTriggered(t *testing.T) {
	t.Parallel()
	at := func(second int, s, had Status) Latest {
		r := Record{At: t0.Add(time.Duration(second) * time.Second), Status: s}
		if s == Triggered {
			r.Had, r.Was, r.At = had, r.At, t0.Add(time.Minute)
		}
		return Latest{Stored: Stored{Record: r}, Status: s}
	}
	none := Latest{Status: Never}
	for name, c := range map[string]struct {
		deploy, drift Latest
		want          Status
	}{
		"failed":                             {at(1, Triggered, Failed), none, Failed},
		"ok":                                 {at(1, Triggered, OK), none, OK},
		"interrupted":                        {at(1, Triggered, Interrupted), none, Interrupted},
		"at work, and nobody knows how long": {at(1, Triggered, Running), none, Interrupted},
		"never deployed":                     {Latest{Stored: Stored{Record: Record{Status: Triggered, At: t0}}, Status: Triggered}, none, Never},
		"drifted before":                     {at(2, Triggered, OK), at(1, Drifted, ""), OK},
		"drifted after it":                   {at(1, Triggered, OK), at(2, Drifted, ""), Drifted},
		"failed, clean after it":             {at(1, Triggered, Failed), at(2, OK, ""), OK},
		"drift triggered, it was before":     {at(2, OK, ""), at(1, Triggered, Drifted), OK},
		"drift triggered, it was after":      {at(1, OK, ""), at(2, Triggered, Drifted), Drifted},
	} {
		if got := StackStatus(c.deploy, c.drift); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

// A run that did not come to start a stack leaves it as it was, if it is deployed there.
func TestUntouched(t *testing.T) {
	t.Parallel()
	was := func(commit string, edit func(*Latest)) *Latest {
		l := &Latest{Stored: Stored{Commit: commit, Record: Record{Status: OK, Op: Deploy, At: t0}}, Status: OK}
		edit(l)
		return l
	}
	none := Latest{Status: Never}
	asIs := func(*Latest) {}
	for name, c := range map[string]struct {
		was  *Latest
		op   string
		want Status
	}{
		"deployed here":                  {was("c1", asIs), Deploy, OK},
		"deployed elsewhere":             {was("c2", asIs), Deploy, Blocked},
		"failed here":                    {was("c1", func(l *Latest) { l.Status, l.Record.Status = Failed, Failed }), Deploy, Blocked},
		"interrupted here":               {was("c1", func(l *Latest) { l.Status, l.Record.Status = Interrupted, Running }), Deploy, Blocked},
		"never":                          {&Latest{Status: Never}, Deploy, Blocked},
		"nothing known":                  {&Latest{}, Deploy, Blocked},
		"destroyed here":                 {was("c1", func(l *Latest) { l.Op = Destroy }), Deploy, Blocked},
		"it was to be destroyed":         {was("c1", asIs), Destroy, Blocked},
		"with uncommitted changes":       {was("c1", func(l *Latest) { l.Dirty = true }), Deploy, Blocked},
		"by runs that conflict":          {was("c1", func(l *Latest) { l.Diverged = []Stored{{}} }), Deploy, Blocked},
		"a copied note":                  {was("c1", func(l *Latest) { l.copied = true }), Deploy, Blocked},
		"triggered, deployed before":     {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = Triggered, Triggered, OK }), Deploy, OK},
		"triggered, failed before":       {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = Triggered, Triggered, Failed }), Deploy, Blocked},
		"kept from running before":       {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = Canceled, Canceled, OK }), Deploy, OK},
		"blocked before, and not as ok":  {was("c1", func(l *Latest) { l.Status, l.Record.Status = Blocked, Blocked }), Deploy, Blocked},
		"failed, and says what was once": {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = Failed, Failed, OK }), Deploy, Blocked},
	} {
		r := rec(60, Blocked, c.op, "/a", "R2")
		c.was.Untouched(&r, "c1")
		back, err := ParseRecord(mustLine(r))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l := Latest{Stored: Stored{Commit: "c1", Record: back}, Status: back.Status}
		if got := StackStatus(l, none); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
		// What was found out before stands, if the deployment is what it was.
		drift := Latest{Stored: Stored{Record: Record{Status: Drifted, Op: Drift, At: t0.Add(time.Second)}}, Status: Drifted}
		if got := StackStatus(l, drift); (got == Drifted) != (c.want == OK) {
			t.Errorf("%s, and drifted: %s", name, got)
		}
		if got := Attempted(l, none); got != Blocked {
			t.Errorf("%s: what is to be tried again is %s", name, got)
		}
		if l.Status != Blocked || l.Status.Matches("ok") {
			t.Errorf("%s: the deployment is %s", name, l.Status)
		}
		if ok, _ := l.Done("c1", As{Variant: AnyVariant}); ok {
			t.Errorf("%s: it is done", name)
		}
	}
}

func TestSuperseded(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx := context.Background()
	commit := func(day int) string {
		t.Helper()
		cmd := repo.Command("commit", "-q", "--allow-empty", "-m", fmt.Sprint(day))
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_COMMITTER_DATE=2026-01-%02dT00:00:00Z", day))
		noError(t, cmd.Run())
		return repo.Head()
	}
	a, b, c := commit(1), commit(2), commit(3)
	repo.Git("checkout", "-q", "-b", "side", a)
	side := commit(4)
	repo.Git("checkout", "-q", "main")
	repo.Git("push", "-q", "origin", "main", "side")
	const gone = "1234567890123456789012345678901234567890"
	full := open(t, repo.Dir)
	days := map[string]int{a: 1, b: 2, c: 3, side: 4, gone: 9}
	for commit, day := range days {
		run := "R" + commit[:6]
		noError(t, full.Append(commit, &Record{Event: Started, Run: run, CommitTime: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC).Unix()},
			result(OK, "/"+commit, run)))
	}
	push(t, full)
	shallow := open(t, repo.Clone("--depth=1").Dir) // has c alone
	fetch(t, shallow)
	for name, q := range map[string]struct {
		s       *Store
		head    string
		ok      string
		late    bool
		guessed int
	}{
		"itself":             {full, b, b, false, 0},
		"descendant":         {full, a, c, true, 0},
		"ancestor":           {full, c, a, false, 0},
		"another branch":     {full, b, side, false, 0},
		"not here, later":    {full, c, gone, true, 1},
		"shallow, by time":   {shallow, c, a, false, 1},
		"shallow, and later": {shallow, c, side, true, 1},
	} {
		st := must[*State](t)(q.s.State(ctx))
		l := must[Latest](t)(st.Latest("", "/"+q.ok, "", Deploy))
		if l.OKCommit != q.ok {
			t.Fatalf("%s: success at %q", name, l.OKCommit)
		}
		late, guessed, err := st.Superseded(ctx, q.head, []Latest{l, {}})
		if err != nil || late[0] != q.late || late[1] || guessed != q.guessed {
			t.Errorf("%s: late %v, guessed %d, %v", name, late, guessed, err)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, s := range []Status{Queued, Running, OK, Failed, Canceled, Blocked, Drifted, Triggered, Interrupted, Never} {
		for _, filter := range []string{"healthy", "unhealthy", "failed", "blocked", "canceled", "interrupted", "drifted", "ok", "running", "never", "unknown"} {
			want := s.Matches(filter)
			if filter == "failed" {
				want = s == Failed || s == Canceled || s == Blocked || s == Interrupted
			}
			if got := s.MatchesOwn(filter); got != want {
				t.Errorf("own status %s is %s: %v", s, filter, got)
			}
		}
	}
	for filter, want := range map[string]string{
		"healthy": "ok", "unhealthy": "failed canceled blocked drifted interrupted", "failed": "failed interrupted", "pending": "queued triggered",
		"unknown": "never", "drifted": "drifted", "ok": "ok", "canceled": "canceled", "running": "running",
	} {
		got := ""
		for _, s := range []Status{Queued, Running, OK, Failed, Canceled, Blocked, Drifted, Triggered, Interrupted, Never} {
			if s.Matches(filter) {
				got += " " + string(s)
			}
		}
		if got != " "+want {
			t.Errorf("%s is%s, not %s", filter, got, want)
		}
	}
}
