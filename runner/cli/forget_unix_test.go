//go:build unix

package cli

import (
	"io"
	"strings"
	"testing"
)

// On a terminal forget asks, and takes only yes for yes.
func TestForgetAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a")
	w.script("deploy", deployScript)
	w.run("work", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	for _, tt := range []struct {
		answer string
		code   int
		gone   bool
	}{{"\n", exitUsage, false}, {"no\n", exitUsage, false}, {"\x03", exitInterrupted, false}, {"\x04", exitUsage, false}, {"Yes\n", exitOK, true}} {
		cmd := w.command("work", "tmnotes", "forget", "--reason", "typo", "--stack", "/a")
		var out syncBuffer
		p := w.onTerminal(cmd, &out)
		w.await("the question", func() bool { return strings.Contains(out.String(), "for good, in every clone? [y/N] ") })
		if !strings.Contains(out.String(), "deploy  /a  no target") {
			t.Errorf("it does not say what it removes: %s", out.String())
		}
		if _, err := io.WriteString(p, tt.answer); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != tt.code {
			t.Errorf("%q: exit code %d, want %d\n%s", tt.answer, code, tt.code, out.String())
		}
		if gone := strings.Contains(w.run("work", "tmnotes", "status"), "never"); gone != tt.gone {
			t.Errorf("%q: forgotten is %v", tt.answer, gone)
		}
	}
}
