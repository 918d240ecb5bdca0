package gitstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// A claim says on the remote who is at work on a stack: a ref of its own for each
// target and stack, made, renewed and removed by pushes that name the value which
// they replace. The remote's compare-and-swap decides; nothing about a claim is
// ever spooled or put off. FORMAT.md has the names and the text.
//
// No two machines' clocks are compared. A claim that an observer has seen
// unchanged for as long as the claim's own lease, by the observer's monotonic clock,
// is nobody's any more; and its holder, who counts from before its last push that
// went through, has given up after two thirds of the lease.

// ErrClaims is wrapped by errors of a remote that does not take claims.
var ErrClaims = errors.New("claims are refused")

// The events of claims: the text of one, and the record of its removal by hand.
const (
	Claimed  = "claimed"
	Unlocked = "unlocked"
)

const (
	claimsSuffix = "-claims" // of the notes ref: the glob that fetches the notes covers it
	// MinLease is the shortest lease that makes sense: a push has to fit into a third of it.
	MinLease = 3 * time.Second
)

// Claim is who claims a stack, for which target.
type Claim struct {
	Stack, ID, Target string
	Commit            string // that is being deployed
	Run, By, Job      string
	Leg               int // of the run, from 1; 0 where it has none
	Lease             time.Duration
	Renewed           int       // how often
	At                time.Time // by the holder's clock: for people

	ref  string
	hash plumbing.Hash
}

// Who names the holder for people.
func (c *Claim) Who() string {
	who := "run " + c.Run
	if c.By != "" {
		who += " of " + c.By
	}
	if c.Job != "" {
		who += " (" + c.Job + ")"
	}
	return who
}

// Unlocked is the record of somebody who removed the claim by hand.
func (c *Claim) Unlocked(by, reason string) *Record {
	return &Record{Event: Unlocked, Op: Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Reason: reason, Run: c.Run, By: by}
}

func (s *Store) claimRef(c *Claim) string {
	key := TextKey{ID: c.ID, Path: c.Stack, Target: c.Target, Op: Deploy}
	return s.ref + claimsSuffix + "/" + key.slots()[0]
}

// line is the record that a claim is. holder tells apart what two processes would
// write alike.
func (c *Claim) line(holder string) (string, error) {
	r := Record{At: c.At.UTC().Truncate(time.Millisecond), Event: Claimed, Op: Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Run: c.Run, By: c.By, Job: c.Job,
		Extra: []Pair{{"commit", c.Commit}, {"holder", holder}, {"lease", c.Lease.String()}, {"renewed", strconv.Itoa(c.Renewed)}}}
	r.SetLeg(c.Leg)
	return r.Line()
}

// parseClaims reads the claims that stand in the message of a commit. Whatever else
// stands there is somebody's tmnotes.message.
func parseClaims(message string) ([]Claim, error) {
	var claims []Claim
	for line := range strings.Lines(message) {
		r, err := ParseRecord(strings.TrimSuffix(line, "\n"))
		if err != nil || r.Event != Claimed || r.Stack == "" {
			continue
		}
		c, err := claimOf(&r)
		if err != nil {
			return nil, err
		}
		claims = append(claims, c)
	}
	if len(claims) == 0 {
		return nil, errors.New("it is no claim")
	}
	return claims, nil
}

func claimOf(r *Record) (c Claim, err error) {
	c = Claim{Stack: r.Stack, ID: r.ID, Target: r.Target, Run: r.Run, By: r.By, Job: r.Job, Leg: r.Leg(), At: r.At}
	for _, p := range r.Extra {
		switch p.Key {
		case "commit":
			c.Commit = p.Value
		case "lease":
			c.Lease, err = time.ParseDuration(p.Value)
		case "renewed":
			c.Renewed, err = strconv.Atoi(p.Value)
		}
		if err != nil {
			return Claim{}, err
		}
	}
	if c.Lease <= 0 || !plumbing.IsHash(c.Commit) {
		return Claim{}, errors.New("it lacks its lease or its commit")
	}
	return c, nil
}

