package signers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gnupg is a folder with keys of its own; run is a program in it, wrapped the file of one
// that knows the folder, as a user's would.
func gnupg(t testing.TB, program string) (home, wrapped string, run func(stdin string, args ...string) (stdout string)) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not installed")
	}
	home, err := os.MkdirTemp("", "g") // the agent's socket needs a short path
	noError(t, err)
	env := append(os.Environ(), "GNUPGHOME="+home)
	run = func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
		var out, complaint strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %q: %v: %s", program, args, err, complaint.String())
		}
		return out.String()
	}
	wrapped = filepath.Join(home, "wrapped")
	noError(t, os.WriteFile(wrapped, []byte("#!/bin/sh\nGNUPGHOME='"+home+"' exec "+program+" \"$@\"\n"), 0o700))
	t.Cleanup(func() {
		kill := exec.Command("gpgconf", "--kill", "all")
		kill.Env = env
		_ = kill.Run() // nothing may have been started
		os.RemoveAll(home)
	})
	return home, wrapped, run
}

func fingerprints(colons string) (all []string) {
	for line := range strings.Lines(colons) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			all = append(all, fields[9])
		}
	}
	return all
}

func TestOpenPGP(t *testing.T) {
	t.Parallel()
	_, wrapped, gpg := gnupg(t, "gpg")
	quick := func(args ...string) { gpg("", append([]string{"--batch", "--quiet", "--passphrase", ""}, args...)...) }
	quick("--quick-generate-key", "Alice <alice@example.com>", "ed25519", "cert", "never")
	primary := fingerprints(gpg("", "--batch", "--with-colons", "-K", "alice@example.com"))[0]
	quick("--quick-add-key", primary, "ed25519", "sign", "never")
	sub := fingerprints(gpg("", "--batch", "--with-colons", "-K", "alice@example.com"))[1]
	quick("--quick-generate-key", "Bob <bob@example.com>", "ed25519", "sign", "never")
	bob := fingerprints(gpg("", "--batch", "--with-colons", "-K", "bob@example.com"))[0]
	// Carol's key was good for a day, years ago.
	quick("--faked-system-time", "20200101T000000!", "--quick-generate-key", "Carol <carol@example.com>", "ed25519", "sign", "1d")
	carol := fingerprints(gpg("", "--batch", "--with-colons", "-K", "carol@example.com"))[0]
	payload := "a line\n"
	signs := func(key, payload string, args ...string) Signature {
		blob := gpg(payload, append(append([]string{"--batch"}, args...), "-bsau", key)...)
		return Signature{Key: "openpgp:" + key, Blob: []byte(blob), Payload: []byte("a line\n"), At: day(t, "20260601000000Z")}
	}
	policy := func(limits string) *Policy {
		p := parse(t, "", limits)
		p.Programs = map[string]string{"openpgp": wrapped}
		return p
	}
	alice := signs(sub, payload)
	p := policy("[signer \"alice\"]\nopenpgp = " + primary + "\n[signer \"carol\"]\nopenpgp = " + carol)
	wants(t, p, alice, "alice", nil)
	wants(t, policy("[signer \"alice\"]\nopenpgp = "+strings.ToLower(sub)), alice, "alice", nil)
	byPrimary := alice
	byPrimary.Key = "openpgp:" + primary
	wants(t, p, byPrimary, "alice", nil)
	wants(t, policy("[signer \"alice\"]\nopenpgp = "+primary+" valid-before=20260601Z"), alice, "alice", nil)
	wants(t, policy("[signer \"alice\"]\nopenpgp = "+primary+" valid-before=20260531Z"), alice, "", ErrNotThen)
	wants(t, p, signs(bob, payload), "", ErrUnknown)
	wants(t, policy(""), alice, "", ErrUnknown)
	wants(t, p, signs(sub, "a lime\n"), "", ErrBad)
	other := alice
	other.Key = "openpgp:" + carol
	wants(t, p, other, "", ErrBad)
	both := alice
	both.Blob = []byte(gpg(payload, "--batch", "-bsa", "-u", sub, "-u", bob))
	wants(t, p, both, "", ErrBad)
	whole := alice // it holds a text of its own, with which it fits
	whole.Blob = []byte(gpg("a lime\n", "--batch", "-sau", sub))
	wants(t, p, whole, "", ErrBad)
	whole.Blob = []byte(gpg("a lime\n", "--batch", "--clearsign", "-u", sub))
	wants(t, p, whole, "", ErrBad)
	whole.Blob = []byte("no signature")
	wants(t, p, whole, "", ErrBad)

	late := signs(carol, payload, "--faked-system-time", "20200101T120000!")
	wants(t, p, late, "", ErrNotThen)
	late.At = day(t, "20200101120000Z")
	wants(t, p, late, "carol", nil)
	missing := signs(sub, payload)
	// The key of a stranger, whose signature anybody can attach, is no reason to stop.
	foreign := signs(bob, payload)
	gpg("", "--batch", "--yes", "--delete-secret-and-public-key", bob)
	wants(t, p, foreign, "", ErrUnknown)
	foreign.Key = "openpgp:" + primary
	wants(t, p, foreign, "", ErrUnknown)
	bySub := policy("[signer \"alice\"]\nopenpgp = " + sub)
	gpg("", "--batch", "--yes", "--delete-secret-and-public-key", primary)
	if who, err := bySub.Verify(context.Background(), missing); err == nil || errors.Is(err, ErrUnknown) || who != "" || !strings.Contains(err.Error(), "has no public key "+sub[24:]+" here; import it") {
		t.Errorf("without the public key: %q, %v", who, err)
	}
	wants(t, p, missing, "", ErrUnknown) // of its primary key nothing is known here
	p.Programs["openpgp"] = filepath.Join(t.TempDir(), "none")
	if who, err := p.Verify(context.Background(), missing); err == nil || who != "" || !strings.Contains(err.Error(), "openpgp signatures cannot be verified") {
		t.Errorf("without the program: %q, %v", who, err)
	}
}

