package terminal

import (
	"os"
	"testing"

	"golang.org/x/sys/windows"
)

func duplicate(t *testing.T, f *os.File) *os.File {
	t.Helper()
	me := windows.CurrentProcess()
	var h windows.Handle
	if err := windows.DuplicateHandle(me, windows.Handle(f.Fd()), me, &h, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		t.Fatal(err)
	}
	d := os.NewFile(uintptr(h), f.Name())
	t.Cleanup(func() { _ = d.Close() })
	return d
}
