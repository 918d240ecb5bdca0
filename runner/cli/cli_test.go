package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// The tests here are of the whole: the command as a process, real git, real
// bare remotes, the stock terramate, the real terraform. What a person would
// see is in testdata/script, one behaviour a file; what needs processes that
// are killed or terminals is in Go beside it.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tmnotes": tmnotesMain})
}

// tmnotesMain is what main does.
func tmnotesMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := Main(ctx, os.Args[1:], Process())
	stop()
	os.Exit(code)
}

// anySeed is where a search at random begins: anywhere, but where scripts/test says it, so that
// a red run can be had again.
func anySeed() uint64 {
	if seed, err := strconv.ParseUint(os.Getenv("TMNOTES_TEST_SEED"), 10, 64); err == nil {
		return seed
	}
	return uint64(time.Now().UnixNano())
}

func TestScripts(t *testing.T) {
	stock := stockTerramate(t)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *gittest.Update,
		Setup: func(e *testscript.Env) error {
			vars, err := isolate(e.WorkDir, stock)
			e.Vars = append(vars, e.Vars...)
			for _, v := range vars { // PATH is in both
				k, val, _ := strings.Cut(v, "=")
				e.Setenv(k, val)
			}
			e.Defer(func() {
				keepsNotes(t, e.WorkDir, e.Vars)
				intact(e.T().Fatal, e.WorkDir, e.Vars)
			})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"project": cmdProject, "events": cmdEvents, "commit": cmdCommit, "git": cmdGit, "ran": cmdRan, "fail": cmdFail, "fix": cmdFix, "exit": cmdExit,
			"mask": cmdMask, "gitcalls": cmdGitCalls, "nowhere": cmdNowhere, "lines": cmdLines, "issue": cmdIssue, "waitfile": cmdWaitFile, "broken": cmdBroken,
			"appendtag": cmdAppendTag, "forge": cmdForge(t), "pull": cmdPull,
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "terraform":
				_, err := exec.LookPath("terraform")
				return err == nil, nil
			case "gitea":
				return gittest.HasGitea(), nil
			case "root":
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// stockTerramate is the user's own terramate, as the module requires it; the go
// command builds it once.
func stockTerramate(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "tool", "-n", "github.com/terramate-io/terramate/cmd/terramate").Output()
	if err != nil {
		t.Fatalf("building the stock terramate: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// The stand-ins for what a stack's deployment does. They write which stack
// they are in to a file outside of the repository, and fail where the test
// wants them to.
const (
	deployScript = `#!/bin/sh
stack=${ROOT:+${PWD#"$ROOT"}}
stack=${stack:-/${PWD#"$WORK"/*/}}
echo "$stack" >>"$WORK/ran"
f=$(echo "$stack" | tr / -)
if test -e "$WORK/fail/$f"; then
	cat "$WORK/fail/$f" >&2
	exit 1
fi
echo "deployed $stack"
`
	terraformScript = `#!/bin/sh
case " $* " in *" init "*|*" version "*) ;; *) echo "/${PWD#"$WORK"/*/}" >>"$WORK/ran" ;; esac
exec "$REAL_TERRAFORM" "$@"
`
	// A question between two waves. What it was asked is kept.
	gateScript = `#!/bin/sh
cat >"$WORK/asked"
env >"$WORK/asked-env"
echo "smoke test of $TMNOTES_WAVE"
test "$GATE" = yes || exit 7
`
	// For a remote ssh://git.example/path: the other machine is this one.
	sshScript = `#!/bin/sh
for last; do :; done
exec sh -c "$last"
`
)

// isolate makes the environment of a test below work: no settings of the user
// or of a CI, no network but what a test names.
func isolate(work, stock string) ([]string, error) {
	home, bin := filepath.Join(work, "home"), filepath.Join(work, "bin")
	tf, _ := exec.LookPath("terraform")
	files := map[string]string{
		filepath.Join(home, "gitconfig"): "[user]\n\tname = Alice\n\temail = alice@example.com\n[init]\n\tdefaultBranch = main\n" +
			"[advice]\n\tdetachedHead = false\n[protocol \"file\"]\n\tallow = always\n[uploadpack]\n\tallowFilter = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[receive]\n\tautogc = false\n",
		filepath.Join(home, "terramaterc"): "disable_checkpoint = true\ndisable_checkpoint_signature = true\ndisable_telemetry = true\n",
		filepath.Join(home, "terraformrc"): "disable_checkpoint = true\n",
		filepath.Join(bin, "deploy"):       deployScript,
		filepath.Join(bin, "gate"):         gateScript,
		filepath.Join(bin, "terraform"):    terraformScript,
		filepath.Join(bin, "ssh"):          sshScript,
		filepath.Join(work, "ran"):         "",
	}
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			return nil, err
		}
	}
	if stock != "" {
		if err := os.Symlink(stock, filepath.Join(bin, "terramate")); err != nil {
			return nil, err
		}
	}
	return []string{
		"WORK=" + work, "HOME=" + home, "TMPDIR=" + work, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, "xdg"), "GIT_CONFIG_GLOBAL=" + filepath.Join(home, "gitconfig"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "CHECKPOINT_DISABLE=1", "TM_CLI_CONFIG_FILE=" + filepath.Join(home, "terramaterc"),
		"TF_CLI_CONFIG_FILE=" + filepath.Join(home, "terraformrc"), "TF_IN_AUTOMATION=1", "REAL_TERRAFORM=" + tf,
		"TZ=UTC", "LC_ALL=C", "NO_COLOR=1",
		"GORACE=atexit_sleep_ms=0", // with -race each process would wait a second at its end
		"GOGC=400",                 // a sixth less for a process that lives that shortly
	}, nil
}

// repositories are the git repositories below a folder.
func repositories(root string) (dirs []string) {
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if _, err := os.Stat(filepath.Join(path, "HEAD")); err == nil {
			if _, err := os.Stat(filepath.Join(path, "objects")); err == nil {
				dirs = append(dirs, path)
				return fs.SkipDir
			}
		}
		return nil
	})
	return dirs
}

