package signers

import (
	"fmt"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

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
