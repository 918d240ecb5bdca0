package early

import (
	"bytes"
	"os"
	"syscall"
	"unsafe"
)

// A short command touches 10 MB of new memory, page after page of 4 KiB, and a third of its time are the
// faults of these pages. Where the kernel has large pages for who asks (transparent_hugepage/enabled
// is madvise, as on most distributions), this asks for the memory that the heap takes first.
//
// The heap has to have that memory before. What no garbage collection has to give back is a stack: one of 64 MiB,
// of which next to nothing is touched, is the heap's when its goroutine has ended.

const (
	stack     = 64 << 20 // what the frame of onLargeStack grows a stack to, see pages_linux.s
	largePage = 2 << 20
	enabled   = "/sys/kernel/mm/transparent_hugepage/enabled"

	// Advice of madvise(2), by asm-generic/mman-common.h.
	whenTouched = 14 // MADV_HUGEPAGE
	atOnce      = 25 // MADV_COLLAPSE, Linux 6.1
	smallOnes   = 23 // MADV_POPULATE_WRITE, Linux 5.14
)

// asked is how much memory was asked for.
var asked = askForLargePages()

func askForLargePages() uintptr {
	if setting, err := os.ReadFile(enabled); err != nil || !bytes.Contains(setting, []byte("[madvise]")) {
		return 0
	}
	done := make(chan uintptr)
	go func() {
		onLargeStack()
		var top byte // within the first page of the stack, which begins at its end
		end := (uintptr(unsafe.Pointer(&top)) + 8<<10 - 1) &^ (8<<10 - 1)
		// Also the memory before it, which the heap has had so far, and not the large page that is in use.
		begin := (end - stack - 1) &^ (2*largePage - 1)
		size := end - largePage - begin
		if !advise(begin, size, whenTouched) {
			size = 0
		}
		// Where the two meet a part is in use, so that none will be made when the rest is touched.
		border := (end - stack) &^ (largePage - 1)
		_ = advise(border, largePage, atOnce) || advise(border, largePage, smallOnes)
		done <- size
	}()
	return <-done
}

func advise(begin, size, advice uintptr) bool {
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, begin, size, advice)
	return errno == 0
}

func onLargeStack()
