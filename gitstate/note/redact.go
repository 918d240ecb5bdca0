package note

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Redactor takes secrets out of what is about to be recorded, kept or shown. It
// is no proof against a program that prints a secret in a form that nobody could
// know; it knows three kinds: values that the environment names as secret, values
// that the command line names, and what the table of shapes tells. One Redactor
// knows all that is secret to a task; it may be used by several goroutines, and
// may learn more at any time. The zero Redactor knows the shapes.
type Redactor struct {
	mu       sync.Mutex
	env      [][]string // that was not looked at yet: most tasks have nothing to hide
	commands [][]string
	values   []string // longest first
}

const redacted = "***"

// secretName tells names of environment variables, and of options, whose values
// are secrets: what a CI masks in its logs comes in by such names.
func secretName(name string) bool {
	name = strings.ReplaceAll(strings.ToUpper(name), "-", "_")
	if strings.HasPrefix(name, "TF_VAR_") {
		return true
	}
	for _, part := range secretParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	for _, end := range secretEnds {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

var (
	secretParts = []string{"TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "APIKEY", "API_KEY", "ACCESS_KEY", "ACCOUNT_KEY",
		"AUTH_", "AUTHORIZATION", "CONNECTION_STR", "CONNECTIONSTR", "CONN_STR"}
	secretEnds = []string{"AUTH", "_PAT", "_KEY", "_PWD", "_DSN", "_SAS"}
)

// notSecret are values that are too common to be taken out of a sentence.
var notSecret = later(`^(?i:true|false|yes|no|on|off|none|null|default|prod(uction)?|staging|dev(elopment)?|test|main|master|[0-9]{1,5})$`)

// filePath is what a path looks like, and what begins one: a random secret may
// begin with a slash, too.
var (
	filePath = later(`^/[A-Za-z0-9_.@/-]*$`)
	fileRoot = later(`^/(?:bin|builds|dev|etc|github|home|lib|mnt|nix|opt|private|proc|root|run|sbin|srv|sys|tmp|usr|var|workspace|Users|Volumes)(?:/|$)`)
)

func isPath(value string) bool {
	if !filePath().MatchString(value) {
		return false
	}
	random := len(value) >= 16 && strings.ContainsAny(value, "0123456789") && strings.ToLower(value) != value && strings.ToUpper(value) != value
	return !random || fileRoot().MatchString(value)
}

// NewRedactor knows the secrets of an environment and of command lines.
func NewRedactor(env []string, commands ...[]string) *Redactor {
	r := new(Redactor)
	r.Learn(env)
	r.LearnCommands(commands...)
	return r
}

// Learn makes the secrets of an environment known, too.
func (r *Redactor) Learn(env []string) {
	if len(env) > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.env = append(r.env, env)
	}
}

// LearnCommands makes the secrets of command lines known, too.
func (r *Redactor) LearnCommands(commands ...[]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, commands...)
}

// known are the secret values, of all that was learned so far.
func (r *Redactor) known() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.env)+len(r.commands) == 0 {
		return r.values
	}
	r.values = slices.Clone(r.values) // others may be reading it
	for _, env := range r.env {
		for _, kv := range env {
			name, value, _ := strings.Cut(kv, "=")
			if secretName(name) {
				r.add(value)
			} else {
				r.addShapes(value)
			}
		}
	}
	for _, c := range r.commands {
		r.addCommand(c)
	}
	r.env, r.commands = nil, nil
	slices.SortFunc(r.values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	r.values = slices.Compact(r.values)
	return r.values
}

// addCommand adds what the options of a command line, or the variables before it,
// name as secret, and what the shapes tell in it.
func (r *Redactor) addCommand(argv []string) {
	for i, arg := range argv {
		name, value, ok := secretArg(arg)
		if !ok {
			continue
		}
		if !strings.Contains(arg, "=") && i+1 < len(argv) {
			value = argv[i+1]
		}
		if v, ok := valueOf(name, value); ok {
			r.add(v)
			if _, part, named := strings.Cut(v, "="); named {
				r.add(part)
			}
		}
	}
	r.addShapes(quoted(argv))
}

// addShapes adds what the shapes tell in a text.
func (r *Redactor) addShapes(text string) {
	for _, s := range findSecrets(known(), text) {
		if s.to-s.from >= 6 { // shorter ones are parts of common words
			r.add(text[s.from:s.to])
		}
	}
}

