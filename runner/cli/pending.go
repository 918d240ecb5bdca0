package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// What is pending: what was never deployed, or not successfully, or differs from
// what was, or was triggered (design section 6).

func pendingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "pending", EnvVars: []string{"TMNOTES_PENDING"}, Usage: "filter stacks by what differs from what is deployed, whenever it changed or failed"},
		&cli.BoolFlag{Name: "init", Usage: "with --pending: nothing is deployed yet, so everything is pending"},
	}
}

// pendings answers whether stacks are pending at a commit, HEAD.
type pendings struct {
	ctx      context.Context
	s        *gitstate.Store
	p        *project.Project
	st       *gitstate.State
	explain  bool // say which inputs changed, which takes longer
	in       *project.Inputs
	dirty    map[string]bool
	triggers map[string][]project.Trigger            // HEAD's
	then     map[string]map[string]string            // commit → stack → digest; nil where it cannot be known
	consumed map[string]map[string][]project.Trigger // commit → its trigger files; nil where it is not here
	since    map[string]func(string) []string        // commit → what changed since
	reader   *command.Reader
	assumed  int // stacks whose place is taken to be the recorded one
}

func newPendings(ctx context.Context, s *gitstate.Store, p *project.Project, st *gitstate.State) (*pendings, error) {
	q := &pendings{ctx: ctx, s: s, p: p, st: st, then: map[string]map[string]string{}, consumed: map[string]map[string][]project.Trigger{}, since: map[string]func(string) []string{}, reader: newReader(ctx, p.Root())}
	var err error
	if q.in, err = p.Inputs(ctx); err != nil {
		return nil, err
	}
	if q.triggers, err = p.Triggers(ctx, q.in.Commit); err != nil {
		return nil, err
	}
	all, err := p.All()
	if err != nil {
		return nil, err
	}
	q.dirty, err = p.DirtyStacks(all)
	return q, err
}

// refuseEmpty is the error for a state that knows of no deployment at all: a ref that
// was deleted must not deploy the whole company.
func refuseEmpty(c *cli.Context, st *gitstate.State, op string) error {
	if c.Bool("init") || !st.Empty() && !(note.Op(op).Deploys() && st.Empty(note.Deploy)) {
		return nil
	}
	return errors.New("no deployment is recorded yet, so every stack would be pending. If stacks are already live: tmnotes adopt --all --reason …; if nothing is: add --init")
}

// pendingFor is the operation that --pending is about: what is to be deployed, also
// where the command is what a deployment needs before it (init, plan), unless --op
// says otherwise.
func pendingFor(typed, op string) string {
	if typed == "" {
		return note.Deploy
	}
	return op
}

// destroysPending refuses to destroy what is to be deployed: neither that, nor
// to take --pending for something else there, is what everybody would mean.
func destroysPending(typed string, ops []string) error {
	for _, op := range ops {
		if typed == "" && (op == note.Destroy || op == "destroy-target") {
			return fmt.Errorf("--pending selects what is to be deployed, and this command is a %s; add --op %s to select what is not destroyed yet, or select the stacks without --pending", op, op)
		}
	}
	return nil
}

// of tells why a stack is pending; "" where it is not. Where its place may be one of
// several, it is if it is at any of them.
func (q *pendings) of(stack runner.Stack, a asked) (why string, l gitstate.Latest, err error) {
	found, assumed, err := whereabouts{q.st, q.reader}.at(stack, a.base, a.place, a.op)
	if err != nil {
		return "", l, err
	}
	if assumed {
		q.assumed++
	}
	whys := map[string]string{} // by run
	of := leastDone(found, a.chooses, func(l *gitstate.Latest) bool {
		if err == nil {
			whys[l.Run], err = q.ofLatest(stack, l, a)
		}
		return err == nil && whys[l.Run] == ""
	})
	return whys[of.latest.Run], of.latest, err
}

func (q *pendings) ofLatest(stack runner.Stack, l *gitstate.Latest, a asked) (string, error) {
	if a.as.Variant == gitstate.AnyVariant && l.Status == note.OK {
		seen, added, err := q.reader.Seen(l.Values(), stack.Dir)
		if err != nil {
			return "", fmt.Errorf("%s: %w", stack.Path, err)
		}
		if a.as.Values = seen; len(added) > 0 && strings.HasPrefix(l.Variant, "2:") {
			return "deployed without " + someOf(added) + ", which git ignores", nil
		}
	}
	if ok, why := l.Succeeded(a.op, a.as); !ok {
		return why, nil
	}
	if q.dirty[stack.Path] {
		return "it has uncommitted changes", nil
	}
	now, err := q.in.Digest(stack.Path)
	if err != nil {
		return oneLine(err), nil
	}
	then, why, err := q.recorded(l)
	if err != nil {
		return "", err
	}
	if why != "" {
		return why, nil
	}
	if then != now {
		if then, err = q.acknowledged(stack.Path, then, now); err != nil {
			return "", err
		}
	}
	if then != now {
		if why := q.in.Ignored(stack.Path, then); why != "" {
			return why, nil
		}
		return q.changed(l, stack.Path)
	}
	return q.triggered(l, stack.Path)
}

