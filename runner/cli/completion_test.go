package cli

import (
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Whatever stands on the line, TAB executes nothing: of each command, with what a
// shell may hand over.
func TestCompletionExecutesNothing(t *testing.T) {
	t.Parallel()
	app := newApp(Env{})
	var commands [][]string
	for _, c := range app.Commands {
		commands = append(commands, []string{c.Name})
		for _, sub := range c.Subcommands {
			commands = append(commands, []string{c.Name, sub.Name})
		}
	}
	nowhere := t.TempDir() // no repository: what is executed there fails
	lines := []string{"", "--", "-", "-X", "--op", "--op deploy", "--op deploy --", "--op deploy -- --", "--op deploy -- true", "-- sh -c true --", "true", "true --",
		"deploy", "--no-such-flag", "--no-such-flag --", "--help", "--help --", "--version", "-j2 --", "--all --reason x", "--stacks-from", "help --", "/a /b"}
	for _, c := range append(commands, nil, []string{"--"}, []string{"-C", nowhere}) {
		for _, line := range lines {
			args := slices.Concat(c, []string{"-C", nowhere}, strings.Fields(line), []string{completionWord})
			if line == "help --" {
				args = slices.Concat([]string{"help"}, c, []string{"--", completionWord})
			}
			var out, said bytes.Buffer
			code := Main(context.Background(), args, Env{Stdout: &out, Stderr: &said})
			if code == exitUsage && strings.Contains(said.String(), "nothing was executed") && out.Len() == 0 {
				continue
			}
			if code != exitOK || said.Len() > 0 {
				t.Errorf("%q: exit code %d, %s", args, code, said.String())
			}
			for word := range strings.Lines(out.String()) {
				if word, _, _ = strings.Cut(word, "\t"); word == "" || strings.ContainsAny(strings.TrimSuffix(word, "\n"), " :") {
					t.Errorf("%q answers with %q, which is no word", args, word)
				}
			}
		}
	}
}

// What bash hands over, with the words as they stand on the line.
func TestCompletionOfBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct{ line, asked string }{
		{"tmnotes ", completionWord},
		{"tmnotes ru", "ru " + completionWord},
		{"tmnotes list --status = fa", "list --status = fa " + completionWord},
		{"tmnotes list --status =", "list --status  " + completionWord},
		{"tmnotes run --op deploy --", "run --op deploy -- " + completionWord},
		{"tmnotes run --op deploy -- ", ""},
		{"tmnotes run --op deploy -- ./x --", ""},
		{"tmnotes run -j", "run -j " + completionWord},
	} {
		words := strings.Split(c.line, " ")
		script := bashCompletion + `asked() { echo "$@" >&3; }
COMP_WORDS=("$@") COMP_CWORD=$(($#-1)) COMP_WORDS[0]=asked
_tmnotes`
		run := exec.Command(bash, append([]string{"-c", script + " 3>&1 >/dev/null", "-"}, words...)...)
		out, _ := run.CombinedOutput() // it fails where there is no answer
		if got := strings.TrimSpace(string(out)); got != c.asked {
			t.Errorf("%q asks %q, not %q", c.line, got, c.asked)
		}
	}
}

// The words of a flag are kept by the name that it has.
func TestCompletionKnowsItsFlags(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, c := range allCommands(newApp(Env{})) {
		for _, f := range c.Flags {
			known[f.Names()[0]] = true
		}
	}
	for flag := range flagValues {
		if !known[flag] {
			t.Errorf("no flag is called --%s first", flag)
		}
	}
}
