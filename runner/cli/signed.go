package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/project"
)

// useSignatures has records be signed, who may be known, and what nobody signed who may count for
// nothing, where that is set.
func useSignatures(c *cli.Context, s *gitstate.Store) error {
	required, err := settings.requireSigned.yes(c, s, false)
	if err != nil {
		return err
	}
	also, err := settings.sign.yes(c, s, false)
	if err != nil {
		return err
	}
	signs, err := settings.signRecords.yes(c, s, required || also)
	if err != nil || !required && !signs && settings.allowedSigners.text(c, s) == "" {
		return err
	}
	remote, err := findRemote(c, s, "")
	if err != nil {
		return err
	}
	demand := demandOf(c, s, remote)
	if signs {
		s.SignRecords(demand.Repositories[0])
	}
	switch {
	case required:
		s.Demand(demand)
	case demand.Signers != "":
		s.Accept(demand)
	}
	return nil
}

// demandOf is by whom records have to be signed, and of which repository they are.
func demandOf(c *cli.Context, s *gitstate.Store, remote string) gitstate.Demand {
	names := s.ConfigAll(settings.repository.name)
	if len(names) == 0 {
		names = []string{repositoryOf(c.Context, s, cmp.Or(syncSetting(c, s).Code(s, ""), remote))}
	}
	return gitstate.Demand{Signers: settings.allowedSigners.text(c, s), Repositories: names, Remote: remote}
}

// repositoryOf names the repository whose commits are deployed, by its remote.
func repositoryOf(ctx context.Context, s *gitstate.Store, remote string) string {
	if remote == "" {
		return ""
	}
	url, err := s.Remote(remote).URL(ctx)
	if err != nil {
		return ""
	}
	if name, err := project.CloudRepository(url); err == nil {
		return name
	}
	path := strings.TrimPrefix(url, "file://")
	if !filepath.IsAbs(path) {
		path = filepath.Join(cmp.Or(s.WorkTree(), s.GitDir()), path)
	}
	return strings.TrimSuffix(filepath.Clean(path), ".git")
}

// yes is a setting that is yes or no, by git's words for them.
func (o *setting) yes(c *cli.Context, s *gitstate.Store, usual bool) (bool, error) {
	if o.given(c) {
		return c.Bool(o.flagName()), nil
	}
	value, _ := o.configured(s)
	switch strings.ToLower(value) {
	case "":
		return usual, nil
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s: %q is not true or false", o.origin(c, s), value)
}
