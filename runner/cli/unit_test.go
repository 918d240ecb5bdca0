package cli

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// Terramate's users write short flags with their values, several at once, and
// flags before the command; what follows the command's own words is not ours.
func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"run -j4 -- true", "run -j 4 -- true"},
		{"run -j=4 -- true", "run -j=4 -- true"},
		{"run -Xc -- true", "run -X -c -- true"},
		{"run -Xcj8 -- true", "run -X -c -j 8 -- true"},
		{"run -XC dir -- true", "run -X -C dir -- true"},
		{"run -C/dir -- true", "run -C /dir -- true"},
		{"-C dir run -- true", "run -C dir -- true"},
		{"--chdir=dir --changed run -j 2 -- true", "run --chdir=dir --changed -j 2 -- true"},
		{"--tags a:b list", "list --tags a:b"},
		{"run terraform apply -j4 -Xc", "run terraform apply -j4 -Xc"},
		{"run -- terraform -C/dir", "run -- terraform -C/dir"},
		{"run -j", "run -j"},
		{"-v --log-fmt json list -v", "list -v --log-fmt json -v"},
		{"list --verbose=2 -v=3 --verbose=1", "list --verbose --verbose --verbose=1"},
		{"run --tags run -- list", "run --tags run -- list"},
		{"run -Bmain list", "run -B main list"},
		{"--help", "--help"},
		{"", ""},
		{"frobnicate -j4", "frobnicate -j4"},
		{"-j4", "-j4"},
		{"log -n5 /a", "log -n 5 /a"},
		{"show -", "show -"},
		{"log --json /a -n5", "log --json -n 5 /a"},
		{"--json log /a", "log --json /a"},
		{"status --watch --at x", "status --watch --at x"},
		{"report --json file --html page", "report --json file --html page"},
		{"script run -j4 db migrate -j5", "script run -j 4 db migrate -j5"},
		{"-C dir script run -- run", "script run -C dir -- run"},
		{"script -Xc run run", "script run -X -c run"},
		{"script list", "script list"},
	} {
		got := strings.Join(normalize(newApp(Env{}), strings.Fields(tt.in)), " ")
		if got != tt.want {
			t.Errorf("normalize(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// The hint names the command that lists what a run goes over.
func TestListPending(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"run --pending -- plan":                "",
		"run --pending --op plan -- x":         " --op plan",
		"run --pending --force -j4 -- x":       "",
		"run --pending --init -C a b":          " --chdir a --init",
		"run --tags a:b --tags c --pending x":  " --tags 'a:b' --tags c",
		"run --pending --changed -Bmain -- x":  " --changed --git-change-base main",
		"run --status failed --tags a'b x":     ` --tags 'a'\''b' --status failed`,
		"script run --pending --target eu x":   " --target eu",
		"matrix --pending --sync-deployment x": " --op deploy",
	} {
		app, got := newApp(Env{}), ""
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		for _, command := range app.Commands {
			for _, c := range append(command.Subcommands, command) {
				c.Action = func(c *cli.Context) error { got = listPending(c); return nil }
			}
		}
		if err := app.Run(append([]string{"tmnotes"}, normalize(app, strings.Fields(in))...)); err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if want = "tmnotes list --pending --why" + want; got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ünïcode":      "plain ünïcode",
		"two\nlines\n":       "two; lines",
		"a\tb":               "a b",
		"\x1b[31mred\x1b[0m": `\u001b[31mred\u001b[0m`,
		"\u009b31m":          `\u009b31m`,
		"abc\u202edcba":      `abc\u202edcba`,
	} {
		got := runner.Printable(in)
		if got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("printable(%q) has %U in it", in, r)
			}
		}
	}
}

