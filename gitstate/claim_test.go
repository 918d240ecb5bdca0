package gitstate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

func claimer(t *testing.T, s process, commit, run string, lease time.Duration) *Claimer {
	t.Helper()
	c := s.Remote("origin").NewClaimer(s.Writer, Claim{Commit: commit, Run: run, By: "Alice <alice@example.com>", Lease: lease})
	t.Cleanup(func() { c.Close() })
	return c
}

func take(t *testing.T, c *Claimer, stacks ...string) (held []bool, by []string) {
	t.Helper()
	var want []Claim
	for _, s := range stacks {
		want = append(want, Claim{Stack: s, Target: "prod"})
	}
	for _, got := range must[[]Taken](t)(c.Take(context.Background(), want)) {
		who := ""
		if got.By != nil {
			who = got.By.Run
		}
		held, by = append(held, got.Hold != nil && got.Hold.Err() == nil), append(by, who)
	}
	return held, by
}

// Of several stacks that are taken at once those are taken that are free. What is let
// go of is free; what others hold is not let go of.
func TestClaims(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", time.Minute)
	other := open(t, repo.Clone().Dir)
	b := claimer(t, other, repo.Head(), "RUN2", time.Minute)

	if held, _ := take(t, a, "/x"); !held[0] {
		t.Fatal("/x was not taken")
	}
	held, by := take(t, b, "/x", "/y", "/z")
	if held[0] || !held[1] || !held[2] || by[0] != "RUN1" {
		t.Errorf("held %v, by %v", held, by)
	}
	if held, _ := take(t, b, "/y"); !held[0] {
		t.Error("/y is not held any more")
	}
	noError(t, b.Release(ctx, []Claim{{Stack: "/x", Target: "prod"}, {Stack: "/y", Target: "prod"}}))
	if held, by := take(t, a, "/x", "/y", "/z"); !held[0] || !held[1] || held[2] || by[2] != "RUN2" {
		t.Errorf("held %v, by %v", held, by)
	}

	// Another target is another claim; and a stack is the same one wherever it moved.
	got := must[[]Taken](t)(b.Take(ctx, []Claim{{Stack: "/x"}, {Stack: "/moved", ID: "ID1"}}))
	if got[0].Hold == nil || got[1].Hold == nil {
		t.Errorf("%+v", got)
	}
	if got := must[[]Taken](t)(a.Take(ctx, []Claim{{Stack: "/here", ID: "id1"}})); got[0].By == nil || got[0].By.Stack != "/moved" {
		t.Errorf("%+v", got)
	}

	// By hand, if nobody renewed it meanwhile.
	fetch(t, other)
	claims := must[[]Claim](t)(other.Remote("origin").Claims(ctx))
	var x Claim
	for _, c := range claims {
		if c.Stack == "/x" && c.Target == "prod" {
			x = c
		}
	}
	noError(t, a.renew())
	if err := other.Remote("origin").Unclaim(ctx, []Claim{x}); !errors.Is(err, errContended) {
		t.Errorf("removing a claim that was renewed: %v", err)
	}
	fetch(t, other)
	for _, c := range must[[]Claim](t)(other.Remote("origin").Claims(ctx)) {
		if c.at[0] == x.at[0] || c.at[0].ref == x.at[0].ref {
			x = c
		}
	}
	if x.Renewed != 1 {
		t.Errorf("renewed %d times", x.Renewed)
	}
	noError(t, other.Remote("origin").Unclaim(ctx, []Claim{x}))
	_ = a.renew()
	if a.held[x.at[0].ref] != nil {
		t.Error("who holds a claim that was removed does not learn of it")
	}
	if len(a.held) != 1 {
		t.Errorf("held: %v", a.Held())
	}
}

// What was pushed though the push seemed to fail is found to be ours.
func TestClaimOfALostAnswer(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	s := open(t, repo.Dir)
	c := claimer(t, s, repo.Head(), "RUN1", time.Minute)
	n := c.about
	n.Stack, n.ID, n.Target = "/x", "x", "prod"
	for _, name := range idents(n.ID, n.Stack) {
		n.at = append(n.at, refValue{ref: s.claimRefBy(name, n.Target), name: name})
	}
	changes, err := c.write(ctx, []*Claim{&n})
	noError(t, err)
	noError(t, s.changeClaims(ctx, "origin", true, changes)) // and nobody was told
	x := Claim{Stack: "/x", ID: "x", Target: "prod"}
	if got := must[[]Taken](t)(c.Take(ctx, []Claim{x})); got[0].Hold == nil {
		t.Errorf("held by %v", got[0].By)
	}
	h := c.held[n.at[0].ref]
	n = h.claim
	n.Renewed++
	changes, err = c.write(ctx, []*Claim{&n})
	noError(t, err)
	noError(t, s.changeClaims(ctx, "origin", true, changes))
	noError(t, c.renew())
	if h.hold.Err() != nil {
		t.Error(context.Cause(h.hold))
	}
	noError(t, c.Release(ctx, []Claim{x}))
	if refs := repo.InRemote("for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
		t.Errorf("still claimed: %s", refs)
	}
}

