package signers

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// ErrNeedsProgram is of a key with which only ssh-keygen can sign: it has a passphrase, is in
// an agent or in hardware, or is one that ssh-keygen will complain of.
var ErrNeedsProgram = errors.New("ssh-keygen is needed to sign with this key")

// verifySSH does what ssh-keygen -Y find-principals and -Y verify do (sshsig.c of OpenSSH).
// It is stricter in three ways: SHA-1 and DSA count nowhere, a security key must have been
// touched, and a certificate must have no critical option but those that restrict logins.
func (p *Policy) verifySSH(s Signature) (principal string, err error) {
	sig, err := sshsig.ParseSignature(s.Blob)
	if err != nil {
		return "", bad(err)
	}
	cert, certified := sig.PublicKey.(*ssh.Certificate)
	key := sig.PublicKey
	if certified {
		key = cert.Key
	}
	if err := weak(key); err != nil {
		return "", bad(err)
	}
	switch fingerprint := ssh.FingerprintSHA256(key); {
	case fingerprint != s.Key:
		return "", fmt.Errorf("%w: it was made with the key %s, not with %q", ErrBad, fingerprint, s.Key)
	case sig.Signature.Format == ssh.KeyAlgoRSA:
		return "", fmt.Errorf("%w: it uses SHA-1", ErrBad)
	case len(sig.Signature.Rest) > 0 && !strings.HasPrefix(sig.Signature.Format, "sk-"):
		return "", fmt.Errorf("%w: something follows it", ErrBad)
	}
	if err := sshsig.Verify(bytes.NewReader(s.Payload), sig, sig.PublicKey, sig.HashAlgorithm, Namespace); err != nil {
		return "", bad(err)
	}
	lines := p.keys[string(sig.PublicKey.Marshal())]
	if certified {
		lines = p.authorities[string(cert.SignatureKey.Marshal())]
	}
	err = fmt.Errorf("%w: %s is not in the allowed signers", ErrUnknown, s.Key)
	for _, l := range lines {
		principal, lineErr := l.name(), l.check(s.At)
		if certified {
			principal = holder(cert, l)
		}
		if certified && lineErr == nil {
			lineErr = checkCertificate(cert, principal, s.At)
		}
		if lineErr == nil {
			return principal, nil
		}
		if !errors.Is(err, ErrNotThen) { // that says more
			err = fmt.Errorf("%w (%s, line %d of the allowed signers)", lineErr, principal, l.number)
		}
	}
	return "", err
}

// bad is an error in which a library may quote what somebody put into a signature.
func bad(err error) error {
	return fmt.Errorf("%w: %s", ErrBad, strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, err.Error()))
}

// holder is the first principal of a certificate to whom the line of its authority applies.
func holder(cert *ssh.Certificate, l line) string {
	for _, principal := range cert.ValidPrincipals {
		if principal != "" && matchList(principal, l.principals) {
			return principal
		}
	}
	return ""
}

func checkCertificate(cert *ssh.Certificate, name string, at time.Time) error {
	switch {
	case cert.CertType != ssh.UserCert:
		return fmt.Errorf("%w: its certificate is not a user's", ErrUnknown)
	case name == "":
		return fmt.Errorf("%w: its certificate's principals %q are not those of its authority", ErrUnknown, cert.ValidPrincipals)
	case cert.Signature.Format == ssh.KeyAlgoRSA:
		return fmt.Errorf("%w: its certificate was signed with SHA-1", ErrBad)
	}
	// What restricts a login has no bearing on signatures (PROTOCOL.certkeys).
	checker := ssh.CertChecker{SupportedCriticalOptions: []string{"force-command", "source-address"}}
	within, until := max(int64(cert.ValidAfter), 0), int64(cert.ValidBefore)
	if cert.ValidBefore == ssh.CertTimeInfinity {
		until = math.MaxInt64
	}
	if at.Unix() >= within && at.Unix() < until {
		within = at.Unix()
	}
	checker.Clock = func() time.Time { return time.Unix(within, 0) }
	if err := checker.CheckCert(name, cert); err != nil {
		return bad(err)
	}
	if within != at.Unix() {
		return fmt.Errorf("%w: its certificate was not valid at %s", ErrNotThen, stamp(at.Unix()))
	}
	return nil
}

// weak refuses keys that OpenSSH refuses: DSA, and RSA below 1024 bits.
func weak(key ssh.PublicKey) error {
	if key.Type() == "ssh-dss" {
		return errors.New("DSA keys are too weak; use ed25519")
	}
	if crypto, is := key.(ssh.CryptoPublicKey); is {
		if public, is := crypto.CryptoPublicKey().(*rsa.PublicKey); is && public.N.BitLen() < 1024 {
			return fmt.Errorf("an RSA key of %d bits is too weak; use ed25519", public.N.BitLen())
		}
	}
	return nil
}

// SignSSH signs for Namespace with the private key in a file. It returns ErrNeedsProgram where
// `ssh-keygen -Y sign` has to be called in its place, and another error if there is no such file.
func SignSSH(keyFile string, payload []byte) (blob []byte, fingerprint string, err error) {
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, "", err
	}
	if runtime.GOOS != "windows" && info.Mode()&0o077 != 0 {
		return nil, "", fmt.Errorf("%w: others may read %s", ErrNeedsProgram, keyFile)
	}
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, "", err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrNeedsProgram, keyFile, err)
	}
	if err := weak(signer.PublicKey()); err != nil {
		return nil, "", fmt.Errorf("%s: %w", keyFile, err)
	}
	sig, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", keyFile, err)
	}
	return sig.Marshal(), ssh.FingerprintSHA256(signer.PublicKey()), nil
}

// KeyOf is the fingerprint of the key that an SSHSIG says it was made with; that of a
// certificate is its key's.
func KeyOf(blob []byte) (string, error) {
	sig, err := sshsig.ParseSignature(blob)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBad, err)
	}
	key := sig.PublicKey
	if cert, is := key.(*ssh.Certificate); is {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key), nil
}

// Dearmor is an SSHSIG out of what ssh-keygen wrote.
func Dearmor(text string) ([]byte, error) {
	begin, end := "-----BEGIN "+sshsig.PEMType+"-----\n", "\n-----END "+sshsig.PEMType+"-----"
	text, opened := strings.CutPrefix(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), begin)
	text, closed := strings.CutSuffix(text, end)
	blob, err := base64.StdEncoding.DecodeString(text)
	if !opened || !closed || err != nil {
		return nil, errors.New("not an SSH signature: it must be all of what stands between " + strings.TrimSpace(begin) + " and " + strings.TrimSpace(end))
	}
	return blob, nil
}
