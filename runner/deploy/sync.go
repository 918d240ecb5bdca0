package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// Sync is what was asked for: whether notes travel, and between here and where.
type Sync struct {
	Mode   string // auto, off or require
	Remote string // "" for the project's, or the only one
}

// Route is whether, and with which remote, an operation syncs.
type Route struct {
	Remote string // "" for none
	Code   string // the remote of the code; see Sync.Code
	Why    string // why there is none, for people
}

// Route decides by the operations. auto: deploy and destroy sync wherever the
// project's remote exists, drift in CI; other operations stay local, so that a pull
// request's plan needs no permission to write.
func (y Sync) Route(s *gitstate.Store, projectRemote string, ci CI, ops ...string) (Route, error) {
	switch y.Mode {
	case "off":
		return Route{Why: "--sync=off"}, nil
	case "auto", "require":
	default:
		return Route{}, fmt.Errorf("--sync: unknown mode %q; use auto, off or require", y.Mode)
	}
	if y.Mode == "auto" && !slices.ContainsFunc(ops, func(op string) bool { return SyncedByItself(op, ci) }) {
		return Route{Why: "only deployments are synced; --sync=require syncs others"}, nil
	}
	remote, err := y.Find(s, projectRemote)
	if err != nil {
		return Route{}, err
	}
	if remote == "" {
		if y.Mode == "require" {
			return Route{}, errors.New("--sync=require, but this repository has no remote; `git remote add origin URL` adds one")
		}
		return Route{Why: "the repository has no remote"}, nil
	}
	return Route{Remote: remote, Code: y.Code(s, projectRemote)}, nil
}

// SyncedByItself reports whether an operation is synced where nothing else is said.
func SyncedByItself(op string, ci CI) bool {
	return note.Op(op).Deploys() || note.Op(op).Holds() || op == note.Drift && ci.Name != ""
}

// Find is the remote to sync with: the one that was named, the project's, or the only
// one. "" means that there is none.
func (y Sync) Find(s *gitstate.Store, projectRemote string) (string, error) {
	remotes := s.Remotes()
	if y.Remote != "" {
		if !slices.Contains(remotes, y.Remote) {
			return "", fmt.Errorf("%q is not a remote of this repository; `git remote -v` lists them, `git remote add %s URL` adds it", y.Remote, y.Remote)
		}
		return y.Remote, nil
	}
	projectRemote = cmp.Or(projectRemote, "origin")
	switch {
	case slices.Contains(remotes, projectRemote):
		return projectRemote, nil
	case len(remotes) == 1:
		return remotes[0], nil
	case len(remotes) > 1:
		return "", fmt.Errorf("several remotes, and none is named %q; choose one with --remote or `git config tmnotes.remote NAME`", projectRemote)
	}
	return "", nil
}

// Code is the remote that has the code, which need not be the one that has the records: the
// project's, else the only one beside that, else that; "" if there is none.
func (y Sync) Code(s *gitstate.Store, projectRemote string) string {
	remotes := slices.DeleteFunc(slices.Clone(s.Remotes()), func(name string) bool { return name == y.Remote })
	projectRemote = cmp.Or(projectRemote, "origin")
	switch {
	case slices.Contains(s.Remotes(), projectRemote):
		return projectRemote
	case len(remotes) == 1:
		return remotes[0]
	}
	return y.Remote
}

// Fetch brings the remote's notes before something is decided by them.
func (w *World) Fetch(ctx context.Context, s *gitstate.Store, plan Route) error {
	if plan.Remote == "" {
		return s.Flush(ctx)
	}
	tr, err := s.Remote(plan.Remote).Fetch(ctx)
	if err != nil {
		do := Remedy(err, plan.Remote, s.Ref(), w.CI)
		if do != "" {
			do += "; "
		}
		return fmt.Errorf("%w; nothing was done (%s--sync=off uses what this clone has)", err, do)
	}
	if plan.Remote != plan.Code {
		if foreign, err := s.Remote(plan.Remote).Foreign(ctx, plan.Code); err != nil || foreign {
			return cmp.Or(err, fmt.Errorf("%s on %s has records, and none of a commit of this repository: they are another one's; nothing was done (a ref for each keeps them apart: git config tmnotes.ref NAME)", s.Ref(), plan.Remote))
		}
	}
	if tr.Empty {
		w.Out.Say("%s has no notes yet on %s: nothing is recorded as deployed there", plan.Remote, s.Ref())
	}
	return nil
}

// sayUncounted says what does not count for want of a signature.
func (w *World) sayUncounted(st *gitstate.State) {
	n, by := st.Uncounted()
	if n == 0 {
		return
	}
	const most = 3
	if more := len(by) - most; more > 1 {
		by = append(by[:most:most], fmt.Sprintf("%d others", more))
	}
	w.Out.Say("%s without a valid signature %s not counted (%s); `tmnotes verify` lists them", runner.Plural(n, "record"), map[bool]string{true: "is", false: "are"}[n == 1], strings.Join(by, ", "))
}
