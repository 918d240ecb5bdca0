package notestree

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
)

const treeRef = "refs/notes/tree"

// treeRepo is a bare repository, read through `git cat-file --batch`.
type treeRepo struct {
	tb  testing.TB
	dir string

	mu            sync.Mutex
	in            io.Writer
	out           *bufio.Reader
	reads, writes int
}

func newTreeRepo(tb testing.TB) *treeRepo {
	tb.Helper()
	r := &treeRepo{tb: tb, dir: tb.TempDir()}
	r.git("", "init", "-q", "--bare")
	cat := r.command("cat-file", "--batch")
	in, err1 := cat.StdinPipe()
	out, err2 := cat.StdoutPipe()
	if err := errors.Join(err1, err2, cat.Start()); err != nil {
		tb.Fatal(err)
	}
	r.in, r.out = in, bufio.NewReader(out)
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cat.Wait()
	})
	return r
}

func (r *treeRepo) command(args ...string) *exec.Cmd {
	c := exec.Command("git", args...)
	c.Dir = r.dir
	c.Env = append(os.Environ(), "GIT_DIR="+r.dir, "GIT_NOTES_REF="+treeRef, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	return c
}

func (r *treeRepo) try(stdin string, args ...string) (string, error) {
	c := r.command(args...)
	c.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("git %v: %w: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (r *treeRepo) git(stdin string, args ...string) string {
	r.tb.Helper()
	out, err := r.try(stdin, args...)
	if err != nil {
		r.tb.Fatal(err)
	}
	return out
}

// object returns what a name means to git.
func (r *treeRepo) object(name string) (h plumbing.Hash, kind string, body []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := fmt.Fprintln(r.in, name); err != nil {
		return h, "", nil, err
	}
	line, err := r.out.ReadString('\n')
	if err != nil {
		return h, "", nil, err
	}
	var id string
	var size int
	if n, _ := fmt.Sscanf(line, "%s %s %d", &id, &kind, &size); n != 3 {
		return h, "", nil, errors.New(strings.TrimSpace(line))
	}
	body = make([]byte, size+1)
	_, err = io.ReadFull(r.out, body)
	return plumbing.NewHash(id), kind, body[:size], err
}

func (r *treeRepo) read(h plumbing.Hash, t plumbing.ObjectType) ([]byte, error) {
	r.reads++
	_, kind, body, err := r.object(h.String())
	if err == nil && kind != t.String() {
		err = fmt.Errorf("%s is a %s", h, kind)
	}
	return body, err
}

func (r *treeRepo) write(t plumbing.ObjectType, body []byte) (plumbing.Hash, error) {
	r.writes++
	var b bytes.Buffer
	w := objfile.NewWriter(&b)
	if err := w.WriteHeader(t, int64(len(body))); err != nil {
		return plumbing.ZeroHash, err
	}
	_, err := w.Write(body)
	h := w.Hash()
	if err = errors.Join(err, w.Close()); err != nil {
		return h, err
	}
	path := filepath.Join(r.dir, "objects", h.String()[:2], h.String()[2:])
	if _, err := os.Stat(path); err == nil {
		return h, nil
	}
	_ = os.Mkdir(filepath.Dir(path), 0o777)
	return h, os.WriteFile(path, b.Bytes(), 0o444)
}

func (r *treeRepo) must(t plumbing.ObjectType, body string) plumbing.Hash {
	r.tb.Helper()
	h, err := r.write(t, []byte(body))
	if err != nil {
		r.tb.Fatal(err)
	}
	return h
}

func (r *treeRepo) blob(text string) plumbing.Hash { return r.must(plumbing.BlobObject, text) }

// tree stores entries as they come.
func (r *treeRepo) tree(entries ...treeEntry) plumbing.Hash {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.mode + " " + e.name + "\x00" + string(e.hash[:]))
	}
	return r.must(plumbing.TreeObject, b.String())
}

// sorted stores entries in git's order.
func (r *treeRepo) sorted(entries ...treeEntry) plumbing.Hash {
	slices.SortStableFunc(entries, func(a, b treeEntry) int { return cmp.Compare(a.sortName(), b.sortName()) })
	return r.tree(entries...)
}

