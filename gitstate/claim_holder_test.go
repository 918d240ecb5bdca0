package gitstate

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

func takes(t *testing.T, c *Claimer, stacks ...Claim) []Taken {
	t.Helper()
	return must[[]Taken](t)(c.Take(context.Background(), stacks))
}

// A stack with an id is claimed by its path as well: pipelines of a commit before it
// had the id, or another one, and of one after exclude each other, whoever comes first.
func TestClaimedByIDAndPath(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	a := claimer(t, open(t, repo.Dir), repo.Head(), "RUN1", time.Minute)
	other := open(t, repo.Clone().Dir)
	b := claimer(t, other, repo.Head(), "RUN2", time.Minute)
	b.Poll = 0
	without, with, renamed, moved := Claim{Stack: "/x"}, Claim{Stack: "/x", ID: "One"}, Claim{Stack: "/x", ID: "two"}, Claim{Stack: "/y", ID: "one"}
	for _, c := range []struct {
		first, second Claim
		both          bool
	}{
		{without, with, false}, {with, without, false}, {with, renamed, false}, {with, moved, false}, {without, moved, true}, {renamed, moved, true},
	} {
		if got := takes(t, a, c.first); got[0].Hold == nil {
			t.Fatalf("%+v is not free", c.first)
		}
		got := takes(t, b, c.second)
		if (got[0].Hold != nil) != c.both || !c.both && (got[0].By == nil || got[0].By.Run != "RUN1") {
			t.Errorf("%+v while %+v is claimed: %+v", c.second, c.first, got[0])
		}
		// It is one claim to who looks.
		fetch(t, other)
		want := 1
		if c.both {
			want = 2
		}
		if found := must[[]Claim](t)(other.Remote("origin").Claims(ctx)); len(found) != want {
			t.Errorf("%d claims: %+v", len(found), found)
		}
		noError(t, a.Release(ctx, []Claim{c.first}))
		noError(t, b.Release(ctx, []Claim{c.second}))
		if refs := repo.InRemote("for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
			t.Fatalf("still claimed: %s", refs)
		}
	}
	// By hand, both refs are removed at once.
	takes(t, a, with)
	fetch(t, other)
	noError(t, other.Remote("origin").Unclaim(ctx, must[[]Claim](t)(other.Remote("origin").Claims(ctx))))
	if refs := repo.InRemote("for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
		t.Errorf("still claimed: %s", refs)
	}
}

// Whether the holder of a claim is dead is told by his own mark, in the clone where
// he made it: not by another's of the same run, and not by a copy.
func TestHolderOfAClaim(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	a := open(t, repo.Dir)
	clone := repo.Clone()
	_, out := child(t, "live", clone.Dir, "RUN1", "") // an earlier job of the run, elsewhere
	out.Scan()
	dead, out := child(t, "live", repo.Dir, "RUN1", "")
	out.Scan()
	dead.Process.Kill()
	dead.Wait()
	mark := must[*Mark](t)(a.Live("RUN1", ""))
	takes(t, claimer(t, a, repo.Head(), "RUN1", time.Minute), Claim{Stack: "/x"})
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", repo.Dir, copied).CombinedOutput(); err != nil {
		t.Skipf("cp: %v: %s", err, out)
	}
	for name, dir := range map[string]string{"the clone": repo.Dir, "another clone": clone.Dir, "a copy": copied} {
		b := claimer(t, open(t, dir), repo.Head(), "RUN2", time.Minute)
		got := takes(t, b, Claim{Stack: "/x"})[0]
		if got.Hold != nil || got.By == nil || got.By.Here != (name == "the clone") {
			t.Errorf("%s takes what is held: %+v", name, got)
		}
	}
	if is := must[liveness](t)(open(t, copied).holderLives(mark.holder)); is != elsewhere {
		t.Errorf("in a copy the holder is %v", is)
	}
	mark.Done()
}

