package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// spansAtEnd is how long a run waits at its end for a collector that does not
// answer; exec, of which there is one a stack, waits for less.
const (
	spansAtEnd     = 5 * time.Second
	spansAtEndExec = time.Second
)

// audience is who is told of a run from outside.
type audience struct {
	u        *ui
	run      telemetry.Run
	whole    bool   // this process is all of the run
	onChange string // a command that is told of stacks whose status changes
}

// follow has them told: as spans, by --on-change. What it returns is to be called at the end
// of the run, whatever came of it.
func (a audience) follow(ctx context.Context, n *deploy.Session, tasks map[string]runner.Task, todo []string) (end func(), err error) {
	changes := func() {}
	if a.onChange != "" {
		if changes, err = onChange(a.u, n, a.onChange, todo); err != nil {
			return nil, err
		}
	}
	a.run.ID, a.run.Commit, a.run.Stacks = n.RunID, n.Commit.Hash, len(todo)
	spans := trace(ctx, n, a.run, a.whole, tasks)
	return func() {
		changes()
		spans()
	}, nil
}

// trace sends the spans of the run, and makes the children's spans descendants of
// their stack's.
func trace(ctx context.Context, n *deploy.Session, run telemetry.Run, whole bool, tasks map[string]runner.Task) (end func()) {
	program, _ := version()
	t := telemetry.Begin(ctx, run, program, whole, n.Out.Warn)
	if t == nil {
		return func() {}
	}
	for path, task := range tasks {
		task.Commands = slices.Clone(task.Commands)
		for i := range task.Commands {
			prepare := task.Commands[i].Prepare
			task.Commands[i].Prepare = func(ctx context.Context) (extra []string, err error) {
				if prepare != nil {
					extra, err = prepare(ctx)
				}
				return append(slices.Clip(extra), t.Environ(path)...), err
			}
		}
		tasks[path] = task
	}
	counts := map[note.Status]int{}
	interrupted := false
	n.Watch = append(n.Watch, func(e runner.Event) {
		r := n.Planned(e.Result.Stack.Path)
		stack := telemetry.Stack{Path: e.Result.Stack.Path, ID: r.Stack.ID, Tags: r.Stack.Tags, Op: r.Op.Name, Target: r.Target}
		switch e.Kind {
		case runner.Started:
			t.Started(stack, e.Result.Started)
		case runner.Retrying:
			t.Retrying(stack.Path, e.Result.Reason, e.Wait)
		case runner.Interrupted:
			interrupted = true
		case runner.Finished:
			if n.Last == nil || n.Last.Stack != stack.Path {
				return // nothing is on record of it: it was not needed
			}
			at := time.Now()
			if !e.Result.Started.IsZero() {
				at = e.Result.Started.Add(e.Result.Took)
			}
			t.Finished(stack, n.Last, at)
			counts[n.Last.Status]++
		}
	})
	limit := spansAtEnd
	if !whole {
		limit = spansAtEndExec
	}
	return func() { t.End(counts, interrupted, limit) }
}

func metricsFlag() cli.Flag {
	return settings.metricsStacks.flag()
}

// metrics are those of the store.
func metrics(c *cli.Context, s *gitstate.Store) (*prometheus.Registry, error) {
	most, err := settings.metricsStacks.number(c, s)
	if err != nil {
		return nil, err
	}
	if most < 0 {
		return nil, fmt.Errorf("--metrics-stacks must be 0 or more, not %d", most)
	}
	remote, err := findRemote(c, s, "")
	if err != nil {
		return nil, err
	}
	r := prometheus.NewRegistry()
	return r, r.Register(telemetry.NewCollector(s, telemetry.Options{Remote: remote, MaxStacks: most}))
}

// writeMetrics writes the metrics for node_exporter's textfile collector, which reads
// files *.prom and may do so at any moment.
func writeMetrics(c *cli.Context, env Env, s *gitstate.Store, file string) error {
	r, err := metrics(c, s)
	if err != nil {
		return err
	}
	if file == "-" {
		err = printMetrics(env.Stdout, r)
	} else {
		err = prometheus.WriteToTextfile(file, r)
	}
	if err != nil {
		return fmt.Errorf("--prometheus: %w", err)
	}
	return nil
}

// printMetrics prints what a scrape would get: all of it, or nothing.
func printMetrics(w io.Writer, r *prometheus.Registry) error {
	families, err := r.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// checkMetricsFile refuses what the textfile collector would never read.
func checkMetricsFile(file string) error {
	if file == "-" {
		return nil
	}
	if !strings.HasSuffix(file, ".prom") {
		return fmt.Errorf("--prometheus: %q: node_exporter reads files that end in .prom", file)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return fmt.Errorf("--prometheus: folder %s does not exist", filepath.Dir(file))
	}
	return nil
}
