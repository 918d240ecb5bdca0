package git

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// history is a repository with commits, trees, blobs that git tells as deltas of each
// other, and a tag.
func history(t *testing.T) *gittest.Repo {
	r := gittest.New(t)
	lines := strings.Builder{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		for range 20 {
			fmt.Fprintf(&lines, "%d %x\n", i, random.Uint64())
		}
		r.Commit("c", map[string]string{"log": lines.String(), fmt.Sprintf("d/%d", i): fmt.Sprint(i), "empty": ""})
	}
	r.Git("tag", "-a", "-m", "v", "v1")
	return r
}

// here reads all objects of a repository, and returns how many of them were left to git.
// Each has to be what git says that it is.
func here(t *testing.T, dir string) (asked int) {
	t.Helper()
	ctx := context.Background()
	r, err := Open(ctx, dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.Git(ctx, nil, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
	if err != nil {
		t.Fatal(err)
	}
	o, n := r.reader(), 0
	for name := range strings.FieldsSeq(list) {
		h, kind, body, err := r.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		n++
		gotKind, got, err := o.read(h)
		switch {
		case errors.Is(err, errMissed):
			asked++
			if got, err = r.Read(h, kind); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%v %s is read as %q: %v", kind, name, got, err)
			}
		case err != nil || gotKind != kind || !bytes.Equal(got, body):
			t.Fatalf("%v %s is read as %v %q: %v; it is %q", kind, name, gotKind, got, err, body)
		}
	}
	if n < 100 {
		t.Fatalf("%d objects", n)
	}
	return asked
}

// Objects are read as git has them, however they are stored.
func TestObjectsAsGitHasThem(t *testing.T) {
	t.Parallel()
	pack := func(t *testing.T, r *gittest.Repo, options ...string) string {
		r.Git(append([]string{"-c", "repack.useDeltaBaseOffset=true", "repack", "-adfq", "--depth=20"}, options...)...)
		found, err := filepath.Glob(filepath.Join(r.Dir, ".git/objects/pack/*.pack"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	for name, store := range map[string]func(t *testing.T, r *gittest.Repo) (dir string){
		"loose": func(t *testing.T, r *gittest.Repo) string { return r.Dir },
		"one pack": func(t *testing.T, r *gittest.Repo) string {
			pack(t, r)
			return r.Dir
		},
		"deltas that name their base": func(t *testing.T, r *gittest.Repo) string {
			r.Git("config", "repack.useDeltaBaseOffset", "false")
			r.Git("repack", "-adfq")
			return r.Dir
		},
		"offsets of 64 bits": func(t *testing.T, r *gittest.Repo) string {
			file := pack(t, r)
			index := strings.TrimSuffix(file, ".pack") + ".idx"
			if err := os.Remove(index); err != nil {
				t.Fatal(err)
			}
			r.Git("index-pack", "--index-version=2,0x40", "-o", index, file)
			return r.Dir
		},
		"a pack and loose ones": func(t *testing.T, r *gittest.Repo) string {
			pack(t, r)
			r.Commit("loose", map[string]string{"more": "more"})
			return r.Dir
		},
		"several packs": func(t *testing.T, r *gittest.Repo) string {
			pack(t, r)
			r.Commit("more", map[string]string{"more": "more"})
			r.Git("repack", "-dq")
			r.Git("multi-pack-index", "write")
			return r.Dir
		},
		"alternates": func(t *testing.T, r *gittest.Repo) string {
			pack(t, r)
			dir := filepath.Join(t.TempDir(), "shared")
			r.Git("clone", "-q", "--shared", ".", dir)
			return dir
		},
		"a linked worktree": func(t *testing.T, r *gittest.Repo) string {
			dir := filepath.Join(t.TempDir(), "tree")
			r.Git("worktree", "add", "-q", "--detach", dir)
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if asked := here(t, store(t, history(t))); asked > 0 {
				t.Errorf("%d objects were left to git", asked)
			}
		})
	}
}

// What is not as it should be is left to git.
func TestObjectsLeftToGit(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, r *gittest.Repo){
		"an index of version 1": func(t *testing.T, r *gittest.Repo) {
			r.Git("-c", "pack.indexVersion=1", "repack", "-adq")
		},
		"objects that are replaced": func(t *testing.T, r *gittest.Repo) {
			r.Git("repack", "-adq")
			r.Git("replace", r.Head(), r.Head()+"~3")
		},
		"replacements that are packed": func(t *testing.T, r *gittest.Repo) {
			r.Git("replace", r.Head(), r.Head()+"~3")
			r.Git("pack-refs", "--all")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := history(t)
			spoil(t, r)
			if asked := here(t, r.Dir); asked < 100 {
				t.Errorf("only %d objects were left to git", asked)
			}
		})
	}
}

// Whatever byte of a pack, an index or a loose object is wrong: what is read is the
// object, or it is left to git.
func TestObjectsSpoiled(t *testing.T) {
	t.Parallel()
	r := history(t)
	r.Git("repack", "-adfq")
	names := strings.Fields(r.Git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
	files, err := filepath.Glob(filepath.Join(r.Dir, ".git/objects/pack/pack-*"))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	spoiled, whole := 0, 0
	for _, file := range files {
		if e := filepath.Ext(file); e != ".pack" && e != ".idx" {
			continue
		}
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			bad := bytes.Clone(good)
			if random.IntN(5) == 0 {
				bad = bad[:random.IntN(len(bad))]
			} else {
				bad[random.IntN(len(bad))] ^= 1 << random.IntN(8)
			}
			if err := errors.Join(os.Remove(file), os.WriteFile(file, bad, 0o600)); err != nil {
				t.Fatal(err)
			}
			o := &objectReader{store: new(store)}
			o.store.add(filepath.Join(r.Dir, ".git/objects"), 0)
			for _, name := range names {
				h := plumbing.NewHash(name)
				kind, body, err := o.read(h)
				switch {
				case errors.Is(err, errMissed):
					spoiled++
				case err != nil:
					t.Fatal(err)
				case plumbing.ComputeHash(kind, body) == h:
					whole++
				default:
					t.Fatalf("%v %s is read as %q", kind, name, body)
				}
			}
		}
		if err := errors.Join(os.Remove(file), os.WriteFile(file, good, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if spoiled == 0 || whole == 0 {
		t.Errorf("%d left to git, %d read", spoiled, whole)
	}
}

// A delta can be of an empty object: git reads it, go-git does not.
func TestDeltaOfNothing(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	empty, note := plumbing.ComputeHash(plumbing.BlobObject, nil), plumbing.ComputeHash(plumbing.BlobObject, []byte("note"))
	delta := []byte{0, 4, 4, 'n', 'o', 't', 'e'}
	// Two objects: see gitformat-pack(5).
	file := bytes.NewBufferString("PACK\x00\x00\x00\x02\x00\x00\x00\x02")
	deflated := func(body []byte) {
		w := zlib.NewWriter(file)
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	file.WriteByte(byte(plumbing.BlobObject) << 4)
	deflated(nil)
	file.WriteByte(byte(plumbing.REFDeltaObject)<<4 | byte(len(delta)))
	file.Write(empty[:])
	deflated(delta)
	sum := sha1.Sum(file.Bytes())
	file.Write(sum[:])
	name := filepath.Join(r.Dir, ".git/objects/pack/pack-of-nothing.pack")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Git("index-pack", name)
	if got := r.Git("cat-file", "blob", note.String()); got != "note" {
		t.Fatalf("git reads %q", got)
	}
	opened, err := Open(t.Context(), r.Dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if kind, got, err := opened.reader().read(note); err != nil || kind != plumbing.BlobObject || string(got) != "note" {
		t.Errorf("%v %q, %v", kind, got, err)
	}
}

// go-git refuses every delta of an empty object: TestDeltaOfNothing asks git about these.
func FuzzPatch(f *testing.F) {
	from := []byte("to be, or not to be: that is the question")
	f.Add(from, packfile.DiffDelta(from, []byte("to be: that is the answer, or not to be")))
	f.Add([]byte{}, []byte{0, 0})
	f.Add([]byte("x"), []byte{1, 3, 0x91, 0, 1, 2, 'y', 'z'})
	f.Fuzz(func(t *testing.T, from, delta []byte) {
		to, ok := patch(from, delta)
		theirs, err := packfile.PatchDelta(from, delta)
		if ok && len(from) > 0 && len(to) > 0 && (err != nil || !bytes.Equal(to, theirs)) {
			t.Fatalf("%q of %q and %q; go-git has %q, %v", to, from, delta, theirs, err)
		}
		if !ok && err == nil && len(theirs) > 0 && len(theirs) < packMost {
			t.Fatalf("go-git makes %q of %q and %q", theirs, from, delta)
		}
	})
}
