//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package gitstate

import (
	"io"
	"os"

	"github.com/gofrs/flock"
)

// inheritable: a lock of LockFileEx or fcntl(2) is that of a process.
const inheritable = false

func lockMark(f *os.File) (io.Closer, error) {
	l := flock.New(f.Name(), lockMode)
	return l, l.Lock()
}
