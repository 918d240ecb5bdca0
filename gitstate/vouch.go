package gitstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/internal/signers"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A writer signs what it recorded before it is pushed, with a line of its own for each run and
// commit (FORMAT.md, "Signed records"), and at the end of a run that pushes nothing. What a killed
// process had recorded and not signed yet stays unsigned: nobody else can vouch for it.

// SignRecords has what is recorded from now on be signed, as of a repository of that name.
func (s *Store) SignRecords(repository string) {
	s.signing.on, s.signing.repository = true, repository
}

// SignsRecords reports whether records are signed.
func (s *Store) SignsRecords() bool { return s.signing.on }

// signing is what a store has to know to sign records.
type signing struct {
	on         bool
	repository string
	mu         sync.Mutex
	key        string // as signed lines name it; "" before the first signature
	writers    []*Writer
	own        sync.Map // by note.LineID: what this process recorded, and has not signed yet
	warned     bool
}

// vouching is what a writer has not signed yet.
type vouching struct {
	run     string // that the writer is of
	leg     int
	signMu  sync.Mutex // held by who signs
	toVouch map[vouchKey][]string
	closed  bool // what was recorded is complete
}

// vouchKey is what a signed line is of.
type vouchKey struct {
	commit, run string
	local       bool
}

func (s *Store) signs(w *Writer, run string) {
	if s.signing.on {
		w.run = run
		s.signing.mu.Lock()
		s.signing.writers = append(s.signing.writers, w)
		s.signing.mu.Unlock()
	}
}

func (s *Store) isOwn(line note.LineID) bool {
	_, is := s.signing.own.Load(line)
	return is
}

// toSign takes down what was recorded.
func (w *Writer) toSign(entries []journal.Entry, records []*note.Record, local bool) {
	if w.run == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range entries {
		r := records[i]
		if r.Leg() > 0 {
			w.leg = r.Leg()
		}
		if r.Status.Open() || r.Event == note.Signed {
			continue
		}
		k := vouchKey{e.Commit.String(), r.Run, local}
		if r.Event == note.Forgotten {
			k.run = w.run // the record's is that of the line that it removes
		}
		if w.toVouch == nil {
			w.toVouch = map[vouchKey][]string{}
		}
		w.toVouch[k] = append(w.toVouch[k], e.Line)
		w.store.signing.own.Store(note.IDOf(e.Line), true)
		// The end of a run, or something that was recorded by hand.
		w.closed = w.closed || r.Event == note.Finished || r.Event == note.Forgotten || r.Event == Unlocked || r.Status != "" && r.CommitTime != 0
	}
}

// Sign signs what was recorded and is not signed yet, where records are signed.
func (w *Writer) Sign(ctx context.Context) error {
	if w.run == "" {
		return nil
	}
	w.signMu.Lock()
	defer w.signMu.Unlock()
	w.mu.Lock()
	todo, leg := w.toVouch, w.leg
	w.toVouch, w.closed = nil, false
	w.mu.Unlock()
	var failed error
	for k, lines := range todo {
		err := failed
		if err == nil {
			err = w.vouch(ctx, k, leg, lines)
		}
		if err == nil {
			continue
		}
		failed = err
		w.mu.Lock()
		if w.toVouch == nil {
			w.toVouch = map[vouchKey][]string{}
		}
		w.toVouch[k] = append(lines, w.toVouch[k]...)
		w.mu.Unlock()
	}
	return failed
}

// vouch writes the line that vouches for others.
func (w *Writer) vouch(ctx context.Context, k vouchKey, leg int, lines []string) error {
	s := w.store
	by := note.Record{Run: k.run, At: s.now().UTC().Truncate(time.Millisecond)}
	w.mu.Lock()
	if !by.At.After(w.lastResult) {
		by.At = w.lastResult.Add(time.Millisecond) // later than what it is about
	}
	w.mu.Unlock()
	by.SetLeg(leg)
	line, err := s.vouchFor(ctx, by, k.commit, lines)
	if err != nil {
		return err
	}
	entries := []journal.Entry{{Commit: plumbing.NewHash(k.commit), Line: line}}
	if k.local {
		err = w.appendLocal(entries, true)
	} else {
		err = w.file.Append(entries, true)
	}
	if err == nil {
		for _, line := range lines {
			s.signing.own.Delete(note.IDOf(line))
		}
	}
	return err
}

