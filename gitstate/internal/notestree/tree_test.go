package notestree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	gocmp "github.com/google/go-cmp/cmp"
)

// The tree is the one that git writes, after every step of a random sequence
// of `git notes add` and `git notes remove`, across each fan-out.
func TestNotesTreeIsGits(t *testing.T) {
	t.Parallel()
	families := map[string]struct {
		prefixes []string // of the keys
		base     []string // each with two notes under every first digit, beforehand
		n, steps int
	}{
		"flat to 2-38":         {prefixes: []string{""}, n: 70, steps: 220},
		"at the edge":          {prefixes: []string{"7", "8"}, base: []string{""}, n: 0, steps: 150},
		"2-38 to 2-2-36":       {prefixes: []string{"ab"}, base: []string{""}, n: 60, steps: 220},
		"2-2-36 to 2-2-2-34":   {prefixes: []string{"abcd", "abc"}, base: []string{"", "ab"}, n: 60, steps: 150},
		"lone directories":     {prefixes: []string{"00", "11", "a0"}, base: []string{"", "00"}, n: 3, steps: 150},
		"flat beside a dir":    {prefixes: []string{"ab", "11", "abc"}, n: 2, steps: 100},
		"one directory a time": {prefixes: []string{"00", "0", "f0f0"}, n: 20, steps: 150},
	}
	for name, f := range families {
		for _, odd := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, odd %v", name, odd), func(t *testing.T) {
				t.Parallel()
				steps := f.steps
				if testing.Short() {
					steps /= 4
				}
				r := newTreeRepo(t)
				seed := uint64(time.Now().UnixNano())
				rnd := rand.New(rand.NewPCG(seed, 0))
				t.Logf("seed %d", seed)
				x := r.blob("x\n")
				var start []treeEntry
				if odd {
					sub := r.tree(treeEntry{"100644", "README", x})
					start = []treeEntry{{"40000", "11", sub}, {"40000", "ab", sub}, {"40000", "dead", sub}, {"40000", "foo", sub},
						{"160000", "gitlink", x}, {"120000", "zz", x}}
				}
				tree := r.open(r.tree(start...))
				have := map[plumbing.Hash]bool{}
				for _, p := range f.base {
					for i := range 32 {
						have[randomKey(rnd, p+fmt.Sprintf("%x", i%16))] = true
					}
				}
				for range f.n {
					have[randomKey(rnd, f.prefixes[rnd.IntN(len(f.prefixes))])] = true
				}
				r.commit(r.tree(start...))
				var copies strings.Builder // all of them in one go by git
				from := hexKey("ee", 1)
				r.git("", "notes", "add", "-C", x.String(), from.String())
				for k := range have {
					fmt.Fprintln(&copies, from, k)
				}
				r.git(copies.String(), "notes", "copy", "-f", "--stdin")
				var got plumbing.Hash
				for _, k := range append(slices.Collect(maps.Keys(have)), from) {
					if err := tree.Set(k, x); err != nil {
						t.Fatal(err)
					}
				}
				got, err := tree.Write(r.write)
				if err != nil || got != r.tip() {
					t.Fatalf("at the start: tree %s, %v; git's %s", got, err, r.tip())
				}
				have[from] = true
				grow := true
				for i := range steps {
					if rnd.IntN(40) == 0 {
						grow = !grow
					}
					var key plumbing.Hash
					keys := slices.Collect(maps.Keys(have))
					op := rnd.IntN(10)
					switch {
					case len(keys) > 0 && (op == 0 || grow == (op == 1)):
						key = keys[rnd.IntN(len(keys))]
						if op != 0 {
							delete(have, key)
							r.git("", "notes", "remove", key.String())
							got = r.set(tree, key, plumbing.ZeroHash)
							break
						}
						fallthrough
					default:
						if key.IsZero() {
							key = randomKey(rnd, f.prefixes[rnd.IntN(len(f.prefixes))])
						}
						have[key] = true
						b := r.blob(fmt.Sprintln(i))
						r.git("", "notes", "add", "-f", "-C", b.String(), key.String())
						got = r.set(tree, key, b)
					}
					if want := r.tip(); got != want {
						t.Fatalf("step %d, %s: tree %s, git's %s:\n%s", i, key, got, want,
							gocmp.Diff(r.git("", "ls-tree", "-rt", want.String()), r.git("", "ls-tree", "-rt", got.String())))
					}
					if rnd.IntN(3) == 0 {
						tree = r.open(got)
					}
					if rnd.IntN(30) == 0 { // reading must not change what set does
						r.all(tree)
					}
				}
				if out := r.git("", "fsck", "--strict", "--no-dangling", "--full"); strings.Contains(out, "error") {
					t.Error(out)
				}
			})
		}
	}
}

