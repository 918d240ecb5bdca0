package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// syncPlan is whether, and with which remote, an operation syncs.
type syncPlan struct {
	remote string // "" for none
	why    string // why there is none, for people
}

// planSync decides from --sync and the operations. auto: deploy and destroy
// sync wherever the project's remote exists, drift in CI; other operations
// stay local, so that a pull request's plan needs no permission to write.
func planSync(c *cli.Context, s *gitstate.Store, projectRemote string, ci ciJob, ops ...string) (syncPlan, error) {
	mode := settings.sync.text(c, s)
	switch mode {
	case "off":
		return syncPlan{why: "--sync=off"}, nil
	case "auto", "require":
	default:
		return syncPlan{}, fmt.Errorf("--sync: unknown mode %q; use auto, off or require", mode)
	}
	if mode == "auto" && !slices.ContainsFunc(ops, func(op string) bool { return syncedByItself(op, ci) }) {
		return syncPlan{why: "only deployments are synced; --sync=require syncs others"}, nil
	}
	remote, err := findRemote(c, s, projectRemote)
	if err != nil {
		return syncPlan{}, err
	}
	if remote == "" {
		if mode == "require" {
			return syncPlan{}, errors.New("--sync=require, and the repository has no remote; `git remote add origin URL` adds one")
		}
		return syncPlan{why: "the repository has no remote"}, nil
	}
	return syncPlan{remote: remote}, nil
}

// syncedByItself reports whether an operation is synced where nothing else is said.
func syncedByItself(op string, ci ciJob) bool {
	return note.Op(op).Deploys() || op == note.Drift && ci.name != ""
}

// divide has what is not synced stay in this clone, unless all operations are.
func divide(c *cli.Context, s *gitstate.Store, ci ciJob) {
	if settings.sync.text(c, s) == "require" {
		s.CarryLocal()
		return
	}
	s.KeepLocal(func(op string) bool { return !syncedByItself(op, ci) })
}

// findRemote is the remote to sync with: the one that was named, the
// project's, or the only one. "" means that there is none.
func findRemote(c *cli.Context, s *gitstate.Store, projectRemote string) (string, error) {
	remotes := s.Remotes()
	if named := settings.remote.text(c, s); named != "" {
		if !slices.Contains(remotes, named) {
			return "", fmt.Errorf("there is no remote %q; `git remote -v` lists them", named)
		}
		return named, nil
	}
	if projectRemote == "" {
		projectRemote = "origin"
	}
	switch {
	case slices.Contains(remotes, projectRemote):
		return projectRemote, nil
	case len(remotes) == 1:
		return remotes[0], nil
	case len(remotes) > 1:
		return "", fmt.Errorf("which remote to sync the notes with is not clear (there is no %q); name it with --remote or `git config tmnotes.remote NAME`", projectRemote)
	}
	return "", nil
}

// fetchNotes brings the remote's notes before something is decided by them.
func fetchNotes(ctx context.Context, s *gitstate.Store, u *ui, plan syncPlan) error {
	if plan.remote == "" {
		return s.Flush(ctx)
	}
	tr, err := s.Fetch(ctx, plan.remote)
	if err != nil {
		do := remedy(err, plan.remote, s.Ref(), u.env.ci())
		if do != "" {
			do += "; "
		}
		return fmt.Errorf("%w; nothing was done (%s--sync=off works with what is here)", err, do)
	}
	if tr.Empty {
		u.Say("%s has no notes yet on %s: nothing is recorded as deployed there", plan.remote, s.Ref())
	}
	return nil
}

func fetchCommand(env Env) *cli.Command {
	return travelCommand(env, "fetch", "bring the remote's notes here and merge them", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Fetch(ctx, remote)
	})
}

func pushCommand(env Env) *cli.Command {
	return travelCommand(env, "push", "send the notes to the remote (fetches and merges first, as sync)", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Push(ctx, remote)
	})
}

func syncCommand(env Env) *cli.Command {
	return travelCommand(env, "sync", "fetch the notes, merge them, and push what the remote lacks", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Push(ctx, remote)
	})
}

func travelCommand(env Env, name, usage string, travel func(context.Context, *gitstate.Store, string) (gitstate.Traveled, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage,
		Flags: slices.Concat(chdirFlags(), storeFlags(), []cli.Flag{
			settings.sync.flagFor("`MODE` require: share the records of all operations, also those that stayed in this clone so far"),
		}),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return withStore(c, env, func(s *gitstate.Store, _ string) error {
				remote, err := findRemote(c, s, "")
				if err != nil {
					return err
				}
				if remote == "" {
					if err := s.Flush(c.Context); err != nil {
						return err
					}
					return errors.New("the repository has no remote to sync with; `git remote add origin URL` adds one (the records are in " + s.Ref() + ")")
				}
				tr, err := travel(c.Context, s, remote)
				if errors.Is(err, gitstate.ErrNotPushed) {
					return notPushed(s, remote, err, env.ci())
				}
				if err != nil {
					return err
				}
				u := newUI(env)
				switch {
				case tr.Spooled:
					u.Say("pushed to a ref of this clone's own on %s, which the next sync of anybody folds in", remote)
				case tr.Pushed:
					u.Say("pushed the notes to %s", remote)
				case tr.Fetched:
					u.Say("fetched the notes of %s", remote)
				case tr.Empty && name == "fetch":
					u.Say("%s has no notes yet", remote)
				default:
					u.Say("%s has everything that is here", remote)
				}
				return nil
			})
		},
	}
}
