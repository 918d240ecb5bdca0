package signers

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func day(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("20060102150405Z", text)
	noError(t, err)
	return at
}

func newKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	noError(t, err)
	return signerOf(t, private)
}

func signerOf(t testing.TB, private any) (ssh.Signer, string) {
	t.Helper()
	s, err := ssh.NewSignerFromKey(private)
	noError(t, err)
	return s, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// signed is a signature as a record would carry it.
func signed(t testing.TB, by ssh.Signer, payload, namespace string) Signature {
	t.Helper()
	sig, err := sshsig.Sign(strings.NewReader(payload), by, sshsig.HashSHA512, namespace)
	noError(t, err)
	key := by.PublicKey()
	if cert, is := key.(*ssh.Certificate); is {
		key = cert.Key
	}
	return Signature{Key: ssh.FingerprintSHA256(key), Blob: sig.Marshal(), Payload: []byte(payload), At: day(t, "20260601000000Z")}
}

func parse(t testing.TB, allowed, limits string) *Policy {
	t.Helper()
	p, err := Parse([]byte(allowed), []byte(limits))
	if err != nil {
		t.Fatalf("%v in\n%s%s", err, allowed, limits)
	}
	return p
}

// wants says what is wrong with an answer of Verify.
func wants(t testing.TB, p *Policy, s Signature, principal string, want error) {
	t.Helper()
	who, err := p.Verify(context.Background(), s)
	if who != principal || !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Errorf("%q, %v; want %q, %v", who, err, principal, want)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	key, public := newKey(t)
	other, otherPublic := newKey(t)
	s := signed(t, key, "a line\n", Namespace)
	for _, tc := range []struct {
		allowed, principal string
		want               error
	}{
		{"", "", ErrUnknown},
		{"bob " + otherPublic, "", ErrUnknown},
		{"bob " + otherPublic + "\n# alice\n\nalice,deploy@ci " + public + " a comment\r\n", "alice", nil},
		{"!bob,*@ci " + public, "*@ci", nil},
		{"\"alice\"\t" + public, "alice", nil},
		{"alice namespaces=\"git,file\" " + public, "", ErrUnknown},
		{"alice namespaces=\"git,tm*\" " + public, "alice", nil},
		{"alice namespaces=\"*,!tmnotes\" " + public, "", ErrUnknown},
		{"alice namespaces=\"git\" " + public + "\nbob " + public, "bob", nil},
		{"alice cert-authority " + public, "", ErrUnknown},
		{"alice valid-after=\"20260601Z\" " + public, "alice", nil},
		{"alice valid-after=\"20260601000001Z\" " + public, "", ErrNotThen},
		{"alice Valid-Before=\"202606010000utc\" " + public, "alice", nil},
		{"alice valid-before=\"20260531235959Z\" " + public, "", ErrNotThen},
		{"alice valid-before=\"20260531Z\" " + public + "\nbob valid-after=\"20260531Z\",namespaces=\"tmnotes\" " + public, "bob", nil},
		{"alice valid-before=\"20260531Z\" " + public + "\nalice namespaces=\"git\" " + public, "", ErrNotThen},
	} {
		t.Run(tc.allowed, func(t *testing.T) { wants(t, parse(t, tc.allowed, ""), s, tc.principal, tc.want) })
	}
	p := parse(t, "alice "+public+"\nbob "+otherPublic, "")
	changed := s
	changed.Payload = []byte("a lime\n")
	wants(t, p, changed, "", ErrBad)
	wants(t, p, signed(t, key, "a line\n", "git"), "", ErrBad)
	changed = s
	changed.Key = signed(t, other, "", Namespace).Key
	wants(t, p, changed, "", ErrBad)
	changed.Key = ""
	wants(t, p, changed, "", ErrBad)
	for cut := range s.Blob {
		changed = s
		changed.Blob = s.Blob[:cut]
		wants(t, p, changed, "", ErrBad)
	}
	for i := range s.Blob { // the reserved field is not signed, and must be nothing all the same
		changed.Blob = append([]byte(nil), s.Blob...)
		changed.Blob[i] ^= 1
		wants(t, p, changed, "", ErrBad)
	}
	changed.Blob = append(append([]byte(nil), s.Blob...), 0)
	wants(t, p, changed, "", ErrBad)
	// What follows the signature proper is in no sum, and would make two signatures of one.
	sig, err := sshsig.ParseSignature(s.Blob)
	noError(t, err)
	sig.Signature.Rest = []byte("more")
	changed.Blob = sig.Marshal()
	wants(t, p, changed, "", ErrBad)
	// A message shows on a terminal what somebody else has written.
	sig.Signature = &ssh.Signature{Format: "\x1b[2J", Blob: sig.Signature.Blob}
	changed.Blob = sig.Marshal()
	if _, err := p.Verify(context.Background(), changed); !errors.Is(err, ErrBad) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
	wants(t, p, s, "alice", nil)
}

func TestKeyTypes(t *testing.T) {
	t.Parallel()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	noError(t, err)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		noError(t, err)
		key, public := signerOf(t, private)
		wants(t, parse(t, "alice "+public, ""), signed(t, key, "x", Namespace), "alice", nil)
	}
	key, public := signerOf(t, r)
	p := parse(t, "alice "+public, "")
	wants(t, p, signed(t, key, "x", Namespace), "alice", nil)
	sig, err := sshsig.Sign(strings.NewReader("x"), key, sshsig.HashSHA256, Namespace)
	noError(t, err)
	s := signed(t, key, "x", Namespace)
	s.Blob = sig.Marshal()
	wants(t, p, s, "alice", nil)
	// SHA-1, which the library takes when it is behind a certificate.
	authority, authorityPublic := newKey(t)
	cert := certificate(t, authority, key, nil)
	certified, err := ssh.NewCertSigner(cert, key)
	noError(t, err)
	p = parse(t, "alice cert-authority "+authorityPublic, "")
	good := signed(t, certified, "x", Namespace)
	sig, err = sshsig.ParseSignature(good.Blob)
	noError(t, err)
	sum := toSign("x")
	sig.Signature, err = key.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, sum, ssh.KeyAlgoRSA)
	noError(t, err)
	noError(t, cert.Verify(sum, sig.Signature)) // so it is this package that refuses it
	s = good
	s.Blob = sig.Marshal()
	wants(t, p, s, "", ErrBad)
}

