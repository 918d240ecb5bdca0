package note

import (
	"slices"
	"strings"
)

// GroupOf is Op.Group for the names that records have.
func GroupOf(op string) string { return string(Op(op).Group()) }

// Op is the name of an operation, as a record's op has it.
type Op string

// The operations that say something of a whole stack.
const (
	Deploy  = "deploy"
	Destroy = "destroy"
	Drift   = "drift"
)

// The operations of holds, which execute nothing: somebody says that a stack must not be deployed,
// or, of the stack "/", that none must.
const (
	Hold    = "hold"
	HoldAll = "hold-all"
)

// Holds reports whether records of an operation are holds and releases.
func (op Op) Holds() bool { return op == Hold || op == HoldAll }

// parts are the operations after which what is there may be something else than what was
// deployed, without being all of it: a part of a stack was applied or destroyed, a saved
// plan that may be either, or the state was edited, so that the next apply has something
// to do (runner/command gives these names). They end a deployment, and are none.
var parts = []Op{"apply", "destroy-target", "import", "state-edit", "taint", "untaint"}

// Slot is what the results of a stack are kept apart for: FORMAT.md, "Slot".
type Slot struct {
	ID     string // stack.id, "" for a stack without
	Path   string // in the project
	Target string // with the workspace, as in records
	Op     string // operations of one group share a slot
}

// Group is what an operation shares its slot with: all that ends a deployment is one.
func (op Op) Group() Op {
	if op == Destroy || slices.Contains(parts, op) {
		return Deploy
	}
	return op
}

// Deploys reports whether an operation may change what is deployed: it is announced,
// claimed, ordered and pushed as a deployment is.
func (op Op) Deploys() bool { return op.Group() == Deploy }

// Deploys reports whether any of the operations in a head does, which are joined by
// commas.
func (r *Record) Deploys() bool { return AnyDeploys(strings.Split(r.Op, ",")...) }

// AnyDeploys reports whether one of the operations may change what is deployed.
func AnyDeploys(ops ...string) bool {
	return slices.ContainsFunc(ops, func(op string) bool { return Op(op).Deploys() })
}
