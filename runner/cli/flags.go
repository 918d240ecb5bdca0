package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Flags are Terramate's where Terramate has them, with their short forms and
// TM_ARG_* variables (ui/tui/cli_spec.go at v0.17.2). tmnotes' own that can be
// configured are in settings.

func storeFlags() []cli.Flag {
	return flagsOf(settings.ref, settings.remote, settings.staleAfter, settings.networkTimeout,
		settings.requireSigned, settings.allowedSigners, settings.signRecords)
}

func syncFlags() []cli.Flag { return flagsOf(settings.sync, settings.pushInterval) }

func chdirFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "chdir", Aliases: []string{"C"}, EnvVars: []string{"TM_ARG_CHDIR"}, Usage: "work in `DIR`"},
		&cli.StringFlag{Name: "log-level", EnvVars: []string{"TM_ARG_LOG_LEVEL"}, Hidden: true},
		&cli.StringFlag{Name: "log-fmt", EnvVars: []string{"TM_ARG_LOG_FMT"}, Hidden: true},
		&cli.StringFlag{Name: "log-destination", EnvVars: []string{"TM_ARG_LOG_DESTINATION"}, Hidden: true},
	}
}

func targetFlags() []cli.Flag { return flagsOf(settings.target) }

func selectionFlags() []cli.Flag {
	b := func(name, usage string) cli.Flag { return &cli.BoolFlag{Name: name, Usage: usage} }
	return []cli.Flag{
		&cli.BoolFlag{Name: "changed", Aliases: []string{"c"}, EnvVars: []string{"TM_ARG_CHANGED"}, Usage: "only stacks that changed in git"},
		&cli.StringFlag{Name: "git-change-base", Aliases: []string{"B"}, EnvVars: []string{"TM_ARG_GIT_CHANGE_BASE"}, Usage: "with --changed, compare with `REV`"},
		&cli.StringSliceFlag{Name: "tags", EnvVars: []string{"TM_ARG_TAGS"}, Usage: "only stacks with `TAGS` (a:b is both, a,b is either)"},
		&cli.StringSliceFlag{Name: "no-tags", EnvVars: []string{"TM_ARG_NO_TAGS"}, Usage: "only stacks with none of `TAGS`"},
		&cli.StringSliceFlag{Name: "enable-change-detection", Usage: "count changes of `KIND`: git-untracked, git-uncommitted"},
		&cli.StringSliceFlag{Name: "disable-change-detection", Usage: "ignore changes of `KIND`: git-untracked, git-uncommitted"},
		b("include-all-dependencies", "add all stacks that the selection depends on"),
		b("include-direct-dependencies", "add the direct dependencies of the selection"),
		b("only-all-dependencies", "replace the selection with all that it depends on"),
		b("only-direct-dependencies", "replace the selection with its direct dependencies"),
		b("exclude-all-dependencies", "leave out all that the selection depends on"),
		b("include-all-dependents", "add all stacks that depend on the selection"),
		b("include-direct-dependents", "add the direct dependents of the selection"),
		b("only-all-dependents", "replace the selection with all that depends on it"),
		b("only-direct-dependents", "replace the selection with its direct dependents"),
		b("exclude-all-dependents", "leave out all that depends on the selection"),
		&cli.BoolFlag{Name: "include-output-dependencies", Hidden: true},
		&cli.BoolFlag{Name: "only-output-dependencies", Hidden: true},
	}
}

func statusFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "status", Usage: "only stacks with this `STATUS`: ok, failed (also blocked, canceled and interrupted ones), blocked, canceled, interrupted, drifted, unhealthy, running, never"},
		&cli.StringFlag{Name: "deployment-status", Usage: "only stacks whose latest deployment has this `STATUS`: ok, failed, canceled, blocked, interrupted, running, pending, triggered, unhealthy, never"},
		&cli.StringFlag{Name: "drift-status", Usage: "only stacks whose latest drift run has this `STATUS`: ok, drifted, failed, running, unhealthy, unknown"},
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: "text", Usage: "print in `FORMAT`: text or json"}
}

// addJSON gives a command that has --format a short form of the one that programs use.
func addJSON(c *cli.Command) {
	if !slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return namesOf(f)[0] == "format" }) {
		return
	}
	c.Flags = append(c.Flags, &cli.BoolFlag{Name: "json", Usage: "the same as --format json"})
	c.Before = func(c *cli.Context) error {
		if !c.Bool("json") {
			return nil
		}
		if f := c.String("format"); c.IsSet("format") && f != "json" {
			return fmt.Errorf("--json is --format json; leave out --json, or --format %s", f)
		}
		return c.Set("format", "json")
	}
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
			return f, fmt.Errorf("--status orphaned works in `tmnotes status` only; `tmnotes run --orphaned` destroys such stacks")
		}
		if !slices.Contains(words, value) {
			return f, fmt.Errorf("--%s: unknown status %q%s; use one of %s", flag, value, query.DidYouMean(value, words, "%s"), strings.Join(words, ", "))
		}
	}
	return f, nil
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
