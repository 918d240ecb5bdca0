package project

import (
	"fmt"
	"math/rand"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A past is a repository with a history made at random: stacks that are nested, that
// call modules which call modules, that watch and read files, move, come and go;
// modules called in JSON and by expressions, run.env; links, a submodule, names that
// are not ASCII, Terragrunt units; reverts.
type past struct {
	*rand.Rand
	t       *testing.T
	root    string
	stacks  []string // folders, relative
	commits []string
	n       int
}

func newPast(t *testing.T, seed int64, terragrunt bool) *past {
	h := &past{Rand: rand.New(rand.NewSource(seed)), t: t, root: tempDir(t)}
	git(t, h.root, "init", "-q", "-b", "main")
	git(t, h.root, "config", "core.quotePath", "false") // or stock does not see such names at all
	h.write("root.tm", "terramate {\n  required_version = \">= 0.1\"\n}\n")
	for i := range 5 {
		code := fmt.Sprintf("# module %d\n", i)
		if i < 4 && h.Intn(2) == 0 {
			code += fmt.Sprintf("module \"next\" {\n  source = \"../m%d\"\n}\n", i+1+h.Intn(4-i))
		}
		if h.Intn(3) == 0 {
			code += "module \"own\" {\n  source = \"./sub\"\n}\n"
			h.write(fmt.Sprintf("modules/m%d/sub/main.tf", i), "# sub\n")
		}
		h.write(fmt.Sprintf("modules/m%d/main.tf", i), code)
		if h.Intn(4) == 0 {
			h.write(fmt.Sprintf("modules/m%d/.tmskip", i), "")
		}
	}
	h.write("shared/watched.txt", "1\n")
	h.write("shared/read.txt", "1\n")
	h.write("a/env.tm", "globals {\n  tag = \"v1\"\n}\nterramate {\n  config {\n    run {\n      env {\n        TAG = \"${global.tag}\"\n      }\n    }\n  }\n}\n")
	h.write("shared/linked/file.txt", "1\n")
	for _, dir := range []string{"a", "a/b", "a/b/c", "d", "d/ü é", "e/f", "g"} {
		if h.Intn(4) > 0 {
			h.stack(dir)
		}
	}
	if terragrunt {
		h.write("tg/root.hcl", "locals {\n  a = 1\n}\n")
		h.write("tg/common.txt", "1\n")
		for i, unit := range []string{"tg/u0", "tg/u1"} {
			h.stacks = append(h.stacks, unit)
			h.write(unit+"/stack.tm", fmt.Sprintf("stack {\n  id = \"unit-%d\"\n}\n", i))
			code := fmt.Sprintf("include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\nterraform {\n  source = \"../../modules/m%d\"\n}\n", i)
			if i == 0 {
				code += "locals {\n  c = file(\"../common.txt\")\n}\n"
			}
			h.write(unit+"/terragrunt.hcl", code)
		}
	}
	h.commit()
	return h
}

func (h *past) write(name, content string) { write(h.t, h.root, map[string]string{name: content}) }

func (h *past) link(name, target string) {
	h.t.Helper()
	file := filepath.Join(h.root, filepath.FromSlash(name))
	_ = os.Remove(file)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(filepath.FromSlash(target), file); err != nil {
		h.t.Fatal(err)
	}
}

func (h *past) commit() {
	commit(h.t, h.root)
	h.commits = append(h.commits, git(h.t, h.root, "rev-parse", "HEAD"))
}

func (h *past) up(dir string) string { return strings.Repeat("../", strings.Count(dir, "/")+1) }

func (h *past) stack(dir string) {
	h.n++
	h.stacks = append(h.stacks, dir)
	watch := ""
	if h.Intn(4) == 0 {
		watch = "  watch = [\"/shared/watched.txt\"]\n"
	}
	h.write(dir+"/stack.tm", fmt.Sprintf("stack {\n  id = \"s%d\"\n%s}\n", h.n, watch))
	h.code(dir)
	h.write(dir+"/files/x.txt", "1\n")
	switch h.Intn(6) {
	case 0:
		h.link(dir+"/linked", h.up(dir)+"shared/linked")
	case 1:
		h.write(dir+"/.hidden/x.txt", "1\n")
	case 2:
		h.write(dir+"/skipped/.tmskip", "")
		h.write(dir+"/skipped/stack.tm", "stack {\n}\n")
	}
}

func (h *past) code(dir string) {
	code := fmt.Sprintf("# %d\n", h.Int())
	for i := range h.Intn(3) {
		module := fmt.Sprintf("modules/m%d", h.Intn(5))
		if h.Intn(8) == 0 {
			module = h.stacks[h.Intn(len(h.stacks))]
		}
		code += fmt.Sprintf("module \"m%d\" {\n  source = %q\n}\n", i, h.up(dir)+module)
	}
	switch h.Intn(12) {
	case 0, 1:
		code += fmt.Sprintf("locals {\n  r = file(\"%sshared/read.txt\")\n}\n", h.up(dir))
	case 2:
		if h.n > 5 {
			code += "module \"any\" {\n  source = local.where\n}\n"
		}
	}
	_ = os.Remove(filepath.Join(h.root, dir, "cdk.tf.json"))
	if h.Intn(6) == 0 {
		h.write(dir+"/cdk.tf.json", fmt.Sprintf(`{"module": {"j": {"source": "%smodules/m%d"}}}`, h.up(dir), h.Intn(5)))
	}
	ext := []string{".tf", ".tofu"}[h.Intn(2)]
	_ = os.Remove(filepath.Join(h.root, dir, "main.tf"))
	_ = os.Remove(filepath.Join(h.root, dir, "main.tofu"))
	h.write(dir+"/main"+ext, code)
}

func (h *past) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(h.root, filepath.FromSlash(name)))
	return err == nil
}

