//go:build unix

package runner

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Interrupts end a run in order: nothing further starts, what is known is
// recorded. A closed terminal (SIGHUP) is one, too.
var Interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// OutliveReader has writes to a pipe that nobody reads any more (`| head`) fail, where
// they would end the process: what this one is about to run must be recorded.
// Children have the signal as they always had.
var OutliveReader = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) })

// Resend sends a signal to this process.
func Resend(sig os.Signal) {
	if s, is := sig.(syscall.Signal); is {
		_ = syscall.Kill(os.Getpid(), s)
	}
}
