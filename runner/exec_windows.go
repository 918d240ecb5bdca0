package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// family is a process with all that it starts: they are in one job, which ends with
// our last handle of it. So nothing lives on where we are killed, either: a claim of
// what a command works on would be taken over meanwhile.
type family struct {
	process *os.Process
	leads   bool           // a console process group of its own, else it is in ours
	job     windows.Handle // 0: it could not be put into one
}

// startFamily has the child lead a process group, or stay in ours. Leading one
// makes it deaf for Ctrl-C; it gets Ctrl-Break instead (CreateProcess, Process
// Creation Flags). It starts suspended, so that it starts nothing before it is in the job.
func startFamily(cmd *exec.Cmd, leads bool) (*family, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED}
	if leads {
		cmd.SysProcAttr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &family{process: cmd.Process, leads: leads}
	f.join()
	if err := resume(cmd.Process.Pid); err != nil {
		f.signal(os.Kill)
		_ = cmd.Wait()
		f.release()
		return nil, fmt.Errorf("resuming %s: %w", cmd.Path, err)
	}
	return f, nil
}

// join puts the process into a job. Where that is not to be (we are in one that allows
// no other), it is killed alone.
func (f *family) join() {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return
	}
	if err = limitJob(job, windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE|windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK); err == nil {
		werr := f.process.WithHandle(func(process uintptr) { err = windows.AssignProcessToJobObject(job, windows.Handle(process)) })
		err = errors.Join(werr, err)
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return
	}
	f.job = job
}

func limitJob(job windows.Handle, flags uint32) error {
	var limit windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limit.BasicLimitInformation.LimitFlags = flags
	_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&limit)), uint32(unsafe.Sizeof(limit)))
	return err
}

// resume lets a process run that was started suspended: it has one thread.
func resume(pid int) error {
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(all)
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(all, &entry); err == nil; err = windows.Thread32Next(all, &entry) {
		if entry.OwnerProcessID != uint32(pid) {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		defer windows.CloseHandle(thread)
		_, err = windows.ResumeThread(thread)
		return err
	}
	return err
}

// signal sends Ctrl-Break for every signal but os.Kill: Windows has no other
// that a process could send.
func (f *family) signal(sig os.Signal) {
	if sig != os.Kill && f.leads && windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(f.process.Pid)) == nil {
		return
	}
	if f.job == 0 || windows.TerminateJobObject(f.job, 1) != nil {
		_ = f.process.Kill()
	}
}

// killRest kills what a process that has ended left behind.
func (f *family) killRest() {
	if f.job != 0 {
		_ = windows.TerminateJobObject(f.job, 1)
	}
}

// release leaves what still lives to itself.
func (f *family) release() {
	if f.job == 0 {
		return
	}
	_ = limitJob(f.job, 0)
	_ = windows.CloseHandle(f.job)
	f.job = 0
}

// readRest has nothing to read: a read of a pipe has no deadline.
func readRest(*os.File, []byte, func([]byte)) {}

// shellPath is sh, which git brings with it, mostly out of PATH.
var shellPath = sync.OnceValue(func() string {
	if path, err := exec.LookPath("sh"); err == nil {
		return path
	}
	programs, _ := exec.Command("git", "--exec-path").Output()
	return shellOfGit(strings.TrimSpace(string(programs)))
})

// shellOfGit is the sh of a git whose programs are in a folder like
// C:/Program Files/Git/mingw64/libexec/git-core.
func shellOfGit(programs string) string {
	for dir := filepath.FromSlash(programs); filepath.IsAbs(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		for _, below := range []string{"bin", filepath.Join("usr", "bin")} {
			if path := filepath.Join(dir, below, "sh.exe"); isFile(path) {
				return path
			}
		}
	}
	return "sh" // which is not found, and that is said
}

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
	exts := strings.Split(strings.ToLower(Getenv(env, "PATHEXT")), ";")
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
	dirs := filepath.SplitList(Getenv(env, "PATH"))
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

// endingNumber: no signal ends a process here.
func endingNumber(*os.ProcessState) int { return 0 }
