//go:build unix

package git

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
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
