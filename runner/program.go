package runner

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// Program is a command that is no stack's: it runs once, with the terminal and
// the signals of this process, as if it had been started in its place.
type Program struct {
	c          *child
	foreground bool
	ended      chan struct{}
	err        error
}

// Shell is the command line that has the shell run a command: sh on every system, as
// with git's hooks, so that one that stands in the repository means the same everywhere.
func Shell(command string) []string { return []string{shellPath(), "-c", command} }

// StartProgram starts a command, whose streams the caller has set. With
// foreground (see [Foreground]) it shares this process's group, so that it can
// read the terminal and has Ctrl-C from there; else it leads a group of its own.
func StartProgram(cmd *exec.Cmd, foreground bool) (*Program, error) {
	p := &Program{c: &child{cmd: cmd, group: !foreground}, foreground: foreground, ended: make(chan struct{})}
	if err := p.c.start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.c.wait()
		p.c.release()
		close(p.ended)
	}()
	return p, nil
}

// Wait returns when the program has ended, and passes on to it every signal
// that this process gets meanwhile: as often as it comes, and not those that the
// terminal has sent to the program as well. observe is told of each one.
//
// A program that died of Ctrl-C on a terminal may have ended before this process has read
// its own signal, so that is waited for a moment.
//
// exit is the program's own exit code, or, where a signal ended it, 128 and
// that signal's number, as a shell has it. err is what went wrong with waiting; that
// something which the program left behind holds its output open (WaitDelay) is none.
func (p *Program) Wait(signals <-chan os.Signal, observe func(os.Signal)) (exit int, err error) {
	observed := false
	for {
		select {
		case sig := <-signals:
			observed = true
			observe(sig)
			if !p.foreground || !fromTerminal(sig) {
				p.c.signal(sig)
			}
			continue
		case <-p.ended:
		}
		break
	}
	state := p.c.cmd.ProcessState
	var ee *exec.ExitError
	if p.err != nil && !errors.As(p.err, &ee) && !errors.Is(p.err, exec.ErrWaitDelay) {
		return 1, p.err
	}
	exit = state.ExitCode()
	if exit < 0 {
		exit = 128 + endingNumber(state)
	}
	if exit == diedOfInterrupt && !observed {
		timer := time.NewTimer(interruptGrace)
		defer timer.Stop()
		select {
		case sig := <-signals:
			observe(sig)
		case <-timer.C:
		}
	}
	return exit, nil
}

// Kill ends the program at once, with all of its group where that is its own,
// and returns when it has ended.
func (p *Program) Kill() {
	p.c.signal(os.Kill)
	<-p.ended
}
