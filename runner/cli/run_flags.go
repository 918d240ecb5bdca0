package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
)

// runFlags are those of `terramate run` and `terramate script run` that are not
// about the selection.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-recursive", EnvVars: []string{"TM_ARG_RUN_NO_RECURSIVE"}, Usage: "only the stack in the working directory"},
		&cli.BoolFlag{Name: "continue-on-error", EnvVars: []string{"TM_ARG_RUN_CONTINUE_ON_ERROR"}, Usage: "no effect: tmnotes always continues with independent stacks"},
		&cli.BoolFlag{Name: "dry-run", EnvVars: []string{"TM_ARG_RUN_DRY_RUN"}, Usage: "show what would run, and run nothing"},
		&cli.BoolFlag{Name: "reverse", EnvVars: []string{"TM_ARG_RUN_REVERSE"}, Usage: "run in reverse order"},
		settings.parallel.flag(),
		&cli.BoolFlag{Name: "X", Usage: "disable all safeguards"},
		&cli.StringSliceFlag{Name: "disable-safeguards", EnvVars: []string{"TM_DISABLE_SAFEGUARDS"}, Usage: "disable `SAFEGUARDS`: all, none, git, git-untracked, git-uncommitted, git-out-of-sync, outdated-code"},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Usage: "print only the commands' output, and errors"},
		settings.output.flag(), settings.keepLogs.flag(),
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
		&cli.BoolFlag{Name: "mock-on-fail", EnvVars: []string{"TM_ARG_RUN_MOCK_ON_FAIL"}, Usage: "use mock values for shared outputs if their command fails"},
		&cli.BoolFlag{Name: "sync-deployment", EnvVars: []string{"TM_ARG_RUN_SYNC_DEPLOYMENT"}, Usage: "as in Terramate: the command is a deployment (--op deploy)", Hidden: true},
		&cli.BoolFlag{Name: "sync-drift-status", EnvVars: []string{"TM_ARG_RUN_SYNC_DRIFT_STATUS"}, Usage: "as in Terramate: the command looks for drift (--op drift)", Hidden: true},
		&cli.BoolFlag{Name: "sync-preview", EnvVars: []string{"TM_ARG_RUN_SYNC_PREVIEW"}, Usage: "as in Terramate: the command plans a change (--op preview)", Hidden: true},
	}
}

