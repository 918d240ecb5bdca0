package runner

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// parentStarted is when the process that started us was started.
func parentStarted(pid int) string {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	at := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", at.Sec, at.Usec)
}
