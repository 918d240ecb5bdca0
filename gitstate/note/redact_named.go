package note

import (
	"strings"
)

// What stands after its name: password = "…", "token": "…", X-Api-Key: …,
// API_KEY …, and so on.

var (
	// afterName may end a name that has told what it is about: "password" and
	// "client_secret_value" name secrets, "secret_name" and "token_url" do not.
	afterName = later(`^(?i:s|[0-9]{1,3}|[_-]?(?:value|hash|base64|b64|wo|data|string|plain|text|plaintext|phrase|token|key)){0,2}`)
	// noSecret is a value that stands for one, or says that there is none.
	noSecret = later(`^(?:\((?:sensitive|known after|write-only|redacted|no value)|(?i:null|nil|none|true|false|undefined|unset|empty)(?:[\s,;)}\]]|$)|` +
		`<[a-z ]+>|\*{3}|\[redacted|\$\{|\$\(|\$[A-Z_][A-Z0-9_]*(?:[^A-Za-z0-9]|$)|\{\{|\{[\s"']|\{$|%[svq](?:[^A-Za-z0-9]|$)|\\*["']{2}(?:[^"']|$)|` +
		`(?:(?:var|local|data|module|each|self|global|terramate|dependency|inputs)\.|[a-z]+_[a-z0-9_]+\.[a-z0-9_]+[.\[])[a-z_"][a-z0-9_.\[\]"*]*(?:[\s,)}]|$))`)
	// changed stands between the old value and the new one.
	changed = later(`^[ \t]*->[ \t]*`)
	// tokenLike is what follows a name with nothing but a blank between them.
	tokenLike = later(`^[A-Za-z0-9+/=_.~%-]{16,}`)
	// bare is what may follow an option such as --password: not a word of a sentence.
	bare    = later(`^(?i:is|are|was|flag|flags|option|options|must|may|or|and|not|for|to|from|with|instead|cannot|can|requires?|required|argument|parameter|value|has|the|as|in|on|file|stdin)\b`)
	heredoc = later(`^<<[-~]?"?([A-Za-z_]+)`)
)

// nameAt is where the name begins and ends that the anchor stands in.
func nameAt(p place) (from, to int) {
	from, to = p.from, p.to
	for from > 0 && p.from-from < 64 && (isWordByte(p.text[from-1]) || p.text[from-1] == '-' || p.text[from-1] == '.') {
		from--
	}
	word := p.text[p.from:p.to]
	if strings.EqualFold(word, "passw") { // password, passwd, passwort
		for to < len(p.text) && isLetter(p.text[to]) && to-p.to < 8 {
			to++
		}
	}
	if strings.HasPrefix(word, `"`) {
		to--
	}
	if to < len(p.text) && (isWordByte(p.text[to]) || p.text[to] == '-') {
		to += len(afterName().FindString(p.text[to:min(to+24, len(p.text))]))
	}
	return from, to
}

