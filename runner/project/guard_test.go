package project

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// changedStacks are the stacks that a guard says have changed.
func changedStacks(t *testing.T, p *Project, g *Guard) []string {
	t.Helper()
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range stacks {
		changed, err := g.Changed(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			got = append(got, s.Path)
		}
	}
	return got
}

func guard(t *testing.T, root string, inputs bool) (*Project, *Guard) {
	t.Helper()
	p := load(t, root, true)
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.DirtyStacks(stacks); err != nil {
		t.Fatal(err)
	}
	if inputs {
		if _, err := p.Inputs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g, err := p.Guard(t.Context(), stacks)
	if err != nil {
		t.Fatal(err)
	}
	return p, g
}

func TestGuard(t *testing.T) {
	t.Parallel()
	everything := []string{"/any", "/calls", "/env/a", "/env/b", "/json", "/own", "/own/nested", "/reads", "/reads/nested", "/tofu"}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, root string)
		want   []string
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"an own file", put("own/x.json", "[]"), []string{"/any", "/own"}},
		{"as many bytes, the times put back", func(t *testing.T, root string) {
			file := filepath.Join(root, "own/x.json")
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			put("own/x.json", "[]")(t, root)
			if err := os.Chtimes(file, st.ModTime(), st.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, []string{"/any", "/own"}},
		{"touched", func(t *testing.T, root string) {
			now := time.Now().Add(time.Minute)
			if err := os.Chtimes(filepath.Join(root, "own/x.json"), now, now); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"written as it was", put("own/x.json", "{}"), nil},
		{"removed", func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, "own/x.json")); err != nil {
				t.Fatal(err)
			}
		}, []string{"/any", "/own"}},
		{"its mode", func(t *testing.T, root string) {
			if err := os.Chmod(filepath.Join(root, "own/x.json"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"/any", "/own"}},
		{"a file of a nested stack", put("own/nested/y.json", "[]"), []string{"/any", "/own/nested"}},
		{"a module, called in JSON", put("modules/m/main.tf", "# x\n"), []string{"/any", "/json", "/tofu"}},
		{"a new file of code in a module", put("modules/m/new.tf", "# x\n"), []string{"/any", "/json", "/tofu"}},
		{"one that git ignores", put("modules/m/_gen.tf", "# x\n"), []string{"/any", "/json", "/tofu"}},
		{"one in the stack that git ignores", put("env/a/_gen.tf", "# x\n"), []string{"/any", "/env/a"}},
		{"generated code that was there", put("tofu/_gen.tf", "# other\n"), []string{"/tofu"}},
		{"generated again, the same", put("tofu/_gen.tf", "# gen\n"), nil},
		{"generated code that is gone", func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, "tofu/_gen.tf")); err != nil {
				t.Fatal(err)
			}
		}, []string{"/tofu"}},
		{"a new file of code in a folder below, which is new", put("own/deep/new/x.tf", "# x\n"), []string{"/any", "/own"}},
		{"a new file of variables", put("own/x.auto.tfvars.json", "{}"), []string{"/any", "/own"}},
		{"a new file that is a product", put("own/plan.out", "plan"), nil},
		{"what terraform leaves", func(t *testing.T, root string) {
			for _, name := range []string{".terraform/modules/m/main.tf", ".terraform.lock.hcl", "terraform.tfstate", "terraform.tfstate.backup", "my.tfstate", ".terraform.tfstate.lock.info"} {
				put("own/"+name, "{}")(t, root)
			}
		}, nil},
		{"a tracked lock file", put("calls/.terraform.lock.hcl", "# other\n"), nil},
		{"a tracked state", put("calls/terraform.tfstate", "{1}"), nil},
		{"a file that is read", put("shared/a.json", "[]"), []string{"/any", "/reads"}},
		{"a file that a module reads", put("shared/b.txt", "2\n"), []string{"/any", "/calls"}},
		{"what a link leads to", put("shared/behind.tpl", "2\n"), []string{"/any", "/reads"}},
		{"a file of none", put("shared/none.txt", "2\n"), []string{"/any"}},
		{"HEAD, by a commit", func(t *testing.T, root string) { git(t, root, "commit", "-q", "--allow-empty", "-m", "x") }, everything},
		{"HEAD, by another branch", func(t *testing.T, root string) { git(t, root, "checkout", "-q", "--detach", "HEAD~1") }, everything},
		{"a branch of the same commit", func(t *testing.T, root string) { git(t, root, "checkout", "-q", "-b", "other") }, nil},
		{"another branch", func(t *testing.T, root string) { git(t, root, "branch", "more", "HEAD~1") }, nil},
		{"packed", func(t *testing.T, root string) { git(t, root, "pack-refs", "--all") }, nil},
		{"staged", func(t *testing.T, root string) {
			put("own/x.json", "[]")(t, root)
			git(t, root, "add", "-A")
		}, []string{"/any", "/own"}},
		{"hidden from git", func(t *testing.T, root string) {
			git(t, root, "update-index", "--skip-worktree", "own/x.json")
			put("own/x.json", "[]")(t, root)
		}, []string{"/any", "/own"}},
		{"away and back", func(t *testing.T, root string) {
			git(t, root, "checkout", "-q", "--detach", "HEAD~1")
			git(t, root, "checkout", "-q", "main")
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := repo(t, beyond)
			link(t, root, "behind.tpl", "shared/link.tpl")
			write(t, root, map[string]string{"calls/.terraform.lock.hcl": "# lock\n", "calls/terraform.tfstate": "{}", "shared/none.txt": "1\n"})
			commit(t, root)
			write(t, root, map[string]string{"tofu/_gen.tf": "# gen\n"})
			for _, inputs := range []bool{true, false} {
				p, g := guard(t, root, inputs)
				if got := changedStacks(t, p, g); got != nil {
					t.Fatalf("before anything changed: %q", got)
				}
				if !inputs {
					tc.change(t, root)
					if diff := cmp.Diff(tc.want, changedStacks(t, p, g)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
					continue
				}
			}
		})
	}
}

