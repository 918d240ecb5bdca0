package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Pendings answers whether stacks are pending at a commit, HEAD.
type Pendings struct {
	Ctx      context.Context
	S        *gitstate.Store
	P        *project.Project
	St       *gitstate.State
	Explain  bool // say which inputs changed, which takes longer
	in       *project.Inputs
	dirty    map[string]bool
	triggers map[string][]project.Trigger            // HEAD's
	Then     map[string]map[string]string            // commit → stack → digest; nil where it cannot be known
	consumed map[string]map[string][]project.Trigger // commit → its trigger files; nil where it is not here
	since    map[string]func(string) []string        // commit → what changed since
	reader   *command.Reader
	// introduced finds the commit that brought a trigger, and its parent.
	introduced func(context.Context, project.Trigger) (commit, parent string, err error)
	Assumed    int // stacks whose place is taken to be the recorded one
}

func newPendings(ctx context.Context, s *gitstate.Store, p *project.Project, st *gitstate.State, r *command.Reader) *Pendings {
	return &Pendings{Ctx: ctx, S: s, P: p, St: st, Then: map[string]map[string]string{}, consumed: map[string]map[string][]project.Trigger{},
		since: map[string]func(string) []string{}, reader: r, introduced: p.Introduced}
}

// NewPendings asks of the stacks at HEAD which are not deployed as they are there.
func NewPendings(ctx context.Context, s *gitstate.Store, p *project.Project, st *gitstate.State) (*Pendings, error) {
	q := newPendings(ctx, s, p, st, NewReader(ctx, p.Root()))
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

// PendingFor is the operation that --pending is about: what is to be deployed, also
// where the command is what a deployment needs before it (init, plan), unless --op
// says otherwise.
func PendingFor(typed, op string) string {
	if typed == "" {
		return note.Deploy
	}
	return op
}

// DestroysPending refuses to destroy what is to be deployed: neither that, nor
// to take --pending for something else there, is what everybody would mean.
func DestroysPending(typed string, ops []string) error {
	for _, op := range ops {
		if typed == "" && (op == note.Destroy || op == "destroy-target") {
			return fmt.Errorf("--pending selects what is to be deployed, and this command is a %s; add --op %s to select what is not destroyed yet, or select the stacks without --pending", op, op)
		}
	}
	return nil
}

// Of tells why a stack is pending; "" where it is not. Where its place may be one of
// several, it is if it is at any of them.
func (q *Pendings) Of(stack runner.Stack, a Asked) (why string, l gitstate.Latest, err error) {
	found, assumed, err := Whereabouts{q.St, q.reader}.At(stack, a.Base, a.Place, a.Op)
	if err != nil {
		return "", l, err
	}
	if assumed {
		q.Assumed++
	}
	whys := map[string]string{} // by run
	of := LeastDone(found, a.Chooses, func(l *gitstate.Latest) bool {
		if err == nil {
			whys[l.Run], err = q.ofLatest(stack, l, a)
		}
		return err == nil && whys[l.Run] == ""
	})
	return whys[of.Latest.Run], of.Latest, err
}

func (q *Pendings) ofLatest(stack runner.Stack, l *gitstate.Latest, a Asked) (string, error) {
	if a.As.Variant == gitstate.AnyVariant && l.Status == note.OK {
		seen, added, err := q.reader.Seen(l.Values(), stack.Dir)
		if err != nil {
			return "", fmt.Errorf("%s: %w", stack.Path, err)
		}
		if a.As.Values = seen; len(added) > 0 && strings.HasPrefix(l.Variant, "2:") {
			return "deployed without " + someOf(added) + ", which git ignores", nil
		}
	}
	if ok, why := l.Succeeded(a.Op, a.As); !ok {
		return why, nil
	}
	if q.dirty[stack.Path] {
		return "it has uncommitted changes", nil
	}
	now, err := q.in.Digest(stack.Path)
	if err != nil {
		return OneLine(err), nil
	}
	then, why, err := q.Recorded(l)
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
		if then == now && a.As.Variant == gitstate.AnyVariant {
			if why, err := q.otherEnv(l, stack.Path); why != "" || err != nil {
				return why, err
			}
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

// Recorded is the digest of what the latest success deployed: as it was recorded,
// or made anew from its commit; or why it cannot be known.
func (q *Pendings) Recorded(l *gitstate.Latest) (digest, why string, err error) {
	if strings.HasPrefix(l.Inputs, project.InputsVersion+":") && !project.Partial(l.Inputs) {
		return l.Inputs, "", nil
	}
	at, err := q.Digests(l.Commit)
	switch {
	case err != nil:
		return "", "", err
	case at == nil:
		return "", fmt.Sprintf("unknown what was deployed at %s: the commit is not in this clone, or is not a readable project", note.Short(l.Commit)), nil
	case at[l.Record.Stack] == "":
		return "", fmt.Sprintf("unknown what was deployed at %s: it was not a stack there, or its inputs cannot be read", note.Short(l.Commit)), nil
	}
	return project.Complete(l.Inputs, at[l.Record.Stack]), "", nil
}

// Digests are those of all stacks at a commit, nil where they cannot be had: where
// the commit is not here, or the project cannot be loaded as it was then.
func (q *Pendings) Digests(commit string) (map[string]string, error) {
	if at, asked := q.Then[commit]; asked {
		return at, nil
	}
	q.Then[commit] = nil
	if has, err := q.S.Has(commit); err != nil || !has {
		return nil, err
	}
	text, err := q.S.Cached("inputs-"+project.InputsVersion+"-"+commit, func() (string, error) {
		in, err := q.P.InputsAt(q.Ctx, commit)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for stack, digest := range in.All() {
			fmt.Fprintf(&b, "%s %q\n", digest, stack)
		}
		return b.String(), nil
	})
	if q.Ctx.Err() != nil {
		return nil, context.Cause(q.Ctx)
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
	q.Then[commit] = at
	return at, nil
}

// acknowledged is what the stack may be taken for after its ignore triggers: one
// that a commit brought says that what this commit changed need not be deployed.
// It masks nothing else, neither earlier nor later.
func (q *Pendings) acknowledged(stack, then, now string) (string, error) {
	type step struct{ from, to string }
	var steps []step
	for _, tr := range q.triggers[stack] {
		if !tr.Ignore {
			continue
		}
		commit, parent, err := q.introduced(q.Ctx, tr)
		if err != nil {
			return "", err
		}
		if commit == "" || parent == "" {
			continue
		}
		before, err := q.Digests(parent)
		if err != nil {
			return "", err
		}
		after, err := q.Digests(commit)
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

const inputsChanged = "inputs changed since "

// changed says what changed since the latest success.
func (q *Pendings) changed(l *gitstate.Latest, stack string) (string, error) {
	why := inputsChanged + note.Short(l.Commit)
	if !q.Explain {
		return why, nil
	}
	what, err := q.differences(l.Commit)
	if err != nil {
		return "", err
	}
	if what == nil {
		return why + ", which is not in this clone", nil
	}
	if files := what(stack); len(files) > 0 {
		why += ": " + someOf(files)
	}
	return why, nil
}

// differences names for each stack what differs from a commit; nil where that is not in this clone.
func (q *Pendings) differences(commit string) (func(stack string) []string, error) {
	if _, asked := q.since[commit]; !asked {
		has, err := q.S.Has(commit)
		if err != nil {
			return nil, err
		}
		q.since[commit] = nil
		if has {
			if q.since[commit], err = q.P.Differences(q.Ctx, q.in, commit); err != nil {
				return nil, err
			}
		}
	}
	return q.since[commit], nil
}

// otherEnv says which variables of run.env are others than at the latest success. A trigger that ignores a
// change does not make them the same: a command that is about to run is held against them.
func (q *Pendings) otherEnv(l *gitstate.Latest, stack string) (string, error) {
	what, err := q.differences(l.Commit)
	if err != nil || what == nil {
		return "", err
	}
	others := slices.DeleteFunc(slices.Clone(what(stack)), func(file string) bool {
		name, is := strings.CutPrefix(file, "run.env ")
		return !is || !command.RunEnvMatters(name)
	})
	if len(others) == 0 {
		return "", nil
	}
	return "deployed with another " + someOf(others), nil
}

func someOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// triggered looks for a trigger file that the latest success did not have.
func (q *Pendings) triggered(l *gitstate.Latest, stack string) (string, error) {
	for _, tr := range q.triggers[stack] {
		if tr.Ignore {
			continue
		}
		answered := l.Triggers()
		if l.Inputs == "" || project.Partial(l.Inputs) { // it was not looked at then
			if _, asked := q.consumed[l.Commit]; !asked {
				q.consumed[l.Commit] = nil
				has, err := q.S.Has(l.Commit)
				if err != nil {
					return "", err
				}
				if has {
					if q.consumed[l.Commit], err = q.P.Triggers(q.Ctx, l.Commit); err != nil {
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

// OneLine is an error as a reason.
func OneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// Made is what a record says of the inputs of a stack; nothing where they cannot
// be known, or are not those of the commit.
type Made struct {
	In       *project.Inputs
	Triggers map[string][]project.Trigger
	Ignored  map[string]string // where that is all that is known: see project.IgnoredDigests
}

// Put says in a record what the stack is made of.
func (m *Made) Put(r *note.Record, stack string) {
	if m == nil || r.Dirty {
		return
	}
	if m.In == nil {
		r.Inputs = m.Ignored[stack]
	} else if digest, err := m.In.Digest(stack); err == nil {
		r.Inputs = digest
		r.SetTriggers(triggerIDs(m.Triggers[stack]))
	}
}

// MadeOf reads what the stacks are made of at HEAD, to be recorded with what comes of
// them. Where files are not as in HEAD it is left for who asks, who finds the
// commit in the record, but not what git ignores.
func MadeOf(ctx context.Context, p *project.Project, todo []string) (*Made, error) {
	if clean, err := p.Clean(); err != nil {
		return nil, err
	} else if !clean {
		ignored, err := project.IgnoredDigests(ctx, p.Root(), todo)
		return &Made{Ignored: ignored}, err
	}
	in, err := p.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	triggers, err := p.Triggers(ctx, in.Commit)
	return &Made{In: in, Triggers: triggers}, err
}

// Asked is what a stack may be pending for.
type Asked struct {
	Base    string // --target
	Place   command.Place
	Op      string
	As      gitstate.As
	Chooses bool // see runner.Operation
	Late    bool // it is not asked for where a newer commit is deployed
}

// Keep keeps the stacks that are pending, and says why in why. late are those that
// would be, and of which a newer commit is deployed.
func (q *Pendings) Keep(stacks []runner.Stack, why map[string]string, of func(runner.Stack) (Asked, error)) (kept []runner.Stack, late int, err error) {
	var ask []gitstate.Latest // of a stack that is not asked, the zero value
	for _, s := range stacks {
		a, err := of(s)
		if err != nil {
			return nil, 0, err
		}
		reason, l, err := q.Of(s, a)
		if err != nil {
			return nil, 0, err
		}
		if reason == "" {
			continue
		}
		if !a.Late {
			l = gitstate.Latest{}
		}
		why[s.Path] = reason
		kept, ask = append(kept, s), append(ask, l)
	}
	superseded, _, err := q.St.Superseded(q.Ctx, q.in.Commit, ask)
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
