package cli

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// topics are the manual by task: what `tmnotes help` tells beside the usage of commands, each
// a page in help/, which a forge shows as well. blocks is for those of which the program makes a part.
var topics = []struct {
	name, alias, about string
	blocks             func() []block
}{
	{name: "ci", about: "pipelines: what they need, GitHub Actions, GitLab CI"},
	{name: "pending", about: "which stacks --pending selects"},
	{name: "deployments", about: "what counts as a deployment, and when a stack is up to date"},
	{name: "many-jobs", about: "several jobs at once, and one run on many machines"},
	{name: "waves", about: "canaries first: waves, pauses and gates"},
	{name: "drift", about: "finding drift, and the plans that are kept"},
	{name: "cloud", about: "your own terramate: exec, cloud and serve"},
	{name: "output", about: "what a run shows, and the output that is kept"},
	{name: "reports", about: "pages and files: HTML, JSON, Markdown, JUnit"},
	{name: "metrics", about: "Prometheus and OpenTelemetry"},
	{name: "recipes", about: "messages to Slack, Teams and PagerDuty when a stack changes"},
	{name: "events", about: "what run --format json writes", blocks: eventsHelp},
	{name: "trust", about: "who can claim what, signed records, the ledger, secrets"},
	{name: "troubleshooting", about: "what to do when something goes wrong"},
	{name: "limits", about: "what does not work, and what is not looked at"},
	{name: "speed", about: "how long it takes, compared with terramate and git"},
	{name: "uninstall", about: "how to remove tmnotes, and what it recorded"},
	{name: "commands", about: "all commands, and what they read"},
	{name: "configuration", alias: "settings", about: "all settings: flag, variable, git config, default", blocks: configurationHelp},
	{name: "environment", about: "the variables that tmnotes reads and sets"},
	{name: "exit-codes", about: "what the exit codes mean"},
	{name: "records", about: "what is kept in git, and how to read it without tmnotes"},
	{name: "statuses", about: "the status words, and what filters on status select"},
	{name: "words", about: "what tmnotes means by its words"},
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

// configurationHelp has the settings as a list: the page's table is too wide for a terminal.
func configurationHelp() []block {
	text, _, _ := strings.Cut(page("configuration"), "## Settings\n")
	return append(parsePage(text), settingsHelp()...)
}

// eventsHelp lists the keys of events, as their schema has them.
func eventsHelp() []block {
	var schema struct {
		Properties map[string]struct{ Description string }
	}
	if err := json.Unmarshal([]byte(terminal.EventsSchema), &schema); err != nil {
		panic(err) // it is part of the program
	}
	blocks := parsePage(page("events"))
	for _, key := range slices.Sorted(maps.Keys(schema.Properties)) {
		blocks = append(blocks, block{item, key, schema.Properties[key].Description})
	}
	return blocks
}

func topicNames() (names []string) {
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

func topicPages() (all []manual) {
	for _, t := range topics {
		m := manual{name: "tmnotes-" + t.name, section: 7, about: t.about}
		if t.blocks != nil {
			m.blocks = t.blocks()
		} else {
			m.blocks = parsePage(page(t.name))
		}
		all = append(all, m)
	}
	return all
}

func helpCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "explain a command or a topic, or write man pages", ArgsUsage: "[COMMAND | TOPIC]",
		Description: "The topics are " + strings.Join(topicNames(), ", ") + ".",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "man", Usage: "write all of it as man pages to `DIR`"}},
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			switch {
			case c.String("man") != "" && len(words) > 0:
				return errors.New("--man writes the pages of all commands and topics; leave the name out")
			case c.String("man") != "":
				return writeMan(c.App, c.String("man"))
			case len(words) == 0:
				printHelp(env, rootPage(c.App, true))
				return nil
			}
			return explain(env, c.App, words)
		},
	}
}

