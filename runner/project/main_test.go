package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/terramate-io/terramate/printer"

	"github.com/tmnotes/tmnotes/runner"
)

// stock is the terramate of go.mod, built by the go command.
var stock string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		out, err := exec.Command("go", "tool", "-n", "github.com/terramate-io/terramate/cmd/terramate").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "building the stock terramate:", err)
			return 1
		}
		stock = strings.TrimSpace(string(out))
		home, err := os.MkdirTemp("", "home")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(home) }()
		// Neither the user's settings nor any network.
		for _, env := range os.Environ() {
			name, _, _ := strings.Cut(env, "=")
			for _, prefix := range []string{"TM_", "TF_", "GIT_", "GITHUB_", "TMNOTES_", "CI"} {
				if strings.HasPrefix(name, prefix) {
					_ = os.Unsetenv(name)
				}
			}
		}
		for name, val := range map[string]string{
			"HOME":                home,
			"GIT_CONFIG_GLOBAL":   filepath.Join(home, "gitconfig"),
			"GIT_CONFIG_NOSYSTEM": "1",
			"GIT_AUTHOR_NAME":     "A", "GIT_AUTHOR_EMAIL": "a@example.com",
			"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com",
			"CHECKPOINT_DISABLE": "1",
			"TM_CLI_CONFIG_FILE": filepath.Join(home, "terramaterc"),
		} {
			_ = os.Setenv(name, val)
		}
		err = errors.Join(
			os.WriteFile(filepath.Join(home, "gitconfig"), nil, 0o600),
			os.WriteFile(filepath.Join(home, "terramaterc"), []byte("disable_checkpoint = true\ndisable_checkpoint_signature = true\ndisable_telemetry = true\n"), 0o600),
		)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		printer.Stderr.Writer = io.Discard // warnings of generated projects
		return m.Run()
	}())
}

// tempDir is a folder for a project, without symbolic links in its path.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// write writes files below root; the keys are their paths.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// repo makes a repository of files with one commit.
func repo(t testing.TB, files map[string]string) string {
	t.Helper()
	root := tempDir(t)
	git(t, root, "init", "-q", "-b", "main")
	write(t, root, files)
	commit(t, root)
	return root
}

func commit(t testing.TB, root string) {
	t.Helper()
	git(t, root, "add", "-A")
	git(t, root, "commit", "-q", "--allow-empty", "-m", "change")
}

