//go:build unix

package terminal

import (
	"os"
	"syscall"
)

// resumes say that the process goes on after it was stopped, by Ctrl-Z for example.
var resumes = []os.Signal{syscall.SIGCONT}
