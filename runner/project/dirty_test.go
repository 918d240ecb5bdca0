package project

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDirtyStacks(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		".gitignore":              "*.ignored\n.terraform/\n",
		"a/stack.tm":              "stack {\n  watch = [\"/shared/watched.txt\"]\n}\n",
		"a/main.tf":               "module \"m\" {\n  source = \"../modules/m0\"\n}\n",
		"a/sub/notes.txt":         "1\n",
		"a/nested/stack.tm":       "stack {\n}\n",
		"a/nested/main.tf":        "# nothing\n",
		"b/stack.tm":              "stack {\n}\n",
		"b/main.tofu":             "module \"m\" {\n  source = \"../modules/m1\"\n}\n",
		"b/.hidden/x.txt":         "1\n",
		"c/stack.tm":              "stack {\n}\n",
		"c/main.tf":               "module \"s\" {\n  source = \"../b\"\n}\nmodule \"far\" {\n  source = \"hashicorp/x/y\"\n}\n",
		"d e/stack.tm":            "stack {\n}\n",
		"d e/skipped/.tmskip":     "",
		"d e/skipped/stack.tm":    "stack {\n}\n",
		"modules/m0/main.tf":      "module \"n\" {\n  source = \"../m1\"\n}\nmodule \"loop\" {\n  source = \"../m0\"\n}\n",
		"modules/m1/main.tf":      "# one\n",
		"modules/m1/deep/in/x.sh": "1\n",
		"shared/watched.txt":      "1\n",
		"shared/linked.tf":        "# linked\n",
		"other.txt":               "1\n",
		".tmtriggers/a/x.tm":      "trigger {\n}\n",
	}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, root string)
		want   []string
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"a file of none", put("other.txt", "2\n"), nil},
		{"an own file", put("a/main.tf", "# changed\n"), []string{"/a"}},
		{"a file below", put("a/sub/notes.txt", "2\n"), []string{"/a"}},
		{"a file of a nested stack", put("a/nested/main.tf", "# changed\n"), []string{"/a/nested"}},
		{"untracked", put("a/nested/new/deep/x.txt", "1\n"), []string{"/a/nested"}},
		{"untracked with a strange name", put("d e/ü \"x\"\n.txt", "1\n"), []string{"/d e"}},
		{"in a dot folder", put("b/.hidden/x.txt", "2\n"), []string{"/b", "/c"}},
		{"in a skipped folder", put("d e/skipped/stack.tm", "stack {\n  name = \"x\"\n}\n"), []string{"/d e"}},
		{"ignored", put("a/x.ignored", "1\n"), nil},
		{"init", put("a/.terraform/modules.json", "{}"), nil},
		{"staged", func(t *testing.T, root string) {
			put("a/staged.tf", "# staged\n")(t, root)
			git(t, root, "add", "a/staged.tf")
		}, []string{"/a"}},
		{"renamed", func(t *testing.T, root string) { git(t, root, "mv", "a/nested/main.tf", "d e/main.tf") }, []string{"/a/nested", "/d e"}},
		{"deleted", func(t *testing.T, root string) { git(t, root, "rm", "-q", "a/main.tf") }, []string{"/a"}},
		{"mode", func(t *testing.T, root string) {
			if err := os.Chmod(filepath.Join(root, "a/sub/notes.txt"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"/a"}},
		{"watched", put("shared/watched.txt", "2\n"), []string{"/a"}},
		{"watched and gone", func(t *testing.T, root string) { git(t, root, "rm", "-q", "shared/watched.txt") }, []string{"/a"}},
		{"a module", put("modules/m0/main.tf", "# changed\n"), []string{"/a"}},
		{"a module of a module, and deep in it", put("modules/m1/deep/in/x.sh", "2\n"), []string{"/a", "/b", "/c"}},
		{"a new file in a module", put("modules/m1/new.tf", "# new\n"), []string{"/a", "/b", "/c"}},
		{"a module that is gone", func(t *testing.T, root string) { git(t, root, "rm", "-rq", "modules/m1") }, []string{"/a", "/b", "/c"}},
		{"a stack that is called as a module", put("b/main.tofu", "# changed\n"), []string{"/b", "/c"}},
		{"a new lock file is an artifact", put("b/.terraform.lock.hcl", "# init\n"), nil},
		{"a modified lock file is its own matter", tracked("b/.terraform.lock.hcl"), []string{"/b"}},
		{"a modified lock file in a module", tracked("modules/m1/.terraform.lock.hcl"), nil},
		{"a modified state", tracked("a/terraform.tfstate"), []string{"/a"}},
		{"triggers", put(".tmtriggers/a/y.tm", "trigger {\n}\n"), nil},
		{"code that cannot be read", func(t *testing.T, root string) {
			put("a/nested/main.tf", "module \"x\" {")(t, root)
			commit(t, root)
			put("other.txt", "2\n")(t, root)
		}, []string{"/a/nested"}},
		{"a link to a file", func(t *testing.T, root string) {
			link(t, root, "../../shared/linked.tf", "a/nested/linked.tf")
			commit(t, root)
			put("shared/linked.tf", "# changed\n")(t, root)
		}, []string{"/a/nested"}},
		{"a link to a folder", func(t *testing.T, root string) {
			link(t, root, "../modules/m1/deep", "d e/deep")
			commit(t, root)
			put("modules/m1/deep/in/x.sh", "2\n")(t, root)
		}, []string{"/a", "/b", "/c", "/d e"}},
		{"a module behind a link", func(t *testing.T, root string) {
			link(t, root, "m1", "modules/alias")
			put("d e/main.tf", "module \"m\" {\n  source = \"../modules/alias\"\n}\n")(t, root)
			commit(t, root)
			put("modules/m1/main.tf", "# changed\n")(t, root)
		}, []string{"/a", "/b", "/c", "/d e"}},
		{"hidden from git, unchanged", func(t *testing.T, root string) {
			git(t, root, "update-index", "--skip-worktree", "a/main.tf", "shared/linked.tf")
			git(t, root, "update-index", "--assume-unchanged", "b/main.tofu", "c/main.tf")
		}, nil},
		{"skip-worktree", func(t *testing.T, root string) {
			git(t, root, "update-index", "--skip-worktree", "a/nested/main.tf")
			put("a/nested/main.tf", "# mine\n")(t, root)
		}, []string{"/a/nested"}},
		{"assume-unchanged, in a module", func(t *testing.T, root string) {
			git(t, root, "update-index", "--assume-unchanged", "modules/m1/deep/in/x.sh")
			put("modules/m1/deep/in/x.sh", "2\n")(t, root)
		}, []string{"/a", "/b", "/c"}},
		{"both, and staged", func(t *testing.T, root string) {
			put("d e/new.tf", "# staged\n")(t, root)
			git(t, root, "add", "d e/new.tf")
			git(t, root, "update-index", "--assume-unchanged", "d e/new.tf")
			git(t, root, "update-index", "--skip-worktree", "d e/new.tf")
		}, []string{"/d e"}},
		{"assume-unchanged, deleted", func(t *testing.T, root string) {
			git(t, root, "update-index", "--assume-unchanged", "c/main.tf")
			if err := os.Remove(filepath.Join(root, "c/main.tf")); err != nil {
				t.Fatal(err)
			}
		}, []string{"/c"}},
		{"left out of a sparse checkout", func(t *testing.T, root string) {
			git(t, root, "sparse-checkout", "set", "--no-cone", "/*", "!/a/sub/", "!/shared/")
		}, nil},
		{"written where a sparse checkout left it out", func(t *testing.T, root string) {
			git(t, root, "sparse-checkout", "set", "--no-cone", "/*", "!/a/sub/")
			put("a/sub/notes.txt", "2\n")(t, root)
		}, []string{"/a"}},
		{"hidden, and another content only for git's filters", func(t *testing.T, root string) {
			put(".gitattributes", "*.txt text eol=crlf\n")(t, root)
			commit(t, root)
			put("a/sub/notes.txt", "1\r\n")(t, root)
			git(t, root, "update-index", "--assume-unchanged", "a/sub/notes.txt")
		}, nil},
		{"a submodule", func(t *testing.T, root string) {
			sub := repo(t, map[string]string{"main.tf": "# sub\n"})
			git(t, root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", sub, "d e/sub")
			commit(t, root)
			put("d e/sub/main.tf", "# changed\n")(t, root)
		}, []string{"/d e"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := repo(t, files)
			tc.change(t, root)
			p := load(t, root, false)
			stacks, err := p.All()
			if err != nil {
				t.Fatal(err)
			}
			dirty, err := p.DirtyStacks(stacks)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for path, is := range dirty {
				if is {
					got = append(got, path)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("dirty (-want +got):\n%s", diff)
			}
		})
	}
}

func put(name, content string) func(*testing.T, string) {
	return func(t *testing.T, root string) { write(t, root, map[string]string{name: content}) }
}

// tracked commits a file, then changes it.
func tracked(name string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		put(name, "1\n")(t, root)
		commit(t, root)
		put(name, "2\n")(t, root)
	}
}

func link(t *testing.T, root, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
		t.Skip(err)
	}
}

