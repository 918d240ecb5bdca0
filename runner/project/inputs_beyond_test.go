package project

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// beyond is a project whose stacks have what Terramate's change detection does not see.
var beyond = map[string]string{
	".gitignore":              "_gen*\n*.tfvars\n",
	"root.tm":                 "terramate {\n  required_version = \">= 0.1\"\n}\nglobals {\n  tag    = \"v1\"\n  other  = \"o1\"\n  secret = \"s1\"\n  built  = tm_timestamp()\n}\n",
	"json/stack.tm":           "stack {\n}\n",
	"json/cdk.tf.json":        `{"module": {"m": {"source": "../modules/m"}}}`,
	"tofu/stack.tm":           "stack {\n}\n",
	"tofu/main.tofu.json":     `{"module": [{"m": [{"source": "../modules/m"}]}]}`,
	"any/stack.tm":            "stack {\n}\n",
	"any/main.tf":             "locals {\n  d = \"../modules\"\n}\nmodule \"m\" {\n  source = \"${local.d}/m\"\n}\n",
	"reads/stack.tm":          "stack {\n}\n",
	"reads/main.tf":           "locals {\n  top = \"${path.module}/..\"\n  a = file(\"../shared/a.json\")\n  s = fileset(\"${local.top}/shared\", \"*.yaml\")\n  l = templatefile(\"../shared/link.tpl\", {})\n}\n",
	"reads/nested/stack.tm":   "stack {\n}\n",
	"reads/own/notes.txt":     "1\n",
	"calls/stack.tm":          "stack {\n}\n",
	"calls/main.tf":           "module \"r\" {\n  source = \"../modules/reader\"\n}\n",
	"own/stack.tm":            "stack {\n}\n",
	"own/main.tf":             "locals {\n  s = fileset(path.module, \"*.json\")\n  f = file(\"${path.module}/x.json\")\n  top = \"${path.module}/..\"\n}\n",
	"own/x.json":              "{}",
	"own/nested/stack.tm":     "stack {\n}\n",
	"own/nested/y.json":       "{}",
	"env/env.tm":              "terramate {\n  config {\n    run {\n      env {\n        TF_VAR_tag     = global.tag\n        TF_VAR_where   = \"${env.HOME}/${global.other}\"\n        TF_VAR_root    = terramate.root.path.fs.absolute\n        TF_VAR_base    = terramate.root.path.fs.basename\n        TF_VAR_built   = global.built\n        DB_PASSWORD    = global.secret\n      }\n    }\n  }\n}\n",
	"env/a/stack.tm":          "stack {\n}\n",
	"env/b/stack.tm":          "stack {\n}\n",
	"env/b/env.tm":            "globals {\n  tag = \"own\"\n}\n",
	"modules/m/main.tf":       "# m\n",
	"modules/reader/main.tf":  "locals {\n  b = file(\"${path.module}/../../shared/b.txt\")\n  c = filebase64(\"../shared/c.txt\")\n}\n",
	"shared/a.json":           "{}",
	"shared/b.txt":            "1\n",
	"shared/c.txt":            "1\n",
	"shared/one.yaml":         "1\n",
	"shared/deep/two.yaml":    "1\n",
	"shared/behind.tpl":       "1\n",
	"shared/terraform.tfvars": "x = 1\n",
}

