package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// What is put into a digest is plain: the values of what looks secret are left out of
// it, and their names stay. A rotated password is no other deployment.

// secretName is [LooksSecret], but for "key" alone, which is what backends call the path
// of the state.
func secretName(name string) bool { return name != "key" && LooksSecret(name) }

// plainPair is NAME=VALUE without the value of a secret.
func plainPair(pair string) string {
	name, value, ok := strings.Cut(pair, "=")
	switch {
	case !ok:
		return pair
	case secretName(strings.TrimSpace(name)):
		return name
	}
	return name + "=" + plainValue(value)
}

var (
	assignment = regexp.MustCompile(`([A-Za-z0-9_.-]+)=("[^"]*"|'[^']*'|\S*)`)
	userInURL  = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/@\s"']*@`)
)

// plainText leaves secrets out of words whose syntax is not known.
func plainText(text string) string {
	text = assignment.ReplaceAllStringFunc(text, func(found string) string {
		name, _, _ := strings.Cut(found, "=")
		if secretName(strings.TrimLeft(name, "-")) {
			return name
		}
		return found
	})
	return userInURL.ReplaceAllString(text, "$1")
}

// plainWords leaves secrets out of the words of a program that is not known.
func plainWords(words []string) []string {
	plain := make([]string, 0, len(words))
	for i, word := range words {
		before := ""
		if i > 0 {
			before = words[i-1]
		}
		if strings.HasPrefix(before, "-") && !strings.Contains(before, "=") && !strings.HasPrefix(word, "-") && secretName(strings.TrimLeft(before, "-")) {
			continue
		}
		plain = append(plain, plainText(word))
	}
	return plain
}

// plainValue leaves secrets out of the value of a variable: a string, or an
// expression, of which the attributes count.
func plainValue(value string) string {
	if start := strings.TrimSpace(value); strings.HasPrefix(start, "{") || strings.HasPrefix(start, "[") {
		source := []byte(value)
		if expr, diags := hclsyntax.ParseExpression(source, "", hcl.InitialPos); !diags.HasErrors() {
			return string(plainTokens(source, secretsIn(expr)))
		}
	}
	return userInURL.ReplaceAllString(value, "$1")
}

// plainFile leaves secrets, comments and layout out of a file of variables.
func plainFile(name string, content []byte) []byte {
	if strings.HasSuffix(name, ".json") {
		if plain, ok := plainJSON(content, secretName); ok {
			return plain
		}
		return content
	}
	file, diags := hclsyntax.ParseConfig(content, name, hcl.InitialPos)
	if diags.HasErrors() {
		return content
	}
	var secrets []hcl.Range
	for _, attr := range file.Body.(*hclsyntax.Body).Attributes {
		if secretName(attr.Name) {
			secrets = append(secrets, attr.Expr.Range())
		} else {
			secrets = append(secrets, secretsIn(attr.Expr)...)
		}
	}
	return plainTokens(content, secrets)
}

// secretsIn are the places of the values in an expression whose keys look secret.
func secretsIn(expr hclsyntax.Expression) (secrets []hcl.Range) {
	_ = hclsyntax.VisitAll(expr, func(node hclsyntax.Node) hcl.Diagnostics {
		object, is := node.(*hclsyntax.ObjectConsExpr)
		if !is {
			return nil
		}
		for _, item := range object.Items {
			key := hcl.ExprAsKeyword(item.KeyExpr)
			if value, diags := item.KeyExpr.Value(nil); key == "" && !diags.HasErrors() && value.Type().FriendlyName() == "string" {
				key = value.AsString()
			}
			if secretName(key) {
				secrets = append(secrets, item.ValueExpr.Range())
			}
		}
		return nil
	})
	return secrets
}

// plainTokens are the tokens of HCL that are in none of the ranges, each with its length.
func plainTokens(source []byte, without []hcl.Range) []byte {
	tokens, _ := hclsyntax.LexConfig(source, "", hcl.InitialPos)
	var plain []byte
next:
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenComment, hclsyntax.TokenNewline, hclsyntax.TokenEOF:
			continue
		}
		for _, secret := range without {
			if token.Range.Start.Byte >= secret.Start.Byte && token.Range.End.Byte <= secret.End.Byte {
				continue next
			}
		}
		plain = strconv.AppendInt(plain, int64(len(token.Bytes)), 10)
		plain = append(append(plain, ':'), token.Bytes...)
	}
	return plain
}

// plainJSON is JSON in one form, without nulls and without the values whose keys are secret.
func plainJSON(content []byte, secret func(name string) bool) (plain []byte, ok bool) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil, false
	}
	plain, err := json.Marshal(withoutSecrets(value, secret))
	return plain, err == nil
}

func withoutSecrets(value any, secret func(name string) bool) any {
	switch v := value.(type) {
	case map[string]any:
		for name, item := range v {
			if item == nil || secret(name) {
				delete(v, name)
			} else {
				v[name] = withoutSecrets(item, secret)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutSecrets(v[i], secret)
		}
	case string:
		return userInURL.ReplaceAllString(v, "$1")
	}
	return value
}

// shortDigest is the first hexadecimal digits of a SHA-256.
func shortDigest(content []byte, digits int) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])[:digits]
}
