package cli

import (
	"os"
	"syscall"
)

// interrupts end a run in order: nothing further starts, what is known is
// recorded.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM}

func outliveReader() {} // writes fail

// resend ends this process, as a signal would.
func resend(os.Signal) { os.Exit(exitInterrupted) }
