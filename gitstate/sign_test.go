package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// refuseUnsigned is an update hook that lets only signed commits into refs/notes/.
const refuseUnsigned = `case $1 in refs/notes/*) ;; *) exit 0 ;; esac
case $3 in *[!0]*) ;; *) exit 0 ;; esac
for c in $(git rev-list "$3" --not --all); do
	git verify-commit "$c" || { echo "$c is not signed"; exit 1; }
done`

// script makes a program of a test.
func script(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	noError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o777))
	return path
}

// signWithSSH makes a key, and configures the clone to sign with it and the remote to
// know it.
func signWithSSH(t testing.TB, repo *gittest.Repo, mail string) (key string) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	dir := t.TempDir()
	key = filepath.Join(dir, "key")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", mail, "-f", key).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	noError(t, err)
	allowed := filepath.Join(dir, "allowed")
	noError(t, os.WriteFile(allowed, []byte(mail+" "+string(public)), 0o666))
	repo.Git("config", "gpg.format", "ssh")
	repo.Git("config", "user.signingKey", key)
	repo.Git("config", "gpg.ssh.allowedSignersFile", allowed)
	repo.InRemote("config", "gpg.ssh.allowedSignersFile", allowed)
	return key
}

// signWithGPG does the same with a key of OpenPGP, for a user without a signing key:
// it is found by their address. The program is one that knows where the keys are.
func signWithGPG(t testing.TB, repo *gittest.Repo, mail string) {
	t.Helper()
	home, run := gnupg(t, "gpg")
	run("", "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Alice <"+mail+">", "ed25519", "sign", "never")
	program := script(t, home, "wrapped", "GNUPGHOME='"+home+"' exec gpg \"$@\"")
	repo.Git("config", "gpg.program", program)
	repo.InRemote("config", "gpg.program", program)
}

// signWithX509 does it with a certificate of gpgsm, which finds it by the bare address alone.
func signWithX509(t testing.TB, repo *gittest.Repo, mail string) {
	t.Helper()
	home, run := gnupg(t, "gpgsm")
	for name, text := range map[string]string{
		"gpgsm.conf":     "disable-crl-checks\ndisable-dirmngr\n",
		"gpg-agent.conf": "allow-loopback-pinentry\n",
		"request":        "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSerial: random\nName-DN: CN=Alice\nName-Email: " + mail + "\nHash-Algo: SHA256\n",
	} {
		noError(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o600))
	}
	certificate := filepath.Join(home, "certificate")
	run("\n", "gpgsm", "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--gen-key", "--output", certificate, filepath.Join(home, "request"))
	run("", "gpgsm", "--batch", "--import", certificate)
	_, fingerprint, _ := strings.Cut(run("", "gpgsm", "--batch", "-k", "--with-colons"), "\nfpr:::::::::")
	fingerprint, _, _ = strings.Cut(fingerprint, ":")
	noError(t, os.WriteFile(filepath.Join(home, "trustlist.txt"), []byte(fingerprint+" S relax\n"), 0o600))
	program := script(t, home, "wrapped", "GNUPGHOME='"+home+"' exec gpgsm \"$@\"")
	repo.Git("config", "gpg.format", "x509")
	repo.Git("config", "user.signingKey", mail)
	repo.Git("config", "gpg.x509.program", program)
	repo.InRemote("config", "gpg.x509.program", program)
}

