//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package git

import (
	"io"
	"os"

	"github.com/gofrs/flock"
)

// Inheritable: a lock of LockFileEx or fcntl(2) is that of a process.
const Inheritable = false

// LockMark locks the file of a run's mark until this process closes it.
func LockMark(f *os.File) (io.Closer, error) {
	l := flock.New(f.Name(), lockMode)
	return l, l.Lock()
}
