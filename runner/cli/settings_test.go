package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every setting that the code reads is one that checkSettings knows, and the other
// way round.
func TestSettingsAreKnown(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(top + "/*/*.go")
	inner, err2 := filepath.Glob(top + "/*/*/*.go")
	files = append(files, inner...)
	inner, err3 := filepath.Glob(top + "/*/*/*/*.go")
	if err != nil || err2 != nil || err3 != nil {
		t.Fatal(err, err2, err3)
	}
	reads := regexp.MustCompile(`(?:[sS]etting\(c, s, "[a-z-]*", "|Config(?:All|Name)?\("|\.[sS]etting\("tmnotes\.)([a-zA-Z]+)"`)
	var read []string
	for _, f := range append(files, inner...) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reads.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(read, m[1]) {
				read = append(read, m[1])
			}
		}
	}
	slices.Sort(read)
	if !slices.Equal(read, settings) {
		t.Errorf("read are %q, known are %q", read, settings)
	}
}

// A variable that is set and empty is as one that is not set, for every variable of
// every flag, and does not hide another one of the same flag.
func TestEmptyVariableIsNoSetting(t *testing.T) {
	samples := map[string]string{"*cli.StringFlag": "x", "*cli.BoolFlag": "true", "*cli.IntFlag": "3", "*cli.DurationFlag": "90s", "*cli.StringSliceFlag": "x"}
	type of struct {
		command []string
		flag    cli.Flag
		typ     string
		names   []string
	}
	var flags []of
	for _, cmd := range newApp(Env{}).Commands {
		for _, sub := range append(cmd.Subcommands, cmd) {
			words := []string{"tmnotes", cmd.Name}
			if sub != cmd {
				words = append(words, sub.Name)
			}
			for _, f := range sub.Flags {
				names := envVars(f)
				if names == nil {
					t.Fatalf("%T, of --%s, is not looked at for empty variables", f, f.Names()[0])
				}
				if len(*names) > 0 {
					flags = append(flags, of{words, f, fmt.Sprintf("%T", f), *names})
				}
			}
		}
	}
	if len(flags) < 40 {
		t.Fatalf("only %d flags have variables", len(flags))
	}
	// seen is what a command sees of its flag.
	seen := func(words []string, name string) (set bool, value string) {
		app := newApp(Env{Stdout: io.Discard, Stderr: io.Discard, Environ: os.Environ()})
		var commands []*cli.Command
		for _, cmd := range app.Commands {
			commands = append(append(commands, cmd), cmd.Subcommands...)
		}
		ran := false
		for _, cmd := range commands {
			cmd.Before, cmd.Action = nil, func(c *cli.Context) error {
				ran, set, value = true, c.IsSet(name), fmt.Sprint(c.Value(name))
				return nil
			}
		}
		if err := app.Run(words); err != nil || !ran {
			t.Fatalf("%q with --%s: %v", words, name, err)
		}
		return set, value
	}
	for _, f := range flags {
		for _, name := range f.names {
			t.Setenv(name, "") // restored at the end
			os.Unsetenv(name)
		}
	}
	for _, f := range flags {
		name := f.flag.Names()[0]
		_, unset := seen(f.command, name)
		for _, variable := range f.names {
			os.Setenv(variable, "")
		}
		if set, value := seen(f.command, name); set || value != unset {
			t.Errorf("%q: --%s is set by empty %q: %s, not %s", f.command, name, f.names, value, unset)
		}
		last := f.names[len(f.names)-1] // the others are empty
		if f.typ == "*cli.BoolFlag" {
			for word, want := range map[string]string{"yes": "true", "No": "false", "0": "false", "TRUE": "true"} {
				os.Setenv(last, word)
				if set, value := seen(f.command, name); !set || value != want {
					t.Errorf("%q: --%s is %s with %s=%s", f.command, name, value, last, word)
				}
			}
		}
		os.Setenv(last, samples[f.typ])
		if set, value := seen(f.command, name); !set || value == unset && f.typ != "*cli.BoolFlag" {
			t.Errorf("%q: --%s is not set by %s=%s: %s", f.command, name, last, samples[f.typ], value)
		}
		for _, variable := range f.names {
			os.Unsetenv(variable)
		}
	}
}
