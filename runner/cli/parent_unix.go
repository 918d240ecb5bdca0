//go:build unix

package cli

import (
	"bytes"
	"fmt"
	"os"
)

// parentID names the process that started us. Process numbers are given out
// again, so the time when it was started belongs to the name where the system
// tells it (Linux, proc(5): field 22 of stat).
func parentID() string {
	pid := os.Getppid()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 {
		if f := bytes.Fields(stat[i+1:]); len(f) > 19 {
			return fmt.Sprintf("%d-%s", pid, f[19])
		}
	}
	return fmt.Sprint(pid)
}
