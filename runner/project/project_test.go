package project

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"syntax", map[string]string{"a/stack.tm": "stack {\n", "a/other.tm": "stack =\n"}, []string{"a/stack.tm", "a/other.tm", "; "}},
		{"schema", map[string]string{"a/stack.tm": "stack {\n  bogus = 1\n  id = 5\n}\n"}, []string{"bogus", "stack.id", "; "}},
		{"required version", map[string]string{"t.tm": "terramate {\n  required_version = \"= 0.1.0\"\n}\n"}, []string{"required_version", "0.1.0"}},
	} {
		root := repo(t, tc.files)
		_, err := Load(t.Context(), Options{Dir: root})
		if err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		checkLine(t, err)
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", tc.name, err, want)
			}
		}
	}
	if _, err := Load(t.Context(), Options{Dir: tempDir(t)}); !errors.Is(err, ErrNoProject) {
		t.Errorf("no project: %v", err)
	}
	file := filepath.Join(repo(t, map[string]string{"f": ""}), "f")
	for _, dir := range []string{file, file + "/none"} {
		if _, err := Load(t.Context(), Options{Dir: dir}); err == nil {
			t.Errorf("Load of %s: no error", dir)
		}
	}
}

func TestSameID(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{
		"a/stack.tm": "stack {\n  id = \"same\"\n}\n",
		"b/stack.tm": "stack {\n  id = \"SAME\"\n}\n",
	})
	commit(t, root)
	for name, do := range map[string]func(*Project) error{
		"All":          func(p *Project) error { _, err := p.All(); return err },
		"List":         func(p *Project) error { _, err := p.List(Selection{}); return err },
		"Select":       func(p *Project) error { _, err := p.Select(Selection{}); return err },
		"changed":      func(p *Project) error { _, err := p.Select(Selection{Changed: true}); return err },
		"no-recursive": func(p *Project) error { _, err := p.Select(Selection{NoRecursive: true}); return err },
	} {
		err := do(load(t, filepath.Join(root, "a"), false))
		if err == nil || !strings.Contains(err.Error(), "/a") || !strings.Contains(err.Error(), "/b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n  id = \"ID\"\n}\n"})
	p := load(t, filepath.Join(root, "a"), false)
	if p.Root() != root || p.Dir() != filepath.Join(root, "a") || p.DefaultRemote() != "origin" || p.DefaultBranch() != "main" || !p.IsRepo() {
		t.Errorf("settings: %s %s %s %s %v", p.Root(), p.Dir(), p.DefaultRemote(), p.DefaultBranch(), p.IsRepo())
	}
	if all, err := p.All(); err != nil || len(all) != 1 || all[0].ID != "id" || all[0].Dir != p.Dir() {
		t.Errorf("All: %+v, %v", all, err)
	}
	root = tempDir(t)
	write(t, root, map[string]string{"t.tm": "terramate {\n  required_version = \"> 0.1\"\n  config {\n    git {\n      default_remote = \"up\"\n      default_branch = \"trunk\"\n    }\n  }\n}\n"})
	if p = load(t, root, false); p.Root() != root || p.DefaultRemote() != "up" || p.DefaultBranch() != "trunk" || p.IsRepo() {
		t.Errorf("settings: %s %s %s %v", p.Root(), p.DefaultRemote(), p.DefaultBranch(), p.IsRepo())
	}
}

func TestChangedNeedsTwoCommits(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n}\n"})
	_, err := load(t, root, true).Select(Selection{Changed: true})
	if err == nil || !strings.Contains(err.Error(), "two commits") {
		t.Errorf("with one commit: %v", err)
	}
}

func TestValidTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]bool{"": true, "prod": true, "eu-1_x": true, "a1": true, "a": false, "-ab": false, "ab-": false, "Prod": false, "a b": false, "a\nb": false} {
		if err := ValidTarget(target); (err == nil) != want {
			t.Errorf("ValidTarget(%q): %v", target, err)
		}
	}
}