// executionFlags are tmnotes' own.
func executionFlags() []cli.Flag {
	return []cli.Flag{
		settings.op.flag(),
		&cli.BoolFlag{Name: "force", Usage: "also run stacks that are up to date"},
		&cli.BoolFlag{Name: "resume", Usage: "skip stacks where this operation succeeded at this commit, deployment or not"},
		&cli.BoolFlag{Name: "allow-rollback", Usage: "deploy this commit even where a newer one is deployed"},
		breakHoldFlag(),
		&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT` of what is printed: text, or json (events, one a line: tmnotes help events)"},
		&cli.BoolFlag{Name: "respect-order", Usage: "block the dependents of a failed stack even if the command changes nothing"},
		&cli.BoolFlag{Name: "fail-fast", Usage: "start no more stacks after the first failure"},
		settings.retry.flag(), settings.retryOn.flag(), settings.timeout.flag(), settings.maxDestroy.flag(), onChangeFlag(), runReportFlag(),
	}
}

func breakHoldFlag() cli.Flag {
	return &cli.StringFlag{Name: "break-hold", Usage: "run stacks although somebody holds them, and record `REASON`"}
}

func breakHold(c *cli.Context) (reason string, err error) {
	if reason = strings.TrimSpace(c.String("break-hold")); reason == "" && c.IsSet("break-hold") {
		err = errors.New("--break-hold needs a reason, as in: --break-hold 'restoring the service'")
	}
	return reason, err
}

func parseRun(c *cli.Context, env Env, s *gitstate.Store, command []string) (o runOptions, err error) {
	o.Command = command
	leg, err := readLeg(c, env, command)
	if err != nil {
		return o, err
	}
	if err := o.parseSelection(c, env); err != nil {
		return o, err
	}
	if err := o.parseExecution(c, env, s); err != nil {
		return o, err
	}
	o.quiet, o.eval, o.share, o.mock = c.Bool("quiet"), c.Bool("eval"), c.Bool("enable-sharing"), c.Bool("mock-on-fail")
	if o.planFile, err = parsePlanFile(c); err != nil {
		return o, err
	}
	if o.issues, err = parseIssues(c, s); err != nil {
		return o, err
	}
	if o.maxDestroy, err = parseMaxDestroy(c, s); err != nil {
		return o, err
	}
	if o.reports, err = parseRunReports(reportSetting(c, s)); err != nil {
		return o, err
	}
	o.events = c.String("format") == "json"
	if o.output, err = parseOutput(c, s); err != nil {
		return o, err
	}
	if o.keepLogs, err = parseKeepLogs(c, s); err != nil {
		return o, err
	}
	o.Sync = syncSetting(c, s)
	if o.Interval, err = settings.pushInterval.duration(c, s); err != nil {
		return o, err
	}
	o.Leg, o.Wait, o.WaitTimeout = leg, c.Bool("wait"), c.Duration("wait-timeout")
	o.Run, err = runOf(c, env, s, leg)
	return o, err
}

// parseSelection reads which stacks are asked for.
func (o *runOptions) parseSelection(c *cli.Context, env Env) (err error) {
	if o.Op, err = opFlag(c); err != nil {
		return err
	}
	if o.Select, err = selection(c); err != nil {
		return err
	}
	if o.Filter, err = parseStatusFilter(c); err != nil {
		return err
	}
	if o.Revisit, err = parseRevisit(c, o.Op); err != nil {
		return err
	}
	if o.Safeguards, err = project.ParseSafeguards(c.Bool("X"), disabledSafeguards(c), env.Getenv); err != nil {
		return err
	}
	o.Pending, o.Init = c.Bool("pending"), c.Bool("init")
	o.Targeted = o.Filter.Set() || c.Bool("sync-deployment") || c.Bool("sync-drift-status") || c.Bool("sync-preview")
	o.Force, o.Resume, o.Rollback, o.Reverse = c.Bool("force"), c.Bool("resume"), c.Bool("allow-rollback"), c.Bool("reverse")
	o.RespectOrder = c.Bool("respect-order")
	if o.BreakHold, err = breakHold(c); err != nil {
		return err
	}
	if o.Pending && o.Force {
		return errPendingForce
	}
	return nil
}

// parseExecution reads how they are executed.
func (o *runOptions) parseExecution(c *cli.Context, env Env, s *gitstate.Store) (err error) {
	if o.Exec, err = parseExecution(c, s); err != nil {
		return err
	}
	if o.Waves, err = parseWaves(c, env, s); err != nil {
		return err
	}
	if o.Exec.Parallel, err = settings.parallel.number(c, s); err != nil {
		return err
	}
	if o.Exec.Parallel < 0 {
		return fmt.Errorf("--parallel must be 0 or more, not %d", o.Exec.Parallel)
	}
	o.Exec.FailFast, o.Exec.DryRun = c.Bool("fail-fast"), c.Bool("dry-run")
	if o.Claims, err = parseClaims(c, s); err != nil {
		return err
	}
	if len(o.Waves.Filters) > 0 && o.Claims.OnClaimed == "skip" {
		return errors.New("--on-locked skip leaves a stack to another job, and the next wave would start before that one ends; use wait or fail with waves")
	}
	return nil
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
		return x, fmt.Errorf("--retry must be 0 or more, not %d", x.Retries)
	case x.RetryOn != nil && x.Retries == 0:
		return x, errors.New("--retry-on says when to try again; how often is missing: add --retry N")
	case x.Timeout < 0:
		return x, fmt.Errorf("--timeout must be 0 or more, not %v", x.Timeout)
	}
	return x, nil
}

// previewOp is the operation of --sync-preview, as of what tmnotes cloud records.
const previewOp = "preview"

func opFlag(c *cli.Context) (string, error) {
	op := c.String("op")
	for flag, is := range map[string]string{"sync-deployment": note.Deploy, "sync-drift-status": note.Drift, "sync-preview": previewOp} {
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
			return "", fmt.Errorf("--op: %q is not a name for an operation; use lower-case letters, digits, dots, - and _", op)
		}
	}
	return op, nil
}

func waveFlags() []cli.Flag {
	return flagsOf(settings.wave, settings.maxFailures, settings.soak, settings.gate)
}

func parseWaves(c *cli.Context, env Env, s *gitstate.Store) (w deploy.Waves, err error) {
	w.WavesTyped, w.LimitTyped = settings.wave.given(c), settings.maxFailures.given(c)
	var from string
	w.Filters, from = settings.wave.list(c, env, s)
	for i, f := range w.Filters {
		match, err := project.ParseFilter(f)
		if err != nil {
			return w, fmt.Errorf("%s: %w", from, err)
		}
		if j := slices.Index(w.Filters[:i], f); j >= 0 {
			return w, fmt.Errorf("%s: %s is there twice; a stack is in the first wave that matches it", from, f)
		}
		if i > 0 && w.Filters[i-1] == "*" {
			return w, fmt.Errorf("%s: no stack is left for %s after '*'; put '*' last", from, f)
		}
		w.Match = append(w.Match, match)
	}
	if w.Soak, err = settings.soak.duration(c, s); err != nil {
		return w, err
	}
	if w.Soak < 0 {
		return w, fmt.Errorf("--soak must be 0 or more, not %v", w.Soak)
	}
	w.Gate = settings.gate.text(c, s)
	for _, o := range []*setting{settings.soak, settings.gate} {
		if len(w.Filters) == 0 && o.given(c) {
			return w, fmt.Errorf("--%s is for between waves; add them, as in --wave tag:canary --wave '*'", o.flagName())
		}
	}
	if w.Limit, err = deploy.ParseLimit(settings.maxFailures.text(c, s)); err != nil {
		return w, err
	}
	if w.LimitTyped && c.Bool("fail-fast") {
		return w, errors.New("--fail-fast and --max-failures both say when to stop; give one of them")
	}
	return w, nil
}

func claimFlags() []cli.Flag { return flagsOf(settings.locks, settings.onLocked, settings.lease) }

func parseClaims(c *cli.Context, s *gitstate.Store) (o deploy.ClaimOptions, err error) {
	switch mode := settings.locks.text(c, s); mode {
	case "off":
		o.Off = true
	case "auto":
	default:
		return o, fmt.Errorf("%s: unknown mode %q; use auto or off", settings.locks.origin(c, s), mode)
	}
	switch o.OnClaimed = settings.onLocked.text(c, s); o.OnClaimed {
	case "wait", "skip", "fail":
	default:
		return o, fmt.Errorf("%s: %q is not known; use wait, skip or fail", settings.onLocked.origin(c, s), o.OnClaimed)
	}
	if o.Lease, err = settings.lease.duration(c, s); err == nil && o.Lease < gitstate.MinLease {
		err = fmt.Errorf("--lease: %v is too short to renew a lock in; use %v or more", o.Lease, gitstate.MinLease)
	}
	return o, err
}

func legFlags() []cli.Flag {
	return []cli.Flag{
		settings.run.flag(),
		&cli.StringFlag{Name: "stacks-from", Usage: "run exactly the stacks of a leg, a `FILE` of tmnotes matrix --out"},
		&cli.BoolFlag{Name: "wait", Usage: "with --stacks-from, wait for stacks of other legs that are still running"},
		&cli.DurationFlag{Name: "wait-timeout", DefaultText: "none", Usage: "with --wait, wait at most `DURATION`"},
	}
}

func pendingFlags() []cli.Flag {
	return []cli.Flag{
		settings.pending.flag(),
		&cli.BoolFlag{Name: "init", Usage: "with --pending, take every stack as never deployed"},
	}
}

// revisitFlags are of drift runs alone.
func revisitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "oldest", DefaultText: "all", Usage: "drift runs: only the `N` stacks that were looked at longest ago, or never"},
		&cli.DurationFlag{Name: "min-interval", DefaultText: "none", Usage: "drift runs: only stacks that were not looked at within `DURATION`"},
	}
}

func parseRevisit(c *cli.Context, op string) (deploy.Revisit, error) {
	r := deploy.Revisit{Oldest: c.Int("oldest"), MinInterval: c.Duration("min-interval")}
	switch {
	case c.IsSet("oldest") && r.Oldest < 1:
		return r, fmt.Errorf("--oldest must be 1 or more, not %d", r.Oldest)
	case c.IsSet("min-interval") && r.MinInterval <= 0:
		return r, fmt.Errorf("--min-interval must be more than 0, not %v", r.MinInterval)
	case r != deploy.Revisit{} && op != "" && op != note.Drift:
		return r, deploy.NoDrift(op)
	}
	return r, nil
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

var errPendingForce = errors.New("--pending runs what is not deployed, --force what is; leave one out")

// readLeg reads --stacks-from, and takes from it what the flags of the matrix said.
// Nothing that stands in it is believed before it was held against the commit
// and the project: see at, pick and same.
//
// A command that is known to change nothing, terraform init, is not what the
// matrix announced, but may be what that needs on a new machine: it runs in the leg's stacks
// as a run of its own, and asks nobody.
func readLeg(c *cli.Context, env Env, shown []string) (*deploy.Leg, error) {
	file := c.String("stacks-from")
	if file == "" {
		if c.Bool("wait") || c.IsSet("wait-timeout") {
			return nil, errors.New("--wait is for the stacks of other legs; it goes with --stacks-from")
		}
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--stacks-from: %w; `tmnotes matrix --out DIR` makes the files", err)
	}
	var l deploy.Leg
	var form struct {
		Version int    `json:"version"`
		MadeBy  string `json:"made_by"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is not a leg of tmnotes matrix: %w", file, err)
	}
	if form.Version != deploy.LegVersion {
		return nil, fmt.Errorf("--stacks-from: %s was made by another version of tmnotes (%s); use the same one for the matrix and its legs", file, cmp.Or(form.MadeBy, "unknown"))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is not a leg of tmnotes matrix: %w", file, err)
	}
	l.File = file
	if err := l.Check(); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is not a leg of tmnotes matrix: %w", file, err)
	}
	if c.Duration("wait-timeout") < 0 {
		return nil, fmt.Errorf("--wait-timeout must be 0 or more, not %v", c.Duration("wait-timeout"))
	}
	for _, f := range slices.Concat(selectionFlags(), statusFlags(), pendingFlags(), revisitFlags(), runFlags()[:1]) {
		name := f.Names()[0]
		if c.IsSet(name) && !inEnvironment(f, env) {
			return nil, fmt.Errorf("--%s: %s already says which stacks run; give the flag to tmnotes matrix", name, file)
		}
	}
	if t := c.String("target"); t != "" && t != l.Target {
		return nil, fmt.Errorf("--target %s: %s was made for %s; give it to tmnotes matrix", t, file, cmp.Or(l.Target, "no target"))
	}
	if c.Bool("reverse") && !l.Reverse {
		return nil, fmt.Errorf("--reverse: the order of %s is not reversed; give it to tmnotes matrix", file)
	}
	l.Anew = c.Bool("force")
	for flag, set := range map[string]bool{"reverse": l.Reverse, "allow-rollback": l.Late, "force": l.Force} {
		if set {
			if err := c.Set(flag, "true"); err != nil {
				return nil, err
			}
		}
	}
	if l.Break != "" {
		if err := c.Set("break-hold", l.Break); err != nil {
			return nil, err
		}
	}
	l.Aside = command.Harmless(shown, env.Environ) && command.Recognise(shown, env.Environ, c.String("op")).Name != l.Stacks[0].Op
	return &l, c.Set("target", l.Target)
}

