//go:build unix

package cli

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts end a run in order: nothing further starts, what is known is
// recorded. A closed terminal (SIGHUP) is one, too.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// outliveReader has writes to a pipe that nobody reads any more (`| head`) fail, where
// they would end the process: what this one is about to run must be recorded.
// Children have the signal as they always had.
var outliveReader = sync.OnceFunc(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) })

// resend sends a signal to this process.
func resend(sig os.Signal) {
	if s, is := sig.(syscall.Signal); is {
		_ = syscall.Kill(os.Getpid(), s)
	}
}
