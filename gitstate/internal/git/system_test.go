package git

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/gofrs/flock"
)

// What each system does in its own way with files. No git is needed for it.

// bareBones are the folders of a repository that these tests write to.
func bareBones(t *testing.T) *Repo {
	t.Helper()
	r := &Repo{CommonDir: t.TempDir()}
	r.Objects = filepath.Join(r.CommonDir, "objects")
	if err := errors.Join(os.Mkdir(r.Objects, 0o777), os.Mkdir(filepath.Join(r.CommonDir, "tmnotes"), 0o777)); err != nil {
		t.Fatal(err)
	}
	return r
}

func create(t *testing.T, path, text string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o666), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

func TestBreakStaleLocks(t *testing.T) {
	t.Parallel()
	r := bareBones(t)
	lock := r.RefPath("ref") + ".lock"
	if r.BreakLock("ref") {
		t.Error("there was no lock")
	}
	create(t, lock, "", 0)
	if r.BreakLock("ref") {
		t.Error("a lock that may be held was broken")
	}
	create(t, lock, "", 2*StaleLock)
	if _, err := os.Stat(lock); !r.BreakLock("ref") || err != nil {
		t.Error("a stale lock was not broken")
	}
	if _, err := os.Stat(lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale lock is still there: %v", err)
	}
	// One that another made since the stale one was looked at stays as it is.
	create(t, lock, "old", 2*StaleLock)
	was, err := os.Lstat(lock)
	if err != nil {
		t.Fatal(err)
	}
	create(t, lock+".new", "another's", 0)
	if err := os.Rename(lock+".new", lock); err != nil {
		t.Fatal(err)
	}
	if r.MoveAside(lock, was) {
		t.Error("another's lock was removed")
	}
	if text, err := os.ReadFile(lock); err != nil || string(text) != "another's" {
		t.Errorf("another's lock is %q, %v", text, err)
	}
	if left, _ := os.ReadDir(filepath.Join(r.CommonDir, "tmnotes")); slices.ContainsFunc(left, func(d os.DirEntry) bool { return d.Name() != "break.lock" }) {
		t.Errorf("left behind: %v", left)
	}
}

// Many write one object at a time. The files are read-only, and Windows replaces none that is.
func TestOneObjectOfMany(t *testing.T) {
	t.Parallel()
	r := bareBones(t)
	for n := range 20 {
		body := []byte{byte(n)}
		start := make(chan struct{})
		errs := make([]error, 8)
		var wait sync.WaitGroup
		for i := range errs {
			w := &ObjectWriter{R: r}
			_, _ = w.Put(plumbing.BlobObject, body)
			wait.Go(func() { <-start; errs[i] = w.Flush(t.Context()) })
		}
		close(start)
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(r.Objects, plumbing.ComputeHash(plumbing.BlobObject, body).String()[:2])
		if left, err := filepath.Glob(filepath.Join(dir, "tmp_obj_*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}
}

// A lock keeps others out, also those of this process, until it is released; what a mark's lock says
// can be read meanwhile by who does not get it.
func TestLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), path, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path, func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is held: %v", err)
	}
	unlock()
	if unlock, err = Lock(t.Context(), path, func(string) {}); err != nil {
		t.Fatal(err)
	}
	unlock()

	f, err := os.Create(path + ".mark")
	if err != nil {
		t.Fatal(err)
	}
	mark, err := LockMark(f)
	if err != nil {
		t.Fatal(err)
	}
	free := func() bool {
		l := flock.New(f.Name(), flock.SetFlag(os.O_RDONLY))
		defer l.Close()
		ok, err := l.TryRLock()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if free() {
		t.Error("the lock of a mark is free")
	}
	if err := errors.Join(mark.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if !free() {
		t.Error("the lock of a mark is held by nobody, and is not free")
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Error(err)
	}
}

func TestSyncDir(t *testing.T) {
	t.Parallel()
	if err := SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	// Linux has folders that cannot be synced.
	if err := SyncDir("/proc/self"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that cannot be synced: %v", err)
	}
}