// gnupg is a folder with keys of its own, for a program that may not be installed.
func gnupg(t testing.TB, program string) (home string, run func(stdin, name string, args ...string) string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
	home, err := os.MkdirTemp("", "g") // the agent's socket needs a short path
	noError(t, err)
	run = func(stdin, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env, cmd.Stdin = append(os.Environ(), "GNUPGHOME="+home), strings.NewReader(stdin)
		var out, complaint strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, complaint.String())
		}
		return out.String()
	}
	t.Cleanup(func() {
		run("", "gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	return home, run
}

// Whatever is pushed is signed as the user's commits are: notes, merges, squashes,
// texts and claims.
func TestSigned(t *testing.T) {
	t.Parallel()
	for name, setUp := range map[string]func(*testing.T, *gittest.Repo){
		"ssh":     func(t *testing.T, r *gittest.Repo) { signWithSSH(t, r, "alice@example.com") },
		"openpgp": func(t *testing.T, r *gittest.Repo) { signWithGPG(t, r, "alice@example.com") },
		"x509":    func(t *testing.T, r *gittest.Repo) { signWithX509(t, r, "alice@example.com") },
		"tmnotes.committer": func(t *testing.T, r *gittest.Repo) {
			signWithSSH(t, r, "bot@example.com")
			r.Git("config", "tmnotes.committer", "The bot[bot] <bot@example.com>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, ctx := gittest.New(t), context.Background()
			setUp(t, repo)
			repo.Git("config", "commit.gpgSign", "true")
			other := repo.Clone()
			for _, key := range []string{"gpg.format", "user.signingKey", "gpg.program", "gpg.x509.program", "tmnotes.committer"} {
				if value, err := repo.Try("config", key); err == nil {
					other.Git("config", key, value)
				}
			}
			other.Git("config", "tmnotes.sign", "true")
			repo.Hook("update", refuseUnsigned)
			a, b := open(t, repo.Dir), open(t, other.Dir)
			commit := repo.Head()
			for i, s := range []process{a, b, a, b} {
				noError(t, s.Append(commit, result(note.OK, fmt.Sprintf("/s%d", i), fmt.Sprintf("RUN%d", i))))
				noError(t, s.KeepText(TextKey{Kind: PlanText, Path: "/s", Op: note.Drift, Run: strings.Repeat(fmt.Sprint(i), 26)}, "a plan\n", &note.Redactor{}))
				noError(t, s.Flush(ctx))
				if tr := push(t, s); !tr.Pushed || tr.Spooled {
					t.Errorf("%+v", tr)
				}
			}
			c := claimer(t, a, commit, "RUN9", time.Minute)
			if held, by := take(t, c, "/x", "/y"); !held[0] || !held[1] {
				t.Errorf("held by %v", by)
			}
			noError(t, c.renew())
			if held, by := take(t, claimer(t, b, commit, "RUN8", time.Minute), "/y", "/z"); held[0] || by[0] != "RUN9" || !held[1] {
				t.Errorf("held %v by %v", held, by)
			}
			noError(t, c.Release(ctx, []Claim{{Stack: "/x", Target: "prod"}}))
			if held, _ := take(t, b.Remote("origin").NewClaimer(b.Writer, Claim{Commit: commit, Run: "RUN7", Lease: time.Minute}), "/x"); !held[0] {
				t.Error("/x was not let go of")
			}
			if try := must[PushTry](t)(a.Remote("origin").TryPush(ctx, repo.InRemote("rev-parse", DefaultRef))); try.Notes != nil || try.Claims != nil {
				t.Errorf("the doctor finds %+v", try)
			}
			if with := must[string](t)(a.SignsWith(ctx)); !strings.Contains(with, "key ") {
				t.Error(with)
			}
			for _, ref := range strings.Fields(repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes/")) {
				for _, h := range strings.Fields(repo.InRemote("rev-list", ref)) {
					repo.InRemote("verify-commit", h)
				}
			}
			if n := len(strings.Fields(repo.InRemote("rev-list", DefaultRef))); n != 4 {
				t.Errorf("%d commits on the remote", n)
			}
			for _, h := range strings.Fields(other.Git("rev-list", "--reflog")) {
				if repo.InRemote("cat-file", "-t", commit) == "commit" && h != commit {
					if _, err := other.Try("cat-file", "-e", h); err == nil && !strings.Contains(other.Git("cat-file", "-p", h), "\ngpgsig ") {
						t.Errorf("not signed: %s", other.Git("log", "-1", "--format=%H %s", h))
					}
				}
			}
		})
	}
}

// A remote that wants signatures does not get what is not to be signed.
func TestUnsignedIsRefused(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	signWithSSH(t, repo, "alice@example.com")
	repo.Hook("update", refuseUnsigned)
	s := open(t, repo.Dir)
	noError(t, s.Append(repo.Head(), result(note.OK, "/a", "RUN1")))
	if _, err := s.Remote("origin").Push(ctx); !errors.Is(err, ErrNotPushed) || errors.Is(err, ErrSign) {
		t.Errorf("%v", err)
	}
}

// A group of claims is signed once, however many stacks are in it.
func TestSigningIsCounted(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	signWithSSH(t, repo, "alice@example.com")
	dir := t.TempDir()
	program := script(t, dir, "sign", "echo >>'"+dir+"/count'; exec ssh-keygen \"$@\"")
	repo.Git("config", "gpg.ssh.program", program)
	repo.Git("config", "tmnotes.sign", "yes")
	count := func() int {
		b, _ := os.ReadFile(filepath.Join(dir, "count"))
		return len(b)
	}
	s := open(t, repo.Dir)
	var records []*note.Record
	var stacks []string
	for i := range 1000 {
		records = append(records, result(note.OK, fmt.Sprintf("/s%d", i), "RUN1"))
		stacks = append(stacks, fmt.Sprintf("/s%d", i))
	}
	noError(t, s.Append(repo.Head(), records...))
	noError(t, s.Flush(ctx))
	if n := count(); n != 1 {
		t.Errorf("1,000 records were signed %d times", n)
	}
	push(t, s)
	if n := count(); n > 2 {
		t.Errorf("1,000 records were signed %d times when they were pushed", n)
	}
	before := count()
	c := claimer(t, s, repo.Head(), "RUN2", time.Minute)
	if held, _ := take(t, c, stacks[:50]...); !held[0] || !held[49] {
		t.Error("not taken")
	}
	noError(t, c.renew())
	if n := count() - before; n != 2 {
		t.Errorf("50 claims and their renewal were signed %d times", n)
	}
}

// What cannot sign says so: which program, which key, what to do.
func TestCannotSign(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config map[string]string
		says   []string
	}{
		"no program":  {map[string]string{"gpg.program": "/no/such/gpg", "user.signingKey": "ABC"}, []string{"/no/such/gpg", `"ABC"`, "not installed", "tmnotes.sign=false"}},
		"no format":   {map[string]string{"gpg.format": "pgp"}, []string{`gpg.format is "pgp"`, "openpgp, x509 or ssh"}},
		"no ssh key":  {map[string]string{"gpg.format": "ssh"}, []string{"user.signingKey", "gpg.ssh.defaultKeyCommand"}},
		"no key file": {map[string]string{"gpg.format": "ssh", "user.signingKey": "/no/such/key"}, []string{"ssh-keygen", "/no/such/key", "ssh-keygen -Y sign -n git -f '/no/such/key' FILE"}},
		"no key":      {map[string]string{"gpg.format": "ssh", "gpg.ssh.defaultKeyCommand": "echo none"}, []string{`"echo none" printed no key`}},
		"no x509 key": {map[string]string{"gpg.format": "x509", "gpg.x509.program": "false"}, []string{"false", `"Alice <alice@example.com>"`, "exit code 1"}},
		"no success":  {map[string]string{"gpg.program": "true"}, []string{"true", "it made no signature"}},
		"no boolean":  {map[string]string{"commit.gpgSign": "perhaps"}, []string{"commit.gpgSign", `"perhaps"`}},
		"no mail":     {map[string]string{"tmnotes.committer": "The bot"}, []string{"tmnotes.committer", "Name <mail@host>"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, ctx := gittest.New(t), context.Background()
			repo.Git("config", "commit.gpgSign", "true")
			for key, value := range tc.config {
				repo.Git("config", key, value)
			}
			s, err := opened(Options{Dir: repo.Dir})
			if err == nil {
				defer s.Close()
				noError(t, s.Append(repo.Head(), result(note.OK, "/a", "RUN1")))
				if err = s.TrySign(ctx); !errors.Is(err, ErrSign) {
					t.Errorf("%v", err)
				}
				if _, perr := s.Remote("origin").Push(ctx); !errors.Is(perr, ErrSign) || !errors.Is(perr, ErrNotPushed) {
					t.Errorf("%v", perr)
				}
				if lines := must[[]Line](t)(s.Note(repo.Head())); len(lines) != 1 {
					t.Errorf("what was recorded is not read: %v", lines)
				}
			}
			for _, part := range tc.says {
				if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v does not say %s in one line", err, part)
				}
			}
		})
	}
}

