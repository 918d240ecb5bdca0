package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A claim says on the remote who is at work on a stack: a ref of its own for each
// target and stack, made, renewed and removed by pushes that name the value which they
// replace. The remote's compare-and-swap decides; nothing about a claim is ever spooled
// or put off. FORMAT.md has the names and the text.
//
// No two machines' clocks are compared. A claim that an observer has seen
// unchanged for as long as the claim's own lease, by the observer's monotonic clock,
// is nobody's any more; and its holder, who counts from before its last push that
// went through, by whichever of its clocks went further, has given up after two
// thirds of the lease.

// ErrClaims is wrapped by errors of a remote that does not take claims.
var ErrClaims = errors.New("locks are refused")

// The events of claims: the text of one, and the record of its removal by hand.
const (
	Claimed  = "claimed"
	Unlocked = "unlocked"
)

const (
	claimsSuffix = "-claims" // of the notes ref: the glob that fetches the notes covers it
	// MinLease is the shortest lease that makes sense: a push has to fit into a third of it.
	MinLease = 3 * time.Second
	// releasedLease is that of a claim that was let go of where nothing may be deleted:
	// who does not know `released` waits no longer than for a second look.
	releasedLease = time.Millisecond
)

// Claim is who claims a stack, for which target.
type Claim struct {
	Stack, ID, Target string
	Commit            string // that is being deployed
	Run, By, Job      string
	Leg               int // of the run, from 1; 0 where it has none
	Lease             time.Duration
	Renewed           int       // how often
	Since             time.Time // when it was taken, by the holder's clock: for people
	At                time.Time // when it was renewed last, likewise
	Released          bool      // nobody's; the remote lets no claim be deleted
	// Announced says of a stack that is wanted that a queued line of it is on the ref that
	// all share. Who announces a stack of that path later has read the line then, whatever
	// id he knows the stack by, and claims the stack by this name, too.
	Announced bool

	holder string
	at     []refValue // one for each name of the stack
}

