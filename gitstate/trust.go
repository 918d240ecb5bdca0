package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/internal/signers"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Who can push the notes can write any line. Where signatures are required, a line counts
// only if a signed one vouches for it (FORMAT.md, "Signed records"), made with a key that the
// project's file of signers allows. What none vouches for never has a stack skipped: whatever it
// says of a stack, who signs has to run it again. It may be a forged success, but as well a true one whose
// signature somebody took away, so that what was there before it seems to be the latest.

// ErrSigners is wrapped by errors of a file of signers that is missing or cannot be read.
var ErrSigners = errors.New("who may sign is not known")

// Demand is what makes records count only where they are signed.
type Demand struct {
	// Signers is the file of who may sign: a path in the remote's default branch, REF:PATH with a full
	// name of a ref, or the absolute path of a file outside of the repository.
	Signers      string
	Repositories []string // names that signed records may have for this repository
	Remote       string   // where that default branch is; "" for none
}

// Demand has what is read from now on count only where it is signed.
func (s *Store) Demand(d Demand) { s.demand, s.required = &d, true }

// Accept names who may sign for [Store.Verify]; all that is read counts as it did.
func (s *Store) Accept(d Demand) { s.demand = &d }

// Accepts reports whether it is set who may sign.
func (s *Store) Accepts() bool { return s.demand != nil }

// Demands reports whether records count only where they are signed.
func (s *Store) Demands() bool { return s.required }

// demandsOf has the default branch that was fetched last say who may sign.
func (s *Store) demandsOf(remote string) {
	s.trustMu.Lock()
	defer s.trustMu.Unlock()
	s.demand.Remote = remote
}

// trust is who may sign, as it was read at one moment, and what was found by that.
type trust struct {
	s       *Store
	policy  *signers.Policy
	digest  string // of all that a verdict depends on
	known   verified
	passing atomic.Bool // a verdict that another process, or this one a moment later, would not come to
}

// trusted reads who may sign; nil where nothing has to be signed.
func (s *Store) trusted(ctx context.Context) (*trust, error) {
	if !s.required {
		return nil, nil
	}
	return s.accepted(ctx)
}

// accepted reads who may sign.
func (s *Store) accepted(ctx context.Context) (*trust, error) {
	if s.demand == nil {
		return nil, fmt.Errorf("%w: no file of signers is set", ErrSigners)
	}
	allowed, limits, err := s.signersFile()
	if err != nil {
		return nil, err
	}
	policy, err := signers.Parse(allowed, limits)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSigners, s.demand.Signers, err)
	}
	digest := note.Digest(policy.Digest() + "\n" + strings.Join(s.demand.Repositories, "\n"))
	s.trustMu.Lock()
	defer s.trustMu.Unlock()
	if s.trust == nil || s.trust.digest != digest {
		s.trust = &trust{s: s, policy: policy, digest: digest}
		s.trust.known.open(filepath.Join(s.private, "verified-"+s.refName()), digest)
		policy.Programs, policy.Dir = s.signingPrograms(ctx), s.signingDir()
	}
	return s.trust, nil
}

// fetchedHead is where the remote's default branch stands as it was fetched with the notes.
func fetchedHead(remote string) string { return remotesPrefix + remote + "/HEAD" }

// inDefaultBranch reports whether the file of signers is that of the remote's default branch.
func (d *Demand) inDefaultBranch() bool {
	return d != nil && d.Signers != "" && !filepath.IsAbs(d.Signers) && !strings.HasPrefix(d.Signers, "~") && !strings.Contains(d.Signers, ":")
}

