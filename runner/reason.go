package runner

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxReason   = 300 // runes
	shortReason = 60  // runes; an "Error:" line up to so long says too little alone
)

// escapes are the terminal's: control sequences, operating system commands with
// their text, and the two-byte ones (ECMA-48, 5th ed., sections 5.3 and 5.4).
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])`)

// plain is a line of output as a person would read it: without escapes, and
// without what was overwritten by way of a carriage return.
func plain(line []byte) []byte {
	if bytes.IndexByte(line, 0x1b) >= 0 {
		line = escapes.ReplaceAll(line, nil)
	}
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return line
}

// pickReason picks, of the ends of both streams, the line that tells best why a
// command failed: its last "Error:" line, with the next line of detail where it
// is short, else, unless errorsOnly, the last line that is not empty; stderr's
// before stdout's. It is valid UTF-8 of at most 300 runes without control
// characters, or "".
func pickReason(stderr, stdout []byte, errorsOnly bool) string {
	for _, s := range [][]byte{stderr, stdout} {
		if r := errorLine(s); r != "" {
			return r
		}
	}
	if errorsOnly {
		return ""
	}
	for _, s := range [][]byte{stderr, stdout} {
		for len(s) > 0 {
			var line []byte
			s, line = cutLastLine(s)
			if r := oneLine(content(line)); r != "" {
				return r
			}
		}
	}
	return ""
}

// Reason picks from the ends of a command's output the line that tells best why
// it failed, "" if there is none: at most 300 runes without control characters.
func Reason(stderr, stdout []byte) string { return pickReason(stderr, stdout, false) }

// lastLines are the last lines with content, of stderr, or where it has none of stdout, as a
// person reads them.
func lastLines(stderr, stdout []byte, most int) (lines []string) {
	for _, text := range [][]byte{stderr, stdout} {
		for len(text) > 0 && len(lines) < most {
			var line []byte
			text, line = cutLastLine(text)
			if l := oneLine(content(line)); l != "" {
				lines = append(lines, l)
			}
		}
		if len(lines) > 0 {
			break
		}
	}
	slices.Reverse(lines)
	return lines
}

// errorLine returns the last "Error:" line of text.
func errorLine(text []byte) string {
	// The next line with content after the one looked at, and the next one that
	// says no more than where.
	detail, where, boxed := "", "", false
	for len(text) > 0 {
		var line []byte
		text, line = cutLastLine(text)
		c := content(line)
		if strings.HasPrefix(c, "Error:") {
			if detail == "" {
				detail = where
			}
			if detail != "" && boxed == inBox(line) && utf8.RuneCountInString(c) <= shortReason {
				c = strings.TrimRight(c, ".:, ") + ": " + strings.TrimRight(detail, ":, ")
			}
			return oneLine(c)
		}
		switch {
		case c == "":
		case location.MatchString(c):
			where, boxed = c, inBox(line)
		default:
			detail, boxed = c, inBox(line)
		}
	}
	return ""
}

// location matches the lines with which Terraform shows where an error is: the
// resource, the file, the source. What went wrong comes before and after them.
var location = regexp.MustCompile(`^(with [^ ]+,$|on .+ line [0-9]+|[0-9]+: |\(source code not available\))`)

// inBox says whether a line stands in the box that Terraform draws around an error,
// so that what comes after the box is not taken for its detail.
func inBox(line []byte) bool { return bytes.HasPrefix(plain(line), []byte("│")) }

func cutLastLine(text []byte) (rest, line []byte) {
	i := bytes.LastIndexByte(text, '\n')
	if i < 0 {
		return nil, text
	}
	return text[:i], text[i+1:]
}

// content is a line without such a box.
func content(line []byte) string {
	return strings.Trim(string(plain(line)), "│╷╵╭╰├─| \t")
}

// oneLine makes a reason of any text.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		if unicode.Is(unicode.Cf, r) {
			return -1 // turns the direction of text, or hides
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > maxReason {
		s = strings.TrimSpace(string([]rune(s)[:maxReason-1])) + "…"
	}
	return s
}
