package git

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"
)

// Refs of ours, by their full names alone. Where there is no ref of a name git goes
// on to look for a tag and a branch that is called so (gitrevisions(7)), and
// who may push a tag need not be one who may push notes.

// Resolve is the object that a ref names, or the zero hash if there is no such ref.
// A ref that is there and cannot be read is an error.
func (r *Repo) Resolve(ref string) (plumbing.Hash, error) {
	var broken error
	for {
		at, err := r.standsOn(ref)
		if err != nil || at.IsZero() {
			return at, err
		}
		_, _, _, err = r.Lookup(at.String())
		if !errors.Is(err, ErrMissing) {
			return at, err
		}
		if broken != nil {
			return plumbing.ZeroHash, broken
		}
		broken = fmt.Errorf("%s is %s, which cannot be read; `git fsck` tells more", ref, at)
		// Or somebody moved the ref just now: then it can be read the next time.
	}
}

// standsOn is what a ref says, whether or not that is here: its own file, which wins, or
// packed-refs (gitrepository-layout(5)). What is neither, or broken, is git's to tell.
func (r *Repo) standsOn(ref string) (plumbing.Hash, error) {
	loose, looseErr := os.ReadFile(r.RefPath(ref))
	if at := strings.TrimSpace(string(loose)); looseErr == nil && plumbing.IsHash(at) {
		return plumbing.NewHash(at), nil
	}
	if errors.Is(looseErr, fs.ErrNotExist) {
		if packed, ok := r.packedRefs(func(name string) bool { return name == ref }); ok {
			return packed[ref], nil
		}
	}
	out, err := r.Git(context.Background(), nil, "for-each-ref", "--format=%(objectname) %(refname)", ref)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if at, ok := readRefs(out)[ref]; ok {
		return at, nil
	}
	if looseErr == nil {
		// An empty or broken loose ref is warned about, and not listed.
		return plumbing.ZeroHash, fmt.Errorf("%s is broken (its file holds %q); restore it from `git reflog show %s` or the remote", ref, strings.TrimSpace(string(loose)), ref)
	}
	return plumbing.ZeroHash, nil
}

// readRefs reads lines of "HASH NAME".
func readRefs(text string) map[string]plumbing.Hash {
	refs := map[string]plumbing.Hash{}
	for line := range strings.Lines(text) {
		if at, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); plumbing.IsHash(at) {
			refs[name] = plumbing.NewHash(at)
		}
	}
	return refs
}

// Refs are the refs in folders of refs, each with a slash at its end, or of a full name. A
// symbolic or broken one has git list them.
func (r *Repo) Refs(ctx context.Context, patterns ...string) (map[string]plumbing.Hash, error) {
	if refs, ok := r.looseRefs(patterns); ok {
		// Packed ones are read after the loose ones: between them none goes out of sight.
		packed, ok := r.packedRefs(func(name string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return name == p || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p) })
		})
		if ok {
			maps.Copy(packed, refs)
			return packed, nil
		}
	}
	out, err := r.Git(ctx, nil, append([]string{"for-each-ref", "--format=%(objectname) %(refname)"}, patterns...)...)
	return readRefs(out), err
}

// looseRefs reads refs from files of their own.
func (r *Repo) looseRefs(patterns []string) (refs map[string]plumbing.Hash, ok bool) {
	refs = map[string]plumbing.Hash{}
	for _, p := range patterns {
		folder := strings.HasSuffix(p, "/")
		err := filepath.WalkDir(r.RefPath(p), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // packed or deleted just now, or there is none
			}
			if err != nil || e.IsDir() && folder || strings.HasSuffix(file, ".lock") || strings.HasPrefix(e.Name(), ".") {
				return err
			}
			if e.IsDir() {
				return fs.SkipDir // a/b where a was asked for
			}
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			at := strings.TrimSpace(string(text))
			name, relErr := filepath.Rel(r.CommonDir, file)
			if err := errors.Join(err, relErr); err != nil || !e.Type().IsRegular() || !plumbing.IsHash(at) || plumbing.NewHash(at).IsZero() {
				return cmp.Or(err, errMissed)
			}
			refs[filepath.ToSlash(name)] = plumbing.NewHash(at)
			return nil
		})
		if err != nil {
			return nil, false
		}
	}
	return refs, true
}