// inEnvironment reports whether a flag's value may have come from a variable, that is
// meant for all jobs of a pipeline.
func inEnvironment(f cli.Flag, env Env) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && slices.ContainsFunc(d.GetEnvVars(), func(name string) bool { return env.Getenv(name) != "" })
}

// runOf is the run that the process takes part in: that of the leg, --run or
// TMNOTES_RUN, or a new one.
func runOf(c *cli.Context, env Env, s *gitstate.Store, l *deploy.Leg) (string, error) {
	id, from := c.String("run"), "--run"
	if id == env.Getenv("TMNOTES_RUN") {
		from = "TMNOTES_RUN"
	}
	if note.IsShortRun(id) { // as it is shown, of a run that goes on
		var err error
		if id, err = wholeRun(s, id); err != nil {
			return "", err
		}
	}
	switch {
	case id != "" && !command.ValidRun(id):
		return "", fmt.Errorf("%s=%q is not the id of a run; leave it out, or take one from `tmnotes log`", from, id)
	case l != nil && l.Aside:
		return s.NewRun(), nil
	case l != nil && id != "" && id != l.Run:
		return "", fmt.Errorf("%s=%s: %s is of the run %s", from, id, l.File, l.Run)
	case l != nil:
		return l.Run, nil
	case id != "":
		return id, nil
	}
	return s.NewRun(), nil
}
