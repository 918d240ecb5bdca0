package gitstate

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a child of ours out of reach of a Ctrl-C on the console.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// syncDir has no counterpart on Windows; NTFS journals its folders.
func syncDir(string) error { return nil }
