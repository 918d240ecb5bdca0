package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// parseOutput reads --output; "" is what suits the place.
func parseOutput(c *cli.Context, s *gitstate.Store) (string, error) {
	how := settings.output.text(c, s)
	if c.String("format") == "json" {
		if c.IsSet("output") {
			return "", errors.New("--output says how people are shown the commands' output, and --format json writes it as events; leave one out")
		}
		return terminal.OutputStream, nil
	}
	if how != "" && !slices.Contains(terminal.Outputs, how) {
		return "", fmt.Errorf("--output: %q is not one of %s", how, strings.Join(terminal.Outputs, ", "))
	}
	return how, nil
}

// outputHere is how output is shown. A view needs a terminal; without one, what was typed (or
// stands in the repository) does not count. It is not the default where one stack at a
// time runs, which has the terminal for itself: its command may ask.
func outputHere(typed string, ci deploy.CI, onTerminal bool, atOnce int, quiet bool) string {
	switch {
	case typed != "" && (typed != terminal.OutputLive || onTerminal):
		return typed
	case terminal.Folds(ci.Name):
		return terminal.OutputGrouped
	case onTerminal && atOnce > 1 && !quiet:
		return terminal.OutputLive
	}
	return terminal.OutputStream
}

// display has the runner's options say how output is shown.
func (x *chosen) display(opt *runner.Options) deploy.Display {
	how := outputHere(x.o.output, x.CI, x.u.HasView(), min(opt.Parallel, len(x.Todo)), x.o.quiet)
	d := terminal.NewDisplay(opt, x.u.Printer, how, x.CI.Name, x.Tasks)
	d.Root = x.Store.WorkTree()
	if how == terminal.OutputLive {
		view := terminal.NewView(x.u.Printer, x.Graph, x.Todo, func(path string) time.Duration { return x.Stacks[path].Usual }, opt.Parallel, time.Now)
		view.Divide(x.Rollout.Filters, x.Rollout.WaveOf, x.Rollout.Soak)
		d.Watch(opt, view)
	}
	// Of one stack, what it printed stands right above, unless it was folded.
	x.above = len(x.Todo) == 1 && !(terminal.Folds(x.CI.Name) && how == terminal.OutputGrouped)
	x.Watch = append(x.Watch, d.Event)
	if x.events != nil {
		x.events.Watch(opt, x.Tasks)
		x.Watch = append(x.Watch, func(e runner.Event) { x.events.Happened(e, x.Last) })
	}
	return d
}

// planned writes what is about to happen as an event.
func (x *chosen) planned() {
	if x.events == nil {
		return
	}
	n := len(x.Order)
	ev := terminal.Event{Event: "planned", Commit: x.Commit.Hash, Op: strings.Join(x.Ops, ","), Target: x.Select.Target, Selected: &n, Stacks: x.Todo}
	for _, path := range x.Order {
		if off, is := x.Off[path]; is {
			ev.Skipped = append(ev.Skipped, terminal.SkippedStack{Stack: path, Reason: off.WhyAndHow()})
		}
	}
	x.events.Write(ev)
}

// ended writes how it ended.
func (x *chosen) ended(out *deploy.Outcome, err error) {
	if x.events == nil {
		return
	}
	exit, counts := 0, map[string]int{}
	if err != nil {
		exit = exitCode(err)
	}
	for status, n := range out.Counts {
		counts[string(status)] = n
	}
	ev := terminal.Event{Event: "ended", Counts: counts, Exit: &exit}
	if x.Route.Remote != "" && out.Started {
		pushed := out.Unsent == nil
		ev.Pushed = &pushed
	}
	x.events.Write(ev)
}