// A claim that is not renewed is taken over when it was seen unchanged for a lease,
// and one that is renewed is not.
func TestClaimExpires(t *testing.T) {
	t.Parallel()
	repo, lease := gittest.New(t), MinLease
	a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", lease)
	b := claimer(t, open(t, repo.Clone().Dir), repo.Head(), "RUN2", lease)
	if held, _ := take(t, a, "/x"); !held[0] {
		t.Fatal("/x was not taken")
	}
	hold := a.holdings()[0].hold
	others := func(until time.Duration, is func(free bool) bool) time.Duration {
		start := time.Now()
		for time.Since(start) < until {
			by, err := b.Others(context.Background(), []Claim{{Stack: "/x", Target: "prod"}})
			noError(t, err)
			if is(by[0] == nil) {
				return time.Since(start)
			}
			time.Sleep(20 * time.Millisecond)
		}
		return until
	}
	take(t, b, "/x")
	if at := others(2*lease, func(free bool) bool { return free }); at < 2*lease && hold.Err() == nil {
		t.Errorf("free after %v, and it is renewed", at)
	}
	a.Close()
	at := others(10*lease, func(free bool) bool { return free })
	if at < lease/2 || at >= 10*lease {
		t.Errorf("free after %v, with a lease of %v", at, lease)
	}
	if held, by := take(t, b, "/x"); !held[0] {
		t.Errorf("held by %v", by)
	}
}

// A replica that is fetched from, and is behind, has nothing to say of claims: who waits for one
// sees it where it is, and that it ends.
func TestClaimsBehindAReplica(t *testing.T) {
	t.Parallel()
	repo, lease := gittest.New(t), MinLease
	clone, replica := repo.Clone(), filepath.Join(t.TempDir(), "replica.git")
	repo.Git("clone", "-q", "--mirror", repo.Remote, replica)
	clone.Git("remote", "set-url", "--push", "origin", repo.Remote)
	clone.Git("remote", "set-url", "origin", replica)
	a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", lease)
	b := claimer(t, open(t, clone.Dir), repo.Head(), "RUN2", lease)
	if held, _ := take(t, a, "/x"); !held[0] {
		t.Fatal("/x was not taken")
	}
	if held, by := take(t, b, "/x"); held[0] || by[0] != "RUN1" {
		t.Fatalf("taken twice, or not seen: %q", by)
	}
	a.Close() // and is renewed no more
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if held, by := take(t, b, "/x"); held[0] {
			return
		} else if time.Since(start) > 10*lease {
			t.Fatalf("still held by %q", by[0])
		}
	}
}

func TestClaimText(t *testing.T) {
	t.Parallel()
	c := Claim{Stack: "/a b", ID: "id1", Target: "prod+blue", Commit: strings.Repeat("a", 40), Run: "RUN1", By: "Alice \x1b[31m <a@b>", Job: "https://ci/1",
		Lease: 90 * time.Second, Renewed: 3, At: gittest.T0}
	c.Since, c.holder = gittest.T0.Add(-time.Minute), "HOLDER"
	text, err := c.line(c.holder, ident(c.ID, c.Stack))
	noError(t, err)
	if strings.Contains(text, "\x1b") {
		t.Errorf("it drives a terminal: %q", text)
	}
	// Whatever tmnotes.message puts around it.
	for _, message := range []string{text, "claim of /a\n\n" + text + "\n", "OPS-1\n\nevent=claimed\n\n" + text + "\n\nSigned-off-by: A <a@b>\n"} {
		if got := must[[]Claim](t)(parseClaims(message)); len(got) != 1 || !reflect.DeepEqual(got[0], c) {
			t.Errorf("%+v\n%+v", got, c)
		}
	}
	for _, bad := range []string{"", "claim of /a", strings.Replace(text, "lease=1m30s", "lease=-1s", 1), strings.Replace(text, "event=claimed", "event=started", 1),
		strings.Replace(text, "commit=a", "commit=", 1), strings.Replace(text, "renewed=3", "renewed=x", 1)} {
		if c, err := parseClaims(bad); err == nil {
			t.Errorf("%q is %+v", bad, c)
		}
	}
}

// A ref that the server cannot move, for the lock that a killed process left there, is in
// the way of its own stack and of no other.
func TestClaimInTheWay(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	c := claimer(t, s, repo.Head(), "RUN1", time.Minute)
	lock := filepath.Join(repo.Remote, filepath.FromSlash(s.claimRef(&Claim{Stack: "/b", Target: "prod"}))+".lock")
	noError(t, os.MkdirAll(filepath.Dir(lock), 0o777))
	noError(t, os.WriteFile(lock, nil, 0o666))
	if held, by := take(t, c, "/a", "/b", "/c", "/d", "/e"); !held[0] || held[1] || by[1] != "" || !held[2] || !held[3] || !held[4] {
		t.Errorf("held %v, by %q", held, by)
	}
	noError(t, os.Remove(lock))
	if held, _ := take(t, c, "/a", "/b"); !held[0] || !held[1] {
		t.Errorf("held %v", held)
	}
}
