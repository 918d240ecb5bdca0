package signers

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// sshKeygen is the program that has the say; git needs it for SSH signatures, too.
func sshKeygen(t testing.TB, stdin string, args ...string) (stdout string, ok bool) {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if zone := time.Local.String(); zone == "TST" {
		cmd.Env = append(os.Environ(), "TZ=TST-9") // POSIX counts the other way round
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), err == nil
}

func mustKeygen(t testing.TB, args ...string) {
	t.Helper()
	if out, ok := sshKeygen(t, "", args...); !ok {
		t.Fatalf("ssh-keygen %q: %s", args, out)
	}
}

// judged is a signature that ssh-keygen made, and the file that it is in.
type judged struct {
	name, file, payload string
	often               bool // to be judged at all times
	Signature
}

// sign has ssh-keygen sign; key is the private key's file or a certificate's.
func sign(t testing.TB, key, namespace string, options ...string) judged {
	t.Helper()
	file := filepath.Join(t.TempDir(), "line")
	payload := "at event=signed by " + filepath.Base(key) + "\n"
	noError(t, os.WriteFile(file, []byte(payload), 0o600))
	mustKeygen(t, append(append([]string{"-q", "-Y", "sign", "-n", namespace, "-f", key}, options...), file)...)
	armored, err := os.ReadFile(file + ".sig")
	noError(t, err)
	blob, err := Dearmor(string(armored))
	noError(t, err)
	printed, _ := sshKeygen(t, "", "-l", "-f", key)
	return judged{filepath.Base(key) + " " + namespace, file + ".sig", payload, true, Signature{Key: strings.Fields(printed)[1], Blob: blob, Payload: []byte(payload)}}
}

// The referee: a table of files, keys and times, at which both must say the same.
func TestAsSSHKeygen(t *testing.T) {
	t.Parallel()
	needKeygen(t)
	dir := t.TempDir()
	public := map[string]string{}
	for name, kind := range map[string]string{"ed25519": "ed25519", "ecdsa": "ecdsa", "rsa": "rsa", "ca": "ed25519", "rsa-ca": "rsa"} {
		file := filepath.Join(dir, name)
		args := []string{"-q", "-t", kind, "-N", "", "-C", "", "-f", file}
		if kind == "rsa" {
			args = append(args, "-b", "2048")
		}
		mustKeygen(t, args...)
		text, err := os.ReadFile(file + ".pub")
		noError(t, err)
		public[name] = strings.TrimSpace(string(text))
		fingerprint, err := fingerprintOf(public[name])
		if printed, _ := sshKeygen(t, "", "-l", "-f", file); err != nil || strings.Fields(printed)[1] != fingerprint {
			t.Errorf("%s: %q, %v; ssh-keygen says %s", name, fingerprint, err, printed)
		}
	}
	certify := func(ca, name string, args ...string) string {
		as := filepath.Join(t.TempDir(), "with-cert")
		for _, end := range []string{"", ".pub"} {
			text, err := os.ReadFile(filepath.Join(dir, name) + end)
			noError(t, err)
			noError(t, os.WriteFile(as+end, text, 0o600))
		}
		mustKeygen(t, append(append([]string{"-q", "-s", filepath.Join(dir, ca), "-I", "id"}, args...), as+".pub")...)
		return as + "-cert.pub"
	}
	signatures := []judged{
		sign(t, filepath.Join(dir, "ed25519"), Namespace),
		sign(t, filepath.Join(dir, "ed25519"), "git"),
		sign(t, filepath.Join(dir, "ed25519"), Namespace, "-O", "hashalg=sha256"),
		sign(t, filepath.Join(dir, "ecdsa"), Namespace),
		sign(t, filepath.Join(dir, "rsa"), Namespace),
		sign(t, certify("ca", "ed25519", "-n", "alice,bob", "-V", "20260101:20260701"), Namespace),
		sign(t, certify("rsa-ca", "rsa", "-n", "deploy@ci", "-V", "always:forever"), Namespace),
		sign(t, certify("ca", "ecdsa", "-n", "deploy@ci", "-O", "force-command=true"), Namespace),
		sign(t, certify("ca", "ecdsa"), Namespace),
		sign(t, certify("ca", "ecdsa", "-h", "-n", "alice"), Namespace),
	}
	for _, i := range []int{1, 2, 7, 8, 9} {
		signatures[i].often = false
	}
	payload := []byte("signed in this process\n")
	blob, key, err := SignSSH(filepath.Join(dir, "ecdsa"), payload)
	noError(t, err)
	file := filepath.Join(dir, "own.sig")
	noError(t, os.WriteFile(file, []byte(armor(blob)), 0o600))
	signatures = append(signatures, judged{"own", file, string(payload), false, Signature{Key: key, Blob: blob, Payload: payload}})
	files := []string{
		"",
		"# nobody\n",
		"alice ED\nbob EC\ncarol RSA\n",
		"\talice\t ED  a comment\r\n\n  bob,alice EC\n",
		"\"alice,bob\" ED\n*@ci,!root@ci EC\n?eploy@ci RSA\n",
		"alice namespaces=\"git\" ED\nbob namespaces=\"git,tmnotes\" EC\ncarol NAMESPACES=\"tm*\" RSA\n",
		"alice namespaces=\"*,!tmnotes\" ED\nbob namespaces=\"!git,*\" EC\n",
		"alice valid-after=\"20260301Z\" ED\nbob valid-before=\"20260301Z\" EC\ncarol valid-after=\"202602010000Z\",valid-before=\"20260301000001Z\" RSA\n",
		"alice valid-before=\"20260201Z\" ED\nbob valid-after=\"20260201Z\" ED\n",
		"alice namespaces=\"git\" ED\nbob ED\n",
		"alice cert-authority CA\ndeploy@ci cert-authority RCA\n",
		"*,!alice cert-authority,namespaces=\"tmnotes\" CA\n",
		"alice CA\nbob cert-authority ED\n",
		"deploy@* valid-before=\"20260301Z\",cert-authority CA\n* Cert-Authority RCA\n",
	}
	times := []string{"20260228150000Z", "20260301000000Z", "20260301000001Z", "20260301000002Z", "20251231235959Z", "20260801000000Z"}
	keys := strings.NewReplacer(" ED", " "+public["ed25519"], " EC", " "+public["ecdsa"], "RSA", public["rsa"], " CA", " "+public["ca"], "RCA", public["rsa-ca"])
	agreed := map[bool]int{}
	for i, text := range files {
		allowed := filepath.Join(dir, fmt.Sprint("allowed", i))
		text = keys.Replace(text)
		noError(t, os.WriteFile(allowed, []byte(text), 0o600))
		for _, s := range signatures {
			times := times
			if !strings.Contains(text, "valid") && !strings.Contains(s.name, "cert") || !s.often {
				times = times[:1]
			}
			for _, at := range times {
				agree(t, allowed, text, s, at, agreed)
			}
		}
	}
	if agreed[true] < 50 || agreed[false] < 50 {
		t.Errorf("they agreed on %v: that is no test", agreed)
	}
}

