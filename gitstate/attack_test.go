package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/signers"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A siege is a remote that somebody who may push edits the notes of, after honest runs have signed
// what they recorded there.
type siege struct {
	*gittest.Repo // of the honest; the notes stand in its Remote
	t             *testing.T
	one, two      string // commits: two comes after one
	keys          map[string]string
	store         process // of the honest
	forgotten     string  // a line that alice removed
}

// signerKeys are files of keys: alice's, that is allowed, and others, with what their lines in the file of
// signers say. Mallory has none.
var signerKeys = map[string]string{"alice": "", "carol": "", "early": `valid-after="20990101Z" `, "late": `valid-before="20200101Z" `,
	"git": `namespaces="git" `, "mallory": "none"}

const signersLimits = "[signer \"carol\"]\n\ttarget = staging\n"

func newSiege(t *testing.T) *siege {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	s := &siege{Repo: gittest.New(t), t: t, keys: map[string]string{}}
	dir, allowed := t.TempDir(), ""
	for name, options := range signerKeys {
		key := filepath.Join(dir, name)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.keys[name] = key
		if options != "none" {
			allowed += name + " " + options + s.public(name)
		}
	}
	s.one = s.Commit("one", map[string]string{"signers": allowed, "signers.limits": signersLimits})
	s.two = s.Commit("two", map[string]string{"code": "2"})
	s.Git("push", "-q", "origin", "main")
	s.store = s.as("alice", s.Repo, "R")
	return s
}

func (s *siege) public(name string) string {
	text, err := os.ReadFile(s.keys[name] + ".pub")
	noError(s.t, err)
	return string(text)
}

// as opens a clone as of somebody who signs; key may be "".
func (s *siege) as(key string, repo *gittest.Repo, run string) process {
	s.t.Helper()
	if key != "" {
		repo.Git("config", "gpg.format", "ssh")
		repo.Git("config", "user.signingKey", s.keys[key])
	}
	p := open(s.t, repo.Dir)
	if key != "" {
		p.SignRecords("repo")
	}
	p.Demand(Demand{Signers: "signers", Repositories: []string{"repo"}, Remote: "origin"})
	p.Writer = p.Store.Writer(run)
	return p
}

// run records what an honest run did on a commit, and signs it.
func (s *siege) run(run, commit string, records ...note.Record) {
	s.t.Helper()
	w := s.store.Store.Writer(run)
	head := &note.Record{At: records[0].At.Add(-time.Second), Event: note.Started, Run: run, Op: records[0].Op, Target: records[0].Target, By: "Alice <alice@example.com>", Stacks: 1}
	noError(s.t, w.Append(commit, head))
	for _, r := range records {
		r.Run = run
		noError(s.t, w.Append(commit, &r))
	}
	noError(s.t, w.Append(commit, &note.Record{Event: note.Finished, Run: run}))
	noError(s.t, w.Sign(context.Background()))
}

func at(sec int, status note.Status, op, stack string, prev ...string) note.Record {
	return rec(sec, status, op, stack, "", prev...)
}

func (s *siege) history() {
	ctx, d := context.Background(), note.Deploy
	withID := func(r note.Record, id string) note.Record { r.ID = id; return r }
	staging := func(r note.Record) note.Record { r.Target = "staging"; return r }
	var first []note.Record
	for _, p := range []string{"/failed", "/destroyed", "/triggered", "/drifted", "/later", "/good", "/forgotten", "/again"} {
		first = append(first, at(10, note.OK, d, p))
	}
	s.run("R1", s.one, append(first, withID(at(10, note.OK, d, "/named"), "n-1"))...)
	s.run("R2", s.one, at(20, note.Failed, d, "/failed", "R1"), withID(at(20, note.Failed, d, "/named", "R1"), "n-1"))
	s.run("R3", s.one, at(20, note.OK, note.Destroy, "/destroyed", "R1"))
	s.run("R4", s.one, at(20, note.Triggered, d, "/triggered", "R1"))
	s.run("R5", s.two, at(30, note.OK, d, "/later", "R1"))
	s.run("R6", s.one, at(40, note.OK, d, "/beside"))
	s.run("R7", s.one, at(39, note.Failed, d, "/beside")) // neither knew of the other
	s.run("R8", s.one, at(40, note.OK, d, "/staged"), staging(at(40, note.Failed, d, "/staged")))
	s.run("D1", s.one, at(50, note.OK, note.Drift, "/drifted"))
	s.run("D2", s.one, at(60, note.Drifted, note.Drift, "/drifted", "D1"))
	s.run("R9", s.one, at(70, note.Failed, d, "/again", "R1"), at(71, note.OK, d, "/again", "R1"))
	s.forgotten = must[[]Line](s.t)(s.store.Store.Writer("F1").Forget(ctx, s.one, note.Record{By: "Alice <alice@example.com>", Reason: "wrong"}, func(l Line) bool { return l.Record.Stack == "/forgotten" }))[0].Text
	push(s.t, s.store)
}