// TestGuardBegins: what changes between the look at the work tree and the guard is
// noticed, also within one tick of the clock.
func TestGuardBegins(t *testing.T) {
	t.Parallel()
	root := repo(t, beyond)
	p := load(t, root, true)
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	dirty, err := p.DirtyStacks(stacks)
	if err != nil || len(dirty) > 0 {
		t.Fatal(dirty, err)
	}
	write(t, root, map[string]string{"own/x.json": "[]", "env/a/new.tf": "# new\n", "env/b/deep/new.tf": "# new\n", "calls/plan.out": "plan\n"})
	g, err := p.Guard(t.Context(), stacks)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := changedStacks(t, p, g), []string{"/any", "/env/a", "/env/b", "/own"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	write(t, root, map[string]string{"json/cdk.tf.json": "{}"})
	if changed, err := g.Changed("/json"); err != nil || !changed {
		t.Errorf("later: %v, %v", changed, err)
	}
	if _, err := g.Changed("/none"); err == nil {
		t.Error("a stack that is not guarded is said not to have changed")
	}
}

// TestGuardCost: looking at a stack to which nothing happened asks nobody but the
// file system. (It is not parallel: there is no git meanwhile.)
func TestGuardCost(t *testing.T) {
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("s/%d/stack.tm", i)] = "stack {\n}\n"
		files[fmt.Sprintf("s/%d/main.tf", i)] = "module \"m\" {\n  source = \"../../m\"\n}\n"
	}
	for i := range 20 {
		files[fmt.Sprintf("m/%d.tf", i)] = "# m\n"
	}
	root := repo(t, files)
	p, g := guard(t, root, true)
	changedStacks(t, p, g)
	t.Setenv("PATH", "")
	start := time.Now()
	if got := changedStacks(t, p, g); got != nil {
		t.Errorf("changed: %q", got)
	}
	t.Logf("%v a stack", time.Since(start)/200)
}