// signersFile reads who may sign, and what each of them may record, which may be said nowhere.
func (s *Store) signersFile() (allowed, limits []byte, err error) {
	of := s.demand.Signers
	fail := func(err error) ([]byte, []byte, error) { return nil, nil, fmt.Errorf("%w: %w", ErrSigners, err) }
	if of == "" {
		return fail(errors.New("signatures are required, and no file of signers is set; set tmnotes.allowedSigners to its path in the default branch"))
	}
	if rest, is := strings.CutPrefix(of, "~/"); is {
		// As git has it on Windows, where HOME need not be set.
		home := cmp.Or(s.repo.Getenv("HOME"), s.repo.Getenv("HOMEDRIVE")+s.repo.Getenv("HOMEPATH"), s.repo.Getenv("USERPROFILE"))
		if home == "" {
			return fail(fmt.Errorf("%s: HOME is not set", of))
		}
		of = filepath.Join(home, rest)
	}
	if filepath.IsAbs(of) {
		if below, err := filepath.Rel(s.repo.WorkTree, of); s.repo.WorkTree != "" && err == nil && filepath.IsLocal(below) {
			return fail(fmt.Errorf("%s is in the work tree, where the commit under deployment can change it; name its path in the default branch: %s", of, filepath.ToSlash(below)))
		}
		if allowed, err = os.ReadFile(of); err != nil {
			return fail(err)
		}
		if limits, err = os.ReadFile(of + limitsSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err)
		}
		return allowed, limits, nil
	}
	ref, path, named := strings.Cut(of, ":")
	if !named {
		ref, path = fetchedHead(s.demand.Remote), of
	} else if !strings.HasPrefix(ref, "refs/") {
		return fail(fmt.Errorf("tmnotes.allowedSigners: %q is not the full name of a ref; write it like refs/remotes/origin/main:%s", ref, path))
	}
	commit, err := s.repo.Resolve(ref) // by its full name alone: a tag may be named like it
	if err == nil && commit.IsZero() && !named {
		ref = "refs/remotes/" + s.demand.Remote + "/HEAD"
		commit, err = s.repo.Resolve(ref)
	}
	switch {
	case err != nil:
		return fail(err)
	case commit.IsZero() && !named && s.demand.Remote == "":
		return fail(fmt.Errorf("%s is to be read from a remote's default branch, and this repository has no remote; name a ref: refs/heads/main:%s", path, path))
	case commit.IsZero() && !named:
		return fail(fmt.Errorf("the default branch of %s was not fetched, or there is none; `tmnotes fetch` brings it", s.demand.Remote))
	case commit.IsZero():
		return fail(fmt.Errorf("%s is not in this clone", ref))
	}
	if _, _, allowed, err = s.repo.Lookup(commit.String() + ":" + path); err != nil {
		return fail(fmt.Errorf("%s at %s: %w", path, ref, err))
	}
	if _, _, limits, err = s.repo.Lookup(commit.String() + ":" + path + limitsSuffix); err != nil && !errors.Is(err, git.ErrMissing) {
		return fail(fmt.Errorf("%s%s at %s: %w", path, limitsSuffix, ref, err))
	}
	return allowed, limits, nil
}

// limitsSuffix is the end of the name of the file that says what signers may record.
const limitsSuffix = ".limits"

// signedLine is one, and whose it is.
type signedLine struct {
	Line
	Principal string // whose, as the file of signers names them
	Key       string
	Missing   int   // of the lines that it covers, those that are neither there nor removed by a record that counts
	Bad       error // why it counts for nothing
	vouched   note.Vouched
}

// judged is a note as it counts where signatures are required.
type judged struct {
	counted []string // the lines that count
	doubts  []Stored // results that are not signed; or were, and are gone; see unsigned
	// How many records do not count, by who made them.
	uncounted  map[string]int
	signatures []signedLine
	covered    map[note.LineID]string // whose signature is over a line
	runs       map[string]bool        // of which something counts
}

// reading is a note that is being judged.
type reading struct {
	judged
	t       *trust
	commit  string
	lines   []string
	records []note.Record // of lines, the zero value for what is none
	ids     []note.LineID // of lines
	counts  []bool        // of lines
	present map[note.LineID]bool
	removed map[note.LineID][]*note.Other // by tombstones that count: of which slots
	by      map[string]string             // by run: who, as a head says
	workers map[string][]string           // by run: whose signatures are over its results
	is      copied
}

