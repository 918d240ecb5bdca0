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

// pickReason picks, of the ends of both streams, what tells best why a command failed:
// its last error, with detail and place where it is one of Terraform's, else, unless
// errorsOnly, the last line that is not empty; stderr's before stdout's. It is valid
// UTF-8 of at most 300 runes without control characters, or "". An error that was wrapped is
// put together, and what is secret in it hidden, before it is cut. at is where that error is, if it says so.
func pickReason(stderr, stdout []byte, errorsOnly bool, hide func(string) string) (reason, at string) {
	for _, s := range [][]byte{stderr, stdout} {
		if errs := diagnostics(s); len(errs) > 0 {
			last := errs[len(errs)-1]
			return last.text(len(errs)-1, hide), last.at
		}
	}
	if errorsOnly {
		return "", ""
	}
	for _, s := range [][]byte{stderr, stdout} {
		for len(s) > 0 {
			var line []byte
			s, line = cutLastLine(s)
			if r := oneLine(content(string(line))); r != "" {
				return r, ""
			}
		}
	}
	return "", ""
}

// Reason picks from the ends of a command's output the line that tells best why
// it failed, "" if there is none: at most 300 runes without control characters.
func Reason(stderr, stdout []byte) string {
	reason, _ := pickReason(stderr, stdout, false, func(s string) string { return s })
	return reason
}

// lastLines are the last lines with content, of stderr, or where it has none of stdout, as a
// person reads them.
func lastLines(stderr, stdout []byte, most int) (lines []string) {
	for _, text := range [][]byte{stderr, stdout} {
		for len(text) > 0 && len(lines) < most {
			var line []byte
			text, line = cutLastLine(text)
			if l := oneLine(content(string(line))); l != "" {
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

func cutLastLine(text []byte) (rest, line []byte) {
	i := bytes.LastIndexByte(text, '\n')
	if i < 0 {
		return nil, text
	}
	return text[:i], text[i+1:]
}

// content is a line without such a box.
func content(line string) string {
	return strings.Trim(string(plain([]byte(line))), "│╷╵╭╰├─| \t")
}

// oneLine makes a reason of any text.
func oneLine(s string) string {
	s = oneLineOf(s)
	if utf8.RuneCountInString(s) > maxReason {
		s = strings.TrimSpace(string([]rune(s)[:maxReason-1])) + "…"
	}
	return s
}

func oneLineOf(s string) string {
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
	return strings.TrimSpace(s)
}
