package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
			case imp == module+"/runner/cli" && p.ImportPath != module:
				t.Errorf("%s imports runner/cli, which is for main", p.ImportPath)
			case strings.HasSuffix(imp, "/gittest"):
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imp)
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d packages were looked at", seen)
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
