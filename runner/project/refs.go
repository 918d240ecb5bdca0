package project

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	hhcl "github.com/terramate-io/hcl/v2"
	"github.com/terramate-io/hcl/v2/hclsyntax"
	"github.com/terramate-io/terramate/tf"
	"github.com/zclconf/go-cty/cty"
)

// refs are what a file of code refers to outside of itself, as far as its text
// tells. Where that leads is for who knows the folder, and the other files in it.
type refs struct {
	modules  []string        // sources of local modules
	computed []string        // "line source" of module calls that cannot be followed
	files    []mention       // paths
	locals   map[string]spot // those that are paths
}

// A mention is a path in the code.
type mention struct {
	spot
	read bool   // as the argument of a function that reads it
	glob string // which files below it (fileset)
}

// A spot is a path as code writes it: where it starts, and the rest. What starts
// nowhere ("") is seen from the working directory.
type spot struct {
	base string // "", module, root, cwd (path.*), local.NAME; of Terragrunt see unit.go
	rest string // ends with a slash where only the folder is known
}

// fileFunctions are those of Terraform, OpenTofu and Terragrunt that read files
// (https://developer.hashicorp.com/terraform/language/functions, "Filesystem").
var fileFunctions = map[string]bool{
	"file": true, "filebase64": true, "fileexists": true, "fileset": true, "templatefile": true,
	"read_terragrunt_config": true, "read_tfvars_file": true, "sops_decrypt_file": true,
	"filemd5": true, "filesha1": true, "filesha256": true, "filesha512": true, "filebase64sha256": true, "filebase64sha512": true,
}

// readRefs reads a file of Terraform or OpenTofu code.
func readRefs(name string, content []byte) (refs, error) {
	asJSON := strings.HasSuffix(name, ".json")
	if !mayRefer(content) && !(asJSON && bytes.Contains(content, []byte(`\u`))) {
		return refs{}, nil // parsing is what takes time
	}
	if asJSON {
		return jsonRefs(name, content)
	}
	file, diags := hclsyntax.ParseConfig(content, name, hhcl.InitialPos)
	if diags.HasErrors() {
		return refs{}, diags
	}
	r := finder{skip: map[hclsyntax.Node]bool{}}
	body := file.Body.(*hclsyntax.Body)
	for _, block := range body.Blocks {
		switch {
		case block.Type == "module" && len(block.Labels) == 1:
			if attr := block.Body.Attributes["source"]; attr != nil {
				r.skip[attr.Expr] = true
				r.source(attr.Expr, string(attr.Expr.Range().SliceBytes(content)))
			}
		case block.Type == "locals":
			for name, attr := range block.Body.Attributes {
				r.local(name, attr.Expr)
			}
		}
	}
	r.visit(body)
	return r.refs, nil
}

// mayRefer reports whether there is anything to find.
func mayRefer(content []byte) bool {
	for _, word := range []string{"module", "file", "path.", "../", `..\/`} {
		if bytes.Contains(content, []byte(word)) {
			return true
		}
	}
	return false
}

// finder gathers refs from expressions.
type finder struct {
	refs
	skip map[hclsyntax.Node]bool // what is seen to already
}

// source is that of a module call.
func (r *finder) source(expr hhcl.Expression, text string) {
	val, diags := expr.Value(nil)
	if diags.HasErrors() {
		r.unfollowed(expr.Range().Start.Line, text)
	} else if source, ok := stringOf(val); ok && (tf.Module{Source: source}).IsLocal() {
		r.modules = append(r.modules, source)
	}
}

func (r *finder) unfollowed(line int, text string) {
	text = strings.Join(strings.Fields(text), " ")
	r.computed = append(r.computed, fmt.Sprintf("%d %.80s", line, strings.ToValidUTF8(text, "?")))
}

// local remembers a local value that is a path, or the beginning of one.
func (r *finder) local(name string, expr hclsyntax.Expression) {
	at, whole, ok := spotOf(expr)
	if !ok || !whole || at.base == "" && !strings.Contains(at.rest, "/") && at.rest != ".." || strings.ContainsRune(at.rest, 0) {
		return
	}
	if r.locals == nil {
		r.locals = map[string]spot{}
	}
	r.locals[name] = at
}

// visit finds the paths in code: what functions read, and whatever else is written
// like one that leads out of the folder.
func (r *finder) visit(node hclsyntax.Node) {
	_ = hclsyntax.VisitAll(node, func(node hclsyntax.Node) hhcl.Diagnostics {
		switch e := node.(type) {
		case *hclsyntax.FunctionCallExpr:
			r.call(e)
		case *hclsyntax.TemplateExpr:
			if r.skip[e] {
				return nil
			}
			if at, whole, ok := spotOf(withoutOption(e)); ok && leadsOut(at) {
				r.add(mention{spot: at.folder(whole)})
			}
		}
		return nil
	})
}

// withoutOption is the path in an argument like -var-file=PATH.
func withoutOption(e *hclsyntax.TemplateExpr) *hclsyntax.TemplateExpr {
	if len(e.Parts) == 0 {
		return e
	}
	first, ok := e.Parts[0].(*hclsyntax.LiteralValueExpr)
	if !ok {
		return e
	}
	text, _ := stringOf(first.Val)
	for _, option := range []string{"var-file=", "backend-config="} {
		if rest, found := strings.CutPrefix(strings.TrimLeft(text, "-"), option); found {
			parts := e.Parts[1:]
			if rest != "" {
				parts = append([]hclsyntax.Expression{&hclsyntax.LiteralValueExpr{Val: cty.StringVal(rest)}}, parts...)
			}
			return &hclsyntax.TemplateExpr{Parts: parts}
		}
	}
	return e
}

