package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An error as Terraform, OpenTofu and, around them, Terragrunt print it (internal/command/format,
// diagnostic.go, of Terraform): in a box, without one where colours are off, or as JSON. What goes
// wrong is in its first line and, below where it is, in a detail that is wrapped at 78.
type diagnostic struct {
	summary, detail string
	at              string // FILE:LINE
	sure            bool   // it has Terraform's form, so the detail is its own
}

// diagnostics are the errors in text, in order, each once.
func diagnostics(text []byte) []diagnostic {
	var found []diagnostic
	seen := map[diagnostic]bool{}
	eachDiagnostic(readLines(text), func(d diagnostic, _, _ int) {
		if !seen[d] {
			found, seen[d] = append(found, d), true
		}
	})
	return found
}

// eachDiagnostic finds errors in lines, the line in which each begins, and the one behind it.
func eachDiagnostic(lines []string, add func(d diagnostic, line, end int)) {
	for i := 0; i < len(lines); {
		next := i + 1
		switch {
		case inBox(lines[i]):
			for next < len(lines) && inBox(lines[next]) {
				next++
			}
			if d, is := boxed(slices.Clone(lines[i:next])); is {
				add(d, i, next)
			}
		case strings.HasPrefix(lines[i], "{"):
			if d, is := fromJSON(lines[i]); is {
				add(d, i, next)
			}
		case strings.HasPrefix(content(lines[i]), errorWord):
			for next < len(lines) && !inBox(lines[next]) && !begins(lines, i, next) {
				next++
			}
			add(unboxed(lines[i:next]), i, next)
		}
		i = next
	}
}

// Block is what to show of an output where there is room for so many lines, at least one: its last errors,
// or, where these do not say all by themselves, the end of it with them; without the boxes around errors, and
// with one empty line for several. source is the part of the output that they are of, of which Block makes
// the same, or less, again.
func Block(output string, most int) (lines []string, source string) {
	all := readLines([]byte(output))
	begins, end, alone := map[int]bool{}, len(all), false
	eachDiagnostic(all, func(d diagnostic, line, next int) {
		begins[line], end, alone = true, len(all), d.sure && d.detail != ""
		if alone {
			end = next
		}
	})
	var errors, at []int // where they begin in lines; where each line is in all
	for i, line := range all[:end] {
		if begins[i] {
			errors = append(errors, len(lines))
		}
		line = strings.TrimRight(strings.TrimPrefix(strings.TrimPrefix(line, "│"), " "), " \t")
		if !isFrame(line) && (line != "" || len(lines) > 0 && lines[len(lines)-1] != "") {
			lines, at = append(lines, line), append(at, i)
		}
	}
	if n := len(lines); n > 0 && lines[n-1] == "" {
		lines = lines[:n-1]
	}
	first := max(len(lines)-most, 0)
	if n := len(errors); n > 0 {
		fits := slices.IndexFunc(errors, func(at int) bool { return at >= first })
		switch {
		case fits < 0:
			first = errors[n-1]
		case alone:
			first = errors[fits]
		}
	}
	if lines, at = lines[first:], at[first:]; len(lines) > 0 {
		from, to := at[0], at[min(len(lines), most+1)-1]+1
		if from > 0 && isFrame(all[from-1]) {
			from--
		}
		source = strings.Join(all[from:to], "\n")
	}
	if len(lines) > most {
		lines = append(lines[:most-1:most-1], "…")
	}
	return lines, source
}

// isFrame says that a line is the top or the bottom of a box.
func isFrame(line string) bool { return line != "" && strings.Trim(line, "╷╵") == "" }

const errorWord = "Error:"

// readLines are the lines of text as a person reads them, without what Terragrunt and indentation put before
// a box. Where there is none, the values of an expression stand behind bars nevertheless; they
// become lines that are indented, like the code above them.
func readLines(text []byte) (lines []string) {
	values := false
	for line := range bytes.Lines(text) {
		line := withoutPrefix(string(plain(bytes.TrimSuffix(line, []byte("\n")))))
		bare := strings.TrimLeft(line, " \t")
		switch {
		case strings.HasPrefix(bare, "├─"):
			values = true
		case values && inBox(bare):
			line = "  " + strings.TrimPrefix(bare, "│")
		default:
			values = false
			if inBox(bare) || strings.HasPrefix(bare, "╷") || strings.HasPrefix(bare, "╵") {
				line = bare
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// terragrunts is what Terragrunt has in front of the lines of the program that it runs, by its
// versions: 0.67 and later, and run-all before.
var terragrunts = regexp.MustCompile(`^(?:[0-9:.]+ )?(?:STDOUT|STDERR|ERROR) +(?:\[[^\]]*\] )?(?:(?:terraform|tofu)(?:\.exe)?: ?)?|^\[[^\]]+\] (│|╷|╵)`)

func withoutPrefix(line string) string {
	m := terragrunts.FindStringSubmatchIndex(line)
	switch {
	case m == nil:
		return line
	case m[2] >= 0:
		return line[m[2]:]
	}
	return line[m[1]:]
}

// inBox says whether a line stands in the box that Terraform draws around an error,
// so that what comes after the box is not taken for its detail.
func inBox(line string) bool { return strings.HasPrefix(line, "│") }

// begins says whether another error or warning begins in a line after that at start. An error
// with an empty line below it is Terraform's, whose next one comes after an empty line, too.
func begins(lines []string, start, i int) bool {
	line := content(lines[i])
	if !strings.HasPrefix(line, errorWord) && !strings.HasPrefix(line, "Warning:") {
		return false
	}
	return start+1 < len(lines) && content(lines[start+1]) != "" || content(lines[i-1]) == ""
}

// boxed reads the lines of a box.
func boxed(lines []string) (d diagnostic, is bool) {
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(line, "│"), " ")
	}
	for i, line := range lines {
		switch c := content(line); {
		case strings.HasPrefix(c, errorWord):
			return diagnosed(c, lines[i+1:], true), true
		case strings.HasPrefix(c, "Warning:"):
			return d, false
		}
	}
	return d, false
}

// unboxed reads an error without a box: in Terraform's form, with an empty line or where it is
// below the first, or in anybody's.
func unboxed(lines []string) diagnostic {
	first, rest := content(lines[0]), lines[1:]
	if len(rest) == 0 {
		return diagnosed(first, nil, true)
	}
	if content(rest[0]) == "" {
		return diagnosed(first, rest, true)
	}
	return diagnostic{summary: strings.TrimSpace(strings.TrimPrefix(first, errorWord)), detail: content(rest[0])}
}

// diagnosed is an error by its first line and what is below it.
func diagnosed(first string, below []string, sure bool) diagnostic {
	d := diagnostic{summary: strings.TrimSpace(strings.TrimPrefix(first, errorWord)), sure: sure}
	for len(below) > 0 && (content(below[0]) == "" || strings.HasPrefix(below[0], "  ")) {
		if at := location.FindStringSubmatch(content(below[0])); at != nil && d.at == "" {
			d.at = place(at[1], at[2])
		}
		below = below[1:]
	}
	d.detail = paragraph(below)
	return d
}

// location matches the line with which Terraform says where an error is.
var location = regexp.MustCompile(`^on (.+) line ([0-9]+)`)

// place is FILE:LINE, "" for what is no file, as `<value for var.x>`.
func place(file, line string) string {
	if file == "" || file[0] == '<' {
		return ""
	}
	return file + ":" + line
}

// paragraph is the first of a detail, without line ends; one that ends with a colon goes on in
// the next.
func paragraph(lines []string) string {
	var words []string
	for _, line := range lines {
		c := content(line)
		if c == "" && len(words) > 0 && !strings.HasSuffix(words[len(words)-1], ":") {
			break
		}
		if c != "" {
			words = append(words, c)
		}
	}
	return strings.Join(words, " ")
}

// fromJSON reads a line of what -json has printed.
func fromJSON(line string) (d diagnostic, is bool) {
	var message struct {
		Diagnostic struct {
			Severity, Summary, Detail string
			Range                     struct {
				Filename string
				Start    struct{ Line int }
			}
		}
	}
	if json.Unmarshal([]byte(line), &message) != nil || message.Diagnostic.Severity != "error" {
		return d, false
	}
	from := message.Diagnostic
	d = diagnostic{summary: from.Summary, detail: paragraph(strings.Split(from.Detail, "\n")), sure: true}
	d.at = place(from.Range.Filename, strconv.Itoa(from.Range.Start.Line))
	return d, true
}

// localExec is the error of a local-exec, of which the output says more than a long command.
var localExec = regexp.MustCompile(`^(Error running command ')(.+)(': .+?)\. Output: ?(.*)$`)

// text is a diagnostic in one line: what, in what detail, where, and how many there are besides.
// What is secret is hidden before the detail is cut, which it is at the end of a sentence where one
// ends in its second half.
func (d diagnostic) text(besides int, hide func(string) string) string {
	const longCommand = 60
	line := func(s string) string { return strings.Join(strings.Fields(oneLineOf(hide(s))), " ") }
	head, tail := line(errorWord+" "+d.summary), ""
	if d.at != "" {
		tail = " (" + cut(line(d.at), shortReason) + ")"
	}
	if besides == 1 {
		tail += "; 1 more error"
	} else if besides > 1 {
		tail += fmt.Sprintf("; %d more errors", besides)
	}
	room := maxReason - utf8.RuneCountInString(tail)
	detail := line(d.detail)
	if m := localExec.FindStringSubmatch(detail); m != nil {
		detail = m[1] + cut(m[2], longCommand) + m[3]
		if m[4] != "" {
			detail += ". Output: " + m[4]
		}
	}
	detail = strings.TrimRight(detail, ":, ")
	if tail != "" {
		detail = strings.TrimSuffix(detail, ".")
	}
	headed := strings.TrimRight(head, ".:, ") + ": "
	left := room - utf8.RuneCountInString(headed)
	if detail == "" || left < shortReason || !d.sure && utf8.RuneCountInString(head) > shortReason {
		return cut(head, room) + tail
	}
	return headed + cut(detail, left) + tail
}

// cut shortens s to so many runes.
func cut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	kept := string(runes[:most-1])
	if end := strings.LastIndex(kept, ". "); end > len(kept)/2 {
		return kept[:end+1]
	}
	return strings.TrimSpace(kept) + "…"
}
