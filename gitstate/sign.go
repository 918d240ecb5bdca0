package gitstate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/shlex"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Commits are signed where the user's own are (commit.gpgSign) or where
// tmnotes.sign says so: by the program, with the key and in the format that git
// would use (git-config(1), gpg.*), called in the way that git calls it, since
// there are programs that expect just that.

// ErrSign is wrapped by errors of commits that are to be signed and could not be.
var ErrSign = errors.New("cannot sign")

// signTimeout is how long a program may take that signs: it may ask a person.
const signTimeout = 2 * time.Minute

const (
	formatOpenPGP = "openpgp"
	formatX509    = "x509"
	formatSSH     = "ssh"
)

// signer is how commits are signed.
type signer struct {
	format, program string
	key             string
	dir             string // in which git would call the program
}

// Signs reports whether the commits that are written here are signed.
func (s *Store) Signs() (bool, error) {
	for _, from := range []struct{ key, value string }{
		{s.ConfigName("sign"), s.Config("sign")},
		{"git config commit.gpgSign", s.repo.GitOwn("commit.gpgSign")},
	} {
		if from.value == "" {
			continue
		}
		signs, err := gitBool(from.value)
		if err != nil {
			return false, fmt.Errorf("%s: %w", from.key, err)
		}
		// What is committed may ask for signatures, and not do away with the user's.
		if signs || from.key == "git config tmnotes.sign" {
			return signs, nil
		}
	}
	return false, nil
}

// gitBool reads a value as git does.
func gitBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return false, fmt.Errorf("%q is not true or false", value)
	}
	return number != 0, nil
}

// newSigner reads git's configuration of what signs commits. committer is whose key an
// OpenPGP program takes where none is configured.
func (s *Store) newSigner(ctx context.Context, committer string) (*signer, error) {
	sg := &signer{format: cmp.Or(strings.ToLower(s.repo.GitOwn("gpg.format")), formatOpenPGP), dir: cmp.Or(s.repo.WorkTree, s.repo.CommonDir)}
	programs := map[string]string{formatOpenPGP: "gpg", formatX509: "gpgsm", formatSSH: "ssh-keygen"}
	if programs[sg.format] == "" {
		return nil, fmt.Errorf("%w: gpg.format is %q; set it to openpgp, x509 or ssh", ErrSign, s.repo.GitOwn("gpg.format"))
	}
	keys := []string{"gpg." + sg.format + ".program"}
	if sg.format == formatOpenPGP {
		keys = append(keys, "gpg.program")
	}
	sg.program = programs[sg.format]
	var err error
	for _, key := range keys {
		if s.repo.GitOwn(key) != "" {
			if sg.program, err = s.path(ctx, key); err != nil {
				return nil, err
			}
			break
		}
	}
	// What is no bare name is seen from where git would call it.
	if filepath.Base(sg.program) != sg.program && !filepath.IsAbs(sg.program) {
		sg.program = filepath.Join(sg.dir, sg.program)
	}
	switch {
	case s.repo.GitOwn("user.signingKey") != "":
		sg.key, err = s.path(ctx, "user.signingKey")
	case sg.format == formatSSH:
		sg.key, err = sg.defaultKey(ctx, s.repo.GitOwn("gpg.ssh.defaultKeyCommand"))
	default:
		sg.key = committer
	}
	return sg, err
}

// path is a value that may be a path, in which git knows ~ and %(prefix).
func (s *Store) path(ctx context.Context, key string) (string, error) {
	value := s.repo.GitOwn(key)
	if !strings.HasPrefix(value, "~") && !strings.HasPrefix(value, "%(") {
		return value, nil
	}
	out, err := s.repo.Git(ctx, nil, "config", "-z", "--type=path", "--get", key)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrSign, key, err)
	}
	return strings.TrimSuffix(out, "\x00"), nil
}