// agree asks both whose a signature is.
func agree(t testing.TB, allowed, text string, s judged, at string, agreed map[bool]int) {
	t.Helper()
	s.At = day(t, at)
	principal, err := parse(t, text, "").Verify(context.Background(), s.Signature)
	// A pattern stands for all whom it matches.
	candidates := []string{"alice", "deploy@ci"}
	if err == nil {
		candidates = []string{strings.NewReplacer("*", "x", "?", "d").Replace(principal)}
	}
	for _, who := range candidates {
		out, ok := sshKeygen(t, s.payload, "-Y", "verify", "-n", Namespace, "-I", who, "-f", allowed, "-s", s.file, "-Overify-time="+at)
		if ok != (err == nil) {
			t.Errorf("%s at %s in\n%sis %q, %v; ssh-keygen says of %s: %s", s.name, at, text, principal, err, who, out)
		}
		agreed[ok]++
	}
	if err != nil || strings.Contains(text, "namespaces") { // it does not ask for what a signature was made
		return
	}
	found, ok := sshKeygen(t, "", "-Y", "find-principals", "-f", allowed, "-s", s.file, "-Overify-time="+at)
	if first, _, _ := strings.Cut(found, "\n"); !ok || first != principal {
		t.Errorf("%s at %s in\n%sis %q; ssh-keygen finds %q", s.name, at, text, principal, found)
	}
}

// Times without a zone are in this machine's, here one that no machine is likely to be in.
func TestZoneAsSSHKeygen(t *testing.T) {
	needKeygen(t)
	zone := time.Local
	time.Local = time.FixedZone("TST", 9*3600)
	defer func() { time.Local = zone }()
	dir := t.TempDir()
	key, allowed := filepath.Join(dir, "key"), filepath.Join(dir, "allowed")
	mustKeygen(t, "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	noError(t, err)
	s, agreed := sign(t, key, Namespace), map[bool]int{}
	for _, option := range []string{`valid-after="20260301"`, `valid-before="202603010000"`, `valid-after="20260301000000"`, `valid-before="20260301Z"`, `valid-after="20260301utc"`} {
		text := "alice " + option + " " + string(public)
		noError(t, os.WriteFile(allowed, []byte(text), 0o600))
		for _, at := range []string{"20260228145959Z", "20260228150000Z", "20260228150001Z", "20260301000000Z", "20260301000001Z"} {
			agree(t, allowed, text, s, at, agreed)
		}
	}
	if agreed[true] < 10 || agreed[false] < 10 {
		t.Errorf("they agreed on %v: that is no test", agreed)
	}
}

func needKeygen(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
}

// fingerprintOf is "SHA256:…" of a line as in a .pub file, as ssh-keygen -l prints it: that of a
// certificate is its key's.
func fingerprintOf(publicKey string) (string, error) {
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(publicKey))
	if err != nil {
		return "", fmt.Errorf("%q is not a public key: %w", publicKey, err)
	}
	if cert, is := public.(*ssh.Certificate); is {
		public = cert.Key
	}
	return ssh.FingerprintSHA256(public), nil
}

// armor is an SSHSIG as ssh-keygen reads it.
func armor(blob []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: sshsig.PEMType, Bytes: blob}))
}
