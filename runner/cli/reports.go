package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// reportFormats are what a report can be written as; each is a flag that takes
// a FILE.
var reportFormats = []reportFormat{
	{"html", "write a self-contained page to `FILE`", (*report.Report).WriteHTML},
	{"json", "write all of it as JSON to `FILE`", (*report.Report).WriteJSON},
	{"markdown", "write a table to `FILE`, for a comment on a merge request", func(r *report.Report, w io.Writer) error { return r.WriteMarkdown(w, 0) }},
	{"junit", "write the state as JUnit test results to `FILE`", (*report.Report).WriteJUnit},
}

type reportFormat struct {
	name, usage string
	write       func(*report.Report, io.Writer) error
}

func reportCommand(env Env) *cli.Command {
	flags := []cli.Flag{}
	for _, f := range reportFormats {
		flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage})
	}
	flags = append(flags, &cli.StringFlag{Name: "prometheus", Usage: "write metrics of all stacks to `FILE`, for node_exporter's textfile collector (NAME.prom)"}, metricsFlag())
	flags = append(flags, &cli.IntFlag{Name: "commits", Value: report.DefaultCommits, Usage: "include the last `N` commits that have records"})
	return &cli.Command{
		Name:  "report",
		Usage: "write the state of all stacks to a file: as a page, JSON, Markdown, JUnit or metrics",
		Description: "FILE may be - for stdout. Reads what is here; `tmnotes fetch` brings what is on the remote. Without --target it has all\n" +
			"targets that something is recorded for.",
		Flags:  slices.Concat(flags, chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), storeFlags()),
		Action: inClone(env, parseReport, writeReports),
	}
}

// reportOptions is what the flags of `report` say, checked.
type reportOptions struct {
	files   map[string]string // by format
	metrics string            // the file
	sel     project.Selection
	filter  query.StatusFilter
}

func parseReport(c *cli.Context) (o reportOptions, err error) {
	if err := errors.Join(noArgs(c), setLogLevel(c)); err != nil {
		return o, err
	}
	o.files = map[string]string{}
	var names []string
	for _, f := range reportFormats {
		names = append(names, "--"+f.name+" FILE")
		if c.IsSet(f.name) {
			if o.files[f.name] = c.String(f.name); o.files[f.name] == "" {
				return o, fmt.Errorf("--%s: to which file? - is stdout", f.name)
			}
		}
	}
	o.metrics = c.String("prometheus")
	if c.IsSet("prometheus") {
		if err := checkMetricsFile(o.metrics); err != nil {
			return o, err
		}
	}
	if len(o.files) == 0 && o.metrics == "" {
		return o, fmt.Errorf("which format? Use %s or --prometheus FILE; - is stdout", strings.Join(names, ", "))
	}
	if c.Int("commits") < 1 {
		return o, fmt.Errorf("--commits: %d is too few; use at least 1", c.Int("commits"))
	}
	if o.sel, err = selection(c); err != nil {
		return o, err
	}
	o.filter, err = parseStatusFilter(c)
	return o, err
}

func writeReports(here *clone, o reportOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	if o.metrics != "" {
		if err := writeMetrics(here.c, here.env, here.store, o.metrics); err != nil || len(o.files) == 0 {
			return err
		}
	}
	if err := here.load(project.Options{Terragrunt: o.sel.Terragrunt()}); err != nil {
		return err
	}
	r, err := makeReport(here.c, here.env, here.store, here.project, o.sel, o.filter)
	if err != nil {
		return err
	}
	for _, f := range reportFormats {
		if to := o.files[f.name]; to != "" {
			if err := writeFile(here.env, to, func(w io.Writer) error { return f.write(r, w) }); err != nil {
				return fmt.Errorf("--%s: %w", f.name, err)
			}
		}
	}
	here.sayAge()
	return nil
}

// makeReport reports the selected stacks of a project, and, unless they were
// chosen by what those have not, the ones that are gone from it.
func makeReport(c *cli.Context, env Env, s *gitstate.Store, p *project.Project, sel project.Selection, filter query.StatusFilter) (*report.Report, error) {
	st, err := s.State(c.Context)
	if err != nil {
		return nil, err
	}
	target := command.TargetOf(sel.Target, env.workspace())
	targets := []string{target}
	if target == "" {
		targets = query.AllTargets(st)
	}
	known, err := query.KnownStacks(c.Context, s, st, p, sel, targets)
	if err != nil {
		return nil, err
	}
	remote, err := findRemote(c, s, p.DefaultRemote())
	if err != nil {
		return nil, err
	}
	opt := report.Options{Stacks: known, Commits: c.Int("commits"), Remote: remote, Repository: query.RepositoryName(c.Context, s, syncSetting(c, s).Code(s, p.DefaultRemote()))}
	if remote != "" {
		opt.Fetched = s.Remote(remote).LastFetch()
	}
	if filter.Set() {
		opt.Keep = func(deploy, drift gitstate.Latest, own note.Status) bool {
			return filter.Admits(query.View{Deploy: deploy, Drift: drift, Status: own})
		}
	}
	return report.Build(c.Context, s, st, opt)
}

// writeFile writes a file whole or not at all, so that who serves it never
// serves a half; - is stdout.
func writeFile(env Env, path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(env.Stdout)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return fmt.Errorf("%s is a folder; name a file", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // a pipe, or /dev/stdout
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
