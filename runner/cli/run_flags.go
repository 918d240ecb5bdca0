package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
		&cli.IntFlag{Name: "parallel", Aliases: []string{"j"}, EnvVars: []string{"TM_ARG_RUN_PARALLEL"}, DefaultText: "1", Usage: "run at most `N` independent stacks at once (git config tmnotes.parallel)"},
		&cli.BoolFlag{Name: "X", Usage: "disable all safeguards"},
		&cli.StringSliceFlag{Name: "disable-safeguards", EnvVars: []string{"TM_DISABLE_SAFEGUARDS"}, Usage: "disable `SAFEGUARDS`: all, none, git, git-untracked, git-uncommitted, git-out-of-sync, outdated-code"},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Usage: "only the commands' own output, and errors"},
		outputFlag(),
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
		&cli.StringFlag{Name: "op", EnvVars: []string{"TMNOTES_OP"}, Usage: "what the command does: deploy, destroy, drift, or a `NAME` of its own (default: recognised from the command)"},
		&cli.BoolFlag{Name: "force", Usage: "run also what is already deployed at this commit (no older commit over a newer one: see --allow-rollback)"},
		&cli.BoolFlag{Name: "resume", Usage: "skip what succeeded at this commit, also for commands that are no deployment"},
		&cli.BoolFlag{Name: "allow-rollback", Usage: "deploy this commit also where a newer one is deployed"},
		&cli.BoolFlag{Name: "fail-fast", Usage: "start nothing further after the first failure"},
		&cli.IntFlag{Name: "retry", EnvVars: []string{"TMNOTES_RETRY"}, Usage: "try a failing stack `N` times more, with growing pauses (git config tmnotes.retry)"},
		&cli.StringFlag{Name: "retry-on", EnvVars: []string{"TMNOTES_RETRY_ON"}, Usage: "only where a line of the output matches `REGEXP` (git config tmnotes.retryOn)"},
		&cli.DurationFlag{Name: "timeout", EnvVars: []string{"TMNOTES_TIMEOUT"}, DefaultText: "none", Usage: "interrupt a stack that takes longer than `DURATION` (git config tmnotes.timeout)"},
		onChangeFlag(), runReportFlag(),
	}
}

