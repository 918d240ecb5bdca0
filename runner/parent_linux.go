package runner

import (
	"bytes"
	"fmt"
	"os"
)

// parentStarted is when the process that started us was started (proc(5): field 22 of stat).
func parentStarted(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 {
		if f := bytes.Fields(stat[i+1:]); len(f) > 19 {
			return string(f[19])
		}
	}
	return ""
}
