package gitstate

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What git prints, as git 2.39 to 2.47, OpenSSH and the services do, says why. Words that a host's name, a
// branch or a server's message may hold as well say nothing.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stderr string
		cause  Cause
		again  bool
	}{
		{"fatal: unable to access 'http://h/r.git/': The requested URL returned error: 502", Unreachable, true},
		{"fatal: unable to access 'http://h/r.git/': The requested URL returned error: 429", Unreachable, true},
		{"fatal: unable to access 'http://h/r.git/': The requested URL returned error: 403", Denied, false},
		{"remote: Permission to a/b.git denied to c.\nfatal: unable to access 'https://github.com/a/b.git/': The requested URL returned error: 403", Denied, false},
		{"error: RPC failed; HTTP 503 curl 22 The requested URL returned error: 503\nsend-pack: unexpected disconnect while reading sideband packet\nfatal: the remote end hung up unexpectedly", Unreachable, true},
		{"error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403\nfatal: expected flush after ref listing", Denied, false},
		{"error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413\nfatal: the remote end hung up unexpectedly", Unknown, false},
		{"error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull function.\nfatal: early EOF", Unreachable, true},
		{"fatal: unable to access 'http://h/': Recv failure: Connection reset by peer", Unreachable, true},
		{"fatal: unable to access 'http://h/': Could not resolve host: h", Unreachable, true},
		{"fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate", Untrusted, false},
		{"fatal: early EOF", Unreachable, true},
		{"fatal: unable to connect to h:\nh[0: 127.0.0.1]: errno=Connection refused", Unreachable, true},
		{"ssh: connect to host h port 22: Connection timed out\nfatal: Could not read from remote repository.", Unreachable, true},
		{"kex_exchange_identification: Connection closed by remote host\nfatal: Could not read from remote repository.", Unreachable, true},
		{"git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", Denied, false},
		{"ERROR: Permission to a/b.git denied to deploy key\nfatal: Could not read from remote repository.", Denied, false},
		{"ERROR: Repository not found.\nfatal: Could not read from remote repository.", NotFound, false},
		{"Host key verification failed.\nfatal: Could not read from remote repository.", Untrusted, false},
		{"fatal: could not read Username for 'https://h': terminal prompts disabled", Denied, false},
		{"remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/r.git/'", Denied, false},
		{"fatal: remote error: access denied or repository not exported: /r", Denied, false},
		{"fatal: repository 'https://h/r.git/' not found", NotFound, false},
		{"fatal: '/r.git' does not appear to be a git repository\nfatal: Could not read from remote repository.", NotFound, false},
		{"fatal: the receiving end does not support --signed push\nfatal: the remote end hung up unexpectedly", Certificate, false},
		{"error: atomic push failed for ref refs/notes/x. status: 7\n\nfatal: the remote end hung up unexpectedly\nerror: failed to push some refs to '/r'", Unknown, false},
		{"error: gpg failed to sign the data\nfatal: failed to sign the push certificate\nfatal: the remote end hung up unexpectedly", Certificate, false},
		{"fatal: detected dubious ownership in repository at '/r'\nfatal: Could not read from remote repository.", NotOwned, false},
		// None of these is a refusal.
		{"fatal: unable to access 'http://permission-denied.example/403/': The requested URL returned error: 502", Unreachable, true},
		{"ssh: Could not resolve hostname access-denied-403: Name or service not known", Unreachable, true},
		{"remote: denied, ermission, 403\nfatal: early EOF", Unreachable, true},
		{"fatal: bad object refs/heads/403-denied", Unknown, false},
		{"", Unknown, false},
	} {
		if cause, again := classify(tc.stderr); cause != tc.cause || again != tc.again {
			t.Errorf("%q: cause %d, again %v", tc.stderr, cause, again)
		}
	}
}

