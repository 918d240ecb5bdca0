//go:build unix

package terminal

import (
	"os"
	"syscall"
)

// resumes say that the process goes on after it was stopped, by Ctrl-Z for example.
var resumes = []os.Signal{syscall.SIGCONT}

// SameFile reports whether two files are one, as the two streams of a terminal are.
func SameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

func showsEscapes(uintptr) bool { return true }
