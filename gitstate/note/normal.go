package note

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Normal is the normal form of a note: its lines sorted, each once, without
// blank ones, without what a later line of the same run or drift series made
// void, and without what a tombstone names. Merging notes is Normal of all
// their texts joined, in any order and any grouping:
//
//	Normal(Normal(a+b)+c) == Normal(a+Normal(b+c)) == Normal(c+b+a)
//
// For that to hold although lines are left out, a line is only ever void
// because of a strictly later one that gives the same voidKey, and the latest
// that gives a key is never left out itself, but for two cases: a tombstone
// stands in for the line that it removed, with its keys and its time; and a
// drift result that a later one repeats gives no key that the later one does
// not give too.
func Normal(texts ...string) string {
	var lines []string
	for _, t := range texts {
		lines = AppendLines(lines, t)
	}
	return JoinLines(NormalLines(lines))
}

// JoinLines is the text of a note that has these lines.
func JoinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// AppendLines splits a note's text. Blank lines are what `git notes append`
// puts between its pieces; they are no lines of the note.
func AppendLines(lines []string, text string) []string {
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		if strings.Trim(line, " \t\r") != "" {
			lines = append(lines, line)
		}
		text = rest
	}
	return lines
}

// entry is a line with what it says; no record if it does not parse.
type entry struct {
	line   string
	record *Record
}

func (e entry) at() string { return e.line[len("at="):][:len(TimeLayout)] }

// NormalLines sorts and thins out lines, in place.
func NormalLines(lines []string) []string {
	if !slices.IsSorted(lines) {
		slices.Sort(lines)
	}
	lines = slices.Compact(lines)
	if !slices.ContainsFunc(lines, mayVoid) {
		return lines
	}
	records := make([]Record, len(lines))
	entries := make([]entry, len(lines))
	for i, line := range lines {
		entries[i].line = line
		if r := &records[i]; r.Parse(line) == nil {
			entries[i].record = r
		}
	}

	latest := map[voidKey]string{} // key → time of the latest line that gives it
	dead := map[string]bool{}      // digests that tombstones name
	for _, e := range entries {
		switch r := e.record; {
		case r == nil:
		case r.Event == Forgotten:
			dead[r.Digest] = true
			was := r.Was.UTC().Format(TimeLayout)
			gives(r, r.Had, func(k voidKey) { latest[k] = max(latest[k], was) })
		case r.Status != "":
			gives(r, r.Status, func(k voidKey) { latest[k] = max(latest[k], e.at()) })
		}
	}
	out := lines[:0]
	for _, e := range entries {
		r := e.record
		if r != nil && r.Status != "" && slices.ContainsFunc(voidBy(r), func(k voidKey) bool { return latest[k] > e.at() }) {
			continue
		}
		if len(dead) > 0 && (r == nil || r.Event != Forgotten) && dead[Digest(e.line)] {
			continue
		}
		out = append(out, e.line)
	}
	return out
}

// mayVoid tells the lines that can be void or make others void from those of
// which there are many: results of anything but drift runs, and heads and ends
// of runs. What is no record may look like either, which costs time only.
func mayVoid(line string) bool {
	const at = len("at=") + len(TimeLayout)
	if len(line) <= at {
		return false
	}
	rest, isStatus := strings.CutPrefix(line[at:], " status=")
	if !isStatus {
		return strings.HasPrefix(rest, " event="+Forgotten+" ")
	}
	for _, s := range []string{"queued ", "running "} {
		if strings.HasPrefix(rest, s) {
			return true
		}
	}
	_, rest, _ = strings.Cut(rest, " ")
	return strings.HasPrefix(rest, "op="+Drift+" ")
}

// voidKey is what a line and the earlier one that it makes void have in common.
type voidKey struct{ run, op, target, stack, status, variant string }

// gives hands on the keys of a line with a status. A line of a stack makes the
// earlier queued and running ones of its run void. A drift result also makes
// void earlier ones that say the same, and, since it may go on to replace the
// result of another run, all earlier queued and running ones of the stack's
// drift runs.
func gives(r *Record, status Status, key func(voidKey)) {
	if r.Stack == "" || status == "" {
		return
	}
	key(voidKey{run: r.Run, op: r.Op, target: r.Target, stack: r.Stack})
	if r.Op == Drift && !status.Open() {
		key(voidKey{op: Drift, target: r.Target, stack: r.Stack})
		key(voidKey{op: Drift, target: r.Target, stack: r.Stack, status: string(status), variant: r.Variant})
	}
}

// voidBy are the keys, any of which makes the line void if a later line gives it.
func voidBy(r *Record) []voidKey {
	switch {
	case r.Status.Open() && r.Op == Drift:
		return []voidKey{{run: r.Run, op: r.Op, target: r.Target, stack: r.Stack}, {op: Drift, target: r.Target, stack: r.Stack}}
	case r.Status.Open():
		return []voidKey{{run: r.Run, op: r.Op, target: r.Target, stack: r.Stack}}
	case r.Op == Drift:
		return []voidKey{{op: Drift, target: r.Target, stack: r.Stack, status: string(r.Status), variant: r.Variant}}
	}
	return nil
}

// Digest names a line in a tombstone: the SHA-256 of its bytes, without the
// newline, in hexadecimal.
func Digest(line string) string {
	sum := sha256.Sum256([]byte(line))
	return hex.EncodeToString(sum[:])
}

// Tombstone makes the line that removes another one. It keeps what Normal
// needs to know of the line (its time, and which run, stack and result it was),
// and what the line followed, so that who follows it is tied to what came before.
func Tombstone(line string, by Record) Record {
	t := Record{At: by.At, Event: Forgotten, By: by.By, Reason: by.Reason, Digest: Digest(line), Was: by.At, Run: by.Run}
	if r, err := ParseRecord(line); err == nil {
		t.Was, t.Had, t.Run, t.Prev = r.At, r.Status, r.Run, r.Prev
		t.Op, t.Target, t.Stack, t.ID, t.Variant = r.Op, r.Target, r.Stack, r.ID, r.Variant
		t.SetBackend(r.Backend())
	}
	return t
}
