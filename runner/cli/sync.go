package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

func syncSetting(c *cli.Context, s *gitstate.Store) deploy.Sync {
	return deploy.Sync{Mode: settings.sync.text(c, s), Remote: settings.remote.text(c, s)}
}

// planSync is Sync.Plan by the settings.
func planSync(c *cli.Context, s *gitstate.Store, projectRemote string, ci deploy.CI, ops ...string) (deploy.Route, error) {
	return syncSetting(c, s).Route(s, projectRemote, ci, ops...)
}

// findRemote is Sync.Find by the settings.
func findRemote(c *cli.Context, s *gitstate.Store, projectRemote string) (string, error) {
	return syncSetting(c, s).Find(s, projectRemote)
}

// divide has what is not synced stay in this clone, unless all operations are.
func divide(c *cli.Context, s *gitstate.Store, ci deploy.CI) {
	if syncSetting(c, s).Mode == "require" {
		s.CarryLocal()
		return
	}
	s.KeepLocal(func(op string) bool { return !deploy.SyncedByItself(op, ci) })
}

// fetchNotes brings the remote's notes before something is decided by them.
func fetchNotes(ctx context.Context, s *gitstate.Store, u *ui, plan deploy.Route) error {
	w := u.env.world(u)
	return w.Fetch(ctx, s, plan)
}

func fetchCommand(env Env) *cli.Command {
	return travelCommand(env, "fetch", "fetch the remote's notes, and merge them", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Remote(remote).Fetch(ctx)
	})
}

func pushCommand(env Env) *cli.Command {
	return travelCommand(env, "push", "send the notes to the remote (fetches and merges first, as sync)", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Remote(remote).Push(ctx)
	})
}

func syncCommand(env Env) *cli.Command {
	return travelCommand(env, "sync", "fetch the notes, merge them, and push what the remote lacks", func(ctx context.Context, s *gitstate.Store, remote string) (gitstate.Traveled, error) {
		return s.Remote(remote).Push(ctx)
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
					return errors.New("this repository has no remote to sync with; `git remote add origin URL` adds one (the records are in " + s.Ref() + ")")
				}
				tr, err := travel(c.Context, s, remote)
				if errors.Is(err, gitstate.ErrNotPushed) {
					return deploy.NotPushed(s, remote, err, env.ci())
				}
				if err != nil {
					return err
				}
				u := newUI(env)
				switch {
				case tr.Spooled:
					u.Say("pushed to a separate ref on %s; the next sync by anybody merges it", remote)
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
