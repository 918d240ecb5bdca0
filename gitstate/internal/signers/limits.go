package signers

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/config"
)

// limit is what the signers of one section may record. What it does not mention is not limited.
type limit struct {
	name                       string // a pattern
	targets, operations, paths []string
}

// The keys of a section.
const (
	keyTarget    = "target"
	keyOperation = "operation"
	keyPath      = "path"
)

// parseLimits reads git's syntax: [signer "NAME"], with the keys above and the fingerprints
// of OpenPGP and X.509 keys that are theirs.
func (p *Policy) parseLimits(text []byte, local *[]int64) error {
	parsed := config.New()
	if err := config.NewDecoder(bytes.NewReader(text)).Decode(parsed); err != nil {
		return err
	}
	for _, section := range parsed.Sections {
		switch {
		case !section.IsName("signer"):
			return fmt.Errorf("[%s]: unknown section; write [signer \"NAME\"]", section.Name)
		case len(section.Options) > 0 || len(section.Subsections) == 0:
			return fmt.Errorf("[%s]: whose limits? Write [signer \"NAME\"]", section.Name)
		}
		for _, sub := range section.Subsections {
			if err := p.parseSection(sub, local); err != nil {
				return fmt.Errorf("[signer %q]: %w", sub.Name, err)
			}
		}
	}
	return nil
}

func (p *Policy) parseSection(section *config.Subsection, local *[]int64) error {
	l := &limit{name: section.Name}
	certified := false
	for _, option := range section.Options {
		key, value := strings.ToLower(option.Key), option.Value
		if value == "" && key != keyTarget {
			return fmt.Errorf("%s: a value is missing", option.Key)
		}
		var err error
		switch key {
		case keyTarget:
			l.targets = append(l.targets, value)
		case keyOperation:
			l.operations = append(l.operations, value)
		case keyPath:
			if !strings.HasPrefix(value, "/") {
				err = fmt.Errorf("%q must begin with /, as stacks do", value)
			}
			l.paths = append(l.paths, path.Clean(value))
		case formatOpenPGP, formatX509:
			certified, err = true, p.certify(section.Name, key, value, local)
		default:
			err = errors.New("unknown key; known are target, operation, path, openpgp and x509")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", option.Key, err)
		}
	}
	p.limits = append(p.limits, l)
	if certified || p.knows(l.name) {
		return nil
	}
	return errors.New("the allowed signers name nobody like that as the first of a line, so it would limit nobody")
}

// certify takes "FINGERPRINT [valid-after=TIME] [valid-before=TIME]". The fingerprint may have
// the spaces or colons that gpg and gpgsm print.
func (p *Policy) certify(principal, format, value string, local *[]int64) error {
	if strings.ContainsAny(principal, "*?!,") {
		return errors.New("its section must name one signer")
	}
	who, fingerprint := identity{principal: principal}, ""
	for _, field := range strings.Fields(value) {
		name, bound, is := strings.Cut(field, "=")
		switch {
		case !is:
			fingerprint += strings.ToUpper(strings.ReplaceAll(field, ":", ""))
		case name != validAfter && name != validBefore:
			return fmt.Errorf("%q is neither a fingerprint nor %s= or %s=", field, validAfter, validBefore)
		default:
			if err := who.validity.set(name, bound, local); err != nil {
				return err
			}
		}
	}
	if !isFingerprint(fingerprint) || format == formatX509 && len(fingerprint) != 40 {
		return fmt.Errorf("%q is not a whole fingerprint (40 hexadecimal digits)", fingerprint)
	}
	id := format + ":" + fingerprint
	if other, taken := p.certified[id]; taken {
		return fmt.Errorf("%s is %s's already", fingerprint, other.principal)
	}
	p.certified[id] = who
	return nil
}

// knows says whether a signature could be of a principal whom a section is about.
func (p *Policy) knows(pattern string) bool {
	for _, lines := range p.keys {
		for _, l := range lines {
			if match(l.name(), pattern) {
				return true
			}
		}
	}
	for _, lines := range p.authorities {
		for _, l := range lines {
			if matchList(pattern, l.principals) || strings.ContainsAny(pattern, "*?") {
				return true
			}
		}
	}
	for _, who := range p.certified {
		if match(who.principal, pattern) {
			return true
		}
	}
	return false
}

// May says whether a principal may record an operation on a stack for a target; if not, why
// is for people. The section with the principal's own name counts, or else all whose pattern
// matches it; a principal without any may record everything. Of a whole run stack is "".
func (p *Policy) May(principal, op, target, stack string) (ok bool, why string) {
	var of []*limit
	for _, l := range p.limits {
		if l.name == principal {
			of = []*limit{l}
			break
		}
		if match(principal, l.name) {
			of = append(of, l)
		}
	}
	for _, l := range of {
		for _, kind := range []struct {
			name, value string
			allowed     []string
			covers      func(allowed, value string) bool
		}{
			{keyOperation, op, l.operations, func(allowed, op string) bool { return allowed == op }},
			{keyTarget, target, l.targets, coversTarget},
			{keyPath, stack, l.paths, coversPath},
		} {
			if !(kind.name == keyPath && stack == "") && !covered(kind.allowed, kind.value, kind.covers) {
				return false, fmt.Sprintf("%s is limited to %s %s, which leaves out %q", principal, kind.name, strings.Join(kind.allowed, ", "), kind.value)
			}
		}
	}
	return true, ""
}

func covered(allowed []string, value string, covers func(allowed, value string) bool) bool {
	for _, a := range allowed {
		if covers(a, value) {
			return true
		}
	}
	return len(allowed) == 0
}

// coversTarget: a target stands for all its workspaces, which follow a + (FORMAT.md).
func coversTarget(allowed, target string) bool {
	return target == allowed || strings.HasPrefix(target, allowed+"+")
}

// coversPath: a path stands for all at or below it. What is no clean path is below nothing.
func coversPath(allowed, stack string) bool {
	return path.Clean(stack) == stack && (stack == allowed || strings.HasPrefix(stack, strings.TrimSuffix(allowed, "/")+"/"))
}
