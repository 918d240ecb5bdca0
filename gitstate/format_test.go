package gitstate

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/signers"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// blockOf is where the lines are that are set in below a line that ends with a name and a colon.
func blockOf(t *testing.T, text, name string) (begin, end int) {
	t.Helper()
	at := regexp.MustCompile("`" + regexp.QuoteMeta(name) + "`:\n\n((?:    .*\n)+)").FindStringSubmatchIndex(text)
	if at == nil {
		t.Fatalf("FORMAT.md has no %s", name)
	}
	return at[2], at[3]
}

func indented(text string) string {
	return strings.ReplaceAll("    "+strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}

// vectors make the note of FORMAT.md, and the file of who may sign, with a key that is always the same.
func vectors(t *testing.T, commit, repository string) (allowed, text string) {
	t.Helper()
	seed := sha256.Sum256([]byte("tmnotes: a key for tests alone"))
	key := ed25519.NewKeyFromSeed(seed[:])
	block, err := ssh.MarshalPrivateKey(key, "for tests alone")
	noError(t, err)
	file := filepath.Join(t.TempDir(), "key")
	noError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	public, err := ssh.NewPublicKey(key.Public())
	noError(t, err)
	// The bytes of a private key have chance in them, those of its signatures have not.
	allowed = `deploy@ci namespaces="tmnotes",valid-after="20261101Z" ` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " for tests alone\n"

	const run = "01KAR9Z8QG7Z7VJ2J3C4D5E6F7"
	var lines []string
	add := func(at time.Duration, r note.Record) note.Record {
		r.Run, r.At = run, gittest.T0.Add(at)
		return r
	}
	line := func(r note.Record) {
		text, err := r.Line()
		noError(t, err)
		lines = append(lines, text)
	}
	head := add(0, note.Record{Event: note.Started, Op: note.Deploy, Target: "prod", Stacks: 3, CommitTime: gittest.T0.Unix() - 60, By: "Deploy <deploy@ci.example.com>", Cmd: "terraform apply", Version: 1})
	head.SetMadeOn(commit)
	line(head)
	result := note.Record{Op: note.Deploy, Target: "prod", Stack: "/prod/vpc", ID: "vpc", Status: note.OK, Exit: gittest.Ptr(0), Took: 4 * time.Second, Variant: "2:1b2d52ba"}
	line(add(5*time.Second, result))
	result.Stack, result.ID, result.Status, result.Exit, result.Reason = "/prod/db: main", "", note.Failed, gittest.Ptr(1), "exit status 1"
	line(add(6*time.Second, result))
	line(add(7*time.Second, note.Record{Event: note.Finished, OK: 1, Failed: 1}))
	_, fingerprint, err := signers.SignSSH(file, nil)
	noError(t, err)
	vouch := func(at time.Duration, of []string) {
		by := note.Vouch(add(at, note.Record{}), repository, fingerprint, of)
		by.SetMadeOn(commit)
		payload, err := by.Payload()
		noError(t, err)
		signature, _, err := signers.SignSSH(file, []byte(payload))
		noError(t, err)
		by.Sign(signature)
		line(by)
	}
	vouch(time.Second, lines[:1])
	vouch(8*time.Second, lines[1:4])
	line(add(4*time.Second, note.Record{Op: note.Deploy, Target: "prod", Stack: "/prod/app", Status: note.Running}))
	return allowed, strings.Join(note.NormalLines(lines), "\n") + "\n"
}

// The script of FORMAT.md verifies the note of FORMAT.md with nothing but OpenSSH, and finds whatever is
// changed in it. Both are what the program makes; -update writes them.
func TestSignedNoteInFormat(t *testing.T) {
	t.Parallel()
	const commit, repository = "1b4f0e9851971998e732078544c96b36c3d01ced", "git.example.com/acme/infra"
	data, err := os.ReadFile("FORMAT.md")
	noError(t, err)
	text := string(data)
	allowed, signed := vectors(t, commit, repository)
	for name, want := range map[string]string{"allowed_signers": allowed, "note": signed} {
		begin, end := blockOf(t, text, name)
		if *gittest.Update {
			text = text[:begin] + indented(want) + text[end:]
		} else if text[begin:end] != indented(want) {
			t.Errorf("%s of FORMAT.md is not what the program makes; -update writes it:\n%s", name, want)
		}
	}
	if *gittest.Update {
		noError(t, os.WriteFile("FORMAT.md", []byte(text), 0o644))
	}
	if !strings.Contains(text, "`"+commit+"`") || !strings.Contains(text, "`"+repository+"`") {
		t.Error("FORMAT.md does not name the commit and the repository")
	}
	for _, program := range []string{"sh", "ssh-keygen", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		noError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	begin, end := blockOf(t, text, "verify.sh")
	script, known := file("verify.sh", strings.ReplaceAll("\n"+text[begin:end], "\n    ", "\n")[1:]), file("allowed", allowed)
	verify := func(text, commit, repository, known string) (string, error) {
		cmd := exec.Command("sh", script, commit, repository, known)
		cmd.Stdin = strings.NewReader(text)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	if out, err := verify(signed, commit, repository, known); err != nil || strings.Count(out, `Good "tmnotes" signature for deploy@ci`) != 2 {
		t.Errorf("the note as it is: %v\n%s", err, out)
	}
	lineWith := func(what string) string {
		for line := range strings.Lines(signed) {
			if strings.Contains(line, what) {
				return line
			}
		}
		t.Fatalf("no line has %s", what)
		return ""
	}
	without := func(what string) string { return strings.Replace(signed, lineWith(what), "", 1) }
	for _, forged := range []struct{ name, text, says string }{
		{"a failure that is a success", strings.Replace(signed, "status=failed", "status=ok", 1), "signed, and gone: 1"},
		{"a success is gone", without("status=ok"), "signed, and gone: 1"},
		{"a success is added", signed + strings.Replace(lineWith("status=ok"), "/prod/vpc", "/prod/app", 1), "not signed: at="},
		{"a tombstone is added", signed + "at=2026-11-23T15:11:13.520Z event=forgotten was=2026-11-23T15:10:18.520Z digest=" + note.Digest(strings.TrimSuffix(lineWith("status=ok"), "\n")) + "\n", "not signed: at="},
		{"a signed line is gone", without("others="), "not signed: at="},
		{"nothing is signed", without("others=")[:strings.Index(signed, "at=2026-11-23T15:10:14")], "nothing is signed"},
		{"others is gone", regexp.MustCompile(` others=("[^"]*"|\S+)`).ReplaceAllString(signed, ""), "bad: "},
		{"a name is added", strings.Replace(signed, "covers=", "covers="+strings.Repeat("A", 27), 1), "bad: "},
		{"no note", "", "an empty note"},
	} {
		if out, err := verify(forged.text, commit, repository, known); err == nil || !strings.Contains(out, forged.says) {
			t.Errorf("%s: %v\n%s", forged.name, err, out)
		}
	}
	for name, of := range map[string][3]string{
		"another commit":     {strings.Repeat("1", 40), repository, known},
		"another repository": {commit, "git.example.com/eve/infra", known},
		"not valid yet":      {commit, repository, file("later", strings.Replace(allowed, "20261101Z", "20261201Z", 1))},
		"another namespace":  {commit, repository, file("git", strings.Replace(allowed, `"tmnotes"`, `"git"`, 1))},
		"nobody":             {commit, repository, file("nobody", "")},
	} {
		if out, err := verify(signed, of[0], of[1], of[2]); err == nil || !strings.Contains(out, "bad: ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
