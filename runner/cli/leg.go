package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// A leg is what one job of a run does that `tmnotes matrix` divided: it has a list
// of stacks, and knows which stacks of other legs these come after. What became
// of those it reads from the notes. It waits for stacks and not for legs, so a leg that
// is tried again, or is late, is no special case.

// legVersion is that of the form of the files. It changes where a leg that was made
// by one version would be misread by another.
const legVersion = 2

// leg is the file of a leg. The names are those of the keys of records.
type leg struct {
	Version int       `json:"version"`
	MadeBy  string    `json:"made_by"` // the version of tmnotes
	Run     string    `json:"run"`
	Leg     int       `json:"leg"` // from 1
	Legs    int       `json:"legs"`
	Level   int       `json:"level"` // from 0; legs of one level do not wait for each other
	Seconds float64   `json:"seconds"`
	Commit  string    `json:"commit"`
	Target  string    `json:"target,omitempty"` // --target
	Reverse bool      `json:"reverse,omitempty"`
	Late    bool      `json:"allow_rollback,omitempty"`
	Force   bool      `json:"force,omitempty"`
	Stacks  []legUnit `json:"stacks"`
	Others  []legUnit `json:"others,omitempty"` // stacks of other legs that these come after

	file  string
	of    map[string]*legUnit // by path, both
	aside bool                // it says which stacks, and nothing else: see readLeg
	anew  bool                // --force was given to the leg itself
}

// legUnit is a stack of a leg.
type legUnit struct {
	Stack   string   `json:"stack"`
	ID      string   `json:"id,omitempty"`
	Op      string   `json:"op"`
	Target  string   `json:"target,omitempty"`    // with the workspace, as in records
	Variant string   `json:"variant,omitempty"`   // of the words alone: a job may have values of its own
	Space   string   `json:"workspace,omitempty"` // TF_WORKSPACE
	Leg     int      `json:"leg,omitempty"`       // of another leg's
	After   []string `json:"after,omitempty"`     // stacks of other legs
}

// The methods of a leg may be called on none: then there is nothing to it.