// leadsOut reports whether a text is written like a path out of the folder.
func leadsOut(at spot) bool {
	if at.base != "" {
		return strings.Contains(at.rest, "/")
	}
	return strings.HasPrefix(at.rest, "../") || strings.HasPrefix(at.rest, "./../")
}

func (r *finder) call(e *hclsyntax.FunctionCallExpr) {
	name := strings.TrimPrefix(e.Name, "core::")
	if !fileFunctions[name] || len(e.Args) == 0 {
		return
	}
	at, whole, ok := spotOf(e.Args[0])
	if !ok {
		return
	}
	r.skip[e.Args[0]] = true
	m := mention{spot: at.folder(whole), read: true}
	if name == "fileset" && len(e.Args) == 2 {
		m.rest += "/"
		if pattern, whole, ok := spotOf(e.Args[1]); ok && whole && pattern.base == "" {
			m.glob = pattern.rest
		}
	}
	r.add(m)
}

func (r *finder) add(m mention) {
	const longest = 1000
	if len(m.rest)+len(m.glob) < longest && !strings.ContainsAny(m.rest+m.glob, "\n\t\x00") {
		r.files = append(r.files, m)
	}
}

// folder is the spot itself where it is whole; else the folder that all is in that
// it may become.
func (at spot) folder(whole bool) spot {
	if !whole {
		at.rest = at.rest[:strings.LastIndexByte(at.rest, '/')+1]
	}
	return at
}

// spotOf is the path that an expression is, as far as its text tells: whole, or
// only how it begins.
func spotOf(expr hhcl.Expression) (at spot, whole, ok bool) {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return spotOf(e.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return spotOf(e.Wrapped)
	case *hclsyntax.ScopeTraversalExpr:
		base, ok := baseOf(e.Traversal)
		return spot{base: base}, true, ok
	case *hclsyntax.FunctionCallExpr:
		return calledSpot(e)
	case *hclsyntax.LiteralValueExpr:
		text, ok := stringOf(e.Val)
		return spot{rest: text}, ok, ok
	case *hclsyntax.TemplateExpr:
		var parts []hhcl.Expression
		for _, part := range e.Parts {
			parts = append(parts, part)
		}
		return joined(parts, "")
	}
	return spot{}, false, false
}

// joined is the path that parts make together.
func joined(parts []hhcl.Expression, between string) (at spot, whole, ok bool) {
	for i, part := range parts {
		next, all, known := spotOf(part)
		switch {
		case i == 0 && !known:
			return spot{}, false, false
		case i == 0:
			at = next
		case !known || next.base != "":
			return at, false, true
		default:
			at.rest += between + next.rest
		}
		if !all {
			return at, false, true
		}
	}
	return at, true, true
}

// calledSpot is what functions make of paths.
func calledSpot(e *hclsyntax.FunctionCallExpr) (at spot, whole, ok bool) {
	if base, is := terragruntBases[e.Name]; is {
		return terragruntSpot(base, e.Args)
	}
	switch name := strings.TrimPrefix(e.Name, "core::"); {
	case (name == "abspath" || name == "pathexpand") && len(e.Args) == 1:
		return spotOf(e.Args[0])
	case name == "dirname" && len(e.Args) == 1:
		if at, whole, ok = spotOf(e.Args[0]); whole {
			at.rest += "/.."
		}
		return at, whole, ok
	case name == "join" && len(e.Args) == 2:
		between, whole, ok := spotOf(e.Args[0])
		list, is := e.Args[1].(*hclsyntax.TupleConsExpr)
		if !ok || !whole || between.base != "" || !is {
			break
		}
		var parts []hhcl.Expression
		for _, part := range list.Exprs {
			parts = append(parts, part)
		}
		return joined(parts, between.rest)
	}
	return spot{}, false, false
}

// baseOf is where a path starts that a reference begins.
func baseOf(t hhcl.Traversal) (string, bool) {
	if len(t) != 2 {
		return "", false
	}
	attr, ok := t[1].(hhcl.TraverseAttr)
	switch root := t.RootName(); {
	case !ok:
	case root == "path" && (attr.Name == "module" || attr.Name == "root" || attr.Name == "cwd"):
		return attr.Name, true
	case root == "local":
		return "local." + attr.Name, true
	}
	return "", false
}

// at is where a spot is, as a project path: with dir for the folder of the code,
// and root for the stack's. It is false for what is outside of the project, and
// for what starts at a local value that is no path.
func (at spot) at(dir, root string, locals map[string]spot) (string, bool) {
	at = at.start(locals)
	switch {
	case at.base == "module":
		return inProject(dir, at.rest)
	case at.base == "root" || at.base == "cwd", at.base == "" && !strings.HasPrefix(at.rest, "/") && !strings.HasPrefix(at.rest, "~"):
		return inProject(root, at.rest)
	}
	return "", false
}

// start is the spot with the local values in it that it starts at.
func (at spot) start(locals map[string]spot) spot {
	const most = 10 // local values that start at others
	for range most {
		name, is := strings.CutPrefix(at.base, "local.")
		if !is {
			break
		}
		from, known := locals[name]
		if !known {
			break
		}
		at = spot{from.base, from.rest + at.rest}
	}
	return at
}

// inProject is a path as seen from a folder, false where it leads out of the project.
func inProject(dir, rest string) (string, bool) {
	rel := path.Join(strings.TrimPrefix(dir, "/"), rest)
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return path.Join("/", rel), true
}
