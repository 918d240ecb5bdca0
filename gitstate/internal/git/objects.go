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
	var files []*looseFile
	defer func() {
		for _, f := range files {
			f.discard()
		}
	}()
	for _, o := range w.Objects {
		f, err := w.R.writeLoose(o)
		if err != nil {
			return err
		}
		if f != nil {
			files = append(files, f)
		}
	}
	// First all are written, then all are synced: a journaling file system brings to the disk what it
	// has when it is asked for the first, and has nothing to do for the others.
	for _, f := range files {
		if err := errors.Join(f.tmp.Sync(), f.tmp.Close()); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for _, f := range files {
		if err := f.place(); err != nil {
			return err
		}
		dirs[filepath.Dir(f.path)] = true
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

// looseFile is a loose object that is not in its place yet.
type looseFile struct {
	tmp    *os.File
	path   string // its place
	placed bool
}

// writeLoose writes a loose object as git does: into a temporary file beside its place, which
// becomes the object when it is whole. It is nil where the object is there.
func (r *Repo) writeLoose(o *plumbing.MemoryObject) (*looseFile, error) {
	name := o.Hash().String()
	dir := filepath.Join(r.Objects, name[:2])
	f := &looseFile{path: filepath.Join(dir, name[2:])}
	if _, err := os.Lstat(f.path); err == nil {
		return nil, nil
	}
	err := os.Mkdir(dir, 0o777)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if f.tmp, err = os.CreateTemp(dir, "tmp_obj_"); err != nil {
		return nil, err
	}
	body, err := ReadObject(o)
	if err == nil {
		w := objfile.NewWriter(f.tmp)
		if err = w.WriteHeader(o.Type(), int64(len(body))); err == nil {
			_, err = w.Write(body)
		}
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		f.discard()
		return nil, err
	}
	return f, nil
}

// place makes the file the object.
func (f *looseFile) place() error {
	if err := os.Chmod(f.tmp.Name(), 0o444); err != nil {
		return err
	}
	err := os.Rename(f.tmp.Name(), f.path)
	if _, there := os.Lstat(f.path); err != nil && there == nil { // somebody was quicker, and Windows replaces no read-only file
		err = os.Remove(f.tmp.Name())
	}
	f.placed = err == nil
	return err
}

// discard removes what was not placed.
func (f *looseFile) discard() {
	if !f.placed {
		f.tmp.Close()
		os.Remove(f.tmp.Name())
	}
}
