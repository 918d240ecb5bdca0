package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// The two commands that change the state by hand. Both want a reason, which
// stays in the notes.

func markCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "mark",
		Usage:     "record by hand what became of stacks",
		ArgsUsage: "--reason TEXT STACK...",
		Description: "For what happened outside tmnotes: somebody deployed a stack from a laptop, or repaired it in the console.\n" +
			"The record says who marked it and why. With --op destroy a stack that is gone from HEAD can be named, too.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that tells the next reader why (required)"},
			&cli.StringFlag{Name: "status", Value: "ok", Usage: "`STATUS` to record: ok, failed, canceled or drifted"},
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "operation `NAME` to record"},
			&cli.StringFlag{Name: "commit", Value: "HEAD", Usage: "`REV` that it was done on"},
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return mark(c, env) },
	}
}

func mark(c *cli.Context, env Env) error {
	u := newUI(env)
	reason := strings.TrimSpace(c.String("reason"))
	switch status := c.String("status"); {
	case !c.Args().Present():
		return errors.New("which stacks? Name them by path, as in: tmnotes mark --reason 'repaired by hand' /prod/db")
	case reason == "":
		return errors.New("a mark needs a reason: add --reason 'what happened'")
	case !slices.Contains([]string{"ok", "failed", "canceled", "drifted"}, status):
		return fmt.Errorf("--status: %q cannot be marked; use ok, failed, canceled or drifted", status)
	}
	op, err := opFlag(c)
	if err != nil {
		return err
	}
	if err := project.ValidTarget(c.String("target")); err != nil {
		return err
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		commit, err := s.Resolve(c.String("commit"))
		if err != nil {
			return err
		}
		p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ})
		if err != nil {
			return err
		}
		all, err := p.All()
		if err != nil {
			return err
		}
		stacks := make([]runner.Stack, c.Args().Len())
		for i, want := range c.Args().Slice() {
			var found bool
			// A stack that is gone can still be destroyed.
			if stacks[i], found = query.FindStack(s, dir, all, want); !found && op != note.Destroy {
				return fmt.Errorf("%s is not a stack in this project%s; `tmnotes list` lists them (nothing was marked)", want, query.MeantStack(want, all))
			}
		}
		plan, err := planSync(c, s, p.DefaultRemote(), env.ci(), op)
		if err != nil {
			return err
		}
		if err := fetchNotes(c.Context, s, u, plan); err != nil {
			return err
		}
		st, err := s.State(c.Context)
		if err != nil {
			return err
		}
		s.Basis(st)
		for i, want := range c.Args().Slice() {
			if stacks[i].Path == "" {
				if stacks[i], err = query.GoneStack(s, dir, st, want, command.TargetOf(c.String("target"), env.workspace())); err != nil {
					return fmt.Errorf("%w (nothing was marked)", err)
				}
			}
		}
		like := byHand(c, env, s, commit, note.Status(c.String("status")), op, reason)
		var records []*note.Record
		for _, stack := range stacks {
			r, _, err := like(st, stack)
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		if err := s.Append(commit.Hash, records...); err != nil {
			return err
		}
		if err := finishEdit(c, s, u, plan); err != nil {
			return err
		}
		u.Say("marked %s as %s at %s", runner.Plural(len(records), "stack"), c.String("status"), note.Short(commit.Hash))
		return nil
	})
}

// byHand makes the records of a run that executes nothing: somebody says what
// became of stacks. Beside the record the function hands out what it follows.
func byHand(c *cli.Context, env Env, s *gitstate.Store, commit gitstate.Commit, status note.Status, op, reason string) func(*gitstate.State, runner.Stack) (*note.Record, gitstate.Latest, error) {
	who := cmp.Or(env.ci().By, s.Who(c.Context))
	run := s.NewRun()
	s.UseJournal(run)
	reader := query.NewReader(c.Context, s.WorkTree())
	return func(st *gitstate.State, stack runner.Stack) (*note.Record, gitstate.Latest, error) {
		target, err := targetHere(env, reader, stack, c.String("target"))
		if err != nil {
			return nil, gitstate.Latest{}, err
		}
		l, err := st.Latest(note.Slot{ID: stack.ID, Path: stack.Path, Target: target, Op: op})
		if err != nil {
			return nil, l, err
		}
		// Nobody says which backend is meant: it is every one that is recorded.
		prev, backends := l.Runs(), 0
		for _, p := range st.Places(note.Slot{ID: stack.ID, Path: stack.Path, Target: c.String("target"), Op: op}) {
			if p.Target != target {
				continue
			}
			at, err := st.LatestAt(note.Slot{ID: stack.ID, Path: stack.Path, Target: target, Op: op}, p.Backend)
			if err != nil {
				return nil, l, err
			}
			prev, backends = append(prev, at.Runs()...), backends+min(len(p.Backend), 1)
		}
		slices.Sort(prev)
		r := &note.Record{Status: status, Op: op, Target: target, Stack: stack.Path, ID: stack.ID, Reason: reason,
			By: who, Prev: slices.Compact(prev), Run: run, CommitTime: commit.Time.Unix()}
		// Whoever marks a stack as deployed means the command line that it is
		// deployed with, which the record before this one has.
		r.Variant = l.Variant
		r.SetValues(l.Values())
		if l.Status == note.Never || r.Variant == "" || backends > 1 {
			r.Variant = gitstate.AnyVariant
			r.SetValues("")
		}
		return r, l, nil
	}
}

// finishEdit writes the notes and sends them.
func finishEdit(c *cli.Context, s *gitstate.Store, u *ui, plan deploy.Route) error {
	runner.OutliveReader()
	if err := s.Flush(c.Context); err != nil {
		return err
	}
	if plan.Remote == "" {
		return nil
	}
	if _, err := s.Remote(plan.Remote).Push(c.Context); err != nil {
		return deploy.NotPushed(s, plan.Remote, err, u.env.ci())
	}
	return nil
}
