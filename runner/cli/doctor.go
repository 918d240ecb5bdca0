package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func doctorCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "check that this machine can deploy, and how to fix what is missing",
		Description: "Asks the remote whether it would take the notes, with all that it checks then, and looks at git, the clone, the project\n" +
			"and the CI job. Nothing is changed, here or there. Exits with 1 if something is a problem, and with 0 where there\n" +
			"are warnings only. Run it as a step of the job that is to deploy.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{formatFlag()}, claimFlags()[:1], syncFlags()[:1], storeFlags()),
		Action: func(c *cli.Context) error {
			if err := errors.Join(noArgs(c), checkFormat(c), setLogLevel(c)); err != nil {
				return err
			}
			dir, err := workingDir(c)
			if err != nil {
				return err
			}
			d := &doctor{c: c, dir: dir, ci: env.ci(), env: env, getenv: env.Getenv, now: time.Now}
			d.examine()
			return d.print(env)
		},
	}
}

// finding is what a check found, with what to do about it.
type finding struct {
	Level string `json:"level"` // ok; warning; problem: a deployment would fail
	Check string `json:"check"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"`
}

// doctor goes through the checks. None of them needs another to have gone well; what
// it has not got (no repository, no project) it does not look at.
type doctor struct {
	c      *cli.Context
	dir    string
	ci     deploy.CI
	env    Env
	getenv func(string) string // of env
	now    func() time.Time

	check string // that is under way
	found []finding

	s      *gitstate.Store
	p      *project.Project
	remote string // of the records
	code   string // the remote of the code; most often that is the same
	asked  bool
	view   gitstate.RemoteView // of remote
	there  gitstate.RemoteView // of code
}

func (d *doctor) ok(format string, args ...any) { d.add("ok", "", format, args...) }

func (d *doctor) warn(do, format string, args ...any) { d.add("warning", do, format, args...) }

func (d *doctor) problem(do, format string, args ...any) { d.add("problem", do, format, args...) }

func (d *doctor) add(level, do, format string, args ...any) {
	d.found = append(d.found, finding{level, d.check, fmt.Sprintf(format, args...), do})
}

func (d *doctor) examine() {
	defer func() {
		if d.s != nil {
			d.s.Close()
		}
	}()
	for _, check := range []struct {
		name string
		run  func()
		has  func() bool
	}{
		{name: "git", run: d.git},
		{name: "repository", run: d.repository},
		{name: "settings", run: d.settings, has: d.hasStore},
		{name: "commit", run: d.commit, has: d.hasStore},
		{name: "history", run: d.history, has: d.hasStore},
		{name: "writing", run: d.writing, has: d.hasStore},
		{name: "signing", run: d.signing, has: d.hasStore},
		{name: "project", run: d.project},
		{name: "remote", run: d.findRemote, has: d.hasStore},
		{name: "credential", run: d.credential, has: d.hasRemote},
		{name: "fetch", run: d.fetch, has: d.hasRemote},
		{name: "notes", run: d.notes, has: d.hasStore},
		{name: "push", run: d.push, has: func() bool { return d.asked }},
		{name: "clock", run: d.clock, has: d.hasStore},
		{name: "refspecs", run: d.refspecs, has: d.hasRemote},
		{name: "changes", run: d.changes, has: func() bool { return d.p != nil && d.hasStore() }},
		{name: "safeguards", run: d.safeguards, has: func() bool { return d.p != nil }},
		{name: "terraform", run: d.terraform},
		{name: "ci", run: d.job},
	} {
		if check.has != nil && !check.has() {
			continue
		}
		d.check = check.name
		func() {
			defer func() {
				// A check that breaks must not hide what the others find.
				if r := recover(); r != nil {
					d.problem("", "the check itself failed: %v", r)
				}
			}()
			check.run()
		}()
	}
}

func (d *doctor) hasStore() bool { return d.s != nil }

func (d *doctor) hasRemote() bool { return d.s != nil && d.remote != "" }

func (d *doctor) print(env Env) error {
	if d.c.String("format") == "json" {
		if err := terminal.PrintJSON(env.Stdout, d.found); err != nil {
			return err
		}
	} else {
		u := newUI(env)
		var rows [][]string
		for _, f := range d.found {
			line := f.What
			if f.Do != "" {
				line += " (" + f.Do + ")"
			}
			rows = append(rows, []string{f.Level, f.Check, line})
		}
		u.Table(env.Stdout, nil, rows, func(level string) string {
			return map[string]string{"ok": terminal.Green, "warning": terminal.Yellow, "problem": terminal.Red}[level]
		})
	}
	if slices.ContainsFunc(d.found, func(f finding) bool { return f.Level == "problem" }) {
		return &exitError{code: exitFailed}
	}
	return nil
}

// minGit is the oldest git that has the options that are used.
var minGit = [2]int{2, 31}

