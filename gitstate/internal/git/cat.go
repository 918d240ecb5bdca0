package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// catFile is a `git cat-file --batch` child, for what is asked for by a name, and for what
// was not found in the packs: it reads partial clones and new packs as git does.
type catFile struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	watch *catWatch
}

func (r *Repo) startCat() (*catFile, error) {
	cmd := r.Command(context.Background(), "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// A Ctrl-C on the terminal is for the commands in the stacks.
	OwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("git is not installed, or not in PATH")
		}
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	return &catFile{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<16), watch: &catWatch{r: r, cmd: cmd, out: out}}, nil
}

// stop may be called again.
func (c *catFile) stop() {
	c.watch.end()
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// ErrMissing: git knows no such object or ref.
var ErrMissing = errors.New("no such object")

// answer reads the next answer. An object that is not there is ErrMissing.
func (c *catFile) answer() (h plumbing.Hash, t plumbing.ObjectType, body []byte, err error) {
	c.watch.begin()
	defer c.watch.end()
	line, err := c.out.ReadSlice('\n')
	if err != nil {
		return h, t, nil, c.watch.why(err)
	}
	line = line[:len(line)-1]
	name, rest, _ := bytes.Cut(line, []byte(" "))
	kind, digits, _ := bytes.Cut(rest, []byte(" "))
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if n, herr := hex.Decode(h[:], name[:min(len(name), 2*len(h))]); err != nil || herr != nil || n != len(h) || len(name) != 2*len(h) {
		if bytes.HasSuffix(line, []byte(" missing")) || bytes.HasSuffix(line, []byte(" ambiguous")) {
			return plumbing.ZeroHash, t, nil, ErrMissing
		}
		return plumbing.ZeroHash, t, nil, fmt.Errorf("git cat-file answered %q", line)
	}
	if t, err = plumbing.ParseObjectType(string(kind)); err != nil {
		return h, t, nil, err
	}
	body = make([]byte, size+1)
	if _, err := io.ReadFull(c.out, body); err != nil {
		return h, t, nil, c.watch.why(err)
	}
	return h, t, body[:size], nil
}

// Lookup reads one object by anything that git takes for a name. A ref of ours is
// asked for with Resolve: git searches for a name that is not there.
func (r *Repo) Lookup(rev string) (h plumbing.Hash, t plumbing.ObjectType, body []byte, err error) {
	if strings.ContainsAny(rev, "\n\x00") || rev == "" {
		return h, t, nil, fmt.Errorf("invalid name of an object: %q", rev)
	}
	if h = r.plain(rev); !h.IsZero() {
		o := r.reader()
		t, body, err = o.read(h)
		r.readers.Put(o)
		if err == nil && (t == plumbing.CommitObject || !strings.HasSuffix(rev, asCommit)) {
			return h, t, body, nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cat == nil {
		if r.cat, err = r.startCat(); err != nil {
			return h, t, nil, err
		}
	}
	if _, err = io.WriteString(r.cat.in, rev+"\n"); err == nil {
		h, t, body, err = r.cat.answer()
	}
	if err != nil && !errors.Is(err, ErrMissing) {
		// Where the stream stands is unknown now: the next one begins anew.
		r.cat.stop()
		r.cat = nil
	}
	return h, t, body, err
}

const asCommit = "^{commit}"

// plain is the object that HEAD or a whole hash names, zero where that is git's to find.
func (r *Repo) plain(rev string) (h plumbing.Hash) {
	rev = strings.TrimSuffix(rev, asCommit)
	if rev == "HEAD" {
		text, _ := os.ReadFile(r.head)
		rev = strings.TrimSpace(string(text))
		if branch, ok := strings.CutPrefix(rev, "ref: "); ok && strings.HasPrefix(branch, "refs/heads/") {
			h, _ = r.standsOn(branch)
			return h
		}
	}
	if plumbing.IsHash(rev) {
		h = plumbing.NewHash(rev)
	}
	return h
}

// Read is Lookup for an object that must be there and of a type.
func (r *Repo) Read(h plumbing.Hash, want plumbing.ObjectType) ([]byte, error) {
	o := r.reader()
	t, body, err := o.read(h)
	r.readers.Put(o)
	if err == nil && t == want {
		return body, nil
	}
	if body, err = r.ask(h, want); err != nil {
		return nil, fmt.Errorf("%v %s: %w", want, h, err)
	}
	return body, nil
}

// ask is Read by git.
func (r *Repo) ask(h plumbing.Hash, want plumbing.ObjectType) ([]byte, error) {
	_, t, body, err := r.Lookup(h.String())
	if err == nil && t != want {
		err = fmt.Errorf("it is a %v", t)
	}
	return body, err
}

// Commit reads a commit by name; a name that is not there is ErrMissing.
func (r *Repo) Commit(rev string) (*object.Commit, error) {
	h, t, body, err := r.Lookup(rev)
	if err != nil {
		return nil, err
	}
	if t != plumbing.CommitObject {
		return nil, fmt.Errorf("%s is a %v, not a commit", rev, t)
	}
	return decodeCommit(h, body)
}

func decodeCommit(h plumbing.Hash, body []byte) (*object.Commit, error) {
	o := new(plumbing.MemoryObject)
	o.SetType(plumbing.CommitObject)
	o.Write(body)
	c := new(object.Commit)
	if err := c.Decode(o); err != nil {
		return nil, fmt.Errorf("commit %s: %w", h, err)
	}
	c.Hash = h
	return c, nil
}

// Before finds which of some commits come shortly before another one: most often all of them
// do, and git need not be asked how they are related.
func (r *Repo) Before(head plumbing.Hash, commits map[string]bool) map[string]bool {
	const near = 64
	before := map[string]bool{}
	seen := map[plumbing.Hash]bool{head: true}
	o := r.reader()
	defer r.readers.Put(o)
	for queue := []plumbing.Hash{head}; len(queue) > 0 && len(seen) < near && len(before) < len(commits); queue = queue[1:] {
		t, body, err := o.read(queue[0])
		if err != nil || t != plumbing.CommitObject {
			continue
		}
		c, err := decodeCommit(queue[0], body)
		if err != nil {
			continue
		}
		for _, parent := range c.ParentHashes {
			if commits[parent.String()] {
				before[parent.String()] = true
			}
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return before
}

// Close ends the git process that answers questions about objects.
func (r *Repo) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cat != nil {
		r.cat.stop()
		r.cat = nil
	}
}
