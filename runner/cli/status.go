package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
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
			st, err = at.State(c.Context, s)
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
	stacks := make([]query.StackView, len(selected))
	views := query.ViewsOf(c.Context, env.Environ, got.st, p, sel.Target)
	for i, stack := range selected {
		stacks[i].Stack = stack.Stack
		if stacks[i].View, err = views.Of(stack.Stack); err != nil {
			return err
		}
		at.Clamp(&stacks[i].View)
	}
	if !query.Narrowed(sel) {
		gone, err := query.Orphans(c.Context, s, got.st, p, stacks, target)
		if err != nil {
			return err
		}
		for _, o := range gone {
			if at.Set() {
				at.Clamp(&o.View) // what it was then; that it is gone is of today
			} else {
				o.Status = note.Orphaned
			}
			stacks = append(stacks, o)
		}
	}
	stacks = slices.DeleteFunc(stacks, func(x query.StackView) bool { return !filter.Admits(x.View) })
	if c.String("format") == "json" {
		out := make([]shown, len(stacks))
		for i, x := range stacks {
			out[i] = jsonOf(&x, target)
		}
		return terminal.PrintJSON(env.Stdout, out)
	}
	if at.Set() {
		u.Say("%s", at.What)
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
	if !at.Set() {
		if err := sayClaims(c, s, u, stacks, sel.Target); err != nil {
			return err
		}
	}
	if got.age != "" {
		u.Say("%s", got.age)
	}
	return nil
}

// jsonOf is a stack as --format json has it.
func jsonOf(x *query.StackView, target string) shown {
	l := x.Deploy
	sh := shown{Stack: x.Path, ID: x.ID, Target: target, Status: x.Status, DeploymentStatus: l.Status, DriftStatus: x.Drift.Status,
		Commit: l.Commit, OKCommit: l.OKCommit, By: l.By, Job: l.Job, Why: x.Why()}
	if l.Status != note.Never {
		sh.Deployment = &x.Deploy.Record
	}
	if x.Drift.Status != note.Never {
		sh.Drift = &x.Drift.Record
	}
	if x.Gone != nil {
		sh.LastCommit, sh.Why = x.Gone.Last, x.Gone.String()
	}
	return sh
}

// rowOf is a stack as a line of the table.
func rowOf(x *query.StackView, now time.Time) []string {
	l, why := x.Deploy, ""
	switch {
	case x.Gone != nil:
		why = x.Gone.String()
	case x.Status != note.OK && x.Status != note.Never || l.Status != note.OK && l.Status != note.Never || l.Dirty || len(l.Diverged) > 0 && l.Status == note.OK || len(l.Conflicts) > 0:
		why = x.Why()
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
	return []string{string(x.Status), x.Path, deployment, commit, when, by, why}
}

// atFlag reads --at, a commit or else a date.
//
// Of a commit the results count that are recorded on it and on what it grew
// from, whenever they came to be: that is what a branch that stands there has
// deployed. Of a date those count that were recorded by then, on any commit.
func atFlag(c *cli.Context, s *gitstate.Store) (a query.AsOf, err error) {
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
		a.What = fmt.Sprintf("what is recorded on %s %q and the commits before it", note.Short(commit.Hash), commit.Subject)
		a.On, err = s.Ancestors(c.Context, commit.Hash)
		return a, err
	}
	if a.Until, err = s.Date(c.Context, text, true); err != nil {
		return a, fmt.Errorf("--at: %q is no commit that is here, and no date; write a date like 2026-11-20, 2026-11-20T14:00:00Z, yesterday or '3 days ago'", text)
	}
	a.What = "what was recorded until " + a.Until.Local().Format("2006-01-02 15:04:05 -0700")
	return a, nil
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
	if err := s.Remote(remote).Absorb(c.Context); errors.Is(err, gitstate.ErrSign) {
		return fmt.Sprintf("what was fetched from %s may not be shown: %v", remote, err), nil
	} else if err != nil {
		return "", err
	}
	last := s.Remote(remote).LastFetch()
	if last.IsZero() {
		return fmt.Sprintf("the notes of %s were never fetched; `tmnotes fetch` brings them", remote), nil
	}
	if d := time.Since(last); d > time.Minute {
		return fmt.Sprintf("as of the last fetch from %s, %s", remote, terminal.Ago(d)), nil
	}
	return "", nil
}
