package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// pipeGrace is how long the output of a child that has ended is waited for, while
// a process that it left behind holds the other end open.
const pipeGrace = 2 * time.Second

// outcome is what one try of a command came to.
type outcome struct {
	exit       int    // -1: none
	signal     string // name of the one that ended it
	reason     string // one line, where it did not succeed
	notStarted bool   // the run was stopped before
	timedOut   bool
	matched    bool // a line of the output matched Options.RetryOn
	final      bool // another try would end the same way
}

func (o outcome) ok() bool { return o.exit == 0 && !o.timedOut && !o.notStarted }

// diedOfInterrupt says that the child ended as those do that do not handle Ctrl-C, or as
// a shell does whose command was one.
func (o outcome) diedOfInterrupt() bool { return o.signal == "SIGINT" || o.exit == 130 }

// child is a started process.
type child struct {
	cmd   *exec.Cmd
	group bool // it leads a process group of its own

	mu       sync.Mutex // guards what follows
	ended    bool       // it was waited for: its pid may be another's
	timedOut bool
	timer    *time.Timer // to the timeout, then to the kill
}

// signal sends sig to the child, and to its group where that is its own.
func (c *child) signal(sig os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		sendSignal(c.cmd.Process, sig, c.group)
	}
}

// limit ends the child after a time, gently at first.
func (c *child) limit(timeout, killAfter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(timeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended {
			return
		}
		c.timedOut = true
		sendSignal(c.cmd.Process, os.Interrupt, c.group)
		c.timer = time.AfterFunc(killAfter, func() { c.signal(os.Kill) })
	})
}

// wait returns when the process has ended, whatever became of its own children.
func (c *child) wait() error {
	err := c.cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	return err
}

// try runs a task's command once.
func (x *execution) try(t Task, env []string, out *stackOutput) outcome {
	if env == nil {
		env = []string{} // to exec.Cmd nil is our own
	}
	path, err := lookPath(t.Command[0], t.Stack.Dir, env)
	if err != nil {
		return outcome{exit: -1, final: true, reason: oneLine(err.Error())}
	}
	streams := out.newTry(t.Tee)
	c := &child{group: !x.opt.Foreground}
	c.cmd = &exec.Cmd{
		Path:        path,
		Args:        t.Command,
		Env:         env,
		Dir:         t.Stack.Dir,
		Stdin:       x.out.stdin(),
		SysProcAttr: sysProcAttr(c.group),
		WaitDelay:   pipeGrace, // only of use where Stdin is no file
	}
	pipes, err := streams.attach(c.cmd)
	halted := false
	if err == nil {
		halted, err = x.startChild(c)
	}
	if halted {
		pipes.abandon()
		return outcome{exit: -1, notStarted: true}
	}
	if err != nil {
		pipes.abandon()
		return outcome{exit: -1, reason: oneLine(startError(t, err))}
	}
	if x.opt.Timeout > 0 {
		killAfter := x.opt.KillAfter
		if killAfter <= 0 {
			killAfter = 30 * time.Second
		}
		c.limit(x.opt.Timeout, killAfter)
	}
	pipes.copy()
	_ = c.wait() // ProcessState says it all
	x.mu.Lock()
	delete(x.children, c)
	x.mu.Unlock()
	if !pipes.drain(pipeGrace) && c.timedOut && c.group {
		// What a child leaves behind may live on, but not where it was to end.
		killGroup(c.cmd.Process.Pid)
	}
	pipes.close()

	o := outcome{
		exit:     c.cmd.ProcessState.ExitCode(),
		signal:   endingSignal(c.cmd.ProcessState),
		timedOut: c.timedOut,
		matched:  streams.matched(),
	}
	switch {
	case o.ok():
	case o.timedOut:
		o.reason = "timed out after " + shortDuration(x.opt.Timeout)
	default:
		o.reason = streams.reason(o.signal != "")
		if o.reason == "" && o.signal != "" {
			o.reason = "killed by " + o.signal
		} else if o.reason == "" {
			o.reason = fmt.Sprintf("exit status %d", o.exit)
		}
	}
	return o
}

// startChild starts c, unless the run was stopped before, and adds it to those that
// get its signals: none slips through between the two.
func (x *execution) startChild(c *child) (halted bool, err error) {
	x.starting.RLock()
	defer x.starting.RUnlock()
	if x.halted {
		return true, nil
	}
	if err := c.cmd.Start(); err != nil {
		return false, err
	}
	x.mu.Lock()
	x.children[c] = struct{}{}
	x.mu.Unlock()
	return false, nil
}

// startError says why a command that was found could not be started; os/exec does not
// say that it is for want of the directory.
func startError(t Task, err error) string {
	if _, dirErr := os.Stat(t.Stack.Dir); dirErr != nil && t.Stack.Dir != "" {
		err = dirErr
	}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return "cannot start " + t.Command[0] + ": " + err.Error()
}

// shortDuration is d without the zero units that its String ends with.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