func (d *doctor) git() {
	v, err := gitstate.GitVersion(d.c.Context, d.env.Environ)
	if err != nil {
		d.problem("install git 2.31 or newer", "%v", err)
		return
	}
	program, terramate := version()
	if number := gitNumber(v); number[0] < minGit[0] || number[0] == minGit[0] && number[1] < minGit[1] {
		d.problem("install 2.31 or newer", "git %s is too old", v)
		return
	}
	d.ok("git %s, tmnotes %s, which works as terramate %s", v, program, terramate)
}

// gitNumber reads "2.39.5 (Apple Git-154)" as far as it matters.
func gitNumber(v string) (n [2]int) {
	for i, part := range strings.SplitN(v, ".", 3)[:min(2, strings.Count(v, ".")+1)] {
		n[i], _ = strconv.Atoi(part)
	}
	return n
}

func (d *doctor) repository() {
	s, err := gitstate.Open(d.c.Context, storeOptions(d.c, d.env, d.dir))
	if err != nil {
		d.problem("", "%v", err)
		return
	}
	d.s = s
	if s.WorkTree() == "" {
		d.problem("clone it without --bare", "%s is bare: no stack can run in it", s.GitDir())
		return
	}
	d.ok("%s, records in %s", s.WorkTree(), s.Ref())
}

func (d *doctor) settings() {
	before := len(d.found)
	err := checkSettings(d.s, func(what string) { d.warn("", "%s", what) })
	if err == nil {
		err = useSignatures(d.c, d.s)
	}
	if err != nil {
		d.problem("", "%v", err)
	}
	_, execution := parseExecution(d.c, d.s)
	_, waves := parseWaves(d.c, d.env, d.s)
	_, parallel := settings.parallel.number(d.c, d.s)
	_, interval := settings.pushInterval.duration(d.c, d.s)
	_, sync := planSync(d.c, d.s, "", d.ci) // a mode that is unknown; the remote is looked at below
	if sync != nil && !strings.HasPrefix(sync.Error(), "--sync: ") {
		sync = nil
	}
	_, claims := parseClaims(d.c, d.s)
	for _, err := range []error{execution, waves, claims, parallel, interval, sync} {
		if err != nil {
			d.problem("", "%v", err)
		}
	}
	for _, name := range d.unknownVariables() {
		d.warn("tmnotes help configuration lists those that there are", "nothing reads the variable %s", name)
	}
	if len(d.found) == before {
		d.ok("valid")
	}
}