// Of a ref that was not taken git's porcelain status says why, and the server what it wants.
func TestRejections(t *testing.T) {
	t.Parallel()
	const ref = "refs/notes/tmnotes"
	for _, tc := range []struct {
		status, stderr string
		is             error
		cause          Cause
	}{
		{"[rejected] (fetch first)", "", errBehind, Unknown},
		{"[rejected] (non-fast-forward)", "", errBehind, Unknown},
		{"[rejected] (stale info)", "", errContended, Unknown},
		{"[remote rejected] (failed to update ref)", "", errContended, Unknown},
		{"[remote rejected] (cannot lock ref 'refs/notes/tmnotes': is at 1 but expected 2)", "", errContended, Unknown},
		{"[remote rejected] (non-fast-forward)", "", errRefused, Rejected}, // receive.denyNonFastForwards
		{"[remote rejected] (pre-receive hook declined)", "remote: not on a Friday\n", errRefused, Rejected},
		{"[remote rejected] (deny updating a hidden ref)", "", errRefused, Rejected},
		{"[remote rejected] (protected branch hook declined)", "remote: error: GH006: Protected branch update failed.\nremote: error: Commits must have verified signatures.\n", errRefused, Unsigned},
		{"[remote rejected] (pre-receive hook declined)", "remote: GitLab: Commit must be signed with a GPG key\n", errRefused, Unsigned},
		{"[remote rejected] (pre-receive hook declined)", "remote: GitLab: You cannot push commits for 'a@b'. You can only push commits if the committer email is one of your own verified emails.\n", errRefused, Identity},
		{"[remote rejected] (pre-receive hook declined)", "remote: GitLab: Author 'a@b' is not a member of team\n", errRefused, Identity},
		{"[remote failure] (remote failed to report status)", "fatal: the remote end hung up unexpectedly\n", ErrRemote, Unreachable},
	} {
		out := "To r\n!\tX:" + ref + "\t" + tc.status + "\nDone\n"
		err := pushError("origin", ref, out, &git.Error{Args: []string{"push"}, Code: 1, Stderr: tc.stderr})
		if !errors.Is(err, tc.is) || CauseOf(err) != tc.cause || errors.Is(err, errRefused) != (tc.is == errRefused) {
			t.Errorf("%s %q: %v, cause %d", tc.status, tc.stderr, err, CauseOf(err))
		}
	}
}

// What a user has set for pushes of code is not in the way of the notes: a mirror, signed
// pushes, a second push URL that refuses.
func TestPushesInTheWay(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*testing.T, *gittest.Repo){
		"a mirror": func(_ *testing.T, repo *gittest.Repo) { repo.Git("config", "remote.origin.mirror", "true") },
		"push.gpgSign": func(_ *testing.T, repo *gittest.Repo) {
			repo.Git("config", "push.gpgSign", "true")
		},
		"a second push URL": func(t *testing.T, repo *gittest.Repo) {
			second := gittest.Init(t, "--bare")
			noError(t, os.MkdirAll(second.Dir+"/hooks", 0o777))
			noError(t, os.WriteFile(second.Dir+"/hooks/pre-receive", []byte("#!/bin/sh\nexit 1\n"), 0o777))
			repo.Git("remote", "set-url", "--add", "--push", "origin", second.Dir)
			repo.Git("remote", "set-url", "--add", "--push", "origin", repo.Remote)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			head := repo.Head()
			set(t, repo)
			s := open(t, repo.Dir)
			noError(t, s.Append(head, result(note.OK, "/a", "R1")))
			if tr := push(t, s); !tr.Pushed || tr.Spooled {
				t.Errorf("%+v", tr)
			}
			// git has noted it down, unless it pushed to a URL.
			moved := repo.Git("reflog", "-1", "--format=%H %gs", s.tracking("origin"))
			if by := strings.Contains(moved, "update by push"); !strings.HasPrefix(moved, repo.InRemote("rev-parse", s.ref)) || by == (name == "a second push URL") {
				t.Errorf("the tracking ref: %s", moved)
			}
			c := claimer(t, s, head, "R1", time.Minute)
			if held, by := take(t, c, "/a"); !held[0] {
				t.Errorf("held by %v", by)
			}
			noError(t, c.Release(context.Background(), []Claim{{Stack: "/a", Target: "prod"}}))
			try := must[PushTry](t)(s.Remote("origin").TryPush(context.Background(), repo.InRemote("rev-parse", s.ref)))
			if try.Notes != nil || try.Claims != nil {
				t.Errorf("the probe says otherwise: %+v", try)
			}
			if refs := repo.InRemote("for-each-ref", "--format=%(refname)"); refs != "refs/heads/main\n"+s.ref {
				t.Errorf("on the remote:\n%s", refs)
			}
		})
	}
}

// Who waits for a lock says for whom, and no longer than its context.
func TestLockIsNamed(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	said := make(chan string, 1)
	s := openWith(t, Options{Dir: repo.Dir, Warn: func(w string) { said <- w }})
	path := s.private + "/sync.lock"
	unlock, err := git.Lock(context.Background(), path, nil)
	noError(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Remote("origin").Push(ctx)
		ended <- err
	}()
	if w := <-said; !strings.Contains(w, "waiting for process "+strconv.Itoa(os.Getpid())+" (") || !strings.Contains(w, "sync.lock") {
		t.Error(w)
	}
	cancel(errors.New("enough"))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "enough") || !strings.Contains(err.Error(), "process ") {
		t.Errorf("%v", err)
	}
	unlock()
	push(t, s)
}

