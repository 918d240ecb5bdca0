package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

var resumes []os.Signal // there is no stopping

var compareHandles = windows.NewLazySystemDLL("kernelbase.dll").NewProc("CompareObjectHandles")

// SameFile reports whether two files are one, as the two streams of a terminal are. Of pipes os.SameFile says
// so of any two.
func SameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	if err != nil || !os.SameFile(x, y) {
		return false
	}
	if x.Mode()&os.ModeNamedPipe == 0 || a == b {
		return true
	}
	if compareHandles.Find() != nil { // before Windows 10
		return false
	}
	same, _, _ := compareHandles.Call(a.Fd(), b.Fd())
	return same != 0
}

// showsEscapes has a console take escape sequences for what they mean, which an old one does only when it is asked to.
func showsEscapes(fd uintptr) bool {
	var mode uint32
	if windows.GetConsoleMode(windows.Handle(fd), &mode) != nil {
		return true // no console, so nothing that has to be asked
	}
	return mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 ||
		windows.SetConsoleMode(windows.Handle(fd), mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
