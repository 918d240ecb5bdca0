package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner/query"
)

func runReportFlag() cli.Flag {
	return settings.report.flag()
}

func formatNames() []string {
	var names []string
	for _, f := range reportFormats {
		names = append(names, f.name)
	}
	return names
}

// runReport is a report to write at the end of a run.
type runReport struct {
	file   string
	within string // the work tree that file is in, where that was committed
	write  func(*report.Report, io.Writer) error
}

// reportSetting is --report, and where it stands in gitstate.ConfigFile the work tree,
// which it must not leave.
func reportSetting(c *cli.Context, s *gitstate.Store) (spec, within string) {
	spec = settings.report.text(c, s)
	if !c.IsSet("report") && s.IsCommitted("report") {
		within = s.WorkTree()
	}
	return spec, within
}

// parseRunReports reads --report. The folders have to be there already: what
// cannot be written is said before anything is executed.
func parseRunReports(spec, within string) (reports []runReport, err error) {
	if spec == "" {
		return nil, nil
	}
	for _, part := range strings.Split(spec, ",") {
		name, file, _ := strings.Cut(part, "=")
		i := slices.IndexFunc(reportFormats, func(f reportFormat) bool { return f.name == name })
		switch {
		case i < 0 || file == "":
			return nil, fmt.Errorf("--report: %q is not FORMAT=FILE; the formats are %s", part, strings.Join(formatNames(), ", "))
		case file == "-":
			return nil, fmt.Errorf("--report: %s: name a file; stdout is for the commands' output", part)
		}
		path := file
		if within != "" {
			if err := checkWithin(within, file); err != nil {
				return nil, fmt.Errorf("%s: tmnotes.report: %w", gitstate.ConfigFile, err)
			}
			file = filepath.Join(within, file)
		} else if path, err = filepath.Abs(file); err != nil {
			return nil, fmt.Errorf("--report: %s: %w", part, err)
		}
		if slices.ContainsFunc(reports, func(r runReport) bool { return r.file == path }) {
			return nil, fmt.Errorf("--report: two reports cannot be %s", file)
		}
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("--report: %s: folder %s does not exist", part, filepath.Dir(file))
		}
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return nil, fmt.Errorf("--report: %s: that is a folder; name a file", part)
		}
		reports = append(reports, runReport{path, within, reportFormats[i].write})
	}
	return reports, nil
}

// writeReports writes what --report names, and in GitHub Actions the summary of
// the step, whatever came of the run. What cannot be written is a warning: the run
// is over, and its exit code says what came of it.
func (x *chosen) writeReports(ctx context.Context) {
	u, env := x.u, x.u.env
	summary := env.Getenv("GITHUB_STEP_SUMMARY")
	if len(x.o.reports) == 0 && summary == "" {
		return
	}
	r, err := x.runReport(context.WithoutCancel(ctx))
	if err != nil {
		u.Warn(fmt.Sprintf("no report of the run: %v", err))
		return
	}
	for _, to := range x.o.reports {
		put := func(w io.Writer) error { return to.write(r, w) }
		if to.within == "" {
			err = writeFile(env, to.file, put)
		} else {
			err = writeWithin(to.within, to.file, put)
		}
		if err != nil {
			u.Warn(fmt.Sprintf("the report %s was not written: %v", to.file, err))
		}
	}
	if summary != "" {
		if err := appendSummary(summary, r); err != nil {
			u.Warn(fmt.Sprintf("the summary of the step (GITHUB_STEP_SUMMARY) was not written: %v", err))
		}
	}
}

// runReport is the report of the stacks of this run, that it is about.
func (x *chosen) runReport(ctx context.Context) (*report.Report, error) {
	remote := x.Route.Remote
	st, err := x.Store.State(ctx)
	if err != nil {
		return nil, err
	}
	opt := report.Options{Run: x.RunID, Remote: remote, Repository: query.RepositoryName(ctx, x.Store, x.Route.Code)}
	if remote != "" {
		opt.Fetched = x.Store.Remote(remote).LastFetch()
	}
	for _, path := range x.Order {
		r := x.Planned(path)
		opt.Stacks = append(opt.Stacks, report.Known{Path: path, ID: r.Stack.ID, Name: r.Stack.Name, Tags: r.Stack.Tags, Target: r.Target})
	}
	return report.Build(ctx, x.Store, st, opt)
}

// appendSummary adds the run to the summary of a step, of which there may be more
// than one run.
func appendSummary(file string, r *report.Report) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	left := report.SummaryLimit - int(info.Size()) - 1
	if left < 4096 {
		return fmt.Errorf("it is full: GitHub accepts %d bytes", report.SummaryLimit)
	}
	if info.Size() > 0 {
		if _, err := f.WriteString("\n"); err != nil {
			return err
		}
	}
	if err := r.WriteMarkdown(f, left); err != nil {
		return err
	}
	return f.Close()
}