// A holder that was killed is not waited for in its clone, and one whose command lives on
// is waited for there, whatever the lease.
func TestKilledHolderOfAClaim(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	lease := time.Hour
	holder, out := child(t, "holder", repo.Dir, repo.Head(), lease.String())
	out.Scan()
	stop := out.Text()
	b := claimer(t, s, repo.Head(), "RUN2", lease)
	if got := takes(t, b, Claim{Stack: "/x"})[0]; got.By == nil || !got.By.Here {
		t.Fatalf("it is held: %+v", got)
	}
	holder.Process.Kill()
	holder.Wait()
	if git.Inheritable {
		b.Poll = 0
		got := takes(t, b, Claim{Stack: "/x"})[0]
		if got.By == nil || !got.By.Here || got.Hold != nil {
			t.Errorf("its command lives on: %+v", got)
		}
		v := b.seen[s.claimRef(&Claim{Stack: "/x"})]
		if v.last = v.first + 2*lease; v.expired() {
			t.Error("it is taken over though its command lives on")
		}
	}
	noError(t, os.Remove(stop))
	for range 500 {
		if is := must[liveness](t)(s.holderLives(b.holding(t).holder)); is == gone {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c := claimer(t, s, repo.Head(), "RUN3", lease)
	if got := takes(t, c, Claim{Stack: "/x"})[0]; got.Hold == nil {
		t.Errorf("its holder is dead: %+v", got)
	}
}

// holding is the one claim of another that was seen.
func (c *Claimer) holding(t *testing.T) Claim {
	t.Helper()
	for _, v := range c.seen {
		return v.claim
	}
	t.Fatal("no claim was seen")
	return Claim{}
}

func init() {
	// holder claims /x, and starts a command that lives for as long as a file does.
	children["holder"] = func(args []string) {
		s, err := opened(Options{Dir: args[0]})
		if err != nil {
			fail(err)
		}
		mark, err := s.Live("RUN1", "")
		if err != nil {
			fail(err)
		}
		lease, _ := time.ParseDuration(args[2])
		c := s.Remote("origin").NewClaimer(s.Writer, Claim{Commit: args[1], Run: "RUN1", Lease: lease})
		if got, err := c.Take(context.Background(), []Claim{{Stack: "/x"}}); err != nil || got[0].Hold == nil {
			fail(err)
		}
		f, err := os.CreateTemp("", "holder-")
		if err != nil {
			fail(err)
		}
		cmd := exec.Command("sh", "-c", `while test -e "$0"; do sleep 0.05; done`, f.Name())
		cmd.ExtraFiles = mark.Inherited()
		if err := cmd.Start(); err != nil {
			fail(err)
		}
		os.Stdout.WriteString(f.Name() + "\n")
		time.Sleep(time.Hour) // until it is killed
	}
}

// Where nobody may delete a ref, who comes next does not wait for a stack that was let go
// of.
func TestClaimsOnAServerThatKeepsRefs(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(r *gittest.Repo){
		"a hook refuses deletions": func(r *gittest.Repo) {
			r.Hook("update", `case $3 in *[!0]*) ;; *) echo "deleting refs is not allowed"; exit 1 ;; esac`)
		},
		"a hook refuses nothing": func(*gittest.Repo) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, ctx := gittest.New(t), context.Background()
			setup(repo)
			var warned strings.Builder
			s := openWith(t, Options{Dir: repo.Dir, Warn: func(text string) { warned.WriteString(text + "\n") }})
			x := Claim{Stack: "/x", ID: "1"}
			clone := open(t, repo.Clone().Dir)
			for run, s := range []process{s, clone, s} {
				c := claimer(t, s, repo.Head(), "RUN"+string(rune('1'+run)), time.Hour)
				if got := takes(t, c, x)[0]; got.Hold == nil {
					t.Fatalf("%d: it is not free: %+v", run, got)
				}
				noError(t, c.renew())
				noError(t, c.renew())
				noError(t, c.Release(ctx, []Claim{x}))
			}
			kept := repo.InRemote("for-each-ref", "refs/notes/tmnotes-claims") != ""
			if said := strings.Contains(warned.String(), "marked as released"); said != kept || kept != (name == "a hook refuses deletions") {
				t.Errorf("kept: %v; said: %q", kept, warned.String())
			}
			fetch(t, clone)
			if found := must[[]Claim](t)(clone.Remote("origin").Claims(ctx)); len(found) > 0 {
				t.Errorf("nobody claims anything: %+v", found)
			}
			try := must[PushTry](t)(s.Remote("origin").TryPush(ctx, ""))
			if (try.Delete != nil) != kept || try.Claims != nil {
				t.Errorf("doctor: %+v", try)
			}
		})
	}
}

// While the machine sleeps, the clock that the holder counts by stands still, and others'
// do not. When it wakes up it finds out whose its claims are before it relies on them.
func TestClaimsOfAMachineThatSlept(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	const lease = time.Hour
	var now moment
	now.wall = gittest.T0
	c := s.newClaimer("origin", Claim{Commit: repo.Head(), Run: "RUN1", Lease: lease}, func() moment { return now })
	x, y := Claim{Stack: "/x"}, Claim{Stack: "/y"}
	hold := takes(t, c, x, y)
	pass := func(steady, wall time.Duration) bool {
		now.steady += steady
		now.wall = now.wall.Add(wall)
		return c.look()
	}
	renewed := func() int { return c.held[s.claimRef(&x)].claim.Renewed }
	if pass(lease/4, lease/4) || renewed() != 0 {
		t.Error("it is not due yet")
	}
	if !pass(lease/8, lease/8) {
		t.Error("it is due")
	}
	c.renewing = false
	if pass(0, 10*lease); renewed() != 1 || hold[0].Hold.Err() != nil {
		t.Errorf("nobody had taken them meanwhile: renewed %d times, %v", renewed(), context.Cause(hold[0].Hold))
	}
	// Another took one over.
	repo.InRemote("update-ref", s.claimRef(&x), repo.Head())
	pass(0, 10*lease)
	if err := context.Cause(hold[0].Hold); err == nil || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("/x: %v", err)
	}
	if hold[1].Hold.Err() != nil {
		t.Errorf("/y: %v", context.Cause(hold[1].Hold))
	}
	// Nobody answers.
	repo.Git("remote", "set-url", "origin", filepath.Join(t.TempDir(), "gone"))
	pass(0, lease/3)
	if hold[1].Hold.Err() != nil {
		t.Errorf("/y, before its time: %v", context.Cause(hold[1].Hold))
	}
	pass(0, lease/2)
	if err := context.Cause(hold[1].Hold); err == nil || !strings.Contains(err.Error(), "not renewed in time") {
		t.Errorf("/y: %v", err)
	}
}