// explain prints the help of a command, as in `help script run`, or of a topic.
func explain(env Env, app *cli.App, words []string) error {
	name := strings.Join(words, " ")
	for i, t := range topics {
		if name == t.name || name == t.alias {
			printHelp(env, topicPages()[i])
			return nil
		}
	}
	if c := commandNamed(app, words); c != nil {
		printHelp(env, commandPage(c, name, true))
		return nil
	}
	if err := terramatesCommand(name); err != nil {
		return err
	}
	meant := query.DidYouMean(name, slices.Concat(commandNames(app), topicNames()), "`tmnotes help %s`")
	return fmt.Errorf("%q is not a command or a topic%s; the topics are %s, and `tmnotes help` lists the commands", name, meant, strings.Join(topicNames(), ", "))
}

// commandNamed is the command of some words, nil if there is none.
func commandNamed(app *cli.App, words []string) *cli.Command {
	c := app.Command(words[0])
	if c != nil && len(words) == 2 {
		return c.Command(words[1])
	}
	if len(words) > 2 {
		return nil
	}
	return c
}

// rootPage is the help of tmnotes itself.
func rootPage(app *cli.App, long bool) manual {
	m := manual{name: "tmnotes", section: 1, about: app.Usage, brief: !long}
	m.blocks = append(m.blocks, block{heading, "", "Usage"}, block{paragraph, "", "tmnotes COMMAND [flags]"})
	for _, g := range commandGroups {
		m.blocks = append(m.blocks, block{heading, "", g.title})
		for _, c := range app.Commands {
			if commandTexts[c.Name].group == g.name {
				m.blocks = append(m.blocks, block{item, c.Name, firstClause(c.Usage)})
			}
		}
	}
	if !long {
		m.blocks = append(m.blocks, block{paragraph, "", "`tmnotes --help` has examples and topics, `tmnotes COMMAND -h` a command's flags."})
		return m
	}
	m.blocks = append(m.blocks, block{heading, "", "Examples"}, block{code, "", examplesText("")}, block{heading, "", "Topics"})
	for _, t := range topics {
		m.blocks = append(m.blocks, block{item, t.name, t.about})
	}
	m.blocks = append(m.blocks, exitCodesHelp()...)
	m.blocks = append(m.blocks, block{heading, "", "See also"}, block{paragraph, "", "`tmnotes COMMAND --help`, `tmnotes help TOPIC`; `git log --notes=tmnotes` shows the records without tmnotes."})
	return m
}

// commandPage is the help of a command: of all its flags, or of those that are used most.
func commandPage(c *cli.Command, name string, long bool) manual {
	m := manual{name: "tmnotes-" + strings.ReplaceAll(name, " ", "-"), section: 1, about: c.Usage, brief: !long}
	m.blocks = append(m.blocks, block{heading, "", "Usage"}, block{paragraph, "", usageOf(c, name)})
	if !long {
		if most := commandTexts[name].flags; len(most) > 0 {
			m.blocks = append(m.blocks, block{heading, "", "Most used flags"})
			for _, flag := range most {
				term, text := describeFlag(flagNamed(c, flag))
				m.blocks = append(m.blocks, block{item, term, firstClause(text)})
			}
		}
		m.blocks = append(m.blocks, block{paragraph, "", "`tmnotes " + name + " --help` has all flags, and examples."})
		return m
	}
	for part := range strings.SplitSeq(c.Description, "\n\n") {
		if part != "" {
			m.blocks = append(m.blocks, block{paragraph, "", strings.ReplaceAll(part, "\n", " ")})
		}
	}
	for _, sub := range c.Subcommands {
		m.blocks = append(m.blocks, block{item, sub.Name, sub.Usage + "; see `tmnotes " + name + " " + sub.Name + " --help`"})
	}
	m.blocks = append(m.blocks, block{heading, "", "Examples"}, block{code, "", examplesText(name)})
	m.blocks = append(m.blocks, flagBlocks(c)...)
	m.blocks = append(m.blocks, block{heading, "", "See also"}, block{paragraph, "", "`tmnotes help configuration` for the defaults of flags, `tmnotes help exit-codes`, `tmnotes help words`"})
	return m
}

func usageOf(c *cli.Command, name string) string {
	if len(c.Subcommands) > 0 {
		return "tmnotes " + name + " " + c.ArgsUsage
	}
	return "tmnotes " + name + " [flags] " + c.ArgsUsage
}