func TestX509(t *testing.T) {
	t.Parallel()
	home, wrapped, gpgsm := gnupg(t, "gpgsm")
	for name, text := range map[string]string{
		"gpgsm.conf":     "disable-crl-checks\ndisable-dirmngr\n",
		"gpg-agent.conf": "allow-loopback-pinentry\n",
		"request":        "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSerial: random\nName-DN: CN=Alice\nName-Email: alice@example.com\nHash-Algo: SHA256\n",
	} {
		noError(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o600))
	}
	certificate := filepath.Join(home, "certificate")
	gpgsm("\n", "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--gen-key", "--output", certificate, filepath.Join(home, "request"))
	gpgsm("", "--batch", "--import", certificate)
	key := fingerprints(gpgsm("", "--batch", "-k", "--with-colons"))[0]
	noError(t, os.WriteFile(filepath.Join(home, "trustlist.txt"), []byte(key+" S relax\n"), 0o600))
	blob := gpgsm("a line\n", "--batch", "-bsau", key)
	p := parse(t, "", "[signer \"alice\"]\nx509 = "+key)
	p.Programs = map[string]string{"x509": wrapped}
	s := Signature{Key: "x509:" + key, Blob: []byte(blob), Payload: []byte("a line\n"), At: time.Now()}
	wants(t, p, s, "alice", nil)
	s.Payload = []byte("a lime\n")
	wants(t, p, s, "", ErrBad)
}

// What programs print, of which git's documentation and GnuPG's DETAILS tell.
func TestStatus(t *testing.T) {
	t.Parallel()
	const prefix = "[GNUPG:] "
	valid := "VALIDSIG " + fingerprintA + " 2026-06-01 1780272000 0 4 0 22 10 00 " + fingerprintB + "\n"
	for name, tc := range map[string]struct {
		status    string
		principal string
		want      error
	}{
		"good":              {prefix + "NEWSIG\n" + prefix + "GOODSIG 0 Alice\n" + prefix + valid, "alice", nil},
		"good, no trust":    {prefix + "GOODSIG 0 Alice\n" + prefix + valid + prefix + "TRUST_NEVER\n", "alice", nil},
		"no fingerprint":    {prefix + "GOODSIG 0 Alice\n", "", ErrBad},
		"no verdict":        {prefix + valid, "", ErrBad},
		"two signatures":    {prefix + "GOODSIG 0 Alice\n" + prefix + valid + prefix + "GOODSIG 0 Bob\n" + prefix + valid, "", ErrBad},
		"two fingerprints":  {prefix + "GOODSIG 0 Alice\n" + prefix + valid + prefix + valid, "", ErrBad},
		"a name like a key": {prefix + "GOODSIG 0 [GNUPG:] " + valid, "", ErrBad},
		"an error":          {prefix + "ERRSIG 0 22 10 00 1780272000 4\n", "", ErrBad},
		"revoked":           {prefix + "REVKEYSIG 0 Alice\n" + prefix + valid, "", ErrNotThen},
		"old signature":     {prefix + "EXPSIG 0 Alice\n" + prefix + valid, "", ErrNotThen},
		"old key":           {prefix + "KEYEXPIRED 1780272000\n" + prefix + "EXPKEYSIG 0 Alice\n" + prefix + valid, "", ErrNotThen},
		"old key since":     {prefix + "KEYEXPIRED 1780272001\n" + prefix + "EXPKEYSIG 0 Alice\n" + prefix + valid, "alice", nil},
		"old subkeys":       {prefix + "KEYEXPIRED 1780272000\n" + prefix + "KEYEXPIRED 1790000000\n" + prefix + "EXPKEYSIG 0 Alice\n" + prefix + valid, "", ErrNotThen},
		"old key, no time":  {prefix + "EXPKEYSIG 0 Alice\n" + prefix + valid, "", ErrNotThen},
		"nothing":           {"", "", ErrBad},
	} {
		program := filepath.Join(t.TempDir(), "program")
		noError(t, os.WriteFile(program, []byte("#!/bin/sh\ncat >/dev/null\ncat <<'END'\n"+tc.status+"END\n"), 0o700))
		p := parse(t, "", "[signer \"alice\"]\nopenpgp = "+fingerprintB)
		p.Programs = map[string]string{"openpgp": program}
		t.Run(name, func(t *testing.T) {
			wants(t, p, Signature{Key: "openpgp:" + fingerprintA, At: time.Unix(1780272000, 0)}, tc.principal, tc.want)
		})
	}
}