// certificate is alice's for a key, by an authority; change may alter it before it is signed.
func certificate(t testing.TB, authority, key ssh.Signer, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"root", "alice"},
		ValidAfter: uint64(day(t, "20260101000000Z").Unix()), ValidBefore: uint64(day(t, "20270101000000Z").Unix()),
	}
	if change != nil {
		change(cert)
	}
	noError(t, cert.SignCert(rand.Reader, authority))
	return cert
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	authority, public := newKey(t)
	key, keyPublic := newKey(t)
	stranger, _ := newKey(t)
	for name, tc := range map[string]struct {
		allowed   string
		change    func(*ssh.Certificate)
		principal string
		want      error
	}{
		"good":               {"a*,!bob cert-authority " + public, nil, "alice", nil},
		"its key alone":      {"alice " + keyPublic, nil, "", ErrUnknown},
		"no authority":       {"alice " + public, nil, "", ErrUnknown},
		"nobody's authority": {"bob cert-authority " + public, nil, "", ErrUnknown},
		"other namespace":    {"alice cert-authority,namespaces=\"git\" " + public, nil, "", ErrUnknown},
		"line has expired":   {"alice cert-authority,valid-before=\"20260501Z\" " + public, nil, "", ErrNotThen},
		"no principals":      {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidPrincipals = nil }, "", ErrUnknown},
		"an empty principal": {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"", "alice"} }, "alice", nil},
		"host":               {"* cert-authority " + public, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, "", ErrUnknown},
		"first second":       {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidAfter = uint64(day(t, "20260601000000Z").Unix()) }, "root", nil},
		"not yet":            {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidAfter = uint64(day(t, "20260601000001Z").Unix()) }, "", ErrNotThen},
		"not yet, and then for ever": {"* cert-authority " + public, func(c *ssh.Certificate) {
			c.ValidAfter, c.ValidBefore = uint64(day(t, "20260601000001Z").Unix()), ssh.CertTimeInfinity
		}, "", ErrNotThen},
		"expires that second": {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidBefore = uint64(day(t, "20260601000000Z").Unix()) }, "", ErrNotThen},
		"for ever":            {"* cert-authority " + public, func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }, "root", nil},
		"login restricted":    {"* cert-authority " + public, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "true"} }, "root", nil},
		"unknown restriction": {"* cert-authority " + public, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"verify-required": ""} }, "", ErrBad},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certified, err := ssh.NewCertSigner(certificate(t, authority, key, tc.change), key)
			noError(t, err)
			wants(t, parse(t, tc.allowed, ""), signed(t, certified, "x", Namespace), tc.principal, tc.want)
		})
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	noError(t, err)
	old, oldPublic := signerOf(t, private)
	for algorithm, want := range map[string]error{ssh.KeyAlgoRSASHA256: nil, ssh.KeyAlgoRSA: ErrBad} {
		with, err := ssh.NewSignerWithAlgorithms(old.(ssh.AlgorithmSigner), []string{algorithm})
		noError(t, err)
		certified, err := ssh.NewCertSigner(certificate(t, with, key, nil), key)
		noError(t, err)
		principal := ""
		if want == nil {
			principal = "alice"
		}
		wants(t, parse(t, "alice cert-authority "+oldPublic, ""), signed(t, certified, "x", Namespace), principal, want)
	}
	// A certificate that names the authority and was made by another.
	forged := certificate(t, stranger, key, nil)
	forged.SignatureKey = authority.PublicKey()
	certified, err := ssh.NewCertSigner(forged, key)
	noError(t, err)
	wants(t, parse(t, "alice cert-authority "+public, ""), signed(t, certified, "x", Namespace), "", ErrBad)
}

