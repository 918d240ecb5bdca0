package gitstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What happened while a run waited, and what stands on later commits: a run asks
// again right before it starts a stack.

// Withdraw says that a stack which was announced is not going to be run, because it
// need not be: a tombstone takes the place of its queued line, as if it had never
// been announced. by has By and Reason.
func (w *Writer) Withdraw(commit string, queued *note.Record, by note.Record) error {
	line, err := queued.Line()
	if err != nil {
		return &note.RecordError{Commit: commit, Err: err}
	}
	t := note.Tombstone(line, by)
	return w.AppendLazily(commit, &t)
}

// Settled is the state without what was only announced: as if no stack had been queued,
// but by runs that are dead, nor been started by the run itself. A run that starts a
// stack follows what is settled. If it followed an announcement, and who made that
// follows it in turn, both would be the latest.
//
// Its cost is that of StateAt.
func (s *Store) Settled(ctx context.Context, run string, dead map[string]bool) (*State, error) {
	return s.StateAt(ctx, func(_ string, r *note.Record) bool {
		return (r.Status != note.Queued || dead[r.Run]) && !(r.Run == run && r.Status.Open())
	})
}

// News reports whether something that a run does not know of may have been done to
// a stack since it was selected: was is the latest record then, of which the run's own
// queued line took the place.
func (st *State) News(was *Latest, of note.Slot, run string) (bool, error) {
	if was.Underway(run) {
		return true, nil // it went on, and this run follows it already
	}
	l, err := st.Latest(of)
	// Several processes may take part in a run.
	return err != nil || l.Run != run || !l.Record.Status.Open() || len(l.Diverged) > 0, err
}

// Underway reports whether another run than the one named was at the stack, or was
// going to be.
func (l *Latest) Underway(run string) bool {
	return l.Status.Open() && l.Run != run || slices.ContainsFunc(l.Diverged, func(d Stored) bool { return d.Status.Open() && d.Run != run })
}

// Began are the heads of runs that came into the notes between two states.
func (st *State) Began(before *State) ([]Stored, error) {
	return st.began(before.x.tree.shared)
}

// began does not tell of heads that have to be signed and are not: by them a stack would be left
// alone as one that a later commit's run has looked at.
func (st *State) began(before plumbing.Hash) ([]Stored, error) {
	changes, err := st.s.changes(before, st.x.tree.shared)
	if err != nil {
		return nil, err
	}
	var found []Stored
	for _, c := range changes {
		add, _ := diffLines(c.Old, c.New)
		heads := runHeads(c.Commit, add)
		if by := st.x.by; by != nil && len(heads) > 0 {
			j := by.judge(c.Commit, c.New)
			heads = slices.DeleteFunc(heads, func(h Stored) bool { return !j.runs[h.Run] || !slices.Contains(j.counted, h.line) })
		}
		found = append(found, heads...)
	}
	return found, nil
}

func runHeads(commit string, lines []string) (found []Stored) {
	for _, line := range lines {
		if !isRunEvent(line) {
			continue
		}
		if r, err := note.ParseRecord(line); err == nil && r.Event == note.Started && !r.Foreign(commit) {
			found = append(found, Stored{Commit: commit, Record: r, line: line})
		}
	}
	return found
}

// RunsSince are the heads of the runs that came into the notes since a time, by the
// notes' own history; a few earlier ones may be among them.
func (st *State) RunsSince(ctx context.Context, t time.Time) ([]Stored, error) {
	tip, _, err := st.s.tip(st.s.ref)
	if err != nil || tip.IsZero() {
		return nil, err
	}
	out, err := st.s.repo.Git(ctx, nil, "rev-list", "-1", "--first-parent", "--before="+t.UTC().Format(time.RFC3339), tip.String())
	if err != nil {
		return nil, fmt.Errorf("looking for the notes of %s: %w", t.Format(time.DateTime), err)
	}
	before := plumbing.ZeroHash
	if out = strings.TrimSpace(out); out != "" {
		if _, before, err = st.s.tip(out); err != nil {
			return nil, err
		}
	}
	return st.began(before)
}

// After tells which of some commits are descendants of another one. Of those that are
// not here it is not known, and not said.
func (s *Store) After(ctx context.Context, commit string, of []string) (after map[string]bool, err error) {
	after = map[string]bool{}
	var ask strings.Builder
	for _, c := range of {
		if c == commit {
			continue
		}
		switch has, err := s.Has(c); {
		case err != nil:
			return nil, err
		case has:
			ask.WriteString(c + "\n")
		}
	}
	if ask.Len() == 0 {
		return after, nil
	}
	out, err := s.repo.Git(ctx, strings.NewReader("^"+commit+"\n"+ask.String()), "rev-list", "--ancestry-path", "--stdin")
	if err != nil {
		return nil, fmt.Errorf("comparing %s with the commits of other runs: %w", note.Short(commit), err)
	}
	for line := range strings.Lines(out) {
		if c := strings.TrimSpace(line); slices.Contains(of, c) {
			after[c] = true
		}
	}
	return after, nil
}

