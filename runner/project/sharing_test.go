package project

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/runner"
)

func sharingProject() map[string]string {
	return map[string]string{
		"terramate.tm": "terramate {\n  config {\n    experiments = [\"outputs-sharing\"]\n  }\n}\n",
		"backend.tm":   "sharing_backend \"default\" {\n  type = terraform\n  filename = \"sharing.tf\"\n  command = [\"sh\", \"-c\", \"echo x >> count; cat outputs.json\"]\n}\n",
		"a/stack.tm":   "stack {\n  id = \"id-a\"\n}\n",
		"a/outputs.json": `{"s": {"value": "text \"quoted\" ${x}"}, "n": {"value": 1.5}, "l": {"value": ["a", true, null]},
			"o": {"value": {"k": {"deep": "v"}}}}`,
		"b/stack.tm": "stack {\n  id = \"id-b\"\n  after = [\"/a\"]\n}\n",
		"b/in.tm": `
input "s" {
  backend       = "default"
  from_stack_id = "id-a"
  value         = outputs.s.value
}
input "many" {
  backend       = "default"
  from_stack_id = "id-a"
  value         = { n = outputs.n.value, l = outputs.l.value, o = outputs.o.value.k, name = terramate.stack.name }
}
input "maybe" {
  backend       = "default"
  from_stack_id = "id-a"
  value         = outputs.missing.value
  mock          = "mock-${terramate.stack.name}"
}
`,
		"c/stack.tm": "stack {\n  id = \"id-c\"\n  after = [\"/b\"]\n}\n",
		"c/in.tm":    "input \"s\" {\n  backend = \"default\"\n  from_stack_id = \"id-a\"\n  value = outputs.s.value\n  mock = \"m\"\n}\n",
	}
}

// The variables are those that the stock binary sets, with mocks and without.
func TestSharingAsStock(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(files map[string]string){
		"mocks where an output is missing": func(map[string]string) {},
		"mocks where the command fails": func(files map[string]string) {
			delete(files, "a/outputs.json")
			files["b/in.tm"] = strings.ReplaceAll(files["c/in.tm"], `"m"`, `[1, "x"]`)
		},
		"no JSON":             func(files map[string]string) { files["a/outputs.json"] = "{" },
		"no mock":             func(files map[string]string) { delete(files, "a/outputs.json") },
		"no such stack":       func(files map[string]string) { files["b/in.tm"] = strings.ReplaceAll(files["b/in.tm"], "id-a", "id-x") },
		"other case of an id": func(files map[string]string) { files["b/in.tm"] = strings.ReplaceAll(files["b/in.tm"], "id-a", "ID-A") },
		"no such backend": func(files map[string]string) {
			files["b/in.tm"] = strings.ReplaceAll(files["b/in.tm"], `"default"`, `"other"`)
		},
		"all are there": func(files map[string]string) {
			files["b/in.tm"] = strings.ReplaceAll(files["b/in.tm"], "outputs.missing.value", "outputs.n.value")
		},
	} {
		for _, mock := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				files := sharingProject()
				change(files)
				root := repo(t, files)
				args := []string{"run", "-X", "--quiet", "--enable-sharing"}
				if mock {
					args = append(args, "--mock-on-fail")
				}
				out, stderr, wantErr := runStock(root, append(args, "--", "env", "-0")...)
				var want []string
				for v := range strings.SplitSeq(out, "\x00") {
					if strings.HasPrefix(v, "TF_VAR_") {
						want = append(want, v)
					}
				}
				p := load(t, root, false)
				stacks, err := p.All()
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, s := range stacks {
					if share := p.Sharing(s, mock); share != nil {
						vars, shareErr := share(t.Context())
						if err = shareErr; err != nil {
							checkLine(t, err)
							break
						}
						got = append(got, vars...)
					} else if s.Path != "/a" {
						t.Errorf("Sharing of %s is nil", s.Path)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (wantErr != nil) {
					t.Errorf("mock %v: stock %v %s, here %v (-stock +here):\n%s", mock, wantErr, stderr, err, diff)
				}
			})
		}
	}
}

// However many stacks need the outputs of one, they are asked for once.
func TestSharingAsksOnce(t *testing.T) {
	t.Parallel()
	root := repo(t, sharingProject())
	p := load(t, root, false)
	stacks, err := p.All()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		for _, s := range stacks[1:] {
			wg.Go(func() {
				if _, err := p.Sharing(s, true)(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	count, err := os.ReadFile(filepath.Join(root, "a", "count"))
	if err != nil || string(count) != "x\n" {
		t.Errorf("the command ran %q times, %v", count, err)
	}
}

func TestSharingEnds(t *testing.T) {
	t.Parallel()
	files := sharingProject()
	files["backend.tm"] = strings.Replace(files["backend.tm"], `["sh", "-c", "echo x >> count; cat outputs.json"]`, `["sleep", "1000"]`, 1)
	p := load(t, repo(t, files), false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Sharing(runner.Stack{Path: "/c"}, true)(ctx)
	if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := p.Sharing(runner.Stack{Path: "/none"}, true)(t.Context()); err == nil {
		t.Error("a stack that is not there has inputs")
	}
}

func TestEval(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{
		"a/stack.tm": "stack {\n  id = \"id-a\"\n}\n",
		"g.tm":       "globals {\n  x = \"y\"\n}\n",
	})
	p := load(t, root, false)
	for _, cmd := range [][]string{
		{"echo", "plain", "a b", ""},
		{"echo", "${global.x}-${terramate.stack.id}", "${tm_upper(global.x)}"},
		{"echo", "${global.none}"},
		{"echo", `a"b`},
		{"echo", "${1}"},
		{"echo", "${"},
		{"echo", "${null}"},
		{"echo", "${[1]}"},
	} {
		out, stderr, wantErr := runStock(root, append([]string{"run", "-X", "--quiet", "--eval", "--", "printf", "%s|"}, cmd[1:]...)...)
		got, err := p.Eval(runner.Stack{Path: "/a", Dir: filepath.Join(root, "a")}, "", cmd)
		if strings.Contains(stderr, "panic") {
			wantErr = nil
			if err == nil {
				t.Errorf("%q: stock panics, here %q", cmd, got)
			}
			continue
		}
		if (err != nil) != (wantErr != nil) {
			t.Errorf("%q: stock %v %s, here %v", cmd, wantErr, stderr, err)
		}
		if err == nil && out != strings.Join(got[1:], "|")+"|" {
			t.Errorf("%q: stock %q, here %q", cmd, out, got)
		}
	}
	got, err := p.Eval(runner.Stack{Path: "/a", Dir: filepath.Join(root, "a")}, "prod", []string{"${terramate.target}"})
	if err != nil || !slices.Equal(got, []string{"prod"}) {
		t.Errorf("target: %q, %v", got, err)
	}
}
