package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// runFlags are those of `terramate run` and `terramate script run` that are not
// about the selection.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-recursive", EnvVars: []string{"TM_ARG_RUN_NO_RECURSIVE"}, Usage: "only the stack in the working directory"},
		&cli.BoolFlag{Name: "continue-on-error", EnvVars: []string{"TM_ARG_RUN_CONTINUE_ON_ERROR"}, Usage: "accepted for Terramate's sake: it is the default, and dependents of a failed stack do not run"},
		&cli.BoolFlag{Name: "dry-run", EnvVars: []string{"TM_ARG_RUN_DRY_RUN"}, Usage: "plan the execution but do not execute it"},
		&cli.BoolFlag{Name: "reverse", EnvVars: []string{"TM_ARG_RUN_REVERSE"}, Usage: "reverse the order of execution"},
		settings.parallel.flag(),
		&cli.BoolFlag{Name: "X", Usage: "disable all safeguards"},
		&cli.StringSliceFlag{Name: "disable-safeguards", EnvVars: []string{"TM_DISABLE_SAFEGUARDS"}, Usage: "disable `SAFEGUARDS`: all, none, git, git-untracked, git-uncommitted, git-out-of-sync, outdated-code"},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Usage: "only the commands' own output, and errors"},
		settings.output.flag(),
		&cli.BoolFlag{Name: deprecatedSafeguards[0].flag, Hidden: true},
		&cli.BoolFlag{Name: deprecatedSafeguards[1].flag, Hidden: true},
		&cli.BoolFlag{Name: deprecatedSafeguards[2].flag, Hidden: true},
		&cli.BoolFlag{Name: deprecatedSafeguards[3].flag, Hidden: true},
	}
}

// commandFlags are those that `terramate run` has, and a script says itself.
func commandFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "eval", EnvVars: []string{"TM_ARG_RUN_EVAL"}, Usage: "evaluate the command's arguments as HCL strings"},
		&cli.BoolFlag{Name: "enable-sharing", EnvVars: []string{"TM_ARG_RUN_ENABLE_SHARING"}, Usage: "share stack outputs as stack inputs"},
		&cli.BoolFlag{Name: "mock-on-fail", EnvVars: []string{"TM_ARG_RUN_MOCK_ON_FAIL"}, Usage: "mock the shared outputs if their command fails"},
		&cli.BoolFlag{Name: "sync-deployment", EnvVars: []string{"TM_ARG_RUN_SYNC_DEPLOYMENT"}, Usage: "as in Terramate: the command is a deployment (--op deploy)", Hidden: true},
		&cli.BoolFlag{Name: "sync-drift-status", EnvVars: []string{"TM_ARG_RUN_SYNC_DRIFT_STATUS"}, Usage: "as in Terramate: the command looks for drift (--op drift)", Hidden: true},
	}
}

// executionFlags are tmnotes' own.
func executionFlags() []cli.Flag {
	return []cli.Flag{
		settings.op.flag(),
		&cli.BoolFlag{Name: "force", Usage: "run also what is already deployed at this commit (no older commit over a newer one: see --allow-rollback)"},
		&cli.BoolFlag{Name: "resume", Usage: "skip what succeeded at this commit, also for commands that are no deployment"},
		&cli.BoolFlag{Name: "allow-rollback", Usage: "deploy this commit also where a newer one is deployed"},
		&cli.BoolFlag{Name: "fail-fast", Usage: "start nothing further after the first failure"},
		settings.retry.flag(), settings.retryOn.flag(), settings.timeout.flag(), onChangeFlag(), runReportFlag(),
	}
}