func parseRun(c *cli.Context, env Env, s *gitstate.Store) (o runOptions, err error) {
	if o.op, err = opFlag(c); err != nil {
		return o, err
	}
	if o.sel, o.filter, err = parseStacks(c); err != nil {
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
	if o.exec.Parallel, err = intSetting(c, s, "parallel", "parallel", 1); err != nil {
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
	o.interval, err = durationSetting(c, s, "push-interval", "pushInterval", 10*time.Second)
	return o, err
}

// parseExecution reads how one command is executed; exec has these, too.
func parseExecution(c *cli.Context, s *gitstate.Store) (x runner.Options, err error) {
	if x.Retries, err = intSetting(c, s, "retry", "retry", 0); err != nil {
		return x, err
	}
	if x.RetryOn, err = regexpSetting(c, s, "retry-on", "retryOn"); err != nil {
		return x, err
	}
	if x.Timeout, err = durationSetting(c, s, "timeout", "timeout", 0); err != nil {
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
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "wave", Usage: "run the stacks that match `FILTER` (tag:EXPR, /path/**, '*' for the rest) before those of the next --wave (TMNOTES_WAVES, git config tmnotes.wave)"},
		&cli.StringFlag{Name: "max-failures", EnvVars: []string{"TMNOTES_MAX_FAILURES"}, Usage: "start nothing further once more than `N` stacks of the run, or P% of a wave's, have failed (git config tmnotes.maxFailures)"},
		&cli.DurationFlag{Name: "soak", EnvVars: []string{"TMNOTES_SOAK"}, DefaultText: "none", Usage: "wait for `DURATION` after a wave (git config tmnotes.soak)"},
		&cli.StringFlag{Name: "gate", EnvVars: []string{"TMNOTES_GATE"}, Usage: "after a wave, and its --soak, run `CMD` in sh with the wave's records on stdin; where it fails nothing further starts (git config tmnotes.gate)"},
	}
}

func parseWaves(c *cli.Context, env Env, s *gitstate.Store) (w waves, err error) {
	w.wavesTyped, w.limitTyped = c.IsSet("wave"), c.IsSet("max-failures")
	from := "--wave"
	switch typed := env.Getenv("TMNOTES_WAVES"); {
	case w.wavesTyped:
		w.filters = c.StringSlice("wave")
	case typed != "":
		w.filters, from = strings.Fields(typed), "TMNOTES_WAVES"
	default:
		w.filters, from = s.ConfigAll("wave"), s.ConfigName("wave")
	}
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
	if w.soak, err = durationSetting(c, s, "soak", "soak", 0); err != nil {
		return w, err
	}
	if w.soak < 0 {
		return w, fmt.Errorf("--soak: %v is no time to wait", w.soak)
	}
	w.gate = setting(c, s, "gate", "gate", "")
	for _, flag := range []string{"soak", "gate"} {
		if len(w.filters) == 0 && c.IsSet(flag) {
			return w, fmt.Errorf("--%s is for between waves; add them, as in --wave tag:canary --wave '*'", flag)
		}
	}
	if w.limit, err = parseLimit(setting(c, s, "max-failures", "maxFailures", "")); err != nil {
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

func claimFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "claims", EnvVars: []string{"TMNOTES_CLAIMS"}, DefaultText: "auto", Usage: "`MODE` auto: claim a stack on the remote before it is deployed; off: do not (git config tmnotes.claims)"},
		&cli.StringFlag{Name: "on-claimed", EnvVars: []string{"TMNOTES_ON_CLAIMED"}, DefaultText: "wait", Usage: "`WHAT` to do about a stack that another job has claimed: wait, skip or fail (git config tmnotes.onClaimed)"},
		&cli.DurationFlag{Name: "lease", EnvVars: []string{"TMNOTES_LEASE"}, DefaultText: "2m", Usage: "`DURATION` after which others take over a claim that is not renewed (git config tmnotes.lease)"},
	}
}

func parseClaims(c *cli.Context, s *gitstate.Store) (o claimOptions, err error) {
	switch mode := setting(c, s, "claims", "claims", "auto"); mode {
	case "off":
		o.off = true
	case "auto":
	default:
		return o, fmt.Errorf("--claims: unknown mode %q; use auto or off", mode)
	}
	switch o.onClaimed = setting(c, s, "on-claimed", "onClaimed", "wait"); o.onClaimed {
	case "wait", "skip", "fail":
	default:
		return o, fmt.Errorf("--on-claimed: %q is not known; use wait, skip or fail", o.onClaimed)
	}
	if o.lease, err = durationSetting(c, s, "lease", "lease", 2*time.Minute); err == nil && o.lease < gitstate.MinLease {
		err = fmt.Errorf("--lease: %v is too short to renew a claim in; use %v or more", o.lease, gitstate.MinLease)
	}
	return o, err
}

func legFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "run", EnvVars: []string{"TMNOTES_RUN"}, Usage: "take part in the run `ID`"},
		&cli.StringFlag{Name: "stacks-from", Usage: "run the stacks of a leg, the `FILE` of tmnotes matrix --out, and no others"},
		&cli.BoolFlag{Name: "wait", Usage: "with --stacks-from: wait for stacks of other legs that are still running (otherwise what comes after them is blocked)"},
		&cli.DurationFlag{Name: "wait-timeout", DefaultText: "none", Usage: "with --wait: at most for `DURATION`"},
	}
}

func pendingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "pending", EnvVars: []string{"TMNOTES_PENDING"}, Usage: "filter stacks by what differs from what is deployed, whenever it changed or failed"},
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
