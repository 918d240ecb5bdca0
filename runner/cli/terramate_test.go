package cli

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/terramate-io/terramate/ui/tui"
)

// stockFlag is a flag of stock terramate, as its parser has it.
type stockFlag struct {
	name, short string
	bool        bool
	value       string // that it takes
	variables   []string
}

// stockFlags are those of a command, hidden ones too, and the global ones.
func stockFlags(t *testing.T, command string) (flags []stockFlag) {
	t.Helper()
	parser, err := kong.New(&tui.FlagSpec{}, kong.Name("terramate"))
	if err != nil {
		t.Fatal(err)
	}
	node := parser.Model.Node
	for word := range strings.FieldsSeq(command) {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i < 0 {
			t.Fatalf("terramate has no command %q", command)
		}
		node = node.Children[i]
	}
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			of := stockFlag{name: f.Name, value: "x", bool: f.IsBool() || f.IsCounter()}
			if f.Short != 0 {
				of.short = string(f.Short)
			}
			if f.Env != "" {
				of.variables = []string{f.Env}
			}
			switch {
			case f.Enum != "":
				of.value, _, _ = strings.Cut(f.Enum, ",")
			case strings.HasPrefix(f.Target.Kind().String(), "int"):
				of.value = "3"
			}
			flags = append(flags, of)
		}
	}
	return flags
}

// Whatever stock terramate takes, in the commands that are here, too: each flag, its short
// form, its variable, and all ways to write yes and no.
func TestTakesTerramatesFlags(t *testing.T) {
	t.Parallel()
	stock := stockTerramate(t)
	listed := regexp.MustCompile(`(?m)^ +(?:-[a-zA-Z], )?--([a-z][a-z-]+)`)
	commands := []string{"run", "script run", "list", "trigger", "version"}
	for _, command := range commands {
		flags := stockFlags(t, command)
		help, err := exec.Command(stock, append(strings.Fields(command), "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("terramate %s --help: %v, %s", command, err, help)
		}
		shown := listed.FindAllStringSubmatch(string(help), -1)
		for _, f := range shown {
			if !slices.ContainsFunc(flags, func(has stockFlag) bool { return has.name == f[1] }) && f[1] != "disable-safeguards" {
				t.Errorf("terramate %s --help lists --%s, which its parser does not have", command, f[1])
			}
		}
		if len(shown) < 10 || len(flags) < len(shown) {
			t.Errorf("terramate %s: %d flags, of which help lists %d", command, len(flags), len(shown))
		}
		for _, f := range flags {
			for i, line := range f.spellings() {
				words := slices.Concat(strings.Fields(command), line, wordsFor(command))
				if ran, err := parses(words); f.name != "help" && f.name != "version" && (err != nil || ran != command) {
					t.Errorf("tmnotes %s: %q, %v", strings.Join(words, " "), ran, err)
				}
				if i > 0 {
					continue
				}
				before := slices.Concat(line, strings.Fields(command), wordsFor(command))
				if ran, err := parses(before); f.name != "help" && f.name != "version" && (err != nil || ran != command) {
					t.Errorf("tmnotes %s: %q, %v", strings.Join(before, " "), ran, err)
				}
			}
			values := []string{f.value}
			if f.bool && f.name != "verbose" {
				values = []string{"true", "yes", "0", "NO"}
			}
			for _, name := range f.variables {
				for _, value := range values {
					if ran, err := parses(append(strings.Fields(command), wordsFor(command)...), name+"="+value); err != nil || ran != command {
						t.Errorf("%s=%s tmnotes %s: %q, %v", name, value, command, ran, err)
					}
				}
			}
		}
	}
}

func wordsFor(command string) []string {
	switch command {
	case "run":
		return []string{"--", "true"}
	case "script run":
		return []string{"deploy"}
	}
	return nil
}

// spellings are the ways in which a flag is typed.
func (f stockFlag) spellings() (lines [][]string) {
	switch {
	case f.name == "disable-safeguards=all":
		return [][]string{{"-X"}, {"--disable-safeguards=all"}}
	case f.bool:
		for _, value := range []string{"", "=yes", "=no"} {
			lines = append(lines, []string{"--" + f.name + value})
		}
		if f.short != "" {
			lines = append(lines, []string{"-" + f.short})
		}
	default:
		lines = [][]string{{"--" + f.name, f.value}, {"--" + f.name + "=" + f.value}}
		if f.short != "" {
			lines = append(lines, []string{"-" + f.short, f.value}, []string{"-" + f.short + f.value})
		}
	}
	return lines
}