// Bring fetches commits that are not here, with their history, to no ref: a job's
// clone does not have what was pushed after it was made. A shallow clone stays as it is.
// What the remote does not give, or has no more, stays away, and that is no error.
func (r Remote) Bring(ctx context.Context, commits []string) error {
	s, remote := r.store, r.name
	if s.repo.Shallow || s.readOnly != nil {
		return nil
	}
	for _, c := range commits {
		if has, err := s.Has(c); err != nil || has {
			if err != nil {
				return err
			}
			continue
		}
		// One by one: git fetch brings none where one of several is missing.
		_, err := s.network(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap=", remote, c)
		if ge := (*git.Error)(nil); err != nil && !errors.As(err, &ge) {
			return err
		}
	}
	return nil
}

// Foreign reports whether the records that were fetched from a remote are those of another
// repository: there are some, and none of the commits that they are on is here, nor does the
// remote of the code give one. In a shallow clone that cannot be told, and is not said.
func (r Remote) Foreign(ctx context.Context, code string) (bool, error) {
	s := r.store
	_, tree, err := s.tip(s.tracking(r.name))
	if err != nil || tree.IsZero() || s.repo.Shallow || s.readOnly != nil {
		return false, err
	}
	t, err := s.openTree(tree)
	if err != nil {
		return false, err
	}
	const look, ask = 8, 3 // most often the first one is here
	var commits []string
	here := errors.New("it is here")
	err = t.Each(func(commit plumbing.Hash, _ []plumbing.Hash) error {
		commits = append(commits, commit.String())
		if len(commits) > look {
			return nil
		}
		has, err := s.Has(commit.String())
		if has {
			return here
		}
		return err
	})
	if err != nil || len(commits) == 0 {
		if errors.Is(err, here) {
			err = nil
		}
		return false, err
	}
	missing, err := s.absent(ctx, commits)
	if err != nil || len(missing) < len(commits) {
		return false, err
	}
	missing = missing[:min(ask, len(missing))]
	if err := s.Remote(code).Bring(ctx, missing); err != nil {
		return false, err
	}
	still, err := s.absent(ctx, missing)
	return len(still) == len(missing), err
}

// Superseded tells which of the latest successes stand on a descendant of
// head: there, head is an older commit that comes late. It asks git once for
// all. guessed is set where the history is not there to tell (a shallow clone,
// a commit that was not fetched), so that the commit times in the records
// decided.
func (st *State) Superseded(ctx context.Context, head string, latest []Latest) (late []bool, guessed int, err error) {
	late = make([]bool, len(latest))
	ask := map[string]bool{}
	for _, l := range latest {
		if l.OKCommit != "" && l.OKCommit != head {
			ask[l.OKCommit] = true
		}
	}
	if len(ask) == 0 {
		return late, 0, nil
	}
	after, untold, err := st.descendants(ctx, head, ask)
	if err != nil {
		return nil, 0, err
	}
	r := st.s.repo
	var headTime int64
	for i, l := range latest {
		switch {
		case after[l.OKCommit]:
			late[i] = true
		case untold[l.OKCommit]:
			if r.Shallow {
				// An ancestor that is there can still be told from a descendant.
				if _, err := r.Git(ctx, nil, "merge-base", "--is-ancestor", l.OKCommit, head); err == nil {
					untold[l.OKCommit] = false
					continue
				}
			}
			if headTime == 0 {
				c, err := r.Commit(head)
				if err != nil {
					return nil, 0, err
				}
				headTime = c.Committer.When.Unix()
			}
			guessed++
			late[i] = st.commitTime(l.okRun, l.OKCommit) > headTime
		}
	}
	return late, guessed, nil
}

// descendants finds those of the commits that are descendants of head, and those for which
// the history that is here cannot tell.
func (st *State) descendants(ctx context.Context, head string, commits map[string]bool) (after, untold map[string]bool, err error) {
	r := st.s.repo
	after, untold = map[string]bool{}, map[string]bool{}
	stdin := strings.Builder{}
	stdin.WriteString("^" + head + "\n")
	before := r.Before(plumbing.NewHash(head), commits)
	for c := range commits {
		if before[c] {
			continue
		}
		_, t, _, err := r.Lookup(c)
		if errors.Is(err, git.ErrMissing) || err == nil && t != plumbing.CommitObject {
			untold[c] = true
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		untold[c] = r.Shallow
		stdin.WriteString(c + "\n")
	}
	if len(before) == len(commits) {
		return after, untold, nil
	}
	out, err := r.Git(ctx, strings.NewReader(stdin.String()), "rev-list", "--ancestry-path", "--stdin")
	if err != nil {
		return nil, nil, fmt.Errorf("comparing HEAD with the deployed commit: %w", err)
	}
	for c := range strings.Lines(out) {
		after[strings.TrimSpace(c)] = true
	}
	return after, untold, nil
}
