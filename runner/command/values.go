package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// variantVersion begins a variant that stands for all values.
const variantVersion = "2:"

// Value is one thing that a command sees beside its words and the files of the commit.
type Value struct {
	// Kind is KindEnv, KindRunEnv, KindVarFile, KindBackendConfig, KindIgnored or KindPlan.
	Kind   string
	Name   string
	Digest string // 6 hex digits, or "missing" of a file
}

// The kinds of a [Value]: a variable of the environment, or one that run.env sets; a file
// that an option names; a file of variables that Terraform loads by itself and
// git does not track; a saved plan.
const (
	KindEnv           = "env"
	KindRunEnv        = "run.env"
	KindVarFile       = "-var-file"
	KindBackendConfig = "-backend-config"
	KindIgnored       = "ignored"
	KindPlan          = "plan"
)

const missing = "missing"

// Surroundings are where a command runs, and with what.
type Surroundings struct {
	Dir    string   // the stack's folder; "" where it is not here
	Env    []string // the whole environment; the last entry of a name wins
	RunEnv []string // names of what run.env sets
}

// Reader reads what commands see beside their words. Each look reads anew. It may be
// used from several goroutines.
type Reader struct {
	root    string                          // the project's top folder
	tracked func(file string) (bool, error) // is a file in the commit?

	mu     sync.Mutex
	plain  map[string]string    // digest of a file's content → without secrets
	shared map[envKey]variables // of stacks that have one environment
}

type envKey struct {
	first *string
	size  int
}

// variables are an environment, as far as it matters here.
type variables struct {
	values []Value
	of     map[string]string // those that say where things are
}

// NewReader makes a reader for the project whose top folder is root. tracked says of
// a file, by its absolute path, whether it is one of the commit; nil takes all for such.
func NewReader(root string, tracked func(file string) (bool, error)) *Reader {
	return &Reader{root: root, tracked: tracked, plain: map[string]string{}, shared: map[envKey]variables{}}
}

// Look reads what an operation's commands see now: op with its Variant and Values filled in,
// and the place that it would write to.
func (r *Reader) Look(op Operation, at Surroundings) (Operation, Place, error) {
	vars := r.variables(at)
	values := slices.Clone(vars.values)
	if at.Dir != "" {
		files, err := r.files(op, at.Dir)
		if err != nil {
			return op, Place{}, err
		}
		values = append(values, files...)
	}
	slices.SortFunc(values, compareValues)
	values = slices.CompactFunc(values, func(a, b Value) bool { return compareValues(a, b) == 0 })
	op.Variant, op.Values = r.variant(op, values), valuesText(values)
	place, err := r.place(op, at.Dir, vars.of)
	return op, place, err
}

func compareValues(a, b Value) int {
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// variant is a digest over words and values. Whether a variable is set by run.env or by
// who runs it is all the same to the command.
func (r *Reader) variant(op Operation, values []Value) string {
	all := make([]string, 0, len(op.words)+len(values)+1)
	for _, word := range op.words {
		all = append(all, r.portable(word))
	}
	all = append(all, "\x00")
	var pairs []string
	for _, v := range values {
		kind := v.Kind
		if kind == KindRunEnv {
			kind = KindEnv
		}
		pairs = append(pairs, kind+":"+v.Name+"="+v.Digest)
	}
	slices.Sort(pairs)
	return variantVersion + digest(append(all, pairs...))
}

// portable makes a value that names the project's folder the same on every machine.
func (r *Reader) portable(text string) string {
	if len(r.root) < 2 || !strings.Contains(text, r.root) {
		return text
	}
	return strings.ReplaceAll(text, r.root, "\x00root")
}

// ValuesLimit is how many values a text names; the others stand in it as one.
const ValuesLimit = 40

// valuesText is values as text: kind:name=digest, one space between them.
func valuesText(values []Value) string {
	var text []string
	var more []string
	for i, v := range values {
		entry := v.Kind + ":" + escapeName(v.Name) + "=" + v.Digest
		if i < ValuesLimit-1 || len(values) == ValuesLimit {
			text = append(text, entry)
		} else {
			more = append(more, entry)
		}
	}
	if more != nil {
		text = append(text, "more="+digest(more)[:6])
	}
	return strings.Join(text, " ")
}

// escapeName percent-escapes what would end a name, or could not stand in a record as it is.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == '%' || c == '=' || c == '"' || c == '\\' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// variables picks from an environment what matters, once for stacks that share it.
func (r *Reader) variables(at Surroundings) variables {
	var key envKey
	if len(at.Env) > 0 {
		key = envKey{&at.Env[0], len(at.Env)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.shared[key]; ok {
		return known
	}
	last := map[string]string{}
	for _, kv := range at.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			last[name] = value
		}
	}
	vars := variables{of: map[string]string{}}
	for _, name := range placeVariables {
		if value := last[name]; value != "" {
			vars.of[name] = value
		}
	}
	for name, value := range last {
		kind := KindEnv
		if slices.Contains(at.RunEnv, name) {
			kind = KindRunEnv
		}
		if plain, is := variable(name, value, kind == KindRunEnv); is {
			vars.values = append(vars.values, Value{kind, name, shortDigest([]byte(name+"\x00"+r.portable(plain)), 6)})
		}
	}
	if key.first != nil && at.RunEnv == nil || key.size > len(at.RunEnv) {
		r.shared[key] = vars
	}
	return vars
}

// file is one that an operation's commands read, by an option.
type file struct{ kind, chdir, name string }

// files are the values of files: those that options name, and those that are loaded.
func (r *Reader) files(op Operation, dir string) (values []Value, err error) {
	for _, f := range op.files {
		path := within(within(dir, f.chdir), f.name)
		digest, err := r.fileDigest(path, f.kind == KindPlan)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", f.kind, f.name, err)
		}
		values = append(values, Value{f.kind, r.shortName(filepath.Join(f.chdir, f.name)), digest})
	}
	for _, chdir := range op.chdirs() {
		loaded, err := r.loaded(within(dir, chdir))
		if err != nil {
			return nil, err
		}
		for _, name := range loaded {
			digest, err := r.fileDigest(filepath.Join(within(dir, chdir), name), false)
			if err != nil {
				return nil, err
			}
			values = append(values, Value{KindIgnored, filepath.ToSlash(filepath.Join(chdir, name)), digest})
		}
	}
	return values, nil
}