func TestInputsBeyondStock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, root string)
		want   []string // but for /any, which has all that changes
	}{
		{"a module that JSON calls", put("modules/m/main.tf", "# changed\n"), []string{"/json", "/tofu"}},
		{"a trigger", put(".tmtriggers/any/changed-x.tm.hcl", "trigger {\n  ctime = 1\n  reason = \"x\"\n}\n"), []string{"-/any"}},
		{"a file that file() reads", put("shared/a.json", "[]"), []string{"/reads"}},
		{"a file that fileset() finds", put("shared/new.yaml", "1\n"), []string{"/reads"}},
		{"a file that it finds no longer", func(t *testing.T, root string) { git(t, root, "rm", "-q", "shared/one.yaml") }, []string{"/reads"}},
		{"a file that it does not find", put("shared/deep/two.yaml", "2\n"), nil},
		{"what a link leads to that is read", put("shared/behind.tpl", "2\n"), []string{"/reads"}},
		{"a file that a module reads beside it", put("shared/b.txt", "2\n"), []string{"/calls"}},
		{"a file that a module reads beside the stack", put("shared/c.txt", "2\n"), []string{"/calls"}},
		{"a file that is gone", func(t *testing.T, root string) { git(t, root, "rm", "-q", "shared/a.json") }, []string{"/reads"}},
		{"a nested stack's file that no pattern of the outer one finds", put("own/nested/y.json", "[]"), []string{"/own/nested"}},
		{"a global in run.env", func(t *testing.T, root string) { replace(t, root, "root.tm", `"v1"`, `"v2"`) }, []string{"/env/a"}},
		{"a global beside a variable of the process", func(t *testing.T, root string) { replace(t, root, "root.tm", `"o1"`, `"o2"`) }, []string{"/env/a", "/env/b"}},
		{"a secret in run.env", func(t *testing.T, root string) { replace(t, root, "root.tm", `"s1"`, `"s2"`) }, nil},
		{"a variable more", func(t *testing.T, root string) {
			replace(t, root, "env/env.tm", "env {", "env {\n        MORE = \"1\"")
		}, []string{"/env/a", "/env/b"}},
		{"a global that nothing uses", func(t *testing.T, root string) { replace(t, root, "root.tm", "globals {", "globals {\n  unused = 1") }, nil},
		{"the globals, written in another way", func(t *testing.T, root string) {
			replace(t, root, "root.tm", `"v1"`, `tm_join("", ["v", "1"])`)
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := repo(t, beyond)
			link(t, root, "behind.tpl", "shared/link.tpl")
			commit(t, root)
			was, err := load(t, root, true).Inputs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tc.change(t, root)
			commit(t, root)
			// In another clone, with another environment and another path.
			clone := filepath.Join(tempDir(t), "elsewhere")
			git(t, filepath.Dir(clone), "clone", "-q", root, clone)
			in, err := load(t, clone, true).Inputs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := append([]string{"/any"}, tc.want...)
			if len(tc.want) == 1 && tc.want[0] == "-/any" {
				want = nil
			}
			if diff := cmp.Diff(want, differing(t, was, in)); diff != "" {
				t.Errorf("differ (-want +got):\n%s", diff)
			}
			then, err := load(t, clone, true).InputsAt(t.Context(), "HEAD~1")
			if err != nil {
				t.Fatal(err)
			}
			if got := differing(t, was, then); len(got) > 0 {
				t.Errorf("another digest from the commit later: %q", got)
			}
		})
	}
}

// differing are the stacks whose digests differ.
func differing(t *testing.T, was, in *Inputs) []string {
	t.Helper()
	var got []string
	for stack := range in.stacks {
		before, err := was.Digest(stack)
		if err != nil {
			t.Fatal(err)
		}
		now, err := in.Digest(stack)
		if err != nil {
			t.Fatal(err)
		}
		if before != now {
			got = append(got, stack)
		}
	}
	slices.Sort(got)
	return got
}

func replace(t *testing.T, root, name, old, with string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil || !strings.Contains(string(content), old) {
		t.Fatalf("%s has no %q: %v", name, old, err)
	}
	write(t, root, map[string]string{name: strings.Replace(string(content), old, with, 1)})
}

// TestEnvOfTheMachine: what the process's own environment says makes no difference,
// what the project says beside it does.
func TestEnvOfTheMachine(t *testing.T) {
	root := repo(t, map[string]string{
		"root.tm":    "globals {\n  a = \"1\"\n}\nterramate {\n  config {\n    run {\n      env {\n        X = tm_try(env.TEST_ONLY_HERE, global.a)\n        Y = env.HOME == \"/root\" ? \"yes\" : global.a\n        Z = \"same\"\n      }\n    }\n  }\n}\n",
		"a/stack.tm": "stack {\n}\n",
	})
	t.Setenv("TEST_ONLY_HERE", "1")
	was, err := load(t, root, false).Inputs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_ONLY_HERE", "2")
	t.Setenv("HOME", "/root")
	in, err := load(t, root, false).Inputs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := differing(t, was, in); got != nil {
		t.Errorf("differs with the environment: %q", got)
	}
	replace(t, root, "root.tm", `"1"`, `"2"`)
	commit(t, root)
	p := load(t, root, false)
	if in, err = p.Inputs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := differing(t, was, in); !slices.Equal(got, []string{"/a"}) {
		t.Errorf("differs with the global: %q", got)
	}
	why, err := p.Differences(t.Context(), in, "HEAD~1")
	if err != nil {
		t.Fatal(err)
	}
	if got := why("/a"); !slices.Equal(got, []string{"run.env X", "run.env Y"}) {
		t.Errorf("explained by %q", got)
	}
}

