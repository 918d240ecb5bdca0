package git

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// ObjectWriter collects new objects and makes them durable in one go.
type ObjectWriter struct {
	R       *Repo
	Objects []*plumbing.MemoryObject
	seen    map[plumbing.Hash]bool
}

// Put writes an object of a type, unless it is there.
func (w *ObjectWriter) Put(t plumbing.ObjectType, body []byte) (plumbing.Hash, error) {
	h := plumbing.ComputeHash(t, body)
	if !w.seen[h] {
		o := new(plumbing.MemoryObject)
		o.SetType(t)
		o.Write(body)
		w.Objects = append(w.Objects, o)
		if w.seen == nil {
			w.seen = map[plumbing.Hash]bool{}
		}
		w.seen[h] = true
	}
	return h, nil
}

// PutCommit writes a commit, unless it is there.
func (w *ObjectWriter) PutCommit(c *object.Commit) (plumbing.Hash, error) {
	o := new(plumbing.MemoryObject)
	if err := c.Encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	return o.Hash(), w.PutObject(o)
}

// PutObject writes an object that was put together elsewhere, unless it is there.
func (w *ObjectWriter) PutObject(o *plumbing.MemoryObject) error {
	body, err := ReadObject(o)
	if err == nil {
		_, err = w.Put(o.Type(), body)
	}
	return err
}

// ReadObject is the content of an object.
func ReadObject(o plumbing.EncodedObject) ([]byte, error) {
	rd, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	return io.ReadAll(rd)
}

// A few objects are written loose, as git does; many go into one pack, which
// costs one fsync instead of one each.
const looseLimit = 24

// Flush writes the objects and syncs them. git does not sync loose objects by
// default; a ref must never name what a crash could take away.
func (w *ObjectWriter) Flush(ctx context.Context) error {
	defer func() { w.Objects, w.seen = nil, nil }()
	if len(w.Objects) > looseLimit {
		return w.flushPack(ctx)
	}
	dirs := map[string]bool{}
	for _, o := range w.Objects {
		dir, err := w.R.writeLoose(o)
		if err != nil {
			return err
		}
		if dir != "" {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w *ObjectWriter) flushPack(ctx context.Context) error {
	mem := memory.NewStorage()
	hashes := make([]plumbing.Hash, len(w.Objects))
	for i, o := range w.Objects {
		hashes[i] = o.Hash()
		if _, err := mem.SetEncodedObject(o); err != nil {
			return err
		}
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, mem, false).Encode(hashes, 0); err != nil {
		return err
	}
	// index-pack puts the pack where git wants it, and syncs it. Below the top of a work tree it
	// takes .git for a folder of the one that it was started in (git 2.39, builtin/index-pack.c).
	cmd := w.R.Command(ctx, "index-pack", "--stdin")
	cmd.Dir = w.R.CommonDir
	cmd.Env = append(cmd.Env, "GIT_DIR="+w.R.CommonDir, "GIT_OBJECT_DIRECTORY="+w.R.Objects)
	_, err := w.R.run(ctx, cmd, &pack)
	return err
}

// writeLoose writes a loose object as git does: into a temporary file beside
// its place, renamed when it is whole. It says in which folder it wrote.
func (r *Repo) writeLoose(o *plumbing.MemoryObject) (dir string, err error) {
	name := o.Hash().String()
	dir = filepath.Join(r.Objects, name[:2])
	path := filepath.Join(dir, name[2:])
	if _, err := os.Lstat(path); err == nil {
		return "", nil
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, "tmp_obj_")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	body, err := ReadObject(o)
	if err != nil {
		return "", err
	}
	w := objfile.NewWriter(tmp)
	if err := w.WriteHeader(o.Type(), int64(len(body))); err != nil {
		return "", err
	}
	if _, err := w.Write(body); err != nil {
		return "", err
	}
	if err := errors.Join(w.Close(), tmp.Sync(), tmp.Close()); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp.Name(), 0o444); err != nil {
		return "", err
	}
	err = os.Rename(tmp.Name(), path)
	if _, there := os.Lstat(path); err != nil && there == nil { // somebody was quicker, and Windows replaces no read-only file
		return dir, os.Remove(tmp.Name())
	}
	return dir, err
}
