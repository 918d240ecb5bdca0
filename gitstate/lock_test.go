package gitstate

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A git that was killed in the middle of moving a ref leaves its lock behind.
// It must not keep everybody out for good.
func TestStaleLock(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	r.Commit("one", nil)
	ctx := context.Background()
	s, err := opened(Options{Dir: r.Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, ref := range []string{s.ref, s.tracking("origin")} {
		lock := filepath.Join(s.repo.CommonDir, filepath.FromSlash(ref)) + ".lock"
		if err := os.MkdirAll(filepath.Dir(lock), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lock, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if s.repo.BreakLock(ref) {
			t.Errorf("%s: a lock that may be held was broken", ref)
		}
		old := time.Now().Add(-2 * git.StaleLock)
		if err := os.Chtimes(lock, old, old); err != nil {
			t.Fatal(err)
		}
	}
	// Nor is one that was made after the stale one was looked at.
	lock := s.repo.RefPath(s.ref) + ".lock"
	was, err := os.Lstat(lock)
	noError(t, err)
	noError(t, os.WriteFile(lock+".new", []byte("another's"), 0o666))
	noError(t, os.Rename(lock+".new", lock))
	if s.repo.MoveAside(lock, was) {
		t.Error("a new lock was removed")
	}
	if text, err := os.ReadFile(lock); err != nil || string(text) != "another's" {
		t.Errorf("the new lock is %q, %v", text, err)
	}
	old := time.Now().Add(-2 * git.StaleLock)
	noError(t, os.Chtimes(lock, old, old))
	packed := filepath.Join(s.repo.CommonDir, "packed-refs.lock")
	noError(t, os.WriteFile(packed, nil, 0o666))
	noError(t, os.Chtimes(packed, old, old))
	if s.repo.BreakLock("refs/heads/none") {
		t.Error("the lock of somebody who may be packing refs was broken")
	}
	old = time.Now().Add(-2 * git.StalePackedLock)
	noError(t, os.Chtimes(packed, old, old))
	if err := s.Append(r.Head(), &note.Record{Status: note.OK, Op: note.Deploy, Stack: "/a", Run: s.NewRun()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remote("origin").Push(ctx); err != nil {
		t.Fatal(err)
	}
	r.Git("tag", "packed")
	r.Git("pack-refs", "--all") // the lock is not there any more, or it is broken here
}

// A fetch that was killed may leave the lock of any ref that it was writing: of a claim of
// somebody, of a spool.
func TestStaleLocksOfFetch(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	ctx := context.Background()
	mine := open(t, r.Dir)
	theirs := claimer(t, open(t, r.Clone().Dir), r.Head(), "RUN1", time.Minute)
	take(t, theirs, "/a", "/b")
	fetch := func() {
		t.Helper()
		_, err := mine.Remote("origin").Fetch(ctx)
		noError(t, err)
		_, err = mine.Remote("origin").Claims(ctx)
		noError(t, err)
	}
	fetch()
	refs := strings.Fields(r.Git("for-each-ref", "--format=%(refname)", "refs/tmnotes"))
	if len(refs) < 2 {
		t.Fatalf("tracked: %q", refs)
	}
	old := time.Now().Add(-2 * git.StaleLock)
	for _, ref := range refs {
		r.Git("update-ref", "-d", ref)
		lock := mine.repo.RefPath(ref) + ".lock"
		noError(t, os.MkdirAll(filepath.Dir(lock), 0o777))
		noError(t, os.WriteFile(lock, nil, 0o666))
		noError(t, os.Chtimes(lock, old, old))
	}
	fetch()
	if got := strings.Fields(r.Git("for-each-ref", "--format=%(refname)", "refs/tmnotes")); !slices.Equal(got, refs) {
		t.Errorf("after the fetch %q is tracked, not %q", got, refs)
	}
}