// shortName is a name without where the project is.
func (r *Reader) shortName(name string) string {
	if rel, err := filepath.Rel(r.root, name); filepath.IsAbs(name) && err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(filepath.Join("/", rel))
	}
	return filepath.ToSlash(name)
}

// within is name as seen from dir.
func within(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// Place is where a command in a folder would write to, whatever the command.
func (r *Reader) Place(at Surroundings) (Place, error) {
	place, err := r.place(Operation{}, at.Dir, r.variables(at).of)
	if errors.Is(err, errState) {
		return Place{code: []string{at.Dir}}, nil
	}
	return place, err
}

// Seen are the values in a text that can be seen without a command, as they are now in the
// stack's folder: the files that it names, and what is loaded. Those that are loaded
// and that the text does not name are added.
func (r *Reader) Seen(text, dir string) (seen string, added []string, err error) {
	var op Operation
	var values []Value
	named := map[string]bool{}
	for entry := range strings.FieldsSeq(text) {
		name, _, _ := strings.Cut(entry, "=")
		kind, name, _ := strings.Cut(name, ":")
		if name, err = unescapeName(name); err != nil {
			continue // of a later version
		}
		switch kind {
		case KindVarFile, KindBackendConfig:
			path := within(dir, name)
			if inside := filepath.Join(r.root, name); (strings.HasPrefix(name, "/") || filepath.IsAbs(name)) && (exists(inside) || !exists(path)) {
				path = inside // see shortName
			}
			digest, err := r.fileDigest(path, false)
			if err != nil {
				return "", nil, err
			}
			values = append(values, Value{kind, name, digest})
		case KindIgnored:
			named[name] = true
			digest, err := r.fileDigest(within(dir, name), false)
			if err != nil {
				return "", nil, err
			}
			values = append(values, Value{kind, name, digest})
		}
	}
	loaded, err := r.files(op, dir)
	if err != nil {
		return "", nil, err
	}
	for _, v := range loaded {
		if !named[v.Name] {
			added = append(added, v.Name)
		}
	}
	return valuesText(values), added, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

var escaped = regexp.MustCompile(`%[0-9A-F]{2}`)

func unescapeName(name string) (string, error) {
	var err error
	plain := escaped.ReplaceAllStringFunc(name, func(found string) string {
		var c byte
		if _, e := fmt.Sscanf(found, "%%%02X", &c); e != nil {
			err = e
		}
		return string([]byte{c})
	})
	return plain, err
}

// loaded are the files of variables in a folder that Terraform loads by itself
// (developer.hashicorp.com/terraform/language/values/variables) and that are not
// in the commit.
func (r *Reader) loaded(dir string) (found []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && r.tracked == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".json")
		if name != "terraform.tfvars" && !strings.HasSuffix(name, ".auto.tfvars") {
			continue
		}
		tracked, err := r.isTracked(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		if !tracked {
			found = append(found, entry.Name())
		}
	}
	return found, nil
}

// fileDigest is that of a file's content, without secrets where it is not in the commit.
// What is no file is not read: a pipe can be read once only.
func (r *Reader) fileDigest(path string, plan bool) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || isNotDir(err):
		return missing, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "special", nil
	case plan:
		return planDigest(path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if tracked, err := r.isTracked(path); err != nil || tracked {
		return shortDigest(committedText(content, runtime.GOOS), 6), err
	}
	key := shortDigest(content, 64)
	r.mu.Lock()
	known, ok := r.plain[key]
	r.mu.Unlock()
	if !ok {
		known = shortDigest(plainFile(path, content), 6)
		r.mu.Lock()
		r.plain[key] = known
		r.mu.Unlock()
	}
	return known, nil
}

// committedText is a file of the commit as other systems have it: git ends lines with CR LF on Windows (core.autocrlf).
func committedText(content []byte, system string) []byte {
	if system != "windows" || bytes.IndexByte(content, 0) >= 0 {
		return content
	}
	return bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
}

// isTracked reports whether a file is one of the commit.
func (r *Reader) isTracked(path string) (bool, error) {
	if r.tracked == nil {
		return false, nil
	}
	if rel, err := filepath.Rel(r.root, path); err != nil || !filepath.IsLocal(rel) {
		return false, nil
	}
	return r.tracked(path)
}
