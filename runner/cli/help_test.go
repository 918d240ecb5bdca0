package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
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
		"help":             "TOPICS (TMNOTES HELP TOPIC)",
		"--help":           "\nEXIT CODES\n",
		"help run":         "--allow-rollback",
		"run -h":           "`tmnotes run --help` has all flags",
		"help settings":    "\n  --push-interval DURATION\n                        push results every DURATION; 0: only at the start and\n                        the end (TMNOTES_PUSH_INTERVAL, git config\n",
		"help exit-codes":  "\n  125  exec: an error of tmnotes itself",
		"help deployments": "  ./deploy.sh and any other program\n",
		"help setting": "\"setting\" is not a command or a topic (did you mean `tmnotes help configuration`?); " +
			"the topics are deployments, exit-codes, settings, and `tmnotes help` lists the commands\n",
	} {
		var out bytes.Buffer
		code := Main(context.Background(), strings.Fields(line), Env{Stdout: &out, Stderr: &out})
		if wrong := strings.HasSuffix(want, "\n") && strings.HasPrefix(want, "\"") || strings.Contains(line, "--man"); !strings.Contains(out.String(), want) || (code == exitUsage) != wrong {
			t.Errorf("%s: exit code %d, %s", line, code, out.String())
		}
	}
}
