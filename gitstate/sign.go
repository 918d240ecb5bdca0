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
	made            string // fingerprint of the key of the last signature that gpg or gpgsm made
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

// usualPrograms sign where git's configuration names no other.
var usualPrograms = map[string]string{formatOpenPGP: "gpg", formatX509: "gpgsm", formatSSH: "ssh-keygen"}

// signingProgram is the program that git would call for a format.
func (s *Store) signingProgram(ctx context.Context, format string) (program string, err error) {
	keys := []string{"gpg." + format + ".program"}
	if format == formatOpenPGP {
		keys = append(keys, "gpg.program")
	}
	program = usualPrograms[format]
	for _, key := range keys {
		if s.repo.GitOwn(key) != "" {
			if program, err = s.path(ctx, key); err != nil {
				return "", err
			}
			break
		}
	}
	// What is no bare name is seen from where git would call it.
	if filepath.Base(program) != program && !filepath.IsAbs(program) {
		program = filepath.Join(s.signingDir(), program)
	}
	return program, nil
}

// signingDir is where git would call the program.
func (s *Store) signingDir() string { return cmp.Or(s.repo.WorkTree, s.repo.CommonDir) }

// newSigner reads git's configuration of what signs commits. committer is whose key an
// OpenPGP program takes where none is configured.
func (s *Store) newSigner(ctx context.Context, committer string) (*signer, error) {
	sg := &signer{format: cmp.Or(strings.ToLower(s.repo.GitOwn("gpg.format")), formatOpenPGP), dir: s.signingDir()}
	if usualPrograms[sg.format] == "" {
		return nil, fmt.Errorf("%w: gpg.format is %q; set it to openpgp, x509 or ssh", ErrSign, s.repo.GitOwn("gpg.format"))
	}
	var err error
	if sg.program, err = s.signingProgram(ctx, sg.format); err != nil {
		return nil, err
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
	cmd.Dir, cmd.Stdin = sg.dir, bytes.NewReader(stdin)
	out, stderr, err := git.RunChild(cmd, 5*time.Second) // an agent that it started has its stderr
	switch {
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("%s is not installed, or not in PATH", argv[0])
	case err != nil && ctx.Err() != nil:
		return nil, "", context.Cause(ctx)
	}
	return []byte(out), stderr, err
}

// sign makes a signature; namespace is what it is for, in SSH's format.
func (sg *signer) sign(ctx context.Context, payload []byte, namespace string) (signature string, err error) {
	what, without := "records", "--sign-records=false leaves them"
	if namespace == gitNamespace {
		what, without = "a notes commit", "tmnotes.sign=false leaves notes"
	}
	if sg.format == formatSSH {
		signature, err = sg.signSSH(ctx, payload, namespace)
	} else {
		signature, err = sg.signGPG(ctx, payload)
	}
	if err != nil {
		return "", fmt.Errorf("%w "+what+" with %s, key %q: %w; see that `%s` works ("+without+" unsigned)", ErrSign, sg.program, sg.key, err, sg.example(namespace))
	}
	return strings.ReplaceAll(signature, "\r\n", "\n"), nil
}

// example is a command line that works where signing does.
func (sg *signer) example(namespace string) string {
	key := "'" + strings.ReplaceAll(sg.key, "'", `'\''`) + "'"
	if _, literal := literalKey(sg.key); sg.format == formatSSH && literal {
		return "ssh-add -L"
	} else if sg.format == formatSSH {
		return "ssh-keygen -Y sign -n " + namespace + " -f " + key + " FILE"
	}
	return sg.program + " -bsau " + key + " FILE"
}

// gitNamespace is what git's SSH signatures are made for (gpg-interface.c).
const gitNamespace = "git"

const (
	statusPrefix  = "[GNUPG:] "
	statusCreated = "\n" + statusPrefix + "SIG_CREATED "
)

func (sg *signer) signGPG(ctx context.Context, payload []byte) (string, error) {
	out, stderr, err := sg.run(ctx, payload, []string{sg.program, "--status-fd=2", "-bsau", sg.key})
	if _, created, is := strings.Cut("\n"+stderr, statusCreated); err == nil && is {
		created, _, _ = strings.Cut(created, "\n")
		if f := strings.Fields(created); len(f) > 0 {
			sg.made = f[len(f)-1]
		}
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

func (sg *signer) signSSH(ctx context.Context, payload []byte, namespace string) (string, error) {
	tmp, err := os.MkdirTemp("", "tmnotes-sign-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	argv := []string{sg.program, "-Y", "sign", "-n", namespace, "-f", sg.key}
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

// TrySign makes a signature and throws it away, where commits or records are signed: what
// cannot sign says so before anything is executed.
func (s *Store) TrySign(ctx context.Context) error {
	if signs, err := s.Signs(); err != nil || !signs && !s.signing.on {
		return err
	}
	who := s.signature(ctx)
	if s.signing.on {
		if _, err := s.recordKey(ctx); err != nil {
			return err
		}
	}
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
	signs, err := s.Signs()
	if err != nil || !signs {
		return nil, err
	}
	return s.signerFor(ctx, who)
}

// signerFor is how git signs here, whether or not it does.
func (s *Store) signerFor(ctx context.Context, who object.Signature) (*signer, error) {
	s.identity.Lock()
	defer s.identity.Unlock()
	if s.identity.signer != nil {
		return s.identity.signer, nil
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
	c.PGPSignature, err = sg.sign(ctx, payload, gitNamespace)
	return err
}