// A remote that accepts a connection and says nothing is given up in time, and the git that asks
// it is gone.
func TestSilentRemote(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	repo.Git("remote", "set-url", "origin", "git://"+silent(t)+"/r")
	s := openWith(t, Options{Dir: repo.Dir, NetworkTimeout: time.Second})
	start := time.Now()
	_, err := s.Remote("origin").Push(context.Background())
	if CauseOf(err) != Silent || !errors.Is(err, ErrRemote) || !errors.Is(err, ErrNotPushed) || !strings.Contains(err.Error(), "1s") {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// silent is the address of somebody who takes connections, and that is all.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range held {
			c.Close()
		}
	})
	return l.Addr().String()
}

// What another git printed is tried again and worded like what ours does.
func TestAskOtherwise(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	s.networkTimeout = 300 * time.Millisecond
	other := errors.New("behind")
	for _, tc := range []struct {
		name  string
		said  []string // by one try after the other
		err   error
		tries int
		want  string
		cause Cause
	}{
		{name: "well at once", said: []string{""}, tries: 1},
		{name: "well after a lost packet", said: []string{"fatal: unable to access 'http://h/': The requested URL returned error: 502", ""}, tries: 2},
		{name: "down", said: []string{"fatal: early EOF", "fatal: early EOF", "fatal: early EOF"}, tries: 3, want: "up cannot be reached (tried 3 times): early EOF", cause: Unreachable},
		{name: "not there", said: []string{"fatal: '/r' does not appear to be a git repository\nfatal: Could not read from remote repository.\n"}, tries: 1,
			want: "up was not found: '/r' does not appear to be a git repository", cause: NotFound},
		{name: "another error", said: []string{""}, err: other, tries: 1, want: "behind"},
	} {
		tries := 0
		err := s.Remote("up").AskOtherwise(t.Context(), "comparing", func() (string, error) {
			said := tc.said[tries]
			tries++
			if said != "" {
				return said, errors.New("stderr=" + strconv.Quote(said))
			}
			return "", tc.err
		})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want || tries != tc.tries || CauseOf(err) != tc.cause || errors.Is(err, ErrRemote) != (tc.cause != Unknown) {
			t.Errorf("%s: %q after %d tries, cause %d", tc.name, got, tries, CauseOf(err))
		}
	}
}

// A server that tidies up after a push may find that git has hung up (SIGPIPE). git push then fails and does not say
// why, though the server took the records: they are there, once.
func TestPushFailsWithoutAReason(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	script, died := filepath.Join(t.TempDir(), "service"), filepath.Join(t.TempDir(), "died")
	noError(t, os.WriteFile(script, []byte("#!/bin/sh\n[ -e "+died+" ] && exec git receive-pack \"$@\"\ngit receive-pack \"$@\"\n: >"+died+"\nkill -PIPE $$\n"), 0o755))
	repo.Git("config", "remote.origin.receivepack", script)
	s := open(t, repo.Dir)
	noError(t, s.Append(repo.Head(), result(note.OK, "/a", "R1")))
	_, err := s.Remote("origin").Push(context.Background())
	noError(t, err)
	if _, err := os.Stat(died); err != nil {
		t.Error("it did not die:", err)
	}
	if got := repo.InRemote("notes", "--ref=tmnotes", "show", repo.Head()); strings.Count(got, "stack=/a ") != 1 {
		t.Errorf("the remote has\n%s", got)
	}
}

// A git that fails and is not heard, as on a busy Windows, is asked again; one that a signal ended is not.
func TestUnheardIsAskedAgain(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	for _, tc := range []struct {
		git   git.Error
		asked int
	}{
		{git.Error{Code: 1}, 2},
		{git.Error{Code: 1, Stderr: "error: no\n"}, 1},
		{git.Error{Code: -1}, 1},
	} {
		asked := 0
		_, _ = s.persist(context.Background(), func() (string, error) {
			if asked++; asked == 2 {
				return "", nil
			}
			return "", &tc.git
		})
		if asked != tc.asked {
			t.Errorf("%+v: asked %d times, not %d", tc.git, asked, tc.asked)
		}
	}
}
