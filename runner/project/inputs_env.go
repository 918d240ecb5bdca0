package project

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	hhcl "github.com/terramate-io/hcl/v2"
	"github.com/terramate-io/hcl/v2/hclsyntax"
	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/globals"
	"github.com/terramate-io/terramate/hcl/ast"
	"github.com/terramate-io/terramate/hcl/eval"
	"github.com/terramate-io/terramate/stdlib"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/tmnotes/tmnotes/runner/command"
)

// What terramate.config.run.env gives to a stack, as inputs. The values are those of
// run.LoadEnv, but for what is another one on each machine, or at each time.

type envResult struct {
	parts []part
	err   error
}

// hasRunEnv reports whether any folder of the project has a run.env.
func (p *Project) hasRunEnv() bool {
	var has func(*config.Tree) bool
	has = func(tree *config.Tree) bool {
		if tree.Node.HasRunEnv() {
			return true
		}
		for _, child := range tree.Children {
			if has(child) {
				return true
			}
		}
		return false
	}
	return has(p.root().Tree())
}

// envParts are the parts of the stacks at trees that run.env is.
func (p *Project) envParts(trees []*config.Tree) []envResult {
	results := make([]envResult, len(trees))
	var scopes sync.Map // *config.Tree → *envScope
	scope := func(tree *config.Tree) *envScope {
		if known, ok := scopes.Load(tree); ok {
			return known.(*envScope)
		}
		found := newEnvScope(tree)
		scopes.Store(tree, found)
		return found
	}
	concurrently(len(trees), func(i int) {
		attrs, calls := []*envAttr(nil), false
		for up := trees[i]; up != nil; up = up.Parent { // nearest first
			s := scope(up)
			attrs, calls = append(attrs, s.attrs...), calls || s.calls
		}
		if len(attrs) > 0 {
			results[i].parts, results[i].err = p.evalEnv(trees[i], attrs, calls)
		}
	})
	return results
}

// An envScope is what one folder says about the environment.
type envScope struct {
	attrs []*envAttr
	calls bool // functions, here or in the globals
}

type envAttr struct {
	ast.Attribute
	variables []hhcl.Traversal
	global    bool // refers to a global
	env       bool // refers to the environment of the process
}

func newEnvScope(tree *config.Tree) *envScope {
	s := &envScope{calls: tree.Node.HasGlobals() && callsFunction(tree.Node.Globals)}
	if !tree.Node.HasRunEnv() {
		return s
	}
	for _, attr := range tree.Node.Terramate.Config.Run.Env.Attributes.SortedList() {
		a := &envAttr{Attribute: attr, variables: attr.Expr.Variables()}
		for _, variable := range a.variables {
			a.global = a.global || variable.RootName() == "global"
			a.env = a.env || variable.RootName() == "env"
		}
		s.attrs = append(s.attrs, a)
		s.calls = s.calls || exprCalls(attr.Expr)
	}
	return s
}

// exprCalls reports whether an expression calls a function, as far as can be told.
func exprCalls(expr hhcl.Expression) bool {
	node, ok := expr.(hclsyntax.Node)
	if !ok {
		return true
	}
	found := false
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hhcl.Diagnostics {
		_, is := n.(*hclsyntax.FunctionCallExpr)
		found = found || is
		return nil
	})
	return found
}

// needs reports whether what one folder says about the environment may be another thing without some others: it
// tells which stacks the project has, or it is imported from there (import.source may be a pattern).
func needs(tree *config.Tree, others folders) bool {
	is := func(attr ast.Attribute) bool {
		return exprLists(attr.Expr) || others.have(attr.Range.Path().String())
	}
	if tree.Node.HasGlobals() && anyGlobal(tree.Node.Globals, is) {
		return true
	}
	return slices.ContainsFunc(newEnvScope(tree).attrs, func(attr *envAttr) bool { return is(attr.Attribute) })
}

// exprLists reports whether an expression refers to terramate.stacks, as far as can be told.
func exprLists(expr hhcl.Expression) bool {
	return slices.ContainsFunc(expr.Variables(), func(variable hhcl.Traversal) bool {
		name, is := variable[min(1, len(variable)-1)].(hhcl.TraverseAttr)
		return variable.RootName() == "terramate" && (!is || name.Name == "stacks")
	})
}

