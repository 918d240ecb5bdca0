package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// StateAt is the state that some of the results tell: those that keep chooses,
// which is called with the commit that holds the record. What followed a record
// that was left out follows what that one followed, as where one was forgotten;
// a run's head and end, and tombstones, always count.
//
// Notes in normal form do not keep that a stack was queued or running, nor how
// often a drift run said the same: of the latter the newest is kept, with Since.
// All notes are read, so it takes longer than State.
func (s *Store) StateAt(ctx context.Context, keep func(commit string, r *note.Record) bool) (*State, error) {
	t, tree, overlay, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	by, err := s.trusted(ctx)
	if err != nil {
		return nil, err
	}
	b := newBuilder(by)
	b.keep = keep
	x, err := s.build(b, t, tree, overlay)
	if err != nil {
		return nil, err
	}
	return &State{s: s, x: x}, nil
}

// Slots are all slots that have a record, but for those of holds, sorted by path: that where the stack was when something was
// recorded there last, with its id in lower case, and with the name of the group for the operation.
func (st *State) Slots() []note.Slot {
	var found []note.Slot
	seen := map[slotKey]bool{} // but for the backend
	for k, s := range st.x.slots {
		k.backend = ""
		if len(s.heads) > 0 && !seen[k] && !note.Op(k.group).Holds() {
			seen[k] = true
			id, _ := idOf(k.ident)
			if id == k.ident {
				id = ""
			}
			found = append(found, note.Slot{ID: id, Path: s.heads[0].Stack, Target: k.target, Op: k.group})
		}
	}
	slices.SortFunc(found, func(a, b note.Slot) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.ID, b.ID), strings.Compare(a.Target, b.Target), strings.Compare(a.Op, b.Op))
	})
	return found
}

// Ancestors are a commit and all commits before it. In a shallow clone, which
// does not have them all, it is an error.
func (s *Store) Ancestors(ctx context.Context, commit string) (map[string]bool, error) {
	if s.repo.Shallow {
		return nil, errors.New("the clone is shallow: the history before " + note.Short(commit) + " is missing; `git fetch --unshallow` brings it")
	}
	out, err := s.repo.Git(ctx, nil, "rev-list", commit, "--")
	if err != nil {
		return nil, fmt.Errorf("listing the history before %s: %w", note.Short(commit), err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(out) {
		all[strings.TrimSpace(line)] = true
	}
	return all, nil
}

// Date reads a time as people write it: RFC 3339, as in records; a day alone,
// which is its first moment, or with end its last, in the local time zone; or
// in git's words, as in `git log --since` ("yesterday", "2 weeks ago").
//
// git takes every word that it does not know for now; here that is an error.
func (s *Store) Date(ctx context.Context, text string, end bool) (time.Time, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	bad := fmt.Errorf("%q is not a date; write it like 2026-11-20, 2026-11-20T14:00:00Z, yesterday or '3 days ago'", text)
	if day := isoDay.FindString(text); day != "" {
		t, err := time.ParseInLocation(time.DateOnly, day, time.Local)
		switch {
		case err != nil:
			return time.Time{}, bad
		case day == text && end:
			return t.AddDate(0, 0, 1).Add(-time.Millisecond).UTC(), nil
		case day == text:
			return t.UTC(), nil
		}
	}
	if !gitDate().MatchString(text) || !strings.ContainsAny(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-/") {
		return time.Time{}, bad
	}
	out, err := s.repo.Git(ctx, nil, "rev-parse", "--since="+text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w (%v)", bad, err)
	}
	sec, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(out), "--max-age="), 10, 64)
	if err != nil {
		return time.Time{}, bad
	}
	t := time.Unix(sec, 0).UTC()
	if end { // the whole second
		t = t.Add(time.Second - time.Millisecond)
	}
	return t, nil
}

