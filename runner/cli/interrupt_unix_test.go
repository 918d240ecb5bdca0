//go:build unix

package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slow is a deployment that is under way when the signal comes: /a has ended,
// /b asks a question and counts its signals, /c waits for /b.
const slow = `
stack=/${PWD##*/}
echo "$stack" >>"$WORK/ran"
test "$stack" = /b || exit 0
trap 'echo INT >>"$WORK/signals"' INT
trap 'echo TERM >>"$WORK/signals"' TERM
printf 'Do you want to perform these actions? '
read answer
echo "the answer is $answer"
touch "$WORK/up"
while ! test -e "$WORK/release"; do sleep 0.02; done
exit 1
`

// An interrupted run: each child gets the signal exactly once, nothing new
// starts, what is known is pushed before the children end, what was under way
// and what did not start is recorded as canceled, and the exit code says so.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		terminal bool
		signal   os.Signal // nil: Ctrl-C is typed
		want     string
	}{
		{"SIGINT from a supervisor", false, syscall.SIGINT, "INT"},
		{"SIGTERM from a supervisor", false, syscall.SIGTERM, "TERM"},
		{"SIGTERM from a supervisor, with a terminal", true, syscall.SIGTERM, "TERM"},
		{"Ctrl-C", true, nil, "INT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/a", "/b", "/c:/b")
			w.script("slow", slow)
			// A claim that is let go of takes the result along, before any signal.
			cmd := w.command("work", "tmnotes", "run", "--push-interval", "1h", "--claims", "off", "--op", "deploy", "--", "slow")
			var out syncBuffer
			var stdin io.Writer
			if tc.terminal {
				stdin = w.onTerminal(cmd, &out)
			} else {
				cmd.Stdout, cmd.Stderr = &out, &out
				pipe, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				stdin = pipe
			}
			defer func() { _ = cmd.Process.Kill() }()
			w.await("the question", func() bool { return strings.Contains(out.String(), "these actions?") })
			if _, err := io.WriteString(stdin, "yes\n"); err != nil {
				t.Fatal(err)
			}
			w.await("the answer", func() bool { return strings.Contains(out.String(), "the answer is yes") && w.exists("up")() })
			if n := w.remoteNotes(); strings.Contains(n, "status=ok") {
				t.Fatalf("pushed before the signal; this test says nothing:\n%s", n)
			}

			if tc.signal != nil {
				_ = cmd.Process.Signal(tc.signal)
			} else if _, err := io.WriteString(stdin, "\x03"); err != nil {
				t.Fatal(err)
			}
			w.await("the push at once", func() bool { return strings.Contains(w.remoteNotes(), "status=ok op=deploy stack=/a ") })
			w.await("the signal", w.exists("signals"))
			if err := os.WriteFile(w.path("release"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit code %d (%v)\n%s", code, err, out.String())
			}
			got, err := os.ReadFile(w.path("signals"))
			if err != nil || string(got) != tc.want+"\n" {
				t.Errorf("the child got %q (%v)\n%s", got, err, out.String())
			}
			if got := w.ran(); strings.Join(got, " ") != "/a /b" {
				t.Errorf("executed: %v", got)
			}
			for _, line := range []string{"status=canceled op=deploy stack=/b ", "status=canceled op=deploy stack=/c ", "status=ok op=deploy stack=/a "} {
				if n := w.remoteNotes(); !strings.Contains(n, line) {
					t.Errorf("not recorded on the remote: %s\n%s", line, n)
				}
			}
			t.Log(out.String())
			w.script("slow", deployScript)
			w.run("work", "tmnotes", "run", "--op", "deploy", "--", "slow")
			if got := w.ran(); strings.Join(got, " ") != "/b /c" {
				t.Errorf("resumed: %v", got)
			}
		})
	}
}

func (w *world) remoteNotes() string {
	out, _ := exec.Command("git", "-C", w.path("work.git"), "log", "--format=%N", "--notes=tmnotes", "main").Output()
	return string(out)
}

// A second signal is passed on, a third one ends what does not end by itself.
func TestInterruptThrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b:/a")
	w.script("stubborn", "trap 'echo INT >>\"$WORK/signals\"' INT\ntouch \"$WORK/up\"\nwhile :; do sleep 0.02; done\n")
	cmd := w.command("work", "tmnotes", "run", "--op", "deploy", "--", "stubborn")
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the command", w.exists("up"))
	for i, want := range []string{"INT\n", "INT\nINT\n"} {
		_ = cmd.Process.Signal(os.Interrupt)
		w.await("signal", func() bool { b, _ := os.ReadFile(w.path("signals")); return string(b) == want })
		_ = i
	}
	_ = cmd.Process.Signal(os.Interrupt)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("it does not end\n%s", out.String())
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
	if n := w.remoteNotes(); !strings.Contains(n, "status=canceled op=deploy stack=/a ") || !strings.Contains(n, "status=canceled op=deploy stack=/b ") {
		t.Errorf("not recorded:\n%s\n%s", n, out.String())
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
