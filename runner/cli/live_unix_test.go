//go:build unix

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// emulator is a pseudo-terminal with an emulator of a terminal at its other end, in
// which a command runs.
type emulator struct {
	*world
	cmd *exec.Cmd
	pty *os.File
	eof chan struct{}

	mu    sync.Mutex
	term  vt10x.Terminal
	raw   bytes.Buffer
	check func() // of each screen that somebody may have seen
}

func (w *world) terminal(columns, lines int, dir string, argv ...string) *emulator {
	w.Helper()
	e := &emulator{world: w, cmd: w.command(dir, argv...), term: vt10x.New(vt10x.WithSize(columns, lines)), eof: make(chan struct{})}
	e.cmd.Env = append(e.cmd.Env, "TERM=xterm-256color")
	var err error
	if e.pty, err = pty.StartWithSize(e.cmd, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = e.cmd.Process.Kill(); _ = e.pty.Close() })
	go func() {
		defer close(e.eof)
		buf := make([]byte, 64<<10)
		for {
			n, err := e.pty.Read(buf)
			e.mu.Lock()
			e.raw.Write(buf[:n])
			_, _ = e.term.Write(buf[:n])
			if e.check != nil {
				e.check()
			}
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return e
}

// onTerminal starts a command on a terminal of which nothing but what is written to it is looked at.
func (w *world) onTerminal(cmd *exec.Cmd, out io.Writer) *os.File {
	w.Helper()
	p, err := pty.Start(cmd)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = cmd.Process.Kill(); _ = p.Close() })
	go func() { _, _ = io.Copy(out, p) }()
	return p
}

// screen is what one sees, without the empty lines at the end.
func (e *emulator) screen() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.look()
}

func (e *emulator) look() string {
	lines := strings.Split(e.term.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \x00")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func (e *emulator) output() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.raw.String()
}

// sees waits for a screen that has it all.
func (e *emulator) sees(patterns ...string) {
	e.Helper()
	err := waitFor(30*time.Second, func() bool {
		s := e.screen()
		for _, p := range patterns {
			if !regexp.MustCompile("(?m)" + p).MatchString(s) {
				return false
			}
		}
		return true
	})
	if err != nil {
		e.Fatalf("%q: %v\n%s\n%q", patterns, err, e.screen(), e.output())
	}
}

func (e *emulator) resize(columns, lines int) {
	e.Helper()
	e.mu.Lock()
	e.term.Resize(columns, lines)
	e.mu.Unlock()
	if err := pty.Setsize(e.pty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}); err != nil {
		e.Fatal(err)
	}
}

// ends waits for the end of the command.
func (e *emulator) ends(code int) {
	e.Helper()
	_ = e.cmd.Wait()
	// Who has its end of the terminal open still keeps us from its end of file.
	<-e.eof
	if got := e.cmd.ProcessState.ExitCode(); got != code {
		e.Fatalf("exit code %d, not %d\n%s", got, code, e.screen())
	}
}

// gate is a deployment that says hello and goes on when the test lets it.
const gate = `
stack=/${PWD##*/}
echo "$stack" >>"$WORK/ran"
echo "hello from $stack"
touch "$WORK/up-${stack#/}"
while ! test -e "$WORK/release-${stack#/}"; do sleep 0.02; done
if test -e "$WORK/fail-${stack#/}"; then
	echo "creating the quota" >&2
	echo "Error: no capacity" >&2
	echo "in eu-central-1" >&2
	exit 1
fi
`

func (w *world) release(stacks ...string) {
	w.Helper()
	for _, s := range stacks {
		if err := os.WriteFile(w.path("release-"+s), nil, 0o644); err != nil {
			w.Fatal(err)
		}
	}
}

