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

// The tables of the manual are those of the program; -update writes them.
func TestPagesHaveTheTables(t *testing.T) {
	t.Parallel()
	text, _, found := strings.Cut(page("configuration"), "## Settings\n")
	if !found {
		t.Fatal("the topic configuration has no settings")
	}
	for name, want := range map[string]string{
		"exit-codes":    exitCodesTable(),
		"configuration": text + "## Settings\n\n" + settingsTableOf(settings.all),
	} {
		if *gittest.Update {
			if err := os.WriteFile(filepath.Join("help", name+".md"), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if diff := cmp.Diff(page(name), want); diff != "" {
			t.Errorf("the topic %s is not what the program says (-page +program; -update writes it):\n%s", name, diff)
		}
	}
}

// document is a text of ours, by its path from the top.
type document struct{ path, text string }

// documents are README.md, the pages of the manual, and what else tells people what to type.
func documents(t *testing.T) (all []document) {
	t.Helper()
	files, err := filepath.Glob("help/*.md")
	if err != nil || len(files) != len(topics) {
		t.Errorf("help/ has %d pages of %d topics: %v", len(files), len(topics), err)
	}
	for _, file := range []string{"README.md", "gitstate/FORMAT.md", "runner/ARCHITECTURE.md"} {
		files = append(files, filepath.Join(top, file))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, document{file, string(text)})
	}
	return all
}

// README.md is short, names all topics, and links to what exists.
func TestReadme(t *testing.T) {
	t.Parallel()
	const most = 1300 // words
	for _, d := range documents(t) {
		links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(d.text, -1)
		for _, link := range links {
			if _, err := os.Stat(filepath.Join(filepath.Dir(d.path), link[1])); err != nil && !strings.HasPrefix(link[1], "https://") {
				t.Errorf("%s: %v", d.path, err)
			}
		}
		if filepath.Base(d.path) != "README.md" {
			continue
		}
		if n := len(strings.Fields(d.text)); n > most {
			t.Errorf("README.md has %d words; %d are enough, and the manual takes the others", n, most)
		}
		for _, name := range topicNames() {
			if link := "[" + name + "](runner/cli/help/" + name + ".md)"; !strings.Contains(d.text, link) {
				t.Errorf("README.md does not have %s", link)
			}
		}
	}
}

// A command line of tmnotes in a text: between backticks, or in a block of code, where it may
// go on behind a backslash.
var (
	typedInText = regexp.MustCompile("`(tmnotes [^`]+)`")
	typedInCode = regexp.MustCompile(`(?m)^(?:    |\$ )(?:[^#\n]*(?:\||&&|;|--) )?(tmnotes (?:[^\n\\]|\\\n|\\.)+)$|^ +- (?:run: )?(tmnotes .+)$`)
)

// Whoever types what the documents say has typed commands and flags that there are.
func TestCommandLinesOfDocuments(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, d := range documents(t) {
		for _, found := range slices.Concat(typedInText.FindAllStringSubmatch(d.text, -1), typedInCode.FindAllStringSubmatch(d.text, -1)) {
			line := strings.Join(found[1:], "")
			if strings.HasSuffix(line, " NUL") { // what a digest begins with
				continue
			}
			seen++
			if err := canBeTyped(line); err != nil {
				t.Errorf("%s: %s: %v", d.path, line, err)
			}
		}
	}
	if seen < 120 {
		t.Errorf("only %d command lines were found", seen)
	}
	for _, line := range []string{"tmnotes lsit", "tmnotes run --no-such-flag -- x", "tmnotes list --pending=perhaps", "tmnotes exec --jobs 2 -- x", "tmnotes help nothing"} {
		if canBeTyped(line) == nil {
			t.Errorf("%s is taken for a command line", line)
		}
	}
}

// firstOf is the first command of a shell's line.
func firstOf(line string) ([]string, error) {
	words, err := shlex.Split(strings.ReplaceAll(line, "\\\n", " "))
	if i := slices.IndexFunc(words, regexp.MustCompile(`^(\||\|\||&&?|;|>.*)$`).MatchString); i >= 0 {
		words = words[:i]
	}
	return words, err
}

// canBeTyped says what is wrong with the first command of a shell's line.
func canBeTyped(line string) error {
	words, err := firstOf(line)
	if err != nil {
		return err
	}
	if words[1] == "--help" {
		return nil
	}
	ran, err := parses(words[1:])
	if err == nil && ran == "" {
		return errors.New("no command runs")
	}
	if err == nil && ran == "help" && words[1] == "help" && len(words) == 3 && words[2] != "TOPIC" && !slices.Contains(topicNames(), words[2]) && allCommands(newApp(Env{}))[words[2]] == nil {
		return errors.New("not a topic")
	}
	return err
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
			key += ", one line each"
			if !o.noFlag {
				variable += ", separated by spaces"
			}
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
		"help":                       "\nTOPICS\n",
		"--help":                     "\nEXIT CODES\n",
		"-h":                         "\nDEPLOY\n  run ",
		"help run":                   "--allow-rollback",
		"help script run":            "tmnotes script run [flags] LABEL...\n",
		"script --help":              "see `tmnotes script run --help`",
		"run -h":                     "`tmnotes run --help` has all flags",
		"run --help -- x":            "\nWAVES\n",
		"--help run":                 "\nWAVES\n",
		"help settings":              "\n  --push-interval DURATION\n                          push results every DURATION; 0: only at the start and\n                          the end (TMNOTES_PUSH_INTERVAL, git config\n",
		"help configuration":         "\n  tmnotes.sign            sign notes, locks and records (git config",
		"help exit-codes":            "\n  125  exec: an error of tmnotes itself",
		"help deployments":           "\n  ./deploy.sh and any other program\n",
		"help setup --man x":         "!--man writes the pages of all commands and topics; leave the name out",
		"help fmt":                   "!fmt is a terramate command: terramate fmt",
		"help cloud login":           "!cloud login is a terramate command: terramate cloud login",
		"script tree":                "!script tree is a terramate command: terramate script tree",
		"script":                     "see `tmnotes script run --help`",
		"help one two three":         "!\"one two three\" is not a command or a topic; the topics are ",
		"help wrods":                 "!\"wrods\" is not a command or a topic (did you mean `tmnotes help words`?); the topics are ci, pending, deployments, many-jobs, waves, drift, cloud, output, reports, metrics, recipes, events, trust, troubleshooting, limits, speed, uninstall, commands, configuration, environment, exit-codes, records, statuses, words, and `tmnotes help` lists the commands\n",
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
			if len(line) > 78 && strings.Contains(line, " ") {
				t.Errorf("%s: %s", m.name, line)
			}
		}
		if lines := strings.Count(m.plain(80), "\n"); m.brief && lines > 1+2*len(m.blocks) {
			t.Errorf("%s -h has %d lines for %d blocks", m.name, lines, len(m.blocks))
		}
		if text := m.plain(80); regexp.MustCompile(`default: false|\*\*\w|!\[|\]\(`).MatchString(text) {
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
			words, err := firstOf(strings.TrimRight(line, ")"))
			if err != nil || !found {
				t.Errorf("%s: %s: %v", name, e.line, err)
				continue
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
	if want := []string{"blocked", "change", "conflict", "deployment", "dirty", "drift", "hold", "inputs", "lead time", "ledger", "leg", "lock", "newer deployed", "note", "operation", "orphaned", "pending", "record", "run", "stack", "target", "triggered", "up to date"}; !slices.Equal(words, want) {
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
	for _, word := range []note.Status{note.Queued, note.Orphaned, note.Never, note.Triggered, note.Held, note.Released} {
		if !slices.Contains(statuses, string(word)) {
			t.Errorf("the topic statuses does not have %s", word)
		}
	}
	for name := range allCommands(newApp(Env{})) {
		if !regexp.MustCompile("(?m)^\\|[^|]*`"+name+"[ `]").MatchString(page("commands")) && name != "script" {
			t.Errorf("the topic commands does not have %s", name)
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
