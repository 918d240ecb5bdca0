//go:build unix

package gitstate

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps a child of ours out of reach of a Ctrl-C on the terminal.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks a child to end, and its children if it leads a group.
func terminate(cmd *exec.Cmd, group bool) error {
	if group {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
	return cmd.Process.Signal(syscall.SIGTERM)
}

// syncDir makes the entries of a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
