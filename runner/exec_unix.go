//go:build unix

package runner

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family is a process with all that it starts, as far as one can name them.
type family struct {
	process *os.Process
	leads   bool // a process group of its own, else it is in ours
}

func startFamily(cmd *exec.Cmd, leads bool) (*family, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: leads}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &family{cmd.Process, leads}, nil
}

// signal sends sig to a process that was not waited for; errors mean that it is gone.
func (f *family) signal(sig os.Signal) {
	s, ok := sig.(syscall.Signal)
	if !f.leads || !ok {
		_ = f.process.Signal(sig)
		return
	}
	_ = syscall.Kill(-f.process.Pid, s)
}

// killRest kills what a process that has ended left of its group. Its number is not
// given to another while one of the group lives.
func (f *family) killRest() {
	if f.leads {
		_ = syscall.Kill(-f.process.Pid, syscall.SIGKILL)
	}
}

// release leaves what still lives to itself.
func (f *family) release() {}

// readRest hands on what is in a pipe whose deadline has passed, and waits for no more. That is at most
// what a pipe holds (pipe-max-size in pipe(7)): something that was left behind may go on to write.
func readRest(r *os.File, buf []byte, handOn func([]byte)) {
	pipe, err := r.SyscallConn()
	if err == nil {
		err = r.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return
	}
	_ = pipe.Read(func(fd uintptr) bool {
		for left := 1 << 20; left > 0; {
			n, err := syscall.Read(int(fd), buf)
			if n <= 0 && err != syscall.EINTR {
				break
			}
			if n > 0 {
				handOn(buf[:n])
				left -= n
			}
		}
		return true
	})
}

func shellPath() string { return "sh" }

// fromTerminal says whether a terminal sends this signal to its whole foreground
// group (termios(3), credentials(7)).
func fromTerminal(sig os.Signal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGHUP
}

// SignalName is the usual name of a signal, "SIGTERM".
func SignalName(sig os.Signal) string {
	if s, ok := sig.(syscall.Signal); ok {
		if name := unix.SignalName(s); name != "" {
			return name
		}
	}
	return sig.String()
}

// endingSignal names the signal that ended a process, if one did.
func endingSignal(s *os.ProcessState) string {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return SignalName(ws.Signal())
	}
	return ""
}

// Foreground says whether stdin is the terminal of which this process's group is
// in the foreground: then Ctrl-C reaches our children without us, and a child in
// a group of its own could not read what is typed (tcgetpgrp(3)). For
// [Options.Foreground].
func Foreground(stdin *os.File) bool {
	if stdin == nil {
		return false
	}
	foreground := false
	raw, err := stdin.SyscallConn()
	if err != nil {
		return false
	}
	// Not by Fd, which would make the file block.
	err = raw.Control(func(fd uintptr) {
		pgrp, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
		foreground = err == nil && pgrp == unix.Getpgrp()
	})
	return err == nil && foreground
}

// lookPath finds a command as Terramate's run.LookPath does (v0.17.2), in the PATH of
// the child's environment, but takes relative paths from the stack's directory,
// as the child itself would.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if err := executable(path); err != nil {
			return "", fmt.Errorf("command not found: %s: %w", name, err)
		}
		return name, nil // os/exec changes the directory first
	}
	for _, d := range filepath.SplitList(Getenv(env, "PATH")) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		path := filepath.Join(d, name)
		if executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("command not found: %s", name)
}

// executable says why path cannot be executed.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		if pe, ok := err.(*fs.PathError); ok {
			return pe.Err
		}
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	err = unix.Access(path, unix.X_OK)
	if err == unix.ENOSYS || err == unix.EPERM { // seccomp: the mode has to do
		if info.Mode()&0o111 != 0 {
			return nil
		}
		return fs.ErrPermission
	}
	return err
}

// endingNumber is the number of the signal that ended a process.
func endingNumber(s *os.ProcessState) int {
	ws, _ := s.Sys().(syscall.WaitStatus)
	return int(ws.Signal())
}
