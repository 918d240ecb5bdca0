//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package git

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Inheritable: a lock of flock(2) is that of an open file, which children share.
const Inheritable = true

// LockMark locks the file of a run's mark until it is closed by all who have it, the run's
// commands among them.
func LockMark(f *os.File) (io.Closer, error) {
	return io.NopCloser(nil), unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
