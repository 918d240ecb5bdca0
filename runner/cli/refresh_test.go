package cli

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// --json is --format json in every command that has --format, wherever it stands.
func TestJSON(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, c := range newApp(Env{}).Commands {
		if !slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "format") }) {
			continue
		}
		seen++
		for typed, want := range map[string]string{
			"--json": "json", "--json --format json": "json", "--format=json --json": "json", "--json -C dir": "json", "-C dir --json --ref x": "json",
			"": "text", "--format text": "text", "--json=false": "text", "--json=false --format json": "json",
			"--json --format text": "", "--format gitlab --json": "",
		} {
			app, got := newApp(Env{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}), ""
			app.Command(c.Name).Action = func(c *cli.Context) error { got = c.String("format"); return nil }
			err := app.RunContext(context.Background(), append([]string{"tmnotes"}, normalize(app, append([]string{c.Name}, strings.Fields(typed)...))...))
			if got != want || (want == "") != (err != nil) || err != nil && !strings.Contains(err.Error(), "--json is --format json; leave out --json, or --format ") {
				t.Errorf("%s %s: %q, %v", c.Name, typed, got, err)
			}
		}
	}
	if seen < 11 {
		t.Errorf("only %d commands have --format", seen)
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]time.Duration{"true": usualInterval, "false": 0, "5s": 5 * time.Second, "1s": time.Second, "999ms": -1, "-5s": -1, "5": -1, "": -1} {
		var i interval
		if err := i.Set(typed); (want < 0) != (err != nil) || err == nil && i.Duration != want {
			t.Errorf("--watch=%s: %v, %v", typed, i.Duration, err)
		}
	}
}
