package project

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/runner"
)

// The flags of selection, as stock Terramate and as this package take them.
var selections = []struct {
	flags string
	sel   Selection
}{
	{"", Selection{}},
	{"--changed", Selection{Changed: true}},
	{"--changed --git-change-base HEAD", Selection{Changed: true, ChangeBase: "HEAD"}},
	{"--changed --git-change-base HEAD^ --disable-change-detection git-untracked", Selection{Changed: true, ChangeBase: "HEAD^", DisableChangeDetection: []string{"git-untracked"}}},
	{"--changed --disable-change-detection git-untracked,git-uncommitted", Selection{Changed: true, DisableChangeDetection: []string{"git-untracked", "git-uncommitted"}}},
	{"--changed --enable-change-detection git-untracked --disable-change-detection git-untracked", Selection{Changed: true, EnableChangeDetection: []string{"git-untracked"}, DisableChangeDetection: []string{"git-untracked"}}},
	{"--changed --git-change-base no-such-revision", Selection{Changed: true, ChangeBase: "no-such-revision"}},
	{"--tags x", Selection{Tags: []string{"x"}}},
	{"--tags x:y", Selection{Tags: []string{"x:y"}}},
	{"--tags x,y --no-tags z", Selection{Tags: []string{"x,y"}, NoTags: []string{"z"}}},
	{"--tags x --tags y", Selection{Tags: []string{"x", "y"}}},
	{"--no-tags x,y", Selection{NoTags: []string{"x", "y"}}},
	{"--tags NOT!valid", Selection{Tags: []string{"NOT!valid"}}},
	{"--changed --tags y", Selection{Changed: true, Tags: []string{"y"}}},
	{"--include-all-dependencies", Selection{Dependencies: DependencyFilters{IncludeAllDependencies: true}}},
	{"--tags x --only-all-dependents", Selection{Tags: []string{"x"}, Dependencies: DependencyFilters{OnlyAllDependents: true}}},
	{"--only-all-dependents --only-all-dependencies", Selection{Dependencies: DependencyFilters{OnlyAllDependents: true, OnlyAllDependencies: true}}},
}

// Selection, order, reasons and environment are those of the stock binary.
func TestAsStock(t *testing.T) {
	t.Parallel()
	for seed := range 5 {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			g := newProject(int64(seed))
			root := g.history(t)
			for _, wd := range []string{"/", path.Dir(g.stacks[len(g.stacks)/2])} {
				for _, tc := range selections {
					compareSelection(t, filepath.Join(root, wd), tc.flags, tc.sel)
				}
			}
			here := filepath.Join(root, g.stacks[len(g.stacks)-1])
			compareRun(t, here, "--no-recursive", Selection{NoRecursive: true})
			compareRun(t, filepath.Join(root, "modules"), "--no-recursive", Selection{NoRecursive: true})
			compareEnv(t, root)
		})
	}
}

