package gitstate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func TestLatestAndDone(t *testing.T) {
	t.Parallel()
	with := func(r note.Record, edit func(*note.Record)) note.Record { edit(&r); return r }
	type annotation struct {
		commit string
		r      note.Record
	}
	ok1, ok2 := rec(1, note.OK, note.Deploy, "/a", "R1"), rec(2, note.OK, note.Deploy, "/a", "R2", "R1")
	id := func(r *note.Record) { r.ID = "ABC" }
	headAt := func(sec int, commit string) note.Record {
		r := note.Record{At: gittest.T0.Add(time.Duration(sec) * time.Second), Event: note.Started, Run: "R1"}
		r.SayCommit(commit)
		return r
	}
	head := func(commit string) note.Record { return headAt(0, commit) }
	for name, c := range map[string]struct {
		notes    []annotation
		id       string
		status   note.Status
		done     bool // on c1
		ok       string
		diverged int
	}{
		"nothing":                    {nil, "", note.Never, false, "", 0},
		"ok":                         {[]annotation{{"c1", ok1}}, "", note.OK, true, "c1", 0},
		"on another commit":          {[]annotation{{"c2", ok1}}, "", note.OK, false, "c2", 0},
		"rolled back from":           {[]annotation{{"c1", ok1}, {"c2", ok2}}, "", note.OK, false, "c2", 0},
		"deployed again":             {[]annotation{{"c1", ok1}, {"c2", ok2}, {"c1", rec(3, note.OK, note.Deploy, "/a", "R3", "R2")}}, "", note.OK, true, "c1", 0},
		"failed later":               {[]annotation{{"c1", ok1}, {"c1", rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")}}, "", note.Failed, false, "c1", 0},
		"destroyed":                  {[]annotation{{"c1", ok1}, {"c1", rec(2, note.OK, note.Destroy, "/a", "R2", "R1")}}, "", note.OK, false, "c1", 0},
		"a plan is no deployment":    {[]annotation{{"c1", rec(1, note.OK, "plan", "/a", "R1")}}, "", note.Never, false, "", 0},
		"drift is no deployment":     {[]annotation{{"c1", rec(1, note.OK, note.Drift, "/a", "R1")}}, "", note.Never, false, "", 0},
		"dirty":                      {[]annotation{{"c1", with(ok1, func(r *note.Record) { r.Dirty = true })}}, "", note.OK, false, "c1", 0},
		"another variant":            {[]annotation{{"c1", with(ok1, func(r *note.Record) { r.Variant = "x" })}}, "", note.OK, false, "c1", 0},
		"another target":             {[]annotation{{"c1", with(ok1, func(r *note.Record) { r.Target = "x" })}}, "", note.Never, false, "", 0},
		"neither knew of the other":  {[]annotation{{"c1", ok1}, {"c1", rec(2, note.OK, note.Deploy, "/a", "R2")}}, "", note.OK, false, "c1", 1},
		"another is queued":          {[]annotation{{"c1", rec(2, note.OK, note.Deploy, "/a", "R1")}, {"c1", rec(1, note.Queued, note.Deploy, "/a", "R2")}}, "", note.OK, true, "c1", 0},
		"and never began":            {[]annotation{{"c1", rec(7200, note.OK, note.Deploy, "/a", "R1")}, {"c1", rec(-7200, note.Queued, note.Deploy, "/a", "R2")}}, "", note.OK, false, "c1", 1},
		"resolved by the next":       {[]annotation{{"c1", ok1}, {"c1", rec(2, note.OK, note.Deploy, "/a", "R2")}, {"c1", rec(3, note.OK, note.Deploy, "/a", "R3", "R1", "R2")}}, "", note.OK, true, "c1", 0},
		"an hour ahead, then failed": {[]annotation{{"c1", rec(3600, note.OK, note.Deploy, "/a", "R1")}, {"c1", rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")}}, "", note.Failed, false, "c1", 0},
		"a day back":                 {[]annotation{{"c1", ok1}, {"c1", rec(-86400, note.Failed, note.Deploy, "/a", "R2", "R1")}}, "", note.Failed, false, "c1", 0},
		"id":                         {[]annotation{{"c1", with(ok1, id)}}, "abc", note.OK, true, "c1", 0},
		"id, moved":                  {[]annotation{{"c1", with(ok1, func(r *note.Record) { r.ID, r.Stack = "abc", "/old" })}}, "ABC", note.OK, true, "c1", 0},
		"id adopted":                 {[]annotation{{"c1", ok1}}, "abc", note.OK, true, "c1", 0},
		"id adopted, then on":        {[]annotation{{"c1", ok1}, {"c2", with(ok2, id)}}, "abc", note.OK, false, "c2", 0},
		"id adopted, failed":         {[]annotation{{"c1", ok1}, {"c2", with(rec(2, note.Failed, note.Deploy, "/a", "R2", "R1"), id)}}, "abc", note.Failed, false, "c1", 0},
		"id of another":              {[]annotation{{"c1", with(ok1, id)}}, "other", note.Never, false, "", 0},
		"of one run the end counts":  {[]annotation{{"c1", rec(0, note.Queued, note.Deploy, "/a", "R1")}, {"c2", ok1}}, "", note.OK, false, "c2", 0},
		"its id is used once more":   {[]annotation{{"c1", rec(2, note.Running, note.Deploy, "/a", "R1")}, {"c1", ok1}}, "", note.Running, false, "c1", 0},
		"copied, of version 1":       {[]annotation{{"c1", ok1}, {"c2", ok1}}, "", note.OK, false, "c2", 0},
		"copied from c2":             {[]annotation{{"c1", head("c2")}, {"c1", ok1}, {"c2", head("c2")}, {"c2", ok1}}, "", note.OK, false, "c2", 0},
		"copied to c2":               {[]annotation{{"c1", head("c1")}, {"c1", ok1}, {"c2", head("c1")}, {"c2", ok1}}, "", note.OK, true, "c1", 0},
		"copied, and gone on there":  {[]annotation{{"c2", head("c2")}, {"c2", ok1}, {"c1", head("c2")}, {"c1", ok1}, {"c1", headAt(5, "c1")}, {"c1", rec(6, note.Failed, note.Deploy, "/a", "R1")}}, "", note.Failed, false, "c2", 0},
		"marked by hand, copied":     {[]annotation{{"c1", with(ok1, func(r *note.Record) { r.CommitTime = 5; r.SayCommit("c2") })}}, "", note.Never, false, "", 0},
		"triggered":                  {[]annotation{{"c1", ok1}, {"c2", rec(2, note.Triggered, note.Deploy, "/a", "R2", "R1")}}, "", note.Triggered, false, "c1", 0},
		"deployed once triggered":    {[]annotation{{"c1", ok1}, {"c2", rec(2, note.Triggered, note.Deploy, "/a", "R2", "R1")}, {"c1", rec(3, note.OK, note.Deploy, "/a", "R3", "R2")}}, "", note.OK, true, "c1", 0},
		"ok, then failed in one ms":  {[]annotation{{"c1", ok1}, {"c1", with(ok1, func(r *note.Record) { r.Status = note.Failed })}}, "", note.Failed, false, "c1", 0},
	} {
		notes := allNotes{}
		for _, n := range c.notes {
			notes.add(n.commit, mustLine(n.r))
		}
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		l, err := st.Latest(note.Slot{ID: c.id, Path: "/a", Target: "", Op: note.Deploy})
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

// What is live is what was deployed last, whatever failed since then; until it is destroyed.
func TestLive(t *testing.T) {
	t.Parallel()
	type annotation struct {
		commit string
		r      note.Record
	}
	ok, id := rec(1, note.OK, note.Deploy, "/a", "R1"), func(r note.Record) note.Record { r.ID = "abc"; return r }
	failed := rec(4, note.Failed, note.Deploy, "/a", "R4", "R3")
	down := rec(2, note.OK, note.Destroy, "/a", "R2", "R1")
	for name, c := range map[string]struct {
		notes []annotation
		id    string
		live  string
		dirty bool
	}{
		"nothing":                             {nil, "", "", false},
		"never with success":                  {[]annotation{{"c1", failed}}, "", "", false},
		"ok":                                  {[]annotation{{"c1", ok}}, "", "c1", false},
		"failed since":                        {[]annotation{{"c1", ok}, {"c2", rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")}, {"c2", rec(3, note.Blocked, note.Deploy, "/a", "R3", "R2")}}, "", "c1", false},
		"dirty, failed since":                 {[]annotation{{"c1", func() note.Record { r := ok; r.Dirty = true; return r }()}, {"c2", rec(2, note.Failed, note.Deploy, "/a", "R2", "R1")}}, "", "c1", true},
		"a part was applied since":            {[]annotation{{"c1", ok}, {"c2", rec(2, note.OK, "apply", "/a", "R2", "R1")}}, "", "c1", false},
		"the destroy failed":                  {[]annotation{{"c1", ok}, {"c1", rec(2, note.Failed, note.Destroy, "/a", "R2", "R1")}}, "", "c1", false},
		"destroyed":                           {[]annotation{{"c1", ok}, {"c1", down}}, "", "", false},
		"destroyed, failed since":             {[]annotation{{"c1", ok}, {"c2", down}, {"c3", rec(3, note.Failed, note.Deploy, "/a", "R3", "R2")}, {"c3", failed}}, "", "", false},
		"destroyed, ok since":                 {[]annotation{{"c1", ok}, {"c1", down}, {"c2", rec(3, note.OK, note.Deploy, "/a", "R3", "R2")}, {"c3", failed}}, "", "c2", false},
		"destroyed under its id":              {[]annotation{{"c1", ok}, {"c1", id(down)}, {"c2", id(rec(3, note.Failed, note.Deploy, "/a", "R3", "R2"))}}, "abc", "", false},
		"both in one run":                     {[]annotation{{"c1", ok}, {"c1", rec(2, note.OK, note.Destroy, "/a", "R1")}, {"c2", rec(3, note.Failed, note.Deploy, "/a", "R3", "R1")}}, "", "", false},
		"destroyed by a clock that is behind": {[]annotation{{"c1", ok}, {"c1", rec(-9, note.OK, note.Destroy, "/a", "R2", "R1")}}, "", "", false},
	} {
		notes := allNotes{}
		for _, n := range c.notes {
			notes.add(n.commit, mustLine(n.r))
		}
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		l, err := st.Latest(note.Slot{ID: c.id, Path: "/a", Op: note.Deploy})
		if err != nil {
			t.Fatal(err)
		}
		live, since := l.Live()
		if live != c.live || live != "" && (l.OKDirty != c.dirty || !since.Equal(l.OKAt)) || live == "" && !since.IsZero() {
			t.Errorf("%s: %q since %v, dirty %v", name, live, since, l.OKDirty)
		}
	}
}

// In conflict are runs that were at a stack and could not know of each other.
func TestConflicts(t *testing.T) {
	t.Parallel()
	took := func(r note.Record, seconds int) note.Record { r.Took = time.Duration(seconds) * time.Second; return r }
	ok, old := took(rec(9, note.OK, note.Deploy, "/a", "R9", "R0"), 4), -7200
	for name, c := range map[string]struct {
		others []note.Record
		want   string
	}{
		"nobody":                             {nil, ""},
		"another success":                    {[]note.Record{rec(3, note.OK, note.Deploy, "/a", "R3", "R0")}, "R3"},
		"a failure":                          {[]note.Record{took(rec(3, note.Failed, note.Deploy, "/a", "R3"), 1)}, "R3"},
		"a destruction":                      {[]note.Record{rec(3, note.OK, note.Destroy, "/a", "R3")}, "R3"},
		"announced, not begun":               {[]note.Record{rec(3, note.Queued, note.Deploy, "/a", "R3", "R0")}, ""},
		"announced, and nobody began":        {[]note.Record{rec(old, note.Queued, note.Deploy, "/a", "R3", "R0")}, ""},
		"announced later":                    {[]note.Record{rec(12, note.Queued, note.Deploy, "/a", "R3", "R0")}, ""},
		"announced twice":                    {[]note.Record{rec(12, note.Queued, note.Deploy, "/a", "R3", "R9"), rec(3, note.Queued, note.Deploy, "/a", "R4", "R0")}, ""},
		"triggered":                          {[]note.Record{rec(12, note.Triggered, note.Deploy, "/a", "R3")}, ""},
		"blocked":                            {[]note.Record{rec(12, note.Blocked, note.Deploy, "/a", "R3")}, ""},
		"canceled before it began":           {[]note.Record{rec(3, note.Canceled, note.Deploy, "/a", "R3")}, ""},
		"canceled when it ran":               {[]note.Record{took(rec(3, note.Canceled, note.Deploy, "/a", "R3"), 1)}, "R3"},
		"at work":                            {[]note.Record{rec(3, note.Running, note.Deploy, "/a", "R3")}, "R3"},
		"killed before it":                   {[]note.Record{rec(old, note.Running, note.Deploy, "/a", "R3")}, ""},
		"killed, the latest":                 {[]note.Record{rec(10, note.Running, note.Deploy, "/a", "R3")}, "R9"},
		"announced beside two that knew not": {[]note.Record{rec(12, note.Queued, note.Deploy, "/a", "R3", "R0"), rec(3, note.OK, note.Deploy, "/a", "R4", "R0")}, "R4 R9"},
	} {
		notes := allNotes{}
		for _, r := range append([]note.Record{ok}, c.others...) {
			notes.add("c1", mustLine(r))
		}
		st := &State{s: &Store{now: func() time.Time { return gittest.T0 }, staleAfter: time.Hour, private: "/nowhere"}, x: notes.index()}
		l, err := st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})
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
	early, late := Stored{Record: note.Record{At: gittest.T0}}, Stored{Record: note.Record{At: gittest.T0.Add(time.Second)}}
	for _, c := range []struct {
		deploy, drift note.Status
		driftLater    bool
		want          note.Status
	}{
		{note.Never, note.Never, false, note.Never}, {note.OK, note.Never, false, note.OK}, {note.Failed, note.Never, false, note.Failed}, {note.Interrupted, note.Never, false, note.Interrupted},
		{note.Blocked, note.Never, false, note.Blocked}, {note.Canceled, note.Never, false, note.Canceled}, {note.Blocked, note.Drifted, true, note.Blocked}, {note.Blocked, note.OK, true, note.OK}, {note.Canceled, note.OK, true, note.OK}, {note.Failed, note.OK, false, note.Failed}, {note.Failed, note.Drifted, true, note.Failed},
		{note.OK, note.Drifted, true, note.Drifted}, {note.OK, note.Drifted, false, note.OK}, {note.OK, note.OK, true, note.OK}, {note.Never, note.Drifted, true, note.Drifted}, {note.Never, note.OK, true, note.OK},
		{note.Running, note.OK, true, note.Running}, {note.Queued, note.Never, false, note.Running}, {note.OK, note.Failed, true, note.OK}, {note.Never, note.Failed, true, note.Never},
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

// A drift run that found nothing out leaves what an earlier one found.
func TestDriftStays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		statuses string // of what was recorded, in order: of deployments in capitals
		want     note.Status
	}{
		{"ok drifted failed", note.Drifted}, {"OK drifted failed", note.Drifted}, {"OK drifted failed canceled", note.Drifted}, {"OK drifted running", note.Drifted},
		{"OK drifted failed ok", note.OK}, {"OK drifted ok failed", note.OK}, {"OK drifted failed OK", note.OK}, {"OK drifted OK failed", note.OK},
		{"drifted failed", note.Drifted}, {"OK drifted failed FAILED", note.Failed}, {"OK drifted failed FAILED ok", note.OK}, {"OK failed", note.OK}, {"failed", note.Never},
		{"drifted OK failed", note.OK},
	} {
		notes, x, prev := allNotes{}, newIndex(), map[string][]string{}
		var after, got note.Status
		for i, word := range strings.Fields(c.statuses) {
			op := note.Drift
			if word == strings.ToUpper(word) {
				op = note.Deploy
			}
			r := rec(i, note.Status(strings.ToLower(word)), op, "/a", fmt.Sprint("R", i), prev[op]...)
			prev[op] = []string{r.Run}
			of := func() (deploy, drift Latest) {
				st := &State{s: &Store{now: func() time.Time { return r.At }, staleAfter: time.Hour, private: t.TempDir()}, x: x}
				return must[Latest](t)(st.Latest(note.Slot{Path: "/a", Op: note.Deploy})), must[Latest](t)(st.Latest(note.Slot{Path: "/a", Op: note.Drift}))
			}
			deploy, drift := of()
			after = After(deploy, drift, &r)
			before := notes.clone()
			notes.add(fmt.Sprint("c", i), mustLine(r))
			if !x.apply(before.changesTo(notes)) {
				x = notes.index()
			}
			if why := x.differs(notes.index()); why != "" {
				t.Errorf("%s: %s", c.statuses, why)
			}
			got = StackStatus(of())
		}
		if got != c.want || after != c.want {
			t.Errorf("%s: %s, %s as it was foreseen; not %s", c.statuses, got, after, c.want)
		}
	}
}

// A trigger leaves the stack's own status as it was.
func TestStackStatusTriggered(t *testing.T) {
	t.Parallel()
	at := func(second int, s, had note.Status) Latest {
		r := note.Record{At: gittest.T0.Add(time.Duration(second) * time.Second), Status: s}
		if s == note.Triggered {
			r.Had, r.Was, r.At = had, r.At, gittest.T0.Add(time.Minute)
		}
		return Latest{Stored: Stored{Record: r}, Status: s}
	}
	none := Latest{Status: note.Never}
	for name, c := range map[string]struct {
		deploy, drift Latest
		want          note.Status
	}{
		"failed":                             {at(1, note.Triggered, note.Failed), none, note.Failed},
		"ok":                                 {at(1, note.Triggered, note.OK), none, note.OK},
		"interrupted":                        {at(1, note.Triggered, note.Interrupted), none, note.Interrupted},
		"at work, and nobody knows how long": {at(1, note.Triggered, note.Running), none, note.Interrupted},
		"never deployed":                     {Latest{Stored: Stored{Record: note.Record{Status: note.Triggered, At: gittest.T0}}, Status: note.Triggered}, none, note.Never},
		"drifted before":                     {at(2, note.Triggered, note.OK), at(1, note.Drifted, ""), note.OK},
		"drifted after it":                   {at(1, note.Triggered, note.OK), at(2, note.Drifted, ""), note.Drifted},
		"failed, clean after it":             {at(1, note.Triggered, note.Failed), at(2, note.OK, ""), note.OK},
		"drift triggered, it was before":     {at(2, note.OK, ""), at(1, note.Triggered, note.Drifted), note.OK},
		"drift triggered, it was after":      {at(1, note.OK, ""), at(2, note.Triggered, note.Drifted), note.Drifted},
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
		l := &Latest{Stored: Stored{Commit: commit, Record: note.Record{Status: note.OK, Op: note.Deploy, At: gittest.T0}}, Status: note.OK}
		edit(l)
		return l
	}
	none := Latest{Status: note.Never}
	asIs := func(*Latest) {}
	for name, c := range map[string]struct {
		was  *Latest
		op   string
		want note.Status
	}{
		"deployed here":                  {was("c1", asIs), note.Deploy, note.OK},
		"deployed elsewhere":             {was("c2", asIs), note.Deploy, note.Blocked},
		"failed here":                    {was("c1", func(l *Latest) { l.Status, l.Record.Status = note.Failed, note.Failed }), note.Deploy, note.Blocked},
		"interrupted here":               {was("c1", func(l *Latest) { l.Status, l.Record.Status = note.Interrupted, note.Running }), note.Deploy, note.Blocked},
		"never":                          {&Latest{Status: note.Never}, note.Deploy, note.Blocked},
		"nothing known":                  {&Latest{}, note.Deploy, note.Blocked},
		"destroyed here":                 {was("c1", func(l *Latest) { l.Op = note.Destroy }), note.Deploy, note.Blocked},
		"it was to be destroyed":         {was("c1", asIs), note.Destroy, note.Blocked},
		"with uncommitted changes":       {was("c1", func(l *Latest) { l.Dirty = true }), note.Deploy, note.Blocked},
		"by runs that conflict":          {was("c1", func(l *Latest) { l.Diverged = []Stored{{}} }), note.Deploy, note.Blocked},
		"a copied note":                  {was("c1", func(l *Latest) { l.copied = true }), note.Deploy, note.Blocked},
		"triggered, deployed before":     {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = note.Triggered, note.Triggered, note.OK }), note.Deploy, note.OK},
		"triggered, failed before":       {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = note.Triggered, note.Triggered, note.Failed }), note.Deploy, note.Blocked},
		"kept from running before":       {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = note.Canceled, note.Canceled, note.OK }), note.Deploy, note.OK},
		"blocked before, and not as ok":  {was("c1", func(l *Latest) { l.Status, l.Record.Status = note.Blocked, note.Blocked }), note.Deploy, note.Blocked},
		"failed, and says what was once": {was("c1", func(l *Latest) { l.Status, l.Record.Status, l.Had = note.Failed, note.Failed, note.OK }), note.Deploy, note.Blocked},
	} {
		r := rec(60, note.Blocked, c.op, "/a", "R2")
		c.was.Untouched(&r, "c1")
		back, err := note.ParseRecord(mustLine(r))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l := Latest{Stored: Stored{Commit: "c1", Record: back}, Status: back.Status}
		if got := StackStatus(l, none); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
		// What was found out before stands, if the deployment is what it was.
		drift := Latest{Stored: Stored{Record: note.Record{Status: note.Drifted, Op: note.Drift, At: gittest.T0.Add(time.Second)}}, Status: note.Drifted}
		if got := StackStatus(l, drift); (got == note.Drifted) != (c.want == note.OK) {
			t.Errorf("%s, and drifted: %s", name, got)
		}
		if got := Attempted(l, none); got != note.Blocked {
			t.Errorf("%s: what is to be tried again is %s", name, got)
		}
		if l.Status != note.Blocked || l.Status.Matches("ok") {
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
		noError(t, full.Append(commit, &note.Record{Event: note.Started, Run: run, CommitTime: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC).Unix()},
			result(note.OK, "/"+commit, run)))
	}
	push(t, full)
	shallow := open(t, repo.Clone("--depth=1").Dir) // has c alone
	fetch(t, shallow)
	for name, q := range map[string]struct {
		s       process
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
		l := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/" + q.ok, Target: "", Op: note.Deploy}))
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
	for _, s := range []note.Status{note.Queued, note.Running, note.OK, note.Failed, note.Canceled, note.Blocked, note.Drifted, note.Triggered, note.Interrupted, note.Never} {
		for _, filter := range []string{"healthy", "unhealthy", "failed", "blocked", "canceled", "interrupted", "drifted", "ok", "running", "never", "unknown"} {
			want := s.Matches(filter)
			if filter == "failed" {
				want = s == note.Failed || s == note.Canceled || s == note.Blocked || s == note.Interrupted
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
		for _, s := range []note.Status{note.Queued, note.Running, note.OK, note.Failed, note.Canceled, note.Blocked, note.Drifted, note.Triggered, note.Interrupted, note.Never} {
			if s.Matches(filter) {
				got += " " + string(s)
			}
		}
		if got != " "+want {
			t.Errorf("%s is%s, not %s", filter, got, want)
		}
	}
}