// TestIgnoredCode: code that git ignores is an input where it is, and missed where it
// is not.
func TestIgnoredCode(t *testing.T) {
	t.Parallel()
	root := repo(t, beyond)
	inputs := func(dir string) *Inputs {
		t.Helper()
		in, err := load(t, dir, true).Inputs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	bare := inputs(root)
	write(t, root, map[string]string{
		"json/_gen.tf":      "module \"r\" {\n  source = \"../modules/reader\"\n}\n",
		"modules/m/_gen.tf": "# one\n", "own/secret.tfvars": "x = 1\n", "own/_gen.txt": "1\n", "own/.terraform/x.tf": "# no\n", "reads/own/_gen.tf": "# no\n",
	})
	was := inputs(root)
	if got := differing(t, bare, was); !slices.Equal(got, []string{"/json", "/tofu"}) {
		t.Errorf("generated code is in the digests of %q", got)
	}
	digest := func(in *Inputs, stack string) string {
		d, err := in.Digest(stack)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if why := was.Ignored("/json", digest(bare, "/json")); why != "" {
		t.Errorf("generated code calls another module, and all that is said is %q", why)
	}
	write(t, root, map[string]string{"untracked.txt": "1\n"}) // the other way to read them
	if got := differing(t, was, inputs(root)); got != nil {
		t.Errorf("in a work tree with changes: %q differ", got)
	}
	write(t, root, map[string]string{"modules/m/_gen.tf": "# two\n"})
	in := inputs(root)
	if got := differing(t, was, in); !slices.Equal(got, []string{"/json", "/tofu"}) {
		t.Errorf("generated code of a module differs, and the digests of %q", got)
	}
	for then, want := range map[string]string{
		digest(was, "/tofu"):  "code that git ignores differs from what was deployed: /modules/m/_gen.tf",
		digest(bare, "/tofu"): "code that git ignores was not there, or not looked at, when it was deployed: /modules/m/_gen.tf",
		digest(in, "/tofu"):   "",
		digest(in, "/json"):   "",
	} {
		if got := in.Ignored("/tofu", then); got != want {
			t.Errorf("%s: %q, want %q", then, got, want)
		}
	}
	clone := filepath.Join(tempDir(t), "clone")
	git(t, filepath.Dir(clone), "clone", "-q", root, clone)
	there := inputs(clone)
	if got := there.Ignored("/tofu", digest(was, "/tofu")); !strings.Contains(got, "terramate generate") {
		t.Errorf("where it is missing: %q", got)
	}
	// Without the project it comes to the same.
	write(t, root, map[string]string{"any/_gen.tf": "module \"g\" {\n  source = \"./_gen\"\n}\n", "any/_gen/main.tf": "# all of it is generated\n"})
	in = inputs(root)
	var stacks []string
	for stack := range in.All() {
		stacks = append(stacks, stack)
	}
	ignored, err := IgnoredDigests(t.Context(), root, stacks)
	if err != nil {
		t.Fatal(err)
	}
	for stack, whole := range in.All() {
		inCommit, _ := committed(whole)
		if got := Complete(ignored[stack], inCommit); got != whole || !SameIgnored(whole, ignored[stack]) {
			t.Errorf("%s: %q, completed %s, want %s", stack, ignored[stack], got, whole)
		}
	}
	if len(ignored) != 3 || SameIgnored("", ignored["/any"]) || SameIgnored("1:aa", ignored["/any"]) || !SameIgnored("1:aa", "") || Partial(digest(in, "/any")) {
		t.Errorf("digests of ignored code alone: %q", ignored)
	}
	was = in
	write(t, root, map[string]string{"any/_gen/main.tf": "# changed\n"})
	if got := differing(t, was, inputs(root)); !slices.Equal(got, []string{"/any"}) {
		t.Errorf("a generated module differs, and the digests of %q", got)
	}
	write(t, root, map[string]string{"tofu/_gen.tf": "module \"x\" {"})
	if _, err := inputs(root).Digest("/tofu"); err == nil {
		t.Error("generated code that cannot be read is no error")
	}
	// An ignore trigger's step counts whatever is generated.
	if got, ok := Acknowledge(digest(was, "/tofu"), digest(bare, "/tofu"), "2:new"); !ok || !strings.HasPrefix(got, "2:new:") {
		t.Errorf("acknowledged: %q, %v", got, ok)
	}
	if got, ok := Acknowledge(digest(was, "/tofu"), digest(bare, "/json"), "2:new"); ok || got != digest(was, "/tofu") {
		t.Errorf("another stack's acknowledged: %q, %v", got, ok)
	}
}

// TestUnitReads: what a Terragrunt configuration names is an input of its stack,
// wherever in it.
func TestUnitReads(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"live/a/stack.tm": "stack {\n}\n",
		"live/a/terragrunt.hcl": `include "root" {
  path = find_in_parent_folders("root.hcl")
}
terraform {
  source = "../../modules/m"
  extra_arguments "vars" {
    commands           = ["apply"]
    required_var_files = ["${get_terragrunt_dir()}/../required.tfvars"]
    optional_var_files = ["../optional.tfvars", "${get_repo_root()}/shared/more.tfvars"]
    arguments          = ["-var-file=../argument.tfvars"]
  }
}
dependency "b" {
  config_path = "../b"
}
inputs = {
  env    = yamldecode(file(find_in_parent_folders("env.yaml")))
  region = read_terragrunt_config(find_in_parent_folders("region.hcl")).locals.region
}
`,
		"live/b/stack.tm":       "stack {\n}\n",
		"live/b/terragrunt.hcl": "terraform {\n  source = \"../../modules/m\"\n}\n",
		"root.hcl":              "locals {\n  x = 1\n}\ninputs = {\n  y = file(\"${get_parent_terragrunt_dir()}/shared/root.txt\")\n}\n",
		"live/region.hcl":       "locals {\n  region = \"r\"\n}\n",
		"env.yaml":              "a: 1\n",
		"live/required.tfvars":  "x = 1\n",
		"live/optional.tfvars":  "x = 1\n",
		"live/argument.tfvars":  "x = 1\n",
		"shared/more.tfvars":    "x = 1\n",
		"shared/root.txt":       "1\n",
		"shared/none.txt":       "1\n",
		"modules/m/main.tf":     "# m\n",
	}
	root := repo(t, files)
	was, err := load(t, root, true).Inputs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"live/required.tfvars": {"/live/a"},
		"live/optional.tfvars": {"/live/a"},
		"live/argument.tfvars": {"/live/a"},
		"shared/more.tfvars":   {"/live/a"},
		"shared/root.txt":      {"/live/a"},
		"live/region.hcl":      {"/live/a"},
		"env.yaml":             {"/live/a"},
		"live/env.yaml":        {"/live/a"}, // found before the one above
		"live/b/more.txt":      {"/live/b"},
		"shared/none.txt":      nil,
	} {
		write(t, root, map[string]string{name: files[name] + "# changed\n"})
		p := load(t, root, true)
		stacks, err := p.All()
		if err != nil {
			t.Fatal(err)
		}
		dirty, err := p.DirtyStacks(stacks)
		if err != nil {
			t.Fatal(err)
		}
		for _, stack := range []string{"/live/a", "/live/b"} {
			if dirty[stack] != slices.Contains(want, stack) {
				t.Errorf("%s uncommitted: %s is dirty: %v", name, stack, dirty[stack])
			}
		}
		commit(t, root)
		in, err := load(t, root, true).Inputs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, differing(t, was, in)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
		git(t, root, "reset", "-q", "--hard", "HEAD~1")
	}
}

// TestDirtyBeyond: what an uncommitted change makes dirty that Terramate's change
// detection does not see.
func TestDirtyBeyond(t *testing.T) {
	t.Parallel()
	root := repo(t, beyond)
	link(t, root, "behind.tpl", "shared/link.tpl")
	commit(t, root)
	for name, want := range map[string][]string{
		"modules/m/main.tf":    {"/any", "/json", "/tofu"},
		"shared/a.json":        {"/any", "/reads"},
		"shared/new.yaml":      {"/reads"},
		"shared/deep/two.yaml": {"/any"},
		"shared/behind.tpl":    {"/any", "/reads"},
		"shared/b.txt":         {"/any", "/calls"},
		"shared/c.txt":         {"/any", "/calls"},
		"own/nested/y.json":    {"/any", "/own/nested"},
		"env/a/_gen.tf":        nil,
		"plan.out":             nil,
		"new.tf":               {"/any"},
	} {
		write(t, root, map[string]string{name: "# changed\n"})
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
		for stack := range dirty {
			got = append(got, stack)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		git(t, root, "reset", "-q", "--hard")
		git(t, root, "clean", "-fdq")
	}
}
