package project

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The names are those that the loaded project sets.
func TestRunEnvAtIsThatOfLoad(t *testing.T) {
	t.Parallel()
	const block = "terramate {\n  config {\n    run {\n      env {\n"
	const end = "      }\n    }\n  }\n}\n"
	root := repo(t, map[string]string{
		"/root.tm":        block + "        A = \"1\"\n        B = \"1\"\n        C = global.c\n" + end + "globals {\n  c = \"x\"\n}\n",
		"/a/stack.tm":     "stack {\n}\n",
		"/b/stack.tm":     "stack {\n}\n" + block + "        B = unset\n        D = \"${env.HOME}/x\"\n" + end,
		"/c/stack.tm":     "stack {\n}\n",
		"/b/below/dir.md": "",
	})
	p := load(t, root, false)
	all, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	envs, err := p.Envs(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		want := p.RunEnv(envs[s.Path])
		got, err := RunEnvAt(root, filepath.Join(root, s.Path))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", s.Path, err, diff)
		}
	}
}

func TestTracked(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"/a/x.auto.tfvars": "", "/a/stack.tm": "stack {\n}\n", "/.gitignore": "*.auto.tfvars\n"})
	write(t, root, map[string]string{"/a/y.auto.tfvars": ""})
	git(t, root, "add", "-f", "a/x.auto.tfvars")
	tracked := Tracked(t.Context(), root)
	for file, want := range map[string]bool{"a/x.auto.tfvars": true, "a/y.auto.tfvars": false} {
		if is, err := tracked(filepath.Join(root, file)); err != nil || is != want {
			t.Errorf("%s: %v, %v", file, is, err)
		}
	}
}
