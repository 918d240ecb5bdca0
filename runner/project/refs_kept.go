package project

import (
	"maps"
	"slices"
	"strings"
)

// The text of refs is fields with tabs in between. The first letter says what a
// field is; none has a tab or a newline.
const (
	keptModule   = "m" // source
	keptComputed = "c" // line source
	keptFile     = "n" // base NUL rest
	keptRead     = "r" // base NUL rest NUL glob
	keptLocal    = "l" // name NUL base NUL rest
)

// text is how refs are kept in a [Memory]; false where they cannot be.
func (r refs) text() (string, bool) {
	var fields []string
	for _, source := range r.modules {
		fields = append(fields, keptModule+source)
	}
	for _, place := range r.computed {
		fields = append(fields, keptComputed+place)
	}
	for _, m := range r.files {
		if m.read {
			fields = append(fields, keptRead+m.base+"\x00"+m.rest+"\x00"+m.glob)
		} else {
			fields = append(fields, keptFile+m.base+"\x00"+m.rest)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.locals)) {
		fields = append(fields, keptLocal+name+"\x00"+r.locals[name].base+"\x00"+r.locals[name].rest)
	}
	slices.Sort(fields)
	fields = slices.Compact(fields)
	if slices.ContainsFunc(fields, func(field string) bool { return strings.ContainsAny(field, "\t\n") }) {
		return "", false
	}
	return strings.Join(fields, "\t"), true
}

// keptRefs are the refs of such a text.
func keptRefs(text string) refs {
	var r refs
	if text == "" {
		return r
	}
	for field := range strings.SplitSeq(text, "\t") {
		if field == "" {
			continue
		}
		kind, rest := field[:1], field[1:]
		words := strings.Split(rest, "\x00")
		switch {
		case kind == keptModule:
			r.modules = append(r.modules, rest)
		case kind == keptComputed:
			r.computed = append(r.computed, rest)
		case kind == keptFile && len(words) == 2:
			r.files = append(r.files, mention{spot: spot{words[0], words[1]}})
		case kind == keptRead && len(words) == 3:
			r.files = append(r.files, mention{spot: spot{words[0], words[1]}, read: true, glob: words[2]})
		case kind == keptLocal && len(words) == 3:
			if r.locals == nil {
				r.locals = map[string]spot{}
			}
			r.locals[words[0]] = spot{words[1], words[2]}
		}
	}
	return r
}

// merge adds what another file of the same folder refers to.
func (r *refs) merge(file string, other refs) {
	r.modules = append(r.modules, other.modules...)
	r.files = append(r.files, other.files...)
	for _, place := range other.computed {
		line, source, _ := strings.Cut(place, " ")
		r.computed = append(r.computed, file+":"+line+" "+source)
	}
	if len(other.locals) > 0 && r.locals == nil {
		r.locals = map[string]spot{}
	}
	maps.Copy(r.locals, other.locals)
}