// Security keys sign more than they are given: an application, whether they were touched, a counter.
func TestSecurityKey(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	noError(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	point, err := curve.PublicKey.Bytes()
	noError(t, err)
	for name, kind := range map[string]struct {
		public []byte
		sign   func(data []byte) []byte
	}{
		"ed25519": {ssh.Marshal(struct{ Type, Key, Application string }{ssh.KeyAlgoSKED25519, string(public), "ssh:"}),
			func(data []byte) []byte { return ed25519.Sign(private, data) }},
		"ecdsa": {ssh.Marshal(struct{ Type, Curve, Point, Application string }{ssh.KeyAlgoSKECDSA256, "nistp256", string(point), "ssh:"}),
			func(data []byte) []byte {
				sum := sha256.Sum256(data)
				r, s, err := ecdsa.Sign(rand.Reader, curve, sum[:])
				noError(t, err)
				return ssh.Marshal(struct{ R, S *big.Int }{r, s})
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := ssh.ParsePublicKey(kind.public)
			noError(t, err)
			allowed := "alice " + string(ssh.MarshalAuthorizedKey(key))
			for _, flags := range []byte{0, 1, 5} {
				application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(toSign("x"))
				details := binary.BigEndian.AppendUint32([]byte{flags}, 7)
				blob := kind.sign(append(append(application[:], details...), message[:]...))
				sig := &sshsig.Signature{Version: 1, PublicKey: key, Namespace: Namespace, HashAlgorithm: sshsig.HashSHA512, Signature: &ssh.Signature{Format: key.Type(), Blob: blob, Rest: details}}
				s := judged{name: name, file: filepath.Join(t.TempDir(), "sig"), payload: "x", Signature: Signature{Key: ssh.FingerprintSHA256(key), Blob: sig.Marshal(), Payload: []byte("x")}}
				switch flags {
				case 0: // not touched, which ssh-keygen does not mind
					wants(t, parse(t, allowed, ""), s.Signature, "", ErrBad)
				default:
					wants(t, parse(t, allowed, ""), s.Signature, "alice", nil)
					needKeygen(t)
					noError(t, os.WriteFile(s.file, []byte(armor(s.Blob)), 0o600))
					file := filepath.Join(t.TempDir(), "allowed")
					noError(t, os.WriteFile(file, []byte(allowed), 0o600))
					agreed := map[bool]int{}
					if agree(t, file, allowed, s, "20260101000000Z", agreed); agreed[true] != 1 {
						t.Errorf("they agreed on %v", agreed)
					}
				}
			}
		})
	}
}

// toSign is what an SSHSIG of a text is over.
func toSign(text string) []byte {
	return fmt.Appendf(nil, "SSHSIG%s", ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{Namespace, "", "sha512", sum512(text)}))
}