func TestNotesTreeOdd(t *testing.T) {
	t.Parallel()
	r := newTreeRepo(t)
	one, two, three := r.blob("one\n"), r.blob("two\n"), r.blob("three\n")
	key := hexKey("ab", 7)
	upper := strings.ToUpper(key.String())
	sub := func(name string, h plumbing.Hash) plumbing.Hash { return r.tree(treeEntry{"100644", name, h}) }
	dir := sub("x", one)
	var fan []treeEntry // the fan-out is due with one more
	for i := range 31 {
		fan = append(fan, treeEntry{"100644", hexKey(fmt.Sprintf("%x%x", i%16, i/16), 1).String(), one})
	}
	for name, c := range map[string]struct {
		tree []treeEntry
		want []plumbing.Hash // of key, at the start
		more map[plumbing.Hash]plumbing.Hash
		fail string // what set says
	}{
		"empty":            {},
		"upper case":       {tree: []treeEntry{{"100644", upper, one}}, want: []plumbing.Hash{one}},
		"executable":       {tree: []treeEntry{{"100755", key.String(), one}}, want: []plumbing.Hash{one}},
		"link":             {tree: []treeEntry{{"120000", key.String(), one}}},
		"gitlink":          {tree: []treeEntry{{"160000", key.String(), one}}},
		"40 digits, tree":  {tree: []treeEntry{{"40000", key.String(), dir}}},
		"38 digits":        {tree: []treeEntry{{"100644", key.String()[2:], one}}},
		"42 digits":        {tree: []treeEntry{{"100644", key.String() + "00", one}}},
		"file ab":          {tree: []treeEntry{{"100644", "ab", one}}},
		"file ab, fan-out": {tree: append(slices.Clone(fan), treeEntry{"100644", "ab", one}), more: map[plumbing.Hash]plumbing.Hash{hexKey("f1", 1): two}},
		"tree taken, fan-out": {tree: append(slices.Clone(fan), treeEntry{"40000", key.String(), dir}), more: map[plumbing.Hash]plumbing.Hash{
			hexKey("f1", 1): two}},
		"all taken": {tree: []treeEntry{{"40000", key.String(), dir}, {"100644", "ab", one}}, fail: "taken"},
		"directory and file": {tree: []treeEntry{{"40000", "ab", sub(key.String()[2:], two)}, {"100644", key.String(), one}},
			want: []plumbing.Hash{two, one}},
		"four": {tree: []treeEntry{{"40000", "AB", sub(upper[2:], one)}, {"100644", upper, two}, {"40000", "ab", sub(key.String()[2:], three)},
			{"100644", key.String(), one}}, want: []plumbing.Hash{one, two, three, one}},
		"the same twice":   {tree: []treeEntry{{"100644", upper, one}, {"100644", key.String(), one}}, want: []plumbing.Hash{one}},
		"foo and foo.txt":  {tree: []treeEntry{{"100644", "foo.txt", one}, {"40000", "foo", dir}}},
		"old modes":        {tree: []treeEntry{{"040000", "foo", dir}, {"100664", "y", one}}},
		"wrong length":     {tree: []treeEntry{{"40000", "ab", sub(key.String()[4:], one)}}},
		"AB and ab":        {tree: []treeEntry{{"40000", "AB", sub(upper[2:], one)}, {"40000", "ab", sub("x", two)}}, want: []plumbing.Hash{one}},
		"x in both":        {tree: []treeEntry{{"40000", "AB", sub("x", one)}, {"40000", "ab", sub("x", two)}}, fail: "differ in case"},
		"file 00, fan-out": {tree: append(slices.Clone(fan), treeEntry{"100644", "00", one}), more: map[plumbing.Hash]plumbing.Hash{hexKey("f1", 1): two}},
		"file ab, directory AB": {tree: append(slices.Clone(fan), treeEntry{"40000", "AB", r.tree(treeEntry{"100644", upper[2:], one}, treeEntry{"100644", "x", two})},
			treeEntry{"100644", "ab", one}), want: []plumbing.Hash{one}, more: map[plumbing.Hash]plumbing.Hash{hexKey("f1", 1): two}},
		"x in both, fan-out": {tree: append(slices.Clone(fan), treeEntry{"100644", hexKey("f1", 1).String(), one},
			treeEntry{"40000", "AB", sub("x", one)}, treeEntry{"40000", "ab", sub("x", two)}), fail: "differ in case"},
		"other note in parts": {tree: []treeEntry{{"100644", strings.ToUpper(hexKey("abc", 1).String()), one}, {"100644", hexKey("abc", 1).String(), two}},
			more: map[plumbing.Hash]plumbing.Hash{hexKey("abc", 1): r.blob("one\n\ntwo\n")}},
		"other part unreadable": {tree: []treeEntry{{"100644", strings.ToUpper(hexKey("abc", 1).String()), dir}, {"100644", hexKey("abc", 1).String(), two}},
			fail: "cannot be read"},
		"name of nothing": {tree: []treeEntry{{"100644", key.String(), plumbing.ZeroHash}}},
	} {
		t.Run(name, func(t *testing.T) {
			root := r.tree(c.tree...)
			tree := r.open(root)
			if got, err := tree.Get(key); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("get: %v, %v; want %v", got, err, c.want)
			}
			before := r.others(root, "")
			err := tree.Set(key, three)
			got, err2 := tree.Write(r.write)
			if err = errors.Join(err, err2); c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) {
					t.Fatalf("set: %v; want %q", err, c.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for k, b := range c.more {
				if b == two { // one more note, which fans out
					got = r.set(tree, k, b)
				}
			}
			tree = r.open(got)
			all := r.all(tree)
			if all[key] != three {
				t.Errorf("after set: %v", all)
			}
			for k, b := range c.more {
				if all[k] != b {
					t.Errorf("note of %s: %s, want %s", k, all[k], b)
				}
			}
			if diff := gocmp.Diff(before, r.others(got, "")); diff != "" {
				t.Error(diff)
			}
			r.sane(got)
			// And away again.
			got = r.set(tree, key, plumbing.ZeroHash)
			if blobs, err := r.open(got).Get(key); err != nil || blobs != nil {
				t.Errorf("after removal: %v, %v", blobs, err)
			}
			if diff := gocmp.Diff(before, r.others(got, "")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A directory where one byte of the key is left does not fan out, and has no directories of
// notes. (git's rule would, and `git notes list` aborts: construct_path_with_fanout.)
func TestNotesTreeDeep(t *testing.T) {
	t.Parallel()
	r := newTreeRepo(t)
	x := r.blob("x")
	p := hexKey("000102030405060708090a0b0c0d0e0f101112", 0).String()[:38]
	sub := r.tree(treeEntry{"40000", "ab", r.tree(treeEntry{"100644", "x", x})})
	for i := 36; i >= 0; i -= 2 {
		sub = r.tree(treeEntry{"40000", p[i : i+2], sub})
	}
	before := r.others(sub, "")
	tree, want := r.open(sub), map[plumbing.Hash]plumbing.Hash{}
	for i := 0; i <= 38; i += 2 {
		for n := range 32 {
			key := p[:i] + fmt.Sprintf("%x%x", n%16, n/16+14)
			key += strings.Repeat("f", 40-len(key))
			want[plumbing.NewHash(key)] = x
		}
	}
	for k := range want {
		if err := tree.Set(k, x); err != nil {
			t.Fatal(err)
		}
	}
	h, err := tree.Write(r.write)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, r.all(r.open(h))); diff != "" {
		t.Error(diff)
	}
	if diff := gocmp.Diff(before, r.others(h, "")); diff != "" {
		t.Error(diff)
	}
	r.sane(h)
	r.commit(h)
	if _, err := r.try("", "ls-tree", treeRef+":"+strings.Join(pairs(p), "/")); err != nil {
		t.Errorf("not so deep: %v", err)
	}
}

// pairs splits into pairs of digits.
func pairs(s string) (out []string) {
	for ; s != ""; s = s[2:] {
		out = append(out, s[:2])
	}
	return out
}

// sane checks the order of entries and that no name is there twice, down all directories of notes.
func (r *treeRepo) sane(root plumbing.Hash) {
	r.tb.Helper()
	out := r.git("", "ls-tree", "-t", root.String())
	var last treeEntry
	seen := map[string]bool{}
	for _, line := range strings.Split(out, "\n") {
		if line == "" {
			continue
		}
		meta, name, _ := strings.Cut(line, "\t")
		f := strings.Fields(meta)
		e := treeEntry{f[0], name, plumbing.NewHash(f[2])}
		if last.name != "" && e.sortName() < last.sortName() {
			r.tb.Errorf("tree %s: %s after %s", root, e.name, last.name)
		}
		if seen[name] {
			r.tb.Errorf("tree %s has %q twice", root, name)
		}
		seen[name] = true
		if last = e; f[1] == "tree" && len(name) == 2 {
			r.sane(e.hash)
		}
	}
}

func TestNotesTreeMalformed(t *testing.T) {
	t.Parallel()
	r := newTreeRepo(t)
	hash := strings.Repeat("h", 20)
	for _, body := range []string{"x", "100644 a", "100644 a\x00short", "100644 \x00" + hash, " a\x00" + hash, "9 a\x00" + hash,
		"100644 a\x00" + hash + "1", "-1 a\x00" + hash} {
		c := exec.Command("git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin")
		c.Dir, c.Stdin = r.dir, strings.NewReader(body)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		h := plumbing.NewHash(strings.TrimSpace(string(out)))
		if _, err := Open(r.read, h); err == nil || !strings.Contains(err.Error(), h.String()) {
			t.Errorf("%q: %v", body, err)
		}
		// One level down it is met by those who look there, and only by them.
		tree := r.open(r.tree(treeEntry{"40000", "ab", h}))
		if _, err := tree.Get(hexKey("ab", 1)); err == nil {
			t.Errorf("%q: no error below", body)
		}
		if got, err := tree.Get(hexKey("ac", 1)); err != nil || got != nil {
			t.Errorf("%q: %v, %v beside it", body, got, err)
		}
		if err := tree.Each(func(plumbing.Hash, []plumbing.Hash) error { return nil }); err == nil {
			t.Errorf("%q: each passes over it", body)
		}
		if err := tree.Set(hexKey("ac", 1), r.blob("")); err == nil {
			t.Errorf("%q: folded up unread", body)
		}
		if _, err := tree.Write(r.write); err == nil {
			t.Errorf("%q: written after an error", body)
		}
	}
	if _, err := Open(r.read, hexKey("12", 3)); err == nil {
		t.Error("a missing tree is empty")
	}
	if _, err := Open(r.read, r.blob("x")); err == nil {
		t.Error("a blob is a tree")
	}
	if h, err := r.open(plumbing.ZeroHash).Write(r.write); err != nil || h.String() != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" {
		t.Errorf("empty tree: %s, %v", h, err)
	}
}

// fastImport makes n commits and a note of each, with git fast-import and its own
// rule of fan-out (2/2/36 from 65,536 notes on).
func (r *treeRepo) fastImport(n int) (plumbing.Hash, map[plumbing.Hash]plumbing.Hash) {
	x := r.blob("x\n")
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter a <a@example.com> %d +0000\ndata 0\n", i+1, i)
	}
	fmt.Fprintf(&in, "commit %s\ncommitter a <a@example.com> 0 +0000\ndata 0\n", treeRef)
	for i := range n {
		fmt.Fprintf(&in, "N %s :%d\n", x, i+1)
	}
	r.git(in.String(), "fast-import", "--quiet")
	want := map[plumbing.Hash]plumbing.Hash{}
	for _, k := range strings.Fields(r.git("", "rev-list", "refs/heads/main")) {
		want[plumbing.NewHash(k)] = x
	}
	return r.tip(), want
}

func TestNotesTreeLarge(t *testing.T) {
	t.Parallel()
	n := 100_000
	if testing.Short() {
		n = 3_000
	}
	r := newTreeRepo(t)
	root, want := r.fastImport(n)
	start := time.Now()
	got := map[plumbing.Hash]plumbing.Hash{}
	err := r.open(root).Each(func(k plumbing.Hash, blobs []plumbing.Hash) error {
		got[k] = blobs[0]
		return nil
	})
	t.Logf("%d notes: %d reads, %v", n, r.reads, time.Since(start))
	if err != nil || len(want) != n || !maps.Equal(got, want) {
		t.Fatalf("%d notes of %d, %v", len(got), len(want), err)
	}

	// Three notes are changed in it.
	y := r.blob("y\n")
	keys := slices.SortedFunc(maps.Keys(want), CompareHash)
	changed, added, removed := keys[n/3], hexKey("77", 1), keys[n/2]
	tree := r.open(root)
	r.reads, r.writes = 0, 0
	start = time.Now()
	r.set(tree, changed, y)
	t.Logf("one note of %d: %d reads, %d writes, %v", n, r.reads, r.writes, time.Since(start))
	if r.reads > 4 || r.writes > 4 {
		t.Errorf("%d reads and %d writes for one note of %d", r.reads, r.writes, n)
	}
	r.set(tree, added, y)
	next := r.set(tree, removed, plumbing.ZeroHash)

	// That is the difference, from the tree itself and from one with no fan-out.
	var flat []treeEntry
	for _, k := range keys {
		flat = append(flat, treeEntry{"100644", k.String(), want[k]})
	}
	for _, from := range []plumbing.Hash{root, r.tree(flat...)} {
		r.reads = 0
		start := time.Now()
		got := map[plumbing.Hash][2]plumbing.Hash{}
		err := DiffTrees(r.read, from, next, func(k plumbing.Hash, old, new []plumbing.Hash) error {
			var d [2]plumbing.Hash
			copy(d[:1], old)
			copy(d[1:], new)
			got[k] = d
			return nil
		})
		t.Logf("diff: %d reads, %v, %v", r.reads, time.Since(start), err)
		x := want[changed]
		if diff := gocmp.Diff(map[plumbing.Hash][2]plumbing.Hash{changed: {x, y}, added: {{}, y}, removed: {x}}, got); diff != "" {
			t.Error(diff)
		}
		if from == root && r.reads > 16 {
			t.Errorf("%d reads for a difference of three notes", r.reads)
		}
	}
	// git finds nothing wrong.
	if out := r.git("", "fsck", "--strict", "--no-dangling"); strings.Contains(out, "error") {
		t.Error(out)
	}
	r.commit(next)
	if listed, err := r.list(); err != nil || len(listed) != n || listed[changed] != y || listed[added] != y || !listed[removed].IsZero() {
		t.Errorf("git lists %d notes, %v", len(listed), err)
	}
}

// BenchmarkNotesTreeSet is one note of 100,000, read before, set and written (to memory).
func BenchmarkNotesTreeSet(b *testing.B) {
	objects := map[plumbing.Hash][]byte{}
	read := func(h plumbing.Hash, _ plumbing.ObjectType) ([]byte, error) { return objects[h], nil }
	write := func(t plumbing.ObjectType, body []byte) (plumbing.Hash, error) {
		h := plumbing.ComputeHash(t, body)
		objects[h] = body
		return h, nil
	}
	rnd := rand.New(rand.NewPCG(1, 7))
	tree, _ := Open(read, plumbing.ZeroHash)
	var keys []plumbing.Hash
	for range 100_000 {
		keys = append(keys, randomKey(rnd, ""))
		if err := tree.Set(keys[len(keys)-1], hexKey("", 1)); err != nil {
			b.Fatal(err)
		}
	}
	i := 2
	for b.Loop() {
		if err := tree.Set(keys[i*7919%len(keys)], hexKey("", i)); err != nil {
			b.Fatal(err)
		}
		if _, err := tree.Write(write); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