// refValue is where a ref stands that claims a stack by one of its names.
type refValue struct {
	ref  string
	name string // see ident
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
func (c *Claim) Unlocked(by, reason string) *note.Record {
	return &note.Record{Event: Unlocked, Op: note.Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Reason: reason, Run: c.Run, By: by}
}

func (s *Store) claimsPrefix() string { return s.ref + claimsSuffix + "/" }

// claimRef is the ref of a claim by the stack's own name: its id or, without one, its path.
func (s *Store) claimRef(c *Claim) string {
	return s.claimRefBy(ident(c.ID, c.Stack), c.Target)
}

func (s *Store) claimRefBy(name, target string) string {
	return s.claimsPrefix() + slotDigest(note.Deploy, target, name)
}

// line is the record that a claim by one name of the stack is. holder tells apart what
// two processes would write alike.
func (c *Claim) line(holder, name string) (string, error) {
	r := note.Record{At: c.At.UTC().Truncate(time.Millisecond), Event: Claimed, Op: note.Deploy, Target: c.Target, Stack: c.Stack, ID: c.ID, Run: c.Run, By: c.By, Job: c.Job,
		Extra: []note.Pair{{Key: "commit", Value: c.Commit}, {Key: "holder", Value: holder}, {Key: "lease", Value: c.Lease.String()}}}
	if c.Released {
		r.Extra = append(r.Extra, note.Pair{Key: "released", Value: "true"})
	}
	r.Extra = append(r.Extra, note.Pair{Key: "renewed", Value: strconv.Itoa(c.Renewed)})
	if !c.Since.IsZero() {
		r.Extra = append(r.Extra, note.Pair{Key: "taken", Value: c.Since.UTC().Format(note.TimeLayout)})
	}
	r.SetLeg(c.Leg)
	if id, is := idOf(name); !is {
		r.ID = ""
	} else if id != strings.ToLower(c.ID) {
		r.ID = id
	}
	return r.Line()
}

// parseClaims reads the claims that stand in the message of a commit. Whatever else
// stands there is somebody's tmnotes.message.
func parseClaims(message string) ([]Claim, error) {
	var claims []Claim
	for line := range strings.Lines(message) {
		r, err := note.ParseRecord(strings.TrimSuffix(line, "\n"))
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
		return nil, errors.New("it is not a lock")
	}
	return claims, nil
}

func claimOf(r *note.Record) (c Claim, err error) {
	c = Claim{Stack: r.Stack, ID: r.ID, Target: r.Target, Run: r.Run, By: r.By, Job: r.Job, Leg: r.Leg(), At: r.At, Since: r.At}
	for _, p := range r.Extra {
		switch p.Key {
		case "commit":
			c.Commit = p.Value
		case "holder":
			c.holder = p.Value
		case "lease":
			c.Lease, err = time.ParseDuration(p.Value)
		case "released":
			c.Released = p.Value == "true"
		case "renewed":
			c.Renewed, err = strconv.Atoi(p.Value)
		case "taken":
			c.Since, err = time.Parse(note.TimeLayout, p.Value)
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

// readClaim reads the claim that a ref of the remote stands on.
func (s *Store) readClaim(ref string, hash plumbing.Hash) (c Claim, err error) {
	var claims []Claim
	commit, err := s.repo.Commit(hash.String())
	if err == nil {
		claims, err = parseClaims(commit.Message)
	}
	if err == nil {
		err = errors.New("it locks a stack that its name does not stand for")
		for _, found := range claims {
			if s.claimRef(&found) == ref {
				c, err = found, nil
			}
		}
	}
	if err == nil && s.required {
		err = s.disclaim(&c, commit.Message)
	}
	c.at = []refValue{{ref: ref, name: ident(c.ID, c.Stack), hash: hash}}
	return c, err
}

// disclaim has a claim that nobody signed who may count as one that was let go of.
func (s *Store) disclaim(c *Claim, message string) error {
	by, err := s.trusted(context.Background())
	if err != nil {
		return err
	}
	lines := note.AppendLines(nil, message)
	j := by.judge(c.Commit, lines)
	c.Released = c.Released || !slices.ContainsFunc(lines, func(line string) bool {
		r, err := note.ParseRecord(line)
		return err == nil && r.Event == Claimed && r.Run == c.Run && r.Stack == c.Stack && r.Target == c.Target && slices.Contains(j.counted, line)
	})
	return nil
}

func unreadableClaim(remote, ref string, err error) error {
	return fmt.Errorf("the lock %s on %s cannot be read: %w; `git push %s :%s` removes it", ref, remote, err, remote, ref)
}

// claimCommit is what one or several refs of claims are to stand on.
type claimCommit struct {
	subject, body string
	of            []*claimChange
}

// writeClaims makes the commits of claims, each for its refs. They have the empty tree,
// so that a `git log` that takes their refs for notes finds none in them, and no parents.
// Where they are signed, which may take a person's touch, all are one commit.
func (s *Store) writeClaims(ctx context.Context, claims []*Claim, holder string) ([][]claimChange, error) {
	w := &git.ObjectWriter{R: s.repo}
	tree, err := w.Put(plumbing.TreeObject, nil)
	if err != nil {
		return nil, err
	}
	together, err := s.Signs()
	if err != nil {
		return nil, err
	}
	together = together || s.signing.on
	all := make([][]claimChange, len(claims))
	var commits []*claimCommit
	for i, c := range claims {
		all[i] = make([]claimChange, len(c.at))
		for k, old := range c.at {
			line, err := c.line(holder, old.name)
			if err != nil {
				return nil, &note.RecordError{Commit: "", Err: fmt.Errorf("locking %s: %w", c.Stack, err)}
			}
			if !together || len(commits) == 0 {
				commits = append(commits, &claimCommit{subject: "lock of " + string(note.AppendValue(nil, c.Stack))})
			} else if len(claims) > 1 {
				commits[0].subject = fmt.Sprintf("lock of %d stacks", len(claims))
			}
			to := commits[len(commits)-1]
			to.body += line + "\n"
			all[i][k] = claimChange{ref: old.ref, old: old.hash}
			to.of = append(to.of, &all[i][k])
		}
	}
	for _, c := range commits {
		if s.signing.on {
			signed, err := s.vouchFor(ctx, note.Record{Run: claims[0].Run, At: claims[0].At.UTC().Truncate(time.Millisecond)}, claims[0].Commit, strings.Split(strings.TrimSpace(c.body), "\n"))
			if err != nil {
				return nil, err
			}
			c.body += signed + "\n"
		}
		h, err := s.newCommit(ctx, w, s.message(c.subject, c.body), tree)
		if err != nil {
			return nil, err
		}
		for _, change := range c.of {
			change.new = h
		}
	}
	return all, w.Flush(ctx)
}

// Claims are the claims that were on a remote when its notes were fetched last,
// sorted by stack and target. What stands among them and cannot be read is said.
func (r Remote) Claims(ctx context.Context) ([]Claim, error) {
	s, remote := r.store, r.name
	found, bad, err := s.trackedClaims(ctx, remote)
	for _, ref := range slices.Sorted(maps.Keys(bad)) {
		s.warn(unreadableClaim(remote, ref, bad[ref]).Error())
	}
	return found, err
}

// trackedClaims are the claims that were fetched last, and why others cannot be read.
func (s *Store) trackedClaims(ctx context.Context, remote string) (found []Claim, bad map[string]error, err error) {
	track := s.tracking(remote) + claimsSuffix + "/"
	refs, err := s.repo.Refs(ctx, track)
	if err != nil {
		return nil, nil, err
	}
	bad = map[string]error{}
	for _, tracked := range slices.Sorted(maps.Keys(refs)) {
		ref := s.claimsPrefix() + strings.TrimPrefix(tracked, track)
		c, err := s.readClaim(ref, refs[tracked])
		if err != nil {
			bad[ref] = err
		} else if !c.Released {
			found = append(found, c)
		}
	}
	return joinClaims(found), bad, nil
}

// joinClaims makes one of those that are of one stack, by its several names.
func joinClaims(claims []Claim) []Claim {
	slices.SortFunc(claims, func(a, b Claim) int {
		return strings.Compare(a.Stack+"\n"+a.Target+"\n"+a.holder+"\n"+b.ID, b.Stack+"\n"+b.Target+"\n"+b.holder+"\n"+a.ID)
	})
	var joined []Claim
	for _, c := range claims {
		if n := len(joined) - 1; n >= 0 && joined[n].Stack == c.Stack && joined[n].Target == c.Target && joined[n].holder == c.holder {
			joined[n].at = append(joined[n].at, c.at...)
		} else {
			joined = append(joined, c)
		}
	}
	return joined
}

// Unclaim removes claims of others, if they are as they were read.
func (r Remote) Unclaim(ctx context.Context, claims []Claim) error {
	s, remote := r.store, r.name
	groups := make([][]claimChange, len(claims))
	for i, c := range claims {
		groups[i] = removal(&c)
	}
	return s.changeClaims(ctx, remote, true, groups)
}

func removal(c *Claim) (changes []claimChange) {
	for _, at := range c.at {
		changes = append(changes, claimChange{ref: at.ref, old: at.hash})
	}
	return changes
}
