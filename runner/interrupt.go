package runner

import (
	"os"
	"time"
)

// interruptGrace is how long a child that died of Ctrl-C waits for our own signal
// to be read, before its end counts as a failure. The kernel sends both at
// once, but a small child may be reaped before our channel has it.
const interruptGrace = time.Second

// diedOfInterrupt is the exit code by which a shell says that SIGINT ended a program.
const diedOfInterrupt = 130

// pollSignals handles the signals that are there, without waiting.
func (x *execution) pollSignals() { x.awaitSignal(0) }

// awaitSignal handles the signals that are there; if there is none it waits for
// one, at most so long.
func (x *execution) awaitSignal(most time.Duration) {
	var timeout <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case sig, ok := <-x.opt.Signals:
			x.received(sig, ok)
			timeout = nil
			continue
		default:
		}
		if timeout == nil {
			return
		}
		select {
		case sig, ok := <-x.opt.Signals:
			x.received(sig, ok)
		case <-timeout:
		}
		timeout = nil
	}
}

// received handles what a read of Options.Signals gave.
func (x *execution) received(sig os.Signal, ok bool) {
	if !ok {
		x.opt.Signals = nil // closed: no more of them
		return
	}
	x.interrupt(sig, x.opt.Foreground && fromTerminal(sig))
}

// contextEnded treats the end of the caller's context as a SIGINT, unless there
// was a signal already, which then is what ended it.
func (x *execution) contextEnded() {
	x.pollSignals()
	if x.signals == 0 {
		x.interrupt(os.Interrupt, false)
	}
}

// interrupt handles a signal; childrenHaveIt says that the kernel sent it to the
// children as well.
func (x *execution) interrupt(sig os.Signal, childrenHaveIt bool) {
	x.signals++
	pass := func() {
		if !childrenHaveIt {
			x.signalAll(sig)
		}
		childrenHaveIt = true
	}
	switch x.signals {
	case 1:
		x.stop("interrupted by " + SignalName(sig))
		x.stopPreparing()
		// The observer may push over a network. A person who signals again
		// meanwhile does not want to wait for that.
		observed := make(chan error, 1)
		go func() { observed <- x.observer(Event{Kind: Interrupted, Signal: sig}) }()
		for waiting := true; waiting; {
			select {
			case err := <-observed:
				x.observed(err)
				waiting = false
			case next, ok := <-x.opt.Signals:
				if ok {
					pass()
				}
				x.received(next, ok)
			}
		}
		pass()
	case 2:
		pass()
	default:
		x.signalAll(os.Kill)
	}
}

// signalAll sends a signal to every child that runs, once.
func (x *execution) signalAll(sig os.Signal) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for c := range x.children {
		c.signal(sig)
	}
}
