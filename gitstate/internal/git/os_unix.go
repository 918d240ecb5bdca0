//go:build unix

package git

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// OwnGroup keeps a child of ours out of reach of a Ctrl-C on the terminal.
func OwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Terminate asks a child to end, and its children if it leads a group.
func Terminate(cmd *exec.Cmd, group bool) error {
	if group {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
	return cmd.Process.Signal(syscall.SIGTERM)
}

// SyncDir makes the entries of a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems, of networks mostly, cannot, and say so.
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// finish returns when a child's output was read. What has ended has printed all it will, so that
// after this time it is in the pipe at most, whoever else may write to it.
func (o *output) finish(until time.Time) (whole bool) {
	defer o.r.Close()
	if o.r.SetReadDeadline(until) != nil {
		return false
	}
	<-o.done
	return true
}

// mostInPipe is what a pipe can hold: /proc/sys/fs/pipe-max-size, as pipe(7) has it.
const mostInPipe = 1 << 20

// drain reads what is in the pipe, and waits for no more.
func (o *output) drain(buf []byte) {
	pipe, err := o.r.SyscallConn()
	if err == nil {
		err = o.r.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return
	}
	_ = pipe.Read(func(fd uintptr) bool {
		for left := mostInPipe; left > 0; {
			n, err := syscall.Read(int(fd), buf)
			if n <= 0 && err != syscall.EINTR {
				break
			}
			if n > 0 {
				o.add(buf[:n])
				left -= n
			}
		}
		return true
	})
}
