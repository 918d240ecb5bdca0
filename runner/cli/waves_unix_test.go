//go:build unix

package cli

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C on a terminal has reached the gate when tmnotes learns of it, and is not sent
// again. What the gate asks there can be answered.
func TestGateOnTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/canary", "/eu")
	w.script("deploy", deployScript)
	w.script("gate", `cat >/dev/null
trap 'echo INT >>"$WORK/signals"; touch "$WORK/release"' INT
test -t 1 && printf 'Go on? '
read answer </dev/tty
touch "$WORK/asked"
test "$answer" = wait || exit 0
while ! test -e "$WORK/release"; do sleep 0.02; done
`)
	for _, answer := range []string{"wait", "yes"} {
		// The first time with a view on the terminal, which makes room.
		cmd := w.command("work", "tmnotes", "run", "--output", map[string]string{"wait": "live", "yes": "stream"}[answer], "--op", "deploy", "--wave", "/canary", "--wave", "*", "--gate", "gate", "--", "deploy")
		var out syncBuffer
		p := w.onTerminal(cmd, &out)
		w.await("the question", func() bool { return strings.Contains(out.String(), "Go on? ") })
		if _, err := io.WriteString(p, answer+"\n"); err != nil {
			t.Fatal(err)
		}
		want := exitOK
		if answer == "wait" {
			want = exitInterrupted
			w.await("the answer", w.exists("asked"))
			if _, err := io.WriteString(p, "\x03"); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("exit code %d, want %d\n%s", code, want, out.String())
		}
	}
	if got, _ := os.ReadFile(w.path("signals")); string(got) != "INT\n" {
		t.Errorf("the gate got %q", got)
	}
	if got := strings.Join(w.ran(), " "); got != "/canary /eu" {
		t.Errorf("executed: %s", got)
	}
}

// The pause after a wave ends at once with the first interrupt, and what is left of
// it is waited for by the next run on this commit, whatever that selects. The gate
// gets the signal once, as the command of a stack does.
func TestInterruptBetweenWaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/canary", "/eu", "/us:/eu")
	w.script("deploy", deployScript)
	w.script("gate", `cat >/dev/null
trap 'echo INT >>"$WORK/signals"; touch "$WORK/release"' INT
touch "$WORK/asked"
while ! test -e "$WORK/release"; do sleep 0.02; done
`)
	start := func(args ...string) (*exec.Cmd, *syncBuffer) {
		cmd := w.command("work", slices.Concat([]string{"tmnotes", "run", "--op", "deploy", "--push-interval", "1h", "--wave", "/canary", "--wave", "*"}, args, []string{"--", "deploy"})...)
		out := new(syncBuffer)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, out
	}
	interrupt := func(cmd *exec.Cmd, out *syncBuffer) {
		t.Helper()
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("exit code %d\n%s", code, out)
		}
	}
	for i, args := range [][]string{{"--soak", "1h"}, {"--soak", "1h"}, {"--soak", "1h", "--pending", "--gate", "gate"}} {
		cmd, out := start(args...)
		w.await("the pause", func() bool {
			return strings.Contains(out.String(), "soaking for ")
		})
		interrupt(cmd, out)
		if got, want := strings.Join(w.ran(), " "), map[int]string{0: "/canary"}[i]; got != want {
			t.Errorf("executed in run %d: %s", i, got)
		}
		if w.exists("asked")() {
			t.Error("the gate was asked")
		}
	}
	for _, line := range []string{"status=ok op=deploy stack=/canary ", "status=canceled op=deploy stack=/eu ", "status=canceled op=deploy stack=/us "} {
		if n := w.remoteNotes(); !strings.Contains(n, line) {
			t.Errorf("not recorded on the remote: %s\n%s", line, n)
		}
	}

	cmd, out := start("--gate", "gate")
	w.await("the question", w.exists("asked"))
	interrupt(cmd, out) // and the gate then says yes
	if got, _ := os.ReadFile(w.path("signals")); string(got) != "INT\n" {
		t.Errorf("the gate got %q\n%s", got, out)
	}
	if got := w.ran(); len(got) > 0 {
		t.Errorf("executed: %v", got)
	}
	if n := w.remoteNotes(); !strings.Contains(n, `reason="not started: interrupted by SIGINT"`) || strings.Contains(n, "status=blocked") {
		t.Errorf("on the remote:\n%s", n)
	}

	// A gate that takes no notice is killed by the third.
	w.script("gate", "trap '' INT TERM\necho $$ >\"$WORK/pid\"; mv \"$WORK/pid\" \"$WORK/deaf\"\nwhile :; do sleep 0.02; done\n")
	cmd, out = start("--gate", "exec gate")
	w.await("the question", w.exists("deaf"))
	text, _ := os.ReadFile(w.path("deaf"))
	gate, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	w.await("the end", func() bool { // two that come at once may count as one
		if syscall.Kill(gate, 0) == nil { // one more would end tmnotes, which is about to
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
