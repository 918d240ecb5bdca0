//go:build unix

package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const completionProject = `terramate {
  config {
    experiments = ["scripts"]
  }
}
script "db" "migrate" {
  job {
    command = ["true"]
  }
}
script "release" {
  job {
    command = ["true"]
  }
}
`

// newCompletionWorld is a project with something to complete, and the program in PATH.
func newCompletionWorld(t *testing.T) (w *world, run string) {
	w = newWorld(t)
	program, err := exec.LookPath("tmnotes")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, w.path("bin", "tmnotes")); err != nil {
		t.Fatal(err)
	}
	w.project("work", "/prod/vpc", "/prod/db")
	for name, text := range map[string]string{"project.tm": completionProject, "prod/dns/stack.tm": "stack {\n  tags = [\"canary\"]\n}\n"} {
		if err := os.MkdirAll(filepath.Dir(w.path("work", name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path("work", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.commit("work", "scripts")
	w.run("work", "tmnotes", "run", "-X", "--sync=off", "--op", "migrate-db", "--target", "eu-west", "--", "true")
	_, run, _ = strings.Cut(w.run("work", "tmnotes", "log", "-n", "1", "--format", "json"), `"run": "`)
	return w, run[:26]
}

// TAB in real shells: flags after any word, the values of flags, stacks, tags, targets, script
// labels, runs; and of the command that is to run what the shell itself knows.
func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	w, run := newCompletionWorld(t)
	cases := []struct{ line, want string }{
		{"stat", "status"},
		{"list --status fa", "failed"},
		{"status --status orph", "orphaned"},
		{"mark --status dri", "drifted"},
		{"list --status=fa", "--status=failed"},
		{"log /prod/v", "/prod/vpc"},
		{"log /prod/vpc --form", "--format"},
		{"log /prod/vpc --format js", "json"},
		{"-C . lis", "list"},
		{"forget --stack /prod/db", "/prod/db"},
		{"run --tags can", "canary"},
		{"run --wave tag", "tag:canary"},
		{"run --target eu", "eu-west"},
		{"run --op migr", "migrate-db"},
		{"run --orph", "--orphaned"},
		{"run --output gro", "grouped"},
		{"run --changed --disable-safeguards outd", "outdated-code"},
		{"log --run " + run[:24], run},
		{"script ru", "run"},
		{"script run rel", "release"},
		{"script run db mig", "migrate"},
		{"show " + run[:24], run},
		{"runs /prod/v", "/prod/vpc"},
		{"show --log /prod/v", "/prod/vpc"},
		{"show --log /prod/vpc " + run[:24], run},
		{"run --locks o", "off"},
		{"run --on-claimed sk", "skip"},
		{"run --keep-logs=of", "--keep-logs=off"},
		{"run --tags blue,can", "blue,canary"},
		{"help wor", "words"},
		{"completion fi", "fish"},
		{"run -- deplo", "deploy"},
	}
	before := w.notes("work")
	for shell, complete := range map[string]func(t *testing.T, w *world, line string) string{"bash": completeInBash, "fish": completeInFish, "zsh": completeInZsh} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("%s is not in PATH", shell)
			}
			for i, c := range cases {
				if shell != "bash" && i%3 != 1 {
					continue // the words are tmnotes', whichever shell asks; zsh takes its time
				}
				if got := complete(t, w, "tmnotes "+c.line); !slices.Contains(strings.Fields(strings.ReplaceAll(got, `\,`, ",")), c.want) && !(shell == "bash" && strings.HasSuffix(c.want, "="+got)) {
					t.Errorf("TAB after %q answers %q, not %q", c.line, got, c.want)
				}
			}
		})
	}
	if after := w.notes("work"); after != before {
		t.Errorf("TAB recorded something: %s", after)
	}
}

func completeInBash(t *testing.T, w *world, line string) string {
	words := strings.Split(strings.ReplaceAll(line, "=", " = "), " ") // as COMP_WORDBREAKS has it
	script := `source <(tmnotes completion bash); COMP_WORDS=("$@") COMP_CWORD=$(($#-1)) COMPREPLY=(); _tmnotes; printf '%s\n' "${COMPREPLY[@]}"`
	return strings.TrimSpace(outputOf(t, w.command("work", append([]string{"bash", "--norc", "-c", script, "-"}, words...)...)))
}

func completeInFish(t *testing.T, w *world, line string) string {
	return outputOf(t, w.command("work", "fish", "--no-config", "-c", "tmnotes completion fish | source; complete -C '"+line+"'"))
}

func outputOf(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%v: %v, %s", cmd.Args, err, stderr.String())
	}
	return string(out)
}

// completeInZsh types the line in a terminal: zsh completes nowhere else. What stands on the
// line then is printed by a key of the test's own.
func completeInZsh(t *testing.T, w *world, line string) string {
	const setup = `PS1=; unsetopt prompt_cr prompt_sp; autoload -Uz compinit; compinit -D -u; source <(tmnotes completion zsh)
answer() { print -r -- "<$BUFFER>" >$ANSWER; exit }; zle -N answer; bindkey '^X^A' answer; bindkey '^I' complete-word; print -r -- ready
`
	answer := w.path("answer")
	if err := os.RemoveAll(answer); err != nil {
		t.Fatal(err)
	}
	cmd := w.command("work", "zsh", "-f", "-i")
	cmd.Env = append(slices.Clone(w.env), "ANSWER="+answer, "TERM=dumb")
	said := new(syncBuffer)
	terminal := w.onTerminal(cmd, said)
	if _, err := io.WriteString(terminal, setup); err != nil {
		t.Fatal(err)
	}
	w.await("zsh to be ready", func() bool { return strings.Contains(said.String(), "\nready") })
	if _, err := io.WriteString(terminal, line+"\t\x18\x01"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Errorf("zsh does not answer: %s", said.String())
	}
	got, err := os.ReadFile(answer)
	if err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
	return strings.Trim(strings.TrimSpace(string(got)), "<>")
}

// Help is as wide as the terminal, or as COLUMNS says.
func TestHelpOnTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		width   int
		columns string
		want    int
	}{{60, "", 60}, {100, "", 100}, {200, "", 100}, {60, "90", 90}} {
		e := w.terminal(c.width, 20, ".", "env", "COLUMNS="+c.columns, "tmnotes", "run", "--help")
		e.ends(exitOK)
		longest := 0
		for line := range strings.Lines(e.output()) {
			if !strings.HasPrefix(line, "  tmnotes ") {
				longest = max(longest, len([]rune(strings.TrimRight(line, "\r\n"))))
			}
		}
		if longest > c.want || longest < c.want-6 {
			t.Errorf("a terminal of %d columns, COLUMNS=%s: the longest line has %d", c.width, c.columns, longest)
		}
	}
}