// A broken global stops every command, also where no run.env uses it; the error
// names all stacks.
func TestEnvsErrors(t *testing.T) {
	t.Parallel()
	for _, global := range []string{"x = global.none", "x = tm_upper(global.none)", "x = tm_nope()", "x = terramate.stack.none"} {
		root := repo(t, map[string]string{
			"a/stack.tm":   "stack {\n}\n",
			"b/stack.tm":   "stack {\n}\n",
			"c/stack.tm":   "stack {\n}\n",
			"a/globals.tm": "globals {\n  " + global + "\n}\n",
			"b/globals.tm": "globals {\n  " + global + "\n}\n",
		})
		_, stderr, wantErr := runStock(root, "run", "-X", "--", "true")
		p := load(t, root, false)
		stacks, err := p.All()
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Envs(stacks)
		if err == nil || wantErr == nil || !strings.Contains(err.Error(), "/a") || !strings.Contains(err.Error(), "/b") || strings.Contains(err.Error(), "/c") {
			t.Errorf("%s: stock %v %s, here %v", global, wantErr, stderr, err)
			continue
		}
		checkLine(t, err)
	}
}

// Appending to one stack's environment leaves the others alone.
func TestEnvsAreSeparate(t *testing.T) {
	t.Parallel()
	p := load(t, repo(t, map[string]string{"a/stack.tm": "stack {\n}\n", "b/stack.tm": "stack {\n}\n"}), false)
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	envs, err := p.Envs(stacks)
	if err != nil {
		t.Fatal(err)
	}
	a, b := append(envs["/a"], "X=a"), append(envs["/b"], "X=b")
	if a[len(a)-1] != "X=a" || b[len(b)-1] != "X=b" {
		t.Error("two stacks share the end of their environment")
	}
}

func TestParseSafeguards(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		all     bool
		disable string
		env     string
		want    string // untracked, uncommitted, remote, code, re-enabled
	}{
		{false, "", "", "00000"},
		{true, "", "", "11110"},
		{false, "all", "", "11110"},
		{false, "git", "", "11100"},
		{false, "git-untracked,outdated-code", "", "10010"},
		{false, "git-uncommitted", "TM_DISABLE_SAFEGUARDS=all", "01000"},
		{false, "", "TM_DISABLE_SAFEGUARDS=git-out-of-sync", "00100"},
		{false, "none", "", "00001"},
		{true, "none", "", "error"},
		{true, "", "TM_DISABLE_SAFEGUARDS=none", "error"},
		{false, "bogus", "", "error"},
		{false, "", "TM_DISABLE_SAFEGUARDS=git,bogus", "error"},
		{false, "", "TM_DISABLE_CHECK_GIT_UNTRACKED=true", "10000"},
		{false, "", "TM_DISABLE_CHECK_GIT_UNCOMMITTED=1", "01000"},
		{false, "", "TM_DISABLE_CHECK_GIT_REMOTE=yes", "00100"},
		{false, "git-untracked", "TM_DISABLE_CHECK_GEN_CODE=TRUE", "10010"},
		{false, "", "TM_DISABLE_CHECK_GEN_CODE=false", "00000"},
		{false, "", "TM_DISABLE_CHECK_GEN_CODE=maybe", "error"},
	} {
		var disable []string
		if tc.disable != "" {
			disable = []string{tc.disable}
		}
		sf, err := ParseSafeguards(tc.all, disable, func(name string) string {
			if env, val, _ := strings.Cut(tc.env, "="); env == name {
				return val
			}
			return ""
		})
		got := "error"
		if d := sf.disabled; err == nil {
			got = ""
			for _, b := range []bool{d.DisableCheckGitUntracked, d.DisableCheckGitUncommitted, d.DisableCheckGitRemote, d.DisableCheckGenerateOutdatedCheck, d.ReEnabled} {
				got += map[bool]string{false: "0", true: "1"}[b]
			}
		}
		if got != tc.want {
			t.Errorf("%+v: %s %v", tc, got, err)
		}
	}
}

