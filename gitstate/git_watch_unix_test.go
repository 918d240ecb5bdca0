//go:build unix

package gitstate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// What a partial clone lacks is fetched by git while an object is read: neither a remote
// that is silent nor a signal leaves anybody waiting.
func TestSilentPromisor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, hang string
		patience   time.Duration
		signal     bool
		want       error
		many       bool
	}{
		{"budget", "exec sleep 600", time.Second, false, NoAnswer(time.Second), false},
		{"signal", "exec sleep 600", time.Hour, true, git.ErrInterrupted, false},
		{"what does not listen", "trap '' TERM; sleep 15", time.Second, false, NoAnswer(time.Second), false},
		{"many", "exec sleep 600", time.Second, false, NoAnswer(time.Second), true},
		{"check", "exec sleep 600", time.Second, false, NoAnswer(time.Second), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			repo.Commit("one", map[string]string{"a.txt": "one"})
			repo.Git("push", "-q", "origin", "HEAD")
			blob := plumbing.NewHash(repo.Git("rev-parse", "HEAD:a.txt"))
			repo.InRemote("config", "uploadpack.allowFilter", "true")
			dir, hang := filepath.Join(t.TempDir(), "partial"), filepath.Join(t.TempDir(), "hang")
			repo.Git("clone", "-q", "--no-checkout", "--filter=blob:none", "file://"+repo.Remote, dir)
			noError(t, os.WriteFile(hang, []byte("#!/bin/sh\n"+c.hang+"\n"), 0o755))
			repo.Git("-C", dir, "config", "remote.origin.uploadpack", hang)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s := must[*Store](t)(Open(ctx, Options{Dir: dir, NetworkTimeout: c.patience}))
			defer s.Close()
			s.repo.LocalRead = 100 * time.Millisecond
			if c.signal {
				cancel()
			}
			read := func() error {
				_, err := s.repo.Read(blob, plumbing.BlobObject)
				return err
			}
			if c.many {
				read = func() error {
					hashes := make([]plumbing.Hash, 20)
					for i := range hashes {
						hashes[i] = blob
					}
					_, err := s.repo.ReadBlobs(hashes, func(int, []byte) error { return nil })
					return err
				}
			}
			if c.name == "check" {
				read = func() error {
					_, err := s.absent(context.Background(), []string{strings.Repeat("a", 40)})
					return err
				}
			}
			err := read()
			if !errors.Is(err, ErrRemote) || !strings.Contains(err.Error(), c.want.Error()) {
				t.Errorf("%v", err)
			}
			// What is here can be read all the same.
			if _, err := s.repo.Commit("HEAD"); err != nil {
				t.Error(err)
			}
		})
	}
}
