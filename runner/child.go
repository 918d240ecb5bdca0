package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/runner/command"
)

// pipeGrace is how long the output of a child that has ended is waited for, while
// a process that it left behind holds the other end open.
const pipeGrace = 2 * time.Second

// outcome is what one try of a task, or of one of its commands, came to.
type outcome struct {
	exit       int    // -1: none
	signal     string // name of the one that ended it
	reason     string // one line, where it did not succeed
	at         string // FILE:LINE of reason
	last       []string
	begun      bool   // it counts as a try
	notStarted bool   // the run was stopped before
	done       int    // commands that succeeded, where not all did
	changes    Status // Command.Changes of one that ended with 2, where all succeeded
	timedOut   bool
	lost       bool // Admission.Hold ended; reason is why
	matched    bool // a line of the output matched Options.RetryOn
	final      bool // another try would end the same way
}

func (o outcome) ok() bool { return o.exit == 0 && !o.timedOut && !o.lost && !o.notStarted }

// diedOfInterrupt says that the child ended as those do that do not handle Ctrl-C, or as
// a shell does whose command was one.
func (o outcome) diedOfInterrupt() bool { return o.signal == "SIGINT" || o.exit == diedOfInterrupt }

// child is a started process.
type child struct {
	cmd   *exec.Cmd
	group bool // it leads a process group of its own
	*family

	mu       sync.Mutex // guards what follows
	ended    bool       // it was waited for: its pid may be another's
	timedOut bool
	lost     bool        // its hold ended before it
	timer    *time.Timer // to the timeout, then to the kill
}

func (c *child) start() (err error) {
	c.family, err = startFamily(c.cmd, c.group)
	return err
}

// signal sends sig to the child, and to its group where that is its own.
func (c *child) signal(sig os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.family.signal(sig)
	}
}

// limit ends the child after a time, gently at first.
func (c *child) limit(timeout, killAfter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(timeout, func() { c.end(&c.timedOut, killAfter) })
}

