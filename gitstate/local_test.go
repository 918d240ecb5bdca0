package gitstate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func staysLocal(op string) bool { return op != note.Deploy && op != note.Drift }

// openLocal is open for a store in which other operations than deployments and drift
// stay in the clone.
func openLocal(t testing.TB, dir string) process {
	t.Helper()
	s := open(t, dir)
	s.KeepLocal(staysLocal)
	return s
}

func opOf(op string, r *note.Record) *note.Record {
	r.Op = op
	return r
}

// What is not synced is read here like all else, and no push takes it along.
func TestLocal(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	commit := repo.Head()
	before := open(t, repo.Dir) // by an earlier version
	noError(t, before.Append(commit, opOf("init", result(note.OK, "/a", "RUN0"))))
	s := openLocal(t, repo.Dir)
	head := &note.Record{Event: note.Started, Op: "plan", Run: "RUN1", CommitTime: 1, By: "Alice <a@b>", Version: 1}
	noError(t, s.Append(commit, head, opOf("plan", result(note.Running, "/a", "RUN1"))))
	noError(t, s.Append(commit, opOf("plan", result(note.OK, "/a", "RUN1"))))
	noError(t, s.Append(commit, opOf(note.Deploy, result(note.OK, "/a", "RUN2"))))
	// The end of a run has no operation, and this process has not seen the run.
	other := openLocal(t, repo.Dir)
	noError(t, os.Rename(s.localJournal.Dir+"/run-R.log", s.localJournal.Dir+"/run-RUN1.log"))
	noError(t, other.Store.Writer("RUN1").Append(commit, &note.Record{Event: note.Finished, Run: "RUN1", OK: 1}))
	noError(t, s.KeepText(TextKey{Kind: PlanText, Path: "/a", Op: "plan", Run: strings.Repeat("1", 26)}, "my plan\n", &note.Redactor{}))
	noError(t, s.KeepText(TextKey{Kind: PlanText, Path: "/a", Op: note.Drift, Run: strings.Repeat("2", 26)}, "their plan\n", &note.Redactor{}))
	reads := func(when string) {
		t.Helper()
		s := openLocal(t, repo.Dir)
		st := must[*State](t)(s.State(ctx))
		for _, op := range []string{"init", "plan", note.Deploy} {
			if l := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: op})); l.Status != note.OK {
				t.Errorf("%s: %s of /a is %s", when, op, l.Status)
			}
		}
		if l := must[Latest](t)(st.Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: "plan"})); l.By != "Alice <a@b>" {
			t.Errorf("%s: planned by %q", when, l.By)
		}
		text := noteText(t, s, commit)
		for _, want := range []string{"op=init", "op=plan", "event=finished", "op=deploy"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is not in\n%s", when, want, text)
			}
		}
		found := 0
		noError(t, s.Notes(func(_ string, lines []Line) error {
			found += len(lines)
			return nil
		}))
		if found != 5 {
			t.Errorf("%s: %d lines", when, found)
		}
		if problems := must[[]Problem](t)(s.Check(ctx)); len(problems) != 0 {
			t.Errorf("%s: %v", when, problems)
		}
		for op, want := range map[string]string{"plan": "my plan\n", note.Drift: "their plan\n"} {
			if text, _, err := s.Text(TextKey{Kind: PlanText, Path: "/a", Op: op}); err != nil || text.Body != want {
				t.Errorf("%s: the plan of %s is %q, %v", when, op, text.Body, err)
			}
		}
	}
	reads("from the journal")
	noError(t, s.Flush(ctx))
	reads("from the refs")
	if n, _, err := s.Remote("origin").Unpushed(ctx); n != 2 || err != nil {
		t.Errorf("%d records are to be pushed, %v", n, err)
	}
	push(t, s)
	reads("after a push")
	repo.Git("pack-refs", "--all")
	reads("from packed refs")
	noError(t, os.RemoveAll(s.private))
	reads("without the journal")

	theirs := repo.InRemote("notes", "--ref=tmnotes", "show", commit)
	if strings.Contains(theirs, "op=plan") || strings.Contains(theirs, "RUN1") || !strings.Contains(theirs, "op=deploy") || !strings.Contains(theirs, "op=init") {
		t.Errorf("on the remote is\n%s", theirs)
	}
	if files := repo.InRemote("ls-tree", "-r", "--name-only", DefaultRef+"-texts"); strings.Contains(files, strings.Repeat("1", 26)) || !strings.Contains(files, strings.Repeat("2", 26)) {
		t.Errorf("texts on the remote: %s", files)
	}
	if refs := repo.InRemote("for-each-ref", "--format=%(refname)"); strings.Contains(refs, "local") {
		t.Error(refs)
	}
	if shown := repo.Git("-c", "notes.displayRef=refs/tmnotes/local/tmnotes", "log", "-1"); !strings.Contains(shown, "op=plan") {
		t.Errorf("git log shows\n%s", shown)
	}

	// What is shared from now on takes along what stayed here.
	all := open(t, repo.Dir)
	all.CarryLocal()
	push(t, all)
	reads("after it was shared")
	theirs = repo.InRemote("notes", "--ref=tmnotes", "show", commit)
	if !strings.Contains(theirs, "op=plan") || !strings.Contains(theirs, "event=finished") {
		t.Errorf("on the remote is\n%s", theirs)
	}
	if refs := repo.Git("for-each-ref", "--format=%(refname)", "refs/tmnotes/local/"); refs != "" {
		t.Errorf("still here: %s", refs)
	}
	if files := repo.InRemote("ls-tree", "-r", "--name-only", DefaultRef+"-texts"); !strings.Contains(files, strings.Repeat("1", 26)) {
		t.Errorf("texts on the remote: %s", files)
	}
}