// vouchFor makes the line that vouches for lines of a commit.
func (s *Store) vouchFor(ctx context.Context, by note.Record, commit string, lines []string) (string, error) {
	key, err := s.recordKey(ctx)
	if err != nil {
		return "", err
	}
	r := note.Vouch(by, s.signing.repository, key, lines)
	r.SetMadeOn(commit)
	payload, err := r.Payload()
	if err != nil {
		return "", &note.RecordError{Commit: commit, Err: err}
	}
	signature, with, err := s.signPayload(ctx, []byte(payload))
	if err != nil {
		return "", err
	}
	if with != key {
		return "", fmt.Errorf("%w: the key is %s, and was %s a moment ago", ErrSign, with, key)
	}
	r.Sign(signature)
	return r.Line()
}

// recordKey is the key that records are signed with, as its program names it. What cannot sign
// says so here.
func (s *Store) recordKey(ctx context.Context) (string, error) {
	s.signing.mu.Lock()
	key := s.signing.key
	s.signing.mu.Unlock()
	if key != "" {
		return key, nil
	}
	_, key, err := s.signPayload(ctx, []byte("a trial\n"))
	if err == nil {
		s.signing.mu.Lock()
		s.signing.key = key
		s.signing.mu.Unlock()
	}
	return key, err
}

// SignsAs says with which key records are signed and, if it is set who may sign, as whom. A key that
// may not is ErrSign.
func (s *Store) SignsAs(ctx context.Context) (key, principal string, err error) {
	const trial = "a trial\n"
	signature, key, err := s.signPayload(ctx, []byte(trial))
	if err != nil || !s.Accepts() {
		return key, "", err
	}
	by, err := s.accepted(ctx)
	if err != nil {
		return key, "", err
	}
	principal, err = by.policy.Verify(ctx, signers.Signature{Key: key, Blob: signature, Payload: []byte(trial), At: s.now()})
	if err != nil {
		return key, "", fmt.Errorf("%w what counts: %s: %w", ErrSign, s.demand.Signers, err)
	}
	return key, principal, nil
}

// signPayload makes a signature of a record, in the way in which git would sign a commit, but for
// the namespace, and says with which key.
func (s *Store) signPayload(ctx context.Context, payload []byte) (signature []byte, key string, err error) {
	who := s.signature(ctx)
	sg, err := s.signerFor(ctx, who)
	if err != nil {
		return nil, "", err
	}
	if _, literal := literalKey(sg.key); sg.program == usualPrograms[formatSSH] && sg.format == formatSSH && !literal {
		if signature, key, err := signers.SignSSH(sg.key, payload); err == nil {
			return signature, key, nil
		} // else ssh-keygen signs, or says why not
	}
	text, err := sg.sign(ctx, payload, signers.Namespace)
	if err != nil {
		return nil, "", err
	}
	if sg.format != formatSSH {
		return []byte(text), sg.format + ":" + sg.made, nil
	}
	if signature, err = signers.Dearmor(text); err == nil {
		key, err = signers.KeyOf(signature)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrSign, sg.program, err)
	}
	return signature, key, nil
}

// signAll signs what this process has recorded; with closed, only where that is complete.
func (s *Store) signAll(ctx context.Context, closed bool) (err error) {
	s.signing.mu.Lock()
	writers := s.signing.writers
	s.signing.mu.Unlock()
	for _, w := range writers {
		w.mu.Lock()
		due := len(w.toVouch) > 0 && (w.closed || !closed)
		w.mu.Unlock()
		if due {
			err = errors.Join(err, w.Sign(ctx))
		}
	}
	return err
}

// signForPush signs before a push. Where that cannot be, what is recorded is pushed all the same, but
// nothing new may begin.
func (s *Store) signForPush(ctx context.Context, announce bool) error {
	err := s.signAll(ctx, false)
	if err == nil || announce {
		return err
	}
	s.signing.mu.Lock()
	said := s.signing.warned
	s.signing.warned = true
	s.signing.mu.Unlock()
	if !said {
		s.warn(fmt.Sprintf("%s; records of this run count for nothing where signatures are required", strings.TrimSuffix(err.Error(), "\n")))
	}
	return nil
}

// signingPrograms are what verifies signatures of other formats than SSH's, as git is configured.
func (s *Store) signingPrograms(ctx context.Context) map[string]string {
	programs := map[string]string{}
	for _, format := range []string{formatOpenPGP, formatX509} {
		if program, err := s.signingProgram(ctx, format); err == nil {
			programs[format] = program
		}
	}
	return programs
}
