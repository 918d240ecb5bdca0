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
		Usage:     "record that stacks are deployed already",
		ArgsUsage: "--reason TEXT (--all | --tags TAGS | STACK...)",
		Description: "For a project that was deployed before it had tmnotes: what is adopted is not pending until it changes.\n" +
			"STACK stands for the stacks at or below a path, too. Stacks that have a record already are left as they are;\n" +
			"`tmnotes mark` is for those.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required)"},
			&cli.BoolFlag{Name: "all", Usage: "adopt all stacks"},
			&cli.StringSliceFlag{Name: "tags", EnvVars: []string{"TM_ARG_TAGS"}, Usage: "only stacks with `TAGS` (a:b is both, a,b is either)"},
			&cli.StringSliceFlag{Name: "no-tags", EnvVars: []string{"TM_ARG_NO_TAGS"}, Usage: "only stacks with none of `TAGS`"},
			&cli.StringFlag{Name: "commit", Value: "HEAD", Usage: "record `REV` as the deployed commit"},
		}, syncFlags(), storeFlags()),
		Action: inClone(env, parseAdopt, adopt),
	}
}

// adoptOptions is what the flags of adopt say, checked.
type adoptOptions struct {
	names          []string // of stacks, and of the folders that they are in
	tags           *project.Selection
	commit         string
	target, reason string
}

func parseAdopt(c *cli.Context) (adoptOptions, error) {
	o := adoptOptions{names: c.Args().Slice(), commit: c.String("commit"), target: c.String("target"), reason: strings.TrimSpace(c.String("reason"))}
	if sel := (project.Selection{Tags: nonEmpty(c.StringSlice("tags")), NoTags: splitCommas(c.StringSlice("no-tags"))}); query.Narrowed(sel) {
		o.tags = &sel
	}
	narrowed := len(o.names) > 0 || o.tags != nil
	switch {
	case !c.Bool("all") && !narrowed:
		return o, errors.New("which stacks? Name them or the folder they are in, filter with --tags, or take --all")
	case c.Bool("all") && narrowed:
		return o, errors.New("--all means all stacks; leave it out, or the stacks that you named")
	case o.reason == "":
		return o, errors.New("adopting needs a reason: add --reason 'how it is known that they are deployed'")
	}
	return o, project.ValidTarget(o.target)
}

func adopt(here *clone, o adoptOptions) error {
	ctx := here.c.Context
	commit, err := here.store.Resolve(o.commit)
	if err != nil {
		return err
	}
	if err := here.load(project.Options{Terragrunt: true, Memory: here.store}); err != nil {
		return err
	}
	stacks, err := here.selectStacks(o.names, true, o.tags)
	if err != nil {
		return err
	}
	if err := here.know(note.Deploy); err != nil {
		return err
	}
	made := &query.Made{}
	if made.In, err = inputsOf(ctx, here.store, here.project, commit.Hash); err != nil {
		return err
	}
	if made.Triggers, err = here.project.Triggers(ctx, commit.Hash); err != nil {
		return err
	}
	known := 0
	records, err := here.recordsOf(byHand{commit: commit, status: note.OK, op: note.Deploy, target: o.target, reason: o.reason}, stacks, func(r *note.Record, l *gitstate.Latest) (bool, error) {
		if _, err := made.In.Digest(r.Stack); err != nil {
			return false, fmt.Errorf("%w; nothing was adopted (name the others, or another --commit)", err)
		}
		if l.Status != note.Never {
			known++
			return false, nil
		}
		made.Put(r, r.Stack)
		return true, nil
	})
	if err != nil {
		return err
	}
	if known > 0 {
		here.Say("%s left as recorded: `tmnotes status` says how, `tmnotes mark` changes it", runner.Plural(known, "stack"))
	}
	if len(records) == 0 {
		here.Say("nothing to adopt")
		return nil
	}
	if err := here.record(commit.Hash, records...); err != nil {
		return err
	}
	here.Say("adopted %s as deployed at %s", runner.Plural(len(records), "stack"), note.Short(commit.Hash))
	return nil
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