// needs is what is to be done by what the notes say: after an attack it may be more, and no less.
func (s *siege) needs(p process) (needs []string) {
	s.t.Helper()
	st := must[*State](s.t)(p.State(context.Background()))
	commits := []string{s.one, s.two}
	for _, stack := range []note.Slot{{Path: "/failed"}, {Path: "/destroyed"}, {Path: "/triggered"}, {Path: "/drifted"}, {Path: "/later"}, {Path: "/good"},
		{Path: "/forgotten"}, {Path: "/again"}, {Path: "/beside"}, {Path: "/staged"}, {Path: "/staged", Target: "staging"}, {Path: "/named", ID: "n-1"}, {Path: "/new"}} {
		name := strings.TrimSuffix(stack.Path+" for "+stack.Target, " for ")
		stack.Op = note.Deploy
		l := must[Latest](s.t)(st.Latest(stack))
		for i, commit := range commits {
			late, _, err := st.Superseded(context.Background(), commit, []Latest{l})
			noError(s.t, err)
			if done, _ := l.Done(commit, As{Variant: AnyVariant}); !done {
				needs = append(needs, fmt.Sprintf("deploy %s at %d", name, i+1))
			}
			if !late[0] {
				needs = append(needs, fmt.Sprintf("%s is not superseded at %d", name, i+1))
			}
		}
		if !destroyed(&l.Record) || len(l.Diverged) > 0 {
			needs = append(needs, "destroy "+name)
		}
		stack.Op = note.Drift
		if l := must[Latest](s.t)(st.Latest(stack)); l.Status == note.Drifted {
			needs = append(needs, name+" drifted")
		}
	}
	return needs
}

// edit changes the note of a commit as somebody who may push would.
func (s *siege) edit(commit string, change func(lines []string) []string) {
	s.t.Helper()
	old, _ := s.try("notes", "--ref=tmnotes", "show", commit)
	file := filepath.Join(s.t.TempDir(), "note")
	noError(s.t, os.WriteFile(file, []byte(note.JoinLines(change(note.AppendLines(nil, old)))), 0o666))
	s.InRemote("-c", "user.name=Mallory", "-c", "user.email=mallory@example.com", "notes", "--ref=tmnotes", "add", "-f", "-F", file, commit)
}

func (s *siege) try(args ...string) (string, error) {
	cmd := s.Command(args...)
	cmd.Dir = s.Remote
	out, err := cmd.Output()
	return string(out), err
}

func (s *siege) add(commit string, lines ...string) {
	s.t.Helper()
	s.edit(commit, func(old []string) []string { return append(old, lines...) })
}

// drop removes the lines that have all of some words.
func (s *siege) drop(commit string, words ...string) (gone []string) {
	s.t.Helper()
	s.edit(commit, func(lines []string) []string {
		return slices.DeleteFunc(lines, func(l string) bool {
			is := !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l+" ", w) })
			if is {
				gone = append(gone, l)
			}
			return is
		})
	})
	if len(gone) == 0 {
		s.t.Fatalf("no line has %q", words)
	}
	return gone
}

// line finds the one that has all of some words.
func (s *siege) line(commit string, words ...string) (found string) {
	s.t.Helper()
	out, err := s.try("notes", "--ref=tmnotes", "show", commit)
	noError(s.t, err)
	for _, l := range note.AppendLines(nil, out) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l+" ", w) }) {
			found = l
		}
	}
	if found == "" {
		s.t.Fatalf("no line has %q", words)
	}
	return found
}

