package note

import (
	"regexp"
	"strings"
)

// Secrets that are told by what stands around them: in URLs, headers, options,
// and private keys.

// userinfo hides the password of a URL, and a token that stands in place of a user.
func userinfo(p place) {
	end := wordEnd(p.text[:min(p.to+window, len(p.text))], p.to)
	all := p.text[p.to:end]
	authority := all
	if i := strings.IndexAny(all, "/?#"); i >= 0 {
		authority = all[:i]
	}
	colon := strings.IndexByte(authority, ':')
	if colon < 0 {
		if at := strings.LastIndexByte(authority, '@'); at >= 20 && tokenUser().MatchString(authority[:at]) {
			p.hide(p.to, p.to+at)
		}
		return
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 && port().MatchString(all[colon+1:]) {
		return // host:port/path
	}
	if at < 0 || len(authority) < len(all) && !hostName().MatchString(authority[at+1:]) {
		// A password may have slashes in it, though it should not.
		if last := strings.LastIndexByte(all, '@'); last > at {
			at = last
		}
	}
	if at <= colon {
		return
	}
	if user := all[:colon]; colon >= 20 && tokenUser().MatchString(user) && mixed(user) {
		colon = -1
	}
	p.hide(p.to+colon+1, p.to+at)
}

var (
	tokenUser = later(`^[A-Za-z0-9_.=-]{20,}$`)
	port      = later(`^[0-9]{1,5}(?:[/?#]|$)`)
	hostName  = later(`^(?:\[[0-9a-fA-F:.]+\]|localhost|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|[A-Za-z0-9._-]+:[0-9]+|)(?::[0-9]+)?$`)
)

// dataSource hides the password of user:password@tcp(host)/database.
func dataSource(p place) {
	from := p.from
	for from > 0 && strings.IndexByte(" \t\n\"'`=", p.text[from-1]) < 0 && p.from-from < window {
		from--
	}
	if colon := strings.IndexByte(p.text[from:p.from], ':'); colon >= 0 {
		p.hide(from+colon+1, p.from)
	}
}

// query hides a parameter of a URL or of a connection string.
func query(p place) {
	if p.from > 0 && (isWordByte(p.text[p.from-1]) || p.text[p.from-1] == '-') {
		return
	}
	end := p.until(p.to, " \t\r\n\"'`&;,)<>")
	if end = p.to + len(strings.TrimRight(p.text[p.to:end], ".:")); end-p.to >= 8 {
		p.hide(p.to, end)
	}
}

// afterAnchor hides what follows, to the next blank, quote or parameter.
func afterAnchor(p place) { p.hide(p.to, p.until(p.to, " \t\r\n\"'`&;<>")) }

// botToken hides a Telegram bot's: its number, a colon, its key.
func botToken(p place) {
	from := p.from
	for from > 0 && p.from-from < 16 && p.text[from-1] >= '0' && p.text[from-1] <= '9' {
		from--
	}
	if end := p.to + len(tokenLike().FindString(p.text[p.to:])); p.from-from >= 5 && end-p.to >= 30 {
		p.hide(from, end)
	}
}

// path hides the path of a URL: whoever knows it may post there.
func path(p place) {
	if end := wordEnd(p.text, p.to); end-p.to > 20 {
		p.hide(p.to, end)
	}
}

// rest hides the lines that follow, as long as they are nothing but base64.
func rest(p place) {
	end := lineEnd(p.text, p.to)
	for end < len(p.text) {
		next := lineEnd(p.text, end+1)
		if !encoded().MatchString(p.text[end+1 : next]) {
			break
		}
		end = next
	}
	p.hide(p.to, end)
}

// encoded is a line of a private key.
var encoded = later(`^[\s│|+~>"'-]*[A-Za-z0-9+/=]{4,}[\s"',\\n]*$`)

// privateKey hides a private key in PEM's form or its kin, or what is there of
// one. The anchor is the end of its first line or of its last.
func privateKey(p place) {
	from := strings.LastIndex(p.text[max(0, p.from-60):p.from], "---")
	if from < 0 {
		return
	}
	from += max(0, p.from-60)
	label := strings.ToUpper(string(p.text[from:p.to]))
	if !strings.Contains(label, "PRIVATE KEY") {
		return
	}
	for from > 0 && p.text[from-1] == '-' {
		from--
	}
	switch {
	case strings.Contains(label, "BEGIN"):
		end := len(p.text)
		// Its own end, with or without the lines of it.
		if last := keyEnd().FindStringIndex(p.text[p.to:]); last != nil {
			end = p.to + last[1]
		}
		p.hide(from, end)
	case strings.Contains(label, "END"):
		for from > 0 { // the lines before, whose beginning is not there
			line := strings.LastIndexByte(p.text[:from-1], '\n') + 1
			if !encoded().MatchString(p.text[line : from-1]) {
				break
			}
			from = line
		}
		p.hide(from, p.to)
	}
}

var keyEnd = later(`(?i)-{4,5} ?END[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}`)

// authorization hides what follows Authorization: a scheme and its credentials.
func authorization(p place) {
	sep := headerSep().FindString(p.text[p.to:min(p.to+40, len(p.text))])
	if sep == "" {
		return
	}
	at := p.to + len(sep)
	line := p.text[at:lineEnd(p.text, at)]
	if q := strings.IndexAny(line, "\"'`"); q >= 0 {
		line = line[:q]
	}
	word, after, two := strings.Cut(line, " ")
	after = strings.TrimLeft(after, " ")
	switch {
	case two && authScheme().MatchString(word):
		if first, _, _ := strings.Cut(after, " "); len(first) >= 4 && (len(first) == len(after) || mixed(first) || len(first) >= 16) {
			p.hide(at+len(line)-len(after), at+len(strings.TrimRight(line, " \\")))
		}
	case len(word) >= 8 && (mixed(word) || len(word) >= 16):
		p.hide(at, at+len(word))
	}
}

var (
	headerSep  = later(`^\\*["']?\s{0,4}(?:=>|[:=,])\s{0,4}\\*["'\[]{0,2}`)
	authScheme = later(`^(?i:bearer|basic|token|digest|negotiate|ntlm|apikey|api-key|key|sharedkey|sharedkeylite|splunk|genericjwt|ssws|aws4-hmac-sha256|hmac|oauth|jwt|private)$`)
)

// scheme hides what follows Bearer or Basic, if it is no word of a sentence: it
// is long, or has a digit, a sign, or a capital after its first letter.
func scheme(p place) {
	if !atWord(p.text, p.from) {
		return
	}
	found := credential().FindStringSubmatchIndex(p.text[p.to:min(p.to+window, len(p.text))])
	if found == nil {
		return
	}
	from, to := p.to+found[2], p.to+found[3]
	if word := p.text[from:to]; to-from < 20 && !oddLetter().MatchString(word) {
		return
	}
	p.hide(from, wordEnd(p.text, to))
}

var (
	credential = later(`^(?:[ \t]+|[:=%]20|%20|\+)\\*["']?([A-Za-z0-9+/=._~-]{6,})`)
	oddLetter  = later(`^.[a-z-]*[A-Z0-9+/=_~]`)
)

// header hides the value of a header.
func header(p place) {
	if strings.IndexByte(p.text[p.to:min(p.to+window, len(p.text))], '=') < 0 {
		return
	}
	end := p.until(p.to, "\"'\r\n")
	if len(strings.TrimSpace(p.text[p.to:end])) >= 8 {
		at := p.to
		for p.text[at] == ' ' {
			at++
		}
		p.hide(at, end)
	}
}

// user:password after an option, the password perhaps quoted.
var (
	curlOption = later(`^[^\n|;]{0,400}?[ "'](?:-[a-zA-Z]*[uU][ =]*|--(?:user|proxy-user)[ =]+)\\*["']?[^\s:"'-][^\s:"']*:`)
	userValue  = later(`^[ =]+\\*["']?[^\s:"'-][^\s:"']*:`)
	loginValue = later(`^[^\n|;]{0,200}? -p[ =]`)
	mysqlValue = later(`^[^\n|;]{0,200}? -p`)
)

func curlUser(p place) {
	if strings.Contains(p.text[p.to:min(p.to+window, len(p.text))], "-") {
		p.secretAfter(curlOption)
	}
}

func userOption(p place) { p.secretAfter(userValue) }

// secretAfter hides what follows that which stands at the anchor.
func (p place) secretAfter(before func() *regexp.Regexp) {
	found := before().FindStringIndex(p.text[p.to:min(p.to+window, len(p.text))])
	if found == nil {
		return
	}
	at := p.to + found[1]
	// The quote that stands before the user ends the password.
	end := wordEnd(p.text, at)
	if q := strings.LastIndexAny(p.text[p.to:at], " ="); q >= 0 {
		word := p.text[p.to+q+1 : at]
		if quote := quoteLength(word); quote > 0 {
			end = quotedEnd(p.text, at, word[:quote])
		}
	}
	if quote := quoteLength(p.text[at:min(at+8, len(p.text))]); quote > 0 {
		end = quotedEnd(p.text, at+quote, p.text[at:at+quote])
	}
	if end > at {
		p.hide(at, end)
	}
}

// loginPassword hides the -p of docker login, az login, sshpass, mysql.
func loginPassword(p place) {
	if !atWord(p.text, p.from) || p.to < len(p.text) && isWordByte(p.text[p.to]) {
		return
	}
	option := loginValue
	if p.text[p.from]|0x20 == 'm' {
		option = mysqlValue // whose password stands right after it
	}
	found := option().FindStringIndex(p.text[p.to:min(p.to+window, len(p.text))])
	if found == nil {
		return
	}
	at := p.to + found[1]
	if at < len(p.text) && strings.IndexByte(" -\n", p.text[at]) < 0 {
		p.value(p.from, at, "=")
	}
}

// variable hides what -var, -backend-config and TF_VAR_ set.
func variable(p place) {
	found := assigned().FindStringIndex(p.text[p.to:min(p.to+300, len(p.text))])
	if found == nil || p.text[p.from] == '-' && p.from > 0 && isWordByte(p.text[p.from-1]) {
		return
	}
	at := p.to + found[1]
	// The quote that stands before the name ends the value.
	if q := strings.IndexAny(p.text[p.to:at], `"'`); q >= 0 {
		if end := quotedEnd(p.text, at, p.text[p.to+q:p.to+q+1]); end > at {
			p.hide(at, end)
		}
		return
	}
	if at < len(p.text) {
		p.value(p.from, at, "=")
	}
}

var assigned = later(`^[ =]*["']?[A-Za-z0-9_.-]+=`)