// Where a key comes from, as git-config(1) has it.
func TestSigningKeys(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	key := signWithSSH(t, repo, "alice@example.com")
	public, err := os.ReadFile(key + ".pub")
	noError(t, err)
	dir := t.TempDir()
	program := script(t, dir, "keygen", "echo \"$@\" >>'"+dir+"/args'; exec ssh-keygen \"$@\"")
	repo.Commit("settings", map[string]string{ConfigFile: "[tmnotes]\n\tsign = true\n[gpg \"ssh\"]\n\tprogram = /no/such/program\n"})
	for _, tc := range []struct{ name, signingKey, command, wantArg string }{
		{"a relative path", "key", "", "-f key "},
		{"the home folder", "~/tmnotes-test-key", "", "-f " + os.Getenv("HOME") + "/tmnotes-test-key "},
		{"a command, with words in quotes", "", "sh -c \"cat '" + key + ".pub'\"", " -U "},
		{"a literal key", "key::" + strings.TrimSpace(string(public)), "", " -U "},
		{"a literal key as it was written before", strings.TrimSpace(string(public)), "", " -U "},
	} {
		for _, path := range []string{filepath.Join(repo.Dir, "key"), filepath.Join(os.Getenv("HOME"), "tmnotes-test-key")} {
			b, err := os.ReadFile(key)
			noError(t, err)
			noError(t, os.WriteFile(path, b, 0o600))
			noError(t, os.WriteFile(path+".pub", public, 0o600))
		}
		repo.Git("config", "gpg.ssh.program", program)
		repo.Git("config", "user.signingKey", tc.signingKey)
		repo.Git("config", "gpg.ssh.defaultKeyCommand", tc.command)
		s := open(t, repo.Dir)
		err := s.TrySign(ctx)
		args, _ := os.ReadFile(filepath.Join(dir, "args"))
		if !strings.Contains(string(args), "-Y sign -n git -f ") || !strings.Contains(string(args), tc.wantArg) {
			t.Errorf("%s: called with %q", tc.name, args)
		}
		// A literal key needs an agent, and none is there: the program says so.
		if literal := tc.wantArg == " -U "; literal != (err != nil) || literal && !errors.Is(err, ErrSign) {
			t.Errorf("%s: %v", tc.name, err)
		}
		noError(t, os.Remove(filepath.Join(dir, "args")))
	}
	repo.Git("config", "--unset", "gpg.ssh.program")
	repo.Git("config", "user.signingKey", key)
	noError(t, open(t, repo.Dir).TrySign(ctx)) // by none that is committed
	repo.Git("config", "commit.gpgSign", "false")
	if signs := must[bool](t)(open(t, repo.Dir).Signs()); !signs {
		t.Error("the repository asks for signatures, and gets none")
	}
	repo.Git("config", "tmnotes.sign", "false")
	if signs := must[bool](t)(open(t, repo.Dir).Signs()); signs {
		t.Error("the user wants no signatures")
	}
	repo.Git("config", "--unset", "tmnotes.sign")
	repo.Commit("settings", map[string]string{ConfigFile: "[tmnotes]\n\tsign = false\n"})
	repo.Git("config", "commit.gpgSign", "true")
	if signs := must[bool](t)(open(t, repo.Dir).Signs()); !signs {
		t.Error("what is committed did away with the user's signatures")
	}
}

