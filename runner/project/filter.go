package project

import (
	"fmt"
	"strings"

	"github.com/gobwas/glob"
	"github.com/terramate-io/terramate/config/filter"

	"github.com/tmnotes/tmnotes/runner"
)

// ParseFilter reads a filter on stacks: "tag:" and a tag filter as that of --tags
// (a:b is both, a,b is either), a pattern for the project path as in
// stack_filter.project_paths of generate blocks ("/prod/*", "/prod/**", "**/vpc"),
// or "*", which is every stack.
func ParseFilter(text string) (func(runner.Stack) bool, error) {
	if text == "*" {
		return func(runner.Stack) bool { return true }, nil
	}
	if expr, is := strings.CutPrefix(text, "tag:"); is {
		clause, found, err := filter.ParseTagClauses(expr)
		if err != nil {
			return nil, oneLine("filter "+text, err)
		}
		if !found {
			return nil, fmt.Errorf("filter %q: which tag?", text)
		}
		return func(s runner.Stack) bool { return filter.MatchTags(clause, s.Tags) }, nil
	}
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "**/") {
		// Terramate would look for it at any depth; here that is a tag, mostly.
		return nil, fmt.Errorf("filter %q: write tag:%s for a tag, /%s or **/%s for a path, '*' for all that is left", text, text, text, text)
	}
	pattern := text
	for _, c := range []string{`\`, `{`, `}`} { // as hcl.parseStackFilterAttr (v0.17.2)
		pattern = strings.ReplaceAll(pattern, c, `\`+c)
	}
	g, err := glob.Compile(pattern, '/')
	if err != nil {
		return nil, oneLine("filter "+text, err)
	}
	return func(s runner.Stack) bool { return g.Match(s.Path) }, nil
}
