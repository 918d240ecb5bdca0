// Package signers says who may sign records of deployments, and whose a signature is.
//
// A [Policy] comes from two texts: the keys, in OpenSSH's format of allowed signers
// (ssh-keygen(1), ALLOWED SIGNERS), and the limits of what each signer may record, in
// tmnotes' own file in git's syntax. A text that has anything wrong is refused as a whole:
// where ssh-keygen passes over a bad line, nobody could tell here that a key went missing.
//
// SSH signatures (OpenSSH's PROTOCOL.sshsig) are verified in this process. Those of OpenPGP
// and X.509 are verified by the program that git would ask, one process for each.
//
// Who wrote a record also chose the time in it. So a key that somebody else has got hold of
// is to be removed from the file, or its signatures count for every time at which it was valid.
package signers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Namespace is what SSH signatures of records are made for (PROTOCOL.sshsig), so that none
// can be passed off as one of a commit or of a file.
const Namespace = "tmnotes"

// What may be wrong with a signature. Any other error of Verify says that it could not be
// looked at: a program or a public key is missing here.
var (
	// ErrBad: it does not fit the payload or the key that is named, or is no signature of a record.
	ErrBad = errors.New("bad signature")
	// ErrUnknown: the key is nobody's.
	ErrUnknown = errors.New("unknown key")
	// ErrNotThen: the key was not valid at that time.
	ErrNotThen = errors.New("key not valid then")
)

// Policy is who may sign, and what. It is safe for use by many at once, once it is set up.
type Policy struct {
	// Programs verify what is no SSH signature, by git's names of formats: openpgp (gpg if
	// it is not set), x509 (gpgsm). Dir is where they are called.
	Programs map[string]string
	Dir      string

	keys, authorities map[string][]line   // by the public key, in the order of the file
	certified         map[string]identity // by "openpgp:FINGERPRINT" and "x509:FINGERPRINT"
	limits            []*limit
	digest            string
}

// Signature is one to be verified.
type Signature struct {
	Key           string // "SHA256:…" as ssh-keygen -l prints it, "openpgp:FINGERPRINT" or "x509:FINGERPRINT"
	Blob, Payload []byte // the SSHSIG without its armor, or what gpg or gpgsm printed
	At            time.Time
}

// identity is whose a key is, and when.
type identity struct {
	principal string
	validity
}

// Parse reads both files; either may be empty. An error names the file, and the line or the key.
func Parse(allowed, limits []byte) (*Policy, error) {
	p := &Policy{keys: map[string][]line{}, authorities: map[string][]line{}, certified: map[string]identity{}}
	var local []int64
	if err := p.parseAllowed(string(allowed), &local); err != nil {
		return nil, fmt.Errorf("allowed signers: %w", err)
	}
	if err := p.parseLimits(limits, &local); err != nil {
		return nil, fmt.Errorf("signers' limits: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %s%s", len(allowed), len(limits), local, allowed, limits))
	p.digest = hex.EncodeToString(sum[:])
	return p, nil
}

// Digest is of both texts, and of what times without a zone are here: what was verified
// under a digest need not be verified again.
func (p *Policy) Digest() string { return p.digest }

// Verify says who made a signature. It returns ErrBad, ErrUnknown or ErrNotThen, or another
// error where it could not find out. The principal is that of the first line of allowed
// signers that has the key and permits the namespace and the time: the first of the line's
// names, which may be a pattern; or that of a certificate; or the name of a section of limits.
func (p *Policy) Verify(ctx context.Context, s Signature) (principal string, err error) {
	if format, fingerprint, ok := strings.Cut(s.Key, ":"); ok && defaultPrograms[format] != "" {
		return p.verifyProgram(ctx, format, fingerprint, s)
	}
	return p.verifySSH(s)
}

// validity is from when to when a key counts, both included, in seconds of Unix; 0 is open.
type validity struct{ after, before int64 }

func (v validity) check(at time.Time) error {
	switch now := at.Unix(); {
	case v.after != 0 && now < v.after:
		return fmt.Errorf("%w: it is valid from %s, and signed at %s", ErrNotThen, stamp(v.after), stamp(now))
	case v.before != 0 && now > v.before:
		return fmt.Errorf("%w: it is valid until %s, and signed at %s", ErrNotThen, stamp(v.before), stamp(now))
	}
	return nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

const (
	validAfter  = "valid-after"
	validBefore = "valid-before"
)

// set reads one of the options above. A time without Z or UTC is in this machine's zone, as
// for ssh-keygen; local keeps what it was taken for.
func (v *validity) set(name, value string, local *[]int64) error {
	bound := &v.after
	if name == validBefore {
		bound = &v.before
	}
	if *bound != 0 {
		return fmt.Errorf("%s is given twice", name)
	}
	digits, zone := value, time.Local
	for _, utc := range []string{"Z", "UTC"} {
		if n := len(value) - len(utc); n > 0 && strings.EqualFold(value[n:], utc) {
			digits, zone = value[:n], time.UTC
		}
	}
	layouts := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}
	at, err := time.ParseInLocation(layouts[len(digits)], digits, zone)
	if err != nil || at.Unix() <= 0 {
		return fmt.Errorf("%s: %q is not a time; write YYYYMMDDZ or YYYYMMDDHHMM[SS]Z", name, value)
	}
	if zone != time.UTC {
		*local = append(*local, at.Unix())
	}
	*bound = at.Unix()
	if v.after != 0 && v.before != 0 && v.before <= v.after {
		return fmt.Errorf("%s must be later than %s", validBefore, validAfter)
	}
	return nil
}

// matchList is ssh's matching of a list of patterns: one must match, and none with a ! before it.
func matchList(name string, list []string) bool {
	matches := false
	for _, pattern := range list {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if match(name, pattern) {
			if negated {
				return false
			}
			matches = true
		}
	}
	return matches
}

// match knows ssh's * and ? (ssh_config(5), PATTERNS), byte by byte. It goes back to the last
// * alone, so that no pattern takes long.
func match(name, pattern string) bool {
	n, p, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			n, p = n+1, p+1
		case star >= 0:
			from++
			n, p = from, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// splitList reads a list of patterns; what is empty in it is a mistake.
func splitList(text string) ([]string, error) {
	list := strings.Split(text, ",")
	if slices.Contains(list, "") || slices.Contains(list, "!") {
		return nil, fmt.Errorf("the list %q has an empty entry", text)
	}
	return list, nil
}
