package cli

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tmnotes/tmnotes"

// top is the module's folder: the house has no room for a test of its own.
const top = "../.."

// Who may import whom, tests aside: git's side of the program knows nothing of
// Terramate, the runner knows neither, and only the command meets everything.
func TestImports(t *testing.T) {
	t.Parallel()
	type pkg struct {
		ImportPath    string
		Imports, Deps []string
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	const (
		terramate = "github.com/terramate-io/"
		urfave    = "github.com/urfave/"
	)
	forges := []string{"github.com/google/go-github/", "gitlab.com/", "code.gitea.io/"}
	in := func(p, folder string) bool {
		return p == module+"/"+folder || strings.HasPrefix(p, module+"/"+folder+"/")
	}
	seen := 0
	for _, p := range pkgs {
		seen++
		// What a package must not reach, however far.
		for _, dep := range p.Deps {
			bad := false
			switch {
			case p.ImportPath == module+"/gitstate/note": // no disk and no process
				bad = strings.HasPrefix(dep, module) || dep == "os/exec" || strings.HasPrefix(dep, "github.com/go-git/")
			case in(p.ImportPath, "gitstate/internal"): // git and files, and what errors must not show
				bad = in(dep, "runner") || dep == module+"/gitstate" || strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave)
			case p.ImportPath == module+"/gitstate/cloudapi":
				bad = in(dep, "runner") || strings.HasPrefix(dep, urfave)
			case in(p.ImportPath, "gitstate"):
				bad = strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave) || in(dep, "runner")
			case p.ImportPath == module+"/runner/command": // what a command line is does not depend on who runs it
				bad = strings.HasPrefix(dep, module) || strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave)
			case in(p.ImportPath, "runner/terminal"): // it hears what happens, and asks nobody
				bad = strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave) || dep == module+"/gitstate" || in(dep, "runner/cli") || in(dep, "runner/project")
			case p.ImportPath == module+"/runner/query": // it is asked, and knows not by whom
				bad = in(dep, "runner/cli") || in(dep, "runner/terminal") || in(dep, "runner/matrix") || in(dep, "runner/deploy")
			case p.ImportPath == module+"/runner/deploy": // it knows no flag and no colour
				bad = in(dep, "runner/cli") || in(dep, "runner/terminal") || in(dep, "runner/matrix")
			case p.ImportPath == module+"/runner/serve": // it prints nothing, and knows no flag
				bad = in(dep, "runner/cli") || in(dep, "runner/terminal") || in(dep, "runner/matrix")
			case p.ImportPath == module+"/runner/matrix":
				bad = strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave) || in(dep, "gitstate") || in(dep, "runner/cli") || in(dep, "runner/project")
			case in(p.ImportPath, "runner/forge"): // it knows what a forge is, and no stack
				bad = strings.HasPrefix(dep, module) && !in(dep, "runner/forge") || strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave)
			case p.ImportPath == module+"/runner":
				bad = strings.HasPrefix(dep, terramate) || strings.HasPrefix(dep, urfave) || in(dep, "gitstate") || in(dep, "runner/cli")
			case p.ImportPath == module+"/runner/project":
				bad = in(dep, "gitstate") || in(dep, "runner/cli") // Terramate itself brings an urfave/cli along
			}
			if bad {
				t.Errorf("%s must not depend on %s", p.ImportPath, dep)
			}
		}
		// What only one package imports itself.
		for _, imp := range p.Imports {
			switch {
			case strings.HasPrefix(imp, terramate) && p.ImportPath != module+"/runner/project" && p.ImportPath != module+"/gitstate/cloudapi":
				t.Errorf("%s imports %s, which is for runner/project", p.ImportPath, imp)
			case strings.HasPrefix(imp, urfave) && p.ImportPath != module+"/runner/cli":
				t.Errorf("%s imports %s, which is for runner/cli", p.ImportPath, imp)
			case slices.ContainsFunc(forges, func(of string) bool { return strings.HasPrefix(imp, of) }) && !in(p.ImportPath, "runner/forge"):
				t.Errorf("%s imports %s, which is for runner/forge", p.ImportPath, imp)
			case imp == module+"/runner/cli" && p.ImportPath != module:
				t.Errorf("%s imports runner/cli, which is for main", p.ImportPath)
			case imp == "os/exec" && p.ImportPath == module+"/runner/command":
				t.Errorf("%s imports %s, and starts nothing", p.ImportPath, imp)
			case strings.HasSuffix(imp, "/gittest"), strings.HasSuffix(imp, "/forgetest"):
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imp)
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

// A function that fits on a screen is understood; who is handed six things is handed a type that
// has no name yet; and a file has one reason.
func TestSizes(t *testing.T) {
	t.Parallel()
	const mostLines, mostParameters, mostInFile = 80, 6, 500
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if n := files.Position(file.End()).Line; n > mostInFile {
			t.Errorf("%s has %d lines", path, n)
		}
		for _, d := range file.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is {
				continue
			}
			lines, parameters := files.Position(f.End()).Line-files.Position(f.Pos()).Line+1, f.Type.Params.NumFields()
			if lines > mostLines || parameters > mostParameters {
				t.Errorf("%s: %s has %d lines and %d parameters", path, f.Name.Name, lines, parameters)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A new entry at the top needs a reason as strong as these have.
func TestTopLevel(t *testing.T) {
	t.Parallel()
	allowed := []string{"main.go", "gitstate", "runner", "scripts", "README.md", "LICENSE", "go.mod", "go.sum"}
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil || len(out) == 0 {
		t.Skip("not in git: what is part of the project cannot be told")
	}
	for file := range strings.Lines(string(out)) {
		entry, _, _ := strings.Cut(strings.TrimSpace(file), "/")
		if _, err := os.Lstat(filepath.Join(top, entry)); err != nil || strings.HasPrefix(entry, ".") || slices.Contains(allowed, entry) {
			continue
		}
		t.Errorf("%s: what is it doing at the top?", entry)
	}
}

// Only cli.Env reads the environment: what is below is given it, so that a test, or
// another program, can give it another one.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	allowed := map[string]string{
		"runner/cli/env.go":              "Process",
		"runner/terminal/early/early.go": "it runs before anything else",
		"runner/project/engine.go":       "Terramate's git takes it from the process",
		"gitstate/store.go":              "where Options.Environ is nil",
		"gitstate/internal/git/locks.go": "it says who this process is",
		"gitstate/telemetry/trace.go":    "OpenTelemetry's SDK, to which it belongs, does",
		"gitstate/gittest/gittest.go":    "it is for tests",
		"gitstate/gittest/browser.go":    "it is for tests",
		"gitstate/gittest/gitea.go":      "it is for tests",
	}
	for _, room := range []string{"main.go", "gitstate", "runner"} {
		err := filepath.WalkDir(filepath.Join(top, room), func(path string, _ fs.DirEntry, err error) error {
			name, relErr := filepath.Rel(top, path)
			name = filepath.ToSlash(name)
			if err != nil || relErr != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || allowed[name] != "" {
				return errors.Join(err, relErr)
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				from, ok := call.X.(*ast.Ident)
				if ok && (from.Name == "os" || from.Name == "syscall") && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"}, call.Sel.Name) {
					t.Errorf("%s:%d: %s.%s; the environment is in cli.Env", name, files.Position(call.Pos()).Line, from.Name, call.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Where -short makes a test try less, scripts/test --all has it try all.
func TestSearchesAreListed(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile(filepath.Join(top, "scripts", "test"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	function := regexp.MustCompile(`(?m)^func (Test\w+)`)
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		starts := function.FindAllSubmatchIndex(text, -1)
		for i, at := range starts {
			end := len(text)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			name := string(text[at[2]:at[3]])
			if name == "TestSearchesAreListed" || !strings.Contains(string(text[at[0]:end]), "testing.Short()") {
				continue
			}
			seen++
			if !regexp.MustCompile(`\b` + name + `\b`).Match(list) {
				t.Errorf("%s: scripts/test does not name %s, which tries less with -short", path, name)
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d tests were found: %v", seen, err)
	}
}