// The safeguards refuse what those of the stock binary refuse.
func TestSafeguardsAsStock(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"t.tm":       "terramate {\n  config {\n  }\n}\n",
		"a/stack.tm": "stack {\n}\n",
		"a/gen.tm":   "generate_file \"out.txt\" {\n  content = \"generated\"\n}\n",
		"a/out.txt":  "generated",
		"b/stack.tm": "stack {\n}\n",
	}
	states := map[string]func(t *testing.T, root string){
		"clean":             func(*testing.T, string) {},
		"untracked":         put("a/new.txt", "1"),
		"uncommitted":       put("b/stack.tm", "stack {\n  name = \"x\"\n}\n"),
		"outdated":          func(t *testing.T, root string) { put("a/out.txt", "edited")(t, root); commit(t, root) },
		"outdated and more": func(t *testing.T, root string) { put("a/out.txt", "edited")(t, root); put("a/new.txt", "1")(t, root) },
		"behind": func(t *testing.T, root string) {
			remote := tempDir(t)
			git(t, remote, "init", "-q", "--bare", "-b", "main")
			git(t, root, "remote", "add", "origin", remote)
			git(t, root, "commit", "-q", "--allow-empty", "-m", "more")
			git(t, root, "push", "-q", "origin", "HEAD:main")
			git(t, root, "reset", "-q", "--hard", "HEAD^")
		},
		"remote is gone": func(t *testing.T, root string) { git(t, root, "remote", "add", "origin", filepath.Join(root, "gone")) },
		"turned off": func(t *testing.T, root string) {
			put("t.tm", "terramate {\n  config {\n    disable_safeguards = [\"all\"]\n  }\n}\n")(t, root)
			put("a/out.txt", "edited")(t, root)
		},
	}
	for name, change := range states {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := repo(t, files)
			change(t, root)
			refused := 0
			for _, disable := range []string{"", "all", "none", "git", "git-untracked", "git-uncommitted", "git-out-of-sync", "outdated-code"} {
				for _, dryRun := range []bool{false, true} {
					args := []string{"run", "--quiet"}
					var list []string
					if disable != "" {
						args = append(args, "--disable-safeguards="+disable)
						list = []string{disable}
					}
					if dryRun {
						args = append(args, "--dry-run")
					}
					_, stderr, wantErr := runStock(root, append(args, "--", "true")...)
					sf, err := ParseSafeguards(false, list, func(string) string { return "" })
					if err != nil {
						t.Fatal(err)
					}
					var errs [2]error
					for i := range errs { // with and without a selection before
						p := load(t, root, false)
						if i == 0 {
							if _, err := p.Select(Selection{}); err != nil {
								t.Fatal(err)
							}
						}
						errs[i] = p.CheckSafeguards(t.Context(), sf, Selection{}, dryRun)
					}
					if (errs[0] != nil) != (wantErr != nil) || !sameError(errs[0], errs[1]) {
						t.Errorf("%v: stock %v %s, here %v; without Select %v", args, wantErr, stderr, errs[0], errs[1])
					}
					if err := errs[0]; err != nil {
						refused++
						checkLine(t, err)
						if !strings.Contains(err.Error(), "--disable-safeguards=") {
							t.Errorf("%v does not say what to do", err)
						}
					}
				}
			}
			// "none" asks for the remote also where there is none: twice.
			if (refused > 2) != (name != "clean" && name != "turned off") {
				t.Errorf("%d refusals", refused)
			}
		})
	}
}

// Terramate's safeguards ask `git status`, which would refresh the index under
// its lock; who is killed meanwhile would leave that lock to the user's git add.
func TestSafeguardsLeaveTheIndexAlone(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n}\n"})
	index := filepath.Join(root, ".git", "index")
	stale := func() []byte { // another time of change, the same content: a status may refresh it
		t.Helper()
		when := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(root, "a", "stack.tm"), when, when); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(index)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	before := stale()
	p := load(t, root, false)
	sf, err := ParseSafeguards(false, nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Select(Selection{}); err != nil {
		t.Fatal(err)
	}
	if err := p.CheckSafeguards(t.Context(), sf, Selection{}, false); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(index); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the index was written: %v", err)
	}
	git(t, root, "status") // which it could have been
	if after, err := os.ReadFile(index); err != nil || bytes.Equal(before, after) {
		t.Errorf("git status did not write the index either: %v", err)
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	if oneLine("x", nil) != nil {
		t.Error("no error became one")
	}
	cause := errors.New("a\n\tb")
	err := oneLine("doing", fmt.Errorf("c: %w", cause))
	if diff := cmp.Diff("doing: c: a b", err.Error()); diff != "" || !errors.Is(err, cause) {
		t.Errorf("oneLine (-want +got):\n%s", diff)
	}
	gits := errors.New(`x: failed to exec: /usr/bin/git ls-remote origin : stderr="fatal: 'a \"b\"'\n\nfatal: c\n", stdout="", y`)
	if diff := cmp.Diff(`doing: x: git ls-remote: fatal: 'a "b"'; fatal: c, y`, oneLine("doing", gits).Error()); diff != "" {
		t.Errorf("git's words (-want +got):\n%s", diff)
	}
	if SetLogOutput("xml", "") == nil || SetLogOutput("", "printer") == nil || SetLogOutput("", "") != nil { // what is taken is set for all tests
		t.Error("SetLogOutput")
	}
	if SetLogLevel("loud") == nil || SetLogLevel("") == nil || SetLogLevel("fatal") != nil {
		t.Error("SetLogLevel")
	}
}
