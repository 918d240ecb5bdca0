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

// shapes are tokens that can be told by their form, and the places where a
// value follows its name.
var shapes = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(-----END [A-Z ]*PRIVATE KEY-----|$)`), redacted},
	{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/@:]*):[^\s/"']+@`), "${1}:" + redacted + "@"},
	{regexp.MustCompile(`(https?://)[A-Za-z0-9_=-]{20,}@`), "${1}" + redacted + "@"},
	{regexp.MustCompile(`\b(ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}`), redacted},
	{regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{20,}`), redacted},
	{regexp.MustCompile(`\bgl(pat|dt|rt|cbt|ptt|ft|soat|agent|imt)-[A-Za-z0-9_.-]{16,}`), redacted},
	{regexp.MustCompile(`\bxox[a-z]-[A-Za-z0-9-]{10,}`), redacted},
	{regexp.MustCompile(`\bhooks\.slack\.com/services/[A-Za-z0-9/]+`), redacted},
	{regexp.MustCompile(`\b(AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b`), redacted},
	{regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), redacted},
	{regexp.MustCompile(`\bya29\.[A-Za-z0-9_-]{20,}`), redacted},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?`), redacted},
	{regexp.MustCompile(`\b(sk|pk|rk)_(live|test)_[A-Za-z0-9]{10,}`), redacted},
	{regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{20,}`), redacted},
	{regexp.MustCompile(`\b(hvs|hvb|hvr)\.[A-Za-z0-9_-]{20,}`), redacted},
	{regexp.MustCompile(`\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,}`), redacted},
	{regexp.MustCompile(`\bdop_v1_[a-f0-9]{40,}`), redacted},
	{regexp.MustCompile(`\bnpm_[A-Za-z0-9]{30,}`), redacted},
	// What is no word of a sentence: a digit, a capital after the first letter, a sign.
	{regexp.MustCompile(`\b((?i:bearer|basic)) +[A-Za-z0-9+/=._~-][a-z]*[A-Z0-9+/=_~][A-Za-z0-9+/=._~-]{5,}`), "${1} " + redacted},
	{regexp.MustCompile(`(--?(?:var|backend-config)[ =]+["']?[A-Za-z0-9_.-]+=)("[^"]*"?|'[^']*'?|[^\s"']+)`), "${1}" + redacted},
	{regexp.MustCompile(`\b(TF_VAR_[A-Za-z0-9_]+=)("[^"]*"?|'[^']*'?|[^\s"']+)`), "${1}" + redacted},
	{regexp.MustCompile(`(?i)\b([a-z0-9_.-]*(password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key|credentials?)["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s,;&"']+)`), "${1}" + redacted},
}

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

func (r *Redactor) hide(s string) string {
	for _, v := range r.values {
		s = strings.ReplaceAll(s, v, redacted)
	}
	for _, shape := range shapes {
		s = shape.re.ReplaceAllString(s, shape.with)
	}
	return s
}
