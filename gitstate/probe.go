package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// What has to work before a deployment is announced, tried for real without
// anything being changed: neither here nor on the remote.

// GitVersion is what `git version` says, without the words before it.
func GitVersion(ctx context.Context, environ []string) (string, error) {
	out, err := (&git.Repo{Dir: ".", Environ: environ}).Git(ctx, nil, "version")
	return strings.TrimPrefix(strings.TrimSpace(out), "git version "), err
}

// Shallow reports whether a part of the history is not here.
func (s *Store) Shallow() bool { return s.repo.Shallow }

// GitConfig are the values of any key of git's configuration, in order.
func (s *Store) GitConfig(ctx context.Context, key string) ([]string, error) {
	out, err := s.repo.Git(ctx, nil, "config", "-z", "--get-all", key)
	if ge := (*git.Error)(nil); errors.As(err, &ge) && ge.Code == 1 {
		return nil, nil
	}
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"), nil
}

// Hook is the path of a hook that git runs here, "" if there is none.
func (s *Store) Hook(ctx context.Context, name string) (string, error) {
	out, err := s.repo.Git(ctx, nil, "rev-parse", "--path-format=absolute", "--git-path", "hooks/"+name)
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(out, "\n")
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return "", nil
	}
	return path, nil
}

// RemoteView is what a remote answers.
type RemoteView struct {
	Branch string        // that its HEAD names, "" if it says none
	Notes  string        // commit that the notes ref stands on, "" if it is not there
	Spools int           // writers whose records wait to be folded in
	Ahead  time.Duration // this machine's clock against the remote's
	Timed  bool          // whether that is known: a server that speaks HTTP says its time
}

// Ask asks a remote what it has, as git does with the user's credentials. The error
// is an ErrRemote.
func (r Remote) Ask(ctx context.Context) (v RemoteView, err error) {
	s, remote := r.store, r.name
	trace, err := os.CreateTemp("", "tmnotes-trace-")
	if err != nil {
		return v, err
	}
	defer os.Remove(trace.Name())
	trace.Close()
	// Git takes secrets out of its trace (GIT_TRACE_REDACT).
	env := []string{"GIT_TRACE_CURL=" + trace.Name(), "GIT_TRACE_CURL_NO_DATA=1"}
	out, err := s.networkWith(ctx, env, "ls-remote", "--symref", remote, "HEAD", s.ref, s.spoolPrefix(s.ref)+"*")
	if err != nil {
		return v, remoteError("asking it", remote, err)
	}
	for line := range strings.Lines(out) {
		what, ref, _ := strings.Cut(strings.TrimSpace(line), "\t")
		switch branch, isBranch := strings.CutPrefix(what, "ref: refs/heads/"); {
		case isBranch && ref == "HEAD":
			v.Branch = branch
		case ref == s.ref:
			v.Notes = what
		case strings.HasPrefix(ref, s.spoolPrefix(s.ref)):
			v.Spools++
		}
	}
	if text, err := os.ReadFile(trace.Name()); err == nil {
		v.Ahead, v.Timed = s.ahead(string(text))
	}
	return v, nil
}

// ahead reads the server's time from the trace of its last answer, which came just now.
func (s *Store) ahead(trace string) (time.Duration, bool) {
	for _, line := range slices.Backward(strings.Split(trace, "\n")) {
		_, header, ok := strings.Cut(line, "<= Recv header: ")
		name, value, _ := strings.Cut(header, ":")
		if !ok || !strings.EqualFold(name, "date") {
			continue
		}
		if at, err := time.Parse(time.RFC1123, strings.TrimSpace(value)); err == nil {
			return s.now().Sub(at), true
		}
	}
	return 0, false
}

// errUntested: the remote lets nobody try.
var errUntested = errors.New("it cannot be tried without doing it")

// PushTry is what a remote would say to the pushes of a deployment.
type PushTry struct {
	Notes  error // nil: it takes them
	Spool  bool  // it does not, but would have them on the spool ref, until the sync of somebody who may
	Claims error // nil: it takes them
	Delete error // nil: it lets claims be deleted, as far as that can be tried: where there is one
}