// On a terminal, with several stacks at once, one sees what runs, what waits and on
// what, what failed and how; above it the output scrolls by and stays; at the
// end the view is gone, and nothing is left of it.
func TestLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b", "/c:/a,/b", "/d:/c")
	w.script("gate", gate)
	w.run(".", "touch", w.path("fail-b"))
	// Tall enough that all of it is on the screen at the end.
	e := w.terminal(80, 60, "work", "tmnotes", "run", "-j2", "--sync=off", "--op", "deploy", "--", "gate")
	e.sees(`^/a \| hello from /a$`, `^/b \| hello from /b$`,
		`^running  /a  +[\dms]+$`, `^running  /b  +[\dms]+$`, `^waiting  /c +for /a, /b$`, `^waiting  /d +for /c$`, `^0 of 4 done, 2 running, 2 waiting; [\dms]+$`)
	w.release("b")
	e.sees(`^failed   /b  +[\d.ms]+  Error: no capacity: in eu-central-1$`, `^         │ Error: no capacity$`, `^         │ in eu-central-1$`,
		`^running  /a`, `^tmnotes: failed /b [\d.ms]+: Error: no capacity: in eu-central-1$`, `^3 of 4 done, 1 failed, 2 blocked, 1 running, 0 waiting; [\dms]+$`)
	w.release("a")
	e.ends(exitFailed)
	got := masked(e.screen())
	if raw := e.output(); regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(raw) {
		t.Errorf("with NO_COLOR: %q", raw)
	}
	gittest.Golden(t, "live/end.txt", regexp.MustCompile(`(?m)^/[ab] \| hello.*\n`).ReplaceAllString(got, "")+"\n")
	e.clean()

	// The next time it is known how long it takes, of what succeeded.
	w.run(".", "rm", w.path("release-a"), w.path("release-b"))
	e = w.terminal(80, 24, "work", "tmnotes", "run", "-j2", "--force", "--sync=off", "--op", "deploy", "--", "gate")
	e.sees(`^running  /a +[\dms]+  of about [\dms]+$`, `^running  /b +[\dms]+$`)
	w.release("a", "b")
	e.ends(exitFailed)
}

// clean checks that the terminal is as it was.
func (e *emulator) clean() {
	e.Helper()
	if raw := e.output(); strings.Contains(raw, "\x1b[?") || strings.Contains(raw, "\x1b]") {
		e.Errorf("a mode of the terminal was changed, or something asked of it: %q", raw)
	}
	if e.mu.Lock(); e.term.Cursor().X != 0 {
		e.Errorf("the cursor is left in column %d\n%s", e.term.Cursor().X, e.look())
	}
	e.mu.Unlock()
}

// The view fits the terminal, whatever its size, and what it shows of a command cannot
// drive the terminal.
func TestLiveSizes(t *testing.T) {
	t.Parallel()
	const wide = "世界一広い画面の積み重ね"
	for _, tt := range []struct {
		columns, lines int
		sees           []string
	}{
		{80, 24, []string{`^running  /` + wide + ` +[\dms]+$`, `^waiting  /h +for /` + wide + `$`, `^         … and 11 more waiting$`, `^0 of 21 done, 1 running, 20 waiting; [\dms]+$`}},
		{200, 50, []string{`^waiting  /t +for /` + wide + `$`}},
		{30, 10, []string{`^running  ….*積み重ね +[\dms]+$`, `^waiting  /a +…$`, `^0 of 21 done, 1 running, 20 …$`}},
		{12, 2, []string{`^0 of 21 do…$`}},
	} {
		t.Run(fmt.Sprint(tt.columns, "x", tt.lines), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stacks := []string{"/z"}
			for _, s := range strings.Split("abcdefghijklmnopqrst", "") {
				stacks = append(stacks, "/"+s+":/"+wide)
			}
			w.project("work", stacks...)
			w.run("work", "git", "mv", "z", wide)
			w.commit("work", "wide")
			w.script("wild", `
test "${PWD##*/}" = `+wide+` || exit 0
printf 'erased\r\033[2Jtwo \033[31mred\033[0m\033[1A\033[?25l\a\tthree\n'
while ! test -e "$WORK/release"; do sleep 0.02; done
`)
			e := w.terminal(tt.columns, tt.lines, "work", "tmnotes", "run", "-X", "-j4", "--sync=off", "--op", "deploy", "--", "wild")
			e.sees(tt.sees...)
			w.run(".", "touch", w.path("release"))
			e.ends(exitOK)
			e.clean()
			if raw := e.output(); strings.Contains(raw, "\x1b[2J") || strings.Contains(raw, "\a") || strings.Contains(raw, "erased") || !strings.Contains(raw, "/"+wide+" | two \x1b[31mred\x1b[0m three\x1b[0m") {
				t.Errorf("the command drove the terminal: %q", raw)
			}
		})
	}
}