// step changes something and commits it.
func (h *past) step() {
	h.n++
	text := fmt.Sprintf("# %d\n", h.n)
	dir := h.stacks[h.Intn(len(h.stacks))]
	switch h.Intn(18) {
	case 0, 1:
		h.code(dir)
	case 2:
		h.write(dir+"/files/x.txt", text)
	case 3:
		h.write(dir+fmt.Sprintf("/new %d ñ.txt", h.n), text)
	case 4:
		h.write(fmt.Sprintf("modules/m%d/extra%d.txt", h.Intn(5), h.Intn(3)), text)
	case 5:
		h.write(fmt.Sprintf("modules/m%d/main.tf", h.Intn(5)), text+fmt.Sprintf("module \"next\" {\n  source = \"../m%d\"\n}\n", h.Intn(5)))
	case 6:
		h.write("shared/watched.txt", text)
	case 7:
		h.write("shared/linked/file.txt", text)
	case 8: // a stack moves, with those below it
		if strings.HasPrefix(dir, "tg/") {
			dir = h.stacks[0] // a unit would not find its root.hcl
		}
		to := fmt.Sprintf("moved%d", h.n)
		git(h.t, h.root, "mv", dir, to)
		for i, s := range h.stacks {
			if s == dir || strings.HasPrefix(s, dir+"/") {
				h.stacks[i] = to + strings.TrimPrefix(s, dir)
			}
		}
		for _, s := range h.stacks { // their calls led from where they were
			if !strings.HasPrefix(s, "tg/") {
				h.code(s)
			}
		}
	case 9: // another one is nested in it
		h.stack(fmt.Sprintf("%s/n%d", dir, h.n))
	case 10: // a stack is one no longer
		if len(h.stacks) > 2 && h.exists(dir+"/stack.tm") {
			git(h.t, h.root, "rm", "-q", dir+"/stack.tm")
			h.stacks = slices.DeleteFunc(h.stacks, func(s string) bool { return s == dir })
		}
	case 11: // a nested stack is gone with all that it had
		if strings.Contains(dir, "/") && len(h.stacks) > 3 && !strings.HasPrefix(dir, "tg/") {
			git(h.t, h.root, "rm", "-rq", dir)
			h.stacks = slices.DeleteFunc(h.stacks, func(s string) bool { return s == dir || strings.HasPrefix(s, dir+"/") })
			for _, s := range h.stacks {
				if !strings.HasPrefix(s, "tg/") {
					h.code(s)
				}
			}
		}
	case 12: // a submodule comes, or goes on
		git(h.t, h.root, "update-index", "--add", "--cacheinfo", "160000,"+fmt.Sprintf("%040x", h.n)+","+dir+"/submodule")
		_ = os.MkdirAll(filepath.Join(h.root, dir, "submodule"), 0o755)
		git(h.t, h.root, "commit", "-q", "-m", "submodule")
		h.commits = append(h.commits, git(h.t, h.root, "rev-parse", "HEAD"))
		return
	case 13: // the same content as before, whatever came in between
		h.write("modules/m0/extra0.txt", "back again\n")
		h.write(dir+"/files/x.txt", "1\n")
	case 14:
		h.write("tg/root.hcl", "locals {\n  a = "+fmt.Sprint(h.n)+"\n}\n")
	case 15:
		h.write("tg/common.txt", text)
	case 16:
		h.write("shared/read.txt", text)
	case 17:
		h.write("a/env.tm", fmt.Sprintf("globals {\n  tag = \"v%d\"\n}\nterramate {\n  config {\n    run {\n      env {\n        TAG = \"${global.tag}\"\n      }\n    }\n  }\n}\n", h.n))
	}
	h.commit()
}

