package gitstate

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Redactor takes secrets out of what is about to be recorded. It is no proof
// against a program that prints a secret in a form that nobody could know; it
// knows three kinds: values that the environment names as secret, values that
// the command line names, and tokens by their well-known shapes.
type Redactor struct {
	values []string // longest first
}

const redacted = "***"

// secretName matches names of environment variables whose values are secrets:
// what a CI masks in its logs comes in by such names.
var secretName = regexp.MustCompile(`(?i)(TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_KEY|AUTH($|_|ORIZATION)|_PAT$|_KEY$|_PWD$|_DSN$)|^TF_VAR_`)

// notSecret are values that are too common to be taken out of a sentence.
var notSecret = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|none|null|default|prod(uction)?|staging|dev(elopment)?|test|main|master|[0-9]{1,5}|/.*)$`)

// NewRedactor knows the secrets of an environment and of command lines.
func NewRedactor(env []string, commands ...[]string) *Redactor {
	r := new(Redactor)
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok && secretName.MatchString(name) {
			r.add(value)
		}
	}
	for _, c := range commands {
		for i, arg := range c {
			name, value, ok := secretArg(arg)
			if !ok {
				continue
			}
			if !strings.Contains(arg, "=") && i+1 < len(c) {
				value = c[i+1]
			}
			if v, ok := valueOf(name, value); ok {
				r.add(v)
				if _, part, named := strings.Cut(v, "="); named {
					r.add(part)
				}
			}
		}
	}
	slices.SortFunc(r.values, func(a, b string) int { return len(b) - len(a) })
	r.values = slices.Compact(r.values)
	return r
}

func (r *Redactor) add(value string) {
	value = strings.TrimSpace(value)
	if len(value) < 4 || notSecret.MatchString(value) {
		return
	}
	r.values = append(r.values, value)
	// The forms in which programs print it: in a URL, in a JSON or Go string.
	for _, form := range []string{url.QueryEscape(value), url.PathEscape(value), strings.Trim(strconv.Quote(value), `"`)} {
		if form != value {
			r.values = append(r.values, form)
		}
	}
	// A value of several lines, or a quoted one, shows up in pieces.
	if trimmed := strings.Trim(value, `"'`); trimmed != value {
		r.add(trimmed)
	}
	if strings.Contains(value, "\n") {
		for _, line := range strings.Split(value, "\n") {
			if len(line) >= 8 {
				r.add(line)
			}
		}
	}
	if value[0] == '{' || value[0] == '[' { // a map or list for Terraform
		for _, m := range quotedPiece.FindAllStringSubmatch(value, -1) {
			if len(m[1]) >= 6 {
				r.add(m[1])
			}
		}
	}
}

var quotedPiece = regexp.MustCompile(`[=:\[,]\s*"([^"\\]+)"`)

// secretArg tells options whose values stay out of the record: -var,
// -backend-config, and options that are named like a secret.
func secretArg(arg string) (name, value string, ok bool) {
	if !strings.HasPrefix(arg, "-") {
		return "", "", false
	}
	name, value, _ = strings.Cut(arg, "=")
	switch word := strings.TrimLeft(name, "-"); {
	case word == "var", word == "backend-config":
		return name, value, true
	case word != "var-file" && secretName.MatchString(word):
		return name, value, true
	}
	return "", "", false
}

// valueOf is the secret in the value of an option: what a variable is set to,
// or all of it. -backend-config without a name is a file.
func valueOf(option, value string) (secret string, ok bool) {
	switch word := strings.TrimLeft(option, "-"); word {
	case "var", "backend-config":
		if _, v, named := strings.Cut(value, "="); named {
			return v, true
		}
		return value, word == "var"
	}
	return value, true
}

// Command is a command line as it may be recorded: the names that -var and
// -backend-config set are shown, their values are not.
func (r *Redactor) Command(argv []string) string {
	words := make([]string, len(argv))
	option := ""
	for i, arg := range argv {
		w := arg
		name, value, secret := secretArg(arg)
		switch {
		case option != "":
			w = hideValue(option, arg)
			option = ""
		case secret && !strings.Contains(arg, "="):
			option = name
		case secret:
			w = name + "=" + hideValue(name, value)
		}
		// Before the quotes, which secrets could hide behind.
		w = r.hide(strings.ToValidUTF8(w, "\uFFFD"))
		if strings.ContainsAny(w, " \t\n\"'\\$`") || w == "" {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return r.Text(strings.Join(words, " "), 1000)
}

// hideValue keeps the name of name=value: which variable was set may be known.
func hideValue(option, s string) string {
	v, secret := valueOf(option, s)
	if !secret {
		return s
	}
	if name := strings.TrimSuffix(s, v); isToken(strings.TrimSuffix(name, "=")) {
		return name + redacted
	}
	return redacted
}

// Text takes secrets out of a sentence and shortens it to limit bytes. It is
// valid UTF-8 afterwards.
func (r *Redactor) Text(s string, limit int) string {
	// A secret that would be cut in two could not be told any more.
	if len(s) > 64*limit {
		s = s[:64*limit]
	}
	s = r.hide(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > limit {
		cut := limit - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}

// hide puts stars in place of all that is secret in a text.
func (r *Redactor) hide(s string) string {
	text := []byte(s)
	var spans []span
	hide := func(from, to int) {
		if to > from {
			spans = append(spans, span{from, to})
		}
	}
	end := 0 // of what the last shape hid
	r.literals().find(text, func(kind, from, to int) {
		if kind == ofValue {
			hide(from, to)
			return
		}
		if from < end {
			return // within a secret
		}
		tryShape(kind, place{text, from, to, func(from, to int) {
			end = max(end, to)
			hide(from, to)
		}})
	})
	if len(spans) == 0 {
		return s
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var b strings.Builder
	done := 0
	for i := 0; i < len(spans); {
		from, to := spans[i].from, spans[i].to
		for i++; i < len(spans) && spans[i].from <= to; i++ {
			to = max(to, spans[i].to)
		}
		b.Write(text[done:from])
		b.WriteString(redacted)
		done = to
	}
	b.Write(text[done:])
	return b.String()
}

type span struct{ from, to int }

// ofValue is the kind of the values that are secret, among the numbers of shapes.
const ofValue = -1

// literals finds the secret values and the anchors of the shapes.
func (r *Redactor) literals() *literals {
	if len(r.values) == 0 {
		return known()
	}
	l := known().clone()
	for _, v := range r.values {
		l.add(v, false, ofValue)
	}
	return l
}
