package note

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// cutValue reads a value, in the one form that AppendValue gives it, up to the
// space or the end after it.
func cutValue(s string) (value, rest string, err error) {
	if s == "" || s[0] != '"' {
		value = s
		if i := strings.IndexByte(s, ' '); i >= 0 {
			value, rest = s[:i], s[i:]
		}
		if needsQuotes(value) {
			return "", "", errors.New("not in its one valid form")
		}
		return value, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); {
		switch c := s[i]; c {
		case '"':
			value, quoted := b.String(), s[:i+1]
			if !needsQuotes(value) || string(AppendValue(make([]byte, 0, len(quoted)), value)) != quoted {
				return "", "", errors.New("not in its one valid form")
			}
			return value, s[i+1:], nil
		case '\\':
			r, n, ok := unescape(s[i:])
			if !ok {
				return "", "", errors.New("invalid escape")
			}
			b.WriteRune(r)
			i += n
		default:
			n := strings.IndexAny(s[i:], `"\`)
			if n < 0 {
				n = len(s) - i
			}
			b.WriteString(s[i : i+n])
			i += n
		}
	}
	return "", "", errors.New("a quote is not closed")
}

func unescape(s string) (r rune, n int, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	switch s[1] {
	case '"', '\\':
		return rune(s[1]), 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case 'u':
		hi, ok := hex4(s[2:])
		if !ok {
			return 0, 0, false
		}
		if utf16.IsSurrogate(hi) {
			if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
				return 0, 0, false
			}
			lo, ok := hex4(s[8:])
			r := utf16.DecodeRune(hi, lo)
			return r, 12, ok && r != utf8.RuneError
		}
		return hi, 6, true
	}
	return 0, 0, false
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}

// AppendPair writes a pair as logfmt has it.
func AppendPair(b []byte, key, value string) []byte {
	if len(b) > 0 {
		b = append(b, ' ')
	}
	b = append(b, key...)
	return AppendValue(append(b, '='), value)
}

// AppendValue quotes a value where that is needed, and escapes what could
// drive a terminal, hide text or reorder it: git prints notes raw.
func AppendValue(b []byte, value string) []byte {
	if !needsQuotes(value) {
		return append(b, value...)
	}
	const digits = "0123456789abcdef"
	u16 := func(b []byte, c uint16) []byte {
		return append(b, '\\', 'u', digits[c>>12], digits[c>>8&15], digits[c>>4&15], digits[c&15])
	}
	b = append(b, '"')
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case !plain(r):
			if r > 0xffff {
				hi, lo := utf16.EncodeRune(r)
				b = u16(u16(b, uint16(hi)), uint16(lo))
			} else {
				b = u16(b, uint16(r))
			}
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// plain reports whether a character is written as it is. The ranges are part
// of the format and never change: a table that grows with Unicode, as
// unicode.IsPrint has, would make lines of one version invalid for the next.
func plain(r rune) bool {
	switch {
	case r < 0x20: // C0
		return false
	case r < 0x7f:
		return true
	case r <= 0xa0, r == 0xad: // DEL, C1, no-break space, soft hyphen
		return false
	case r < 0x34f:
		return true
	case r == 0x34f, r == 0x61c, r == 0x115f, r == 0x1160, r == 0x1680, r == 0x17b4, r == 0x17b5, r >= 0x180b && r <= 0x180f: // invisible
		return false
	case r < 0x2000:
		return true
	case r <= 0x200f, r >= 0x2028 && r <= 0x202f, r >= 0x205f && r <= 0x206f: // spaces, zero width, line ends, bidi
		return false
	case r == 0x3000, r == 0x3164, r >= 0xd800 && r <= 0xf8ff, r == 0xfeff, r == 0xffa0, r >= 0xfff0 && r <= 0xffff: // surrogates, private, specials
		return false
	case r >= 0x1bca0 && r <= 0x1bcaf, r >= 0x1d173 && r <= 0x1d17a, r >= 0xe0000: // format controls, tags, private planes
		return false
	}
	return true
}

func needsQuotes(v string) bool {
	ascii := true
	for i := range len(v) {
		c := v[i]
		if c <= ' ' || c == '=' || c == '"' || c == '\\' || c == 0x7f {
			return true
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return false
	}
	for _, r := range v { // invalid UTF-8 is U+FFFD, which is not plain
		if !plain(r) {
			return true
		}
	}
	return false
}

// MarshalJSON writes the record's keys as they are in the note; numbers as
// numbers, took in seconds, prev as a list.
func (r Record) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	add := func(key string, value any) error {
		j, err := json.Marshal(value)
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, key), ':')
		b = append(b, j...)
		return err
	}
	for _, f := range fields {
		v := f.get(&r)
		if v == "" {
			continue
		}
		var err error
		switch {
		case f.key == "took":
			err = add(f.key, json.RawMessage(strings.TrimSuffix(v, "s")))
		case f.key == "prev":
			err = add(f.key, r.Prev)
		case f.key == "dirty":
			err = add(f.key, true)
		case f.num:
			err = add(f.key, json.RawMessage(v))
		default:
			err = add(f.key, v)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, p := range r.Extra {
		var v any = p.Value
		if _, ok := parseInt(p.Value); (ok || p.Value == "true") && slices.Contains(plainKeys, p.Key) {
			v = json.RawMessage(p.Value)
		}
		if err := add(p.Key, v); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}
