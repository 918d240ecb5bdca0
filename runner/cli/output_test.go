package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// How output is shown where nobody says so, and what is possible where somebody does.
func TestOutputHere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typed, ci string
		terminal  bool
		atOnce    int
		quiet     bool
		want      string
	}{
		{"", "", true, 4, false, terminal.OutputLive},
		{"", "", true, 1, false, terminal.OutputStream}, // the command may ask
		{"", "", true, 4, true, terminal.OutputStream},
		{"", "", false, 4, false, terminal.OutputStream},
		{"", "github", false, 1, false, terminal.OutputGrouped},
		{"", "gitlab", true, 4, true, terminal.OutputGrouped},
		{"", "jenkins", false, 4, false, terminal.OutputStream},
		{"live", "", true, 1, false, terminal.OutputLive},
		{"live", "", true, 4, true, terminal.OutputLive},
		{"live", "", false, 4, false, terminal.OutputStream},
		{"live", "github", false, 4, false, terminal.OutputGrouped},
		{"live", "github", true, 4, false, terminal.OutputLive},
		{"stream", "github", false, 4, false, terminal.OutputStream},
		{"grouped", "", true, 4, false, terminal.OutputGrouped},
		{"quiet", "", true, 1, false, terminal.OutputQuiet},
	} {
		if got := outputHere(tt.typed, deploy.CI{Name: tt.ci}, tt.terminal, tt.atOnce, tt.quiet); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// What stands around the output of stacks, to the byte: \e is an escape, \r a carriage
// return.
func TestGroups(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	stack := func(path string) runner.Stack { return runner.Stack{Path: path} }
	results := []runner.Result{
		{Stack: stack("/prod/vpc"), Status: runner.StatusOK, Started: began, Took: 12400 * time.Millisecond, Tries: 1},
		{Stack: stack("/prod/db"), Status: runner.StatusFailed, Exit: 1, Started: began, Took: 3 * time.Second, Tries: 2, Reason: "Error: 100% full: password=***,\u2028::error::x\r\n", At: "../modules/a,b.tf:9"},
		{Stack: stack("/odd/a:b,100%"), Status: runner.StatusFailed, Exit: 1, Started: began, Took: time.Minute, Tries: 1, Reason: "exit status 1"},
		{Stack: stack("/prod/mail"), Status: runner.StatusDrifted, Exit: 2, Started: began, Took: time.Second, Tries: 1},
		{Stack: stack("/prod/dns"), Status: runner.StatusCanceled, Exit: -1, Started: began, Took: time.Second, Tries: 1, Reason: "interrupted by SIGINT"},
	}
	results[1].Stack.Dir = "/repo/prod/db"
	tasks := map[string]runner.Task{}
	for _, r := range results {
		tasks[r.Stack.Path] = runner.Task{Stack: r.Stack, Commands: []runner.Command{{Args: []string{"terraform", "apply", "-var=rate=5%"}}}}
	}
	tasks["/prod/mail"].Commands[0].Line = "a script has a line of its own"
	for _, tt := range []struct {
		name  string
		ci    string
		quiet bool
	}{{"github", "github", false}, {"github-quiet", "github", true}, {"gitlab", "gitlab", false}, {"plain", "", false}, {"plain-quiet", "", true}} {
		d := &terminal.Display{How: terminal.OutputGrouped, U: &terminal.Printer{Quiet: tt.quiet}, Ci: tt.ci, Tasks: tasks, Root: "/repo"}
		var out strings.Builder
		for _, r := range results {
			fmt.Fprint(&out, line(d.GroupStart(r.Stack, r)), "(the output)\n", line(d.GroupEnd(r.Stack, r)))
		}
		running := results[0]
		running.Status, running.Took = runner.StatusRunning, 0
		fmt.Fprint(&out, "-- while it runs --\n", line(d.GroupStart(running.Stack, running)))
		running.Status = runner.StatusFailed
		fmt.Fprint(&out, "(the output)\n", line(d.GroupEnd(running.Stack, running)))
		gittest.Golden(t, "output/"+tt.name+".txt", strings.NewReplacer("\x1b", `\e`, "\r", `\r`).Replace(out.String()))
	}
}

// line ends a text as the runner does.
func line(s string) string {
	if s == "" || strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}
