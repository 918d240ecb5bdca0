package git

import (
	"os/exec"
	"syscall"
)

// OwnGroup keeps a child of ours out of reach of a Ctrl-C on the console.
func OwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Terminate ends a child.
func Terminate(cmd *exec.Cmd, _ bool) error { return cmd.Process.Kill() }

// SyncDir has no counterpart on Windows; NTFS journals its folders.
func SyncDir(string) error { return nil }
