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
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func triggerCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "trigger",
		Usage:     "have stacks deployed again, though nothing in them changed",
		ArgsUsage: "[STACK...]",
		Description: "Writes the trigger files of `terramate trigger`, one for each stack that is named or that the filters select.\n" +
			"Once they are committed, `--changed` lists the stacks, here and in stock Terramate. --note needs no commit: it\n" +
			"records the stacks as triggered, which makes them pending.",
		Flags: slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that tells the next reader why (required with --note)"},
			&cli.BoolFlag{Name: "recursive", Usage: "all stacks at or below the STACK paths"},
			&cli.BoolFlag{Name: "change", Usage: "take the stacks as changed (the default)"},
			&cli.BoolFlag{Name: "ignore-change", Usage: "instead, take what changed in the stacks as no change"},
			&cli.BoolFlag{Name: "note", Usage: "record it as a note, without a file to commit"},
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "with --note: operation `NAME` that is pending"},
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return trigger(c, env) },
	}
}

func trigger(c *cli.Context, env Env) error {
	u := newUI(env)
	if err := setLogLevel(c); err != nil {
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
	op, err := opFlag(c)
	if err != nil {
		return err
	}
	if c.Args().Present() {
		sel.Changed = false // as in terramate: who names a stack means it
	}
	inNotes, reason := c.Bool("note"), strings.TrimSpace(c.String("reason"))
	filtered := filter.Set() || sel.Changed || len(sel.Tags)+len(sel.NoTags) > 0 || sel.Dependencies.HasDependencyFilters()
	switch {
	case !c.Args().Present() && !filtered:
		return errors.New("which stacks? Name them, or filter, as in: tmnotes trigger --status failed")
	case !c.Args().Present() && c.Bool("recursive"):
		return errors.New("--recursive is about the stacks below a path; name it, as in: tmnotes trigger --recursive /prod")
	case c.Bool("change") && c.Bool("ignore-change"):
		return errors.New("--change and --ignore-change say opposite things; leave one out")
	case inNotes && c.Bool("ignore-change"):
		return errors.New("--note makes stacks pending, --ignore-change the opposite; leave one out")
	case inNotes && reason == "":
		return errors.New("a trigger without a commit needs a reason: add --reason 'what happened'")
	case !inNotes && c.IsSet("op"):
		return errors.New("--op goes with --note: a trigger file is for whatever runs next")
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ, Terragrunt: sel.Terragrunt()})
		if err != nil {
			return err
		}
		all, err := p.All()
		if err != nil {
			return err
		}
		stacks := all
		if c.Args().Present() {
			if stacks, err = query.NamedStacks(s, dir, all, c.Args().Slice(), c.Bool("recursive")); err != nil {
				return err
			}
		}
		if filtered {
			selected, err := p.List(sel)
			if err != nil {
				return err
			}
			stacks = query.Among(stacks, selected)
		}

		plan, err := planSync(c, s, p.DefaultRemote(), env.ci(), op)
		if err != nil {
			return err
		}
		var st *gitstate.State
		if inNotes || filter.Set() {
			read := plan
			if read.Remote == "" {
				if read, err = planSync(c, s, p.DefaultRemote(), env.ci(), note.Deploy); err != nil {
					return err
				}
			}
			if err := fetchNotes(c.Context, s, u, read); err != nil {
				return err
			}
			if st, err = s.State(c.Context); err != nil {
				return err
			}
			s.Basis(st)
			if stacks, err = query.FilterStacks(stacks, filter, query.ViewsOf(c.Context, env.Environ, st, p, sel.Target).Of); err != nil {
				return err
			}
		}
		if len(stacks) == 0 {
			u.Say("no stack is selected: nothing to trigger")
			return nil
		}
		if inNotes {
			return triggerByNote(c, s, u, st, stacks, op, reason, plan)
		}
		return triggerByFile(c, env, u, p, stacks, reason)
	})
}

func triggerByFile(c *cli.Context, env Env, u *ui, p *project.Project, stacks []runner.Stack, reason string) error {
	ignore := c.Bool("ignore-change")
	kind, sees := "change", "then `--changed` lists the stacks, in terramate as well"
	if ignore {
		kind, sees = "ignore", "then `--changed` does not list the stacks for what changed so far, in terramate as well"
	}
	reason = cmp.Or(reason, "Created by tmnotes trigger without a reason.")
	for i, st := range stacks {
		if err := p.Trigger(st, ignore, reason); err != nil {
			return fmt.Errorf("%w (%s written before)", err, runner.Plural(i, "trigger file"))
		}
		fmt.Fprintf(env.Stdout, "Created %s trigger for stack %q\n", kind, st.Path)
	}
	u.Say("commit .tmtriggers/ (git add .tmtriggers && git commit); %s", sees)
	return nil
}

func triggerByNote(c *cli.Context, s *gitstate.Store, u *ui, st *gitstate.State, stacks []runner.Stack, op, reason string, plan deploy.Route) error {
	head, err := s.Resolve("HEAD")
	if err != nil {
		return err
	}
	like := byHand(c, u.env, s, head, note.Triggered, op, reason)
	var records []*note.Record
	for _, stack := range stacks {
		r, l, err := like(st, stack)
		if err != nil {
			return err
		}
		if l.Status == note.Queued || l.Status == note.Running {
			u.Warn(fmt.Sprintf("%s is %s in run %s; it is pending after that, whatever comes of it", stack.Path, l.Status, l.Run))
		}
		if l.Status != note.Never {
			r.Had, r.Was = l.Standing()
			if r.Had == note.Never {
				r.Had = ""
			}
		}
		records = append(records, r)
	}
	if err := s.Append(head.Hash, records...); err != nil {
		return err
	}
	if err := finishEdit(c, s, u, plan); err != nil {
		return err
	}
	u.Say("triggered %s at %s: pending until the next %s", runner.Plural(len(records), "stack"), note.Short(head.Hash), op)
	return nil
}