// intact ends every test that changes a repository: git finds nothing wrong
// with any of them, nor does tmnotes, and no lock was left behind. A test that
// breaks one on purpose says so in a file tmnotes-test-broken in it.
func intact(fatal func(...any), work string, env []string) {
	for _, dir := range repositories(work) {
		if _, err := os.Stat(filepath.Join(dir, "tmnotes-test-broken")); err == nil {
			continue
		}
		for _, args := range [][]string{{"git", "fsck", "--no-dangling", "--no-progress"}, {"tmnotes", "check", "-C", dir}} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir, cmd.Env = dir, env
			if out, err := cmd.CombinedOutput(); err != nil {
				fatal(fmt.Sprintf("%s: %s: %v\n%s", dir, strings.Join(args, " "), err, out))
			}
		}
		_ = filepath.WalkDir(filepath.Join(dir, "refs"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".lock") {
				fatal("left behind: " + path)
			}
			return nil
		})
	}
}

// project DIR STACK[:AFTER,AFTER]... makes a Terramate project in DIR with a
// bare remote DIR.git and two commits, so that --changed lists every stack. With
// -tf the stacks are of real Terraform. Stacks have the id "id-a-b" of /a/b.
func cmdProject(ts *testscript.TestScript, neg bool, args []string) {
	tf := len(args) > 0 && args[0] == "-tf"
	if tf {
		args = args[1:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: project [-tf] DIR STACK[:AFTER,AFTER]...")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(makeProject(dir, tf, args[1:], func(dir string, argv ...string) error {
		here := ts.MkAbs(".")
		ts.Check(ts.Chdir(dir))
		defer func() { ts.Check(ts.Chdir(here)) }()
		if argv[0] == "commit" {
			cmdCommit(ts, false, argv[1:])
			return nil
		}
		return ts.Exec("git", argv...)
	}))
}

