package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", EnvVars: []string{"TMNOTES_OUTPUT"}, Usage: "`HOW` the commands' output is shown: live (above a view of what runs), grouped (each stack's in one piece), stream (as it comes) or quiet (only of stacks that fail) (git config tmnotes.output; default: grouped in GitHub Actions and GitLab CI, live on a terminal with -j, else stream)"}
}

// parseOutput reads --output; "" is what suits the place.
func parseOutput(c *cli.Context, s *gitstate.Store) (string, error) {
	how := setting(c, s, "output", "output", "")
	if how != "" && !slices.Contains(terminal.Outputs, how) {
		return "", fmt.Errorf("--output: unknown way %q; use one of %s", how, strings.Join(terminal.Outputs, ", "))
	}
	return how, nil
}

// outputHere is how output is shown. A view needs a terminal; without one, what was typed (or
// stands in the repository) does not count. It is not the default where one stack at a
// time runs, which has the terminal for itself: its command may ask.
func outputHere(typed string, ci ciJob, onTerminal bool, atOnce int, quiet bool) string {
	switch {
	case typed != "" && (typed != terminal.OutputLive || onTerminal):
		return typed
	case terminal.Folds(ci.name):
		return terminal.OutputGrouped
	case onTerminal && atOnce > 1 && !quiet:
		return terminal.OutputLive
	}
	return terminal.OutputStream
}

// display has the runner's options say how output is shown.
func (n *session) display(x *runner.Options, u *ui, o runOptions, g *runner.Graph, tasks map[string]runner.Task, todo []string) *terminal.Display {
	ci := n.env.ci()
	how := outputHere(o.output, ci, u.HasView(), min(x.Parallel, len(todo)), o.quiet)
	d := terminal.NewDisplay(x, u.Printer, how, ci.name, tasks)
	if how == terminal.OutputLive {
		view := terminal.NewView(u.Printer, g, todo, func(path string) time.Duration { return n.stacks[path].usual }, x.Parallel, time.Now)
		view.Divide(n.waves.filters, n.waves.of, n.waves.soak)
		d.Watch(x, view)
	}
	n.watch = append(n.watch, d.Event)
	return d
}
