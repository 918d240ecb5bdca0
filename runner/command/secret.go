package command

import (
	"slices"
	"strings"
	"unicode"
)

// LooksSecret reports whether the value of a variable, an argument or a setting
// of this name is better not derived from: a short digest of a weak password can
// be guessed. It goes by the words of the name, in any case: snake_case,
// kebab-case, camelCase. What only describes a secret (its name, its length, the
// id of a key) is none.
func LooksSecret(name string) bool {
	words := nameWords(name)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	if slices.Contains(aboutSecrets, last) || slices.Contains(aboutKeys, last) && len(words) > 1 && words[len(words)-2] == "key" {
		return false
	}
	for i, word := range words {
		word := strings.TrimSuffix(word, "s")
		open := word == "key" && i > 0 && slices.Contains(openKeys, words[i-1])
		if slices.Contains(secretWords, word) && !open {
			return true
		}
		for _, part := range secretParts {
			if strings.Contains(word, part) {
				return true
			}
		}
	}
	return false
}

var (
	// secretWords make a name secret where they are one of its words, singular.
	secretWords = []string{"key", "apikey", "auth", "oauth", "authorization", "pass", "pas", "pwd", "pat", "pin", "otp", "cred", "cookie", "dsn", "jwt", "bearer", "pem", "salt"}

	// secretParts do so wherever they stand, as in DBPASSWORD.
	secretParts = []string{"passw", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey", "signingkey"}

	// aboutSecrets end names of what is no secret itself.
	aboutSecrets = []string{"name", "names", "arn", "arns", "length", "ttl", "type", "version", "enabled", "endpoint", "region", "policy", "count", "size", "rotation", "days", "mode", "method", "provider",
		"url", "urls", "uri", "host", "hosts", "domain", "issuer", "audience", "prefix", "path", "paths", "file", "files", "dir"}

	// openKeys stand before the word key where that is no secret.
	openKeys = []string{"public", "pub", "partition", "sort", "range", "hash", "primary", "foreign", "unique", "object", "s3", "kms", "state", "map", "group", "tag", "label", "cache", "routing"}

	// aboutKeys do so behind the word key.
	aboutKeys = []string{"id", "ids", "alias", "vault", "ring", "spec", "usage", "algorithm", "bits"}
)

// nameWords are the words of a name, in lower case.
func nameWords(name string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
		}
		word = word[:0]
	}
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			end()
			continue
		}
		if unicode.IsUpper(r) && i > 0 {
			afterLower := unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1]) && unicode.IsUpper(runes[i-1])
			if afterLower || beforeLower {
				end()
			}
		}
		word = append(word, r)
	}
	end()
	return words
}