// end ends a child that runs, gently at first, and sets why.
func (c *child) end(why *bool, killAfter time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.timedOut || c.lost {
		return
	}
	*why = true
	c.family.signal(os.Interrupt)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(killAfter, func() { c.signal(os.Kill) })
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

func (t Task) complete() bool {
	return len(t.Commands) > 0 && !slices.ContainsFunc(t.Commands, func(c Command) bool { return len(c.Args) == 0 || c.Args[0] == "" })
}

// environments are those of a task's commands, each made when it is first asked for.
func (x *execution) environments(t Task) []func() ([]string, error) {
	base := append([]string{}, t.Env...) // not nil, which to exec.Cmd is our own
	envs := make([]func() ([]string, error), len(t.Commands))
	for i, c := range t.Commands {
		envs[i] = func() ([]string, error) { return base, nil }
		if c.Prepare != nil {
			envs[i] = sync.OnceValues(func() ([]string, error) {
				extra, err := c.Prepare(x.prepare)
				if t.Secrets != nil {
					t.Secrets.Learn(extra)
				}
				return append(slices.Clip(base), extra...), err
			})
		}
	}
	return envs
}

// try runs a task's commands once, one after the other, until one does not succeed.
// The timeout, and the search for what is worth another try, are over all of them.
func (x *execution) try(t Task, hold context.Context, envs []func() ([]string, error), out *stackOutput) outcome {
	var changes Status
	matched := false
	left := x.opt.Timeout
	for i, c := range t.Commands {
		var o outcome
		env, err := envs[i]()
		switch {
		case err != nil:
			o = outcome{exit: -1, final: true, reason: oneLine(t.hide(err.Error()))}
		case x.opt.Timeout > 0 && left <= 0:
			o = outcome{exit: -1, timedOut: true}
		case hold != nil && hold.Err() != nil:
			o = outcome{exit: -1, lost: true}
		default:
			start := time.Now()
			o = x.run(t, c, hold, env, left, out)
			left -= time.Since(start)
			o.begun = !o.notStarted
		}
		matched = matched || o.matched
		switch {
		case o.ok():
		case o.exit == 2 && c.Changes != "" && !o.timedOut:
			if changes != StatusDrifted {
				changes = c.Changes
			}
		default:
			switch {
			case o.lost:
				o.reason, o.at = oneLine(context.Cause(hold).Error()), ""
			case o.timedOut:
				o.reason, o.at = "timed out after "+Span(x.opt.Timeout), ""
			case o.reason == "" && len(t.Commands) > 1:
				o.reason = command.ProgramName(c.Args) + ": " + o.ending()
			case o.reason == "":
				o.reason = o.ending()
			}
			o.done, o.matched = i, matched
			o.begun = o.begun || i > 0
			return o
		}
		if i+1 < len(t.Commands) {
			// A signal that was there before the child ended is seen before the
			// next one starts, which would not get it.
			x.do(func() {})
		}
	}
	if changes != "" {
		return outcome{exit: 2, begun: true, changes: changes}
	}
	return outcome{begun: true}
}

// inherited are files for a child to have open, out of the way of the descriptors that
// scripts number themselves.
func inherited(files []*os.File) []*os.File {
	if len(files) == 0 {
		return nil
	}
	const first = 20
	return append(make([]*os.File, first-3), files...)
}

// ending says how a command ended that says nothing of it itself.
func (o outcome) ending() string {
	if o.signal != "" {
		return "killed by " + o.signal
	}
	return fmt.Sprintf("exit status %d", o.exit)
}

// run runs a command once, for at most timeout if that is not 0, and no longer than
// hold if that is not nil.
func (x *execution) run(t Task, cmd Command, hold context.Context, env []string, timeout time.Duration, out *stackOutput) outcome {
	if cmd.Line != "" {
		out.line(cmd.Line)
	}
	s := t.Stack
	path, err := lookPath(cmd.Args[0], s.Dir, env)
	if err != nil {
		return outcome{exit: -1, final: true, reason: oneLine(t.hide(err.Error()))}
	}
	streams := out.newTry(cmd.Tee)
	c := &child{group: !x.opt.Foreground}
	c.cmd = &exec.Cmd{
		Path:       path,
		Args:       cmd.Args,
		Env:        env,
		Dir:        s.Dir,
		Stdin:      x.out.stdin(),
		ExtraFiles: inherited(x.opt.Inherit),
		WaitDelay:  pipeGrace, // only of use where Stdin is no file
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
		return outcome{exit: -1, reason: oneLine(t.hide(startError(s, cmd, err)))}
	}
	x.await(c, pipes, hold, timeout)
	o := outcome{
		exit:     c.cmd.ProcessState.ExitCode(),
		signal:   endingSignal(c.cmd.ProcessState),
		timedOut: c.timedOut,
		lost:     c.lost,
		matched:  streams.matched(),
	}
	if !o.ok() {
		o.reason, o.at, o.last = streams.said(o.signal != "", t.hide)
	}
	return o
}

// await returns when c and its output have ended, and ends c when its time or its hold does.
func (x *execution) await(c *child, p *pipes, hold context.Context, timeout time.Duration) {
	killAfter := x.opt.KillAfter
	if killAfter <= 0 {
		killAfter = 30 * time.Second
	}
	if timeout > 0 {
		c.limit(timeout, killAfter)
	}
	if hold != nil {
		defer context.AfterFunc(hold, func() { c.end(&c.lost, killAfter) })()
	}
	p.copy()
	_ = c.wait() // ProcessState says it all
	x.mu.Lock()
	delete(x.children, c)
	x.mu.Unlock()
	if !p.drain(pipeGrace) && (c.timedOut || c.lost) {
		// What a child leaves behind may live on, but not where it was to end.
		c.killRest()
	}
	c.release()
	p.close()
}

// startChild starts c, unless the run was stopped before, and adds it to those that
// get its signals: none slips through between the two.
func (x *execution) startChild(c *child) (halted bool, err error) {
	x.starting.RLock()
	defer x.starting.RUnlock()
	if x.halted {
		return true, nil
	}
	if err := c.start(); err != nil {
		return false, err
	}
	x.mu.Lock()
	x.children[c] = struct{}{}
	x.mu.Unlock()
	return false, nil
}

// startError says why a command that was found could not be started; os/exec does not
// say that it is for want of the directory.
func startError(s Stack, cmd Command, err error) string {
	if _, dirErr := os.Stat(s.Dir); dirErr != nil && s.Dir != "" {
		err = dirErr
	}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return "cannot start " + cmd.Args[0] + ": " + err.Error()
}
