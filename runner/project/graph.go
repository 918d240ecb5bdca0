package project

import (
	"path"
	"slices"

	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/run"
	"github.com/terramate-io/terramate/run/dag"

	"github.com/tmnotes/tmnotes/runner"
)

// Graph returns the order and the edges in which stacks run, which are those of
// run.BuildDAGFromStacks (run/order.go): a parent before the stacks below it,
// stack.after and stack.before with their "tag:" filters, and the order that
// stacks bring in which are not among stacks themselves.
//
// A path in after or before that is no folder is a warning on stderr, as in
// stock Terramate. A cycle is a [runner.CycleError].
//
// BuildDAGFromStacks compares every stack with every other to find the parents;
// here they are found by walking up each path.
func (p *Project) Graph(stacks []runner.Stack) (*runner.Graph, error) {
	selected := make(map[string]*config.Stack, len(stacks))
	paths := make([]string, 0, len(stacks))
	for _, s := range stacks {
		_, st, err := p.config(s)
		if err != nil {
			return nil, err
		}
		if selected[s.Path] == nil {
			selected[s.Path] = st
			paths = append(paths, s.Path)
		}
	}
	slices.Sort(paths)

	// The stack at "/" is parent to none: Terramate looks for the prefix "//".
	below := map[string][]string{}
	for _, s := range paths {
		for up := path.Dir(s); up != "/"; up = path.Dir(up) {
			if selected[up] != nil {
				below[up] = append(below[up], s)
			}
		}
	}
	before := func(s config.Stack) []string {
		// A list of its own: the stacks are shared by everything that is loaded.
		return slices.Concat(s.Before, below[s.Dir.String()])
	}
	after := func(s config.Stack) []string { return s.After }

	d := dag.New[*config.Stack]()
	visited := dag.Visited{}
	for _, s := range paths {
		if err := run.BuildDAG(d, p.root(), selected[s], "before", before, "after", after, visited); err != nil {
			return nil, oneLine("ordering stacks", err)
		}
	}

	// Validate, which would make the order, takes exponential time once there
	// is a cycle.
	ids := d.IDs()
	nodes := make([]string, len(ids))
	edges := make(map[string][]string, len(ids))
	for i, id := range ids {
		nodes[i] = string(id)
		for _, ancestor := range d.AncestorsOf(id) {
			edges[nodes[i]] = append(edges[nodes[i]], string(ancestor))
		}
	}
	order, err := runner.Sort(nodes, edges)
	if err != nil {
		return nil, err
	}
	if len(order) > len(paths) {
		order, edges = runner.Reduce(order, edges, func(s string) bool { return selected[s] != nil })
	}
	return runner.NewGraph(order, edges)
}
