package git

import (
	"os/exec"
	"syscall"
	"time"
)

// OwnGroup keeps a child of ours out of reach of a Ctrl-C on the console.
func OwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Terminate ends a child.
func Terminate(cmd *exec.Cmd, _ bool) error { return cmd.Process.Kill() }

// SyncDir has no counterpart on Windows; NTFS journals its folders.
func SyncDir(string) error { return nil }

// finish returns when a child's output was read, false if something else still has the pipe then:
// a read of a pipe cannot be given up.
func (o *output) finish(until time.Time) (whole bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-o.done:
		_ = o.r.Close()
		return true
	case <-timer.C:
		return false
	}
}

// drain has nothing to read: no read has a deadline.
func (o *output) drain([]byte) {}
