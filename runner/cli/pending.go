package cli

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// What is pending: what was never deployed, or not successfully, or differs from
// what was, or was triggered.

// refuseEmpty is the error for a state that knows of no deployment at all: a ref that
// was deleted must not deploy the whole company.
func refuseEmpty(c *cli.Context, st *gitstate.State, op string) error {
	if c.Bool("init") || !st.Empty() && !(note.Op(op).Deploys() && st.Empty(note.Deploy)) {
		return nil
	}
	return errors.New("no deployment is recorded yet, so every stack would be pending. If stacks are already live: tmnotes adopt --all --reason …; if nothing is: add --init")
}

var errPendingForce = errors.New("--pending runs what is not deployed, --force what is; leave one out")

// Asked is whether the stack is pending for what the session does to it.
func (r *recorded) asked() query.Asked {
	return query.Asked{Base: r.base, Place: r.place, Op: r.op.Name, As: r.as(), Chooses: r.op.Chooses}
}

// pending keeps the stacks that are pending for what the session does to them, or
// for the deployment that this is for, and says why in why.
func (n *session) pending(q *query.Pendings, u *ui, o runOptions, stacks []runner.Stack, why map[string]string) ([]runner.Stack, error) {
	kept, late, err := q.Keep(stacks, why, func(stack runner.Stack) (query.Asked, error) {
		r := n.stacks[stack.Path]
		a := r.asked() // takeOff has more to say of those that are late
		if op := query.PendingFor(o.op, r.op.Name); op != r.op.Name {
			a.Op, a.As, a.Late = op, gitstate.As{Variant: gitstate.AnyVariant}, !o.allowRollback
		}
		return a, nil
	})
	if late > 0 {
		u.Say("%s skipped: a newer commit is already deployed. --allow-rollback selects this older one.", terminal.Plural(late, "stack"))
	}
	return kept, err
}

// describePending says why stacks are about to run, of the first few; list is the
// command that lists all of them.
func describePending(u *ui, todo []string, why map[string]string, list string) {
	const most = 20
	for i, path := range todo {
		if i == most {
			u.Say("  and %d more; `%s` lists them all", len(todo)-most, list)
			return
		}
		if why[path] != "" {
			u.Say("  %s: %s", path, why[path])
		}
	}
}
