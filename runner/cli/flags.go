package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Flags are Terramate's where Terramate has them, with their short forms and
// TM_ARG_* variables (ui/tui/cli_spec.go at v0.17.2). tmnotes' own have
// TMNOTES_* variables and git configuration tmnotes.*; see setting.

func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "ref", EnvVars: []string{"TMNOTES_REF"}, Usage: "notes `REF` (git config tmnotes.ref; default " + gitstate.DefaultRef + ")"},
		&cli.StringFlag{Name: "remote", EnvVars: []string{"TMNOTES_REMOTE"}, Usage: "`NAME` of the remote to sync with (git config tmnotes.remote; default: the project's)"},
		&cli.DurationFlag{Name: "stale-after", EnvVars: []string{"TMNOTES_STALE_AFTER"}, DefaultText: "6h", Usage: "a running record older than this `DURATION` is an interrupted one (git config tmnotes.staleAfter)"},
		&cli.DurationFlag{Name: "network-timeout", EnvVars: []string{"TMNOTES_NETWORK_TIMEOUT"}, DefaultText: "2m", Usage: "wait for the remote for at most `DURATION`: each fetch, each push, and all that is sent at the end of a run (git config tmnotes.networkTimeout)"},
	}
}

func syncFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "sync", EnvVars: []string{"TMNOTES_SYNC"}, DefaultText: "auto", Usage: "`MODE` auto: fetch and push for deploy and destroy where there is a remote; off: never; require: always (git config tmnotes.sync)"},
		&cli.DurationFlag{Name: "push-interval", EnvVars: []string{"TMNOTES_PUSH_INTERVAL"}, DefaultText: "10s", Usage: "push results every `DURATION` while stacks finish (git config tmnotes.pushInterval)"},
	}
}

func chdirFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "chdir", Aliases: []string{"C"}, EnvVars: []string{"TM_ARG_CHDIR"}, Usage: "set the working `DIR`ectory"},
		&cli.StringFlag{Name: "log-level", EnvVars: []string{"TM_ARG_LOG_LEVEL"}, Hidden: true},
		&cli.StringFlag{Name: "log-fmt", EnvVars: []string{"TM_ARG_LOG_FMT"}, Hidden: true},
		&cli.StringFlag{Name: "log-destination", EnvVars: []string{"TM_ARG_LOG_DESTINATION"}, Hidden: true},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Hidden: true}, // of what tmnotes has no counterpart for
	}
}

func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "target", EnvVars: []string{"TM_ARG_RUN_TARGET", "TMNOTES_TARGET"}, Usage: "deployment `TARGET`: state is kept apart for each"},
	}
}

func selectionFlags() []cli.Flag {
	b := func(name, usage string) cli.Flag { return &cli.BoolFlag{Name: name, Usage: usage} }
	return []cli.Flag{
		&cli.BoolFlag{Name: "changed", Aliases: []string{"c"}, EnvVars: []string{"TM_ARG_CHANGED"}, Usage: "filter stacks by changes made in git"},
		&cli.StringFlag{Name: "git-change-base", Aliases: []string{"B"}, EnvVars: []string{"TM_ARG_GIT_CHANGE_BASE"}, Usage: "git `REV`ision to compute changes from"},
		&cli.StringSliceFlag{Name: "tags", EnvVars: []string{"TM_ARG_TAGS"}, Usage: "filter stacks by `TAGS` (a:b is both, a,b is either)"},
		&cli.StringSliceFlag{Name: "no-tags", EnvVars: []string{"TM_ARG_NO_TAGS"}, Usage: "filter stacks by `TAGS` not being set"},
		&cli.StringSliceFlag{Name: "enable-change-detection", Usage: "git-untracked, git-uncommitted"},
		&cli.StringSliceFlag{Name: "disable-change-detection", Usage: "git-untracked, git-uncommitted"},
		b("include-all-dependencies", "add all stacks that the selected ones depend on"),
		b("include-direct-dependencies", "add the stacks that the selected ones directly depend on"),
		b("only-all-dependencies", "instead, all stacks that the selected ones depend on"),
		b("only-direct-dependencies", "instead, the stacks that the selected ones directly depend on"),
		b("exclude-all-dependencies", "without all stacks that the selected ones depend on"),
		b("include-all-dependents", "add all stacks that depend on the selected ones"),
		b("include-direct-dependents", "add the stacks that directly depend on the selected ones"),
		b("only-all-dependents", "instead, all stacks that depend on the selected ones"),
		b("only-direct-dependents", "instead, the stacks that directly depend on the selected ones"),
		b("exclude-all-dependents", "without all stacks that depend on the selected ones"),
		&cli.BoolFlag{Name: "include-output-dependencies", Hidden: true},
		&cli.BoolFlag{Name: "only-output-dependencies", Hidden: true},
	}
}

func statusFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "status", Usage: "filter by the stack's own `STATUS`: ok, healthy, failed (also blocked, canceled and interrupted ones), blocked, canceled, interrupted, drifted, unhealthy, running, never"},
		&cli.StringFlag{Name: "deployment-status", Usage: "filter by the `STATUS` of the latest deployment: ok, failed, canceled, blocked, interrupted, running, pending, triggered, unhealthy, never"},
		&cli.StringFlag{Name: "drift-status", Usage: "filter by the `STATUS` of the latest drift run: ok, drifted, failed, running, unhealthy, unknown"},
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT` of the output: text or json"}
}

// parseStacks reads which stacks are meant.
func parseStacks(c *cli.Context) (sel project.Selection, filter query.StatusFilter, err error) {
	if sel, err = selection(c); err == nil {
		filter, err = parseStatusFilter(c)
	}
	return sel, filter, err
}

func selection(c *cli.Context) (project.Selection, error) {
	sel := project.Selection{
		Changed: c.Bool("changed"), ChangeBase: c.String("git-change-base"),
		Tags: nonEmpty(c.StringSlice("tags")), NoTags: splitCommas(c.StringSlice("no-tags")),
		EnableChangeDetection: splitCommas(c.StringSlice("enable-change-detection")), DisableChangeDetection: splitCommas(c.StringSlice("disable-change-detection")),
		NoRecursive: c.Bool("no-recursive"), Target: c.String("target"),
		Dependencies: project.DependencyFilters{
			//lint:ignore SA1019 Terramate deprecates the two flags and takes them all the same
			IncludeOutputDependencies: c.Bool("include-output-dependencies"),
			//lint:ignore SA1019 see above
			OnlyOutputDependencies: c.Bool("only-output-dependencies"),
			IncludeAllDependencies: c.Bool("include-all-dependencies"), IncludeDirectDependencies: c.Bool("include-direct-dependencies"),
			OnlyAllDependencies: c.Bool("only-all-dependencies"), OnlyDirectDependencies: c.Bool("only-direct-dependencies"),
			ExcludeAllDependencies: c.Bool("exclude-all-dependencies"),
			IncludeAllDependents:   c.Bool("include-all-dependents"), IncludeDirectDependents: c.Bool("include-direct-dependents"),
			OnlyAllDependents: c.Bool("only-all-dependents"), OnlyDirectDependents: c.Bool("only-direct-dependents"),
			ExcludeAllDependents: c.Bool("exclude-all-dependents"),
		},
	}
	for flag, modes := range map[string][]string{"--enable-change-detection": sel.EnableChangeDetection, "--disable-change-detection": sel.DisableChangeDetection} {
		for _, m := range modes {
			if m != "git-untracked" && m != "git-uncommitted" {
				return sel, fmt.Errorf("%s: unknown mode %q; use git-untracked or git-uncommitted", flag, m)
			}
		}
	}
	return sel, project.ValidTarget(sel.Target)
}

// deprecatedSafeguards are flags that terramate takes from who wrote a pipeline before it had
// --disable-safeguards; project.ParseSafeguards has their variables.
var deprecatedSafeguards = []struct{ flag, keyword string }{
	{"disable-check-gen-code", "outdated-code"},
	{"disable-check-git-remote", "git-out-of-sync"},
	{"disable-check-git-untracked", "git-untracked"},
	{"disable-check-git-uncommitted", "git-uncommitted"},
}

// disabledSafeguards are the keywords of the safeguards that flags turn off.
func disabledSafeguards(c *cli.Context) []string {
	disabled := nonEmpty(c.StringSlice("disable-safeguards"))
	for _, old := range deprecatedSafeguards {
		if c.Bool(old.flag) {
			disabled = append(disabled, old.keyword)
		}
	}
	return disabled
}

func nonEmpty(in []string) (out []string) {
	for _, s := range in {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func splitCommas(in []string) (out []string) {
	for _, s := range in {
		out = append(out, nonEmpty(strings.Split(s, ","))...)
	}
	return out
}

func parseStatusFilter(c *cli.Context) (query.StatusFilter, error) {
	f := query.StatusFilter{Stack: c.String("status"), Deployment: c.String("deployment-status"), Drift: c.String("drift-status")}
	for flag, value := range map[string]string{"status": f.Stack, "deployment-status": f.Deployment, "drift-status": f.Drift} {
		if value == "" {
			continue
		}
		words := query.FilterWords[flag]
		if flag == "status" && c.Command.Name == "status" {
			words = append(slices.Clone(words), string(note.Orphaned))
		}
		if flag == "status" && value == string(note.Orphaned) && c.Command.Name != "status" {
			return f, fmt.Errorf("--status orphaned: what is gone from HEAD is only listed by `tmnotes status`")
		}
		if !slices.Contains(words, value) {
			return f, fmt.Errorf("--%s: unknown status %q%s; use one of %s", flag, value, query.DidYouMean(value, words, "%s"), strings.Join(words, ", "))
		}
	}
	return f, nil
}

// setting is a value from the flag, its TMNOTES_* variable, git's
// configuration, that of the repository (gitstate.ConfigFile), or the default, in
// this order. The keys are in settings.go.
func setting(c *cli.Context, s *gitstate.Store, flag, key, def string) string {
	if c.IsSet(flag) {
		return c.String(flag)
	}
	if v := s.Config(key); v != "" {
		return v
	}
	return def
}

func durationSetting(c *cli.Context, s *gitstate.Store, flag, key string, def time.Duration) (time.Duration, error) {
	if c.IsSet(flag) {
		return c.Duration(flag), nil
	}
	v := s.Config(key)
	if v == "" {
		return def, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no duration; write it like 90s or 5m", s.ConfigName(key), v)
	}
	return d, nil
}

func intSetting(c *cli.Context, s *gitstate.Store, flag, key string, def int) (int, error) {
	if c.IsSet(flag) {
		return c.Int(flag), nil
	}
	v := s.Config(key)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", s.ConfigName(key), v)
	}
	return n, nil
}

func regexpSetting(c *cli.Context, s *gitstate.Store, flag, key string) (*regexp.Regexp, error) {
	v := setting(c, s, flag, key, "")
	if v == "" {
		return nil, nil
	}
	re, err := regexp.Compile(v)
	if err != nil {
		if !c.IsSet(flag) {
			return nil, fmt.Errorf("%s: %w", s.ConfigName(key), err)
		}
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return re, nil
}

func checkFormat(c *cli.Context) error {
	switch f := c.String("format"); f {
	case "text", "json":
		return nil
	default:
		return fmt.Errorf("--format: unknown format %q; use text or json", f)
	}
}

func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("unexpected argument %q; `tmnotes %s --help` shows the usage", c.Args().First(), c.Command.Name)
	}
	return nil
}
