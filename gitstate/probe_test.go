package gitstate

import (
	"context"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What a server that speaks HTTP says of its time, and whether it takes a push: git's
// own http-backend, behind a clock that is an hour late and a gate that may let
// nobody write. Nothing of it stays, here or there.
func TestProbesOverHTTP(t *testing.T) {
	t.Parallel()
	gitPath, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	repo := gittest.New(t)
	other := open(t, repo.Clone().Dir)
	must[int](t)(0, other.Append(repo.Head(), result(note.OK, "/a", "elsewhere")))
	push(t, other)
	var readOnly atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		if readOnly.Load() && strings.Contains(r.URL.String(), "git-receive-pack") {
			http.Error(w, "Write access to repository not granted.", http.StatusForbidden)
			return
		}
		(&cgi.Handler{Path: gitPath, Args: []string{"http-backend"}, Env: append(os.Environ(), "GIT_PROJECT_ROOT="+repo.Remote, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=alice")}).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	repo.Git("remote", "set-url", "origin", server.URL)
	s := open(t, repo.Dir)
	ctx := t.Context()

	must[int](t)(0, s.Append(repo.Head(), result(note.OK, "/b", "here")))
	must[int](t)(0, s.Flush(ctx))
	before := repo.Git("count-objects") + repo.Git("for-each-ref") + repo.InRemote("for-each-ref")
	v := must[RemoteView](t)(s.Remote("origin").Ask(ctx))
	if !v.Timed || v.Ahead < 59*time.Minute || v.Ahead > 61*time.Minute || v.Notes != repo.InRemote("rev-parse", DefaultRef) || v.Branch != "main" {
		t.Errorf("%+v", v)
	}
	if try := must[PushTry](t)(s.Remote("origin").TryPush(ctx, v.Notes)); try.Notes != nil || try.Claims != nil {
		t.Errorf("a push that would be taken: %+v", try)
	}
	readOnly.Store(true)
	if try := must[PushTry](t)(s.Remote("origin").TryPush(ctx, v.Notes)); try.Spool || !errors.Is(try.Notes, ErrNotPushed) || !strings.Contains(try.Notes.Error(), "403") || !errors.Is(try.Claims, ErrClaims) {
		t.Errorf("a push that is forbidden: %+v", try)
	}
	if n, _, err := s.Remote("origin").Unpushed(ctx); n != 1 || err != nil {
		t.Errorf("%d records are said not to be on the remote, %v", n, err)
	}
	if after := repo.Git("count-objects") + repo.Git("for-each-ref") + repo.InRemote("for-each-ref"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// With a tag in the way nothing is tried, since git would try it on the tag.
func TestTryPushBesideATag(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s := open(t, repo.Dir)
	for _, kind := range []string{"refs/tags/", "refs/heads/"} {
		repo.Git("push", "-q", "origin", repo.Head()+":"+kind+s.ref)
		before := repo.InRemote("for-each-ref")
		try := must[PushTry](t)(s.Remote("origin").TryPush(context.Background(), ""))
		if !Untested(try.Notes) || try.Claims != nil {
			t.Errorf("%s: %v, %v", kind, try.Notes, try.Claims)
		}
		if after := repo.InRemote("for-each-ref"); after != before {
			t.Errorf("%s: it changed\n%s", kind, after)
		}
		repo.Git("push", "-q", "origin", ":"+kind+s.ref)
	}
}