func sum512(text string) string {
	h := sshsig.HashSHA512.Hash()
	h.Write([]byte(text))
	return string(h.Sum(nil))
}

func TestBadAllowed(t *testing.T) {
	t.Parallel()
	key, public := newKey(t)
	_, certPublic := newKey(t)
	cert := string(ssh.MarshalAuthorizedKey(certificate(t, key, key, nil)))
	two := func(bits uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), bits) }
	dss := ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{"ssh-dss", two(1023), two(159), big.NewInt(2), big.NewInt(4)})
	small := ssh.Marshal(struct {
		Type string
		E, N *big.Int
	}{ssh.KeyAlgoRSA, big.NewInt(65537), two(767)})
	blob := strings.Fields(public)[1]
	for text, want := range map[string]string{
		"alice":                                                                "no key",
		"alice ssh-ed25519":                                                    "no key",
		"alice ssh-ed25519 AAA":                                                "base64",
		"alice ssh-ed25519 AAAA":                                               "cannot be read",
		"alice ssh-rsa " + blob:                                                "of the type ssh-ed25519",
		"alice ssh-ed448 " + blob:                                              "of the type ssh-ed25519",
		public:                                                                 "no key follows",
		"alice no-touch-required " + public:                                    "neither a type of key nor an option",
		"alice since=\"20260101Z\" " + public:                                  "option since: it is not known",
		"alice namespaces=tmnotes " + public:                                   "in quotes",
		"alice namespaces=\"tmnotes " + public:                                 "missing at its end",
		"alice namespaces=\"\" " + public:                                      "empty entry",
		"alice namespaces=\"tmnotes\"" + public:                                "comma or a space",
		"alice namespaces=\"tmnotes\"":                                         "no key",
		"alice namespaces=\"tmnotes\" alice":                                   "no key",
		"alice namespaces=\"tmnotes\",":                                        "no key",
		"alice cert-authority, " + public:                                      "neither a type of key",
		"alice valid-after=\"2026\" " + public:                                 "not a time",
		"alice valid-after=\"20260230Z\" " + public:                            "not a time",
		"alice valid-after=\"19700101Z\" " + public:                            "not a time",
		"alice valid-after=\"20260101+0100\" " + public:                        "not a time",
		"alice valid-after=\"20260101Z\",valid-after=\"20260102Z\" " + public:  "twice",
		"alice valid-after=\"20260102Z\",valid-before=\"20260101Z\" " + public: "later",
		"alice,,bob " + public:                                                 "empty entry",
		"!alice " + public:                                                     "names nobody",
		"\"alice " + public:                                                    "quote is missing",
		"\"alice\"" + public:                                                   "around all",
		"a\"lic\"e " + public:                                                  "around all",
		"ali\x1b[2mce " + public:                                               "cannot be printed",
		"ali\xffce " + public:                                                  "cannot be printed",
		"alice " + cert:                                                        "certificate in the place of a key",
		"alice ssh-dss " + base64.StdEncoding.EncodeToString(dss):              "DSA",
		"alice ssh-rsa " + base64.StdEncoding.EncodeToString(small):            "768 bits",
	} {
		_, err := Parse([]byte("bob "+certPublic+"\n\n"+text+"\n"), nil)
		if err == nil || !strings.HasPrefix(err.Error(), "allowed signers: line 3: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

const (
	fingerprintA = "0123456789ABCDEF0123456789ABCDEF01234567"
	fingerprintB = "FEDCBA9876543210FEDCBA9876543210FEDCBA98"
)

func TestBadLimits(t *testing.T) {
	t.Parallel()
	_, public := newKey(t)
	for text, want := range map[string]string{
		"target = prod":                         "",
		"[signer":                               "",
		"[signer]\ntarget = prod":               "whose limits",
		"[signer]":                              "whose limits",
		"[signer \"\"]\ntarget = prod":          "empty subsection name",
		"[include]\npath = x":                   "[include]: unknown section",
		"[signer \"alice\"]\ntarqet = prod":     "[signer \"alice\"]: tarqet: unknown key",
		"[signer \"alice\"]\npath = prod":       "path: \"prod\" must begin with /",
		"[signer \"alice\"]\noperation":         "operation: a value is missing",
		"[signer \"bob\"]\ntarget = prod":       "nobody like that",
		"[signer \"deploy@ci\"]\ntarget = prod": "nobody like that", // it is second in its line
		"[signer \"b*\"]\ntarget = prod":        "nobody like that",
		"[signer \"bob\"]\nopenpgp = 0123":      "not a whole fingerprint",
		"[signer \"bob\"]\nopenpgp = " + fingerprintA + " until=2026":                                                      "neither a fingerprint nor",
		"[signer \"bob\"]\nopenpgp = " + fingerprintA + " valid-before=soon":                                               "not a time",
		"[signer \"bob\"]\nx509 = " + fingerprintA + fingerprintB[:24]:                                                     "not a whole fingerprint",
		"[signer \"b*\"]\nopenpgp = " + fingerprintA:                                                                       "one signer",
		"[signer \"bob\"]\nopenpgp = " + fingerprintA + "\n[signer \"carol\"]\nopenpgp = " + strings.ToLower(fingerprintA): "bob's already",
	} {
		_, err := Parse([]byte("alice,deploy@ci "+public), []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "signers' limits: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	_, public := newKey(t)
	_, authority := newKey(t)
	p := parse(t, "deploy@ci "+public+"\nalice "+public+"\nbot-* "+public+"\n*.example,!x cert-authority "+authority, `
[signer "deploy@ci"]
	target = prod
	target = staging
	operation = deploy
	path = /prod/
	path = /shared
	openpgp = `+strings.ToLower(fingerprintA)+`
[signer "b?t-*"]
	target = dev
[signer "*"]
	operation = drift
[Signer "nobody.example"]
	target =
[signer "bot-9"]
	path = /
	OpenPGP = FEDC BA98 7654 3210 FEDC  BA98 7654 3210 FEDC BA98 valid-before=20260101Z ; retired
`)
	for _, tc := range []struct {
		principal, op, target, stack string
		want                         string // "" if they may
	}{
		{"deploy@ci", "deploy", "prod", "/prod", ""},
		{"deploy@ci", "deploy", "prod+blue", "/prod/a", ""},
		{"deploy@ci", "deploy", "staging", "/shared", ""},
		{"deploy@ci", "deploy", "production", "/prod", "target"},
		{"deploy@ci", "deploy", "", "/prod", "target"},
		{"deploy@ci", "drift", "prod", "/prod", "operation"},
		{"deploy@ci", "deploy", "prod", "/production", "path"},
		{"deploy@ci", "deploy", "prod", "/", "path"},
		{"deploy@ci", "deploy", "prod", "/prod/../dev", "path"},
		{"deploy@ci", "deploy", "prod", "", ""}, // of a whole run
		{"bot-1", "drift", "dev", "/x", ""},
		{"bot-1", "deploy", "dev", "/x", "operation"},
		{"bot-1", "drift", "prod", "/x", "target"},
		{"bot-*", "drift", "prod", "/x", "target"}, // as Verify names a line's signer
		{"bot-9", "deploy", "prod", "/x", ""},      // its own section alone
		{"alice", "deploy", "prod", "/x", "operation"},
		{"nobody.example", "deploy", "", "/x", ""},
		{"nobody.example", "deploy", "+blue", "/x", ""},
		{"nobody.example", "deploy", "prod", "/x", "target"},
	} {
		ok, why := p.May(tc.principal, tc.op, tc.target, tc.stack)
		if ok != (tc.want == "") || !strings.Contains(why, tc.want) || (why == "") != ok {
			t.Errorf("%v: %v, %q", tc, ok, why)
		}
	}
	if ok, why := parse(t, "", "").May("alice", "deploy", "prod", "/x"); !ok || why != "" {
		t.Errorf("no limits: %v, %q", ok, why)
	}
	if who := p.certified["openpgp:"+fingerprintB]; who.principal != "bot-9" || who.check(day(t, "20260102000000Z")) == nil || who.check(day(t, "20251231000000Z")) != nil {
		t.Errorf("%+v", who)
	}
}

func TestDigest(t *testing.T) {
	_, public := newKey(t)
	one := parse(t, "alice "+public+"\n", "")
	if again := parse(t, "alice "+public+"\n", ""); one.Digest() != again.Digest() || one.Digest() == "" {
		t.Errorf("%q and %q of one file", one.Digest(), again.Digest())
	}
	seen := map[string]bool{}
	comment := "# x\n"
	for _, texts := range [][2]string{{"", ""}, {comment, ""}, {"", comment}, {comment, comment}, {comment + comment, ""}, {"alice " + public + "\n", ""}} {
		seen[parse(t, texts[0], texts[1]).Digest()] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d digests of 6 pairs", len(seen))
	}
	// A time without a zone is another elsewhere, and what was verified has to be verified anew.
	zone := time.Local
	defer func() { time.Local = zone }()
	for stamp, want := range map[string]int{"20260101": 2, "20260101Z": 1} {
		digests := map[string]bool{}
		for _, hours := range []int{0, 9} {
			time.Local = time.FixedZone("", hours*3600)
			digests[parse(t, "alice valid-after=\""+stamp+"\" "+public, "").Digest()] = true
		}
		if len(digests) != want {
			t.Errorf("%s: %d digests in two zones, not %d", stamp, len(digests), want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, pattern string
		want          bool
	}{
		{"", "", true}, {"a", "", false}, {"", "*", true}, {"abc", "a*c", true}, {"abc", "a?c", true}, {"ac", "a?c", false},
		{"abcbc", "a*bc", true}, {"abcb", "a*bc", false}, {"abc", "abc*", true}, {"abc", "***", true}, {"*", "?", true},
		{strings.Repeat("a", 5000), strings.Repeat("*a", 2000) + "b", false},
	} {
		if match(tc.name, tc.pattern) != tc.want {
			t.Errorf("%.20q and %.20q", tc.name, tc.pattern)
		}
	}
}

func TestSignSSH(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	noError(t, err)
	_, public := signerOf(t, private)
	file := func(name string, mode os.FileMode, text []byte) string {
		path := filepath.Join(dir, name)
		noError(t, os.WriteFile(path, text, mode))
		noError(t, os.Chmod(path, mode))
		return path
	}
	plain, err := ssh.MarshalPrivateKey(private, "")
	noError(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	noError(t, err)
	blob, fingerprint, err := SignSSH(file("key", 0o600, pem.EncodeToMemory(plain)), []byte("x"))
	noError(t, err)
	wants(t, parse(t, "alice "+public, ""), Signature{Key: fingerprint, Blob: blob, Payload: []byte("x"), At: time.Now()}, "alice", nil)
	if same, err := KeyOf(blob); err != nil || same != fingerprint {
		t.Errorf("%q, %v; want %q", same, err, fingerprint)
	}
	if _, err := KeyOf([]byte("x")); !errors.Is(err, ErrBad) {
		t.Errorf("the key of no signature: %v", err)
	}
	for _, path := range []string{
		file("locked", 0o600, pem.EncodeToMemory(locked)), file("key.pub", 0o600, []byte(public+"\n")), file("open", 0o644, pem.EncodeToMemory(plain)),
	} {
		if _, _, err := SignSSH(path, nil); !errors.Is(err, ErrNeedsProgram) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := SignSSH(filepath.Join(dir, "none"), nil); err == nil || errors.Is(err, ErrNeedsProgram) {
		t.Errorf("no such file: %v", err)
	}
	again, err := Dearmor(strings.ReplaceAll(armor(blob), "\n", "\r\n"))
	if err != nil || string(again) != string(blob) {
		t.Errorf("armor: %v", err)
	}
	for _, text := range []string{"", "x", armor(blob)[:100], "x" + armor(blob), armor(blob) + "x", strings.Replace(armor(blob), "U1NI", "U1N*", 1)} {
		if _, err := Dearmor(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// fuzzKey is the same in all processes of a search.
func fuzzKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	return signerOf(t, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}

// FuzzParse: no text makes it panic, and one text is one policy.
func FuzzParse(f *testing.F) {
	_, public := fuzzKey(f)
	f.Add("alice,!bob namespaces=\"tm*\",valid-after=\"20260101Z\",cert-authority "+public+" x\n# y\n", "[signer \"alice\"]\n\ttarget = prod\n")
	f.Add("\"a b\" "+public, "[signer \"bob\"]\nopenpgp = "+fingerprintA+" valid-before=20260101 ; x")
	f.Add("a a=\"\\\"\",", "[a]b=\"\\")
	f.Fuzz(func(t *testing.T, allowed, limits string) {
		p, err := Parse([]byte(allowed), []byte(limits))
		again, againErr := Parse([]byte(allowed), []byte(limits))
		if (err == nil) != (againErr == nil) || (p == nil) == (err == nil) {
			t.Fatalf("%v, then %v", err, againErr)
		}
		if err == nil && p.Digest() != again.Digest() {
			t.Fatal("two digests")
		}
		if err == nil {
			p.May("alice", "deploy", "prod", "/x")
		}
	})
}

// FuzzVerify: nothing but the signature itself is accepted.
func FuzzVerify(f *testing.F) {
	key, public := fuzzKey(f)
	p := parse(f, "alice "+public+"\n* cert-authority "+public, "")
	s := signed(f, key, "x", Namespace)
	certified, err := ssh.NewCertSigner(certificate(f, key, key, nil), key)
	noError(f, err)
	f.Add(s.Blob)
	f.Add(signed(f, certified, "x", Namespace).Blob)
	f.Fuzz(func(t *testing.T, blob []byte) {
		changed := s
		changed.Blob = blob
		who, err := p.Verify(context.Background(), changed)
		if known := string(blob) == string(s.Blob) || who == "root"; (err == nil) != known {
			t.Fatalf("%q, %v", who, err)
		}
	})
}

// BenchmarkVerify is of a different signature each time, by several goroutines.
func BenchmarkVerify(b *testing.B) {
	key, public := newKey(b)
	p := parse(b, "alice "+public, "")
	signatures := make([]Signature, 1000)
	for i := range signatures {
		signatures[i] = signed(b, key, fmt.Sprintf("the line %d, which is as long as a line of a push that closes it is", i), Namespace)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := p.Verify(context.Background(), signatures[i%len(signatures)]); err != nil {
				b.Error(err)
			}
		}
	})
}

// Files that were written on Windows say the same.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	by, key := newKey(t)
	allowed, limits := "# who\nalice@example.com "+key+" laptop\n\nbob@example.com "+key+"\n", "[signer \"alice@example.com\"]\n\tpath = /prod\n\n\toperation = deploy\n\ttarget = \"eu\"\n"
	for _, end := range []string{"\n", "\r\n"} {
		p, err := Parse([]byte(strings.ReplaceAll(allowed, "\n", end)), []byte(strings.ReplaceAll(limits, "\n", end)))
		noError(t, err)
		who, err := p.Verify(t.Context(), signed(t, by, "text", Namespace))
		if err != nil || who != "alice@example.com" {
			t.Errorf("%q: %q, %v", end, who, err)
		}
		if ok, why := p.May(who, "deploy", "eu", "/prod/db"); !ok {
			t.Errorf("%q: %s", end, why)
		}
		if ok, _ := p.May(who, "deploy", "eu", "/test"); ok {
			t.Errorf("%q: nothing is limited", end)
		}
	}
}
