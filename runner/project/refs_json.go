package project

import (
	"encoding/json"
	"strings"

	hhcl "github.com/terramate-io/hcl/v2"
	"github.com/terramate-io/hcl/v2/hclsyntax"
	hcljson "github.com/terramate-io/hcl/v2/json"
)

// jsonRefs reads code in JSON syntax, as of CDK for Terraform
// (https://developer.hashicorp.com/terraform/language/syntax/json).
func jsonRefs(name string, content []byte) (refs, error) {
	file, diags := hcljson.Parse(content, name)
	if diags.HasErrors() {
		return refs{}, diags
	}
	r := finder{skip: map[hclsyntax.Node]bool{}}
	if err := r.jsonModules(file.Body); err != nil {
		return refs{}, err
	}
	var all any
	if err := json.Unmarshal(content, &all); err != nil {
		return refs{}, err
	}
	for _, object := range objects(all) {
		for _, modules := range objects(object["module"]) {
			for _, module := range modules {
				for _, arguments := range objects(module) {
					delete(arguments, "source") // see jsonModules
				}
			}
		}
		for _, locals := range objects(object["locals"]) {
			for name, val := range locals {
				if expr, ok := jsonTemplate(val); ok {
					r.local(name, expr)
				}
			}
		}
	}
	r.jsonValue(all)
	return r.refs, nil
}

// objects are the objects that JSON has where HCL has blocks: one, or a list of them.
func objects(val any) []map[string]any {
	switch v := val.(type) {
	case map[string]any:
		return []map[string]any{v}
	case []any:
		var all []map[string]any
		for _, e := range v {
			all = append(all, objects(e)...)
		}
		return all
	}
	return nil
}

func (r *finder) jsonModules(body hhcl.Body) error {
	content, _, diags := body.PartialContent(&hhcl.BodySchema{Blocks: []hhcl.BlockHeaderSchema{{Type: "module", LabelNames: []string{"name"}}}})
	if diags.HasErrors() {
		return diags
	}
	for _, block := range content.Blocks {
		call, _, diags := block.Body.PartialContent(&hhcl.BodySchema{Attributes: []hhcl.AttributeSchema{{Name: "source"}}})
		if diags.HasErrors() {
			return diags
		}
		attr := call.Attributes["source"]
		if attr == nil {
			continue
		}
		val, diags := attr.Expr.Value(nil) // nil: templates as they are written
		if text, ok := stringOf(val); !diags.HasErrors() && ok && (strings.Contains(text, "${") || strings.Contains(text, "%{")) {
			r.unfollowed(attr.Expr.Range().Start.Line, `"`+text+`"`)
			continue
		}
		r.source(attr.Expr, "")
	}
	return nil
}

// jsonValue finds the paths in what strings say, each of which is a template.
func (r *finder) jsonValue(val any) {
	switch v := val.(type) {
	case map[string]any:
		for _, e := range v {
			r.jsonValue(e)
		}
	case []any:
		for _, e := range v {
			r.jsonValue(e)
		}
	default:
		if expr, ok := jsonTemplate(val); ok {
			r.visit(expr)
		}
	}
}

// jsonTemplate is a string as a template, if there may be anything in it.
func jsonTemplate(val any) (hclsyntax.Expression, bool) {
	text, ok := val.(string)
	if !ok || !strings.ContainsAny(text, "/$") {
		return nil, false
	}
	expr, diags := hclsyntax.ParseTemplate([]byte(text), "", hhcl.InitialPos)
	return expr, !diags.HasErrors()
}