// defaultKey asks a command for the key, as git does where none is configured.
func (sg *signer) defaultKey(ctx context.Context, command string) (string, error) {
	if command == "" {
		return "", fmt.Errorf("%w with ssh: no key is set; set user.signingKey to a key file, or gpg.ssh.defaultKeyCommand (tmnotes.sign=false leaves notes unsigned)", ErrSign)
	}
	argv, err := shlex.Split(command)
	if err != nil || len(argv) == 0 {
		return "", fmt.Errorf("%w: gpg.ssh.defaultKeyCommand %q is not a command line", ErrSign, command)
	}
	out, stderr, err := sg.run(ctx, nil, argv)
	if err != nil {
		return "", fmt.Errorf("%w: gpg.ssh.defaultKeyCommand %q failed: %s", ErrSign, command, cmp.Or(stderr, err.Error()))
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if _, literal := literalKey(line); !literal {
		return "", fmt.Errorf("%w: gpg.ssh.defaultKeyCommand %q printed no key; its first line must start with key:: or ssh-", ErrSign, command)
	}
	return line, nil
}

// literalKey is the public key that stands in the configuration itself.
func literalKey(key string) (string, bool) {
	if literal, is := strings.CutPrefix(key, "key::"); is {
		return literal, true
	}
	return key, strings.HasPrefix(key, "ssh-")
}

// run runs a program that may ask a person, so it stays where the terminal is. stderr
// is what it complained of, in one line.
func (sg *signer) run(ctx context.Context, stdin []byte, argv []string) (stdout []byte, stderr string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, signTimeout, fmt.Errorf("no answer within %v", signTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.WaitDelay = sg.dir, bytes.NewReader(stdin), 5*time.Second
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // an agent that it started has its stderr
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("%s is not installed, or not in PATH", argv[0])
	case err != nil && ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	}
	return out.Bytes(), complaint.String(), err
}

// sign makes the signature of a commit.
func (sg *signer) sign(ctx context.Context, payload []byte) (string, error) {
	sign := sg.signGPG
	if sg.format == formatSSH {
		sign = sg.signSSH
	}
	signature, err := sign(ctx, payload)
	if err != nil {
		return "", fmt.Errorf("%w a notes commit with %s, key %q: %w; see that `%s` works (tmnotes.sign=false leaves notes unsigned)", ErrSign, sg.program, sg.key, err, sg.example())
	}
	return strings.ReplaceAll(signature, "\r\n", "\n"), nil
}

// example is a command line that works where signing does.
func (sg *signer) example() string {
	key := "'" + strings.ReplaceAll(sg.key, "'", `'\''`) + "'"
	if _, literal := literalKey(sg.key); sg.format == formatSSH && literal {
		return "ssh-add -L"
	} else if sg.format == formatSSH {
		return "ssh-keygen -Y sign -n git -f " + key + " FILE"
	}
	return sg.program + " -bsau " + key + " FILE"
}

const (
	statusPrefix  = "[GNUPG:] "
	statusCreated = "\n" + statusPrefix + "SIG_CREATED "
)

func (sg *signer) signGPG(ctx context.Context, payload []byte) (string, error) {
	out, stderr, err := sg.run(ctx, payload, []string{sg.program, "--status-fd=2", "-bsau", sg.key})
	if err == nil && strings.Contains("\n"+stderr, statusCreated) {
		return string(out), nil
	}
	var said strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, statusPrefix) {
			said.WriteString(line)
		}
	}
	return "", complaint(said.String(), err)
}

func (sg *signer) signSSH(ctx context.Context, payload []byte) (string, error) {
	tmp, err := os.MkdirTemp("", "tmnotes-sign-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	argv := []string{sg.program, "-Y", "sign", "-n", "git", "-f", sg.key}
	literal, is := literalKey(sg.key)
	if is {
		file := filepath.Join(tmp, "key")
		if err := os.WriteFile(file, []byte(literal+"\n"), 0o600); err != nil {
			return "", err
		}
		argv[len(argv)-1] = file
		argv = append(argv, "-U") // the private key is the agent's
	}
	file := filepath.Join(tmp, "commit")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		return "", err
	}
	_, stderr, err := sg.run(ctx, nil, append(argv, file))
	if err != nil {
		if strings.Contains(stderr, "usage:") {
			return "", errors.New("it cannot sign; OpenSSH 8.2 or newer is needed")
		}
		return "", complaint(stderr, err)
	}
	signature, err := os.ReadFile(file + ".sig")
	if err != nil {
		return "", fmt.Errorf("it made no signature: %w", err)
	}
	return string(signature), nil
}

// complaint is why a program did not sign, in one line.
func complaint(stderr string, err error) error {
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return err
	case err == nil:
		return errors.New(git.LastLines(cmp.Or(stderr, "it made no signature"), 0))
	}
	return errors.New(git.LastLines(stderr, exit.ExitCode()))
}

// TrySign makes a signature and throws it away, where commits are signed: what
// cannot sign says so before anything is executed.
func (s *Store) TrySign(ctx context.Context) error {
	who := s.signature(ctx)
	return s.seal(ctx, &object.Commit{Author: who, Committer: who, Message: "a trial\n", TreeHash: plumbing.NewHash(emptyTree)})
}

// SignsWith names what signs commits, for people; "" if nothing does.
func (s *Store) SignsWith(ctx context.Context) (string, error) {
	sg, err := s.signerOf(ctx, s.signature(ctx))
	if err != nil || sg == nil {
		return "", err
	}
	return fmt.Sprintf("%s (%s), key %s", sg.format, sg.program, sg.key), nil
}

func (s *Store) signerOf(ctx context.Context, who object.Signature) (*signer, error) {
	s.identity.Lock()
	defer s.identity.Unlock()
	if s.identity.signer != nil {
		return s.identity.signer, nil
	}
	signs, err := s.Signs()
	if err != nil || !signs {
		return nil, err
	}
	sg, err := s.newSigner(ctx, who.Name+" <"+who.Email+">")
	if err == nil {
		s.identity.signer = sg
	}
	return sg, err
}

// seal signs a commit, if commits are signed.
func (s *Store) seal(ctx context.Context, c *object.Commit) error {
	sg, err := s.signerOf(ctx, c.Committer)
	if err != nil || sg == nil {
		return err
	}
	plain := new(plumbing.MemoryObject)
	if err := c.EncodeWithoutSignature(plain); err != nil {
		return err
	}
	payload, err := git.ReadObject(plain)
	if err != nil {
		return err
	}
	c.PGPSignature, err = sg.sign(ctx, payload)
	return err
}
