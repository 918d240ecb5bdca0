//go:build unix

package cli

import (
	"io"
	"os"
	"strings"
	"testing"
)

// On a terminal init asks three questions, shows what it would write, and writes it only if
// that is wanted.
func TestInitAsks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		answers  []string
		code     int
		ci       string // whose file is there in the end
		contains []string
	}{
		{"what is guessed, and adopted", []string{"\n", "\n", "yes\n", "\n"}, exitOK, "github", []string{"- run: tmnotes run --pending -- terraform apply -auto-approve -input=false\n", "terraform plan -detailed-exitcode"}},
		{"others, after a word that is none", []string{"jenkins\n", "gitlab\n", "make deploy\n", "no\n", "yes\n"}, exitOK, "gitlab", []string{"- tmnotes run --pending --op deploy -- make deploy\n"}},
		{"no", []string{"\n", "\n", "\n", "no\n"}, exitOK, "", nil},
		{"Ctrl-C", []string{"\n", "\x03"}, exitInterrupted, "", nil},
		{"the end of the input", []string{"\x04"}, exitUsage, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/a", "/b")
			w.run("work", "git", "remote", "set-url", "origin", "https://github.com/acme/infra.git")
			cmd := w.command("work", "tmnotes", "init", "--sync", "off")
			var out syncBuffer
			p := w.onTerminal(cmd, &out)
			for i, answer := range tt.answers {
				w.await("a question", func() bool { return strings.Count(out.String(), "] ") > i })
				if _, err := io.WriteString(p, answer); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, out.String())
			}
			for ci, file := range pipelineFiles {
				text, err := os.ReadFile(w.path("work/" + file))
				if (err == nil) != (ci == tt.ci) {
					t.Errorf("%s: %v\n%s", file, err, out.String())
				}
				for _, want := range tt.contains {
					if err == nil && !strings.Contains(string(text), want) {
						t.Errorf("%s lacks %q:\n%s", file, want, text)
					}
				}
			}
			adopted := strings.Contains(w.run("work", "tmnotes", "status"), "ok ")
			if want := strings.Contains(strings.Join(tt.answers, ""), "yes\n") && tt.ci == "github"; adopted != want {
				t.Errorf("adopted is %v\n%s", adopted, out.String())
			}
		})
	}
}