// recorded is the digest of what the latest success deployed: as it was recorded,
// or made anew from its commit; or why it cannot be known.
func (q *pendings) recorded(l *gitstate.Latest) (digest, why string, err error) {
	if strings.HasPrefix(l.Inputs, project.InputsVersion+":") && !project.Partial(l.Inputs) {
		return l.Inputs, "", nil
	}
	at, err := q.digests(l.Commit)
	switch {
	case err != nil:
		return "", "", err
	case at == nil:
		return "", fmt.Sprintf("what was deployed at %s is not known: that commit is not in this clone, or cannot be read as a project", note.Short(l.Commit)), nil
	case at[l.Record.Stack] == "":
		return "", fmt.Sprintf("what was deployed at %s is not known: it was no stack there, or its inputs cannot be read", note.Short(l.Commit)), nil
	}
	return project.Complete(l.Inputs, at[l.Record.Stack]), "", nil
}

// digests are those of all stacks at a commit, nil where they cannot be had: where
// the commit is not here, or the project cannot be loaded as it was then.
func (q *pendings) digests(commit string) (map[string]string, error) {
	if at, asked := q.then[commit]; asked {
		return at, nil
	}
	q.then[commit] = nil
	if has, err := q.s.Has(commit); err != nil || !has {
		return nil, err
	}
	text, err := q.s.Cached("inputs-"+project.InputsVersion+"-"+commit, func() (string, error) {
		in, err := q.p.InputsAt(q.ctx, commit)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for stack, digest := range in.All() {
			fmt.Fprintf(&b, "%s %q\n", digest, stack)
		}
		return b.String(), nil
	})
	if q.ctx.Err() != nil {
		return nil, context.Cause(q.ctx)
	}
	if err != nil {
		return nil, nil // in doubt it is pending
	}
	at := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		digest, quoted, _ := strings.Cut(line, " ")
		if stack, err := strconv.Unquote(quoted); err == nil {
			at[stack] = digest
		}
	}
	q.then[commit] = at
	return at, nil
}

// acknowledged is what the stack may be taken for after its ignore triggers: one
// that a commit brought says that what this commit changed need not be deployed.
// It masks nothing else, neither earlier nor later.
func (q *pendings) acknowledged(stack, then, now string) (string, error) {
	type step struct{ from, to string }
	var steps []step
	for _, tr := range q.triggers[stack] {
		if !tr.Ignore {
			continue
		}
		commit, parent, err := q.p.Introduced(q.ctx, tr)
		if err != nil {
			return "", err
		}
		if commit == "" || parent == "" {
			continue
		}
		before, err := q.digests(parent)
		if err != nil {
			return "", err
		}
		after, err := q.digests(commit)
		if err != nil {
			return "", err
		}
		if before[stack] != "" && after[stack] != "" {
			steps = append(steps, step{before[stack], after[stack]})
		}
	}
	for range steps { // each may follow another
		for i, s := range steps {
			if to, ok := project.Acknowledge(then, s.from, s.to); ok && then != now {
				then, steps[i] = to, step{}
			}
		}
	}
	return then, nil
}

// changed says what changed since the latest success.
func (q *pendings) changed(l *gitstate.Latest, stack string) (string, error) {
	why := "inputs changed since " + note.Short(l.Commit)
	if !q.explain {
		return why, nil
	}
	if _, asked := q.since[l.Commit]; !asked {
		has, err := q.s.Has(l.Commit)
		if err != nil {
			return "", err
		}
		q.since[l.Commit] = nil
		if has {
			if q.since[l.Commit], err = q.p.Differences(q.ctx, q.in, l.Commit); err != nil {
				return "", err
			}
		}
	}
	what := q.since[l.Commit]
	if what == nil {
		return why + ", which is not in this clone", nil
	}
	if files := what(stack); len(files) > 0 {
		why += ": " + someOf(files)
	}
	return why, nil
}

func someOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// triggered looks for a trigger file that the latest success did not have.
func (q *pendings) triggered(l *gitstate.Latest, stack string) (string, error) {
	for _, tr := range q.triggers[stack] {
		if tr.Ignore {
			continue
		}
		answered := l.Triggers()
		if l.Inputs == "" || project.Partial(l.Inputs) { // it was not looked at then
			if _, asked := q.consumed[l.Commit]; !asked {
				q.consumed[l.Commit] = nil
				has, err := q.s.Has(l.Commit)
				if err != nil {
					return "", err
				}
				if has {
					if q.consumed[l.Commit], err = q.p.Triggers(q.ctx, l.Commit); err != nil {
						return "", err
					}
				}
			}
			answered = triggerIDs(q.consumed[l.Commit][stack])
		}
		if !slices.Contains(answered, tr.ID) {
			why := "triggered by " + strings.TrimPrefix(tr.Path, "/")
			if tr.Reason != "" {
				why += ": " + tr.Reason
			}
			return why, nil
		}
	}
	return "", nil
}

