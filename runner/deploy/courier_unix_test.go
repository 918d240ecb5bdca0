//go:build unix

package deploy

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// eventually waits for what another goroutine or process does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A push that failed is tried again long before its interval; and what was recorded
// comes to the disk while one goes on.
func TestCourier(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s, err := gitstate.Open(t.Context(), gitstate.Options{Dir: repo.Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refused, held, let := filepath.Join(repo.Remote, "refused"), filepath.Join(repo.Remote, "held"), filepath.Join(repo.Remote, "let")
	// What is refused is tried once more within a push, on a ref of the clone's own.
	repo.Hook("pre-receive", `[ -e once ] || { touch once; exit 1; }
[ -e refused ] || { touch refused; exit 1; }
touch held
while ! [ -e let ]; do sleep 0.01; done`)
	w := s.Writer("RUN1")
	push := NewCourier(s, w, "origin", 24*time.Hour)
	record := func(stack string) {
		if err := w.AppendLazily(repo.Head(), &note.Record{Status: note.OK, Op: note.Deploy, Stack: stack, Run: "RUN1"}); err != nil {
			t.Fatal(err)
		}
		push.Recorded()
	}
	exists := func(file string) func() bool {
		return func() bool {
			_, err := os.Stat(file)
			return err == nil
		}
	}
	record("/a")
	push.Start(context.Background())
	push.Now()
	eventually(t, "a push that is refused", exists(refused))
	eventually(t, "another try", exists(held))
	record("/b")
	eventually(t, "a sync to the disk while a push waits", func() bool { return !push.unsynced.Load() })
	if exists(let)() {
		t.Error("the push has ended")
	}
	if err := os.WriteFile(let, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	eventually(t, "notes on the remote", func() bool {
		_, err := os.Stat(filepath.Join(repo.Remote, "refs", "notes", "tmnotes"))
		return err == nil
	})
	push.End()
}
