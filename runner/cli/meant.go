package cli

import (
	"fmt"
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
		dashes := "--"
		if len(typed) == 1 {
			dashes = "-"
		}
		text = "unknown flag " + dashes + typed + query.DidYouMean(typed, names, "--%s")
	}
	return fmt.Errorf("%s; `%s --help` lists the flags", text, c.Command.HelpName)
}
