package gitstate

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// AnyVariant in a record that was made by hand stands for every command line.
const AnyVariant = "any"

// variantVersion begins the variants that stand for all that a command saw. Those of
// version 1 have no such beginning, and stand for the words alone.
const variantVersion = "2:"

// As says how a stack is about to be deployed, to be held against how it was.
type As struct {
	// Variant is a digest of the command's words and of all values, "2:" and 8 digits;
	// AnyVariant where no command is about to run.
	Variant string
	// Legacy is the variant as records of version 1 have it.
	Legacy string
	// Values are what Variant has besides the words, as in Record.Values. Where no command
	// is about to run they are those that can be seen all the same.
	Values string
}

// differs says in a few words what another deployment than l's this one would be, "" if
// it would be none.
func (as As) differs(l *Latest) string {
	switch {
	case l.Variant == AnyVariant:
		return ""
	case as.Variant == AnyVariant:
		return another(otherValues(l.Values(), as.Values, true))
	case !strings.HasPrefix(l.Variant, variantVersion):
		if l.Variant != cmp.Or(as.Legacy, as.Variant) {
			return "another command line"
		}
		return ""
	case l.Variant == as.Variant:
		return ""
	}
	return cmp.Or(another(otherValues(l.Values(), as.Values, false)), "another command line")
}

func another(kinds []string) string {
	const most = 3
	switch n := len(kinds); {
	case n == 0:
		return ""
	case n == 1:
		return "another " + kinds[0]
	case n > most:
		kinds = append(kinds[:most:most], fmt.Sprintf("%d more", n-most))
	}
	return "other values: " + strings.Join(kinds, ", ")
}

// otherValues names the values that are not the same in two texts of Record.Values: as
// "run.env TF_VAR_tag", and those of the environment by their names alone. Of those that
// only one of the two has, none is named if they need not be seen.
func otherValues(was, is string, seenOnly bool) (names []string) {
	then, now := splitValues(was), splitValues(is)
	for _, v := range now {
		i := slices.IndexFunc(then, func(w value) bool { return w.name == v.name })
		if i < 0 && !seenOnly || i >= 0 && then[i].digest != v.digest {
			names = append(names, v.String())
		}
	}
	if seenOnly {
		return names
	}
	for _, w := range then {
		if !slices.ContainsFunc(now, func(v value) bool { return v.name == w.name }) {
			names = append(names, w.String())
		}
	}
	return names
}

// value is one entry of Record.Values: kind:name=digest.
type value struct{ name, digest string }

func (v value) String() string {
	kind, name, _ := strings.Cut(v.name, ":")
	if text, err := url.PathUnescape(name); err == nil {
		name = text
	}
	if kind == "env" {
		return name
	}
	return strings.TrimSpace(kind + " " + name)
}

func splitValues(text string) (values []value) {
	for entry := range strings.FieldsSeq(text) {
		i := strings.LastIndexByte(entry, '=')
		if i < 0 {
			i = len(entry)
		}
		values = append(values, value{entry[:i], entry[i:]})
	}
	return values
}

// Done reports whether the stack needs no deployment like that on the commit, and if
// not, why not: in a few words for people.
func (l *Latest) Done(commit string, as As) (bool, string) {
	ok, why := l.Succeeded(note.Deploy, as)
	if ok && l.copied {
		return false, fmt.Sprintf("deployed at %s or at another commit that its note was copied to", note.Short(l.Commit))
	}
	if ok && l.Commit != commit {
		return false, fmt.Sprintf("deployed at %s", note.Short(l.Commit))
	}
	return ok, why
}

// beside is why a success does not count, though no run is in conflict with it.
func (l *Latest) beside() string {
	d := l.Diverged[0]
	if d.Record.Status.Open() {
		return fmt.Sprintf("what became of it in run %s is not known", d.Run)
	}
	return fmt.Sprintf("%s in run %s, unaware of run %s", d.Record.Status, d.Run, l.Run)
}

// Succeeded reports whether the latest record of the slot is a success of the operation
// like the one that is about to be, wherever it stands, and if not, why not.
func (l *Latest) Succeeded(op string, as As) (bool, string) {
	done := "deployed"
	if op != note.Deploy {
		done = "run"
	}
	switch {
	case l.Unsigned:
		return false, fmt.Sprintf("its record at %s by run %s has no valid signature", note.Short(l.Commit), l.Run)
	case l.Status == note.Never:
		return false, "never " + done
	case len(l.Conflicts) > 0:
		return false, fmt.Sprintf("%s by run %s, and unaware of it by run %s", done, l.Run, l.Conflicts[0])
	case len(l.Diverged) > 0 && l.Status == note.OK:
		return false, l.beside()
	case l.Op != op && op == note.Deploy && l.Status != note.OK:
		return false, fmt.Sprintf("%s %s at %s by run %s", l.Op, l.Status, note.Short(l.Commit), note.ShortRun(l.Run))
	case l.Op != op && op == note.Deploy:
		return false, fmt.Sprintf("%s at %s", ended(l.Op), note.Short(l.Commit))
	case l.Op != op:
		return false, fmt.Sprintf("%s came after it, at %s", l.Op, note.Short(l.Commit))
	case l.Status == note.Blocked:
		why := "blocked at " + note.Short(l.Commit)
		if l.Cause != "" {
			why = fmt.Sprintf("blocked by %s at %s", l.Cause, note.Short(l.Commit))
		}
		if l.Reason != "" {
			why += ": " + l.Reason
		}
		return false, why
	case l.Status == note.Triggered:
		return false, fmt.Sprintf("triggered at %s: %s", note.Short(l.Commit), l.Reason)
	case l.Status != note.OK:
		return false, fmt.Sprintf("%s at %s by run %s", l.Status, note.Short(l.Commit), l.Run)
	case l.Dirty:
		return false, done + " with uncommitted changes"
	}
	if other := as.differs(l); other != "" {
		return false, done + " with " + other
	}
	return true, fmt.Sprintf("ok at %s, %s by run %s", note.Short(l.Commit), l.At.Format(time.DateTime), l.Run)
}

// ended says what ended a deployment.
func ended(op string) string {
	switch op {
	case note.Destroy:
		return "destroyed"
	case "destroy-target":
		return "a part of it was destroyed"
	case "apply":
		return "a part of it, or a saved plan, was applied"
	}
	return op + " came after the deployment,"
}
