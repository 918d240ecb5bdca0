//go:build unix

package cli

import (
	"os"
	"syscall"
)

// interrupts end a run in order: nothing further starts, what is known is
// recorded. A closed terminal (SIGHUP) is one, too.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// resumes say that the process goes on after it was stopped, by Ctrl-Z for example.
var resumes = []os.Signal{syscall.SIGCONT}

// resend sends a signal to this process.
func resend(sig os.Signal) {
	if s, is := sig.(syscall.Signal); is {
		_ = syscall.Kill(os.Getpid(), s)
	}
}
