package project

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tmproject "github.com/terramate-io/terramate/project"
)

// StackAt finds what the loaded project has, for every folder of it.
func TestStackAtIsThatOfLoad(t *testing.T) {
	t.Parallel()
	for seed := range int64(6) {
		g := newProject(seed)
		g.put("/imports", "more.tm", "globals {\n  more = 1\n}\n")
		g.put(g.stacks[len(g.stacks)-1], "import.tm", "import {\n  source = \"/imports/more.tm\"\n}\n")
		// Experiments are enabled at the root only, which StackAt does not read.
		g.put(g.stacks[0], "input.tm", "input \"x\" {\n  backend = \"b\"\n  from_stack_id = \"y\"\n  value = outputs.x\n}\n")
		g.put("/", "experiments.tm", "terramate {\n  config {\n    experiments = [\"outputs-sharing\"]\n  }\n}\n")
		for _, dir := range append([]string{"/"}, g.dirs...) {
			g.put(dir, "below/.dot/x.txt", "")
		}
		root := tempDir(t)
		if seed%2 == 0 {
			root = repo(t, g.files)
		} else {
			write(t, root, g.files) // its root is found by required_version
		}
		p := load(t, root, false)
		found := 0
		for _, dir := range append([]string{"/"}, g.dirs...) {
			for _, sub := range []string{"", "/below", "/below/.dot"} {
				wd := filepath.Join(root, dir, sub)
				got, gotRoot, err := StackAt(t.Context(), wd, "")
				nearest, ok := p.enclosing(tmproject.PrjAbsPath(root, wd).String())
				if !ok {
					if !errors.Is(err, ErrNoStack) {
						t.Errorf("seed %d: StackAt(%s): %v, want ErrNoStack", seed, wd, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("seed %d: StackAt(%s): %v, want %s", seed, wd, err, nearest)
					continue
				}
				found++
				tree, _ := p.root().Lookup(tmproject.NewPath(nearest))
				st, err := tree.Stack()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(p.stack(st), got); diff != "" || gotRoot != root {
					t.Errorf("seed %d: StackAt(%s), root %s (-loaded +here):\n%s", seed, wd, gotRoot, diff)
				}
			}
		}
		if found == 0 {
			t.Errorf("seed %d: no stack was found at all", seed)
		}
	}
}

// It reads no other folder: what is wrong elsewhere does not matter to it.
func TestStackAtReadsOneFolder(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{
		"a/stack.tm":     "stack {\n  id = \"UPPER\"\n  tags = [\"x\"]\n}\n",
		"a/import.tm":    "import {\n  source = \"/not/there.tm\"\n}\n",
		"b/stack.tm":     "stack {\n",
		"two/stack.tm":   "stack {\n  id = \"one\"\n}\nstack {\n  id = \"two\"\n}\n",
		"badid/stack.tm": "stack {\n  id = \"not valid\"\n}\n",
	})
	s, _, err := StackAt(t.Context(), filepath.Join(root, "a"), "")
	if err != nil || s.ID != "upper" || s.Path != "/a" || s.Dir != filepath.Join(root, "a") || s.Name != "a" || len(s.Tags) != 1 {
		t.Errorf("StackAt: %+v, %v", s, err)
	}
	for _, dir := range []string{"b", "two", "badid"} {
		if s, _, err := StackAt(t.Context(), filepath.Join(root, dir), ""); err == nil {
			t.Errorf("StackAt of %s: %+v, want an error", dir, s)
		} else {
			checkLine(t, err)
		}
	}
}

func TestStackAtNoProject(t *testing.T) {
	t.Parallel()
	if _, _, err := StackAt(t.Context(), tempDir(t), ""); !errors.Is(err, ErrNoProject) {
		t.Errorf("StackAt outside a project: %v", err)
	}
	if _, _, err := StackAt(t.Context(), filepath.Join(tempDir(t), "gone"), ""); err == nil || errors.Is(err, ErrNoProject) {
		t.Errorf("StackAt of a folder that is not there: %v", err)
	}
	root := repo(t, map[string]string{"a.txt": ""})
	if _, _, err := StackAt(t.Context(), root, ""); !errors.Is(err, ErrNoStack) || !strings.Contains(err.Error(), root) {
		t.Errorf("StackAt in a project without stacks: %v", err)
	}
}
