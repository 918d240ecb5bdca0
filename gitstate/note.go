package gitstate

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
// because of one that is strictly later and has the same key (voidKey), and
// the latest of a key is never left out but by a tombstone, which then stands
// in for it: it carries the key and the time of the line that it removed.
func Normal(texts ...string) string {
	var lines []string
	for _, t := range texts {
		lines = appendLines(lines, t)
	}
	return joinLines(normalLines(lines))
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// appendLines splits a note's text. Blank lines are what `git notes append`
// puts between its pieces; they are no lines of the note.
func appendLines(lines []string, text string) []string {
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		if strings.Trim(line, " \t\r") != "" {
			lines = append(lines, line)
		}
		text = rest
	}
	return lines
}

// normalLines sorts and thins out lines, in place.
func normalLines(lines []string) []string {
	slices.Sort(lines)
	lines = slices.Compact(lines)

	var (
		latest map[string]string // voidKey → time of the latest line that has it
		dead   map[string]bool   // digests that tombstones name
		keys   = make([]string, len(lines))
	)
	see := func(key, at string) {
		if latest == nil {
			latest = make(map[string]string, len(lines))
		}
		if at > latest[key] {
			latest[key] = at
		}
	}
	for i, line := range lines {
		r, err := ParseRecord(line)
		if err != nil {
			continue
		}
		at := line[len("at="):][:len(timeLayout)]
		switch {
		case r.Event == Forgotten:
			if dead == nil {
				dead = make(map[string]bool)
			}
			dead[r.Digest] = true
			// The tombstone stands in for its line.
			gone := r
			gone.Status = r.Had
			run, series := voidKeys(&gone)
			for _, k := range []string{run, series} {
				if k != "" {
					see(k, r.Was.UTC().Format(timeLayout))
				}
			}
		case r.Status != "":
			run, series := voidKeys(&r)
			see(run, at)
			if series != "" {
				see(series, at)
			}
			switch {
			case r.Status.open():
				keys[i] = run
			case series != "":
				keys[i] = series
			}
		}
	}
	out := lines[:0]
	for i, line := range lines {
		if k := keys[i]; k != "" && latest[k] > line[len("at="):][:len(timeLayout)] {
			continue
		}
		if dead != nil && !isTombstone(line) && dead[Digest(line)] {
			continue
		}
		out = append(out, line)
	}
	return out
}

// voidKeys are the keys under which later lines make earlier ones void: every
// line of a run's stack voids earlier queued and running ones (run), and a
// drift result voids earlier ones that say the same (series).
func voidKeys(r *Record) (run, series string) {
	if r.Stack == "" {
		return "", ""
	}
	run = strings.Join([]string{"run", r.Run, r.Op, r.Target, r.Stack}, "\x00")
	if r.Op == Drift && r.Status != "" && !r.Status.open() {
		series = strings.Join([]string{"drift", string(r.Status), r.Target, r.Stack, r.Variant}, "\x00")
	}
	return run, series
}

func isTombstone(line string) bool {
	const at = len("at=") + len(timeLayout)
	return len(line) > at && strings.HasPrefix(line[at:], " event="+Forgotten+" ")
}

// Digest names a line in a tombstone: the SHA-256 of its bytes, without the
// newline, in hexadecimal.
func Digest(line string) string {
	sum := sha256.Sum256([]byte(line))
	return hex.EncodeToString(sum[:])
}

// tombstone makes the line that removes another one. It keeps what Normal
// needs to know of the line: its time, and which run, stack and result it was.
func tombstone(line string, by Record) Record {
	t := Record{At: by.At, Event: Forgotten, By: by.By, Reason: by.Reason, Digest: Digest(line), Was: by.At, Run: by.Run}
	if r, err := ParseRecord(line); err == nil {
		t.Was, t.Had, t.Run = r.At, r.Status, r.Run
		t.Op, t.Target, t.Stack, t.ID, t.Variant = r.Op, r.Target, r.Stack, r.ID, r.Variant
	}
	return t
}