func parseRun(c *cli.Context, env Env, s *gitstate.Store) (o runOptions, err error) {
	if o.op, err = opFlag(c); err != nil {
		return o, err
	}
	if o.sel, err = selection(c); err != nil {
		return o, err
	}
	if o.filter, err = parseStatusFilter(c); err != nil {
		return o, err
	}
	if o.safeguards, err = project.ParseSafeguards(c.Bool("X"), disabledSafeguards(c), env.Getenv); err != nil {
		return o, err
	}
	if o.exec, err = parseExecution(c, s); err != nil {
		return o, err
	}
	if o.waves, err = parseWaves(c, env, s); err != nil {
		return o, err
	}
	if o.planFile, err = parsePlanFile(c); err != nil {
		return o, err
	}
	if o.reports, err = parseRunReports(reportSetting(c, s)); err != nil {
		return o, err
	}
	if o.exec.Parallel, err = settings.parallel.number(c, s); err != nil {
		return o, err
	}
	if o.exec.Parallel < 0 {
		return o, fmt.Errorf("--parallel: %d is no number of stacks", o.exec.Parallel)
	}
	o.exec.FailFast, o.exec.DryRun = c.Bool("fail-fast"), c.Bool("dry-run")
	o.quiet, o.eval, o.share, o.mock = c.Bool("quiet"), c.Bool("eval"), c.Bool("enable-sharing"), c.Bool("mock-on-fail")
	if o.claims, err = parseClaims(c, s); err != nil {
		return o, err
	}
	if len(o.waves.filters) > 0 && o.claims.onClaimed == "skip" {
		return o, errors.New("--on-claimed skip leaves a stack to another job, and the next wave would start before that is done; use wait or fail with waves")
	}
	if o.output, err = parseOutput(c, s); err != nil {
		return o, err
	}
	o.force, o.resume, o.allowRollback = c.Bool("force"), c.Bool("resume"), c.Bool("allow-rollback")
	o.interval, err = settings.pushInterval.duration(c, s)
	return o, err
}

// parseExecution reads how one command is executed; exec has these, too.
func parseExecution(c *cli.Context, s *gitstate.Store) (x runner.Options, err error) {
	if x.Retries, err = settings.retry.number(c, s); err != nil {
		return x, err
	}
	if x.RetryOn, err = settings.retryOn.pattern(c, s); err != nil {
		return x, err
	}
	if x.Timeout, err = settings.timeout.duration(c, s); err != nil {
		return x, err
	}
	switch {
	case x.Retries < 0:
		return x, fmt.Errorf("--retry: %d is no number of tries", x.Retries)
	case x.RetryOn != nil && x.Retries == 0:
		return x, errors.New("--retry-on says when to try again; how often is missing: add --retry N")
	case x.Timeout < 0:
		return x, fmt.Errorf("--timeout: %v is no time to wait", x.Timeout)
	}
	return x, nil
}

func opFlag(c *cli.Context) (string, error) {
	op := c.String("op")
	for flag, is := range map[string]string{"sync-deployment": note.Deploy, "sync-drift-status": note.Drift} {
		if c.Bool(flag) {
			if op != "" && op != is {
				return "", fmt.Errorf("--%s means --op %s, and --op says %s", flag, is, op)
			}
			op = is
		}
	}
	if op == "" {
		return "", nil
	}
	for _, r := range op {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return "", fmt.Errorf("--op: %q is no name of an operation; use lower-case letters, digits, dots, - and _", op)
		}
	}
	return op, nil
}

func waveFlags() []cli.Flag {
	return flagsOf(settings.wave, settings.maxFailures, settings.soak, settings.gate)
}

