//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package gitstate

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// inheritable: a lock of flock(2) is that of an open file, which children share.
const inheritable = true

func lockMark(f *os.File) (io.Closer, error) {
	return io.NopCloser(nil), unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