// packedRefs reads those of packed-refs that are wanted.
func (r *Repo) packedRefs(want func(name string) bool) (refs map[string]plumbing.Hash, ok bool) {
	refs = map[string]plumbing.Hash{}
	text, err := os.ReadFile(filepath.Join(r.CommonDir, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return refs, true
	}
	if err != nil {
		return nil, false
	}
	for line := range bytes.Lines(text) {
		if line[0] == '#' || line[0] == '^' {
			continue
		}
		at, name, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if !plumbing.IsHash(string(at)) {
			return nil, false
		}
		if want(string(name)) {
			refs[string(name)] = plumbing.NewHash(string(at))
		}
	}
	return refs, true
}

// RefPath is the file of a loose ref.
func (r *Repo) RefPath(ref string) string {
	return filepath.Join(r.CommonDir, filepath.FromSlash(ref))
}

// SetRef moves a ref from old to new, both of which may be zero, as the
// compare-and-swap that git update-ref is. ErrMoved: it did not stand on old.
func (r *Repo) SetRef(ctx context.Context, ref, message string, new, old plumbing.Hash) error {
	args := []string{"update-ref", "--create-reflog", "-m", message, ref, new.String(), old.String()}
	if new.IsZero() {
		args = []string{"update-ref", "-d", ref, old.String()}
	}
	_, err := r.Git(ctx, nil, args...)
	var ge *Error
	if errors.As(err, &ge) {
		for _, moved := range []string{"but expected", "reference already exists", "unable to resolve reference", ".lock': File exists"} {
			if strings.Contains(ge.Stderr, moved) {
				return fmt.Errorf("%w: %s", ErrMoved, LastLines(ge.Stderr, ge.Code))
			}
		}
	}
	return err
}

// ErrMoved is returned by SetRef where the ref is not, or is no longer, what it was thought to be.
var ErrMoved = errors.New("the ref was moved by somebody else")

// StaleLock is how old a ref's lock is when nobody can hold it any more: git
// holds one for milliseconds, and one that was killed leaves it behind for good.
// Should its holder live all the same, its own update fails; none is lost.
const StaleLock = 5 * time.Second

// StalePackedLock is the same for the lock of all packed refs. Git may take a while to write
// them, and whoever breaks the lock of one who does could lose what the other one packs.
const StalePackedLock = 10 * time.Minute

// BreakLock removes the locks in the way of a ref that are stale, and says whether there
// was one.
func (r *Repo) BreakLock(ref string) bool {
	own := r.breakStale(r.RefPath(ref)+".lock", StaleLock)
	return r.breakStale(filepath.Join(r.CommonDir, "packed-refs.lock"), StalePackedLock) || own
}

// breakStale removes a lock. One that somebody made meanwhile stays: our own processes take
// turns, and what was moved aside is put back if it is another one than was looked at.
func (r *Repo) breakStale(path string, age time.Duration) bool {
	stale := func(lock os.FileInfo, err error) bool { return err == nil && time.Since(lock.ModTime()) > age }
	if !stale(os.Lstat(path)) {
		return false
	}
	unlock, err := LockBriefly(context.Background(), filepath.Join(r.CommonDir, "tmnotes", "break.lock"), func(string) {})
	if err != nil {
		return false
	}
	defer unlock()
	was, err := os.Lstat(path)
	// On Windows which file it is is looked up when it is asked for, by the path, which leads elsewhere later.
	return stale(was, err) && os.SameFile(was, was) && r.MoveAside(path, was)
}

// MoveAside removes a file, if it still is the one that it was.
func (r *Repo) MoveAside(path string, was os.FileInfo) bool {
	aside := filepath.Join(r.CommonDir, "tmnotes", "stale-"+ulid.MustNew(ulid.Now(), ulid.DefaultEntropy()).String())
	if os.Rename(path, aside) != nil {
		return false
	}
	is, err := os.Lstat(aside)
	if err == nil && !(os.SameFile(is, was) && is.ModTime().Equal(was.ModTime())) {
		_ = os.Link(aside, path) // which replaces nothing
		os.Remove(aside)
		return false
	}
	return os.Remove(aside) == nil
}

// LockedOut reports whether git found the lock of a ref in its way.
func LockedOut(err error) bool {
	var ge *Error
	return errors.As(err, &ge) && strings.Contains(ge.Stderr, ".lock': File exists")
}
