package gitstate

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a child of ours out of reach of a Ctrl-C on the console.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends a child.
func terminate(cmd *exec.Cmd, _ bool) error { return cmd.Process.Kill() }

// syncDir has no counterpart on Windows; NTFS journals its folders.
func syncDir(string) error { return nil }