// readLeg reads --stacks-from, and takes from it what the flags of the matrix said.
// Nothing that stands in it is believed before it was held against the commit
// and the project: see at, pick and same.
//
// A command that is known to change nothing, terraform init, is not what the
// matrix announced, but may be what that needs on a new machine: it runs in the leg's stacks
// as a run of its own, and asks nobody.
func readLeg(c *cli.Context, env Env, shown []string) (*leg, error) {
	file := c.String("stacks-from")
	if file == "" {
		if c.Bool("wait") || c.IsSet("wait-timeout") {
			return nil, errors.New("--wait is for the stacks of other legs; it goes with --stacks-from")
		}
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--stacks-from: %w; `tmnotes matrix --out DIR` makes the files", err)
	}
	var l leg
	var form struct {
		Version int    `json:"version"`
		MadeBy  string `json:"made_by"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is no leg of tmnotes matrix: %w", file, err)
	}
	if form.Version != legVersion {
		return nil, fmt.Errorf("--stacks-from: %s was made by another version of tmnotes (%s); use the same one for the matrix and its legs", file, cmp.Or(form.MadeBy, "unknown"))
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is no leg of tmnotes matrix: %w", file, err)
	}
	l.file = file
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("--stacks-from: %s is no leg of tmnotes matrix: %w", file, err)
	}
	if c.Duration("wait-timeout") < 0 {
		return nil, fmt.Errorf("--wait-timeout: %v is no time to wait", c.Duration("wait-timeout"))
	}
	for _, f := range slices.Concat(selectionFlags(), statusFlags(), pendingFlags(), runFlags()[:1]) {
		name := f.Names()[0]
		if c.IsSet(name) && !inEnvironment(f, env) {
			return nil, fmt.Errorf("--%s: which stacks run is said by %s; give it to tmnotes matrix", name, file)
		}
	}
	if t := c.String("target"); t != "" && t != l.Target {
		return nil, fmt.Errorf("--target %s: %s was made for %s; give it to tmnotes matrix", t, file, cmp.Or(l.Target, "no target"))
	}
	if c.Bool("reverse") && !l.Reverse {
		return nil, fmt.Errorf("--reverse: the order of %s is not reversed; give it to tmnotes matrix", file)
	}
	l.anew = c.Bool("force")
	for flag, set := range map[string]bool{"reverse": l.Reverse, "allow-rollback": l.Late, "force": l.Force} {
		if set {
			if err := c.Set(flag, "true"); err != nil {
				return nil, err
			}
		}
	}
	l.aside = command.Harmless(shown, env.Environ) && command.Recognise(shown, env.Environ, c.String("op")).Name != l.Stacks[0].Op
	return &l, c.Set("target", l.Target)
}

// inEnvironment reports whether a flag's value may have come from a variable, that is
// meant for all jobs of a pipeline.
func inEnvironment(f cli.Flag, env Env) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && slices.ContainsFunc(d.GetEnvVars(), func(name string) bool { return env.Getenv(name) != "" })
}

func (l *leg) check() error {
	switch {
	case !command.ValidRun(l.Run):
		return fmt.Errorf("%q is no id of a run", l.Run)
	case l.Leg < 1 || l.Leg > l.Legs:
		return fmt.Errorf("leg %d of %d", l.Leg, l.Legs)
	case len(l.Commit) != 40 || strings.Trim(l.Commit, "0123456789abcdef") != "":
		return fmt.Errorf("%q is no full name of a commit", l.Commit)
	case len(l.Stacks) == 0:
		return errors.New("it has no stacks")
	}
	if err := project.ValidTarget(l.Target); err != nil {
		return err
	}
	l.of = map[string]*legUnit{}
	for _, list := range [][]legUnit{l.Others, l.Stacks} {
		for i := range list {
			u := &list[i]
			if !strings.HasPrefix(u.Stack, "/") || u.Op == "" || l.of[u.Stack] != nil {
				return fmt.Errorf("the stack %q, or what is to be done to it, is not understood, or is there twice", u.Stack)
			}
			l.of[u.Stack] = u
		}
	}
	for _, u := range l.Stacks {
		for _, after := range u.After {
			if o := l.of[after]; o == nil || o.Leg == 0 || o.Leg == l.Leg {
				return fmt.Errorf("%s comes after %s, and it does not say whose that is", u.Stack, after)
			}
		}
	}
	return nil
}

// runOf is the run that the process takes part in: that of the leg, --run or
// TMNOTES_RUN, or a new one.
func runOf(c *cli.Context, env Env, s *gitstate.Store, l *leg) (string, error) {
	id, from := c.String("run"), "--run"
	if id == env.Getenv("TMNOTES_RUN") {
		from = "TMNOTES_RUN"
	}
	switch {
	case id != "" && !command.ValidRun(id):
		return "", fmt.Errorf("%s=%q is no id of a run; leave it out, or take one from `tmnotes log`", from, id)
	case l != nil && l.aside:
		return s.NewRun(), nil
	case l != nil && id != "" && id != l.Run:
		return "", fmt.Errorf("%s=%s: %s is of the run %s", from, id, l.file, l.Run)
	case l != nil:
		return l.Run, nil
	case id != "":
		return id, nil
	}
	return s.NewRun(), nil
}

// at reports whether the leg was made for the commit that is checked out.
func (l *leg) at(head gitstate.Commit) error {
	if l == nil || l.Commit == head.Hash {
		return nil
	}
	return fmt.Errorf("%s was made for the commit %s, and %s is checked out; `git checkout --detach %s` goes there", l.file, note.Short(l.Commit), note.Short(head.Hash), l.Commit)
}

// narrow takes off what the environment says of the selection, that the matrix has
// followed already.
func (l *leg) narrow(o *runOptions) {
	if l != nil {
		o.sel, o.filter = project.Selection{Target: l.Target}, query.StatusFilter{}
	}
}

// pick keeps the leg's stacks, all of which have to be there.
func (l *leg) pick(selected []project.Selected) ([]project.Selected, error) {
	if l == nil {
		return selected, nil
	}
	there := map[string]string{}
	for _, s := range selected {
		there[s.Path] = s.ID
	}
	for _, u := range l.Stacks {
		if id, ok := there[u.Stack]; !ok || !strings.EqualFold(id, u.ID) {
			return nil, fmt.Errorf("%s has the stack %s, and it is not here; run the leg where the matrix was made: in the same commit and folder", l.file, u.Stack)
		}
	}
	return slices.DeleteFunc(selected, func(s project.Selected) bool {
		u := l.of[s.Path]
		return u == nil || u.Leg != 0
	}), nil
}

// same reports whether the command is the one that the matrix announced.
func (l *leg) same(n *session, stacks []runner.Stack) error {
	if l == nil || l.aside {
		return nil
	}
	for _, s := range stacks {
		u, r := l.of[s.Path], n.stacks[s.Path]
		switch {
		case r.op.Name != u.Op || r.op.Words != u.Variant:
			return fmt.Errorf("%s was made for another command line, a %s of %s, and this is a %s; give matrix and run the same command, --op and TF_CLI_ARGS*", l.file, u.Op, s.Path, r.op.Name)
		case r.op.Workspace != u.Space:
			return fmt.Errorf("%s was made with another workspace for %s; give matrix and run the same TF_WORKSPACE", l.file, s.Path)
		}
	}
	if len(stacks) < len(l.Stacks) {
		return fmt.Errorf("%s has stacks in which there is nothing to run; give matrix and run the same command", l.file)
	}
	return nil
}

// takeOff adds what an earlier try of the leg succeeded with, also where that is no
// deployment.
func (l *leg) takeOff(st *gitstate.State, n *session, order []string, off map[string]taken) error {
	if l == nil || l.aside || l.anew {
		return nil
	}
	for _, p := range order {
		r := n.of(p)
		latest, err := n.latest(st, p)
		if err != nil {
			return err
		}
		if _, is := off[p]; is || r.dirty || latest.Dirty || latest.Run != n.run || latest.Commit != n.commit.Hash || len(latest.Diverged) > 0 {
			continue
		}
		if latest.Op == r.op.Name && (latest.Status == note.OK || latest.Status == note.Drifted) {
			off[p] = taken{path: p, why: fmt.Sprintf("%s in this run already", latest.Status)}
		}
	}
	return nil
}

// legGate says of stacks that are ready in their leg whether they are in the run,
// too: what they come after may be elsewhere.
type legGate struct {
	*chosen
	wait    bool
	limit   time.Duration
	started map[string]time.Time // when a stack was asked about first
	said    bool
	failed  int // how often in a row the state could not be read
}

func (x *chosen) legGate(c *cli.Context) func(context.Context, []runner.Stack) ([]runner.Admission, error) {
	g := &legGate{chosen: x, wait: c.Bool("wait"), limit: c.Duration("wait-timeout"), started: map[string]time.Time{}}
	return g.admit
}

// patience is how often in a row the state may be out of reach while a leg waits.
const patience = 10

func (g *legGate) admit(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
	answers := make([]runner.Admission, len(ready))
	open := map[int]runner.Admission{}
	ask := func() (err error) {
		clear(open)
		for i, s := range ready {
			final := false
			if answers[i], final, err = g.of(s.Path); err != nil {
				return err
			}
			if !final {
				open[i] = answers[i]
			}
		}
		return nil
	}
	unread := func(err error) error {
		return admitError{fmt.Errorf("what became of the stacks of other legs cannot be read: %w", err)}
	}
	if err := ask(); err != nil {
		return nil, unread(err)
	}
	if len(open) == 0 {
		return answers, nil
	}
	err := g.refresh(ctx)
	if err == nil {
		if err := ask(); err != nil {
			return nil, unread(err)
		}
	}
	if ctx.Err() != nil { // interrupted: nothing starts any more
		for i := range answers {
			answers[i] = runner.Admission{Later: time.Second}
		}
		return answers, nil
	}
	g.failed++
	if err == nil {
		g.failed = 0
	}
	for i, a := range open {
		path := ready[i].Path
		if err != nil {
			a.Reason = fmt.Sprintf("%s is waited for, and what became of it could not be read: %v", a.Cause, err)
		}
		if g.started[path].IsZero() {
			g.started[path] = time.Now()
		}
		waited := time.Since(g.started[path])
		if g.wait && (g.limit == 0 || waited < g.limit) && g.failed < patience {
			a = runner.Admission{Later: min(max(waited/4, 500*time.Millisecond), 15*time.Second), Reason: a.Reason}
		} else if g.wait && g.failed < patience {
			a.Reason += fmt.Sprintf("; it was waited for, for %s", terminal.Took(g.limit))
		}
		answers[i] = a
	}
	return answers, nil
}

func (g *legGate) refresh(ctx context.Context) error {
	if g.sync.remote != "" {
		if _, err := g.store.Fetch(ctx, g.sync.remote); err != nil {
			return err
		}
	}
	st, err := g.store.State(ctx)
	if err == nil {
		g.store.Basis(st)
		g.st = st
	}
	return err
}

// of says whether a stack may start, as far as the stacks of other legs are concerned
// that it comes after. Unless it is final, another look may give another answer;
// it is then blocked, as where nobody waits.
func (g *legGate) of(path string) (a runner.Admission, final bool, err error) {
	final = true
	for _, p := range g.leg.of[path].After {
		other := g.leg.of[p]
		l, err := g.latest(other)
		if err != nil {
			return runner.Admission{}, true, err
		}
		cause, reason, known := g.stands(other, &l)
		switch {
		case cause == "":
		case known: // it is blocked, whatever becomes of the others
			return runner.Admission{Status: runner.StatusBlocked, Cause: cause, Reason: reason}, true, nil
		case final:
			final = false
			a = runner.Admission{Status: runner.StatusBlocked, Cause: cause, Reason: reason}
		}
	}
	return a, final, nil
}

// Latest is the latest record of another leg's stack. The place that the matrix assumed
// for it may be another one than where that leg deploys it.
func (g *legGate) latest(u *legUnit) (gitstate.Latest, error) {
	assumed, err := g.st.Latest(u.ID, u.Stack, u.Target, u.Op)
	if err != nil {
		return assumed, err
	}
	for _, p := range g.st.Places(u.ID, u.Stack, g.leg.Target, u.Op) {
		l, err := g.st.LatestAt(u.ID, u.Stack, p.Target, p.Backend, u.Op)
		if err != nil {
			return l, err
		}
		if (l.Run == g.run || slices.Contains(l.Prev, g.run)) && l.Record.Status != note.Queued {
			return l, nil
		}
	}
	return assumed, nil
}

// moved withdraws what the matrix announced for stacks of the leg that are deployed to
// another place than it assumed.
func (l *leg) moved(st *gitstate.State, n *session) error {
	if l == nil || l.aside {
		return nil
	}
	for _, u := range l.Stacks {
		r := n.of(u.Stack)
		if r.target == u.Target {
			continue
		}
		was, err := st.Latest(u.ID, u.Stack, u.Target, u.Op)
		if err != nil {
			return err
		}
		if was.Run == n.run && was.Record.Status == note.Queued {
			if err := n.store.Withdraw(n.commit.Hash, &was.Record, note.Record{By: n.by, Reason: "it is deployed elsewhere: " + r.describe()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// stands says which stack is in the way of what comes after another leg's stack,
// and why; none where nothing is. Unless it is known, that may change.
func (g *legGate) stands(u *legUnit, l *gitstate.Latest) (cause, reason string, known bool) {
	run, path := g.run, u.Stack
	status := l.Status
	if status == note.Triggered {
		status, _ = l.Standing()
	}
	// What others did to it before this run was announced says nothing, unless it is
	// what this run wants: then the other leg has left it as it is.
	done := l.Status == note.OK && l.Commit == g.commit.Hash && l.Op == u.Op && !l.Dirty
	if l.Status == note.Never || !done && l.Run != run && !slices.Contains(l.Prev, run) && l.At.Before(gitstate.Began(run)) {
		if g.sync.remote != "" {
			return path, fmt.Sprintf("%s is not on record for run %s", path, run), false
		}
		if !g.said {
			g.said = true
			g.u.Say("what became of stacks of other legs is not known here (%s): what comes after them starts all the same", g.sync.why)
		}
		return "", "", true
	}
	switch {
	case status == note.Queued || status == note.Running:
		return path, fmt.Sprintf("%s is still %s in run %s", path, status, l.Run), false
	case len(l.Diverged) > 0:
		_, why := l.Succeeded(u.Op, gitstate.As{Variant: gitstate.AnyVariant})
		return path, path + ": " + why, true
	case status == note.Blocked:
		return cmp.Or(l.Cause, path), l.Reason, true
	case status == note.Failed:
		return path, "", true
	case status != note.OK && status != note.Drifted:
		return path, fmt.Sprintf("%s was %s in run %s", path, status, l.Run), true
	case l.Op != u.Op && l.Status != note.Triggered:
		return path, fmt.Sprintf("%s had a %s in run %s", path, l.Op, l.Run), true
	}
	return "", "", true
}

var errWavesInLegs = errors.New("waves are for one run that has all of its stacks; with legs, make a matrix for each wave, as in: tmnotes matrix --tags canary")