// TestInputsAgainstStock: between any two commits, the digest of a stack differs
// where stock terramate lists it, and nowhere else, but for the exceptions that
// FORMAT.md names.
func TestInputsAgainstStock(t *testing.T) {
	t.Parallel()
	histories, pairs := 10, 20
	if testing.Short() {
		histories = 4
	}
	for seed := range histories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newPast(t, int64(seed), seed%2 == 1)
			for range 25 {
				h.step()
			}
			compared, same, explained := 0, 0, map[string]int{}
			for range pairs {
				a, b := h.commits[h.Intn(len(h.commits))], h.commits[h.Intn(len(h.commits))]
				git(t, h.root, "checkout", "-q", "-f", "--detach", b)
				git(t, h.root, "clean", "-fdq")
				out, errs, err := runStock(h.root, "list", "--changed", "--git-change-base", a)
				if err != nil {
					first, _, _ := strings.Cut(errs, "\n")
					t.Logf("stock refuses %.8s..%.8s: %s", a, b, first)
					continue
				}
				listed := map[string]bool{}
				for line := range strings.Lines(out) {
					listed["/"+strings.TrimSpace(line)] = true
				}
				p := load(t, h.root, true)
				at, err := p.Inputs(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				was, err := p.InputsAt(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				again, err := p.InputsAt(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				diff := strings.Split(git(t, h.root, "diff-tree", "-r", "--name-only", a, b), "\n")
				for stack := range at.stacks {
					now, err := at.Digest(stack)
					if err != nil {
						t.Fatal(err)
					}
					if other, _ := again.Digest(stack); now != other {
						t.Errorf("%s at %.8s: %s from the work tree, %s from the commit", stack, b, now, other)
					}
					then, _ := was.Digest(stack)
					compared++
					if (now != then) == listed[stack] {
						same++
						continue
					}
					why := exception(stack, listed[stack], at, was, diff)
					if why == "" {
						t.Errorf("seed %d: %s between %.8s and %.8s: listed by stock: %v, digests %s and %s; changed: %q", seed, stack, a, b, listed[stack], then, now, diff)
					}
					explained[why]++
				}
			}
			t.Logf("%d of %d agree; the others: %v", same, compared, explained)
			if same < compared*8/10 {
				t.Errorf("only %d of %d agree: the history has too few ordinary changes to say anything", same, compared)
			}
		})
	}
}

// exception names why stock terramate and the digest may see a stack differently.
func exception(stack string, listed bool, at, was *Inputs, diff []string) string {
	if listed {
		for other := range was.stacks {
			if strings.HasPrefix(other, stack+"/") && at.stacks[other] == nil {
				return "a nested stack was removed"
			}
		}
		return ""
	}
	if was.stacks[stack] == nil {
		return "a stack without a changed file of its own"
	}
	for other := range at.stacks {
		if strings.HasPrefix(other, stack+"/") && was.stacks[other] == nil {
			return "a nested stack was added"
		}
	}
	if len(envDiffers(at.stacks[stack], was.stacks[stack])) > 0 {
		return "run.env"
	}
	for _, e := range append(slices.Clone(at.stacks[stack].parts), was.stacks[stack].parts...) {
		for _, name := range diff {
			file := "/" + name
			in := file == e.path || strings.HasPrefix(file, e.path+"/")
			switch {
			case e.kind == "link" && in:
				return "behind a link"
			case e.kind == "module" && in:
				// Stock visits a module once for each way of writing its source.
				return "a module that stock misses, or that JSON calls"
			case e.kind == kindRead && in:
				return "a file that code reads"
			case e.kind == kindAny && !strings.HasPrefix(file, "/.tmtriggers/"):
				return "a module call that cannot be followed"
			case e.mode == modeGitlink && strings.HasPrefix(e.path, path.Dir(file)):
				return "in a submodule"
			}
		}
	}
	return ""
}

