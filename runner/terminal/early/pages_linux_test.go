package early

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

var kept []byte

// What the heap has first is in large pages, where the kernel gives them to who asks; and the stack that it came
// from is gone.
func TestLargePages(t *testing.T) {
	setting, err := os.ReadFile(enabled)
	if madvise := err == nil && bytes.Contains(setting, []byte("[madvise]")); madvise != (asked > 0) {
		t.Fatalf("%d bytes were asked for, with %q, %v", asked, setting, err)
	}
	if asked == 0 {
		t.Skip("no large pages for who asks")
	}
	if asked < stack-largePage || asked > stack+2*largePage {
		t.Errorf("%d bytes were asked for", asked)
	}
	kept = make([]byte, 64<<10)
	if flags := flagsOf(t, uintptr(unsafe.Pointer(&kept[0]))); !strings.Contains(flags, " hg") {
		t.Errorf("the heap's memory has the flags%s", flags)
	}
	stacks := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	if metrics.Read(stacks); stacks[0].Value.Uint64() > stack/2 {
		t.Errorf("%d bytes of stacks", stacks[0].Value.Uint64())
	}
}

// flagsOf are those of a part of memory (VmFlags, proc_pid_smaps(5)).
func flagsOf(t *testing.T, address uintptr) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(maps)) {
		from, rest, _ := strings.Cut(line, "-")
		to, _, _ := strings.Cut(rest, " ")
		begin, err := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err == nil && err2 == nil {
			within = begin <= uint64(address) && uint64(address) < end
		}
		if flags, is := strings.CutPrefix(line, "VmFlags:"); is && within {
			return flags
		}
	}
	t.Fatalf("%x is in none of the maps", address)
	return ""
}