// A terminal that is made smaller or larger in the middle of a run has a view of its new
// size.
func TestLiveResize(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stacks := []string{"/a", "/b"}
	for _, s := range strings.Split("cdefghijklmnopqrst", "") {
		stacks = append(stacks, "/"+s+":/a,/b")
	}
	w.project("work", stacks...)
	w.script("gate", gate)
	e := w.terminal(80, 24, "work", "tmnotes", "run", "-j2", "--sync=off", "--op", "deploy", "--", "gate")
	e.sees(`^waiting  /c      +for /a, /b$`, `^         … and 10 more waiting$`)
	e.resize(100, 40)
	e.sees(`^waiting  /r +for /a, /b$`)
	e.resize(24, 8)
	e.sees(`^         … and \d+ more`, `^0 of 20 done, 2 runnin…$`)
	e.resize(100, 40)
	e.sees(`^waiting  /r +for /a, /b$`, `^0 of 20 done, 2 running, 18 waiting; [\dms]+$`)
	w.release(strings.Split("abcdefghijklmnopqrst", "")...)
	e.ends(exitOK)
	e.clean()
}

// Ctrl-C is a signal as ever: the children have it once, nothing further starts, and
// the view says so.
func TestLiveInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b", "/c:/a")
	w.script("slow", `
trap 'echo INT >>"$WORK/signals"' INT
touch "$WORK/up-${PWD##*/}"
while ! test -e "$WORK/release"; do sleep 0.02; done
exit 1
`)
	e := w.terminal(80, 24, "work", "tmnotes", "run", "-j2", "--op", "deploy", "--", "slow")
	w.await("both", func() bool { return w.exists("up-a")() && w.exists("up-b")() })
	e.sees(`^running  /a`)
	if _, err := e.pty.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	e.sees(`^tmnotes: interrupt: no further stacks start; waiting for those that run`, `^interrupt: no further stacks start; 0 of 3 done, 2 running`)
	w.await("the signals", func() bool { b, _ := os.ReadFile(w.path("signals")); return len(b) >= 8 })
	w.run(".", "touch", w.path("release"))
	e.ends(exitInterrupted)
	if b, _ := os.ReadFile(w.path("signals")); string(b) != "INT\nINT\n" {
		t.Errorf("signals of two children: %q", b)
	}
	e.sees(`^canceled  /a`, `^canceled  /b`, `^canceled  /c`)
	e.clean()
}

// After Ctrl-Z and fg the view is drawn below what the shell wrote meanwhile.
func TestLiveStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b")
	w.script("gate", gate)
	e := w.terminal(80, 40, "work", "tmnotes", "run", "-j2", "--sync=off", "--op", "deploy", "--", "gate")
	e.sees(`^/a \| hello`, `^/b \| hello`, `^running  /a`, `^running  /b`)
	_ = e.cmd.Process.Signal(syscall.SIGSTOP)
	w.await("the stop", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", e.cmd.Process.Pid))
		return err != nil || strings.Contains(string(b), ") T ")
	})
	e.mu.Lock()
	_, _ = e.term.Write([]byte("\r\n$ one\r\n$ two\r\n$ three\r\n$ fg\r\n"))
	e.mu.Unlock()
	_ = e.cmd.Process.Signal(syscall.SIGCONT)
	e.sees(`(?s)^\$ one\n\$ two\n\$ three\n\$ fg\nrunning  /a[^\n]*\nrunning  /b[^\n]*\n0 of 2 done, [^\n]*$`)
	w.release("a", "b")
	e.ends(exitOK)
	e.sees(`(?s)^\$ one\n\$ two\n\$ three\n\$ fg\ntmnotes: ok /.\S* `)
	e.clean()
}

// A view that crashes costs the view: what is printed is there all the same, however much
// it is.
func TestLiveCrashed(t *testing.T) {
	t.Parallel()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var out syncBuffer
	read := make(chan struct{})
	go func() { _, _ = io.Copy(&out, master); close(read) }()
	if err := pty.Setsize(tty, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	s := withScreen(Env{Stdout: tty, Stderr: tty}).Stderr.(*terminal.Screen)
	v := s.Show(func(int, int) string { panic("for a test") })
	big := strings.Repeat("x", 99) + "\n"
	for i := range 10_000 { // more than is ever queued
		fmt.Fprintf(s, "%d %s", i, big)
	}
	if err := waitFor(30*time.Second, func() bool { return strings.Contains(out.String(), "this view does not work: for a test") }); err != nil {
		t.Error(err)
	}
	v.End()
	fmt.Fprintln(s, "the end")
	_ = tty.Close()
	<-read
	next := 0
	for _, m := range regexp.MustCompile(`(\d+) x{99}`).FindAllStringSubmatch(out.String(), -1) {
		if m[1] == strconv.Itoa(next) {
			next++
		}
	}
	if got := out.String(); next != 10_000 || !strings.HasSuffix(got, "the end\r\n") {
		t.Errorf("%d lines in order, the end is %q", next, got[max(0, len(got)-300):])
	}
}

// With a view a command has nothing to read from, as nobody would see what it asks.
func TestLiveAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a")
	w.script("ask", `printf 'Enter a value: '; read x && echo "it is $x" || echo "no answer"`)
	e := w.terminal(80, 24, "work", "tmnotes", "run", "--output", "live", "--sync=off", "--op", "deploy", "--", "ask")
	e.ends(exitOK)
	e.sees(`^/a \| Enter a value: no answer$`)
}