// What is forgotten is gone from the ref that it stood in.
func TestForgetLocal(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	commit, s := repo.Head(), openLocal(t, repo.Dir)
	secret := opOf("plan", result(note.Failed, "/a", "RUN1"))
	secret.Reason = "hunter2"
	noError(t, s.Append(commit, secret))
	noError(t, s.Append(commit, opOf(note.Deploy, result(note.OK, "/a", "RUN2"))))
	noError(t, s.Flush(ctx))
	gone := must[[]Line](t)(s.Forget(ctx, commit, note.Record{By: "Alice", Reason: "a secret"}, func(Line) bool { return true }))
	if len(gone) != 2 {
		t.Errorf("%v", gone)
	}
	local, shared := repo.Git("-c", "notes.displayRef=refs/tmnotes/local/tmnotes", "log", "-1"), repo.Git("notes", "--ref=tmnotes", "show")
	if strings.Contains(local, "hunter2") || strings.Count(local, "event=forgotten") != 1 || strings.Count(shared, "event=forgotten") != 1 || strings.Contains(shared, "status=") {
		t.Errorf("local:\n%s\nshared:\n%s\n%s", local, shared, repo.Git("for-each-ref"))
	}
	if l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: "plan"})); l.Status != note.Never {
		t.Errorf("%+v", l)
	}
}

// Nothing that is acknowledged is lost, and no reader misses it, while it is moved.
func TestCarryWhileOthersRecord(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	commit := repo.Head()
	const writers, records = 2, 15
	var wg, reader sync.WaitGroup
	stop := make(chan struct{})
	reader.Go(func() {
		s, seen := openLocal(t, repo.Dir), 0
		for {
			select {
			case <-stop:
				return
			default:
			}
			now := strings.Count(noteText(t, s, commit), "op=plan")
			if now < seen {
				t.Errorf("%d records are read where there were %d", now, seen)
				return
			}
			seen = now
		}
	})
	for w := range writers {
		wg.Go(func() {
			s := openLocal(t, repo.Dir)
			for i := range records {
				run := fmt.Sprintf("RUN%d%02d", w, i)
				if err := s.Store.Writer(run).Append(commit, opOf("plan", result(note.OK, fmt.Sprintf("/s%d-%d", w, i), run))); err != nil {
					t.Error(err)
				}
				if i%4 == 0 {
					if err := s.Flush(ctx); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range 6 {
			s := open(t, repo.Dir)
			s.CarryLocal()
			if _, err := s.Remote("origin").Push(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	close(stop)
	reader.Wait()
	s := open(t, repo.Dir)
	s.CarryLocal()
	push(t, s)
	if n := strings.Count(repo.InRemote("notes", "--ref=tmnotes", "show", commit), "op=plan"); n != writers*records {
		t.Errorf("%d of %d records are on the remote", n, writers*records)
	}
}

// Whichever ref a record is in, what is read is what would be read of one.
func TestBothAreOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			repo := gittest.New(t)
			twin := repo.Clone()
			commits := []string{repo.Head()}
			rnd := rand.New(rand.NewPCG(seed, 7))
			apart, one := open(t, repo.Dir), open(t, twin.Dir)
			apart.KeepLocal(func(op string) bool { return op == "plan" || op == note.Drift && rnd.IntN(2) == 0 })
			// Records of one operation may stand in both, of a clone and of its CI.
			for i := range 40 {
				if i%9 == 0 {
					commits = append(commits, repo.Commit(fmt.Sprint("c", i), map[string]string{"f": fmt.Sprint(i)}))
				}
				op := []string{note.Deploy, note.Drift, "plan"}[rnd.IntN(3)]
				r := opOf(op, result([]note.Status{note.OK, note.Failed, note.Running, note.Drifted}[rnd.IntN(4)], fmt.Sprint("/s", rnd.IntN(3)), fmt.Sprintf("RUN%02d", rnd.IntN(30))))
				r.At = gittest.T0.Add(time.Duration(i) * time.Minute)
				if rnd.IntN(2) == 0 {
					r.Prev = []string{fmt.Sprintf("RUN%02d", rnd.IntN(30))}
				}
				commit, copied := commits[rnd.IntN(len(commits))], *r
				noError(t, apart.Append(commit, r))
				noError(t, one.Append(commit, &copied))
				switch rnd.IntN(6) {
				case 0:
					noError(t, apart.Flush(ctx))
				case 1:
					noError(t, one.Flush(ctx))
				case 2:
					must[*State](t)(apart.State(ctx)) // leads the index on
					must[*State](t)(one.State(ctx))
				}
			}
			for range 2 {
				a, b := must[*State](t)(open(t, repo.Dir).State(ctx)), must[*State](t)(open(t, twin.Dir).State(ctx))
				if why := a.x.differs(b.x); why != "" {
					t.Error(why)
				}
				for _, c := range commits {
					if x, y := noteText(t, apart, c), noteText(t, one, c); x != y {
						t.Errorf("apart:\n%s\nas one:\n%s", x, y)
					}
				}
				noError(t, apart.Flush(ctx))
				noError(t, one.Flush(ctx))
			}
			if x, y := must[map[TallyKey]int](t)(apart.Tally(ctx)), must[map[TallyKey]int](t)(one.Tally(ctx)); fmt.Sprint(x) != fmt.Sprint(y) {
				t.Errorf("%v\n%v", x, y)
			}
			var order []string
			notes, _, _, err := apart.current(ctx)
			noError(t, err)
			noError(t, apart.each(notes, func(commit string, _ []string) error {
				order = append(order, commit)
				return nil
			}))
			if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != len(order) {
				t.Errorf("%v", order)
			}
			if problems := must[[]Problem](t)(apart.Check(ctx)); slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal }) {
				t.Errorf("%v", problems)
			}
		})
	}
}