// unknownVariables are those of the environment that look like settings, and are none.
func (d *doctor) unknownVariables() (unknown []string) {
	known := []string{"TMNOTES_WAVE", "TMNOTES_NEXT_WAVE", "TMNOTES_COMMIT", // of a gate
		"TMNOTES_STACK", "TMNOTES_STATUS", "TMNOTES_WAS", "TMNOTES_JOB", "TMNOTES_ACTOR", "TMNOTES_AUTHOR", // of --on-change
		"TMNOTES_PUSH_TOKEN", "TMNOTES_RELEASES"} // a name in the manual, and what the setup reads (tmnotes help ci)
	for _, o := range settings.all {
		known = append(known, o.variables...)
	}
	for _, kv := range d.env.Environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" && strings.HasPrefix(name, "TMNOTES_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

func (d *doctor) commit() {
	head, err := d.s.Resolve("HEAD")
	switch {
	case err != nil:
		d.problem("", "%v", err)
	case d.getenv("GITHUB_EVENT_NAME") == "pull_request" && d.ci.Name == "github":
		d.warn("deploy from a job that runs on: push", "HEAD is the merge commit that GitHub makes for a pull request: records on it are on no branch")
	default:
		d.ok("%s %q", note.Short(head.Hash), head.Subject)
	}
}

func (d *doctor) history() {
	if !d.s.Shallow() {
		d.ok("all of it is here")
		return
	}
	do := map[string]string{"github": "fetch-depth: 0 in actions/checkout", "gitlab": `GIT_DEPTH: "0" in the job's variables`}[d.ci.Name]
	if do == "" {
		do = "git fetch --unshallow"
	}
	d.warn(do, "the clone is shallow: --changed cannot compare commits that are missing, and commit times decide which commit is newer")
}

func (d *doctor) writing() {
	if err := d.s.TryWrite(d.c.Context); err != nil {
		do := "see what runs as hook here"
		if errors.Is(err, gitstate.ErrReadOnly) {
			do = "let this user write to " + filepath.Join(d.s.GitDir(), "tmnotes") + " and to the refs beside it"
		}
		if hook, herr := d.s.Hook(d.c.Context, "reference-transaction"); herr == nil && hook != "" && !errors.Is(err, gitstate.ErrReadOnly) {
			do = "the hook " + hook + " may refuse it"
		}
		d.problem(do, "%v", err)
	} else {
		d.ok("%s can be moved (tried, and left where it is)", d.s.Ref())
	}
	for _, file := range d.s.StaleLocks() {
		d.warn("if no git process is running: rm "+shellQuote(file), "stale lock file: %s", file)
	}
	if hook, err := d.s.Hook(d.c.Context, "pre-push"); err == nil && hook != "" {
		d.ok("the hook %s is not run for notes: they are pushed with --no-verify", hook)
	}
}

func (d *doctor) notes() {
	st, err := d.s.State(d.c.Context)
	if err != nil {
		d.problem("tmnotes check says what is wrong", "the notes cannot be read: %v", err)
		return
	}
	switch there := d.asked && (d.view.Notes != "" || d.view.Spools > 0); {
	case st.Empty() && there:
		d.ok("no notes in this clone yet (%s has some: tmnotes fetch)", d.remote)
	case st.Empty() && d.hasRemote() && !d.asked:
		d.ok("no notes in this clone yet")
	case st.Empty():
		d.ok("nothing is recorded yet; before the first run --pending: tmnotes adopt --all, or --init if nothing is deployed")
	default:
		d.ok("they can be read")
	}
	if ahead := st.Future(); ahead > maxSkew {
		d.warn("tmnotes check names it; look at the clock of the machine that made it", "a record is %s ahead of this machine's clock: its time is not followed", runner.Took(ahead))
	}
}

// maxSkew is how far clocks may be apart; see FORMAT.md, `at`.
const maxSkew = 10 * time.Minute

func (d *doctor) project() {
	p, err := project.Load(d.c.Context, project.Options{Dir: d.dir, Environ: d.env.Environ})
	if err != nil {
		do := ""
		if strings.Contains(err.Error(), "required_version") {
			_, terramate := version()
			do = "this tmnotes works as terramate " + terramate + "; take one that works as the version that is required"
		}
		d.problem(do, "%v", err)
		return
	}
	all, err := p.All()
	if err != nil {
		d.problem("", "%v", err)
		return
	}
	d.p = p
	if len(all) == 0 {
		d.warn("terramate create DIR makes one", "the project has no stacks")
		return
	}
	if d.s != nil {
		if w, err := parseWaves(d.c, d.env, d.s); err == nil && w.Exist(all) != nil {
			d.problem("", "%v", w.Exist(all))
		}
	}
	none := 0
	for _, s := range all {
		if s.ID == "" {
			none++
		}
	}
	if none > 0 {
		d.warn("terramate create --ensure-stack-ids", "%s of %d have no id: one that moves is another stack, and tmnotes cloud does not know them", runner.Plural(none, "stack"), len(all))
		return
	}
	d.ok("%s, each with an id", runner.Plural(len(all), "stack"))
}

func (d *doctor) safeguards() {
	sf, err := project.ParseSafeguards(false, nil, d.getenv)
	if err != nil {
		d.problem("", "%v", err)
		return
	}
	err = d.p.CheckSafeguards(d.c.Context, sf, project.Selection{}, false)
	switch {
	case err == nil:
		d.ok("none would block")
	case d.ci.Name != "":
		d.problem("", "tmnotes run would refuse: %v", err)
	default: // somebody is working here
		d.warn("", "tmnotes run would refuse: %v", err)
	}
}

// terraform looks for the wrapper that setup-terraform and setup-opentofu install,
// which turns exit code 2 into 0.
func (d *doctor) terraform() {
	var has []string
	for _, name := range []string{"terraform", "tofu", "terragrunt"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		has = append(has, name)
		if runner.Wrapper(path, "", nil) != "" {
			d.warn(strings.Replace(name, "terragrunt", "terraform", 1)+"_wrapper: false in the setup action", "%s is the wrapper of a setup action: exit code 2 of plan -detailed-exitcode comes out as 0, so no drift is ever seen", path)
			return
		}
	}
	if len(has) == 0 {
		d.warn("install the one that the stacks use", "neither terraform, tofu nor terragrunt is in PATH")
		return
	}
	d.ok("%s in PATH", strings.Join(has, ", "))
}

func (d *doctor) job() {
	var missing []string
	want := map[string][]string{
		"github":    {"GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "GITHUB_ACTOR"},
		"gitlab":    {"CI_JOB_ID", "CI_PIPELINE_URL", "CI_JOB_NAME", "GITLAB_USER_NAME"},
		"buildkite": {"BUILDKITE_STEP_ID", "BUILDKITE_RETRY_COUNT", "BUILDKITE_BUILD_CREATOR"},
	}[d.ci.Name]
	for _, v := range want {
		if d.getenv(v) == "" {
			missing = append(missing, v)
		}
	}
	switch {
	case len(missing) > 0:
		d.warn("hand them to the container or step that runs tmnotes", "%s is not set: the records cannot say who started the job, or which attempt it is", strings.Join(missing, ", "))
	case d.ci.Name == "ci":
		d.warn("", "CI is set, but it is none that tmnotes knows: the records do not name the job, and a run that vanishes is noticed after --stale-after only")
	case d.ci.Name == "":
		d.ok("not running in CI; records name %s", d.who())
	default:
		d.ok("%s, job %s, started by %s", d.ci.Name, d.ci.Job, d.ci.By)
	}
}

func (d *doctor) who() string {
	if d.s == nil {
		return "nobody"
	}
	return d.s.Who(d.c.Context)
}
