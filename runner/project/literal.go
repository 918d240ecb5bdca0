package project

import (
	"slices"

	"github.com/terramate-io/hcl/v2/hclsyntax"
	"github.com/terramate-io/terramate/hcl"
	"github.com/terramate-io/terramate/hcl/ast"
	"github.com/zclconf/go-cty/cty"
)

// parserOptions are those of stock Terramate, with one thing made faster: for
// each stack block Terramate builds the table of all its functions, a fifth of
// the time that it takes to list the stacks of a large project.
func parserOptions() hcl.Option {
	handlers := slices.Clone(hcl.DefaultUnmergedBlockParsers())
	return hcl.WithUnmergedBlockHandlers(append(handlers, func() hcl.UnmergedBlockHandler { return &stackBlock{} })...)
}

// stackBlock reads a stack block whose attributes are plain literals, and leaves
// every other one, and every error, to Terramate's own handler.
type stackBlock struct{ hcl.StackBlockSpec }

func (b *stackBlock) Parse(p *hcl.TerramateParser, block *ast.Block) error {
	if p.ParsedConfig.Stack == nil {
		if st, ok := literalStack(block); ok {
			p.ParsedConfig.Stack = st
			return nil
		}
	}
	return b.StackBlockSpec.Parse(p, block)
}

func literalStack(block *ast.Block) (*hcl.Stack, bool) {
	if len(block.Body.Blocks) > 0 {
		return nil, false
	}
	st := &hcl.Stack{}
	texts := map[string]*string{"id": &st.ID, "name": &st.Name, "description": &st.Description}
	sets := map[string]*[]string{
		"tags": &st.Tags, "after": &st.After, "before": &st.Before,
		"wants": &st.Wants, "wanted_by": &st.WantedBy, "watch": &st.Watch,
	}
	for name, attr := range block.Body.Attributes {
		if text := texts[name]; text != nil {
			val, ok := literalString(attr.Expr)
			if !ok {
				return nil, false
			}
			*text = val
			continue
		}
		set := sets[name]
		tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr)
		if set == nil || !ok {
			return nil, false
		}
		for _, expr := range tuple.Exprs {
			val, ok := literalString(expr)
			if !ok || slices.Contains(*set, val) {
				return nil, false
			}
			*set = append(*set, val)
		}
	}
	return st, true
}

func literalString(expr hclsyntax.Expression) (string, bool) {
	template, ok := expr.(*hclsyntax.TemplateExpr)
	if !ok || !template.IsStringLiteral() {
		return "", false
	}
	val, diags := template.Value(nil)
	if diags.HasErrors() {
		return "", false
	}
	return stringOf(val)
}

func stringOf(val cty.Value) (string, bool) {
	if val == cty.NilVal || val.IsMarked() || val.IsNull() || !val.IsKnown() || val.Type() != cty.String {
		return "", false
	}
	return val.AsString(), true
}
