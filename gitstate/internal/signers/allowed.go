package signers

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// line is what one line of allowed signers says of its key.
type line struct {
	number     int
	principals []string // patterns
	authority  bool     // its certificates count, and not what it signs itself
	elsewhere  bool     // namespaces= leaves tmnotes out
	validity
}

// name is the principal that stands for the line.
func (l line) name() string {
	for _, principal := range l.principals {
		if !strings.HasPrefix(principal, "!") {
			return principal
		}
	}
	return ""
}

func (l line) check(at time.Time) error {
	if l.elsewhere {
		return fmt.Errorf("%w: it is not for the namespace %s", ErrUnknown, Namespace)
	}
	return l.validity.check(at)
}

func (p *Policy) parseAllowed(text string, local *[]int64) error {
	number := 0
	for raw := range strings.Lines(text) {
		number++
		rest := strings.Trim(raw, " \t\r\n")
		if rest == "" || rest[0] == '#' {
			continue
		}
		l, key, err := parseLine(rest, local)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		l.number = number
		of := p.keys
		if l.authority {
			of = p.authorities
		}
		of[key] = append(of[key], l)
	}
	return nil
}

// parseLine reads principals, options (which may be missing), the key and a comment.
func parseLine(rest string, local *[]int64) (l line, key string, err error) {
	if strings.ContainsFunc(rest, func(r rune) bool { return r == unicode.ReplacementChar || r != '\t' && !unicode.IsPrint(r) }) {
		return l, "", errors.New("it has a character that cannot be printed")
	}
	principals, rest, err := cutPrincipals(rest)
	if err == nil {
		l.principals, err = splitList(principals)
	}
	switch {
	case err != nil:
		return l, "", err
	case l.name() == "":
		return l, "", fmt.Errorf("%q names nobody", principals)
	}
	if word, _, _ := strings.Cut(strings.ReplaceAll(rest, "\t", " "), " "); !isKeyType(word) {
		if rest, err = l.parseOptions(rest, local); err != nil {
			return l, "", err
		}
	}
	public, err := parseKey(rest)
	if err != nil {
		return l, "", err
	}
	return l, string(public.Marshal()), nil
}

// cutPrincipals cuts off the first field, which may have quotes around it.
func cutPrincipals(text string) (principals, rest string, err error) {
	end := strings.IndexAny(text, " \t")
	if strings.HasPrefix(text, `"`) {
		if end = strings.IndexByte(text[1:], '"') + 2; end < 2 {
			return "", "", errors.New("a quote is missing after the principals")
		}
	}
	if end < 0 || end == len(text) {
		return "", "", errors.New("it has no key; a line is: PRINCIPALS [OPTIONS] KEYTYPE KEY")
	}
	principals = strings.TrimSuffix(strings.TrimPrefix(text[:end], `"`), `"`)
	if strings.Contains(principals, `"`) || !strings.ContainsRune(" \t", rune(text[end])) {
		return "", "", errors.New("quotes must be around all of the principals")
	}
	return principals, strings.TrimLeft(text[end:], " \t"), nil
}

// parseOptions reads NAME or NAME="VALUE", with commas between them, and returns what is left.
func (l *line) parseOptions(text string, local *[]int64) (rest string, err error) {
	for {
		end := strings.IndexAny(text, "=, \t")
		if end < 0 {
			return "", fmt.Errorf("%q: no key follows", text)
		}
		name := strings.ToLower(text[:end])
		if text[end] != '=' {
			if name != "cert-authority" {
				return "", fmt.Errorf("%q is neither a type of key nor an option that is known", text[:end])
			}
			l.authority = true
			text = text[end:]
		} else {
			var value string
			if value, text, err = cutQuoted(text[end+1:]); err == nil {
				err = l.set(name, value, local)
			}
			if err != nil {
				return "", fmt.Errorf("option %s: %w", name, err)
			}
		}
		if text == "" {
			return "", errors.New("it has no key after its options")
		}
		if text[0] == ' ' || text[0] == '\t' {
			return strings.TrimLeft(text, " \t"), nil
		}
		if text[0] != ',' {
			return "", fmt.Errorf("option %s: a comma or a space must follow", name)
		}
		text = text[1:]
	}
}

// cutQuoted reads a value in quotes, in which \" is one.
func cutQuoted(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		return "", "", errors.New("its value must be in quotes")
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:], nil
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
		}
		b.WriteByte(text[i])
	}
	return "", "", errors.New("a quote is missing at its end")
}

// set is an option with a value.
func (l *line) set(name, value string, local *[]int64) error {
	switch name {
	case validAfter, validBefore:
		return l.validity.set(name, value, local)
	case "namespaces":
		list, err := splitList(value)
		l.elsewhere = l.elsewhere || err == nil && !matchList(Namespace, list)
		return err
	}
	return errors.New("it is not known; known are cert-authority, namespaces, valid-after and valid-before")
}

func isKeyType(word string) bool {
	return strings.HasPrefix(word, "ssh-") || strings.HasPrefix(word, "ecdsa-") || strings.HasPrefix(word, "sk-")
}

// parseKey reads "KEYTYPE KEY [COMMENT]".
func parseKey(text string) (ssh.PublicKey, error) {
	fields := strings.Fields(text)
	if len(fields) < 2 || !isKeyType(fields[0]) {
		return nil, errors.New("it has no key; write its type and the key, as in the .pub file")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, fmt.Errorf("its key is not base64: %w", err)
	}
	public, err := ssh.ParsePublicKey(blob)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its key cannot be read: %w", err)
	case public.Type() != fields[0]:
		return nil, fmt.Errorf("its key is of the type %s, not %s", public.Type(), fields[0])
	}
	if _, is := public.(*ssh.Certificate); is {
		return nil, errors.New("it has a certificate in the place of a key; name the authority's key with cert-authority")
	}
	return public, weak(public)
}
