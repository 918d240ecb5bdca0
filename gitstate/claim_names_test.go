package gitstate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// claimsOf is how many refs claim stacks on the remote.
func claimsOf(repo *gittest.Repo) int {
	return strings.Count(repo.InRemote("for-each-ref", "refs/notes/tmnotes-claims"), "refs/notes/")
}

// announces pushes the queued line of a stack.
func announces(t *testing.T, c *Claimer, stack Claim) Claim {
	t.Helper()
	r := &note.Record{Status: note.Queued, Op: note.Deploy, Target: stack.Target, Stack: stack.Stack, ID: stack.ID, Run: c.about.Run}
	noError(t, c.s.Writer(c.about.Run).Append(c.about.Commit, r))
	if tr := must[Traveled](t)(c.s.Remote("origin").Announce(context.Background(), false)); tr.Spooled {
		t.Fatal("the announcement is on a spool ref")
	}
	stack.Announced = true
	return stack
}

// Who is announced claims a stack by its own name, and whoever is announced later by that
// name too, under whatever id the stack is known there: they exclude each other, whoever
// claims first.
func TestClaimedByAnnouncedNames(t *testing.T) {
	t.Parallel()
	without, with, renamed, moved := Claim{Stack: "/x"}, Claim{Stack: "/x", ID: "One"}, Claim{Stack: "/x", ID: "two"}, Claim{Stack: "/y", ID: "one"}
	for _, c := range []struct {
		name          string
		first, second Claim
		refs          int // of each
		both          bool
	}{
		{"same", with, with, 1, false}, {"got its id", without, with, 2, false}, {"lost its id", with, without, 2, false}, {"got another id", with, renamed, 2, false},
		{"moved", with, moved, 1, false}, {"other stacks", renamed, moved, 1, true},
	} {
		for _, laterFirst := range []bool{false, true} {
			t.Run(c.name+map[bool]string{false: "", true: ", the later claims first"}[laterFirst], func(t *testing.T) {
				t.Parallel()
				repo := gittest.New(t)
				a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", time.Minute)
				b := claimer(t, open(t, repo.Clone().Dir), repo.Head(), "RUN2", time.Minute)
				b.Poll, a.Poll = 0, 0
				first, second := announces(t, a, c.first), announces(t, b, c.second)
				if laterFirst {
					a, b, first, second = b, a, second, first
				}
				if got := takes(t, a, first); got[0].Hold == nil {
					t.Fatalf("%+v is not free: %+v", first, got[0].By)
				}
				if is := claimsOf(repo); is != c.refs {
					t.Errorf("%d refs, not %d", is, c.refs)
				}
				got := takes(t, b, second)
				if (got[0].Hold != nil) != c.both || !c.both && (got[0].By == nil || got[0].By.Run != a.about.Run) {
					t.Errorf("%+v while %+v is claimed: %+v", second, first, got[0])
				}
				fetch(t, process{Store: b.s})
				if found := must[[]Claim](t)(b.s.Remote("origin").Claims(context.Background())); len(found) != map[bool]int{false: 1, true: 2}[c.both] {
					t.Errorf("%d claims: %+v", len(found), found)
				}
				noError(t, a.renew())
				noError(t, a.Release(context.Background(), []Claim{first}))
				if got := takes(t, b, second); got[0].Hold == nil {
					t.Errorf("it was let go of: %+v", got[0].By)
				}
			})
		}
	}
}

// A name of a path is not forgotten when its stack moves on, nor when the record that had
// it is followed by another or removed.
func TestNamesOfAPath(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	s := open(t, repo.Dir)
	append := func(r *note.Record) {
		t.Helper()
		noError(t, s.Append(repo.Head(), r))
		noError(t, s.Flush(ctx))
	}
	append(&note.Record{Status: note.Queued, Op: note.Deploy, Stack: "/x", ID: "One", Run: "RUN1"})
	append(&note.Record{Status: note.Running, Op: note.Deploy, Stack: "/x", ID: "One", Run: "RUN1"})
	append(&note.Record{Status: note.OK, Op: note.Destroy, Target: "prod", Stack: "/y", ID: "one", Run: "RUN2", Prev: []string{"RUN1"}})
	append(&note.Record{Status: note.OK, Op: "plan", Stack: "/x", ID: "two", Run: "RUN3"})
	queued := &note.Record{Status: note.Queued, Op: note.Deploy, Stack: "/x", ID: "three", Run: "RUN4"}
	append(queued)
	append(&note.Record{Status: note.OK, Op: note.Deploy, Stack: "/x", Run: "RUN5"})
	noError(t, s.Withdraw(repo.Head(), queued, note.Record{By: "Alice <a@b>", Reason: "not needed"}))
	check := func(how string) {
		t.Helper()
		st := must[*State](t)(s.State(ctx))
		if got := strings.Join(st.namesAt("/x"), " "); got != "/x id:one id:three" {
			t.Errorf("%s: %s", how, got)
		}
		if got := strings.Join(st.namesAt("/y"), " "); got != "id:one" {
			t.Errorf("%s: %s", how, got)
		}
	}
	check("from what changed")
	noError(t, s.Flush(ctx))
	check("written")
	s = open(t, repo.Dir)
	check("read again")
}

// Two that announced a stack by different names and could not read of each other, as on spool
// refs, find that out once they have claimed it: neither starts with half of the names.
func TestClaimedByHalfOfItsNames(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", time.Minute)
	b := claimer(t, open(t, repo.Clone().Dir), repo.Head(), "RUN2", time.Minute)
	a.Poll, b.Poll = 0, 0
	noError(t, b.learn(ctx, false))
	x := announces(t, a, Claim{Stack: "/x"})
	if got := takes(t, a, x); got[0].Hold == nil {
		t.Fatalf("%+v", got[0].By)
	}
	y := announces(t, b, Claim{Stack: "/x", ID: "one"})
	if got := takes(t, b, y); got[0].Hold != nil || got[0].By == nil || got[0].By.Run != "RUN1" {
		t.Errorf("both are at it: %+v", got[0])
	}
	if is := claimsOf(repo); is != 1 {
		t.Errorf("%d refs", is)
	}
	noError(t, a.Release(ctx, []Claim{x}))
	if got := takes(t, b, y); got[0].Hold == nil || claimsOf(repo) != 2 {
		t.Errorf("%+v, %d refs", got[0].By, claimsOf(repo))
	}
}
