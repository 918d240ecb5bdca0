package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func statusCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the latest result of each stack",
		Description: "Reads what is here and says how old it is; `tmnotes fetch` brings what is on the remote.\n" +
			"The commit is that of the latest result, HEAD or not; where that is no success, WHY names the commit of the last one.\n" +
			"A stack that is gone from HEAD and was not destroyed is orphaned.\n" +
			"--at REV counts what is recorded on REV and the commits before it, whenever that was; --at DATE what was recorded by\n" +
			"then, on whatever commit. A day alone is the end of that day.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "at", Usage: "the state as of a commit or a date, `REV|DATE`"}, formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error { return status(c, env) },
	}
}

// shown is a stack in the JSON of status: the stack's three statuses, and the
// record of its latest deployment and drift run.
type shown struct {
	Stack            string       `json:"stack"`
	ID               string       `json:"id,omitempty"`
	Status           note.Status  `json:"status"`
	DeploymentStatus note.Status  `json:"deployment_status"`
	DriftStatus      note.Status  `json:"drift_status"`
	Target           string       `json:"target,omitempty"`
	Commit           string       `json:"commit,omitempty"`
	OKCommit         string       `json:"ok_commit,omitempty"` // of the latest deployment that succeeded
	By               string       `json:"by,omitempty"`
	Job              string       `json:"job,omitempty"`
	Why              string       `json:"why,omitempty"`
	Deployment       *note.Record `json:"deployment,omitempty"`
	Drift            *note.Record `json:"drift,omitempty"`
	// Of a stack that is gone from HEAD: the last commit that had it.
	LastCommit string `json:"last_commit,omitempty"`
}

func status(c *cli.Context, env Env) error {
	u := newUI(env)
	if err := errors.Join(noArgs(c), checkFormat(c), setLogLevel(c)); err != nil {
		return err
	}
	sel, err := selection(c)
	if err != nil {
		return err
	}
	filter, err := parseStatusFilter(c)
	if err != nil {
		return err
	}
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	s, err := openStore(c, env, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	at, err := atFlag(c, s)
	if err != nil {
		return err
	}
	// The notes are read while Terramate reads the project.
	type answer struct {
		st  *gitstate.State
		age string
		err error
	}
	notes := make(chan answer, 1)
	go func() {
		age, err := readLocal(c, s)
		var st *gitstate.State
		if err == nil {
			st, err = at.state(c.Context, s)
		}
		notes <- answer{st, age, err}
	}()
	p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ, Terragrunt: sel.Terragrunt()})
	if err != nil {
		return err
	}
	selected, err := p.List(sel)
	if err != nil {
		return err
	}
	got := <-notes
	if got.err != nil {
		return got.err
	}
	target := command.TargetOf(sel.Target, env.workspace())
	stacks := make([]shownStack, len(selected))
	views := viewsOf(c.Context, env.Environ, got.st, p, sel.Target)
	for i, stack := range selected {
		stacks[i].Stack = stack.Stack
		if stacks[i].view, err = views.of(stack.Stack); err != nil {
			return err
		}
		at.clamp(&stacks[i].view)
	}
	if !narrowed(sel) {
		gone, err := orphans(c.Context, s, got.st, p, stacks, target)
		if err != nil {
			return err
		}
		for _, o := range gone {
			if at.set() {
				at.clamp(&o.view) // what it was then; that it is gone is of today
			} else {
				o.status = note.Orphaned
			}
			stacks = append(stacks, o)
		}
	}
	stacks = slices.DeleteFunc(stacks, func(x shownStack) bool { return !filter.admits(x.view) })
	if c.String("format") == "json" {
		out := make([]shown, len(stacks))
		for i, x := range stacks {
			out[i] = jsonOf(&x, target)
		}
		return terminal.PrintJSON(env.Stdout, out)
	}
	if at.set() {
		u.Say("%s", at.what)
	}
	if len(stacks) == 0 {
		u.Say("no stack is selected")
		return nil
	}
	rows := [][]string{{"STATUS", "STACK", "DEPLOYMENT", "COMMIT", "WHEN", "BY", "WHY"}}
	now := time.Now()
	for _, x := range stacks {
		rows = append(rows, rowOf(&x, now))
	}
	u.Table(env.Stdout, rows, func(i int) string {
		if i == 0 {
			return terminal.Faint
		}
		return terminal.StatusColor(rows[i][0])
	})
	hintOrphans(u, stacks, sel.Target)
	if !at.set() {
		if err := sayClaims(c, s, u, stacks, sel.Target); err != nil {
			return err
		}
	}
	if got.age != "" {
		u.Say("%s", got.age)
	}
	return nil
}

// shownStack is a stack with what the notes say of it.
type shownStack struct {
	runner.Stack
	view
	gone *removal // of a stack that is none of HEAD's
}

