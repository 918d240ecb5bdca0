package terminal

import (
	"os"
	"path/filepath"
	"testing"
)

// Two pipes are two, though Windows tells nothing of what they are.
func TestSameFile(t *testing.T) {
	t.Parallel()
	open := func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	pipe := func() *os.File {
		t.Helper()
		r, w, err := os.Pipe()
		open(r, err)
		return open(w, err)
	}
	dir := t.TempDir()
	file, other := open(os.Create(filepath.Join(dir, "a"))), open(os.Create(filepath.Join(dir, "b")))
	again := open(os.OpenFile(file.Name(), os.O_WRONLY, 0))
	one, two := pipe(), pipe()
	for _, tc := range []struct {
		name string
		a, b *os.File
		same bool
	}{
		{"a file", file, file, true},
		{"a file, opened twice", file, again, true},
		{"two files", file, other, false},
		{"a pipe", one, one, true},
		{"a pipe by another handle", one, duplicate(t, one), true},
		{"two pipes", one, two, false},
		{"a pipe and a file", one, file, false},
	} {
		if got := SameFile(tc.a, tc.b); got != tc.same {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	closed := open(os.Create(filepath.Join(dir, "c")))
	closed.Close()
	if SameFile(closed, closed) {
		t.Error("a file that is closed is the same as itself")
	}
	if !showsEscapes(file.Fd()) {
		t.Error("a file is taken for a console that shows no colours")
	}
}
