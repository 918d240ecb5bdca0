package note

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A note may hold lines that were not made on its commit: git copies notes to what a
// rebase or an amended commit becomes (notes.rewriteRef in git-config(1)), and people do
// with `git notes copy`. What was deployed then is the old commit. So the heads of runs
// and the records that are made by hand name their commit, and what another commit's
// head stands above is history: it is kept, shown and merged, and decides nothing.

// Foreign reports whether a record says that it was made on another commit than the one
// whose note holds it.
func (r *Record) Foreign(commit string) bool {
	on := r.MadeOn()
	return on != "" && on != commit
}

// Record is one line of a note that tmnotes understands: what happened to one
// stack in one run (Status is set), or an event of a run (Event is set).
// FORMAT.md documents each key. The zero value of a field means that its key
// is absent.
type Record struct {
	At      time.Time // when, UTC, whole milliseconds
	Event   string    // Started, Finished, Forgotten; "" for the result of a stack
	Status  Status    // the result of a stack; "" for an event
	Op      string    // operation: deploy, destroy, drift, plan, ...
	Target  string    // environment deployed to
	Stack   string    // project path of the stack, "/prod/vpc"
	ID      string    // stack.id in lower case
	Exit    *int      // exit code of the command, where it ended by itself
	Took    time.Duration
	Tries   int    // how often the command was started, where more than once
	Cause   string // project path of the stack that a blocked one waited for
	Reason  string // one line for people: why it failed, why it was marked
	Inputs  string // digest of the stack's inputs
	Variant string // digest of the command line, see runner/command
	Dirty   bool   // the stack's inputs had uncommitted changes

	Since time.Time // of a repeated drift result: when it was seen first
	Seen  int       // and how often

	Was    time.Time // of a tombstone: At of the line that it removes; of a trigger: of what it followed,
	Had    Status    // its Status,
	Digest string    // and its Digest

	Prev []string // the runs whose records of the stack this one followed
	Run  string   // ULID of the run

	Stacks                                int // head of a run: how many were selected
	OK, Failed, Blocked, Canceled, Drifts int // end of a run: how many ended how
	CommitTime                            int64
	By                                    string // who: "Name <mail>"
	Job                                   string // URL or name of the CI job
	Attempt                               int    // which attempt of that job
	Cmd                                   string // the command, redacted
	Version                               int    // of the format, in the head of a run

	Extra []Pair // keys of later versions, in order
}

// Keys that are younger than version 1 stand among Extra: there, who does not know
// them keeps them.
const (
	triggersKey = "triggers"
	skippedKey  = "skipped"
	waveKey     = "wave"
	backendKey  = "backend"
	valuesKey   = "values"
	untilKey    = "until"
	brokeKey    = "broke"
	CommitKey   = "commit"
	issueKey    = "issue"
	closedKey   = "issue_closed"
)

// plainKeys are those of them whose values are numbers, or true, in JSON.
var plainKeys = append(slices.Clone(planKeys), issueKey, closedKey)