// writeClaims makes the commits of claims. They have the empty tree, so that a
// `git log` that takes their refs for notes finds none in them, and no parents.
// Where they are signed, which may take a person's touch, all are one commit.
func (s *Store) writeClaims(ctx context.Context, claims []*Claim, holder string) ([]plumbing.Hash, error) {
	w := &objectWriter{r: s.repo}
	tree, err := w.put(plumbing.TreeObject, nil)
	if err != nil {
		return nil, err
	}
	together := 1
	if signs, err := s.Signs(); err != nil {
		return nil, err
	} else if signs {
		together = max(1, len(claims))
	}
	hashes := make([]plumbing.Hash, 0, len(claims))
	for group := range slices.Chunk(claims, together) {
		subject := "claim of " + string(appendValue(nil, group[0].Stack))
		if len(group) > 1 {
			subject = fmt.Sprintf("claim of %d stacks", len(group))
		}
		var body strings.Builder
		for _, c := range group {
			line, err := c.line(holder)
			if err != nil {
				return nil, &RecordError{"", fmt.Errorf("claiming %s: %w", c.Stack, err)}
			}
			body.WriteString(line + "\n")
		}
		h, err := s.newCommit(ctx, w, s.message(subject, body.String()), tree)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, slices.Repeat([]plumbing.Hash{h}, len(group))...)
	}
	return hashes, w.flush(ctx)
}

// Claims are the claims that were on a remote when its notes were fetched last,
// sorted by stack and target.
func (s *Store) Claims(ctx context.Context, remote string) ([]Claim, error) {
	track := s.tracking(remote) + claimsSuffix + "/"
	out, err := s.repo.git(ctx, nil, "for-each-ref", "--format=%(objectname) %(refname)", track)
	if err != nil {
		return nil, err
	}
	var found []Claim
	read := map[string]map[string]Claim{} // by commit and ref
	for line := range strings.Lines(out) {
		hash, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		ref = s.ref + claimsSuffix + "/" + strings.TrimPrefix(ref, track)
		if read[hash] == nil {
			if read[hash], err = s.readClaims(hash); err != nil {
				return nil, unreadableClaim(remote, ref, err)
			}
		}
		c, is := read[hash][ref]
		if !is {
			return nil, unreadableClaim(remote, ref, errors.New("it claims a stack for which it has the wrong name"))
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b Claim) int {
		return strings.Compare(a.Stack+"\n"+a.Target, b.Stack+"\n"+b.Target)
	})
	return found, nil
}

// readClaims are the claims of a commit, by their refs.
func (s *Store) readClaims(hash string) (map[string]Claim, error) {
	commit, err := s.repo.commit(hash)
	if err != nil {
		return nil, err
	}
	claims, err := parseClaims(commit.Message)
	byRef := make(map[string]Claim, len(claims))
	for _, c := range claims {
		c.ref, c.hash = s.claimRef(&c), commit.Hash
		byRef[c.ref] = c
	}
	return byRef, err
}

func unreadableClaim(remote, ref string, err error) error {
	return fmt.Errorf("the claim %s on %s cannot be read: %w; `git push %s :%s` removes it", ref, remote, err, remote, ref)
}

// Unclaim removes claims of others, if they are as they were read.
func (s *Store) Unclaim(ctx context.Context, remote string, claims []Claim) error {
	changes := make([]claimChange, len(claims))
	for i, c := range claims {
		changes[i] = claimChange{ref: c.ref, old: c.hash}
	}
	return s.pushClaims(ctx, remote, true, changes)
}

// claimChange is one ref of a push; a zero new one removes it.
type claimChange struct {
	ref      string
	old, new plumbing.Hash
}

// pushClaims changes claims on the remote, all or, unless atomic, those that are
// as they are thought to be. errContended: some are not. ErrClaims: the remote
// does not take them.
func (s *Store) pushClaims(ctx context.Context, remote string, atomic bool, changes []claimChange) error {
	var options, refspecs []string
	for _, c := range changes {
		expect, from := "", ""
		if !c.old.IsZero() {
			expect = c.old.String()
		}
		if !c.new.IsZero() {
			from = c.new.String()
		}
		options, refspecs = append(options, "--force-with-lease="+c.ref+":"+expect), append(refspecs, from+":"+c.ref)
	}
	if atomic && len(changes) > 1 {
		options = append(options, "--atomic")
	}
	out, err := s.runPush(ctx, remote, options, refspecs...)
	var ge *gitError
	if errors.As(err, &ge) && strings.Contains(ge.stderr, "does not support --atomic") {
		return fmt.Errorf("%w by %s: it cannot change several refs as one (git push --atomic)", ErrClaims, remote)
	}
	contended := false
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if f[0] != "!" {
			continue
		}
		// Of an atomic push that fails git blames the others, too.
		if why := f[len(f)-1]; strings.Contains(why, "atomic ") {
			contended = true
		} else if err := pushError(remote, "", line, err); !errors.Is(err, errContended) {
			return fmt.Errorf("%w: %w", ErrClaims, err)
		} else {
			contended = true
		}
	}
	if contended {
		return errContended
	}
	if err = pushError(remote, "", out, err); errors.Is(err, errRefused) {
		return fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return err
}
