package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
)

// The README has what `tmnotes help` says of the topics, between two comments; -update writes it there.
func TestReadmeHasTheTopics(t *testing.T) {
	t.Parallel()
	file := filepath.Join(top, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"deployments":   page("deployments"),
		"exit-codes":    exitCodesTable(),
		"configuration": page("configuration") + "\n" + settingsTableOf(settings.all),
	} {
		section := regexp.MustCompile(`(?s)(<!-- tmnotes help ` + name + ` -->\n\n)(.*?)(\n<!-- /tmnotes help ` + name + ` -->\n)`).FindSubmatchIndex(readme)
		if section == nil {
			t.Errorf("README.md has no section of tmnotes help %s", name)
			continue
		}
		if *gittest.Update {
			readme = slices.Concat(readme[:section[4]], []byte(text), readme[section[5]:])
			continue
		}
		if diff := cmp.Diff(string(readme[section[4]:section[5]]), text); diff != "" {
			t.Errorf("README.md and tmnotes help %s differ (-want +got; -update writes it):\n%s", name, diff)
		}
	}
	if *gittest.Update {
		if err := os.WriteFile(file, readme, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func exitCodesTable() string {
	var b strings.Builder
	b.WriteString("| code | meaning |\n|---|---|\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	return b.String()
}

func settingsTableOf(all []*setting) string {
	var b strings.Builder
	b.WriteString("| flag | variable | git config | default | meaning |\n|---|---|---|---|---|\n")
	for _, o := range all {
		flag, variable, key := "", "`"+strings.Join(o.variables, "`, `")+"`", "`"+o.key()+"`"
		switch {
		case o.noFlag:
			variable = ""
		case o.short != "":
			flag = "`--" + o.flagName() + "`, `-" + o.short + "`"
		default:
			flag = "`--" + o.flagName() + "`"
		}
		if o.kind == aList {
			variable, key = variable+", separated by spaces", key+", one line each"
		}
		switch {
		case o.noConfig:
			key = ""
		case o.inFile == noValue:
			key += ", not in the file"
		case o.inFile == notOff:
			key += ", in the file not `off`"
		}
		def := o.defaultText()
		if def == o.def {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", flag, variable, key, def, strings.ReplaceAll(o.meaning, "*", `\*`))
	}
	return b.String()
}

// What help says of a command line is what tmnotes recognises in it.
func TestHelpOfDeployments(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile("`([^`]+)`")
	seen := 0
	for _, row := range regexp.MustCompile(`(?m)^\| (.+) \| (.+) \| (.+) \|$`).FindAllStringSubmatch(page("deployments"), -1) {
		op, names := "", code.FindAllString(row[2], -1)
		if typed := regexp.MustCompile("`--op ([a-z]+)`").FindStringSubmatch(row[1]); typed != nil {
			op = typed[1]
		}
		for _, line := range code.FindAllStringSubmatch(row[1], -1) {
			words := strings.Fields(line[1])
			if !slices.Contains([]string{"terraform", "tofu", "terragrunt", "./deploy.sh"}, words[0]) {
				continue
			}
			seen++
			is := command.Recognise(words, nil, op).Name
			if !slices.Contains(names, "`"+is+"`") || (is == note.Deploy) != strings.HasPrefix(row[3], "yes") {
				t.Errorf("%s is recognised as %s, and help says %s, done: %s", line[1], is, row[2], row[3])
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// tmnotes help knows commands and topics, and names both.
func TestHelpTopics(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"help":                       "\nTOPICS (TMNOTES HELP TOPIC)\n",
		"--help":                     "\nEXIT CODES\n",
		"-h":                         "\nDEPLOY\n  run ",
		"help run":                   "--allow-rollback",
		"help script run":            "tmnotes script run [flags] LABEL...\n",
		"script --help":              "see `tmnotes script run --help`",
		"run -h":                     "`tmnotes run --help` has all flags",
		"run --help -- x":            "\nWAVES\n",
		"--help run":                 "\nWAVES\n",
		"help settings":              "\n  --push-interval DURATION\n                          push results every DURATION; 0: only at the start and\n                          the end (TMNOTES_PUSH_INTERVAL, git config\n",
		"help configuration":         "\n  tmnotes.sign            sign notes and locks (git config tmnotes.sign;",
		"help exit-codes":            "\n  125  exec: an error of tmnotes itself",
		"help deployments":           "\n  ./deploy.sh and any other program\n",
		"help setup --man x":         "!--man writes the pages of all commands and topics; leave the name out",
		"help fmt":                   "!fmt is a terramate command: terramate fmt",
		"help cloud login":           "!cloud login is a terramate command: terramate cloud login",
		"script tree":                "!script tree is a terramate command: terramate script tree",
		"script":                     "see `tmnotes script run --help`",
		"help one two three":         "!\"one two three\" is not a command or a topic; the topics are ",
		"help wrods":                 "!\"wrods\" is not a command or a topic (did you mean `tmnotes help words`?); the topics are configuration, deployments, environment, exit-codes, records, statuses, recipes, events, words, and `tmnotes help` lists the commands\n",
		"list --version":             "tmnotes ",
		"--quiet --version":          "tmnotes ",
		"version --full --no-tags x": "--no-tags has no effect: this command selects no stacks\ntmnotes ",
	} {
		var out bytes.Buffer
		code := Main(context.Background(), strings.Fields(line), Env{Stdout: &out, Stderr: &out})
		want, wrong := strings.CutPrefix(want, "!")
		if !strings.Contains(out.String(), want) || (code == exitUsage) != wrong {
			t.Errorf("%s: exit code %d, %s", line, code, out.String())
		}
	}
}

// allPages are those of tmnotes, the commands and the topics, long and short.
func allPages() (all []manual) {
	app := newApp(Env{})
	all = append(topicPages(), rootPage(app, true), rootPage(app, false))
	for name, c := range allCommands(app) {
		all = append(all, commandPage(c, name, true), commandPage(c, name, false))
	}
	return all
}

func allCommands(app *cli.App) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	for _, c := range app.Commands {
		all[c.Name] = c
		for _, sub := range c.Subcommands {
			all[c.Name+" "+sub.Name] = sub
		}
	}
	return all
}

// Help fits a terminal: nothing is wider, but for one word and for what is to be typed.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	for _, m := range allPages() {
		typed := map[string]bool{}
		for _, x := range m.blocks {
			if x.kind == code {
				for line := range strings.Lines(x.text) {
					typed[strings.TrimSpace(line)] = true
				}
			}
		}
		for _, width := range []int{40, 60, 80, 100} {
			for line := range strings.Lines(m.plain(width)) {
				line = strings.TrimRight(line, "\n")
				if strings.TrimRight(line, " ") != line {
					t.Errorf("%s: blanks at the end of %q", m.name, line)
				}
				if n := len([]rune(line)); n > width && !typed[strings.TrimSpace(line)] && len(strings.Fields(line)) > 1 {
					t.Errorf("%s at %d: %d columns: %s", m.name, width, n, line)
				}
			}
		}
		for line := range typed {
			if len(line) > 78 {
				t.Errorf("%s: %s", m.name, line)
			}
		}
		if lines := strings.Count(m.plain(80), "\n"); m.brief && lines > 1+2*len(m.blocks) {
			t.Errorf("%s -h has %d lines for %d blocks", m.name, lines, len(m.blocks))
		}
		if text := m.plain(80); regexp.MustCompile(`default: false|\*\*\w`).MatchString(text) {
			t.Errorf("%s: %s", m.name, text)
		}
	}
	for columns, want := range map[string]int{"": 80, "0": 80, "x": 80, "20": 40, "70": 70, "300": 100} {
		if got := helpWidth(Env{Stdout: io.Discard, Environ: []string{"COLUMNS=" + columns}}); got != want {
			t.Errorf("COLUMNS=%s: %d, want %d", columns, got, want)
		}
	}
}

// Each command is listed, shows by -h what is used most, a line each, and has examples that
// its parser takes.
func TestHelpOfCommands(t *testing.T) {
	t.Parallel()
	app := newApp(Env{})
	commands := allCommands(app)
	groups := map[string]bool{}
	for _, g := range commandGroups {
		groups[g.name] = true
	}
	for name, c := range commands {
		text, found := commandTexts[name]
		if !found || len(text.examples) == 0 || groups[text.group] == strings.Contains(name, " ") {
			t.Errorf("%s: give it a group and an example in commandTexts", name)
			continue
		}
		for _, flag := range text.flags {
			if f := flagNamed(c, flag); f == nil || !f.(cli.VisibleFlag).IsVisible() {
				t.Fatalf("%s has no flag %s for its -h", name, flag)
			}
		}
	}
	for name, text := range commandTexts {
		if name != "" && commands[name] == nil {
			t.Errorf("commandTexts has %q, which is no command", name)
		}
		for _, e := range text.examples {
			_, line, found := strings.Cut(strings.ReplaceAll(e.line, "<(", ""), "tmnotes ")
			words, err := shlex.Split(strings.TrimRight(line, ")"))
			if err != nil || !found {
				t.Errorf("%s: %s: %v", name, e.line, err)
				continue
			}
			if i := slices.IndexFunc(words, func(word string) bool { return word == "|" || word == "&&" }); i >= 0 {
				words = words[:i]
			}
			if ran, err := parses(words); err != nil || name != "" && ran != name && (name != "script" || ran != "script run") {
				t.Errorf("the example of %q is not one: %s: %q, %v", name, e.line, ran, err)
			}
		}
	}
}

// parses hands a command line to the parser, and says which command would run.
func parses(words []string, environ ...string) (ran string, err error) {
	app := newApp(Env{Stdout: io.Discard, Stderr: io.Discard, Environ: environ})
	for name, c := range allCommands(app) {
		c.Action = func(c *cli.Context) error {
			if ran = name; name != "help" && slices.ContainsFunc(c.Args().Slice(), func(word string) bool { return strings.HasPrefix(word, "-") }) && !takesWords(name) {
				return errors.New("a flag is taken for a word")
			}
			return nil
		}
	}
	return ran, app.Run(append([]string{"tmnotes"}, normalize(app, words)...))
}

func takesWords(name string) bool {
	return slices.Contains([]string{"run", "script run", "exec", "cloud", "matrix"}, name)
}

// The pages for man(1) are valid.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man")
	var out bytes.Buffer
	if code := Main(context.Background(), []string{"help", "--man", dir}, Env{Stdout: &out, Stderr: &out}); code != exitOK || out.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, out.String())
	}
	for _, name := range []string{"tmnotes.1", "tmnotes-run.1", "tmnotes-script-run.1", "tmnotes-words.7", "tmnotes-deployments.7"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), ".SH NAME\n") || strings.ContainsFunc(string(text), func(r rune) bool { return r > 127 }) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1+len(topics)+len(allCommands(newApp(Env{}))) {
		t.Errorf("%d pages: %v", len(files), err)
	}
	tried := false
	for _, lint := range [][]string{{"mandoc", "-T", "lint", "-W", "warning"}, {"man", "--warnings", "-l"}} {
		if _, err := exec.LookPath(lint[0]); err != nil {
			continue
		}
		tried = true
		for _, file := range files {
			cmd := exec.Command(lint[0], append(lint[1:], file)...)
			cmd.Env = append(os.Environ(), "MANPAGER=cat", "MANWIDTH=80", "LC_ALL=C.UTF-8")
			var complaints bytes.Buffer
			if cmd.Stderr = &complaints; lint[0] == "mandoc" {
				cmd.Stdout = &complaints
			}
			err := cmd.Run()
			said := regexp.MustCompile(`(?m)^.*missing date.*\n`).ReplaceAllString(complaints.String(), "") // the pages have none: they are the same each time
			if said != "" || err != nil && complaints.Len() == 0 {
				t.Errorf("%s: %v, %s", file, err, said)
			}
		}
	}
	if !tried {
		t.Skip("neither mandoc nor man is in PATH")
	}
}

// What the topics list is all that there is.
func TestTopicsAreComplete(t *testing.T) {
	t.Parallel()
	terms := func(topic string) (all []string) {
		for _, x := range parsePage(page(topic)) {
			if x.kind == item {
				all = append(all, strings.Split(plainTerm(x.term), ", ")...)
			}
		}
		return all
	}
	words := terms("words")
	slices.Sort(words)
	if want := []string{"blocked", "conflict", "deployment", "dirty", "drift", "inputs", "leg", "lock", "newer deployed", "note", "operation", "orphaned", "pending", "record", "run", "stack", "target", "triggered", "up to date"}; !slices.Equal(words, want) {
		t.Errorf("the words are %q, not %q", words, want)
	}
	statuses := terms("statuses")
	for _, list := range query.FilterWords {
		for _, word := range list {
			if !slices.Contains(statuses, word) {
				t.Errorf("the topic statuses does not have %s", word)
			}
		}
	}
	for _, word := range []note.Status{note.Queued, note.Orphaned, note.Never, note.Triggered} {
		if !slices.Contains(statuses, string(word)) {
			t.Errorf("the topic statuses does not have %s", word)
		}
	}
	format, err := os.ReadFile(filepath.Join(top, "gitstate", "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range terms("records") {
		if !strings.Contains(string(format), "`"+strings.TrimSuffix(key, "-claims/*")) && !strings.Contains(string(format), "`"+strings.TrimSuffix(key, "*")) {
			t.Errorf("FORMAT.md does not have %s, the topic records does", key)
		}
	}
}