// runStock runs the stock binary in dir.
func runStock(dir string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(stock, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func load(t testing.TB, dir string, terragrunt bool) *Project {
	t.Helper()
	p, err := Load(t.Context(), Options{Dir: dir, Terragrunt: terragrunt, Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func stacksOf(selected []Selected) []runner.Stack {
	stacks := make([]runner.Stack, len(selected))
	for i, s := range selected {
		stacks[i] = s.Stack
	}
	return stacks
}

// A generator makes projects at random: nested stacks with everything that
// bears on selection, order and environment.
type generator struct {
	*rand.Rand
	files  map[string]string
	stacks []string // project paths, sorted
	dirs   []string
}

func newProject(seed int64) *generator {
	g := &generator{Rand: rand.New(rand.NewSource(seed)), files: map[string]string{}}
	names := []string{"a", "b", "c", "d-d", "e"}
	for _, x := range names {
		g.dirs = append(g.dirs, "/"+x)
		for _, y := range names[:1+g.Intn(3)] {
			g.dirs = append(g.dirs, "/"+x+"/"+y)
			if g.Intn(3) == 0 {
				g.dirs = append(g.dirs, "/"+x+"/"+y+"/"+names[g.Intn(len(names))])
			}
		}
	}
	if g.Intn(4) == 0 {
		g.stacks = append(g.stacks, "/")
	}
	for _, dir := range g.dirs {
		if g.Intn(10) < 7 {
			g.stacks = append(g.stacks, dir)
		}
	}
	for i, s := range g.stacks {
		g.stack(i, s)
	}
	g.root()
	return g
}

func (g *generator) put(dir, name, content string) {
	g.files[strings.TrimPrefix(strings.TrimSuffix(dir, "/")+"/"+name, "/")] = content
}

// refs are references to stacks, most of them to earlier ones, so that few
// projects have cycles.
func (g *generator) refs(i int, earlier bool) string {
	var refs []string
	for range g.Intn(3) {
		from := g.stacks[:i]
		if !earlier {
			from = g.stacks[i+1:]
		}
		switch n := g.Intn(24); {
		case n == 0:
			refs = append(refs, `"tag:x:y"`)
		case n == 1:
			refs = append(refs, `"/not/there"`)
		case n == 2:
			refs = append(refs, `"tag:z,y"`)
		case n == 3:
			refs = append(refs, fmt.Sprintf("%q", g.stacks[g.Intn(len(g.stacks))]))
		case len(from) == 0:
		default:
			to := from[g.Intn(len(from))]
			if to == "/" || strings.HasPrefix(g.stacks[i], to+"/") || strings.HasPrefix(to, g.stacks[i]) {
				continue
			}
			if n%2 == 0 {
				rel, err := filepath.Rel(g.stacks[i], to)
				if err != nil {
					panic(err)
				}
				to = filepath.ToSlash(rel)
			}
			refs = append(refs, fmt.Sprintf("%q", to))
		}
	}
	return "[" + strings.Join(unique(refs), ", ") + "]"
}

func unique(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func (g *generator) stack(i int, path string) {
	var b strings.Builder
	b.WriteString("stack {\n")
	if g.Intn(2) == 0 {
		fmt.Fprintf(&b, "  id = \"Id-%d\"\n", i)
	}
	if g.Intn(3) == 0 {
		fmt.Fprintf(&b, "  name = tm_upper(\"n%d\")\n", i)
	}
	var tags []string
	for _, tag := range []string{"x", "y", "z"} {
		if g.Intn(3) == 0 {
			tags = append(tags, fmt.Sprintf("%q", tag))
		}
	}
	fmt.Fprintf(&b, "  tags = [%s]\n", strings.Join(tags, ", "))
	if g.Intn(2) == 0 {
		fmt.Fprintf(&b, "  after = %s\n", g.refs(i, true))
	}
	if g.Intn(3) == 0 {
		fmt.Fprintf(&b, "  before = %s\n", g.refs(i, false))
	}
	if g.Intn(8) == 0 {
		fmt.Fprintf(&b, "  wants = %s\n", g.refs(i, true))
	}
	if g.Intn(8) == 0 {
		fmt.Fprintf(&b, "  wanted_by = %s\n", g.refs(i, true))
	}
	if g.Intn(6) == 0 {
		b.WriteString("  watch = [\"/watched.txt\"]\n")
	}
	b.WriteString("}\n")
	g.put(path, "stack.tm", b.String())
	if g.Intn(2) == 0 {
		up := strings.Repeat("../", strings.Count(strings.Trim(path, "/"), "/")+1)
		if path == "/" {
			up = "./"
		}
		g.put(path, "main.tf", fmt.Sprintf("module \"m\" {\n  source = \"%smodules/m%d\"\n}\n", up, g.Intn(3)))
	} else {
		g.put(path, "main.tf", "# nothing\n")
	}
	switch g.Intn(8) {
	case 0:
		g.put(path, "globals.tm", fmt.Sprintf("globals {\n  own = \"own-%d\"\n  x = unset\n}\n", i))
	case 1:
		g.put(path, "env.tm", "terramate {\n  config {\n    run {\n      env {\n        OWN = \"${global.own}-${terramate.stack.name}\"\n        DROP = unset\n      }\n    }\n  }\n}\n")
	case 2:
		g.put(path, ".tmskip", "")
	}
}

func (g *generator) root() {
	g.put("/", "root.tm", "terramate {\n  required_version = \">= 0.1\"\n  config {\n  }\n}\n")
	if g.Intn(2) == 0 {
		g.put("/", "env.tm", "terramate {\n  config {\n    run {\n      env {\n        ROOT = \"r-${terramate.stack.path.absolute}\"\n        DROP = \"drop\"\n        HOME_OF = env.HOME\n      }\n    }\n  }\n}\n")
	}
	switch g.Intn(3) {
	case 0:
		g.put("/", "globals.tm", "globals {\n  own = \"root\"\n  x = \"${global.own}!\"\n}\n")
	default:
		g.put("/", "globals.tm", "globals {\n  own = tm_upper(\"root\")\n  x = 1\n}\n")
	}
	g.put("/", "watched.txt", "1\n")
	g.put("/modules/m0", "main.tf", "module \"n\" {\n  source = \"../m1\"\n}\n")
	g.put("/modules/m1", "main.tf", "# one\n")
	g.put("/modules/m2", "main.tf", "# two\n")
}

// history commits the project, then changes here and there, and leaves a few
// changes uncommitted.
func (g *generator) history(t testing.TB) string {
	t.Helper()
	root := repo(t, g.files)
	for _, s := range g.stacks {
		if g.Intn(5) == 0 {
			write(t, root, map[string]string{s + "/main.tf": "# changed\n"})
		}
	}
	if g.Intn(2) == 0 {
		write(t, root, map[string]string{"modules/m1/main.tf": "# changed\n"})
	}
	if g.Intn(2) == 0 {
		write(t, root, map[string]string{"watched.txt": "2\n"})
	}
	commit(t, root)
	write(t, root, map[string]string{
		g.stacks[g.Intn(len(g.stacks))] + "/untracked.tf": "# new\n",
		g.stacks[g.Intn(len(g.stacks))] + "/main.tf":      "# uncommitted\n",
	})
	return root
}
