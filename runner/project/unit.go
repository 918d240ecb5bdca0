package project

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	hhcl "github.com/terramate-io/hcl/v2"
	"github.com/terramate-io/hcl/v2/hclsyntax"
	"github.com/terramate-io/terramate/tg"
)

// What a Terragrunt configuration names beyond what Terramate's package tg reports,
// which evaluates neither inputs nor what extra_arguments name.

// terragruntBases are functions of Terragrunt that paths start with.
var terragruntBases = map[string]string{
	"get_terragrunt_dir":          "unit",
	"get_original_terragrunt_dir": "unit",
	"get_parent_terragrunt_dir":   "unit",
	"get_working_dir":             "unit",
	"get_repo_root":               "repo",
	"get_path_to_repo_root":       "repo",
	"find_in_parent_folders":      "above",
}

// terragruntSpot is the path that such a function returns.
func terragruntSpot(base string, args []hclsyntax.Expression) (at spot, whole, ok bool) {
	if base != "above" {
		return spot{base: base}, true, true
	}
	name := spot{rest: "terragrunt.hcl"}
	if len(args) > 0 {
		name, whole, ok = spotOf(args[0])
		if !ok || !whole || name.base != "" || strings.ContainsAny(name.rest, "\t\n\x00") {
			return spot{}, false, false
		}
	}
	return spot{base: "above:" + name.rest}, true, true
}

// unitRefs reads a Terragrunt configuration. What a dependency block says is data,
// and ordering, as in Terramate's change detection.
func unitRefs(name string, content []byte) (refs, error) {
	if strings.HasSuffix(name, ".json") {
		return jsonRefs(name, content)
	}
	file, diags := hclsyntax.ParseConfig(content, name, hhcl.InitialPos)
	if diags.HasErrors() {
		return refs{}, diags
	}
	r := finder{skip: map[hclsyntax.Node]bool{}}
	body := file.Body.(*hclsyntax.Body)
	for _, attr := range body.Attributes {
		r.visit(attr)
	}
	for _, block := range body.Blocks {
		switch block.Type {
		case "dependency", "dependencies":
			continue
		case "terraform":
			if attr := block.Body.Attributes["source"]; attr != nil {
				r.skip[attr.Expr] = true // a module
			}
		case "locals":
			for name, attr := range block.Body.Attributes {
				r.local(name, attr.Expr)
			}
		}
		r.visit(block)
	}
	return r.refs, nil
}

// A place is a mention, and where in the project it leads.
type place struct {
	file string
	mention
}

// unitPlaces are the places that the configuration of a unit names: its own files, and
// those that they include and read, below root. exists tells which files there are.
func unitPlaces(root string, unit *tg.Module, exists func(file string) bool) ([]place, error) {
	u := unitFolders{unit: unit.Path.String(), dirs: []string{unit.Path.String()}, exists: exists}
	files := []string{unit.ConfigFile.String()}
	for _, dep := range unit.DependsOn {
		if file := dep.String(); strings.HasSuffix(file, ".hcl") || strings.HasSuffix(file, ".hcl.json") {
			files = append(files, file)
			u.dirs = append(u.dirs, path.Dir(file))
		}
	}
	slices.Sort(u.dirs)
	u.dirs = slices.Compact(u.dirs)
	var places []place
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is an input, and missing
		}
		if err != nil {
			return nil, err
		}
		found, err := unitRefs(file, content)
		if err != nil {
			return nil, oneLine(file, err)
		}
		for _, m := range found.files {
			for _, at := range u.at(m.start(found.locals)) {
				places = append(places, place{at, m})
			}
		}
	}
	return places, nil
}

// unitFolders are where paths in a unit's configuration may start. Which folder a
// function speaks of depends on who includes and who reads the file: so it is any of
// those that there are.
type unitFolders struct {
	unit   string
	dirs   []string
	exists func(string) bool
}

func (u unitFolders) at(from spot) []string {
	starts := u.dirs
	name, above := strings.CutPrefix(from.base, "above:")
	switch {
	case above:
		starts = u.above(name)
	case from.base == "repo":
		starts = []string{"/"}
	case from.base == "unit":
	case from.base != "" || strings.HasPrefix(from.rest, "/") || strings.HasPrefix(from.rest, "~"):
		return nil
	}
	var found []string
	for _, dir := range starts {
		if file, ok := inProject(dir, from.rest); ok {
			found = append(found, file)
		}
	}
	return found
}

// above is find_in_parent_folders().
func (u unitFolders) above(name string) []string {
	for dir := u.unit; dir != "/"; {
		dir = path.Dir(dir)
		if file, ok := inProject(dir, name); ok && u.exists(file) {
			return []string{file}
		}
	}
	return nil
}