// separator is what stands between a name, which may be quoted, also within a
// quoted text, or in brackets, and its value: "" if that does not follow.
func separator(text string, at int) (sep string, value int) {
	skip := func(characters string, most int) {
		for end := at + most; at < len(text) && at < end && strings.IndexByte(characters, text[at]) >= 0; {
			at++
		}
	}
	skip(`\`, 8)
	skip("\"'`", 1)
	skip("]", 1)
	skip(" \t", 80)
	for _, sep := range []string{"=>", ":=", "+=", "?=", ":", "=", ">"} {
		if strings.HasPrefix(text[at:], sep) {
			at += len(sep)
			skip(" \t", 80)
			return sep, at
		}
	}
	return "", at
}

// isTag says whether a name stands in an XML tag.
func isTag(text string, from, to int) bool { return from > 0 && text[from-1] == '<' && text[to] == '>' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// named hides the value of a name that tells a secret.
func named(p place) {
	from, to := nameAt(p)
	if to < len(p.text) && isWordByte(p.text[to]) {
		return
	}
	anchor := strings.ToLower(string(p.text[p.from:p.to]))
	switch {
	case anchor == "pwd" && !strings.HasSuffix(p.text[from:p.from], "_") && (from < p.from || p.text[from] == 'P' && p.text[from+1] == 'W'):
		return // the working directory
	case anchor == "signature" && to-p.from > len(anchor):
		return
	}
	sep, at := separator(p.text, to)
	if sep == "" {
		p.apart(from, to)
		return
	}
	next := byte(0)
	if at < len(p.text) {
		next = p.text[at]
	}
	if next == ':' || next == '=' || sep == ">" && !isTag(p.text, from, to) || // ::, ==, a comparison
		sep == ":" && inARN(p.text, from) {
		return
	}
	if anchor == "signature" && (sep != "=" || wordEnd(p.text, at)-at < 16) {
		return
	}
	for {
		end := p.value(from, at, sep)
		arrow := changed().FindString(p.text[end:min(end+100, len(p.text))])
		if arrow == "" {
			return
		}
		at = end + len(arrow)
	}
}

// inARN says whether what begins there goes on an Amazon Resource Name.
func inARN(text string, at int) bool {
	from := at
	for from > 0 && at-from < 200 && strings.IndexByte(" \t\n\"'", text[from-1]) < 0 {
		from--
	}
	return strings.HasPrefix(text[from:at], "arn:")
}

// apart hides what follows a name after nothing but blanks, if that is no word
// of a sentence: AWS_SESSION_TOKEN IQoJ…, --password hunter2, token 0123…
func (p place) apart(from, to int) {
	at := to
	for at < len(p.text) && (p.text[at] == ' ' || p.text[at] == '\t') {
		at++
	}
	if at == to || at == len(p.text) {
		return
	}
	rest := p.text[at:min(at+window, len(p.text))]
	if p.text[from] == '-' {
		if p.text[at] != '-' && !bare().MatchString(rest) {
			p.value(from, at, "=")
		}
		return
	}
	word := tokenLike().FindString(rest)
	if word == "" || !mixed(word) || noSecret().MatchString(rest) {
		return
	}
	name := p.text[from:to]
	shouted := strings.ToUpper(name) == name && strings.IndexByte(name, '_') >= 0
	if shouted || len(word) >= 20 && strings.IndexByte(word, '/') < 0 {
		p.hide(at, wordEnd(p.text, at))
	}
}

// mixed says whether a word has letters and digits, as few words of a language have.
func mixed(word string) bool {
	letter, digit := false, false
	for _, c := range []byte(word) {
		letter = letter || isLetter(c)
		digit = digit || c >= '0' && c <= '9'
	}
	return letter && digit
}

// value hides the value that begins at a place, of the name that begins at from,
// and returns where it ends.
func (p place) value(from, at int, sep string) (end int) {
	if at >= len(p.text) || p.text[at] == '\n' || p.text[at] == '\r' {
		return at
	}
	rest := p.text[at:min(at+100, len(p.text))]
	if strings.HasPrefix(rest, "(sensitive value)") || strings.HasPrefix(rest, "(known after apply)") {
		return at + strings.IndexByte(rest, ')') + 1 // by far the most frequent
	}
	if none := noSecret().FindString(rest); none != "" {
		return at + len(none)
	}
	if quote := quoteLength(rest); quote > 0 {
		end = quotedEnd(p.text, at+quote, p.text[at:at+quote])
		if inner := p.text[at+quote : end]; !noSecret().MatchString(inner) || !strings.HasPrefix(inner, "${") || inner[len(inner)-1] != '}' {
			p.hide(at+quote, end)
		}
		return min(end+quote, len(p.text))
	}
	if name := heredoc().FindStringSubmatch(rest); name != nil {
		return p.hereText(at, name[1])
	}
	if sep == ":" && (rest[0] == '|' || rest[0] == '>') && lineEnd(p.text, at) <= at+3 {
		return p.block(from, at)
	}
	switch {
	case rest[0] == '[':
		end = p.until(at, "]\n")
	case sep == ">":
		end = p.until(at, "<\n")
	case sep == ":" && p.beginsLine(from) && p.text[at-1] != ':':
		end = p.until(at, "\n\r")
	case sep == ":" && p.text[at-1] != ':' && p.inSentence(from, at):
		return at
	case p.afterSemicolon(from):
		end = p.until(at, ";\"'`\n\r")
	default:
		end = p.until(at, " \t\r\n,;&\"'`")
	}
	p.hide(at, end)
	return end
}

// until is where the first of the characters stands.
func (p place) until(at int, characters string) int {
	if i := strings.IndexAny(p.text[at:], characters); i >= 0 {
		return at + i
	}
	return len(p.text)
}

// quoteLength is how long the quote is that a value begins with: within a quoted
// text it has backslashes before it.
func quoteLength(rest string) int {
	slashes := len(rest) - len(strings.TrimLeft(rest, `\`))
	if slashes < len(rest) && (rest[slashes] == '"' || rest[slashes] == '\'' || rest[slashes] == '`') {
		return slashes + 1
	}
	return 0
}

// quotedEnd is where the quote comes that ends a value, or the line.
func quotedEnd(text string, at int, quote string) int {
	for ; at < len(text) && text[at] != '\n'; at++ {
		if strings.HasPrefix(text[at:], quote) {
			return at
		}
		if len(quote) == 1 && text[at] == '\\' && at+1 < len(text) {
			at++
		}
	}
	return min(at, len(text))
}

// beginsLine says whether a name is the first of its line, as in YAML.
func (p place) beginsLine(at int) bool {
	for at > 0 && strings.IndexByte(" \t│|+~-", p.text[at-1]) >= 0 {
		at--
	}
	return at == 0 || p.text[at-1] == '\n'
}

func (p place) afterSemicolon(at int) bool {
	for at > 0 && p.text[at-1] == ' ' {
		at--
	}
	return at > 0 && p.text[at-1] == ';'
}

// inSentence says whether what follows a colon is prose: "reading the secret: no
// such host", "invalid token: EOF". A name of several parts begins none, and
// what is no plain word is none.
func (p place) inSentence(from, at int) bool {
	name := p.text[from:p.to]
	if from == 0 || p.text[from-1] != ' ' || strings.ContainsAny(name, "_-.") {
		return false
	}
	end := at
	for end < len(p.text) && (isLetter(p.text[end]) || p.text[end] == '\'') {
		end++
	}
	after := byte(' ')
	if end < len(p.text) {
		after = p.text[end]
	}
	more := after == ' ' && end+1 < len(p.text) && isLetter(p.text[end+1])
	if end == at || strings.IndexByte(" \n.:,;()", after) < 0 {
		return false
	}
	if word := strings.ToLower(name); strings.HasPrefix(word, "passw") || strings.HasPrefix(word, "passp") || strings.HasPrefix(word, "pwd") {
		return more && strings.ToLower(p.text[at:end]) == p.text[at:end]
	}
	return more || after == ':' || end-at < 16
}

// hereText hides the lines of a heredoc.
func (p place) hereText(at int, name string) int {
	from := lineEnd(p.text, at)
	for line := from; line < len(p.text); {
		next := lineEnd(p.text, line+1)
		if strings.Trim(p.text[min(line+1, len(p.text)):next], " \t\r│+~-") == name {
			p.hide(from+1, line)
			return next
		}
		line = next
	}
	p.hide(from, len(p.text))
	return len(p.text)
}

// block hides the lines of a YAML block: those that are indented more than its name.
func (p place) block(from, at int) int {
	begin := strings.LastIndexByte(p.text[:from], '\n') + 1
	indent := from - begin
	first := lineEnd(p.text, at)
	end := first
	for end < len(p.text) {
		next := lineEnd(p.text, end+1)
		line := p.text[min(end+1, len(p.text)):next]
		if len(strings.TrimSpace(line)) > 0 && len(line)-len(strings.TrimLeft(line, " ")) <= indent {
			break
		}
		end = next
	}
	if end > first+1 {
		p.hide(first+1, end)
	}
	return end
}
