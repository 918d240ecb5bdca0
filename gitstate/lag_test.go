package gitstate

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// cached makes a clone that fetches from a cache of the remote and pushes to the
// remote itself. refresh brings the cache up to date.
func cached(t *testing.T, repo *gittest.Repo, warn func(string)) (s process, cache string, refresh func()) {
	t.Helper()
	cache = filepath.Join(t.TempDir(), "cache.git")
	repo.Git("clone", "-q", "--mirror", repo.Remote, cache)
	clone := repo.Clone()
	clone.Git("remote", "set-url", "origin", cache)
	clone.Git("remote", "set-url", "--push", "origin", repo.Remote)
	s = openWith(t, Options{Dir: clone.Dir, Warn: warn})
	s.lagPatience = 300 * time.Millisecond
	return s, cache, func() { clone.Git("--git-dir="+cache, "fetch", "-q", "--prune", "origin") }
}

// Who announces does not go past notes that a push finds and a fetch does not bring.
func TestAnnouncementWhereFetchesLag(t *testing.T) {
	t.Parallel()
	for _, had := range []string{"no notes", "older notes"} {
		for _, fetched := range []bool{false, true} {
			t.Run(had, func(t *testing.T) {
				t.Parallel()
				repo := gittest.New(t)
				ctx, head := context.Background(), repo.Head()
				primary := open(t, repo.Dir)
				if had == "older notes" {
					noError(t, primary.Append(head, result(note.OK, "/old", "R1")))
					push(t, primary)
				}
				var warned []string
				s, cache, refresh := cached(t, repo, func(w string) { warned = append(warned, w) })
				fetch(t, s)
				noError(t, primary.Append(head, result(note.OK, "/a", "R2")))
				push(t, primary)
				noError(t, s.Append(head, result(note.Queued, "/a", "R3")))

				_, err := s.Remote("origin").Announce(ctx, fetched)
				if !errors.Is(err, ErrLagging) || !errors.Is(err, ErrNotPushed) || strings.Contains(err.Error(), "\n") ||
					!strings.Contains(err.Error(), cache) || !strings.Contains(err.Error(), repo.Remote) {
					t.Errorf("%v", err)
				}
				if refs := repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes"); refs != s.ref {
					t.Errorf("gone past it: %s", refs)
				}
				for _, w := range warned {
					if strings.Contains(w, "deleted") || strings.Contains(w, "removed") {
						t.Errorf("untrue: %s", w)
					}
				}
				// It catches up while it is waited for.
				s.lagPatience = time.Minute
				go func() {
					time.Sleep(200 * time.Millisecond)
					refresh()
				}()
				tr := must[Traveled](t)(s.Remote("origin").Announce(ctx, fetched))
				if !tr.Pushed || tr.Spooled {
					t.Errorf("%+v", tr)
				}
				if note := noteText(t, s, head); !strings.Contains(note, "run=R2") {
					t.Errorf("announced, and not known:\n%s", note)
				}
			})
		}
	}
}

// A remote whose fetches never bring anything new takes all that one run has to say:
// what it pushed itself is known to be there. The end of a run goes past others' notes.
func TestRunWhereFetchesLag(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	primary := open(t, repo.Dir)
	var warned []string
	s, _, refresh := cached(t, repo, func(w string) { warned = append(warned, w) })
	s.lagPatience = time.Minute // and it is not waited for
	noError(t, s.Append(head, result(note.Queued, "/a", "R1"), result(note.Queued, "/b", "R1")))
	must[Traveled](t)(s.Remote("origin").Announce(ctx, false))
	c := claimer(t, s, head, "R1", time.Minute)
	if held, by := take(t, c, "/a"); !held[0] {
		t.Fatalf("held by %v", by)
	}
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	if tr := push(t, s); tr.Spooled || !tr.Pushed {
		t.Errorf("%+v", tr)
	}
	noError(t, c.Release(ctx, []Claim{{Stack: "/a", Target: "prod"}}))
	if tr := push(t, s); tr.Spooled {
		t.Errorf("%+v", tr)
	}
	fetch(t, primary)
	noError(t, primary.Append(head, result(note.OK, "/c", "R2")))
	push(t, primary)
	noError(t, s.Append(head, result(note.OK, "/b", "R1")))
	if tr := push(t, s); !tr.Spooled {
		t.Errorf("%+v", tr)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "is older than it was") {
		t.Errorf("%q", warned)
	}
	refresh()
	if tr := push(t, s); tr.Spooled {
		t.Errorf("%+v", tr)
	}
	if refs := repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes"); refs != s.ref {
		t.Errorf("left on the remote: %s", refs)
	}
	show := repo.InRemote("notes", "--ref=tmnotes", "show", head)
	for _, want := range []string{"status=ok op=deploy stack=/a ", "status=ok op=deploy stack=/b ", "stack=/c "} {
		if !strings.Contains(show, want) {
			t.Errorf("%s is missing in\n%s", want, show)
		}
	}
}

// Who has claimed a stack knows what was done to it before, or does not have it.
func TestClaimWhereFetchesLag(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	primary := open(t, repo.Dir)
	s, _, refresh := cached(t, repo, nil)
	noError(t, s.Append(head, result(note.Queued, "/a", "R1")))
	must[Traveled](t)(s.Remote("origin").Announce(ctx, false))
	// Another run comes, does it, and is gone.
	fetch(t, primary)
	other := claimer(t, primary, head, "R2", time.Minute)
	take(t, other, "/a")
	noError(t, primary.Append(head, result(note.OK, "/a", "R2")))
	push(t, primary)
	noError(t, other.Release(ctx, []Claim{{Stack: "/a", Target: "prod"}}))

	c := claimer(t, s, head, "R1", time.Minute)
	if _, err := c.Take(ctx, []Claim{{Stack: "/a", Target: "prod"}}); !errors.Is(err, ErrLagging) {
		t.Errorf("%v", err)
	}
	refresh()
	if held, by := take(t, c, "/a"); !held[0] {
		t.Fatalf("held by %v", by)
	}
	if note := noteText(t, s, head); !strings.Contains(note, "status=ok op=deploy stack=/a run=R2") {
		t.Errorf("claimed, and not known:\n%s", note)
	}
}

// Where the notes were really moved back, or deleted, one sentence says so, and they
// are put back.
func TestMovedBack(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"moved back", "deleted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			head := repo.Head()
			var warned []string
			s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { warned = append(warned, w) }})
			noError(t, s.Append(head, result(note.OK, "/a", "R1")))
			push(t, s)
			old := repo.InRemote("rev-parse", s.ref)
			noError(t, s.Append(head, result(note.OK, "/b", "R1")))
			push(t, s)
			if how == "deleted" {
				repo.InRemote("update-ref", "-d", s.ref)
			} else {
				repo.InRemote("update-ref", s.ref, old)
			}
			fetch(t, s)
			fetch(t, s)
			if len(warned) != 1 || !strings.Contains(warned[0], "the next push") {
				t.Errorf("%q", warned)
			}
			if tr := push(t, s); !tr.Pushed || tr.Spooled {
				t.Errorf("%+v", tr)
			}
			if show := repo.InRemote("notes", "--ref=tmnotes", "show", head); !strings.Contains(show, "stack=/b ") {
				t.Errorf("not put back:\n%s", show)
			}
		})
	}
}