func makeProject(dir string, tf bool, stacks []string, git func(dir string, args ...string) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := errors.Join(git(dir, "init", "-q", "--bare", dir+".git"), git(dir, "init", "-q"), git(dir, "remote", "add", "origin", dir+".git"),
		os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(".terraform/\n.terraform.lock.hcl\n*.tfstate*\n*.tfplan\n"), 0o644), git(dir, "commit", "nothing yet"))
	if err != nil {
		return err
	}
	for _, spec := range stacks {
		path, after, _ := strings.Cut(spec, ":")
		at := filepath.Join(dir, path)
		flat := strings.ReplaceAll(path, "/", "-")
		text := fmt.Sprintf("stack {\n  name = %q\n  id   = %q\n", strings.TrimPrefix(path, "/"), "id"+flat)
		if after != "" {
			text += fmt.Sprintf("  after = [%q]\n", strings.Split(after, ","))
			text = strings.ReplaceAll(strings.ReplaceAll(text, "[[", "["), "]]", "]")
			text = strings.ReplaceAll(text, `" "`, `", "`)
		}
		main := ""
		if tf {
			main = fmt.Sprintf("variable \"password\" {\n  default = \"\"\n}\nresource \"terraform_data\" \"x\" {\n  input = \"1\"\n  provisioner \"local-exec\" {\n    command = \"test ! -e $WORK/fail/%s\"\n  }\n}\n", flat)
		}
		if err := errors.Join(os.MkdirAll(at, 0o755), os.WriteFile(filepath.Join(at, "stack.tm"), []byte(text+"}\n"), 0o644),
			os.WriteFile(filepath.Join(at, "main.tf"), []byte(main), 0o644)); err != nil {
			return err
		}
	}
	return errors.Join(git(dir, "commit", "stacks"), git(dir, "push", "-q", "-u", "origin", "main"))
}

// commit MESSAGE commits all that is there, a minute after the commit before it.
func cmdCommit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: commit MESSAGE")
	}
	n, _ := strconv.Atoi(ts.Getenv("COMMITS"))
	ts.Setenv("COMMITS", strconv.Itoa(n+1))
	at := time.Date(2024, 1, 1, 12, n, 0, 0, time.UTC).Format(time.RFC3339)
	ts.Setenv("GIT_AUTHOR_DATE", at)
	ts.Setenv("GIT_COMMITTER_DATE", at)
	ts.Check(ts.Exec("git", "add", "-A"))
	ts.Check(ts.Exec("git", "commit", "-q", "--allow-empty", "-m", args[0]))
	ts.Setenv("GIT_AUTHOR_DATE", "")
	ts.Setenv("GIT_COMMITTER_DATE", "")
}

// appendtag DIR TAG... gives a stack tags.
func cmdAppendTag(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(filepath.Join(args[0], "stack.tm"))
	b, err := os.ReadFile(file)
	ts.Check(err)
	text := strings.Replace(string(b), "stack {", fmt.Sprintf("stack {\n  tags = [\"%s\"]", strings.Join(args[1:], `", "`)), 1)
	ts.Check(os.WriteFile(file, []byte(text), 0o644))
}

func cmdGit(ts *testscript.TestScript, neg bool, args []string) {
	if err := ts.Exec("git", args...); (err != nil) != neg {
		ts.Fatalf("git: %v", err)
	}
}

// ran STACK... compares which stacks were executed since the last time, in any
// order; with -order in this one, with -n how many.
func cmdRan(ts *testscript.TestScript, neg bool, args []string) {
	file := filepath.Join(ts.Getenv("WORK"), "ran")
	b, err := os.ReadFile(file)
	ts.Check(err)
	ts.Check(os.WriteFile(file, nil, 0o644))
	got := strings.Fields(string(b))
	if len(args) > 0 && args[0] == "-n" {
		if strconv.Itoa(len(got)) != args[1] {
			ts.Fatalf("%d stacks were executed, not %s: %v", len(got), args[1], got)
		}
		return
	}
	if len(args) > 0 && args[0] == "-order" {
		args = args[1:]
	} else {
		slices.Sort(got)
		slices.Sort(args)
	}
	if !slices.Equal(got, args) {
		ts.Fatalf("executed: %v\nexpected: %v", got, args)
	}
}

// fail STACK... lets the deployments of stacks fail, until fix STACK...; with
// -with TEXT, saying TEXT.
func cmdFail(ts *testscript.TestScript, neg bool, args []string) {
	text := "Error: no capacity\n"
	if args[0] == "-with" {
		text, args = args[1]+"\n", args[2:]
	}
	for _, s := range args {
		file := filepath.Join(ts.Getenv("WORK"), "fail", strings.ReplaceAll(s, "/", "-"))
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
		ts.Check(os.WriteFile(file, []byte(text), 0o644))
	}
}

func cmdFix(ts *testscript.TestScript, neg bool, args []string) {
	for _, s := range args {
		ts.Check(os.Remove(filepath.Join(ts.Getenv("WORK"), "fail", strings.ReplaceAll(s, "/", "-"))))
	}
}

