package signers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	formatOpenPGP = "openpgp"
	formatX509    = "x509"
)

var defaultPrograms = map[string]string{formatOpenPGP: "gpg", formatX509: "gpgsm"}

// programTimeout is how long a program may take: it may ask a server for certificates.
const programTimeout = time.Minute

func isFingerprint(text string) bool {
	return (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789ABCDEF") == ""
}

// verifyProgram has a program look at a signature, in the way that git calls it, and goes by
// the fingerprint that it prints (DETAILS of GnuPG, VALIDSIG): that of the key, or of the
// primary key it belongs to. Whether the program trusts the key is its own affair.
func (p *Policy) verifyProgram(ctx context.Context, format, fingerprint string, s Signature) (string, error) {
	if !p.certifies(format, "") {
		return "", fmt.Errorf("%w: the signers' limits have no %s keys", ErrUnknown, format)
	}
	status, stderr, err := p.ask(ctx, format, s)
	if err != nil {
		return "", err
	}
	said := readStatus(status)
	switch {
	case said.noKey != "" && p.certifies(format, said.noKey):
		return "", fmt.Errorf("%s has no public key %s here; import it", p.program(format), said.noKey)
	case said.noKey != "": // so anybody can make signatures, and they must not stop anything
		return "", fmt.Errorf("%w: %s has no public key %s here; if it is a signer's, import it", ErrUnknown, p.program(format), said.noKey)
	case said.signatures != 1 || said.validated != 1 || len(said.valid) == 0:
		return "", fmt.Errorf("%w: %s does not accept it: %s", ErrBad, p.program(format), cmp.Or(lastLine(stderr), "it found no signature"))
	}
	if !slices.Contains(said.valid, strings.ToUpper(fingerprint)) {
		return "", fmt.Errorf("%w: it was made with the key %s, not with %q", ErrBad, said.valid[0], fingerprint)
	}
	for _, made := range said.valid {
		who, known := p.certified[format+":"+made]
		if !known {
			continue
		}
		if err := cmp.Or(said.expired(s.At), who.validity.check(s.At)); err != nil {
			return "", fmt.Errorf("%w (a key of %s)", err, who.principal)
		}
		return who.principal, nil
	}
	return "", fmt.Errorf("%w: %s is not in the signers' limits", ErrUnknown, s.Key)
}

// certifies: a key is named in the limits. keyID is the end of its fingerprint.
func (p *Policy) certifies(format, keyID string) bool {
	for id := range p.certified {
		if strings.HasPrefix(id, format+":") && strings.HasSuffix(id, keyID) {
			return true
		}
	}
	return false
}

func (p *Policy) program(format string) string {
	return cmp.Or(p.Programs[format], defaultPrograms[format])
}

// ask runs the program. Its exit code says less than what it printed.
func (p *Policy) ask(ctx context.Context, format string, s Signature) (status, stderr string, err error) {
	file, err := temporary(s.Blob)
	if err != nil {
		return "", "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	// A file has all that was printed, however late it is read: a second signature must not be missed.
	printed, err := temporary(nil)
	if err != nil {
		return "", "", err
	}
	defer os.Remove(printed.Name())
	defer printed.Close()
	args := []string{"--status-fd=1", "--verify", file.Name(), "-"}
	if format == formatOpenPGP {
		args = append([]string{"--keyid-format=long"}, args...)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, programTimeout, fmt.Errorf("no answer within %v", programTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.program(format), args...)
	cmd.Dir, cmd.Stdin, cmd.WaitDelay = p.Dir, bytes.NewReader(s.Payload), 5*time.Second
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = printed, &complaint
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", "", fmt.Errorf("%s: %w", cmd.Path, context.Cause(ctx))
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return "", "", fmt.Errorf("%s signatures cannot be verified: %w", format, err)
	}
	out, err := os.ReadFile(printed.Name())
	return string(out), complaint.String(), err
}

// temporary is a file with this content, to be closed and removed.
func temporary(content []byte) (*os.File, error) {
	file, err := os.CreateTemp("", "tmnotes-signature-")
	if err != nil {
		return nil, err
	}
	if _, err = file.Write(content); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

// verdict is what a program printed of a signature.
type verdict struct {
	verdict    string
	signatures int      // more than one is none: which of them is the record's?
	validated  int      // those with fingerprints
	valid      []string // the fingerprints of the key and of its primary key
	noKey      string   // the ID of the key that is missing
	expiry     int64    // of the key, the earliest that is printed
}

func readStatus(status string) (v verdict) {
	for line := range strings.Lines(status) {
		text, is := strings.CutPrefix(line, "[GNUPG:] ")
		words := strings.Fields(text)
		if !is || len(words) == 0 {
			continue
		}
		switch words[0] {
		case "GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG":
			v.verdict = words[0]
			v.signatures++
		case "NO_PUBKEY":
			v.noKey = words[len(words)-1]
		case "KEYEXPIRED":
			if len(words) > 1 {
				at, err := strconv.ParseInt(words[1], 10, 64)
				if err == nil && (v.expiry == 0 || at < v.expiry) {
					v.expiry = at
				}
			}
		case "VALIDSIG":
			v.validated++
			for _, i := range []int{1, 10} {
				if i < len(words) && isFingerprint(words[i]) {
					v.valid = append(v.valid, words[i])
				}
			}
		}
	}
	return v
}

// expired is of a key or signature that the program found no longer good. A key that
// expired after it had signed is good; for one that was revoked, no time is known.
func (v verdict) expired(at time.Time) error {
	switch {
	case v.verdict == "EXPKEYSIG" && at.Unix() >= v.expiry:
		return fmt.Errorf("%w: the key had expired", ErrNotThen)
	case v.verdict == "EXPSIG":
		return fmt.Errorf("%w: the signature has expired", ErrNotThen)
	case v.verdict == "REVKEYSIG":
		return fmt.Errorf("%w: the key was revoked", ErrNotThen)
	}
	return nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
