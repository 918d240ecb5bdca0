package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func adoptCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "adopt",
		Usage:     "record that stacks are deployed already, as they are at a commit",
		ArgsUsage: "--reason TEXT (--all | --tags TAGS | STACK...)",
		Description: "For a project that was deployed before it had tmnotes: what is adopted is not pending until it changes.\n" +
			"STACK stands for the stacks at or below a path, too. Stacks that have a record already are left as they are;\n" +
			"`tmnotes mark` is for those.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that tells the next reader how that is known (required)"},
			&cli.BoolFlag{Name: "all", Usage: "all stacks of the project"},
			&cli.StringSliceFlag{Name: "tags", EnvVars: []string{"TM_ARG_TAGS"}, Usage: "filter stacks by `TAGS` (a:b is both, a,b is either)"},
			&cli.StringSliceFlag{Name: "no-tags", EnvVars: []string{"TM_ARG_NO_TAGS"}, Usage: "filter stacks by `TAGS` not being set"},
			&cli.StringFlag{Name: "commit", Value: "HEAD", Usage: "`REV` as which they are deployed"},
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return adopt(c, env) },
	}
}

func adopt(c *cli.Context, env Env) error {
	u := newUI(env)
	reason := strings.TrimSpace(c.String("reason"))
	sel := project.Selection{Tags: nonEmpty(c.StringSlice("tags")), NoTags: splitCommas(c.StringSlice("no-tags"))}
	tagged := len(sel.Tags)+len(sel.NoTags) > 0
	switch {
	case !c.Bool("all") && !c.Args().Present() && !tagged:
		return errors.New("which stacks? Name them or the folder they are in, filter with --tags, or take --all")
	case c.Bool("all") && (c.Args().Present() || tagged):
		return errors.New("--all means all stacks; leave it out, or the stacks that you named")
	case reason == "":
		return errors.New("adopting needs a reason: add --reason 'how it is known that they are deployed'")
	}
	if err := project.ValidTarget(c.String("target")); err != nil {
		return err
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		commit, err := s.Resolve(c.String("commit"))
		if err != nil {
			return err
		}
		p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ, Terragrunt: true, Memory: s})
		if err != nil {
			return err
		}
		stacks, err := p.All()
		if err != nil {
			return err
		}
		if c.Args().Present() {
			if stacks, err = query.NamedStacks(s, dir, stacks, c.Args().Slice(), true); err != nil {
				return err
			}
		}
		if tagged {
			selected, err := p.List(sel)
			if err != nil {
				return err
			}
			stacks = query.Among(stacks, selected)
		}
		plan, err := planSync(c, s, p.DefaultRemote(), env.ci(), note.Deploy)
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
		m := &query.Made{}
		if m.In, err = inputsOf(c.Context, s, p, commit.Hash); err != nil {
			return err
		}
		if m.Triggers, err = p.Triggers(c.Context, commit.Hash); err != nil {
			return err
		}
		like := byHand(c, env, s, commit, note.OK, note.Deploy, reason)
		var records []*note.Record
		known := 0
		for _, stack := range stacks {
			if _, err := m.In.Digest(stack.Path); err != nil {
				return fmt.Errorf("%w; nothing was adopted (name the others, or another --commit)", err)
			}
			r, l, err := like(st, stack)
			if err != nil {
				return err
			}
			if l.Status != note.Never {
				known++
				continue
			}
			m.Put(r, stack.Path)
			records = append(records, r)
		}
		if known > 0 {
			u.Say("%s left as recorded: `tmnotes status` says how, `tmnotes mark` changes it", runner.Plural(known, "stack"))
		}
		if len(records) == 0 {
			u.Say("nothing to adopt")
			return nil
		}
		if err := s.Append(commit.Hash, records...); err != nil {
			return err
		}
		if err := finishEdit(c, s, u, plan); err != nil {
			return err
		}
		u.Say("adopted %s as deployed at %s", runner.Plural(len(records), "stack"), note.Short(commit.Hash))
		return nil
	})
}

// inputsOf are the inputs at a commit; at HEAD with the code that git ignores, as a run
// there would record them.
func inputsOf(ctx context.Context, s *gitstate.Store, p *project.Project, commit string) (*project.Inputs, error) {
	head, err := s.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	if head.Hash == commit {
		return p.Inputs(ctx)
	}
	return p.InputsAt(ctx, commit)
}