// exit CODE COMMAND... runs a command that is to end with this exit code.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		code = ee.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, not %d", code, want)
	}
}

var masks = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{8}([0-9A-HJKMNP-TV-Z]{16})?\b`), "RUN"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b\d:[0-9a-f]{24}\b`), "INPUTS"},
	{regexp.MustCompile(`\b([0-9a-f]{40}|[0-9a-f]{12})\b`), "HASH"},
	{regexp.MustCompile(`(variant"?[=:] ?"?)(2:)?[0-9a-f]{8}\b`), "${1}VARIANT"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(ms|s)\b`), "TOOK"},
	{regexp.MustCompile(`("took": )\d+\.\d`), "${1}TOOK"},
	{regexp.MustCompile(`\b\d+ min ago\b`), "just now"}, // on a slow machine
	{regexp.MustCompile(`(?m) {2,}`), "  "},
	{regexp.MustCompile(`(?m) +$`), ""},
}

// masked is a text with words for what differs from run to run.
func masked(text string) string {
	for _, m := range masks {
		text = m.re.ReplaceAllString(text, m.to)
	}
	return text
}

// mask FILE copies FILE (or stdout, stderr) to $WORK/got, masked.
func cmdMask(ts *testscript.TestScript, neg bool, args []string) {
	text := masked(strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "$WORK"))
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "got"), []byte(text), 0o644))
}

// gitcalls COMMAND N: since GIT_TRACE2_EVENT names the file $WORK/trace, `git
// COMMAND` was called N times by somebody other than git; 1/m is once a minute,
// however long it took.
func cmdGitCalls(ts *testscript.TestScript, neg bool, args []string) {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("WORK"), "trace"))
	ts.Check(err)
	n := 0
	var last time.Time
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var e struct {
			Event, Name, Hierarchy string
			Time                   time.Time
		}
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.Event == "cmd_name" && e.Name == args[0] && e.Hierarchy == args[0] {
			// A fetch's time is that of its end, so the next may come a little early.
			if n++; args[1] == "1/m" && n > 1 && e.Time.Sub(last) < 50*time.Second {
				ts.Fatalf("git %s was called %v after it was called before", args[0], e.Time.Sub(last))
			}
			last = e.Time
		}
	}
	if args[1] == "1/m" && n > 0 {
		return
	}
	if strconv.Itoa(n) != args[1] {
		ts.Fatalf("git %s was called %d times, not %s", args[0], n, args[1])
	}
}

// nowhere TEXT...: no object of any repository of the test, and no file that
// tmnotes keeps, has the text in it.
func cmdNowhere(ts *testscript.TestScript, neg bool, args []string) {
	searched := 0
	for _, dir := range repositories(ts.Getenv("WORK")) {
		cmd := exec.Command("git", "-C", dir, "cat-file", "--batch-all-objects", "--batch")
		all, err := cmd.Output()
		ts.Check(err)
		_ = filepath.WalkDir(filepath.Join(dir, "tmnotes"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, err := os.ReadFile(path)
				ts.Check(err)
				all = append(all, b...)
			}
			return nil
		})
		searched += bytes.Count(all, []byte(" run="))
		for _, s := range args {
			if i := bytes.Index(all, []byte(s)); i >= 0 {
				ts.Fatalf("%s has %q: %q", dir, s, all[max(0, i-200):min(len(all), i+len(s)+50)])
			}
		}
	}
	if searched == 0 {
		ts.Fatalf("no record was found to search")
	}
}

// lines FILE N: the file (or stdout, stderr) has N lines.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if n := strings.Count(text, "\n"); strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d lines, not %s:\n%s", args[0], n, args[1], text)
	}
}

// waitfile FILE waits until the file is there.
func cmdWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	if err := waitFor(30*time.Second, func() bool { _, err := os.Stat(ts.MkAbs(args[0])); return err == nil }); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

// broken DIR...: these git directories are broken on purpose.
func cmdBroken(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(dir), "tmnotes-test-broken"), nil, 0o644))
	}
}

// waitFor polls until is, or fails after most.
func waitFor(most time.Duration, is func() bool) error {
	for end := time.Now().Add(most); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited for it %v in vain", most)
		}
	}
	return nil
}