func (r *Record) extra(key string) string {
	for _, p := range r.Extra {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

func (r *Record) setExtra(key, value string) {
	r.Extra = slices.DeleteFunc(r.Extra, func(p Pair) bool { return p.Key == key })
	if value != "" {
		r.Extra = append(r.Extra, Pair{key, value})
		slices.SortFunc(r.Extra, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	}
}

// Wave is the wave of its run that the stack was in, "" where there were none.
func (r *Record) Wave() string { return r.extra(waveKey) }

// SetWave says which wave of its run the stack is in.
func (r *Record) SetWave(name string) { r.setExtra(waveKey, name) }

// Backend names the Terraform backend that the stack was deployed to, "" where none is
// configured or it was not known; see runner.Place. State is kept apart for it.
func (r *Record) Backend() string { return r.extra(backendKey) }

// SetBackend says which backend the stack is deployed to.
func (r *Record) SetBackend(backend string) { r.setExtra(backendKey, backend) }

// Values are what the command saw beside its words and the committed files: for each
// a kind, a name and a short digest, never the value; see Values.
func (r *Record) Values() string { return r.extra(valuesKey) }

// SetValues says what the command sees.
func (r *Record) SetValues(values string) { r.setExtra(valuesKey, values) }

// MadeOn is the commit that the head of a run, or a record made by hand, says it was
// made on; "" in those of version 1 that do not say it.
func (r *Record) MadeOn() string { return r.extra(CommitKey) }

// SayCommit has a record that speaks for others, or for itself alone, name its commit.
func (r *Record) SayCommit(commit string) {
	if r.Event == Started || r.Status != "" && r.CommitTime != 0 {
		r.setExtra(CommitKey, commit)
	}
}

// SetMadeOn has a line name its commit.
func (r *Record) SetMadeOn(commit string) { r.setExtra(CommitKey, commit) }

// Until is when a hold ends by itself; zero where somebody has to release it.
func (r *Record) Until() time.Time {
	t, _ := parseTime(r.extra(untilKey))
	return t
}

// SetUntil says when a hold ends by itself.
func (r *Record) SetUntil(t time.Time) { r.setExtra(untilKey, t.UTC().Format(TimeLayout)) }

// Broke is why a run, or what it did to a stack, went on in spite of holds; "" where it did not.
func (r *Record) Broke() string { return r.extra(brokeKey) }

// SetBroke says why holds are broken.
func (r *Record) SetBroke(reason string) { r.setExtra(brokeKey, reason) }

// Issue is the number of the issue on the forge that follows the stack's drift, 0 for none, and whether that is closed.
func (r *Record) Issue() (number int, closed bool) {
	return r.extraCount(issueKey), r.extra(closedKey) != ""
}

// SetIssue says which issue follows the stack's drift.
func (r *Record) SetIssue(number int, closed bool) {
	text := ""
	if closed && number > 0 {
		text = "true"
	}
	r.setExtra(issueKey, countText(number))
	r.setExtra(closedKey, text)
}

// Triggers are the trigger files that the stack had where it was deployed, by what
// names them; see SetTriggers.
func (r *Record) Triggers() []string {
	if v := r.extra(triggersKey); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// SetTriggers says which trigger files of the stack the deployment answers.
func (r *Record) SetTriggers(ids []string) { r.setExtra(triggersKey, strings.Join(ids, ",")) }

// Why is what the record says of why the stack did not succeed: which stack failed
// that it was blocked by, and the reason.
func (r *Record) Why() string {
	switch {
	case r.Cause == "":
		return r.Reason
	case r.Reason == "":
		return r.Cause + " failed"
	case strings.HasPrefix(r.Reason, r.Cause+" "): // it is not that it failed
		return r.Reason
	}
	return r.Cause + " failed; " + r.Reason
}

// SetSkipped says at the end of a run how many stacks were found not to need it.
func (r *Record) SetSkipped(n int) {
	text := ""
	if n > 0 {
		text = strconv.Itoa(n)
	}
	r.setExtra(skippedKey, text)
}

// Line is the one valid encoding of the record, without the newline. A record
// that its own check refuses has none.
func (r *Record) Line() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	return string(r.encode(make([]byte, 0, 256))), nil
}

func (r *Record) encode(b []byte) []byte {
	for _, f := range fields {
		if v := f.get(r); v != "" {
			b = AppendPair(b, f.key, v)
		}
	}
	for _, p := range r.Extra {
		b = AppendPair(b, p.Key, p.Value)
	}
	return b
}

// check refuses what no reader could make sense of.
func (r *Record) check() error {
	if r.At.IsZero() {
		return errors.New("a record without a time")
	}
	switch {
	case !validTime(r.At) || !validTime(r.Since) || !validTime(r.Was):
		return fmt.Errorf("a time that no clock shows: %v, since %v, was %v", r.At, r.Since, r.Was)
	case r.Took < 0:
		return fmt.Errorf("a negative duration %v", r.Took)
	case r.Exit != nil && (*r.Exit < -maxCount || int64(*r.Exit) > math.MaxUint32):
		return fmt.Errorf("invalid exit code %d", *r.Exit)
	case slices.ContainsFunc(r.Prev, func(run string) bool { return !IsToken(run) }):
		return fmt.Errorf("invalid runs that it followed: %q", r.Prev)
	case (r.Status == "") == (r.Event == ""):
		return errors.New("a record needs either a status or an event")
	case r.Run == "" || !IsToken(r.Run):
		return fmt.Errorf("invalid run %q", r.Run)
	case r.Status != "" && (!IsToken(string(r.Status)) || !IsToken(r.Op)):
		return fmt.Errorf("invalid status %q or operation %q", r.Status, r.Op)
	case r.Status != "" && !validPath(r.Stack):
		return fmt.Errorf("invalid path of a stack: %q (it must start with / and be UTF-8)", r.Stack)
	case r.Event != "" && !IsToken(r.Event):
		return fmt.Errorf("invalid event %q", r.Event)
	case r.Event == Forgotten && (r.Digest == "" || r.Was.IsZero()):
		return errors.New("a tombstone that names no line")
	}
	for _, n := range []int{r.Tries, r.Seen, r.Stacks, r.OK, r.Failed, r.Blocked, r.Canceled, r.Drifts, r.Attempt, r.Version} {
		if n < 0 || n > maxCount {
			return fmt.Errorf("invalid count %d", n)
		}
	}
	last := ""
	for _, p := range r.Extra {
		if _, known := fieldRank[p.Key]; known || p.Key <= last || !isKey(p.Key) {
			return fmt.Errorf("key %q is out of place", p.Key)
		}
		last = p.Key
	}
	return nil
}

func validPath(p string) bool { return strings.HasPrefix(p, "/") && utf8.ValidString(p) }

// IsToken reports whether s is a word that needs no quoting.
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' || c == '+') {
			return false
		}
	}
	return s != ""
}

func isKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return s != ""
}

// ParseRecord reads a line. A line that is not the one valid encoding of a
// record is an error: it is kept in its note as it is, and means nothing.
func ParseRecord(line string) (Record, error) {
	var r Record
	err := r.Parse(line)
	if err != nil {
		return Record{}, err
	}
	return r, nil
}

// Parse is ParseRecord into a zero Record; after an error it holds anything.
// Each value is held against its one form as it is read, which together with
// the order of the keys makes the form of the line the only one.
func (r *Record) Parse(line string) error {
	rest, rank := line, -1
	for first := true; rest != ""; first = false {
		if !first {
			if rest[0] != ' ' {
				return errors.New("pairs are separated by one space")
			}
			rest = rest[1:]
		}
		eq := strings.IndexByte(rest, '=')
		if eq < 0 {
			return errors.New("a key without a value")
		}
		key := rest[:eq]
		value, tail, err := cutValue(rest[eq+1:])
		if err != nil {
			return err
		}
		rest = tail
		next := rank + 1
		for next < len(fields) && fields[next].key != key {
			next++
		}
		if next < len(fields) && len(r.Extra) == 0 {
			if rank = next; !fields[rank].set(r, value) {
				return fmt.Errorf("invalid %s", key)
			}
			continue
		}
		if _, known := fieldRank[key]; known {
			return fmt.Errorf("key %q is out of place", key)
		}
		r.Extra = append(r.Extra, Pair{key, value})
	}
	return r.check()
}