func TestDirtyTerragrunt(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a/stack.tm":          "stack {\n}\n",
		"a/terragrunt.hcl":    "include \"root\" {\n  path = find_in_parent_folders(\"common.hcl\")\n}\nterraform {\n  source = \"../modules/m\"\n}\n",
		"b/stack.tm":          "stack {\n}\n",
		"b/terragrunt.hcl":    "terraform {\n  source = \"../modules/n\"\n}\ndependency \"a\" {\n  config_path = \"../a\"\n}\n",
		"c/stack.tm":          "stack {\n}\n",
		"common.hcl":          "# common\n",
		"modules/m/main.tf":   "# m\n",
		"modules/n/main.tf":   "# n\n",
		"modules/none/x.tf":   "# none\n",
		"terramate.tm":        "terramate {\n}\n",
		"modules/m/.gitkeep":  "",
		"modules/n/.gitkeep":  "",
		"c/unrelated/main.tf": "# c\n",
	}
	// A dependency block is data, not input: as in stock's change detection.
	for change, want := range map[string][]string{
		"modules/m/main.tf": {"/a"},
		"modules/n/main.tf": {"/b"},
		"common.hcl":        {"/a"},
		"a/x.txt":           {"/a"},
		"modules/none/x.tf": nil,
	} {
		for _, loaded := range []bool{false, true} {
			root := repo(t, files)
			write(t, root, map[string]string{change: "# changed\n"})
			p := load(t, root, loaded)
			stacks, err := p.All()
			if err != nil {
				t.Fatal(err)
			}
			dirty, err := p.DirtyStacks(stacks)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for path := range dirty {
				got = append(got, path)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, Terragrunt %v (-want +got):\n%s", change, loaded, diff)
			}
		}
	}
}

func TestDirtyStacksFails(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/stack.tm": "stack {\n}\n"})
	p := load(t, root, false)
	write(t, root, map[string]string{".git/index": "broken"})
	if dirty, err := p.DirtyStacks(nil); err == nil {
		t.Errorf("with an index that cannot be read: %v", dirty)
	}
}