// TryPush finds out whether a remote takes pushes: it pushes a commit on top of the
// notes, together with a ref that cannot exist beside theirs, on the condition that
// both are taken. So the server asks its own permissions and its pre-receive and
// update hooks, as it would for records, and then takes neither; likewise for claims.
// No object is left in this repository. tip is where the notes stand on the remote.
func (r Remote) TryPush(ctx context.Context, tip string) (try PushTry, err error) {
	s, remote := r.store, r.name
	tmp, err := os.MkdirTemp("", "tmnotes-probe-")
	if err != nil {
		return try, err
	}
	defer os.RemoveAll(tmp)
	alternates := s.repo.Objects
	if more := s.repo.Getenv("GIT_ALTERNATE_OBJECT_DIRECTORIES"); more != "" {
		alternates += string(os.PathListSeparator) + more
	}
	env := []string{"GIT_OBJECT_DIRECTORY=" + tmp, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + alternates}
	tree, parents := emptyTree, []plumbing.Hash{}
	if tip != "" {
		if _, err := s.networkWith(ctx, env, "fetch", "--quiet", "--no-tags", "--no-filter", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--refmap=", remote, tip); err != nil {
			return try, remoteError("fetching the notes from "+remote, remote, err)
		}
		if tree, err = s.probeGit(ctx, env, "", "rev-parse", tip+"^{tree}"); err != nil {
			return try, err
		}
		parents = append(parents, plumbing.NewHash(tip))
	}
	if _, err := s.probeGit(ctx, env, "", "hash-object", "-t", "tree", "-w", "--stdin"); err != nil {
		return try, err
	}
	probe, err := s.probe(ctx, env, tree, parents)
	if err != nil {
		return try, err
	}
	if try.Notes = s.tryPush(ctx, remote, env, probe, s.ref); errors.Is(try.Notes, errRefused) {
		try.Notes = fmt.Errorf("%w: %w", ErrNotPushed, try.Notes)
		try.Spool = s.tryPush(ctx, remote, env, probe, s.spoolRef()) == nil
	}
	// Of a stack that nobody has.
	if err := s.tryPush(ctx, remote, env, probe, s.claimRef(&Claim{Stack: "/a probe of tmnotes doctor"})); err != nil {
		try.Claims = fmt.Errorf("%w: %w", ErrClaims, err)
		return try, nil
	}
	found, err := s.networkWith(ctx, nil, "ls-remote", "--refs", remote, s.claimsPrefix()+"*")
	if _, ref, is := strings.Cut(strings.SplitN(found, "\n", 2)[0], "\t"); err == nil && is {
		if try.Delete = s.tryDelete(ctx, remote, env, probe, ref); Untested(try.Delete) {
			try.Delete = nil
		}
	}
	return try, nil
}

