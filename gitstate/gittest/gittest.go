// Package gittest makes real git repositories for tests: with a bare remote,
// clones, commits, and `git fsck` at the end of the test.
package gittest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Repo is a repository with a work tree, but for Bare.
type Repo struct {
	Dir    string // of the work tree, or of the repository if it is bare
	Remote string // of its bare remote, called origin; "" if it has none

	tb  testing.TB
	env []string
}

// Env is an environment in which git knows nothing of the machine and of the
// user: no configuration but the repository's, a fixed author, English, and
// HOME and the XDG folders in dir. Variables of git that the caller's
// environment has are left out.
func Env(dir string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "HOME"
	})
	return append(env, "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, ".config"), "XDG_CACHE_HOME="+filepath.Join(dir, ".cache"),
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.com")
}

// Isolate gives the process the environment that Env describes. It is for
// TestMain: a process has one environment, so parallel tests share it.
func Isolate() (cleanup func()) {
	dir, err := os.MkdirTemp("", "gittest-")
	if err != nil {
		panic(err)
	}
	env := Env(dir)
	os.Clearenv()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		os.Setenv(name, value)
	}
	return func() { os.RemoveAll(dir) }
}

// New makes a repository on branch main with one commit, pushed to a bare
// remote. At the end of the test `git fsck` must find nothing in either.
func New(tb testing.TB) *Repo {
	tb.Helper()
	base := tb.TempDir()
	r := &Repo{Dir: filepath.Join(base, "work"), Remote: filepath.Join(base, "remote.git"), tb: tb, env: Env(base)}
	r.run(base, "init", "-q", "--bare", "-b", "main", r.Remote)
	r.run(base, "init", "-q", "-b", "main", r.Dir)
	r.Git("remote", "add", "origin", r.Remote)
	r.Commit("first", map[string]string{"README": "a repository for a test\n"})
	r.Git("push", "-q", "-u", "origin", "main")
	tb.Cleanup(r.Check)
	return r
}

// Init makes a repository as `git init` does with the options: no commit, no
// remote, no check at the end.
func Init(tb testing.TB, options ...string) *Repo {
	tb.Helper()
	base := tb.TempDir()
	r := &Repo{Dir: filepath.Join(base, "work"), tb: tb, env: Env(base)}
	r.run(base, append(append([]string{"init", "-q", "-b", "main"}, options...), r.Dir)...)
	return r
}

// Clone clones the remote, as `git clone` does with the options. Like New's,
// the clone is checked at the end.
func (r *Repo) Clone(options ...string) *Repo {
	r.tb.Helper()
	base := r.tb.TempDir()
	c := &Repo{Dir: filepath.Join(base, "clone"), Remote: r.Remote, tb: r.tb, env: r.env}
	r.run(base, append(append([]string{"clone", "-q"}, options...), "file://"+r.Remote, c.Dir)...)
	r.tb.Cleanup(c.Check)
	return c
}

// CopyRemote is a copy of the remote, for another test to change: what is returned has no work tree.
func (r *Repo) CopyRemote(tb testing.TB) *Repo {
	tb.Helper()
	c := &Repo{Remote: filepath.Join(tb.TempDir(), "remote.git"), tb: tb, env: r.env}
	if err := os.CopyFS(c.Remote, os.DirFS(r.Remote)); err != nil {
		tb.Fatal(err)
	}
	c.Dir = c.Remote
	return c
}

// Git runs git in the repository and returns what it printed, without the last
// newline. A failure ends the test.
func (r *Repo) Git(args ...string) string {
	r.tb.Helper()
	return r.run(r.Dir, args...)
}

// Try is Git that returns failures, with what git complained of.
func (r *Repo) Try(args ...string) (string, error) { return r.try(r.Dir, args...) }

// InRemote is Git in the remote.
func (r *Repo) InRemote(args ...string) string {
	r.tb.Helper()
	return r.run(r.Remote, args...)
}

// Command is a git command that was not started.
func (r *Repo) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = r.Dir, r.env
	return cmd
}

func (r *Repo) run(dir string, args ...string) string {
	r.tb.Helper()
	out, err := r.try(dir, args...)
	if err != nil {
		r.tb.Fatal(err)
	}
	return out
}

func (r *Repo) try(dir string, args ...string) (string, error) {
	cmd := r.Command(args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %q in %s: %w: %s", args, filepath.Base(dir), err, stderr.Bytes())
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// Commit writes the files (a path with no text is removed), commits all that
// changed, and returns the commit's name.
func (r *Repo) Commit(message string, files map[string]string) string {
	r.tb.Helper()
	for name, text := range files {
		path := filepath.Join(r.Dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		if err == nil && text == "" {
			err = os.RemoveAll(path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o666)
		}
		if err != nil {
			r.tb.Fatal(err)
		}
	}
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", message)
	return r.Head()
}

// Head is the name of the commit that is checked out.
func (r *Repo) Head() string {
	r.tb.Helper()
	return r.Git("rev-parse", "HEAD")
}

// Hook installs a hook of the remote, a shell script.
func (r *Repo) Hook(name, script string) {
	r.tb.Helper()
	path := filepath.Join(r.Remote, "hooks", name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o777); err != nil {
		r.tb.Fatal(err)
	}
}

// Check fails the test if `git fsck --strict` finds anything wrong in the
// repository or in its remote, as far as they are there.
func (r *Repo) Check() {
	r.tb.Helper()
	for _, dir := range []string{r.Dir, r.Remote} {
		if _, err := os.Stat(dir); dir == "" || err != nil {
			continue
		}
		out, err := r.fsck(dir)
		// A git gc that a push started in the background packs what fsck is about to look at. It ends; what is
		// broken stays so.
		for try := 0; err != nil && try < 300; try++ {
			time.Sleep(100 * time.Millisecond)
			meanwhile := r.collecting(dir)
			if out, err = r.fsck(dir); !meanwhile {
				break
			}
		}
		if err != nil {
			r.tb.Errorf("git fsck in %s: %v\n%s", filepath.Base(dir), err, out)
		}
	}
}

func (r *Repo) fsck(dir string) (out []byte, err error) {
	cmd := r.Command("fsck", "--strict", "--no-dangling", "--no-progress")
	cmd.Dir = dir
	if out, err = cmd.CombinedOutput(); err == nil && strings.Contains(string(out), "error") {
		err = errors.New("it found errors")
	}
	return out, err
}

// collecting reports whether a git gc is at work.
func (r *Repo) collecting(dir string) bool {
	for _, file := range []string{"gc.pid", ".git/gc.pid"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return true
		}
	}
	return false
}