var (
	isoDay = regexp.MustCompile(`^\d{4}-\d\d-\d\d`)
	// The words that git's approxidate knows (date.c), and numbers.
	gitDate = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)^(?:\d+(?:st|nd|rd|th)?|[ ,.:/+-]|` +
			`(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|ago|last|yesterday|today|now|noon|midnight|tea|am|pm|t|z|utc|gmt|` +
			`one|two|three|four|five|six|seven|eight|nine|ten|` +
			`sun(?:day)?|mon(?:day)?|tue(?:s|sday)?|wed(?:nesday)?|thu(?:r|rs|rsday)?|fri(?:day)?|sat(?:urday)?|` +
			`jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t|tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)` +
			`(?:\b|\d))+$`)
	})
)

// Removed finds the commit on HEAD's first-parent line that removed a folder of
// the project, and the commit before it, the last that had it. since, if it is
// here, is a commit that had it. Both are "" where that cannot be told: the
// folder is there, or its removal is not in the history that is here.
func (s *Store) Removed(ctx context.Context, path, since string) (removed, last string, err error) {
	rel := strings.Trim(path, "/")
	if rel == "" || strings.ContainsAny(rel, "\n\x00") {
		return "", "", nil
	}
	if _, _, _, err := s.repo.Lookup("HEAD:" + rel); !errors.Is(err, git.ErrMissing) {
		return "", "", err
	}
	args := []string{"log", "-1", "--no-show-signature", "--no-follow", "--first-parent", "-m", "--diff-filter=D", "--no-renames", "--format=%H %P", "HEAD"}
	if _, _, _, err := s.repo.Lookup(since + "^{commit}"); err == nil {
		args = append(args, "^"+since)
	} else if !errors.Is(err, git.ErrMissing) {
		return "", "", err
	}
	out, err := s.repo.Git(ctx, nil, append(args, "--", ":(top,literal)"+rel)...)
	if err != nil {
		return "", "", fmt.Errorf("looking for the commit that removed %s: %w", path, err)
	}
	if f := strings.Fields(out); len(f) > 1 {
		return f[0], f[1], nil
	}
	return "", "", nil
}

// PathIDs are the ids that were recorded at each path, the oldest first.
type PathIDs map[string][]idAt

type idAt struct {
	id string
	at time.Time
}

// Add takes in a record. Records are added sorted by time.
func (p PathIDs) Add(r *note.Record) {
	if r.ID != "" {
		p[r.Stack] = append(p[r.Stack], idAt{r.ID, r.At})
	}
}

// StackOf is what the records of one stack have in common: its id, which it may
// have got after the record was made, or its path.
func (p PathIDs) StackOf(r *note.Record) string {
	id := r.ID
	if id == "" {
		for _, later := range p[r.Stack] {
			if later.at.After(r.At) {
				id = later.id
				break
			}
		}
	}
	return ident(id, r.Stack)
}

// LogEntry is a commit as a log shows it.
type LogEntry struct {
	Hash    string    `json:"commit"`
	Author  string    `json:"author"`
	Time    time.Time `json:"at"`
	Subject string    `json:"subject"`
}

// Between are the commits after one, if it is not "", and up to another that touched
// any of the project's paths, newest first, at most so many.
func (s *Store) Between(ctx context.Context, from, to string, most int, paths ...string) ([]LogEntry, error) {
	stdin := to + "\n" // there may be more of it than a command line has room for
	if from != "" {
		stdin += "^" + from + "\n"
	}
	stdin += "--\n"
	for _, p := range paths {
		stdin += ":(top,literal)" + strings.Trim(p, "/") + "\n"
	}
	out, err := s.repo.Git(ctx, strings.NewReader(stdin), "log", "--stdin", "--no-show-signature", "--no-follow", "-z", "-n", strconv.Itoa(most), "--format=%H%n%an%n%ct%n%s")
	if err != nil {
		return nil, err
	}
	var found []LogEntry
	for entry := range strings.SplitSeq(out, "\x00") {
		if f := strings.SplitN(entry, "\n", 4); len(f) == 4 {
			at, _ := strconv.ParseInt(f[2], 10, 64)
			found = append(found, LogEntry{f[0], f[1], time.Unix(at, 0).UTC(), strings.TrimSpace(f[3])})
		}
	}
	return found, nil
}
