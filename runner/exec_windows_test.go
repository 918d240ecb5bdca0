package runner

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

const helperEnv = "TMNOTES_TEST_HELPER"

// TestMain lets this program be a command, what that starts, and a tmnotes that is killed.
func TestMain(m *testing.M) {
	helper := os.Getenv(helperEnv)
	if helper == "" {
		os.Exit(m.Run())
	}
	signal.Ignore(os.Interrupt) // Ctrl-Break as well
	switch helper {
	case "command": // starts another one, which it says in PID
		other := helped("sleep", "")
		if err := other.Start(); err != nil {
			panic(err)
		}
		tell(other.Process.Pid)
		if os.Getenv("END") != "" {
			os.Exit(0)
		}
	case "tmnotes":
		if _, err := StartProgram(helped("command", os.Getenv("PID")), false); err != nil {
			panic(err)
		}
	}
	time.Sleep(time.Hour)
}

// tell writes a number to the file PID, all at once.
func tell(pid int) {
	file := os.Getenv("PID")
	if err := errors.Join(os.WriteFile(file+".new", []byte(strconv.Itoa(pid)), 0o600), os.Rename(file+".new", file)); err != nil {
		panic(err)
	}
}

func helped(helper, pid string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+helper, "PID="+pid)
	return cmd
}

// grandchild waits for what a command starts, and gives a handle of it.
func grandchild(t *testing.T, file string) windows.Handle {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if text, err := os.ReadFile(file); err == nil {
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_TERMINATE, false, uint32(pid))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = windows.TerminateProcess(h, 1); _ = windows.CloseHandle(h) })
			return h
		}
		if time.Now().After(deadline) {
			t.Fatal("the command did not start")
		}
	}
}

func ends(t *testing.T, h windows.Handle) {
	t.Helper()
	if event, err := windows.WaitForSingleObject(h, 30_000); err != nil || event != windows.WAIT_OBJECT_0 {
		t.Errorf("what the command started lives on: %d, %v", event, err)
	}
}

// Who kills a command kills what it started.
func TestKillTakesAll(t *testing.T) {
	t.Parallel()
	for name, foreground := range map[string]bool{"a group of its own": false, "our group": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pid := filepath.Join(t.TempDir(), "pid")
			p, err := StartProgram(helped("command", pid), foreground)
			if err != nil {
				t.Fatal(err)
			}
			if p.c.job == 0 {
				t.Fatal("it is in no job")
			}
			h := grandchild(t, pid)
			p.Kill()
			ends(t, h)
		})
	}
}

func windowsTask(t *testing.T, pid string, env ...string) map[string]Task {
	cmd := helped("command", pid)
	return map[string]Task{"/a": {Stack: Stack{Path: "/a", Dir: t.TempDir()}, Commands: []Command{{Args: cmd.Args}}, Env: append(cmd.Env, env...)}}
}

func graphOfOne(t *testing.T) *Graph {
	g, err := NewGraph([]string{"/a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// So does a timeout, of a command that takes no notice of the interrupt.
func TestTimeoutTakesAll(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	var results []Result
	var err error
	done := make(chan struct{})
	go func() {
		results, err = Execute(t.Context(), graphOfOne(t), windowsTask(t, pid), Options{Timeout: 10 * time.Second, KillAfter: time.Second}, nil)
		close(done)
	}()
	h := grandchild(t, pid) // while it is there
	<-done
	if err != nil || results[0].Status != StatusFailed || !strings.Contains(results[0].Reason, "timed out") {
		t.Errorf("%+v, %v", results, err)
	}
	ends(t, h)
}

// What a command that has ended left behind lives on.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	var results []Result
	var err error
	done := make(chan struct{})
	go func() {
		results, err = Execute(t.Context(), graphOfOne(t), windowsTask(t, pid, "END=1"), Options{}, nil)
		close(done)
	}()
	h := grandchild(t, pid)
	<-done
	if err != nil || results[0].Status != StatusOK {
		t.Errorf("%+v, %v", results, err)
	}
	if event, err := windows.WaitForSingleObject(h, 500); err != nil || event != uint32(windows.WAIT_TIMEOUT) {
		t.Errorf("what was left behind is gone: %d, %v", event, err)
	}
}

// Nothing lives on where this program is killed itself.
func TestKilledItself(t *testing.T) {
	t.Parallel()
	pid := filepath.Join(t.TempDir(), "pid")
	tmnotes := helped("tmnotes", pid)
	if err := tmnotes.Start(); err != nil {
		t.Fatal(err)
	}
	h := grandchild(t, pid)
	if err := tmnotes.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = tmnotes.Wait()
	ends(t, h)
}

func TestShellOfGit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	programs := filepath.Join(dir, "mingw64", "libexec", "git-core")
	for _, at := range []string{filepath.Join("usr", "bin"), "bin"} { // the second one is preferred
		sh := filepath.Join(dir, at, "sh.exe")
		if err := errors.Join(os.MkdirAll(programs, 0o777), os.MkdirAll(filepath.Dir(sh), 0o777), os.WriteFile(sh, nil, 0o777)); err != nil {
			t.Fatal(err)
		}
		if got := shellOfGit(filepath.ToSlash(programs)); got != sh {
			t.Errorf("%s, not %s", got, sh)
		}
	}
	if got := shellOfGit(""); got != "sh" {
		t.Errorf("without git: %s", got)
	}
}

// A program is found as Windows does, but never in the stack's folder without being asked for there.
func TestLookPathWindows(t *testing.T) {
	t.Parallel()
	root := filesIn(t, map[string]string{"bin/tool.exe": "", "bin/both.cmd": "", "bin/both.exe": "", "bin/script.sh": "", "bin/plain": "", "s/here.exe": "", "s/sub/x.bat": "", "s/rel/r.exe": ""})
	bin, dir := filepath.Join(root, "bin"), filepath.Join(root, "s")
	for _, tc := range []struct{ name, pathext, want string }{
		{"tool", "", "bin/tool.exe"},
		{"TOOL.EXE", "", "bin/TOOL.EXE"},
		{"tool", ".COM;.EXE;", "bin/tool.EXE"},
		{"tool", "cmd", ""},
		{"both", "", "bin/both.exe"},
		{"both", ".CMD;.EXE", "bin/both.cmd"},
		{"script.sh", "", "bin/script.sh"},
		{"script", "", ""},
		{"plain", "", ""},
		{"here", "", ""}, // a repository must not choose what terraform is
		{"./here", "", "s/here.exe"},
		{`.\here`, "", "s/here.exe"},
		{"sub/x", "", "s/sub/x.bat"},
		{"r", "", "s/rel/r.exe"}, // PATH has a folder that is relative
		{filepath.Join(bin, "tool"), "", "bin/tool.exe"},
	} {
		// Names of variables are not told apart by case.
		env := []string{"PATH=C:\\none", "Path=" + bin + ";rel", "PathExt=" + tc.pathext}
		got, err := lookPath(tc.name, dir, env)
		want := ""
		if tc.want != "" {
			want = filepath.Join(root, filepath.FromSlash(tc.want))
		}
		if !strings.EqualFold(got, want) || (err == nil) != (want != "") {
			t.Errorf("%s, PATHEXT %q: %s, %v; want %s", tc.name, tc.pathext, got, err, want)
		}
	}
}
