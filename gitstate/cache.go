package gitstate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mostCached is how many derived texts are kept; the ones that were made first go first.
const mostCached = 500

// Cached returns a text that was derived from what cannot change, a commit say, and
// that takes long to make: the kept one, or else what derive makes of it, which is then
// kept below .git/tmnotes/cache/. The name says what it is and of which version;
// it is a token. Anybody may delete that folder at any time.
func (s *Store) Cached(name string, derive func() (string, error)) (string, error) {
	dir := filepath.Join(s.private, "cache")
	if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
		// A file without its last line is of a machine that crashed.
		if text, whole := strings.CutSuffix(string(b), cacheEnd); whole {
			return text, nil
		}
	}
	text, err := derive()
	if err != nil || s.readOnly != nil || !isToken(name) {
		return text, err
	}
	// Without it the next command takes longer, no more.
	if os.MkdirAll(dir, 0o777) == nil {
		if f, err := os.CreateTemp(dir, ".new-*"); err == nil {
			_, err := f.WriteString(text + cacheEnd)
			if cerr := f.Close(); err == nil && cerr == nil {
				err = os.Rename(f.Name(), filepath.Join(dir, name))
			}
			if err != nil {
				_ = os.Remove(f.Name())
			}
		}
		pruneCache(dir)
	}
	return text, nil
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