// judge says which lines of a commit's note count. It may be called from several goroutines.
func (t *trust) judge(commit string, lines []string) *reading {
	j := &reading{t: t, commit: commit, lines: lines, records: make([]note.Record, len(lines)), ids: make([]note.LineID, len(lines)), counts: make([]bool, len(lines)),
		present: make(map[note.LineID]bool, len(lines)), removed: map[note.LineID][]*note.Other{}, by: map[string]string{}, workers: map[string][]string{}}
	j.uncounted, j.covered, j.runs = map[string]int{}, map[note.LineID]string{}, map[string]bool{}
	for i, line := range lines {
		j.ids[i] = note.IDOf(line)
		j.present[j.ids[i]] = true
		if r := &j.records[i]; r.Parse(line) != nil {
			*r = note.Record{}
		} else if r.Event == note.Signed {
			j.sign(line, r)
		} else if r.Event == note.Started && r.By != "" {
			j.by[r.Run] = r.By
		}
	}
	j.count(func(r *note.Record) bool { return r.Stack != "" })
	j.count(func(r *note.Record) bool { return r.Stack == "" })
	j.is = historyOf(commit, lines)
	for i, line := range lines {
		if r := &j.records[i]; j.keeps(i) {
			j.counted = append(j.counted, line)
		} else if !r.Foreign(commit) {
			j.doubt(line, r, j.is.history(line))
		}
	}
	j.missing()
	return j
}

// count finds out which lines are signed by somebody who may record them, or were written by this process,
// which has not pushed them yet.
func (j *reading) count(of func(r *note.Record) bool) {
	for i := range j.lines {
		r := &j.records[i]
		if r.Run == "" || !of(r) {
			continue
		}
		principal, signed := j.covered[j.ids[i]]
		own := !signed && j.t.s.isOwn(j.ids[i])
		if own {
			j.t.passing.Store(true)
		}
		if !own && !(signed && j.may(principal, r)) {
			continue
		}
		j.counts[i], j.runs[r.Run] = true, true
		if id, is := r.Removed(); is {
			o, _ := r.Other()
			j.removed[id] = append(j.removed[id], &o)
		}
		if r.Stack != "" && signed {
			j.workers[r.Run] = addNew(j.workers[r.Run], principal)
		}
	}
}

// may reports whether a principal may record something. Of a run as a whole nobody who is limited
// speaks for others, who did its work.
func (j *reading) may(principal string, r *note.Record) bool {
	if r.Stack != "" {
		ok, _ := j.t.policy.May(principal, r.Op, r.Target, r.Stack)
		return ok
	}
	const nothing = "\x00"
	if ok, _ := j.t.policy.May(principal, nothing, nothing, nothing); ok {
		return true // no limits
	}
	for op := range strings.SplitSeq(r.Op, ",") {
		if ok, _ := j.t.policy.May(principal, op, r.Target, ""); !ok && r.Event == note.Started {
			return false
		}
	}
	return !slices.ContainsFunc(j.workers[r.Run], func(other string) bool { return other != principal })
}

// sign takes in a signed line.
func (j *reading) sign(line string, r *note.Record) {
	sg := signedLine{Line: Line{Commit: j.commit, Text: line, Record: *r}}
	v, err := r.Vouched()
	sg.vouched, sg.Key = v, v.Key
	switch {
	case err != nil:
		sg.Bad = err
	case r.MadeOn() != j.commit:
		sg.Bad, sg.Copied = fmt.Errorf("it is of another commit, %s", note.Short(r.MadeOn())), true
	case !slices.Contains(j.t.s.demand.Repositories, v.Repository):
		sg.Bad = fmt.Errorf("it is of another repository, %q", v.Repository)
	default:
		sg.Principal, sg.Bad = j.t.whose(line, r, v.Key)
	}
	if sg.Bad == nil {
		for _, id := range v.Lines {
			j.covered[id] = sg.Principal
		}
	}
	j.signatures = append(j.signatures, sg)
}