// commit makes a commit of the tree the notes ref.
func (r *treeRepo) commit(tree plumbing.Hash) {
	r.git("", "update-ref", treeRef, r.git("", "commit-tree", "-m", "notes", tree.String()))
}

// tip returns the tree of the notes ref.
func (r *treeRepo) tip() plumbing.Hash {
	r.tb.Helper()
	h, _, _, err := r.object(treeRef + "^{tree}")
	if err != nil {
		r.tb.Fatal(err)
	}
	return h
}

func (r *treeRepo) open(root plumbing.Hash) *Tree {
	r.tb.Helper()
	t, err := Open(r.read, root)
	if err != nil {
		r.tb.Fatal(err)
	}
	return t
}

func (r *treeRepo) set(t *Tree, key, blob plumbing.Hash) plumbing.Hash {
	r.tb.Helper()
	if err := t.Set(key, blob); err != nil {
		r.tb.Fatal(err)
	}
	h, err := t.Write(r.write)
	if err != nil {
		r.tb.Fatal(err)
	}
	return h
}

// list is what `git notes list` prints, by commit.
func (r *treeRepo) list() (map[plumbing.Hash]plumbing.Hash, error) {
	out, err := r.try("", "notes", "list")
	m := map[plumbing.Hash]plumbing.Hash{}
	for _, line := range strings.Split(out, "\n") {
		if blob, key, ok := strings.Cut(line, " "); ok {
			m[plumbing.NewHash(key)] = plumbing.NewHash(blob)
		}
	}
	return m, err
}

// all is what our tree lists; it checks the order, and that get says the same. Notes
// in parts are joined as join does it.
func (r *treeRepo) all(t *Tree) map[plumbing.Hash]plumbing.Hash {
	r.tb.Helper()
	m := map[plumbing.Hash]plumbing.Hash{}
	last := ""
	err := t.Each(func(key plumbing.Hash, blobs []plumbing.Hash) error {
		if s := key.String(); s <= last {
			r.tb.Errorf("%s after %s", s, last)
		} else {
			last = s
		}
		got, err := t.Get(key)
		if err != nil || !slices.Equal(got, blobs) {
			r.tb.Errorf("get %s: %v, %v; each says %v", key, got, err, blobs)
		}
		n := treeNote{key, blobs[0], blobs[1:]}
		if err := t.join(&n, r.write); err != nil {
			return err
		}
		m[key] = n.blob
		return nil
	})
	if err != nil {
		r.tb.Fatal(err)
	}
	return m
}

// others lists all that is no note: path, mode and object. It knows nothing of treeDir.
func (r *treeRepo) others(root plumbing.Hash, prefix string) map[string]bool {
	r.tb.Helper()
	m := map[string]bool{}
	_, _, body, err := r.object(root.String())
	if err != nil {
		r.tb.Fatal(err)
	}
	digits := len(strings.ReplaceAll(prefix, "/", ""))
	for len(body) > 0 {
		mode, rest, _ := strings.Cut(string(body), " ")
		name, rest, _ := strings.Cut(rest, "\x00")
		h := plumbing.Hash([]byte(rest[:20]))
		body = []byte(rest[20:])
		raw, err := hex.DecodeString(name)
		dir := strings.HasSuffix("0"+mode, "040000") && len(mode) <= 6 && !strings.HasPrefix(mode, "1")
		switch {
		case err == nil && len(raw)*2+digits == 40 && strings.HasPrefix(mode, "100"):
		case err == nil && len(raw) == 1 && digits < 38 && dir:
			maps.Copy(m, r.others(h, prefix+strings.ToLower(name)+"/"))
		default:
			m[prefix+name+" "+mode+" "+h.String()] = true
		}
	}
	return m
}

func hexKey(prefix string, n int) plumbing.Hash {
	return plumbing.NewHash(prefix + fmt.Sprintf("%0*x", 40-len(prefix), n))
}

// randomKey is the prefix and random digits.
func randomKey(rnd *rand.Rand, prefix string) plumbing.Hash {
	for len(prefix) < 40 {
		prefix += fmt.Sprintf("%x", rnd.IntN(16))
	}
	return plumbing.NewHash(prefix)
}
