//go:build unix

package gitstate

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps a child of ours out of reach of a Ctrl-C on the terminal.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// syncDir makes the entries of a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
