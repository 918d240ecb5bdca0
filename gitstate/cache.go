package gitstate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// mostCached is how many derived texts are kept; the ones that were made first go first.
const mostCached = 500

// Cached returns a text that was derived from what cannot change, a commit say, and
// that takes long to make: the kept one, or else what derive makes of it, which is
// then kept.
func (s *Store) Cached(name string, derive func() (string, error)) (string, error) {
	if text, ok := s.Kept(name); ok {
		return text, nil
	}
	text, err := derive()
	if err == nil {
		s.Keep(name, text)
	}
	return text, err
}

// Kept returns what was given to Keep under a name, if it is still there.
func (s *Store) Kept(name string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(s.private, "cache", name))
	if err != nil {
		return "", false
	}
	// A file without its last line is of a machine that crashed.
	return strings.CutSuffix(string(b), cacheEnd)
}

// Keep keeps a text that can be made again, below .git/tmnotes/cache/, which anybody
// may delete at any time. The name says what it is and of which version; it is a
// token. Where nothing can be written the next command takes longer, no more.
func (s *Store) Keep(name, text string) {
	dir := filepath.Join(s.private, "cache")
	if s.readOnly != nil || !note.IsToken(name) || os.MkdirAll(dir, 0o777) != nil {
		return
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return
	}
	_, err = f.WriteString(text + cacheEnd)
	if cerr := f.Close(); err == nil && cerr == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	pruneCache(dir)
}

const cacheEnd = "\nend\n"

func pruneCache(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= mostCached {
		return
	}
	age := func(e os.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		if x, y := age(a), age(b); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return 0
	})
	for _, e := range entries[:len(entries)-mostCached] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