// flagBlocks are a command's flags, in groups where there are many.
func flagBlocks(c *cli.Command) (blocks []block) {
	const few = 20
	flags := c.VisibleFlags()
	for _, g := range flagGroups {
		var items []block
		for _, f := range flags {
			if groupOf(f.Names()[0], len(flags) <= few) == g.title {
				term, text := describeFlag(f)
				items = append(items, block{item, term, text})
			}
		}
		if g.title == general {
			items = append(items, block{item, "-h, --help", "show the most used flags (-h), or all (--help)"})
		}
		if len(items) > 0 {
			blocks = append(blocks, block{heading, "", g.title})
			blocks = append(blocks, items...)
		}
	}
	return blocks
}

func flagNamed(c *cli.Command, name string) cli.Flag {
	if i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }); i >= 0 {
		return c.Flags[i]
	}
	return nil
}

// describeFlag is how a flag is typed, and what it means: its default, and its variables.
func describeFlag(f cli.Flag) (term, text string) {
	d := f.(cli.DocGenerationFlag)
	names := slices.Clone(f.Names())
	slices.SortStableFunc(names, func(a, b string) int { return min(len(a), 2) - min(len(b), 2) })
	for i, name := range names {
		names[i] = dashed(name)
	}
	term = strings.Join(names, ", ")
	if strings.HasPrefix(term, "--") { // there is no short form
		term = "    " + term
	}
	text = d.GetUsage()
	value := ""
	if parts := strings.SplitN(text, "`", 3); len(parts) == 3 {
		value, text = parts[1], strings.Join(parts, "")
	}
	if d.TakesValue() {
		term += " " + cmp.Or(value, "VALUE")
	}
	variables := d.GetEnvVars()
	def := strings.Trim(d.GetDefaultText(), `"`)
	if o := settingOfFlag(f); o != nil {
		variables = o.variables
		if o.kind != yesOrNo {
			def = o.defaultText()
		}
	}
	if d.TakesValue() && !slices.Contains([]string{"", "none", "0", "0s"}, def) {
		text += " (default: " + def + ")"
	}
	if len(variables) > 0 {
		text += " [$" + strings.Join(variables, ", $") + "]"
	}
	return term, text
}

func settingOfFlag(f cli.Flag) *setting {
	for _, o := range settings.all {
		if !o.noFlag && o.flagName() == f.Names()[0] && slices.Equal(o.variables, f.(cli.DocGenerationFlag).GetEnvVars()) || o.kind == aList && o.flagName() == f.Names()[0] {
			return o
		}
	}
	return nil
}

// firstClause is what a text says before it goes into details: one line of a short help.
func firstClause(text string) string {
	for _, end := range []string{" [$", " (", "; ", ": "} {
		text, _, _ = strings.Cut(text, end)
	}
	return text
}

func exitCodesHelp() []block {
	blocks := []block{{heading, "", "Exit codes"}}
	for _, e := range exitCodes {
		blocks = append(blocks, block{item, fmt.Sprint(e.code), e.meaning})
	}
	return blocks
}

// settingsHelp lists the settings.
func settingsHelp() []block {
	blocks := []block{{heading, "", "Settings"}}
	for _, o := range settings.all {
		term, text := o.key(), strings.ReplaceAll(o.meaning, "`", "")
		var where []string
		if !o.noFlag {
			term, _ = describeFlag(o.flag())
			where = append(where, o.variables...)
		}
		if !o.noConfig {
			where = append(where, "git config "+o.key())
		}
		blocks = append(blocks, block{item, strings.TrimSpace(term), fmt.Sprintf("%s (%s; default: %s)", text, strings.Join(where, ", "), o.defaultText())})
	}
	return blocks
}

// writeMan writes all pages for man(1): of tmnotes and its commands in section 1, of the
// topics in section 7.
func writeMan(app *cli.App, dir string) error {
	all := append([]manual{rootPage(app, true)}, topicPages()...)
	for _, c := range app.Commands {
		all = append(all, commandPage(c, c.Name, true))
		for _, sub := range c.Subcommands {
			all = append(all, commandPage(sub, c.Name+" "+sub.Name, true))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--man: %w", err)
	}
	for _, m := range all {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s.%d", m.name, m.section)), []byte(m.roff()), 0o644); err != nil {
			return fmt.Errorf("--man: %w", err)
		}
	}
	return nil
}
