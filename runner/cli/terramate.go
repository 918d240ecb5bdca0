package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/query"
)

// What a command line of stock terramate 0.17.2 has (ui/tui/cli_spec.go) that means nothing
// to tmnotes, or is spelled otherwise here. TestTakesTerramatesFlags holds it against stock's.

// terramates are commands that only terramate has.
var terramates = []string{"component", "create", "debug", "experimental", "fmt", "generate", "install-completions", "package", "scaffold", "ui",
	"cloud drift", "cloud info", "cloud login", "script info", "script list", "script tree"}

// respelled are flags that terramate has under two names.
var respelled = map[string]string{
	"cloud-status": "status", "experimental-status": "status", "cloud-sync-deployment": "sync-deployment", "cloud-sync-drift-status": "sync-drift-status",
	"cloud-sync-preview": "sync-preview", "cloud-sync-layer": "layer", "cloud-sync-terraform-plan-file": "terraform-plan-file",
}

// idleFlag is a flag of terramate that changes nothing here.
type idleFlag struct {
	name, short string
	valued      bool
	variable    string
	commands    []string // that take it; nil: all
	why         string   // it has no effect
}

var idleFlags = []idleFlag{
	{name: "verbose", short: "v", why: "--log-level debug shows Terramate's log"},
	{name: "disable-checkpoint", why: "tmnotes never looks for updates"},
	{name: "disable-checkpoint-signature", why: "tmnotes never looks for updates"},
	{name: "cpu-profiling", why: "tmnotes writes no profile"},
	{name: "layer", valued: true, variable: "TM_ARG_RUN_LAYER", commands: []string{"run"}, why: "layers are for Terramate Cloud's previews; `tmnotes cloud -- terramate run` keeps them"},
	{name: "debug-preview-url", valued: true, commands: []string{"run"}, why: "nothing is sent to Terramate Cloud"},
	{name: "from-target", valued: true, variable: "TM_ARG_RUN_FROM_TARGET", commands: []string{"run", "script run"}, why: "the records of a target stay with it; `tmnotes adopt --target` records what is deployed under another"},
	{name: "disable-check-git-untracked", commands: []string{"list", "trigger", "version"}, why: "this command has no safeguards"},
	{name: "disable-check-git-uncommitted", commands: []string{"list", "trigger", "version"}, why: "this command has no safeguards"},
	{name: "changed", short: "c", commands: []string{"version"}, why: "this command selects no stacks"},
	{name: "git-change-base", short: "B", valued: true, commands: []string{"version"}, why: "this command selects no stacks"},
	{name: "tags", valued: true, commands: []string{"version"}, why: "this command selects no stacks"},
	{name: "no-tags", valued: true, commands: []string{"version"}, why: "this command selects no stacks"},
}

// everywhereFlags are hidden ones that each command takes which has none of its own by that name.
func everywhereFlags(command string) []cli.Flag {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "help", Usage: "show all flags", Hidden: true},
		&cli.BoolFlag{Name: "h", Usage: "show the most used flags", Hidden: true},
		&cli.BoolFlag{Name: "version", Hidden: true},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{"TM_ARG_QUIET"}, Hidden: true},
		&cli.BoolFlag{Name: "full", Hidden: true}, // the product's name is in `tmnotes version`
	}
	if command != "version" {
		flags = flags[:4]
	}
	for _, f := range chdirFlags() {
		if f, is := f.(*cli.StringFlag); is {
			f.Hidden = true
		}
		flags = append(flags, f)
	}
	for _, f := range idleFlags {
		var aliases, variables []string
		if f.short != "" {
			aliases = []string{f.short}
		}
		if f.variable != "" {
			variables = []string{f.variable}
		}
		switch {
		case f.commands != nil && !slices.Contains(f.commands, command):
		case f.valued:
			flags = append(flags, &cli.StringFlag{Name: f.name, Aliases: aliases, EnvVars: variables, Hidden: true})
		default:
			flags = append(flags, &cli.BoolFlag{Name: f.name, Aliases: aliases, EnvVars: variables, Hidden: true})
		}
	}
	return flags
}

// heed says what a command line has that will not do what its writer may think.
func heed(c *cli.Context, u *ui, command string) {
	for _, f := range idleFlags {
		if (f.commands == nil || slices.Contains(f.commands, command)) && (f.valued && c.IsSet(f.name) || c.Bool(f.name)) {
			u.Say("--%s has no effect: %s", f.name, f.why)
		}
	}
	// A name of one's own is an operation, too. It is not refused, but may be a typing error.
	known := []string{note.Deploy, note.Destroy, note.Drift}
	if op := c.String("op"); op != "" && !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, op) }) {
		if meant := query.DidYouMean(op, known, "--op %s"); meant != "" {
			u.Say("--op %s is an operation of its own%s", op, meant)
		}
	}
}

// terramatesCommand is the error for a command that only terramate has, nil for others.
func terramatesCommand(typed string) error {
	if !slices.Contains(terramates, typed) {
		return nil
	}
	return fmt.Errorf("%s is a terramate command: terramate %s", typed, typed)
}