func forged(r note.Record, run string) string {
	r.Run = run
	return mustLine(r)
}

// signedBy is the line by which somebody vouches for others, with a change before it is signed.
func (s *siege) signedBy(key, run, repository, commit string, lines ...string) string {
	s.t.Helper()
	p := s.as(key, s.Clone(), run)
	p.SignRecords(repository)
	return must[string](s.t)(p.vouchFor(context.Background(), note.Record{Run: run, At: p.now().UTC().Truncate(time.Millisecond)}, commit, lines))
}

// resign has what a signed line says be signed by somebody for a namespace, with ssh-keygen.
func (s *siege) resign(key, namespace, line string) string {
	s.t.Helper()
	payload, _, err := note.SplitSigned(line)
	noError(s.t, err)
	p := s.as(key, s.Clone(), "X")
	sg := must[*signer](s.t)(p.signerFor(context.Background(), p.signature(context.Background())))
	r := must[note.Record](s.t)(note.ParseRecord(strings.TrimSuffix(payload, "\n")))
	text := must[string](s.t)(sg.sign(context.Background(), []byte(payload), namespace))
	blob := must[[]byte](s.t)(signers.Dearmor(text))
	r.Sign(blob)
	return mustLine(r)
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	d := note.Deploy
	okOfFailed := forged(at(90, note.OK, d, "/failed", "R2"), "X")
	// tombstones removes the line that has some words, as if alice had forgotten it.
	tombstone := func(s *siege, words ...string) string {
		r := note.Tombstone(s.line(s.one, words...), note.Record{By: "Alice <alice@example.com>", At: gittest.T0.Add(time.Hour)})
		return mustLine(r)
	}
	head := func(sec int, run string, keys ...note.Pair) string {
		return mustLine(note.Record{At: gittest.T0.Add(time.Duration(sec) * time.Second), Event: note.Started, Run: run, Op: d, Target: "staging", Extra: keys, CommitTime: 1 << 40})
	}
	signature := func(s *siege, run string) string { return s.line(s.one, "event=signed", "run="+run+" ") }
	attacks := []struct {
		name   string
		attack func(s *siege)
		// What cannot be seen: the attack has less run, and nobody can tell.
		unseen bool
	}{
		{name: "nothing", attack: func(s *siege) {}},
		{name: "a success is forged", attack: func(s *siege) { s.add(s.one, okOfFailed, forged(at(90, note.OK, d, "/new"), "X")) }},
		{name: "with its head and end", attack: func(s *siege) {
			s.add(s.one, head(89, "X", note.Pair{Key: "commit", Value: s.one}), okOfFailed, mustLine(note.Record{At: gittest.T0.Add(time.Hour), Event: note.Finished, Run: "X"}))
		}},
		{name: "a destroy", attack: func(s *siege) { s.add(s.one, forged(at(90, note.OK, note.Destroy, "/good", "R1"), "X")) }},
		{name: "with no signature of what it destroys", attack: func(s *siege) {
			s.drop(s.one, "event=signed")
			s.add(s.one, forged(at(90, note.OK, note.Destroy, "/good", "R1"), "X"))
		}},
		{name: "of an honest run", attack: func(s *siege) { s.add(s.one, forged(at(90, note.OK, d, "/failed", "R1"), "R2")) }},
		{name: "of an honest run on another commit", attack: func(s *siege) { s.add(s.two, forged(at(90, note.OK, d, "/failed", "R1"), "R2")) }},
		{name: "a success that follows the failure, and a failure of old", attack: func(s *siege) {
			s.add(s.one, okOfFailed, forged(at(5, note.Failed, d, "/failed", "R2", "X"), "Y"))
		}},
		{name: "a failure that follows the failure, in the run of the success", attack: func(s *siege) { s.add(s.one, forged(at(5, note.Failed, d, "/failed", "R2"), "R1")) }},
		{name: "a failure that settles a conflict", attack: func(s *siege) { s.add(s.one, forged(at(5, note.Failed, d, "/beside", "R7"), "R6")) }},
		{name: "an open record that settles a conflict", attack: func(s *siege) { s.add(s.one, forged(at(5, note.Queued, note.Destroy, "/beside", "R7"), "R6")) }},
		{name: "on another commit", attack: func(s *siege) { s.add(s.two, forged(at(5, note.Running, d, "/beside", "R7"), "R6")) }},
		{name: "open records of a run of its own", attack: func(s *siege) {
			s.add(s.one, forged(at(90, note.Running, d, "/failed", "R2"), "X"), forged(at(5, note.Queued, d, "/beside", "R7"), "Y"))
		}},
		{name: "a tombstone of the failure", attack: func(s *siege) { s.add(s.one, tombstone(s, "status=failed", "stack=/failed ")) }},
		{name: "and merged", attack: func(s *siege) {
			t := tombstone(s, "status=failed", "stack=/failed ")
			s.edit(s.one, func(lines []string) []string { return note.NormalLines(append(lines, t)) })
		}},
		{name: "a tombstone of a success", attack: func(s *siege) {
			s.add(s.two, mustLine(note.Tombstone(s.line(s.two, "stack=/later "), note.Record{At: gittest.T0})))
		}},
		{name: "of a signature", attack: func(s *siege) { s.add(s.one, tombstone(s, "event=signed", "run=R2 ")) }},
		{name: "of the destroy", attack: func(s *siege) { s.add(s.one, tombstone(s, "op=destroy", "stack=/destroyed ")) }},
		{name: "a head of another commit makes it history", attack: func(s *siege) { s.add(s.one, head(1, "R2", note.Pair{Key: "commit", Value: s.two})) }},
		{name: "of what is not signed any more", attack: func(s *siege) {
			s.drop(s.one, "event=signed", "run=R2 ")
			s.drop(s.one, "event=started", "run=R2 ")
			s.add(s.one, head(1, "R2", note.Pair{Key: "commit", Value: s.two}))
		}},
		{name: "signed by one who may do less", attack: func(s *siege) {
			h := head(1, "R2", note.Pair{Key: "commit", Value: s.two})
			s.add(s.one, h, s.signedBy("carol", "R2", "repo", s.one, h))
		}},
		{name: "a head of a later commit", attack: func(s *siege) { s.add(s.two, head(95, "X"), forged(at(96, note.OK, d, "/failed"), "X")) }},
		{name: "an end", attack: func(s *siege) {
			s.add(s.one, mustLine(note.Record{At: gittest.T0.Add(time.Hour), Event: note.Finished, Run: "R2", OK: 2}))
		}},
		{name: "replay on another commit", attack: func(s *siege) {
			s.add(s.two, s.line(s.one, "stack=/good "), s.line(s.one, "event=started", "run=R1 "), signature(s, "R1"))
		}},
		{name: "for another stack", attack: func(s *siege) {
			s.add(s.one, strings.Replace(s.line(s.one, "status=ok", "stack=/good "), "/good", "/new", 1))
		}},
		{name: "for another target", attack: func(s *siege) {
			r := must[note.Record](s.t)(note.ParseRecord(s.line(s.one, "status=ok", "stack=/staged ")))
			r.Target, r.At = "staging", r.At.Add(time.Hour)
			s.add(s.one, mustLine(r))
		}},
		{name: "from another repository", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("alice", "X", "fork", s.one, okOfFailed)) }},
		{name: "an older success again, beside the failure", attack: func(s *siege) {
			s.add(s.one, s.line(s.one, "status=ok", "stack=/failed "), signature(s, "R1"))
		}},
		{name: "a complete rollback", unseen: true, attack: func(s *siege) { s.drop(s.one, "run=R2 ") }},
		{name: "a failure is gone", attack: func(s *siege) { s.drop(s.one, "status=failed", "stack=/failed ") }},
		{name: "of a stack with an id", attack: func(s *siege) { s.drop(s.one, "status=failed", "stack=/named ") }},
		{name: "that stood beside a success", attack: func(s *siege) { s.drop(s.one, "status=failed", "stack=/beside ") }},
		{name: "a success is gone", attack: func(s *siege) { s.drop(s.two, "status=ok", "stack=/later ") }},
		{name: "the destroy is gone", attack: func(s *siege) { s.drop(s.one, "op=destroy") }},
		{name: "the trigger is gone", attack: func(s *siege) { s.drop(s.one, "status=triggered") }},
		{name: "the drift is gone", attack: func(s *siege) { s.drop(s.one, "status=drifted") }},
		{name: "with a result of old in its place", attack: func(s *siege) {
			s.drop(s.one, "status=drifted")
			s.add(s.one, forged(at(1, note.Drifted, note.Drift, "/drifted"), "X"))
		}},
		{name: "with a later one, and a clean one", attack: func(s *siege) {
			s.add(s.one, forged(at(80, note.Drifted, note.Drift, "/drifted"), "X"), forged(at(81, note.OK, note.Drift, "/drifted", "D2", "X"), "Y"))
		}},
		{name: "what was forgotten comes back", attack: func(s *siege) {
			s.drop(s.one, "event=forgotten")
			s.add(s.one, s.forgotten)
		}},
		{name: "a key that is not allowed", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("mallory", "X", "repo", s.one, okOfFailed)) }},
		{name: "not yet", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("early", "X", "repo", s.one, okOfFailed)) }},
		{name: "no more", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("late", "X", "repo", s.one, okOfFailed)) }},
		{name: "not for records", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("git", "X", "repo", s.one, okOfFailed)) }},
		{name: "that says it is another's", attack: func(s *siege) {
			line := s.signedBy("mallory", "X", "repo", s.one, okOfFailed)
			s.add(s.one, okOfFailed, strings.Replace(line, s.fingerprint("mallory"), s.fingerprint("alice"), 1))
		}},
		{name: "a signature made for git", attack: func(s *siege) {
			s.add(s.one, okOfFailed, s.resign("alice", "git", s.signedBy("alice", "X", "repo", s.one, okOfFailed)))
		}},
		{name: "a limited signer for another target", attack: func(s *siege) { s.add(s.one, okOfFailed, s.signedBy("carol", "X", "repo", s.one, okOfFailed)) }},
		{name: "who follows it", attack: func(s *siege) {
			line := forged(at(90, note.Failed, d, "/beside", "R7"), "R6")
			s.add(s.one, line, s.signedBy("carol", "X", "repo", s.one, line))
		}},
		{name: "who forgets it", attack: func(s *siege) {
			r := must[note.Record](s.t)(note.ParseRecord(tombstone(s, "status=failed", "stack=/failed ")))
			r.Target = "staging"
			line := mustLine(r)
			s.add(s.one, line, s.signedBy("carol", "X", "repo", s.one, line))
		}},
		{name: "the signature of a success is gone", attack: func(s *siege) { s.drop(s.two, "event=signed", "run=R5 ") }},
		{name: "of a failure", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=R2 ") }},
		{name: "of a failure beside a success", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=R7 ") }},
		{name: "of a destroy", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=R3 ") }},
		{name: "of a trigger", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=R4 ") }},
		{name: "of drift", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=D2 ") }},
		{name: "of a tombstone", attack: func(s *siege) { s.drop(s.one, "event=signed", "run=F1 ") }},
		{name: "of everything", attack: func(s *siege) { s.drop(s.one, "event=signed") }},
		{name: "keys after the signature", attack: func(s *siege) { s.replace(s.one, signature(s, "R1"), func(l string) string { return l + " zzz=1" }) }},
		{name: "two signatures", attack: func(s *siege) {
			s.replace(s.one, signature(s, "R1"), func(l string) string { return l + l[strings.LastIndex(l, " sig="):] })
		}},
		{name: "other lines in it", attack: func(s *siege) {
			s.add(s.one, okOfFailed)
			s.replace(s.one, signature(s, "R1"), func(l string) string {
				r := must[note.Record](s.t)(note.ParseRecord(l))
				v := note.Vouch(note.Record{Run: "R1", At: r.At}, "repo", s.fingerprint("alice"), []string{okOfFailed})
				_, blob, _ := note.SplitSigned(l)
				v.SetMadeOn(s.one)
				v.Sign(blob)
				return mustLine(v)
			})
		}},
		{name: "no stacks in it, and the record is gone", unseen: true, attack: func(s *siege) {
			s.drop(s.one, "status=failed", "stack=/failed ")
			s.replace(s.one, signature(s, "R2"), func(l string) string {
				i := strings.Index(l, " others=")
				rest := l[i+1:]
				return l[:i] + rest[strings.Index(rest, " repo="):]
			})
		}},
		{name: "no lines in it", attack: func(s *siege) {
			s.replace(s.one, signature(s, "R2"), func(l string) string {
				i := strings.Index(l, " covers=")
				rest := l[i+1:]
				return l[:i] + rest[strings.Index(rest, " key="):]
			})
		}},
		{name: "lines that vouch for none", attack: func(s *siege) { s.add(s.one, s.signedBy("alice", "R2", "repo", s.one)) }},
		{name: "refs with such names", attack: func(s *siege) {
			evil := s.Clone()
			evil.Git("config", "user.name", "Mallory")
			evil.Git("config", "user.email", "mallory@example.com")
			evil.Commit("evil", map[string]string{"signers": "mallory " + s.public("mallory")})
			for _, ref := range []string{"refs/tags/refs/notes/tmnotes", "refs/tags/HEAD", "refs/heads/HEAD", "refs/tags/refs/remotes/origin/main", "refs/tags/refs/remotes/origin/HEAD",
				"refs/heads/refs/remotes/origin/HEAD", "refs/heads/origin/main", "refs/heads/refs/tmnotes/remotes/origin/HEAD", "refs/tags/origin", "refs/tmnotes/remotes/origin/HEAD"} {
				evil.Git("push", "-q", "origin", "HEAD:"+ref)
			}
			s.add(s.one, okOfFailed, s.signedBy("mallory", "X", "repo", s.one, okOfFailed))
		}},
		{name: "a forged lock of persons", attack: func(s *siege) { s.add(s.one, forged(at(90, note.Held, "hold", "/good"), "X")) }},
	}
	base := newSiege(t)
	base.history()
	first := base.as("", base.Clone(), "V")
	fetch(t, first)
	before := base.needs(first)
	if len(before) == 0 || slices.Contains(before, "deploy /good at 1") {
		t.Fatalf("before any attack: %q", before)
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			s := base.copied(t)
			// A clone that read the notes before, in which what was taken away is still there, and new ones.
			old := s.Clone()
			victim := s.as("", old, "V")
			fetch(t, victim)
			if was := s.needs(victim); !slices.Equal(was, before) {
				t.Fatalf("the honest: %q, not %q", was, before)
			}
			a.attack(s)
			fetch(t, victim)
			s.loses(t, "a clone of old", before, s.needs(victim), false)
			for _, p := range must[[]Problem](t)(victim.Check(context.Background())) {
				if strings.Contains(p.What, "index") {
					t.Error(p)
				}
			}
			// A new clone, in which the branch that is under deployment has other signers.
			branch := s.Clone()
			branch.Git("config", "user.name", "Mallory")
			branch.Git("config", "user.email", "mallory@example.com")
			branch.Commit("mine", map[string]string{"signers": "mallory " + s.public("mallory"), "signers.limits": ""})
			fresh := s.as("", branch, "V")
			fetch(t, fresh)
			s.loses(t, "a new clone", before, s.needs(fresh), a.unseen)
			fresh.Demand(Demand{Signers: "refs/remotes/origin/main:signers", Repositories: []string{"repo"}, Remote: "origin"})
			s.loses(t, "a new clone, by a named ref", before, s.needs(fresh), a.unseen)
		})
	}
}

// Whose key is taken out of the file is believed no more with the next reading, whatever was verified and
// indexed before, and again when it is back.
func TestSignersChange(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	s.history()
	victim := s.as("", s.Clone(), "V")
	is := func(what string, done bool, uncounted int) {
		t.Helper()
		fetch(t, victim)
		for range 2 { // from the notes, and from what was kept of them
			st := must[*State](t)(victim.State(context.Background()))
			l := must[Latest](t)(st.Latest(note.Slot{Path: "/good", Op: note.Deploy}))
			ok, why := l.Done(s.one, As{Variant: AnyVariant})
			if n, by := st.Uncounted(); ok != done || n != uncounted || uncounted > 0 && !slices.Equal(by, []string{"Alice"}) {
				t.Errorf("%s: done %v (%s); %d do not count, of %q", what, ok, why, n, by)
			}
			victim.Close()
			victim = s.as("", &gittest.Repo{Dir: victim.WorkTree()}, "V")
		}
	}
	change := func(text string) {
		s.Commit("signers", map[string]string{"signers": text})
		s.Git("push", "-q", "origin", "main")
	}
	is("at first", true, 0)
	file := filepath.Join(s.Dir, "signers")
	allowed := string(must[[]byte](t)(os.ReadFile(file)))
	change("carol " + s.public("carol"))
	is("without alice", false, 22)
	change(allowed)
	is("with alice", true, 0)
	change("alice " + `valid-before="20200101Z" ` + s.public("alice") + "carol " + s.public("carol"))
	is("too late", false, 22)
	change("alice *** " + s.public("alice"))
	fetch(t, victim)
	if _, err := victim.State(context.Background()); !errors.Is(err, ErrSigners) {
		t.Errorf("with a file that cannot be read: %v", err)
	}
}

// A lock that nobody signed who may is none, and one that was signed is no longer held because
// somebody else puts it there again.
func TestForgedClaims(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	mallory := s.as("mallory", s.Clone(), "M")
	mallory.demand, mallory.required = nil, false
	if held, _ := take(t, claimer(t, mallory, s.one, "M", time.Minute), "/x"); !held[0] {
		t.Fatal("mallory has no lock")
	}
	honest := s.as("alice", s.Clone(), "A")
	first := claimer(t, honest, s.one, "A", time.Minute)
	if held, by := take(t, first, "/x", "/y"); !held[0] || !held[1] {
		t.Fatalf("alice has to wait for %q", by)
	}
	other := s.as("alice", s.Clone(), "B")
	clock, mu := time.Duration(0), sync.Mutex{}
	second := other.Writer.newClaimer("origin", Claim{Commit: s.one, Run: "B", Lease: time.Minute}, func() moment { mu.Lock(); defer mu.Unlock(); return moment{steady: clock} })
	t.Cleanup(func() { second.Close() })
	ref := "refs/notes/tmnotes-locks"
	for i := range 6 {
		if held, _ := take(t, second, "/y"); held[0] {
			if i < 2 {
				t.Errorf("it was not waited for, but taken after %d looks", i+1)
			}
			return
		}
		mu.Lock()
		clock += 40 * time.Second
		mu.Unlock()
		// The same lock once more, as if it had been renewed.
		for line := range strings.Lines(s.InRemote("for-each-ref", "--format=%(refname)", "refs/")) {
			if name := strings.TrimSpace(line); strings.Contains(name, "/notes/tmnotes") && name != "refs/notes/tmnotes" {
				ref = name
				again := s.InRemote("-c", "user.name=M", "-c", "user.email=m@example.com", "commit-tree", "-m", s.InRemote("log", "-1", "--format=%B", ref)+fmt.Sprintf("\nlook %d", i), ref+"^{tree}")
				s.InRemote("update-ref", ref, again)
			}
		}
	}
	t.Error("it is held for good by a lock that is put there again, " + ref)
}

func (s *siege) loses(t *testing.T, who string, before, after []string, unseen bool) {
	t.Helper()
	less := slices.DeleteFunc(slices.Clone(before), func(need string) bool { return slices.Contains(after, need) })
	if len(less) > 0 != unseen {
		t.Errorf("%s: less is run: %q", who, less)
	}
}

func (s *siege) fingerprint(name string) string {
	out, err := exec.Command("ssh-keygen", "-l", "-f", s.keys[name]+".pub").Output()
	noError(s.t, err)
	return strings.Fields(string(out))[1]
}

func (s *siege) replace(commit, line string, by func(string) string) {
	s.t.Helper()
	s.edit(commit, func(lines []string) []string {
		for i, l := range lines {
			if l == line {
				lines[i] = by(l)
			}
		}
		return lines
	})
}

// copied is the same remote once more, to be attacked.
func (s *siege) copied(t *testing.T) *siege {
	c := *s
	c.t = t
	c.Repo = s.CopyRemote(t)
	return &c
}
