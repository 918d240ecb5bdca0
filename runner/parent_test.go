package runner

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// The name of a parent lasts as long as it does, and is not that of another process which began at another time.
func TestParentID(t *testing.T) {
	t.Parallel()
	if a, b := ParentID(), ParentID(); a != b {
		t.Errorf("the parent is %s, then %s", a, b)
	}
	if parentStarted(0x7ffffff0) != "" {
		t.Error("a process that is not there was started")
	}
	switch runtime.GOOS {
	case "linux", "darwin", "windows":
	default:
		t.Skip("this system is not asked when a process was started")
	}
	me := parentStarted(os.Getpid())
	if me == "" || me != parentStarted(os.Getpid()) {
		t.Errorf("this process was started at %q", me)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ { // Linux counts in hundredths of a second
		child := exec.Command(exe, "-test.run=^$")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		at := parentStarted(child.Process.Pid)
		_ = child.Wait()
		if at == "" {
			t.Fatal("it is not known when a child was started")
		}
		if at != me {
			return
		}
		if try == 20 {
			t.Fatalf("a process that was started later was started at %s, too", at)
		}
	}
}
