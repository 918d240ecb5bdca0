package git

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// catFile is a `git cat-file --batch` child. It answers its first object in a
// millisecond or two however large the repository is, where go-git decodes the
// whole pack index, and it reads alternates, partial clones, multi-pack
// indexes and new packs as git does.
type catFile struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	watch *catWatch
}

func (r *Repo) startCat(args ...string) (*catFile, error) {
	cmd := r.Command(context.Background(), append([]string{"cat-file", "--batch"}, args...)...)
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
	return c.answerIn(nil)
}

// answerIn is answer with memory for the body, which is used if it is enough.
func (c *catFile) answerIn(memory []byte) (h plumbing.Hash, t plumbing.ObjectType, body []byte, err error) {
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
	body = slices.Grow(memory[:0], int(size)+1)[:size+1]
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

// Read is Lookup for an object that must be there and of a type.
func (r *Repo) Read(h plumbing.Hash, want plumbing.ObjectType) ([]byte, error) {
	_, t, body, err := r.Lookup(h.String())
	if err != nil {
		return nil, fmt.Errorf("%v %s: %w", want, h, err)
	}
	if t != want {
		return nil, fmt.Errorf("%s is a %v, not a %v", h, t, want)
	}
	return body, nil
}

// ReadBlobs reads many blobs, in order, through a child of its own that need
// not flush after each. A body is good until got returns.
func (r *Repo) ReadBlobs(hashes []plumbing.Hash, got func(i int, body []byte) error) error {
	if len(hashes) == 0 {
		return nil
	}
	if len(hashes) < 8 {
		for i, h := range hashes {
			body, err := r.Read(h, plumbing.BlobObject)
			if err != nil {
				return err
			}
			if err := got(i, body); err != nil {
				return err
			}
		}
		return nil
	}
	return r.StreamBlobs(func(want func(plumbing.Hash)) error {
		for _, h := range hashes {
			want(h)
		}
		return nil
	}, got)
}

// asked is how many blobs may be asked for before the first is taken. It must
// be more than the requests and answers that buffers can hold back, so that
// the one who asks never waits for one whose answer waits for more questions.
const asked = 1 << 13

// StreamBlobs is ReadBlobs while the names are still being found: names runs in
// a goroutine of its own and calls want for each. It ends before StreamBlobs
// returns. Two children read in turn, since git writes blobs to a pipe in small
// pieces and is slower at that than we are at reading them.
func (r *Repo) StreamBlobs(names func(want func(plumbing.Hash)) error, got func(i int, body []byte) error) (err error) {
	cats := make([]*catFile, min(2, runtime.NumCPU()))
	stop := func() {
		for _, c := range cats {
			if c != nil {
				c.stop()
			}
		}
	}
	defer stop()
	for i := range cats {
		if cats[i], err = r.startCat("--buffer"); err != nil {
			return err
		}
	}
	queue := make(chan plumbing.Hash, asked)
	named := make(chan error, 1)
	go func() {
		w := make([]*bufio.Writer, len(cats))
		for i, c := range cats {
			w[i] = bufio.NewWriterSize(c.in, 1<<14)
		}
		n := 0
		err := names(func(h plumbing.Hash) {
			// A child that is gone is found out by who reads its answers.
			to := w[n%len(w)]
			to.WriteString(h.String())
			to.WriteByte('\n')
			n++
			queue <- h
		})
		for i, c := range cats {
			w[i].Flush()
			c.in.Close()
		}
		close(queue)
		named <- err
	}()
	var memory []byte
	i := 0
	for h := range queue {
		if err != nil {
			continue // so that names ends
		}
		var t plumbing.ObjectType
		if _, t, memory, err = cats[i%len(cats)].answerIn(memory); err == nil && t != plumbing.BlobObject {
			err = fmt.Errorf("it is a %v", t)
		}
		if err != nil {
			err = fmt.Errorf("blob %s: %w", h, err)
		} else {
			err = got(i, memory)
		}
		if i++; err != nil {
			stop()
		}
	}
	return cmp.Or(err, <-named)
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
	o := new(plumbing.MemoryObject)
	o.SetType(t)
	o.Write(body)
	c := new(object.Commit)
	if err := c.Decode(o); err != nil {
		return nil, fmt.Errorf("commit %s: %w", h, err)
	}
	c.Hash = h
	return c, nil
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