func parseWaves(c *cli.Context, env Env, s *gitstate.Store) (w waves, err error) {
	w.wavesTyped, w.limitTyped = settings.wave.given(c), settings.maxFailures.given(c)
	var from string
	w.filters, from = settings.wave.list(c, env, s)
	for i, f := range w.filters {
		match, err := project.ParseFilter(f)
		if err != nil {
			return w, fmt.Errorf("%s: %w", from, err)
		}
		if j := slices.Index(w.filters[:i], f); j >= 0 {
			return w, fmt.Errorf("%s: %s is there twice; a stack is in the first wave that matches it", from, f)
		}
		if i > 0 && w.filters[i-1] == "*" {
			return w, fmt.Errorf("%s: no stack is left for %s after '*'; put '*' last", from, f)
		}
		w.match = append(w.match, match)
	}
	if w.soak, err = settings.soak.duration(c, s); err != nil {
		return w, err
	}
	if w.soak < 0 {
		return w, fmt.Errorf("--soak: %v is no time to wait", w.soak)
	}
	w.gate = settings.gate.text(c, s)
	for _, o := range []*setting{settings.soak, settings.gate} {
		if len(w.filters) == 0 && o.given(c) {
			return w, fmt.Errorf("--%s is for between waves; add them, as in --wave tag:canary --wave '*'", o.flagName())
		}
	}
	if w.limit, err = parseLimit(settings.maxFailures.text(c, s)); err != nil {
		return w, err
	}
	if w.limitTyped && c.Bool("fail-fast") {
		return w, errors.New("--fail-fast and --max-failures both say when to stop; give one of them")
	}
	return w, nil
}

func parseLimit(text string) (l failureLimit, err error) {
	if text == "" {
		return l, nil
	}
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || percent && n > 100 {
		return l, fmt.Errorf("--max-failures: %q is no number of stacks, and no percentage from 0%% to 100%%", text)
	}
	return failureLimit{true, n, percent}, nil
}

func claimFlags() []cli.Flag { return flagsOf(settings.claims, settings.onClaimed, settings.lease) }

func parseClaims(c *cli.Context, s *gitstate.Store) (o claimOptions, err error) {
	switch mode := settings.claims.text(c, s); mode {
	case "off":
		o.off = true
	case "auto":
	default:
		return o, fmt.Errorf("--claims: unknown mode %q; use auto or off", mode)
	}
	switch o.onClaimed = settings.onClaimed.text(c, s); o.onClaimed {
	case "wait", "skip", "fail":
	default:
		return o, fmt.Errorf("--on-claimed: %q is not known; use wait, skip or fail", o.onClaimed)
	}
	if o.lease, err = settings.lease.duration(c, s); err == nil && o.lease < gitstate.MinLease {
		err = fmt.Errorf("--lease: %v is too short to renew a claim in; use %v or more", o.lease, gitstate.MinLease)
	}
	return o, err
}

func legFlags() []cli.Flag {
	return []cli.Flag{
		settings.run.flag(),
		&cli.StringFlag{Name: "stacks-from", Usage: "run the stacks of a leg, the `FILE` of tmnotes matrix --out, and no others"},
		&cli.BoolFlag{Name: "wait", Usage: "with --stacks-from: wait for stacks of other legs that are still running (otherwise what comes after them is blocked)"},
		&cli.DurationFlag{Name: "wait-timeout", DefaultText: "none", Usage: "with --wait: at most for `DURATION`"},
	}
}

func pendingFlags() []cli.Flag {
	return []cli.Flag{
		settings.pending.flag(),
		&cli.BoolFlag{Name: "init", Usage: "with --pending: nothing is deployed yet, so everything is pending"},
	}
}

// listPending is the command that lists the stacks which are pending for the run
// that c is, and why.
func listPending(c *cli.Context) string {
	line := []string{"tmnotes list --pending --why"}
	if op, _ := opFlag(c); op != "" {
		line = append(line, "--op "+op)
	}
	for _, f := range slices.Concat(chdirFlags()[:1], selectionFlags(), statusFlags(), pendingFlags()[1:], targetFlags()) {
		name := f.Names()[0]
		if !c.IsSet(name) || c.Value(name) == false {
			continue
		}
		values := []string{fmt.Sprint(c.Value(name))}
		switch f.(type) {
		case *cli.BoolFlag:
			line = append(line, "--"+name)
			continue
		case *cli.StringSliceFlag:
			values = c.StringSlice(name)
		}
		for _, value := range values {
			line = append(line, "--"+name+" "+shellQuote(value))
		}
	}
	return strings.Join(line, " ")
}