// TestInputsDiffer: what changes a stack's digest, and what does not, one thing at a
// time; among them the kinds of change that stock does not see.
func TestInputsDiffer(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a/stack.tm":            "stack {\n  watch = [\"/shared/watched.txt\"]\n}\n",
		"a/main.tf":             "module \"m\" {\n  source = \"../modules/m0\"\n}\n",
		"a/sub/notes.txt":       "1\n",
		"a/nested/stack.tm":     "stack {\n}\n",
		"a/nested/main.tf":      "# nothing\n",
		"b/stack.tm":            "stack {\n}\n",
		"b/main.tofu":           "module \"m\" {\n  source = \"../modules/alias\"\n}\n",
		"c/stack.tm":            "stack {\n}\n",
		"c/main.tf":             "module \"s\" {\n  source = \"../b\"\n}\nmodule \"far\" {\n  source = \"hashicorp/x/y\"\n}\nmodule \"no\" {\n  source = \"../../outside\"\n}\n",
		"d e/stack.tm":          "stack {\n}\n",
		"d e/hidden/.tmskip":    "",
		"d e/hidden/stack.tm":   "stack {\n}\n",
		"modules/m0/main.tf":    "module \"n\" {\n  source = \"./inner\"\n}\nmodule \"loop\" {\n  source = \"../m0\"\n}\n",
		"modules/m0/inner/x.tf": "module \"gone\" {\n  source = \"../../gone\"\n}\n",
		"modules/m1/main.tf":    "# one\n",
		"shared/watched.txt":    "1\n",
		"shared/far/linked.txt": "1\n",
		"other.txt":             "1\n",
	}
	prepare := func(t *testing.T) string {
		root := repo(t, files)
		link(t, root, "m1", "modules/alias")
		link(t, root, "../shared/far", "d e/far")
		git(t, root, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",b/module")
		git(t, root, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",lib")
		for _, dir := range []string{"b/module", "lib"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(t, root, map[string]string{"a/lib.tf": "module \"lib\" {\n  source = \"../lib/x\"\n}\n"})
		commit(t, root)
		return root
	}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, root string)
		want   []string
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"a file of none", put("other.txt", "2\n"), nil},
		{"an own file", put("a/main.tf", "# changed\n"), []string{"/a"}},
		{"its mode", func(t *testing.T, root string) {
			if err := os.Chmod(filepath.Join(root, "a/sub/notes.txt"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"/a"}},
		{"a file of a nested stack", put("a/nested/main.tf", "# changed\n"), []string{"/a/nested"}},
		{"a strange name", put("d e/ü \"x\"\n.txt", "1\n"), []string{"/d e"}},
		{"a skipped folder", put("d e/hidden/more.txt", "1\n"), []string{"/d e"}},
		{"watched", put("shared/watched.txt", "2\n"), []string{"/a"}},
		{"watched and gone", func(t *testing.T, root string) { git(t, root, "rm", "-q", "shared/watched.txt") }, []string{"/a"}},
		{"a module of a module", put("modules/m0/inner/y.txt", "1\n"), []string{"/a"}},
		{"a module that was missing", put("modules/gone/main.tf", "# back\n"), []string{"/a"}},
		{"a module behind a link, called by a stack that is called as one", put("modules/m1/main.tf", "# changed\n"), []string{"/b", "/c"}},
		{"a link on the way to a module", func(t *testing.T, root string) { link(t, root, "m0", "modules/alias") }, []string{"/b", "/c"}},
		{"what a link leads to", put("shared/far/linked.txt", "2\n"), []string{"/d e"}},
		{"a submodule", func(t *testing.T, root string) {
			git(t, root, "update-index", "--cacheinfo", "160000,"+strings.Repeat("2", 40)+",b/module")
		}, []string{"/b", "/c"}},
		{"the submodule that a module is in", func(t *testing.T, root string) {
			git(t, root, "update-index", "--cacheinfo", "160000,"+strings.Repeat("2", 40)+",lib")
		}, []string{"/a"}},
		{"a trigger", put(".tmtriggers/a/changed-x.tm.hcl", "trigger {\n  ctime = 1\n  reason = \"x\"\n}\n"), nil},
		{"a stack nested over its files", put("a/sub/stack.tm", "stack {\n}\n"), []string{"/a", "/a/sub"}},
		{"a nested stack removed", func(t *testing.T, root string) { git(t, root, "rm", "-rq", "a/nested") }, []string{"/a/nested"}},
		{"a stack that is skipped no more", func(t *testing.T, root string) { git(t, root, "rm", "-q", "d e/hidden/.tmskip") }, []string{"/d e", "/d e/hidden"}},
		{"code that cannot be read", put("b/main.tofu", "module \"x\" {"), []string{"/b", "/c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root := prepare(t)
			was, err := load(t, root, true).Inputs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tc.change(t, root)
			// Not "git add": the folders of the submodules are empty.
			git(t, root, "add", "-A", "--", ".", ":!b/module", ":!lib")
			git(t, root, "commit", "-q", "--allow-empty", "-m", "change")
			p := load(t, root, true)
			in, err := p.Inputs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, stacks := range []map[string]*stackInputs{was.stacks, in.stacks} {
				for stack := range stacks {
					a, _ := was.Digest(stack)
					b, _ := in.Digest(stack)
					if (a != b || b == "") && !slices.Contains(got, stack) {
						got = append(got, stack)
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("differ: %q, want %q", got, tc.want)
			}
		})
	}
}