func (r *Redactor) add(value string) {
	value = strings.TrimSpace(value)
	if len(value) < 4 || notSecret().MatchString(value) || isPath(value) || value == redacted {
		return
	}
	r.values = append(r.values, value)
	// The forms in which programs print it: in a URL, in a JSON or Go string, in
	// shell quotes, in base64.
	forms := []string{url.QueryEscape(value), url.PathEscape(value), strings.Trim(strconv.Quote(value), `"`), inJSON(value), strings.ReplaceAll(value, "'", `'\''`)}
	if len(value) >= 8 {
		forms = append(forms, base64.RawStdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)))
	}
	for _, form := range forms {
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
		for _, m := range quotedPiece().FindAllStringSubmatch(value, -1) {
			if len(m[1]) >= 6 {
				r.add(m[1])
			}
		}
	}
}

func inJSON(value string) string {
	text, err := json.Marshal(value)
	if err != nil {
		return value
	}
	return strings.Trim(string(text), `"`)
}

var quotedPiece = later(`[=:\[,]\s*"([^"\\]+)"`)

// secretArg tells options whose values stay out of the record: -var,
// -backend-config, and options that are named like a secret; and variables
// that are set before a command.
func secretArg(arg string) (name, value string, ok bool) {
	name, value, set := strings.Cut(arg, "=")
	if !strings.HasPrefix(arg, "-") {
		return name, value, set && isVariable().MatchString(name) && secretName(name)
	}
	switch word := strings.TrimLeft(name, "-"); {
	case word == "var", word == "backend-config":
		return name, value, true
	case word != "var-file" && secretName(word):
		return name, value, true
	}
	return "", "", false
}

var isVariable = later(`^[A-Za-z_][A-Za-z0-9_]*$`)

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
		words[i] = r.Hide(strings.ToValidUTF8(w, "\uFFFD"))
	}
	return r.Text(quoted(words), 1000)
}

// quoted is a command line as a shell reads it.
func quoted(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		if strings.ContainsAny(w, " \t\n\"'\\$`") || w == "" {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}

// JoinedCommand are the words of a command line that were joined by blanks, as
// well as can be told: what an option sets that may be secret goes on to the next
// option.
func JoinedCommand(line string) (argv []string) {
	var option string // whose value may go on
	for _, word := range strings.Fields(line) {
		last := len(argv) - 1
		switch _, _, secret := secretArg(word); {
		case secret:
			option = word
		case option != "" && !strings.HasPrefix(word, "-") && (argv[last] != option || strings.Contains(option, "=")):
			argv[last] += " " + word
			continue
		case strings.HasPrefix(word, "-"):
			option = ""
		}
		argv = append(argv, word)
	}
	return argv
}

// hideValue keeps the name of name=value: which variable was set may be known.
func hideValue(option, s string) string {
	v, secret := valueOf(option, s)
	if !secret {
		return s
	}
	if name := strings.TrimSuffix(s, v); IsToken(strings.TrimSuffix(name, "=")) {
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
	s = r.Hide(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > limit {
		cut := limit - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}

// Hide puts stars in place of all that is secret in a text.
func (r *Redactor) Hide(text string) string {
	anchors, values := known(), r.known()
	var spans []span
	if len(text) < shortText {
		spans = placesOf(values, text)
	} else if len(values) > 0 {
		anchors = anchors.extend()
		for _, v := range values {
			anchors.add(v, false, ofValue)
		}
	}
	spans = apart(append(spans, findSecrets(anchors, text)...))
	if len(spans) == 0 {
		return text
	}
	var b strings.Builder
	done := 0
	for _, s := range spans {
		b.WriteString(text[done:s.from])
		b.WriteString(redacted)
		done = s.to
	}
	b.WriteString(text[done:])
	return b.String()
}

// shortText is less than what it is worth to put values into the table for.
const shortText = 4 << 10

// placesOf are all places where one of the values stands.
func placesOf(values []string, text string) (spans []span) {
	for _, v := range values {
		for at := 0; ; {
			i := strings.Index(text[at:], v)
			if i < 0 {
				break
			}
			spans = append(spans, span{at + i, at + i + len(v)})
			at += i + 1
		}
	}
	return spans
}

// span is a secret in a text.
type span struct{ from, to int }

// ofValue is the kind of the values that are secret, among the numbers of shapes.
const ofValue = -1

// findSecrets finds all that is secret in a text.
func findSecrets(anchors *literals, text string) []span {
	var found finds
	anchors.find(text, func(kind, from, to int) {
		if kind == ofValue {
			found.spans = append(found.spans, span{from, to})
		} else if from >= found.end { // not within a secret
			tryShape(kind, place{text, from, to, &found})
		}
	})
	return found.spans
}

// apart puts spans in order, and those that touch together.
func apart(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	joined := spans[:0]
	for _, s := range spans {
		if last := len(joined) - 1; last >= 0 && s.from <= joined[last].to {
			joined[last].to = max(joined[last].to, s.to)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}
