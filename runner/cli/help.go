package cli

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// topics are what `tmnotes help` tells beside the usage of commands. The README has the
// same texts, which a test compares.
var topics = []struct {
	name, about string
	text        func() string
}{
	{"deployments", "what counts as a deployment, and when a stack is done", func() string { return page("deployments") }},
	{"recipes", "messages to Slack, Teams and PagerDuty when a stack changes", func() string { return page("recipes") }},
	{"events", "the JSON schema of run --format json", func() string { return terminal.EventsSchema }},
	{"exit-codes", "what the exit codes mean", exitCodesHelp},
	{"settings", "all settings: flag, variable, git config, default", func() string { return page("settings") + settingsHelp() }},
}

//go:embed help/*.md
var pages embed.FS

func page(name string) string {
	text, err := pages.ReadFile("help/" + name + ".md")
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(text)
}

func topicNames() (names []string) {
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

func topicsHelp() string {
	var b strings.Builder
	b.WriteString("TOPICS (tmnotes help TOPIC):\n")
	for _, t := range topics {
		fmt.Fprintf(&b, "   %-12s %s\n", t.name, t.about)
	}
	return b.String()
}

func helpCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "help", Aliases: []string{"h"}, Usage: "explain a command or a topic: " + strings.Join(topicNames(), ", "), ArgsUsage: "[COMMAND | TOPIC]",
		Action: func(c *cli.Context) error {
			name := c.Args().First()
			if name == "" {
				return cli.ShowAppHelp(c)
			}
			if i := slices.Index(topicNames(), name); i >= 0 {
				fmt.Fprint(env.Stdout, topics[i].text())
				return nil
			}
			if c.App.Command(name) == nil {
				return unknownTopic(c.App, name)
			}
			return cli.ShowCommandHelp(c, name)
		},
		BashComplete: func(c *cli.Context) {
			fmt.Fprintln(env.Stdout, strings.Join(slices.Concat(commandNames(c.App), topicNames()), "\n"))
		},
	}
}

func unknownTopic(app *cli.App, typed string) error {
	meant := query.DidYouMean(typed, slices.Concat(commandNames(app), topicNames()), "`tmnotes help %s`")
	return fmt.Errorf("%q is not a command or a topic%s; the topics are %s, and `tmnotes help` lists the commands", typed, meant, strings.Join(topicNames(), ", "))
}

// settingsHelp lists the settings for a terminal.
func settingsHelp() string {
	var b strings.Builder
	for _, o := range settings.all {
		meaning, where := strings.ReplaceAll(o.meaning, "`", ""), slices.Clone(o.variables)
		title := o.key()
		if !o.noFlag {
			title, _, _ = strings.Cut(o.flag().String(), "\t")
		}
		if !o.noConfig {
			where = append(where, "git config "+o.key())
		}
		fmt.Fprintf(&b, "\n%s\n    %s\n    %s; default: %s\n", title, meaning, strings.Join(where, ", "), o.defaultText())
	}
	return b.String()
}
