//go:build unix

package git

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// All that a child printed is read, however late: here the time is up before anybody begins to, and
// something that the child left behind has the pipe.
func TestOutputIsReadLate(t *testing.T) {
	t.Parallel()
	o, err := newOutput()
	if err != nil {
		t.Fatal(err)
	}
	defer o.w.Close()
	printed := strings.Repeat("0123456789abcdef\n", 3000)
	if _, err := o.w.WriteString(printed); err != nil {
		t.Fatal(err)
	}
	if err := o.r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	go o.read()
	if whole := o.finish(time.Now()); !whole || o.text() != printed {
		t.Errorf("whole %v, %d of %d bytes", whole, len(o.text()), len(printed))
	}
}

func TestRunChild(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script, stdin  string
		stdout, stderr string
		code           int
	}{
		{script: "cat; echo hint >&2", stdin: "all of it", stdout: "all of it", stderr: "hint\n"},
		{script: "echo rejected; echo why >&2; exit 3", stdout: "rejected\n", stderr: "why\n", code: 3},
		{script: "exec <&-; echo done", stdin: strings.Repeat("not wanted ", 1<<16), stdout: "done\n"},
		{script: "sleep 600 & echo $!; echo left >&2", stderr: "left\n"},
	} {
		cmd := exec.Command("sh", "-c", c.script)
		cmd.Stdin = strings.NewReader(c.stdin)
		OwnGroup(cmd)
		stdout, stderr, err := RunChild(cmd, 100*time.Millisecond)
		if strings.HasPrefix(c.script, "sleep") {
			if err := Terminate(cmd, true); err != nil || stdout == "" {
				t.Errorf("%s: %q; ending what it left: %v", c.script, stdout, err)
			}
			stdout = ""
		}
		code := 0
		if exit, is := err.(*exec.ExitError); is {
			code, err = exit.ExitCode(), nil
		}
		if stdout != c.stdout || stderr != c.stderr || code != c.code || err != nil {
			t.Errorf("%s: %q, %q, exit code %d, %v", c.script, stdout, stderr, code, err)
		}
	}
	if _, _, err := RunChild(exec.Command("/nowhere/git"), time.Second); err == nil {
		t.Error("there is no such program")
	}
}