// jsonOf is a stack as --format json has it.
func jsonOf(x *shownStack, target string) shown {
	l := x.deploy
	sh := shown{Stack: x.Path, ID: x.ID, Target: target, Status: x.status, DeploymentStatus: l.Status, DriftStatus: x.drift.Status,
		Commit: l.Commit, OKCommit: l.OKCommit, By: l.By, Job: l.Job, Why: x.why()}
	if l.Status != note.Never {
		sh.Deployment = &x.deploy.Record
	}
	if x.drift.Status != note.Never {
		sh.Drift = &x.drift.Record
	}
	if x.gone != nil {
		sh.LastCommit, sh.Why = x.gone.last, x.gone.String()
	}
	return sh
}

// rowOf is a stack as a line of the table.
func rowOf(x *shownStack, now time.Time) []string {
	l, why := x.deploy, ""
	switch {
	case x.gone != nil:
		why = x.gone.String()
	case x.status != note.OK && x.status != note.Never || l.Status != note.OK && l.Status != note.Never || l.Dirty || len(l.Diverged) > 0 && l.Status == note.OK || len(l.Conflicts) > 0:
		why = x.why()
	}
	deployment, commit, when := string(l.Status), "-", "-"
	if l.Status != note.Never && l.Op != note.Deploy {
		deployment = l.Op + ": " + deployment
	}
	if len(l.Conflicts) > 0 {
		deployment += ", conflict" // run does not count it as done
	}
	if l.Status != note.Never {
		commit, when = note.Short(l.Commit), terminal.Ago(now.Sub(l.At))
	}
	by, _, _ := strings.Cut(l.By, " <")
	return []string{string(x.status), x.Path, deployment, commit, when, by, why}
}

// asOf is --at: the moment, or the commit, whose state is asked for.
type asOf struct {
	what  string // for people, "" without --at
	until time.Time
	on    map[string]bool
}

func (a asOf) set() bool { return a.what != "" }

// atFlag reads --at, a commit or else a date.
//
// Of a commit the results count that are recorded on it and on what it grew
// from, whenever they came to be: that is what a branch that stands there has
// deployed. Of a date those count that were recorded by then, on any commit.
func atFlag(c *cli.Context, s *gitstate.Store) (a asOf, err error) {
	text := c.String("at")
	if text == "" {
		if c.IsSet("at") {
			return a, errors.New("--at: of which commit or date?")
		}
		return a, nil
	}
	if c.String("status") == string(note.Orphaned) {
		return a, errors.New("--at and --status orphaned do not go together: what is gone is told by HEAD")
	}
	if commit, err := s.Resolve(text); err == nil {
		a.what = fmt.Sprintf("what is recorded on %s %q and the commits before it", note.Short(commit.Hash), commit.Subject)
		a.on, err = s.Ancestors(c.Context, commit.Hash)
		return a, err
	}
	if a.until, err = s.Date(c.Context, text, true); err != nil {
		return a, fmt.Errorf("--at: %q is no commit that is here, and no date; write a date like 2026-11-20, 2026-11-20T14:00:00Z, yesterday or '3 days ago'", text)
	}
	a.what = "what was recorded until " + a.until.Local().Format("2006-01-02 15:04:05 -0700")
	return a, nil
}

func (a asOf) state(ctx context.Context, s *gitstate.Store) (*gitstate.State, error) {
	if !a.set() {
		return s.State(ctx)
	}
	return s.StateAt(ctx, func(commit string, r *note.Record) bool {
		if a.on != nil {
			return a.on[commit]
		}
		// Of drift runs that found the same only the newest has a line, which says
		// since when.
		return !r.At.After(a.until) || !r.Since.IsZero() && !r.Since.After(a.until)
	})
}

// clamp takes a drift result that was repeated later for what it was first.
func (a asOf) clamp(v *view) {
	if a.until.IsZero() || !v.drift.At.After(a.until) {
		return
	}
	v.drift.At = v.drift.Since
	v.status = gitstate.StackStatus(v.deploy, v.drift)
}

// readLocal brings the journal and what a plain `git fetch` brought into the
// notes, and says how old they are.
func readLocal(c *cli.Context, s *gitstate.Store) (age string, err error) {
	remote, err := findRemote(c, s, "")
	if err != nil || remote == "" {
		if err := s.Flush(c.Context); !errors.Is(err, gitstate.ErrSign) {
			return "", err
		}
		return "", nil // it is read from the journal, too
	}
	if err := s.Absorb(c.Context, remote); errors.Is(err, gitstate.ErrSign) {
		return fmt.Sprintf("what was fetched from %s may not be shown: %v", remote, err), nil
	} else if err != nil {
		return "", err
	}
	last := s.LastFetch(remote)
	if last.IsZero() {
		return fmt.Sprintf("the notes of %s were never fetched; `tmnotes fetch` brings them", remote), nil
	}
	if d := time.Since(last); d > time.Minute {
		return fmt.Sprintf("as of the last fetch from %s, %s", remote, terminal.Ago(d)), nil
	}
	return "", nil
}