// evalEnv evaluates attributes for the stack at tree, the nearest first.
func (p *Project) evalEnv(tree *config.Tree, attrs []*envAttr, calls bool) ([]part, error) {
	ctx, err := p.envContext(tree, calls, slices.ContainsFunc(attrs, func(a *envAttr) bool { return a.global }))
	if err != nil {
		return nil, err
	}
	var parts []part
	seen := map[string]bool{}
	for _, attr := range attrs {
		if seen[attr.Name] {
			continue
		}
		seen[attr.Name] = true
		if command.LooksSecret(attr.Name) || isUnset(attr.Expr) {
			continue
		}
		value, unset, err := p.envValue(ctx, attr)
		if err != nil {
			return nil, oneLine("terramate.config.run.env, "+attr.Name, err)
		}
		if !unset {
			sum := sha256.Sum256([]byte(value))
			parts = append(parts, part{kindEnv, attr.Name, treeEntry{id: hex.EncodeToString(sum[:])}})
		}
	}
	return parts, nil
}

func isUnset(expr hhcl.Expression) bool {
	traversal, diags := hhcl.AbsTraversalForExpr(expr)
	return !diags.HasErrors() && len(traversal) == 1 && traversal.RootName() == "unset"
}

// envContext is what run.env is evaluated in.
func (p *Project) envContext(tree *config.Tree, calls, withGlobals bool) (*eval.Context, error) {
	st, err := tree.Stack()
	if err != nil {
		return nil, err
	}
	functions := map[string]function.Function{}
	if calls {
		functions = stdlib.Functions(tree.HostDir(), p.root().Tree().Node.Experiments())
		for name, same := range sameEverywhere {
			if _, is := functions[name]; is {
				functions[name] = same
			}
		}
	}
	ctx := eval.NewContext(functions)
	runtime := p.root().Runtime()
	runtime["root"] = cty.ObjectVal(map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{"fs": cty.ObjectVal(map[string]cty.Value{
		"absolute": cty.StringVal(p.Root()),
		"basename": cty.StringVal(rootMarker),
	})})})
	runtime.Merge(st.RuntimeValues(p.root()))
	ctx.SetNamespace("terramate", runtime)
	if !withGlobals {
		return ctx, nil
	}
	report := globals.ForDir(p.root(), st.Dir, ctx)
	if err := report.AsError(); err != nil {
		return nil, oneLine("globals", err)
	}
	ctx.SetNamespace("global", report.Globals.AsValueMap())
	return ctx, nil
}

// rootMarker stands for the folder that the project is in.
const rootMarker = "<root>"

// envValue is what an attribute comes to. Where the environment of the process has
// a say in that, it is what else there is: the expression, and what the other
// variables in it are.
func (p *Project) envValue(ctx *eval.Context, attr *envAttr) (value string, unset bool, err error) {
	if attr.env {
		return p.besideEnv(ctx, attr), false, nil
	}
	val, err := ctx.Eval(attr.Expr)
	switch {
	case err != nil:
		return "", false, err
	case val.IsNull():
		return "", true, nil
	}
	text, ok := stringOf(val)
	if !ok {
		return "", false, errors.New("not a string")
	}
	return p.anywhere(text), false, nil
}

func (p *Project) besideEnv(ctx *eval.Context, attr *envAttr) string {
	var b strings.Builder
	b.Write(ast.TokensForExpression(attr.Expr).Bytes())
	for _, variable := range attr.variables {
		if variable.RootName() == "env" {
			continue
		}
		text := "unknown"
		if val, err := ctx.Eval(&hclsyntax.ScopeTraversalExpr{Traversal: variable, SrcRange: variable.SourceRange()}); err == nil {
			if as, err := ctyjson.Marshal(val, cty.DynamicPseudoType); err == nil {
				text = string(as)
			}
		}
		fmt.Fprintf(&b, "\x00%s", text)
	}
	return p.anywhere(b.String())
}

// anywhere is a text without the place where the project is on this machine.
func (p *Project) anywhere(text string) string {
	return strings.ReplaceAll(text, p.Root(), rootMarker)
}

// sameEverywhere replaces functions whose results are others at each call, or on
// each machine: a stack is not pending for that.
var sameEverywhere = map[string]function.Function{
	"tm_timestamp":     always("2006-01-02T15:04:05Z"),
	"tm_plantimestamp": always("2006-01-02T15:04:05Z"),
	"tm_uuid":          always("00000000-0000-4000-8000-000000000000"),
	"tm_pathexpand":    firstArgument,
	"tm_bcrypt":        firstArgument,
}

func always(text string) function.Function {
	return function.New(&function.Spec{
		Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.StringVal(text), nil },
	})
}

var firstArgument = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "str", Type: cty.String}},
	VarParam: &function.Parameter{Name: "more", Type: cty.DynamicPseudoType},
	Type:     function.StaticReturnType(cty.String),
	Impl:     func(args []cty.Value, _ cty.Type) (cty.Value, error) { return args[0], nil },
})
