package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner"
)

// What may be meant by a word that nothing here is called by.

// nearest is the word that somebody who typed another may have meant, "" if none is near.
func nearest(typed string, words []string) string {
	typed = strings.ToLower(typed)
	distance := func(word string) int {
		word = strings.ToLower(word)
		if len(typed) > 2 && (strings.HasPrefix(word, typed) || letters(word) == letters(typed)) {
			return 1
		}
		return levenshtein.Distance(word, typed, nil)
	}
	best, least := "", max(1, len(typed)/3)
	for _, word := range words {
		if d := distance(word); d <= least && (best == "" || d < distance(best)) {
			best = word
		}
	}
	return best
}

// letters are those of a word, in order: typed in the wrong one they are the same.
func letters(word string) string {
	runes := []rune(word)
	slices.Sort(runes)
	return string(runes)
}

// didYouMean asks so in the middle of a message, "" if no word is near. as has the word in
// the form in which it is typed.
func didYouMean(typed string, words []string, as string) string {
	if word := nearest(typed, words); word != "" {
		return fmt.Sprintf(" (did you mean "+as+"?)", word)
	}
	return ""
}

// meantStack is didYouMean for a stack.
func meantStack(typed string, stacks []runner.Stack) string {
	var words []string
	for _, s := range stacks {
		words = append(words, s.Path)
		if s.ID != "" {
			words = append(words, s.ID)
		}
	}
	return didYouMean(typed, words, "%s")
}

// terramates are commands that only terramate has (ui/tui/cli_spec.go at v0.17.2).
var terramates = []string{"cloud", "component", "create", "debug", "experimental", "fmt", "generate", "install-completions", "package", "scaffold", "ui"}

func unknownCommand(app *cli.App, typed string) error {
	if slices.Contains(terramates, typed) {
		return fmt.Errorf("tmnotes has no command %q, terramate has: terramate %s", typed, typed)
	}
	var names []string
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Name)
	}
	return fmt.Errorf("unknown command %q%s; `tmnotes help` lists the commands", typed, didYouMean(typed, names, "`tmnotes %s`"))
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
		text = "unknown flag " + dashes + typed + didYouMean(typed, names, "--%s")
	}
	return fmt.Errorf("%s; `%s --help` lists the flags", text, c.Command.HelpName)
}

// meantRecorded is didYouMean for a stack among those that are recorded, by their paths.
func meantRecorded(typed string, paths map[string]bool) string {
	delete(paths, "")
	return didYouMean(typed, slices.Sorted(maps.Keys(paths)), "%s")
}