// A terminal that is closed ends the run in order, view or not.
func TestLiveHangup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b", "/c:/a")
	w.script("gate", gate)
	e := w.terminal(80, 24, "work", "tmnotes", "run", "-j2", "--op", "deploy", "--", "gate")
	e.sees(`^running  /a`, `^running  /b`)
	_ = e.pty.Close()
	w.await("the push at once", func() bool { return strings.Contains(w.remoteNotes(), "status=running") })
	w.release("a", "b")
	done := make(chan struct{})
	go func() { _ = e.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if code := e.cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if n := w.remoteNotes(); !strings.Contains(n, "status=canceled op=deploy stack=/c ") || strings.Count(n, "status=ok") != 2 {
		t.Errorf("on the remote:\n%s", n)
	}
}

// A kill -9 finds the terminal in the mode that it was in.
func TestLiveKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b")
	w.script("gate", gate)
	e := w.terminal(80, 24, "work", "tmnotes", "run", "-j2", "--sync=off", "--op", "deploy", "--", "gate")
	e.sees(`^running  /a`, `^running  /b`)
	_ = e.cmd.Process.Signal(syscall.SIGKILL)
	_ = e.cmd.Wait()
	w.release("a", "b")
	<-e.eof
	if raw := e.output(); strings.Contains(raw, "\x1b[?") {
		t.Errorf("a mode was changed: %q", raw)
	}
}

// Where there is nothing to draw a view on, or nobody asked for one, there is none.
func TestNotLive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env  string
		args []string
	}{
		"TERM=dumb, though live is typed": {"TERM=dumb", []string{"-j2", "--output=live"}},
		"one at a time":                   {"X=1", nil},
		"one stack":                       {"X=1", []string{"-j2", "--tags", "x"}},
		"--quiet":                         {"X=1", []string{"-j2", "--quiet"}},
		"TMNOTES_OUTPUT":                  {"TMNOTES_OUTPUT=stream", []string{"-j2"}},
		"GitHub":                          {"GITHUB_ACTIONS=true", []string{"-j2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/a", "/b")
			w.env = append(w.env, tt.env)
			if tt.env == "TERM=dumb" {
				w.script("tmnotes-dumb", `TERM=dumb exec tmnotes "$@"`)
			}
			argv := append([]string{"tmnotes", "run", "--sync=off", "--op", "deploy"}, tt.args...)
			if tt.env == "TERM=dumb" {
				argv = append([]string{w.path("bin", "tmnotes-dumb")}, argv[1:]...)
			}
			e := w.terminal(80, 24, "work", append(argv, "--", "deploy")...)
			e.ends(exitOK)
			if raw := e.output(); strings.Contains(raw, "\x1b") || strings.Contains(raw, "running") {
				t.Errorf("%q", raw)
			}
		})
	}
}

// No command asks the terminal anything: the answer would come in on stdin. What
// bubbletea does at its start would (package early).
func TestNothingIsAskedOfTheTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a")
	w.script("ci", `echo "CI is ${CI-not set}"`)
	plain := w.env
	for ci, want := range map[string]string{"X=1": "CI is not set", "CI=": "CI is ", "CI=woodpecker": "CI is woodpecker"} {
		w.env = append(slices.Clip(plain), ci)
		e := w.terminal(80, 24, ".", "tmnotes", "version")
		e.ends(exitOK)
		if raw := e.output(); strings.Contains(raw, "\x1b") || !strings.Contains(raw, "tmnotes") {
			t.Errorf("%s: %q", ci, raw)
		}
		if out := w.run("work", "tmnotes", "run", "-X", "--sync=off", "--", "ci"); !strings.Contains(out, want+"\n") {
			t.Errorf("want %q: %s", want, out)
		}
	}
}