func TestDetectCI(t *testing.T) {
	t.Parallel()
	env := func(kv ...string) func(string) string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return func(k string) string { return m[k] }
	}
	for _, tt := range []struct {
		name string
		env  func(string) string
		want deploy.CI
	}{
		{"none", env(), deploy.CI{}},
		// https://docs.github.com/en/actions/reference/variables-reference: "a unique number for each attempt of a particular workflow run".
		{"GitHub", env("CI", "true", "GITHUB_ACTIONS", "true", "GITHUB_SERVER_URL", "https://github.com", "GITHUB_REPOSITORY", "o/r",
			"GITHUB_RUN_ID", "7", "GITHUB_RUN_ATTEMPT", "2", "GITHUB_ACTOR", "alice"),
			deploy.CI{Name: "github", Job: "https://github.com/o/r/actions/runs/7", Attempt: 2, By: "alice"}},
		// https://docs.gitlab.com/ci/variables/predefined_variables: the id is "unique across all jobs"; the pipeline and the name stay.
		{"GitLab", env("GITLAB_CI", "true", "CI_PIPELINE_URL", "https://gitlab.com/o/r/-/pipelines/9", "CI_JOB_NAME", "apply", "CI_JOB_ID", "71",
			"GITLAB_USER_NAME", "Alice", "GITLAB_USER_EMAIL", "a@example.com"),
			deploy.CI{Name: "gitlab", Job: "https://gitlab.com/o/r/-/pipelines/9#apply", Attempt: 71, By: "Alice <a@example.com>"}},
		{"GitLab.com, whose ids are long", env("GITLAB_CI", "true", "CI_PIPELINE_URL", "https://gitlab.com/o/r/-/pipelines/9", "CI_JOB_NAME", "apply", "CI_JOB_ID", "12345678901"),
			deploy.CI{Name: "gitlab", Job: "https://gitlab.com/o/r/-/pipelines/9#apply", Attempt: 12345678901 & math.MaxInt32, By: ""}},
		// https://buildkite.com/docs/pipelines/configure/environment-variables: the URL is "the url for this build", the count is of "this job".
		{"Buildkite", env("BUILDKITE_BUILD_URL", "https://buildkite.com/o/p/builds/7", "BUILDKITE_STEP_ID", "s1", "BUILDKITE_RETRY_COUNT", "2", "BUILDKITE_BUILD_CREATOR", "alice"),
			deploy.CI{Name: "buildkite", Job: "https://buildkite.com/o/p/builds/7#s1", Attempt: 2, By: "alice"}},
		{"Buildkite, a parallel step", env("BUILDKITE_BUILD_URL", "https://buildkite.com/o/p/builds/7", "BUILDKITE_STEP_ID", "s1", "BUILDKITE_PARALLEL_JOB", "0", "BUILDKITE_LABEL", "apply", "BUILDKITE_RETRY_COUNT", "1"),
			deploy.CI{Name: "buildkite", Job: "https://buildkite.com/o/p/builds/7#s1/0/apply", Attempt: 1, By: ""}},
		{"Buildkite, an old agent", env("BUILDKITE_BUILD_URL", "https://buildkite.com/o/p/builds/7", "BUILDKITE_RETRY_COUNT", "1"),
			deploy.CI{Name: "buildkite", Job: "https://buildkite.com/o/p/builds/7", Attempt: 0, By: ""}},
		// https://circleci.com/docs/reference/variables: "the URL for the current job"; "job numbers are unique for each job".
		{"CircleCI", env("CIRCLE_BUILD_URL", "https://circleci.com/gh/o/r/12", "CIRCLE_USERNAME", "alice"), deploy.CI{Name: "circleci", Job: "https://circleci.com/gh/o/r/12", Attempt: 0, By: "alice"}},
		// https://www.jenkins.io/doc/book/pipeline/jenkinsfile: "full URL of this build"; a build that is replayed or restarted is another one.
		{"Jenkins", env("BUILD_URL", "https://ci/job/1", "BUILD_USER", "bob"), deploy.CI{Name: "jenkins", Job: "https://ci/job/1", Attempt: 0, By: "bob"}},
		{"another", env("CI", "1"), deploy.CI{Name: "ci"}},
		{"CI=false", env("CI", "false"), deploy.CI{}},
		{"broken attempt", env("GITHUB_ACTIONS", "true", "GITHUB_RUN_ATTEMPT", "-1"), deploy.CI{Name: "github"}},
	} {
		if diff := cmp.Diff(tt.want, detectCI(tt.env), cmp.AllowUnexported(deploy.CI{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}

// A retried job ends its own earlier tries, and no others of its pipeline: those that
// may run beside it have another name.
func TestAttemptsAreOfOneJob(t *testing.T) {
	t.Parallel()
	for name, jobs := range map[string][]map[string]string{
		"Buildkite's steps": {{"BUILDKITE_STEP_ID": "s1", "BUILDKITE_LABEL": "apply"}, {"BUILDKITE_STEP_ID": "s2", "BUILDKITE_LABEL": "apply"},
			{"BUILDKITE_STEP_ID": "s1", "BUILDKITE_LABEL": "apply", "BUILDKITE_PARALLEL_JOB": "1"}, {"BUILDKITE_STEP_ID": "s1", "BUILDKITE_LABEL": "apply eu"}},
		"GitLab's jobs": {{"CI_JOB_NAME": "apply"}, {"CI_JOB_NAME": "apply 1/2"}, {"CI_JOB_NAME": "apply: [eu]"}},
	} {
		seen := map[string]bool{}
		for _, vars := range jobs {
			var of []deploy.CI
			for _, try := range []string{"7", "8"} {
				of = append(of, detectCI(func(key string) string {
					switch key {
					case "GITLAB_CI":
						return map[bool]string{true: "true"}[vars["CI_JOB_NAME"] != ""]
					case "CI_PIPELINE_URL", "BUILDKITE_BUILD_URL":
						return "https://ci/7"
					case "CI_JOB_ID", "BUILDKITE_RETRY_COUNT":
						return try
					}
					return vars[key]
				}))
			}
			if of[0].Job != of[1].Job || of[0].Attempt >= of[1].Attempt || seen[of[0].Job] {
				t.Errorf("%s: %v is %+v and then %+v", name, vars, of[0], of[1])
			}
			seen[of[0].Job] = true
		}
	}
}

// A target and a workspace of the same name must not be taken for each other.
func TestTargetOf(t *testing.T) {
	t.Parallel()
	seen := map[string][2]string{}
	for _, target := range []string{"", "prod", "blue"} {
		for _, ws := range []string{"", "prod", "blue"} {
			got := command.TargetOf(target, ws)
			if was, ok := seen[got]; ok {
				t.Errorf("target %q workspace %q and %q are both %q", target, ws, was, got)
			}
			seen[got] = [2]string{target, ws}
		}
	}
}

// The flags from before --disable-safeguards are taken, also where a run is divided.
func TestDeprecatedSafeguards(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"run --disable-check-gen-code x":                                                    "outdated-code",
		"script run --disable-check-git-remote x":                                           "git-out-of-sync",
		"matrix --disable-check-git-untracked --disable-check-git-uncommitted x":            "git-untracked git-uncommitted",
		"run --disable-safeguards git --disable-check-gen-code=false x":                     "git",
		"run --disable-check-gen-code --disable-safeguards git,git-out-of-sync --dry-run x": "git,git-out-of-sync outdated-code",
	} {
		app, got := newApp(Env{}), ""
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		for _, command := range app.Commands {
			for _, c := range append(command.Subcommands, command) {
				c.Action = func(c *cli.Context) error { got = strings.Join(disabledSafeguards(c), " "); return nil }
			}
		}
		if err := app.Run(append([]string{"tmnotes"}, normalize(app, strings.Fields(in))...)); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}

// Which program shows the plan of --plan-file.
func TestPlanProgram(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]planFile{
		"run --plan-file p x":                               {"p", "", 5 * time.Minute},
		"run --terraform-plan-file p x":                     {"p", "terraform", 5 * time.Minute},
		"run --terraform-plan-file p --terragrunt x":        {"p", "terragrunt", 5 * time.Minute},
		"exec --terragrunt --tofu-plan-file p x":            {"p", "terragrunt", 5 * time.Minute},
		"run --terragrunt x":                                {},
		"run --plan-render-timeout 90 --tofu-plan-file p x": {"p", "tofu", 90 * time.Second},
		"run --terragrunt=false --terraform-plan-file p x":  {"p", "terraform", 5 * time.Minute},
	} {
		app, got := newApp(Env{}), planFile{}
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		for _, command := range app.Commands {
			for _, c := range append(command.Subcommands, command) {
				c.Action = func(c *cli.Context) (err error) { got, err = parsePlanFile(c); return err }
			}
		}
		if err := app.Run(append([]string{"tmnotes"}, normalize(app, strings.Fields(in))...)); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, err, want)
		}
	}
}
