//go:build ignore

package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The rows about signed records.

func (b *bench) signed() {
	b.signedRun()
	for _, each := range []int{1, 2} { // a run that pushes nothing signs once, one that does twice
		b.verify(each)
	}
	again := fmt.Sprintf("status --require-signed, %d signed runs / status", b.n(10000))
	if b.want(again) {
		dir, signers := b.signedHistory(b.n(10000), 2)
		require := []string{"--require-signed", "--allowed-signers", signers}
		// Each has an index of its own, as two clones would.
		other := filepath.Join(b.dir, "unsigned")
		b.must(b.dir, "cp", "-r", dir, other)
		b.must(dir, append([]string{*tmnotes, "status"}, require...)...)
		b.must(other, *tmnotes, "status")
		r := b.measure(4**pairs+1, nil, func(argv []string) time.Duration {
			if slices.Contains(argv, "--require-signed") {
				return b.must(dir, argv...)
			}
			return b.must(other, argv...)
		}, append([]string{*tmnotes, "status"}, require...), []string{*tmnotes, "status"})
		b.row(again, r.ratio, 1.1, "x", r.String())
	}
}

// verify looks at the signatures of many runs, with so many each.
func (b *bench) verify(each int) {
	name := fmt.Sprintf("verify, %d runs signed %s, the first time", b.n(10000), []string{"once", "twice"}[each-1])
	if !b.want(name) {
		return
	}
	dir, signers := b.signedHistory(b.n(10000), each)
	var took []time.Duration
	for range *pairs + 1 {
		for _, file := range glob(filepath.Join(dir, ".git", "tmnotes", "verified-*")) {
			os.Remove(file)
		}
		took = append(took, b.must(dir, *tmnotes, "verify", "--allowed-signers", signers, "--json"))
	}
	b.row(name, median(took[1:]).Seconds(), 1, "s", fmt.Sprint(took[1:]))
}

// signedRun is what signing costs a run that pushes.
func (b *bench) signedRun() {
	const name = "a run of 20 stacks that is signed, over one that is not"
	if !b.want(name) {
		return
	}
	dir := b.project("signedrun", 20)
	remote := filepath.Join(b.dir, "signedrun.git")
	b.git(b.dir, "init", "-q", "--bare", "-b", "main", remote)
	b.git(dir, "remote", "add", "origin", remote)
	signers, key := b.key(func(string) {})
	b.git(dir, "push", "-q", "origin", "main")
	b.git(dir, "config", "gpg.format", "ssh")
	b.git(dir, "config", "user.signingKey", key)
	run := []string{*tmnotes, "run", "-X", "-j2", "--quiet", "--op", "deploy"}
	r := b.measure(4**pairs+1, nil, func(argv []string) time.Duration {
		b.git(dir, "commit", "-q", "--allow-empty", "-m", "next")
		return b.must(dir, argv...)
	}, append(slices.Clone(run), "--require-signed", "--allowed-signers", signers, "--", "true"), append(slices.Clone(run), "--", "true"))
	b.row(name, (r.a-r.b).Seconds()*1000, 30, "ms", r.String())
}

// key makes a key to sign with, and the file that allows it.
func (b *bench) key(use func(file string)) (signers, file string) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "bench")
	if err != nil {
		fatal(err)
	}
	file, signers = filepath.Join(b.dir, "key"), filepath.Join(b.dir, "allowed_signers")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		fatal(err)
	}
	write(signers, "bench@ci "+string(ssh.MarshalAuthorizedKey(public)))
	use(file)
	return signers, file
}

// signedHistory makes a repository with a run of ten stacks on each of its commits: each signs when it
// ends, and if that is to be twice when it begins.
func (b *bench) signedHistory(runs, each int) (dir, signers string) {
	dir = b.project(fmt.Sprintf("signed%d", len(glob(filepath.Join(b.dir, "signed*")))), 10)
	var signer ssh.Signer
	signers, _ = b.key(func(file string) {
		text, err := os.ReadFile(file)
		if err == nil {
			signer, err = ssh.ParsePrivateKey(text)
		}
		if err != nil {
			fatal(err)
		}
	})
	who := "B <b@example.com>"
	b.fastImport(dir, func(w *bufio.Writer) {
		fmt.Fprintf(w, "reset refs/heads/main\nfrom refs/heads/main^0\n")
		for i := 1; i <= runs; i++ {
			fmt.Fprintf(w, "commit refs/heads/main\nmark :%d\ncommitter %s %d +0000\ndata 1\nc\nM 100644 inline f\ndata %d\n%d\n", i, who, 1700000000+i*60, len(fmt.Sprint(i)), i)
		}
	})
	commits := strings.Fields(b.git(dir, "rev-list", "--reverse", fmt.Sprintf("--max-count=%d", runs), "main"))
	b.git(dir, "reset", "-q", "--hard", "main")
	b.fastImport(dir, func(w *bufio.Writer) {
		fmt.Fprintf(w, "commit refs/notes/tmnotes\ncommitter %s 1800000000 +0000\ndata 1\nn\n", who)
		prev := ""
		for i, commit := range commits {
			run := fmt.Sprintf("01KA%022d", i)
			text := signedNote(signer, each, commit, run, prev, time.Unix(1700000000, 0).UTC().Add(time.Duration(i)*time.Minute))
			fmt.Fprintf(w, "N inline %s\ndata %d\n%s\n", commit, len(text), text)
			prev = run
		}
	})
	return dir, signers
}

// signedNote is the note of a signed run.
func signedNote(signer ssh.Signer, each int, commit, run, prev string, at time.Time) string {
	line := func(r note.Record) string {
		line, err := r.Line()
		if err != nil {
			fatal(err)
		}
		return line
	}
	head := note.Record{At: at, Event: note.Started, Op: "deploy", Run: run, Stacks: 10, CommitTime: at.Unix(), By: "Alice <alice@example.com>", Cmd: "terraform apply -auto-approve", Version: 1}
	head.SayCommit(commit)
	lines, results := []string{}, []string{line(head)}
	if each > 1 {
		lines, results = append(results, sign(signer, commit, run, at.Add(time.Second), results)), nil
	}
	for s := range 10 {
		exit := 0
		r := note.Record{At: at.Add(2 * time.Second), Status: note.OK, Op: "deploy", Stack: "/g0/s" + fmt.Sprint(s), ID: uuid(s), Exit: &exit, Took: 12 * time.Second,
			Variant: "2:5d020000", Inputs: "2:" + uuid(s)[:8], Run: run}
		if prev != "" {
			r.Prev = []string{prev}
		}
		results = append(results, line(r))
	}
	results = append(results, line(note.Record{At: at.Add(3 * time.Second), Event: note.Finished, Run: run, OK: 10}))
	lines = append(append(lines, results...), sign(signer, commit, run, at.Add(4*time.Second), results))
	return note.Normal(strings.Join(lines, "\n"))
}

// sign makes the line that vouches for others.
func sign(signer ssh.Signer, commit, run string, at time.Time, lines []string) string {
	r := note.Vouch(note.Record{At: at, Run: run}, "", ssh.FingerprintSHA256(signer.PublicKey()), lines)
	r.SetMadeOn(commit)
	payload, err := r.Payload()
	if err != nil {
		fatal(err)
	}
	signature, err := sshsig.Sign(bytes.NewReader([]byte(payload)), signer, sshsig.HashSHA512, "tmnotes")
	if err != nil {
		fatal(err)
	}
	r.Sign(signature.Marshal())
	line, err := r.Line()
	if err != nil {
		fatal(err)
	}
	return line
}
