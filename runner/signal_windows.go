package runner

import (
	"os"
	"syscall"
)

// Interrupts end a run in order: nothing further starts, what is known is
// recorded.
var Interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM}

func OutliveReader() {} // writes fail

// Resend ends this process, as a signal would.
func Resend(os.Signal) { os.Exit(130) }
