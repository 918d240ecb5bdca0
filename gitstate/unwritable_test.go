package gitstate

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What only saves time may be in the way of nothing: where it cannot be written or read,
// the same things are recorded, sent and read.
func TestCachesInTheWay(t *testing.T) {
	t.Parallel()
	for name, inTheWay := range map[string]func(path string) error{
		"a folder": func(path string) error { return os.MkdirAll(filepath.Join(path, "full"), 0o777) },
		"a link to nowhere": func(path string) error {
			return os.Symlink(filepath.Join(filepath.Dir(path), "no", "such", "folder"), path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			ctx := context.Background()
			open(t, repo.Dir).Close()
			for _, cache := range []string{"index-tmnotes", "merged-tmnotes", "merged-tmnotes.new", "local-merged-tmnotes", "local-merged-tmnotes.new", filepath.Join("cache", "a-cache"), "writer", "fetched-origin"} {
				path := filepath.Join(repo.Dir, ".git", "tmnotes", cache)
				noError(t, os.MkdirAll(filepath.Dir(path), 0o777))
				noError(t, inTheWay(path))
			}
			s := open(t, repo.Dir)
			s.KeepLocal(func(op string) bool { return op == "plan" })
			s.Keep("a-cache", "text")
			if text, err := s.Cached("a-cache", func() (string, error) { return "made", nil }); err != nil || text != "made" && text != "text" {
				t.Errorf("%q, %v", text, err)
			}
			must[Traveled](t)(s.Remote("origin").Fetch(ctx))
			for _, run := range []string{"R1", "R2"} {
				s.Follow(must[*State](t)(s.State(ctx)))
				noError(t, s.Append(repo.Head(), result(note.OK, "/a", run)))
				noError(t, s.Append(repo.Head(), &note.Record{Status: note.OK, Op: "plan", Stack: "/a", Run: run + "P"}))
				noError(t, s.Flush(ctx))
				must[Traveled](t)(s.Remote("origin").Push(ctx))
			}
			s.Tidy()
			spool := s.spoolRef()
			if again := s.spoolRef(); again != spool {
				t.Errorf("the writer is %s, then %s", spool, again)
			}
			other := open(t, repo.Clone().Dir)
			must[Traveled](t)(other.Remote("origin").Fetch(ctx))
			for _, s := range []process{s, other} {
				if l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Run != "R2" {
					t.Errorf("the latest is %+v", l.Record)
				}
			}
		})
	}
}

// A process of a group that has done what is done once, and cannot say so, has done it.
func TestOnceInTheWay(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	g := must[*Group](t)(open(t, repo.Dir).Group(context.Background(), "parent"))
	noError(t, os.MkdirAll(filepath.Join(g.dir, "once-fetch"), 0o777))
	noError(t, os.Chtimes(filepath.Join(g.dir, "once-fetch"), time.Unix(1, 0), time.Unix(1, 0)))
	done := 0
	noError(t, g.Once(context.Background(), "fetch", time.Minute, func() error { done++; return nil }))
	if done != 1 {
		t.Errorf("done %d times", done)
	}
}
