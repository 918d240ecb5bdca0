package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner/query"
)

func unknownCommand(app *cli.App, typed string) error {
	if err := terramatesCommand(typed); err != nil {
		return err
	}
	return fmt.Errorf("unknown command %q%s; `tmnotes help` lists the commands", typed, query.DidYouMean(typed, commandNames(app), "`tmnotes %s`"))
}

func commandNames(app *cli.App) (names []string) {
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Name)
	}
	return names
}

// usageError is what urfave/cli, and Go's flag package below it, have against a command line.
func usageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if typed, is := strings.CutPrefix(text, "flag provided but not defined: -"); is {
		var names []string
		for _, f := range c.Command.VisibleFlags() {
			names = append(names, f.Names()...)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return len(name) == 1 })
		text = "unknown flag " + dashed(typed) + query.DidYouMean(typed, names, "--%s")
	}
	if typed, is := strings.CutPrefix(text, "flag needs an argument: -"); is {
		text = dashed(strings.TrimLeft(typed, "-")) + " needs a value"
	}
	if bad := badValue.FindStringSubmatch(text); bad != nil {
		text = fmt.Sprintf("%s: %s is not %s", dashed(bad[2]), bad[1], kindOfValue(flagNamed(c.Command, bad[2])))
	}
	return fmt.Errorf("%s; `%s --help` lists the flags", text, c.Command.HelpName)
}

var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([A-Za-z-]+): `)

func dashed(flag string) string { return strings.Repeat("-", min(len(flag), 2)) + flag }

// kindOfValue is what a flag takes, where not every word is one.
func kindOfValue(f cli.Flag) string {
	switch f.(type) {
	case *cli.IntFlag:
		return "a number"
	case *cli.DurationFlag:
		return "a duration, like 90s or 5m"
	case *cli.BoolFlag:
		return "true or false"
	case *optionalFlag:
		return "a duration of a second or more, like 90s or 5m"
	}
	return "a value that it takes"
}