func compareSelection(t *testing.T, wd, flags string, sel Selection) {
	t.Helper()
	args := append([]string{"list"}, strings.Fields(flags)...)
	if sel.Changed {
		args = append(args, "--why")
	}
	out, stderr, wantErr := runStock(wd, args...)
	p := load(t, wd, sel.Terragrunt())
	selected, err := p.List(sel)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s: terramate list %s: %v %s; here %v", wd, flags, wantErr, stderr, err)
	}
	if err != nil {
		checkLine(t, err)
	} else {
		var got []string
		for _, s := range selected {
			line := friendly(t, wd, s.Dir)
			if sel.Changed {
				line += " - " + s.Reason
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(lines(out), got); diff != "" {
			t.Errorf("%s: list %s (-stock +here):\n%s", wd, flags, diff)
		}
	}

	if !sel.Changed { // see compareRun: with changes `list --run-order` loses edges
		out, _, wantErr = runStock(wd, append([]string{"list", "--run-order"}, strings.Fields(flags)...)...)
		var got []string
		if err == nil {
			var graph *runner.Graph
			if graph, err = p.Graph(stacksOf(selected)); err == nil {
				for _, s := range graph.Order() {
					got = append(got, friendly(t, wd, filepath.Join(p.Root(), s)))
				}
			}
		}
		if diff := cmp.Diff(lines(out), got); diff != "" || (err != nil) != (wantErr != nil) {
			t.Errorf("%s: list --run-order %s: stock %v, here %v (-stock +here):\n%s", wd, flags, wantErr, err, diff)
		}
	}
	compareRun(t, wd, flags, sel)
}

// compareRun compares what a run would do, and in which order.
func compareRun(t *testing.T, wd, flags string, sel Selection) {
	t.Helper()
	args := append([]string{"run", "-X", "--dry-run"}, strings.Fields(flags)...)
	_, stderr, wantErr := runStock(wd, append(args, "--", "true")...)
	var want []string
	for _, line := range lines(stderr) {
		if _, stack, ok := strings.Cut(line, "Entering stack in "); ok {
			want = append(want, stack)
		}
	}
	got, err := order(t, load(t, wd, sel.Terragrunt()), sel)
	if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (wantErr != nil) {
		t.Errorf("%s: run --dry-run %s: stock %v %s, here %v (-stock +here):\n%s", wd, flags, wantErr, stderr, err, diff)
	}
	if err != nil {
		checkLine(t, err)
	}
}

func order(t *testing.T, p *Project, sel Selection) ([]string, error) {
	t.Helper()
	selected, err := p.Select(sel)
	if err != nil {
		return nil, err
	}
	graph, err := p.Graph(stacksOf(selected))
	if err != nil {
		return nil, err
	}
	if _, err := p.Envs(stacksOf(selected)); err != nil {
		return nil, err
	}
	order := graph.Order()
	if len(order) == 0 {
		return nil, nil
	}
	return order, nil
}

// compareEnv compares the environments that commands get.
func compareEnv(t *testing.T, root string) {
	t.Helper()
	out, stderr, wantErr := runStock(root, "run", "-X", "--quiet", "--", "env", "-0")
	p := load(t, root, false)
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	graph, err := p.Graph(stacks)
	var envs map[string][]string
	if err == nil {
		envs, err = p.Envs(stacks)
	}
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s: terramate run -- env: %v %s; here %v", root, wantErr, stderr, err)
	}
	if err != nil {
		checkLine(t, err)
		return
	}
	byPath := map[string]runner.Stack{}
	for _, s := range stacks {
		byPath[s.Path] = s
	}
	var want []string
	for _, env := range strings.Split(strings.TrimSuffix(out, "\x00"), "\x00") {
		if !strings.HasPrefix(env, "PWD=") && !strings.HasPrefix(env, "OLDPWD=") {
			want = append(want, env)
		}
	}
	var got []string
	for _, s := range graph.Order() {
		one, err := p.Env(byPath[s])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, envs[s]); diff != "" {
			t.Errorf("%s: Env and Envs of %s differ:\n%s", root, s, diff)
		}
		got = append(got, effective(envs[s])...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: environments (-stock +here):\n%s", root, diff)
	}
}

// effective is env as a child sees it: each name once, the last value, where it
// was last.
func effective(env []string) []string {
	var out []string
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if name == "PWD" || name == "OLDPWD" {
			continue
		}
		later := slices.ContainsFunc(env[i+1:], func(l string) bool { return strings.HasPrefix(l, name+"=") })
		if !later {
			out = append(out, e)
		}
	}
	return out
}

// With changes, `list --run-order` of stock sorts copies of some stacks and the
// loaded ones of others, so that a parent may come after its child; `run` does
// not. The order here is that of run.
func TestOrderOfChangedIsThatOfRun(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{
		"a/stack.tm":   "stack {\n}\n",
		"a/z/stack.tm": "stack {\n  after = [\"/0\"]\n}\n",
		"0/stack.tm":   "stack {\n  after = [\"/a\"]\n}\n",
		"1/stack.tm":   "stack {\n  before = [\"/0\"]\n}\n",
	})
	for _, s := range []string{"a", "a/z", "0", "1"} {
		write(t, root, map[string]string{s + "/main.tf": "# changed\n"})
	}
	commit(t, root)
	compareRun(t, root, "--changed", Selection{Changed: true})
}

func TestListOutsideGit(t *testing.T) {
	t.Parallel()
	root := tempDir(t)
	write(t, root, newProject(3).files)
	compareRun(t, root, "", Selection{})
	compareRun(t, root, "--tags x", Selection{Tags: []string{"x"}})
	if _, err := load(t, root, true).Select(Selection{Changed: true}); err == nil || !strings.Contains(err.Error(), "git") {
		t.Errorf("--changed outside git: %v", err)
	}
}

func lines(text string) []string {
	var list []string
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			list = append(list, line)
		}
	}
	return list
}

func friendly(t *testing.T, wd, dir string) string {
	t.Helper()
	rel, err := filepath.Rel(wd, dir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(rel)
}

func checkLine(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); strings.ContainsAny(text, "\n\r") || strings.TrimSpace(text) == "" {
		t.Errorf("error is not one line: %q", text)
	} else if strings.Contains(text, "stderr=") || strings.Contains(text, `\n`) {
		t.Errorf("error has a string of Go's in it: %s", text)
	}
}