// whose says who made the signature of a line.
func (t *trust) whose(line string, r *note.Record, key string) (string, error) {
	if principal, is := t.known.get(line); is {
		return principal, nil
	}
	payload, blob, err := note.SplitSigned(line)
	if err != nil {
		return "", err
	}
	principal, err := t.policy.Verify(context.Background(), signers.Signature{Key: key, Blob: blob, Payload: []byte(payload), At: r.At})
	switch {
	case err == nil:
		t.known.put(line, principal)
	case !errors.Is(err, signers.ErrBad) && !errors.Is(err, signers.ErrUnknown) && !errors.Is(err, signers.ErrNotThen):
		t.passing.Store(true) // it could not be looked at
	}
	return principal, err
}

// keeps reports whether a line is read as it is. What is open is never signed, since it goes when
// the stack has ended: it has no stack taken for deployed. A head or an end of a run of which
// other lines are signed must be, too: it could make them another commit's.
func (j *reading) keeps(i int) bool {
	switch r := &j.records[i]; {
	case r.Run == "" || r.Event == note.Signed || r.Status.Open() || j.counts[i]:
		return true
	case r.Event == note.Started || r.Event == note.Finished:
		return !j.runs[r.Run]
	}
	return false
}

// isHold reports whether an operation is a person's lock of stacks, or its end.
func isHold(op string) bool { return strings.HasPrefix(op, "hold") }

// effective is what a note says where signatures are required, which is all of it elsewhere.
func (t *trust) effective(commit string, lines []string) []string {
	if t == nil {
		return lines
	}
	return t.judge(commit, lines).counted
}

// name is what the index of a trust is kept under.
func (t *trust) name() string {
	if t == nil {
		return ""
	}
	return t.digest
}

// isPassing reports whether there was a verdict that others would not come to.
func (t *trust) isPassing() bool {
	return t != nil && t.passing.Load()
}

// judgeChanges has changes be those of what counts. It reports false where what does not count is not what it was.
func (x *index) judgeChanges(changes []notestree.Change) bool {
	if x.by == nil {
		return true
	}
	for i := range changes {
		c := &changes[i]
		was, is := x.by.judge(c.Commit, c.Old), x.by.judge(c.Commit, c.New)
		if !slices.EqualFunc(was.doubts, is.doubts, func(a, b Stored) bool { return a.line == b.line }) {
			return false
		}
		delete(x.uncounted, c.Commit)
		x.uncounts(c.Commit, is.uncounted)
		c.Old, c.New = was.counted, is.counted
	}
	return true
}

// historyOf is what is history in a note. What is signed says itself on which commit it was made: of it,
// nothing is.
func (t *trust) historyOf(commit string, lines []string) copied {
	c := historyOf(commit, lines)
	c.openOnly = t != nil
	return c
}

// Counted is Notes without what does not count.
func (s *Store) Counted(ctx context.Context, fn func(commit string, lines []Line) error) error {
	by, err := s.trusted(ctx)
	if err != nil {
		return err
	}
	return s.notes(func(t noteReader, over map[string][]string) error {
		return s.eachOver(t, over, func(commit string, lines []string) error {
			return fn(commit, madeHere(commit, by.effective(commit, lines)))
		})
	})
}

// Uncounted says how many records do not count for want of a valid signature, and who made them.
func (st *State) Uncounted() (n int, by []string) {
	of := map[string]int{}
	for _, commit := range st.x.uncounted {
		for who, k := range commit {
			of[who] += k
			n += k
		}
	}
	by = slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(of[b]-of[a], strings.Compare(a, b)) })
	return n, by
}

// judgeAll judges notes while they are read, side by side, since a signature takes longer than all
// else, and hands on what of makes of each, one at a time and in any order.
func judgeAll[T any](t *trust, all func(fn func(commit string, lines []string) error) error, of func(*reading) T, take func(T)) error {
	type unread struct {
		commit string
		lines  []string
	}
	todo := make(chan unread, 64)
	var taking sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := range todo {
				made := of(t.judge(n.commit, n.lines))
				taking.Lock()
				take(made)
				taking.Unlock()
			}
		})
	}
	err := all(func(commit string, lines []string) error {
		todo <- unread{commit, slices.Clone(lines)}
		return nil
	})
	close(todo)
	workers.Wait()
	return err
}

// save keeps what was verified.
func (t *trust) save() {
	if t != nil && t.s.readOnly == nil {
		t.known.save()
	}
}
