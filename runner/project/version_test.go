package project

import (
	"fmt"
	"maps"
	"math/rand"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/runner"
)

// versionsAre compares what is derived of a version with the version itself, and reports whether it was derived.
func versionsAre(t *testing.T, m *Merge, from *Version) bool {
	t.Helper()
	v, err := m.derived(t.Context(), from, m.Base)
	if err != nil {
		t.Fatal(err)
	}
	if v == nil {
		return false
	}
	want, err := m.checkedOut(t.Context(), m.Base)
	if err != nil {
		t.Fatalf("a version that cannot be loaded is derived: %v", err)
	}
	stacks := func(v *Version) (texts []string) {
		all, err := v.All()
		if err != nil {
			t.Fatal(err)
		}
		listed, err := v.List(Selection{})
		if err != nil || len(listed) != len(all) {
			t.Fatalf("%d stacks are listed of %d, %v", len(listed), len(all), err)
		}
		text := func(s runner.Stack) string { return fmt.Sprint(s.Path, s.ID, s.Name, s.Tags) }
		for i, s := range all {
			if texts = append(texts, text(s)); text(s) != text(listed[i].Stack) {
				t.Fatalf("%s is listed, not %s", text(listed[i].Stack), text(s))
			}
		}
		return texts
	}
	if diff := cmp.Diff(stacks(want), stacks(v)); diff != "" {
		t.Errorf("stacks of %.12s, derived from %.12s (-want +got):\n%s", m.Base, from.loaded, diff)
	}
	if diff := cmp.Diff(maps.Collect(want.Inputs.All()), maps.Collect(v.Inputs.All())); diff != "" {
		t.Errorf("digests at %.12s, derived from %.12s (-want +got):\n%s", m.Base, from.loaded, diff)
	}
	return true
}

// mergeOf is the merge of what is checked out into a base, and the project as it is on the disk and in a folder.
func mergeOf(t *testing.T, root, base string) (m *Merge, disk, folder *Version) {
	t.Helper()
	p := load(t, root, true)
	head := git(t, root, "rev-parse", "HEAD")
	m = &Merge{p: p, git: p.top(), Head: head, tree: head, Base: git(t, root, "rev-parse", base)}
	t.Cleanup(m.Close)
	folder, err := m.checkedOut(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	return m, &Version{Project: p, loaded: head}, folder
}

func TestDerivedVersions(t *testing.T) {
	t.Parallel()
	root := func(value string) string {
		return "globals {\n  g = " + value + "\n}\nterramate {\n  config {\n    run {\n      env {\n        A = \"${global.g}\"\n      }\n    }\n  }\n}\n"
	}
	const stack = "stack {\n  after = [\"/a\"]\n}\n"
	for name, test := range map[string]struct {
		head, base map[string]string // what they have more than they have in common
		derived    bool
	}{
		"nothing":                    {derived: true},
		"code":                       {head: map[string]string{"a/b.tf": "# b\n"}, derived: true},
		"a stack":                    {head: map[string]string{"new/stack.tm": stack, "new/main.tf": "# new\n"}, base: map[string]string{"a/b.tf": "# b\n"}, derived: true},
		"a stack with a backend":     {head: map[string]string{"new/stack.tm": stack, "new/main.tf": "terraform {\n  backend \"local\" {}\n}\n"}, derived: true},
		"stacks deep in a new tree":  {head: map[string]string{"x/g.tm": "globals {\n  g = 2\n}\n", "x/y/stack.tm": stack, "x/z/stack.tm": stack, "x/z/in/stack.tm": stack}, derived: true},
		"a stack that calls another": {head: map[string]string{"new/stack.tm": stack, "new/main.tf": "# new\n", "a/main.tf": "module \"n\" {\n  source = \"../new\"\n}\n"}, derived: true},
		"a stack and a file":         {head: map[string]string{"new/stack.tm": stack, "x.txt": "x\n"}},
		"a stack in a folder":        {head: map[string]string{"a/m/stack.tm": stack}},
		"a stack of the base":        {base: map[string]string{"new/stack.tm": stack}},
		"a stack of each":            {head: map[string]string{"new/stack.tm": stack}, base: map[string]string{"old/stack.tm": stack}},
		"a stack, all are listed":    {head: map[string]string{"0/stack.tm": stack, "root.tm": root(`terramate.stacks.list[0]`)}, base: map[string]string{"root.tm": root(`terramate.stacks.list[0]`)}},
		"a stack, all are known":     {head: map[string]string{"0/stack.tm": stack, "root.tm": root(`[for k, v in terramate : k == "stacks" ? v.list[0] : ""][2]`)}, base: map[string]string{"root.tm": root(`[for k, v in terramate : k == "stacks" ? v.list[0] : ""][2]`)}},
		"a stack, imported":          {head: map[string]string{"conf/new/g.tm": "globals {\n  h = 2\n}\n"}},
		"a stack, its name":          {head: map[string]string{"0/stack.tm": stack, "root.tm": root(`terramate.stack.name`)}, base: map[string]string{"root.tm": root(`terramate.stack.name`)}, derived: true},
		"a stack, the base has less": {head: map[string]string{"0/stack.tm": stack}, base: map[string]string{"root.tm": root(`2`)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := repo(t, map[string]string{"root.tm": root("1"), "a/stack.tm": "stack {\n  tags = [\"t\"]\n}\n", "a/main.tf": "# a\n", "a/m/main.tf": "# m\n", "b/stack.tm": stack + "import {\n  source = \"/conf/*/g.tm\"\n}\n", "conf/old/g.tm": ""})
			git(t, dir, "checkout", "-q", "-b", "base")
			write(t, dir, test.base)
			commit(t, dir)
			git(t, dir, "checkout", "-q", "-b", "head", "main")
			write(t, dir, test.head)
			commit(t, dir)
			m, disk, folder := mergeOf(t, dir, "base")
			for _, from := range []*Version{disk, folder} {
				if got := versionsAre(t, m, from); got != test.derived {
					t.Errorf("derived: %v, want %v", got, test.derived)
				}
			}
		})
	}
}

// Whatever the history was, what is derived is what was.
func TestDerivedOfAnyPast(t *testing.T) {
	t.Parallel()
	const histories, pairs = 4, 10
	var derived atomic.Int64
	t.Cleanup(func() {
		if t.Logf("%d of %d derived", derived.Load(), 2*histories*pairs); derived.Load() < int64(histories) {
			t.Error("too few to say anything")
		}
	})
	for seed := range histories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newPast(t, int64(seed), false)
			for range 15 {
				if h.n++; h.Intn(3) == 0 {
					h.stack(fmt.Sprintf("new%d", h.n))
					h.commit()
				}
				h.step()
			}
			near := rand.New(rand.NewSource(int64(seed)))
			for range pairs {
				k := near.Intn(len(h.commits) - 1)
				git(t, h.root, "checkout", "-q", "-f", "--detach", h.commits[k+1])
				git(t, h.root, "clean", "-fdq")
				m, disk, folder := mergeOf(t, h.root, h.commits[max(k-near.Intn(3), 0)])
				for _, from := range []*Version{disk, folder} {
					if versionsAre(t, m, from) {
						derived.Add(1)
					}
				}
			}
		})
	}
}
