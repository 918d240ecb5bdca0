package notestree

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	gocmp "github.com/google/go-cmp/cmp"
)

// oddTree makes a tree out of the bytes of a fuzzer: odd names, kinds and mixes of fan-out.
func (r *treeRepo) oddTree(data *[]byte, digits int) plumbing.Hash {
	next := func(n int) int {
		if len(*data) == 0 {
			return 0
		}
		b := (*data)[0]
		*data = (*data)[1:]
		return int(b) % n
	}
	var entries []treeEntry
	add := func(mode, name string, h plumbing.Hash) {
		if !slices.ContainsFunc(entries, func(e treeEntry) bool { return e.name == name }) {
			entries = append(entries, treeEntry{mode, name, h})
		}
	}
	firsts := []string{"ab", "AB", "aB", "00", "a0", "f7"}
	for n := 1 + next(9); n > 0; n-- {
		blob := r.blob([]string{"one\n", "two\n", "three", ""}[next(4)])
		tail := strings.Repeat("0", 40)
		name := firsts[next(len(firsts))] + firsts[next(len(firsts))] + firsts[next(2)] + tail
		if k := digits / 2 * 2; k < 40 {
			name = name[:40-k]
		}
		switch next(12) {
		case 0, 1, 2, 3:
			add([]string{"100644", "100644", "100755", "120000"}[next(4)], name, blob)
		case 4, 5, 6, 7:
			if digits < 6 {
				add("40000", name[:2], r.oddTree(data, digits+2))
			}
		case 8: // wrong length
			add("100644", name[:next(len(name))+1], blob)
		case 9:
			add("40000", name, r.oddTree(data, 38))
		case 10:
			add([]string{"100644", "160000", "40000"}[next(3)], []string{"foo", "foo.txt", "x", "gg"}[next(4)], r.tree())
		case 11: // a crowd, so that fan-outs come into reach
			for i := range 32 {
				add("100644", (fmt.Sprintf("%x%x", i%16, next(16)) + name + tail)[:40-digits], blob)
			}
		}
	}
	return r.sorted(entries...)
}

func FuzzNotesTree(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add([]byte{8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 3}, byte(1))
	f.Add([]byte{3, 1, 0, 0, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9}, byte(2))
	f.Add(bytes.Repeat([]byte{7, 0, 1, 4, 3, 0, 5, 1, 11, 2, 2}, 9), byte(3))
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 20+rnd.IntN(200))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		f.Add(b, byte(seed))
	}
	r := newTreeRepo(f)
	f.Fuzz(func(t *testing.T, data []byte, pick byte) {
		r.tb = t
		// Bytes as they are must not do harm.
		junk := func(plumbing.Hash, plumbing.ObjectType) ([]byte, error) { return data, nil }
		if raw, err := Open(junk, hexKey("12", 3)); err == nil {
			_, _ = raw.Get(hexKey("ab", 1))
		}
		root := r.oddTree(&data, 0)
		// A ref of the tree itself: git reads it as one of a commit.
		ref := filepath.Join(r.dir, filepath.FromSlash(treeRef))
		point := func(h plumbing.Hash) {
			if err := errors.Join(os.MkdirAll(filepath.Dir(ref), 0o777), os.WriteFile(ref, []byte(h.String()+"\n"), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		point(root)
		tree := r.open(root)
		before := r.all(tree)
		want, err := r.list()
		if err != nil && !strings.Contains(err.Error(), "BUG: notes.c") {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, before); err == nil && diff != "" {
			t.Fatalf("not what git lists:\n%s", diff)
		}
		// Nothing was changed, nothing is written.
		if same, err := tree.Write(r.write); err != nil || same != root {
			t.Fatalf("%s was written as %s, %v", root, same, err)
		}
		keys := append(slices.SortedFunc(maps.Keys(before), CompareHash), hexKey("abab", 0), hexKey("0", 0), hexKey("f7ab", 1))
		key, blob := keys[int(pick)%len(keys)], plumbing.ZeroHash
		if pick < 128 {
			blob = r.blob("new\n")
		}
		if err := tree.Set(key, blob); err != nil {
			if !strings.Contains(err.Error(), "differ in case") && !strings.Contains(err.Error(), "taken") {
				t.Fatal(err)
			}
			return
		}
		after, err := tree.Write(r.write)
		if err != nil {
			t.Fatal(err)
		}
		wanted := maps.Clone(before)
		if wanted[key] = blob; blob.IsZero() {
			delete(wanted, key)
		}
		for _, tr := range []*Tree{tree, r.open(after)} {
			if diff := gocmp.Diff(wanted, r.all(tr)); diff != "" {
				t.Fatalf("after set of %s:\n%s", key, diff)
			}
		}
		if diff := gocmp.Diff(r.others(root, ""), r.others(after, "")); diff != "" {
			t.Fatalf("what is no note changed:\n%s", diff)
		}
		r.sane(after)
		point(after)
		if listed, err := r.list(); err != nil {
			t.Fatal(err)
		} else if diff := gocmp.Diff(wanted, listed); diff != "" {
			t.Fatalf("git lists another:\n%s", diff)
		}
		for _, d := range [][2]plumbing.Hash{{root, after}, {after, root}, {root, r.oddTree(&data, 0)}} {
			r.checkDiff(d[0], d[1])
		}
	})
}

// checkDiff compares DiffTrees with what reading both trees in full says.
func (r *treeRepo) checkDiff(a, b plumbing.Hash) {
	r.tb.Helper()
	type pair struct{ Old, New []plumbing.Hash }
	got, want := map[plumbing.Hash]pair{}, map[plumbing.Hash]pair{}
	last := ""
	err := DiffTrees(r.read, a, b, func(k plumbing.Hash, old, new []plumbing.Hash) error {
		if k.String() <= last {
			r.tb.Errorf("diff: %s after %s", k, last)
		}
		got[k], last = pair{old, new}, k.String()
		return nil
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	err1 := r.open(a).Each(func(k plumbing.Hash, blobs []plumbing.Hash) error {
		want[k] = pair{blobs, nil}
		return nil
	})
	err2 := r.open(b).Each(func(k plumbing.Hash, blobs []plumbing.Hash) error {
		if slices.Equal(want[k].Old, blobs) {
			delete(want, k)
		} else {
			want[k] = pair{want[k].Old, blobs}
		}
		return nil
	})
	if err := errors.Join(err1, err2); err != nil {
		r.tb.Fatal(err)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		r.tb.Fatalf("difference of %s and %s:\n%s", a, b, diff)
	}
}
