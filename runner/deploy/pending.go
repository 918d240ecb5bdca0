package deploy

import (
	"errors"
	"fmt"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
)

// What is pending: what was never deployed, or not successfully, or differs from
// what was, or was triggered.

// RefuseEmpty is the error for a state that knows of no deployment at all: a ref that
// was deleted must not deploy the whole company. init says that it is no surprise.
func RefuseEmpty(st *gitstate.State, op string, init bool) error {
	if init || !st.Empty() && !(note.Op(op).Deploys() && st.Empty(note.Deploy)) {
		return nil
	}
	return errors.New("no deployment is recorded yet, so every stack would be pending. If stacks are already live: tmnotes adopt --all --reason …; if nothing is: add --init")
}

// asked is whether the stack is pending for what the session does to it.
func (r *Planned) asked() query.Asked {
	return query.Asked{Base: r.base, Place: r.place, Op: r.Op.Name, As: r.as(), Chooses: r.Op.Chooses}
}

// pending keeps the stacks that are pending for what the session does to them, or
// for the deployment that this is for, and says why in why.
func (n *Session) pending(q *query.Pendings, req *Request, stacks []runner.Stack, why map[string]string) ([]runner.Stack, error) {
	kept, late, err := q.Keep(stacks, why, func(stack runner.Stack) (query.Asked, error) {
		r := n.Stacks[stack.Path]
		a := r.asked() // decide has more to say of those that are late
		if op := query.PendingFor(req.Op, r.Op.Name); op != r.Op.Name {
			a.Op, a.As, a.Late = op, gitstate.As{Variant: gitstate.AnyVariant}, !req.Rollback
		}
		return a, nil
	})
	if late > 0 {
		n.Out.Say("%s skipped: a newer commit is already deployed. --allow-rollback selects this older one.", runner.Plural(late, "stack"))
	}
	return kept, err
}

// atWork says that another run may be at stacks of this one, and what becomes of them.
func atWork(busy []Planned, claims ClaimOptions, remote string) string {
	first := busy[0]
	doing, then := "running", "if it is, both run them"
	if note.Op(first.Op.Name).Deploys() {
		doing = "deploying"
		switch {
		case remote == "" || claims.Off:
			then = "if it is, both deploy them"
		case claims.OnClaimed == "skip":
			then = "those it has locked are left to it (--on-locked=skip)"
		case claims.OnClaimed == "fail":
			then = "those it has locked fail here (--on-locked=fail)"
		default:
			then = "waiting for those it has locked"
		}
	}
	return fmt.Sprintf("another run (%s of %s) may be %s %d of these stacks (%s is %s); %s", note.ShortRun(first.was.Run), first.was.By, doing, len(busy), first.Stack.Path, first.was.Status, then)
}
