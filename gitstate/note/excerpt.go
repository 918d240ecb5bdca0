package note

import (
	"bytes"
	"fmt"
	"strings"
)

// Excerpt is a writer that keeps the beginning and the end of what is written
// to it, at most Limit bytes, however much that is.
type Excerpt struct {
	Limit int

	head, tail []byte
	written    int
}

// MarkRoom is more than the line takes that stands for what was left out.
const MarkRoom = 64

// Write keeps the end of what was written so far; it never fails.
func (e *Excerpt) Write(p []byte) (int, error) {
	half, n := max(e.Limit-MarkRoom, 0)/2, len(p)
	e.written += n
	if room := half - len(e.head); room > 0 {
		k := min(room, len(p))
		e.head, p = append(e.head, p[:k]...), p[k:]
	}
	if len(p) > half {
		p, e.tail = p[len(p)-half:], e.tail[:0]
	}
	if len(e.tail)+len(p) > 2*half {
		e.tail = e.tail[:copy(e.tail, e.tail[len(e.tail)+len(p)-half:])]
	}
	e.tail = append(e.tail, p...)
	return n, nil
}

// String is all that was written, or its beginning and end with a line between
// them that says how much is missing. What is missing are whole lines: half of
// one could have half of a secret in it, that nobody could tell any more.
func (e *Excerpt) String() string {
	head, tail := e.head, e.tail
	if half := max(e.Limit-MarkRoom, 0) / 2; len(tail) > half {
		tail = tail[len(tail)-half:]
	}
	if len(head)+len(tail) == e.written {
		return string(head) + string(tail)
	}
	head = head[:bytes.LastIndexByte(head, '\n')+1]
	if i := bytes.IndexByte(tail, '\n'); i >= 0 {
		tail = tail[i+1:]
	} else {
		tail = nil
	}
	return fmt.Sprintf("%s[... %d bytes are left out here ...]\n%s", head, e.written-len(head)-len(tail), tail)
}

// textEscapes are a terminal's control sequences, operating system commands
// with their text, and its two-byte ones (ECMA-48, 5th ed., 5.3 and 5.4).
var textEscapes = later(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])`)

// PlainText is a text as a terminal would show it, and with nothing in it that
// could drive one, hide text or reorder it: escapes and hidden characters are
// gone, and so is what a carriage return went back over.
func PlainText(s string) string {
	s = textEscapes().ReplaceAllString(strings.ToValidUTF8(s, "?"), "")
	if strings.IndexByte(s, '\r') >= 0 {
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			l = strings.TrimRight(l, "\r")
			lines[i] = l[strings.LastIndexByte(l, '\r')+1:]
		}
		s = strings.Join(lines, "\n")
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || plain(r) {
			return r
		}
		return -1
	}, s)
}
