package project

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// What a command did to the files of its stack is seen, whether the clock has gone on meanwhile or not; and where
// it did nothing to them, git is not asked.
func TestHere(t *testing.T) {
	t.Parallel()
	gone := func(name string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name  string
		did   func(t *testing.T, root string)
		want  bool
		asked bool
	}{
		{"nothing", func(*testing.T, string) {}, false, false},
		{"what init leaves", put("a/.terraform/modules/modules.json", "{}"), false, false},
		{"a new lock file", put("a/.terraform.lock.hcl", "# init\n"), false, false},
		{"a new state", put("a/terraform.tfstate", "{}"), false, false},
		{"a file elsewhere", put("other.txt", "2\n"), false, false},
		{"a new file that Terraform does not read", put("a/plan.out", "1\n"), false, true},
		{"an ignored file", put("a/x.ignored", "1\n"), false, true},
		{"another content", put("a/main.tf", "# other\n"), true, true},
		{"another content of the same length", put("a/main.tf", "# mode\n"), true, true},
		{"new code", put("a/new.tf", "# new\n"), true, true},
		{"code below", put("a/sub/notes.txt", "2\n"), true, true},
		{"a file that is gone", gone("a/sub/notes.txt"), true, true},
		{"a link in the place of a file", func(t *testing.T, root string) {
			gone("a/main.tf")(t, root)
			link(t, root, "sub/notes.txt", "a/main.tf")
		}, true, true},
		{"a stack below", put("a/nested/main.tf", "# changed\n"), false, true},
	} {
		for _, settled := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				root := repo(t, map[string]string{
					".gitignore":        "*.ignored\n",
					"a/stack.tm":        "stack {\n}\n",
					"a/main.tf":         "# code\n",
					"a/sub/notes.txt":   "1\n",
					"a/nested/stack.tm": "stack {\n}\n",
					"a/nested/main.tf":  "# nothing\n",
					"other.txt":         "1\n",
				})
				if settled {
					long := time.Now().Add(-time.Hour)
					if err := os.Chtimes(filepath.Join(root, "a/main.tf"), long, long); err != nil {
						t.Fatal(err)
					}
				}
				h := LookHere(t.Context(), root, runner.Stack{Path: "/a"})
				if dirty, err := h.Dirty(); dirty || err != nil {
					t.Fatal(dirty, err)
				}
				tc.did(t, root)
				if h.untouched() == tc.asked {
					t.Errorf("git is asked: %v", !tc.asked)
				}
				if changed, err := h.Changed(); changed != tc.want || err != nil {
					t.Errorf("changed: %v, %v", changed, err)
				}
			})
		}
	}
}

// What was changed when it began is asked of git again: that it was touched no more says nothing.
func TestHereDirty(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n}\n", "a/main.tf": "# code\n"})
	put("a/main.tf", "# other\n")(t, root)
	h := LookHere(t.Context(), root, runner.Stack{Path: "/a"})
	for _, ask := range []func() (bool, error){h.Dirty, h.Changed} {
		if is, err := ask(); !is || err != nil {
			t.Error(is, err)
		}
	}
}

// A folder with very much in it, or with another repository, is git's to look at.
func TestHereMuch(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n}\n", ".gitignore": "*.ignored\n"})
	h := LookHere(t.Context(), root, runner.Stack{Path: "/a"})
	if len(h.was) == 0 {
		t.Error("nothing was looked at")
	}
	write(t, root, map[string]string{"a/sub/.git": "gitdir: elsewhere\n"})
	if h = LookHere(t.Context(), root, runner.Stack{Path: "/a"}); h.was != nil || h.untouched() {
		t.Error("another repository")
	}
	if h = LookHere(t.Context(), root, runner.Stack{Path: "/b"}); h.was != nil {
		t.Error("no folder")
	}
	if h = LookHere(t.Context(), root, runner.Stack{Path: "/"}); h.was != nil {
		t.Error("another repository in the stack at the top")
	}
}

// What git ignores is told as for any stack, whether the code stands in the folder or elsewhere.
func TestHereIgnored(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{
		".gitignore":       "generated.tf\n",
		"a/stack.tm":       "stack {\n}\n",
		"a/main.tf":        "# code\n",
		"a/sub/main.tf":    "# code\n",
		"b/stack.tm":       "stack {\n}\n",
		"b/main.tf":        "module \"m\" {\n  source = \"../m\"\n}\nmodule \"n\" {\n  source = \"./n\"\n}\n",
		"b/n/main.tf":      "# code\n",
		"m/main.tf":        "# code\n",
		"none/stack.tm":    "stack {\n}\n",
		"tracked/stack.tm": "stack {\n}\n",
		"tracked/x y.tf":   "# code\n",
	})
	write(t, root, map[string]string{"a/generated.tf": "# a\n", "m/generated.tf": "# m\n", "b/n/generated.tf": "# n\n"})
	for _, path := range []string{"/a", "/b", "/none", "/tracked"} {
		want, err := IgnoredDigests(t.Context(), root, []string{path})
		if err != nil {
			t.Fatal(err)
		}
		if is := want[path] != ""; is != (path == "/a" || path == "/b") {
			t.Errorf("%s has ignored code: %v", path, is)
		}
		got, err := LookHere(t.Context(), root, runner.Stack{Path: path}).Ignored()
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, not %v", path, got, err, want)
		}
	}
}