func (s *Store) probeGit(ctx context.Context, env []string, stdin string, args ...string) (string, error) {
	cmd := s.repo.Command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// probe makes a commit like those of notes, whose identity, message and signature a
// server may look at.
func (s *Store) probe(ctx context.Context, env []string, tree string, parents []plumbing.Hash) (string, error) {
	w := &git.ObjectWriter{R: s.repo}
	if _, err := s.newCommit(ctx, w, s.message("a probe of tmnotes doctor, which is not to be taken", ""), plumbing.NewHash(tree), parents...); err != nil {
		return "", err
	}
	body, err := git.ReadObject(w.Objects[0])
	if err != nil {
		return "", err
	}
	return s.probeGit(ctx, env, string(body), "hash-object", "-t", "commit", "-w", "--stdin")
}

// emptyTree is the name of the tree without entries, in any repository.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

func (s *Store) tryPush(ctx context.Context, remote string, env []string, commit, ref string) error {
	return s.tryPushes(ctx, remote, env, ref, commit+":"+ref, commit+":"+ref+"/never")
}

// tryDelete likewise pushes the deletion of a ref, beside what cannot be.
func (s *Store) tryDelete(ctx context.Context, remote string, env []string, commit, ref string) error {
	beside := s.claimRef(&Claim{Stack: "/a probe of tmnotes doctor"})
	return s.tryPushes(ctx, remote, env, ref, ":"+ref, commit+":"+beside, commit+":"+beside+"/never")
}

// tryPushes pushes what cannot be taken as a whole, and says what would become of a ref.
func (s *Store) tryPushes(ctx context.Context, remote string, env []string, ref string, refspecs ...string) error {
	args := append(append(s.pushArgs(remote), "--atomic", s.pushTarget(ctx, remote)), refspecs...)
	out, err := s.networkWith(ctx, env, args...)
	if err == nil {
		return fmt.Errorf("%s took refs that cannot stand beside each other; look at %s and %s/never there", remote, ref, ref)
	}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(f) < 3 || f[0] != "!" || !strings.HasSuffix(f[1], ":"+ref) {
			continue
		}
		// How git says that all would have been taken but for the other one
		// (receive-pack.c, execute_commands_atomic).
		for _, taken := range []string{"transaction failed", "atomic push failure", "failed to update ref", "cannot lock ref"} {
			if strings.Contains(f[2], taken) {
				return nil
			}
		}
	}
	if shadowed(out, err, refspecs) {
		return fmt.Errorf("%w: %s has a tag or branch that is named like %s; `git ls-remote %s '*/%s*'` shows it", errUntested, remote, ref, remote, ref)
	}
	if ge := (*git.Error)(nil); errors.As(err, &ge) && strings.Contains(ge.Stderr, "does not support --atomic") {
		return fmt.Errorf("%w: %s takes no push that is all or nothing", errUntested, remote)
	}
	return pushError(remote, ref, out, err)
}

// Untested reports whether an error of TryPush says nothing about a real push.
func Untested(err error) bool { return errors.Is(err, errUntested) || errors.Is(err, errContended) }

// TryWrite finds out whether the notes can be written here: whether the journal can
// be, and whether the ref can be moved, which a reference-transaction hook may
// refuse. The ref is locked for a moment, and stays where it is.
func (s *Store) TryWrite(ctx context.Context) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	old, err := s.repo.Resolve(s.ref)
	if err != nil {
		return err
	}
	to := old
	if to.IsZero() {
		head, err := s.repo.Commit("HEAD")
		if errors.Is(err, git.ErrMissing) {
			return nil // nothing to point the ref at
		}
		if err != nil {
			return err
		}
		to = head.Hash
	}
	script := fmt.Sprintf("start\nupdate %s %s %s\nprepare\nabort\n", s.ref, to, old)
	for try := 0; ; try++ {
		_, err := s.repo.Git(ctx, strings.NewReader(script), "update-ref", "--stdin")
		switch {
		case err == nil:
			return nil
		case !git.LockedOut(err):
			return fmt.Errorf("%s cannot be moved: %w", s.ref, err)
		case slices.Contains(s.StaleLocks(), s.lockPath()):
			return nil // who moves it removes that one
		case try == 5:
			return fmt.Errorf("%s cannot be moved: %w", s.ref, err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *Store) lockPath() string {
	return filepath.Join(s.repo.CommonDir, filepath.FromSlash(s.ref)) + ".lock"
}

// StaleLocks are lock files that nobody can hold any more, in the way of the notes.
func (s *Store) StaleLocks() (files []string) {
	look := []string{filepath.Join(s.repo.CommonDir, "packed-refs.lock"), s.lockPath()}
	for _, dir := range []string{filepath.FromSlash(s.textsRef()), filepath.Join("refs", "tmnotes")} {
		_ = filepath.WalkDir(filepath.Join(s.repo.CommonDir, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".lock") {
				look = append(look, path)
			}
			return nil
		})
	}
	for _, f := range look {
		if info, err := os.Lstat(f); err == nil && time.Since(info.ModTime()) > git.StaleLock {
			files = append(files, f)
		}
	}
	return files
}

// Future is how far ahead of this machine's clock the newest record of any stack is;
// 0 if it is not.
func (st *State) Future() (ahead time.Duration) {
	now := st.s.now()
	for _, slot := range st.x.slots {
		for _, h := range slot.heads {
			ahead = max(ahead, h.At.Sub(now))
		}
	}
	return ahead
}