// A server may look at who commits, and at what the message says.
func TestIdentityAndMessage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ template, subject, end string }{
		{"", "1 record on ", ""},
		{"OPS-1:", "OPS-1: 1 record on ", ""},
		{"notes(%s)\n\nSigned-off-by: Bot <bot@example.com>", "notes(1 record on ", "\n\nSigned-off-by: Bot <bot@example.com>"},
	} {
		repo, ctx := gittest.New(t), context.Background()
		repo.Git("config", "tmnotes.message", tc.template)
		repo.Git("config", "tmnotes.committer", "The bot <bot@example.com>")
		repo.Hook("update", `case $1 in refs/notes/*) ;; *) exit 0 ;; esac
case $3 in *[!0]*) ;; *) exit 0 ;; esac
[ "$(git log -1 --format='%an <%ae> %cn <%ce>' "$3")" = 'The bot <bot@example.com> The bot <bot@example.com>' ]`)
		s := open(t, repo.Dir)
		noError(t, s.Append(repo.Head(), result(note.OK, "/a", "RUN1")))
		push(t, s)
		if held, by := take(t, claimer(t, s, repo.Head(), "RUN1", time.Minute), "/a"); !held[0] {
			t.Errorf("held by %v", by)
		}
		if claims := must[[]Claim](t)(s.Remote("origin").Claims(ctx)); len(claims) != 1 && fetch(t, s).Remote != "" {
			if claims = must[[]Claim](t)(s.Remote("origin").Claims(ctx)); len(claims) != 1 || claims[0].Stack != "/a" {
				t.Errorf("claims: %v", claims)
			}
		}
		for _, ref := range strings.Fields(repo.InRemote("for-each-ref", "--format=%(refname)", "refs/notes/")) {
			message := repo.InRemote("log", "-1", "--format=%B", ref)
			if want := strings.Replace(tc.subject, "1 record on ", "lock of /a", 1); !strings.HasPrefix(message, tc.subject) && !strings.HasPrefix(message, want) {
				t.Errorf("%s: %q does not begin with %q", ref, message, tc.subject)
			}
			if !strings.HasSuffix(strings.TrimRight(message, "\n"), tc.end) {
				t.Errorf("%s: %q does not end with %q", ref, message, tc.end)
			}
		}
		if who := s.Who(ctx); who != "Alice <alice@example.com>" {
			t.Errorf("the records would name %s", who)
		}
	}
}

// What git itself writes is not signed, and goes out in a commit that is; also by way
// of a ref of this clone's own.
func TestForeignCommitsAreSigned(t *testing.T) {
	t.Parallel()
	repo, ctx := gittest.New(t), context.Background()
	signWithSSH(t, repo, "alice@example.com")
	repo.Git("config", "commit.gpgSign", "true")
	repo.Hook("update", refuseUnsigned)
	s := open(t, repo.Dir)
	noError(t, s.Append(repo.Head(), result(note.OK, "/a", "RUN1")))
	noError(t, s.Flush(ctx))
	tip := repo.Git("rev-parse", DefaultRef)
	push(t, s)
	if now := repo.Git("rev-parse", DefaultRef); now != tip || repo.InRemote("rev-parse", DefaultRef) != tip {
		t.Error("a commit that was fit to be pushed was made once more")
	}
	repo.Git("notes", "--ref=tmnotes", "append", "-m", "by hand")
	push(t, s)
	repo.Hook("update", "case $1 in */tmnotes) exit 1 ;; esac\n"+refuseUnsigned)
	repo.Git("notes", "--ref=tmnotes", "append", "-m", "by hand again")
	if tr := push(t, s); !tr.Spooled {
		t.Errorf("%+v", tr)
	}
}
