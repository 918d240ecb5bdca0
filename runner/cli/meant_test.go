package cli

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
)

// A typing error is answered with what may be meant, and what is far from everything with
// where to look.
func TestDidYouMean(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"statsu":                            "unknown command \"statsu\" (did you mean `tmnotes status`?); `tmnotes help` lists the commands",
		"stat":                              "unknown command \"stat\" (did you mean `tmnotes status`?); `tmnotes help` lists the commands",
		"rnu":                               "unknown command \"rnu\" (did you mean `tmnotes run`?); `tmnotes help` lists the commands",
		"frobnicate":                        "unknown command \"frobnicate\"; `tmnotes help` lists the commands",
		"fmt":                               "fmt is a terramate command: terramate fmt",
		"run --chnged -- true":              "unknown flag --chnged (did you mean --changed?); `tmnotes run --help` lists the flags",
		"run --paralel=3 -- true":           "unknown flag --paralel (did you mean --parallel?); `tmnotes run --help` lists the flags",
		"--dryrun run -- true":              "unknown flag --dryrun (did you mean --dry-run?); `tmnotes run --help` lists the flags",
		"run --xyzzy -- true":               "unknown flag --xyzzy; `tmnotes run --help` lists the flags",
		"run -Q -- true":                    "unknown flag -Q; `tmnotes run --help` lists the flags",
		"script run --chnged deploy":        "unknown flag --chnged (did you mean --changed?); `tmnotes script run --help` lists the flags",
		"run --retry x -- true":             `--retry: "x" is not a number; ` + "`tmnotes run --help` lists the flags",
		"run --timeout 5 -- true":           "--timeout: \"5\" is not a duration, like 90s or 5m; `tmnotes run --help` lists the flags",
		"run --changed=maybe -- true":       "--changed: \"maybe\" is not true or false; `tmnotes run --help` lists the flags",
		"run -j x -- true":                  "-j: \"x\" is not a number; `tmnotes run --help` lists the flags",
		"run --op":                          "--op needs a value; `tmnotes run --help` lists the flags",
		"log -n":                            "-n needs a value; `tmnotes log --help` lists the flags",
		"mark --reason x --status faild /a": "--status: \"faild\" cannot be marked (did you mean failed?); use ok, failed, canceled or drifted",
		"cloud login":                       "cloud login is a terramate command: terramate cloud login",
		"script list":                       "script list is a terramate command: terramate script list",
		"list --status faild":               "--status: unknown status \"faild\" (did you mean failed?); use one of ",
		"list --drift-status drift":         "--drift-status: unknown status \"drift\" (did you mean drifted?); use one of ",
		"list --deployment-status xx":       "--deployment-status: unknown status \"xx\"; use one of ",
	} {
		var out, said bytes.Buffer
		code := Main(context.Background(), strings.Fields(line), Env{Stdout: &out, Stderr: &said})
		got := strings.TrimSpace(strings.TrimPrefix(said.String(), "tmnotes: "))
		if code != exitUsage || !strings.HasPrefix(got, want) || !strings.HasSuffix(want, " ") && got != want {
			t.Errorf("%s: exit code %d, %q, want %q", line, code, got, want)
		}
	}
	stacks := []runner.Stack{{Path: "/prod/vpc", ID: "prod-vpc"}, {Path: "/prod/db"}}
	for typed, want := range map[string]string{"/prod/vcp": "/prod/vpc", "PROD-vp": "prod-vpc", "/prod/db2": "/prod/db", "/staging": "", "": ""} {
		if want != "" {
			want = fmt.Sprintf(" (did you mean %s?)", want)
		}
		if got := query.MeantStack(typed, stacks); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// The help names each flag's value, and no default that is none.
func TestHelpOfFlags(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile("`([^`]*)`")
	app := newApp(Env{})
	for _, command := range app.Commands {
		for _, c := range append(slices.Clone(command.Subcommands), command) {
			if strings.Contains(c.Description, "table below") {
				t.Errorf("%s: the help has no table below its description: %s", c.Name, c.Description)
			}
			for _, f := range c.VisibleFlags() {
				usage := f.(cli.DocGenerationFlag).GetUsage()
				for _, name := range placeholder.FindAllStringSubmatch(usage, -1) {
					if !regexp.MustCompile(`^[A-Z][A-Z=|]*$`).MatchString(name[1]) {
						t.Errorf("%s: %q would be named as the value of --%s", c.Name, name[1], f.Names()[0])
					}
				}
				if text := f.String(); strings.Contains(text, "default: false") || strings.Contains(text, "default: 0s") || strings.Contains(text, "`") {
					t.Errorf("%s: %s", c.Name, text)
				}
				if slices.Contains(f.Names(), "parallel") && !strings.Contains(f.String(), "(default: 1)") {
					t.Errorf("%s: %s", c.Name, f)
				}
			}
		}
	}
}
