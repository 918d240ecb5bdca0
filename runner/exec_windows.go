package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

// sysProcAttr has the child lead a process group, or stay in ours. Leading one
// makes it deaf for Ctrl-C; it gets Ctrl-Break instead (CreateProcess, Process
// Creation Flags).
func sysProcAttr(group bool) *syscall.SysProcAttr {
	if group {
		return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	}
	return nil
}

// sendSignal sends Ctrl-Break for every signal but os.Kill: Windows has no other
// that a process could send.
func sendSignal(p *os.Process, sig os.Signal, group bool) {
	if sig == os.Kill || !group || windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid)) != nil {
		_ = p.Kill()
	}
}

func killGroup(int) {}

// fromTerminal says whether the console sends this signal to all that share it.
func fromTerminal(sig os.Signal) bool { return sig == os.Interrupt }

// SignalName is the usual name of a signal, "SIGTERM".
func SignalName(sig os.Signal) string {
	switch sig {
	case os.Interrupt:
		return "SIGINT"
	case os.Kill:
		return "SIGKILL"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return sig.String()
}

func endingSignal(*os.ProcessState) string { return "" }

// Foreground says whether stdin is a console: then Ctrl-C reaches our children
// without us. For [Options.Foreground].
func Foreground(stdin *os.File) bool {
	if stdin == nil {
		return false
	}
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(stdin.Fd()), &mode) == nil
}

// lookPath finds a command as Terramate's run.LookPath does (v0.17.2), with PATH and
// PATHEXT of the child's environment, but takes relative paths from the stack's
// directory, as the child itself would, and never finds one there that is not
// asked for by a path.
func lookPath(name, dir string, env []string) (string, error) {
	exts := strings.Split(strings.ToLower(getenv(env, "PATHEXT")), ";")
	if len(exts) == 1 && exts[0] == "" {
		exts = []string{".com", ".exe", ".bat", ".cmd"}
	}
	find := func(path string) string {
		if filepath.Ext(path) != "" && isFile(path) {
			return path
		}
		for _, e := range exts {
			if e != "" && isFile(path+"."+strings.TrimPrefix(e, ".")) {
				return path + "." + strings.TrimPrefix(e, ".")
			}
		}
		return ""
	}
	dirs := filepath.SplitList(getenv(env, "PATH"))
	if strings.ContainsAny(name, `:\/`) {
		dirs = []string{""}
	}
	for _, d := range dirs {
		path := filepath.Join(d, name)
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if found := find(path); found != "" {
			return found, nil
		}
	}
	return "", fmt.Errorf("command not found: %s", name)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// getenv returns the last value of a name in env, in whatever case it is written.
func getenv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(env[i], "="); ok && strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// endingNumber: no signal ends a process here.
func endingNumber(*os.ProcessState) int { return 0 }
