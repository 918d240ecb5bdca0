package runner

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// parentStarted is when the process that started us was started, "" where that cannot be known.
func parentStarted(pid int) string {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return ""
	}
	defer windows.CloseHandle(h)
	var start, exit, kernel, user windows.Filetime
	if windows.GetProcessTimes(h, &start, &exit, &kernel, &user) != nil {
		return ""
	}
	return fmt.Sprint(start.Nanoseconds())
}