func triggerIDs(triggers []project.Trigger) []string {
	var ids []string
	for _, tr := range triggers {
		if !tr.Ignore {
			ids = append(ids, tr.ID)
		}
	}
	return ids
}

// oneLine is an error as a reason.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// made is what a record says of the inputs of a stack; nothing where they cannot
// be known, or are not those of the commit.
type made struct {
	in       *project.Inputs
	triggers map[string][]project.Trigger
	ignored  map[string]string // where that is all that is known: see project.IgnoredDigests
}

func (m *made) put(r *note.Record, stack string) {
	if m == nil || r.Dirty {
		return
	}
	if m.in == nil {
		r.Inputs = m.ignored[stack]
	} else if digest, err := m.in.Digest(stack); err == nil {
		r.Inputs = digest
		r.SetTriggers(triggerIDs(m.triggers[stack]))
	}
}

// madeOf reads what the stacks are made of at HEAD, to be recorded with what comes of
// them. Where files are not as in HEAD it is left for who asks, who finds the
// commit in the record, but not what git ignores.
func madeOf(ctx context.Context, p *project.Project, todo []string) (*made, error) {
	if clean, err := p.Clean(); err != nil {
		return nil, err
	} else if !clean {
		ignored, err := project.IgnoredDigests(ctx, p.Root(), todo)
		return &made{ignored: ignored}, err
	}
	in, err := p.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	triggers, err := p.Triggers(ctx, in.Commit)
	return &made{in: in, triggers: triggers}, err
}

var errPendingForce = errors.New("--pending runs what is not deployed, --force what is; leave one out")

// asked is what a stack may be pending for.
type asked struct {
	base    string // --target
	place   command.Place
	op      string
	as      gitstate.As
	chooses bool // see runner.Operation
	late    bool // it is not asked for where a newer commit is deployed
}

// asked is whether the stack is pending for what the session does to it.
func (r *recorded) asked() asked {
	return asked{base: r.base, place: r.place, op: r.op.Name, as: r.as(), chooses: r.op.Chooses}
}

// pending keeps the stacks that are pending for what the session does to them, or
// for the deployment that this is for, and says why in why.
func (n *session) pending(q *pendings, u *ui, o runOptions, stacks []runner.Stack, why map[string]string) ([]runner.Stack, error) {
	kept, late, err := q.keep(stacks, why, func(stack runner.Stack) (asked, error) {
		r := n.stacks[stack.Path]
		a := r.asked() // takeOff has more to say of those that are late
		if op := pendingFor(o.op, r.op.Name); op != r.op.Name {
			a.op, a.as, a.late = op, gitstate.As{Variant: gitstate.AnyVariant}, !o.allowRollback
		}
		return a, nil
	})
	if late > 0 {
		u.Say("%s skipped: a newer commit is already deployed. --allow-rollback selects this older one.", terminal.Plural(late, "stack"))
	}
	return kept, err
}

// keep keeps the stacks that are pending, and says why in why. late are those that
// would be, and of which a newer commit is deployed.
func (q *pendings) keep(stacks []runner.Stack, why map[string]string, of func(runner.Stack) (asked, error)) (kept []runner.Stack, late int, err error) {
	var ask []gitstate.Latest // of a stack that is not asked, the zero value
	for _, s := range stacks {
		a, err := of(s)
		if err != nil {
			return nil, 0, err
		}
		reason, l, err := q.of(s, a)
		if err != nil {
			return nil, 0, err
		}
		if reason == "" {
			continue
		}
		if !a.late {
			l = gitstate.Latest{}
		}
		why[s.Path] = reason
		kept, ask = append(kept, s), append(ask, l)
	}
	superseded, _, err := q.st.Superseded(q.ctx, q.in.Commit, ask)
	if err != nil {
		return nil, 0, err
	}
	var out []runner.Stack
	for i, s := range kept {
		if superseded[i] {
			late++
		} else {
			out = append(out, s)
		}
	}
	return out, late, nil
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

// listPending is the command that lists the stacks which are pending for the run
// that c is, and why.
func listPending(c *cli.Context) string {
	line := []string{"tmnotes list --pending --why"}
	if op, _ := opFlag(c); op != "" {
		line = append(line, "--op "+op)
	}
	for _, f := range slices.Concat(chdirFlags()[:1], selectionFlags(), statusFlags(), pendingFlags()[1:], targetFlags()) {
		name := f.Names()[0]
		if !c.IsSet(name) || c.Value(name) == false {
			continue
		}
		values := []string{fmt.Sprint(c.Value(name))}
		switch f.(type) {
		case *cli.BoolFlag:
			line = append(line, "--"+name)
			continue
		case *cli.StringSliceFlag:
			values = c.StringSlice(name)
		}
		for _, value := range values {
			line = append(line, "--"+name+" "+shellQuote(value))
		}
	}
	return strings.Join(line, " ")
}
