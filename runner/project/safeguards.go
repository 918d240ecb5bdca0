package project

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/terramate-io/terramate/cloud/api/resources"
	runcmd "github.com/terramate-io/terramate/commands/run"
	"github.com/terramate-io/terramate/di"
	"github.com/terramate-io/terramate/engine"
	tmerrors "github.com/terramate-io/terramate/errors"
	"github.com/terramate-io/terramate/generate"
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/safeguard"
)

// Safeguards are the checks before a run that the user turned off. The zero
// value turns none off by itself; terramate.config.disable_safeguards still does.
type Safeguards struct {
	disabled runcmd.Safeguards
}

// ParseSafeguards reads what turns safeguards off as stock Terramate does
// (ui/tui, setupSafeguards): all is -X; disable are the values of
// --disable-safeguards, each a list with commas of "all", "none", "git",
// "git-untracked", "git-uncommitted", "git-out-of-sync" and "outdated-code",
// or, where there are none, those of TM_DISABLE_SAFEGUARDS; and the deprecated
// TM_DISABLE_CHECK_GIT_UNTRACKED, TM_DISABLE_CHECK_GIT_UNCOMMITTED,
// TM_DISABLE_CHECK_GIT_REMOTE and TM_DISABLE_CHECK_GEN_CODE. "none" turns all
// on, also those that the configuration turned off.
//
// getenv reads the environment.
func ParseSafeguards(all bool, disable []string, getenv func(string) string) (Safeguards, error) {
	const from = "--disable-safeguards"
	if len(disable) == 0 {
		if env := getenv("TM_DISABLE_SAFEGUARDS"); env != "" {
			disable = []string{env}
		}
	}
	var keywords safeguard.Keywords
	for _, list := range disable {
		for word := range strings.SplitSeq(list, ",") {
			k := safeguard.Keyword(word)
			if !k.IsValid() {
				return Safeguards{}, fmt.Errorf("%s: unknown keyword %q: use all, none, git, git-untracked, git-uncommitted, git-out-of-sync or outdated-code", from, word)
			}
			keywords = append(keywords, k)
		}
	}
	for _, deprecated := range []struct {
		env     string
		keyword safeguard.Keyword
	}{
		{"TM_DISABLE_CHECK_GIT_UNCOMMITTED", safeguard.GitUncommitted},
		{"TM_DISABLE_CHECK_GIT_UNTRACKED", safeguard.GitUntracked},
		{"TM_DISABLE_CHECK_GIT_REMOTE", safeguard.GitOutOfSync},
		{"TM_DISABLE_CHECK_GEN_CODE", safeguard.Outdated},
	} {
		switch strings.ToLower(getenv(deprecated.env)) {
		case "true", "1", "yes":
			keywords = append(keywords, deprecated.keyword)
		case "", "false", "0", "no":
		default:
			return Safeguards{}, fmt.Errorf("%s: %q is neither true nor false", deprecated.env, getenv(deprecated.env))
		}
	}
	if all {
		keywords = append(keywords, safeguard.All)
	}
	if keywords.Has(safeguard.None) {
		if keywords.Has(safeguard.All) {
			return Safeguards{}, fmt.Errorf("%s: all and none exclude each other", from)
		}
		return Safeguards{runcmd.Safeguards{ReEnabled: true}}, nil
	}
	return Safeguards{runcmd.Safeguards{
		DisableCheckGitUncommitted:        keywords.Has(safeguard.GitUncommitted, safeguard.Git, safeguard.All),
		DisableCheckGitUntracked:          keywords.Has(safeguard.GitUntracked, safeguard.Git, safeguard.All),
		DisableCheckGitRemote:             keywords.Has(safeguard.GitOutOfSync, safeguard.Git, safeguard.All),
		DisableCheckGenerateOutdatedCheck: keywords.Has(safeguard.Outdated, safeguard.All),
	}}, nil
}

// WithoutGit are the safeguards without those that compare files and HEAD with what git has: for a
// work tree of an older commit, that nobody works in.
func (sf Safeguards) WithoutGit() Safeguards {
	sf.disabled.ReEnabled = false
	sf.disabled.DisableCheckGitUncommitted, sf.disabled.DisableCheckGitUntracked, sf.disabled.DisableCheckGitRemote = true, true, true
	return sf
}

// AnyFiles reports whether neither untracked nor uncommitted files are looked for.
func (sf Safeguards) AnyFiles() bool {
	return sf.disabled.DisableCheckGitUntracked && sf.disabled.DisableCheckGitUncommitted
}

// CheckSafeguards returns an error where `terramate run` would refuse to run,
// in its order (commands/run, Exec): generated code that is out of date below
// the working directory, untracked files, uncommitted files, and a HEAD that is
// behind the remote's default branch (which asks the remote). As in stock, files
// are not looked at in a dry run or with Selection.NoRecursive. Call it after
// [Project.Select]; nothing may run where it returns an error. That of a remote which did not
// answer is a [RemoteError].
func (p *Project) CheckSafeguards(ctx context.Context, sf Safeguards, sel Selection, dryRun bool) error {
	ctx = di.WithBindings(ctx, p.bindings)
	if err := runcmd.CheckOutdatedGeneratedCode(ctx, p.engine, sf.disabled, p.wd); err != nil {
		if files := p.outdated(ctx); files != "" {
			return fmt.Errorf("generated code is out of date: %s: run `terramate generate`, or disable the safeguard with --disable-safeguards=outdated-code", files)
		}
		return oneLine("checking generated code (--disable-safeguards=outdated-code skips this)", err)
	}
	if !sel.NoRecursive && !dryRun && !sf.AnyFiles() {
		if !p.checked {
			if _, err := p.engine.ListStacks(engine.NoGitFilter(), "", resources.NoStatusFilters(), true); err != nil {
				return oneLine("looking for untracked and uncommitted files", err)
			}
			p.checked = true
		}
		if err := runcmd.GitFileSafeguards(p.engine, true, sf.disabled); err != nil {
			checks := p.engine.RepoChecks()
			files, keyword := checks.UncommittedFiles, safeguard.GitUncommitted
			if strings.Contains(err.Error(), "untracked") {
				files, keyword = checks.UntrackedFiles, safeguard.GitUntracked
			}
			return fmt.Errorf("%w: %s: commit or remove them, or disable the safeguard with --disable-safeguards=%s", oneLine("safeguard", err), some(files.Strings()), keyword)
		}
	}
	err := runcmd.GitSafeguardDefaultBranchIsReachable(p.engine, sf.disabled)
	if err == nil {
		return nil
	}
	remote := p.DefaultRemote() + "/" + p.DefaultBranch()
	if tmerrors.IsKind(err, runcmd.ErrCurrentHeadIsOutOfDate) {
		return fmt.Errorf("HEAD is behind %s: merge or rebase onto it, or disable the safeguard with --disable-safeguards=git-out-of-sync", remote)
	}
	text := oneLine("comparing HEAD with "+remote+" (--disable-safeguards=git-out-of-sync skips this)", err)
	if said := gitPrinted(err.Error()); said != "" {
		return &RemoteError{Remote: p.DefaultRemote(), Said: said, err: text}
	}
	return text
}

// RemoteError is returned where the remote could not be asked whether HEAD is behind its default
// branch.
type RemoteError struct {
	Remote string
	Said   string // what git printed of it
	err    error
}

func (e *RemoteError) Error() string { return e.err.Error() }
func (e *RemoteError) Unwrap() error { return e.err }

// outdated names generated files that are out of date, or nothing.
func (p *Project) outdated(ctx context.Context) string {
	api, err := di.Get[generate.API](ctx)
	tree, ok := p.root().Lookup(tmproject.PrjAbsPath(p.Root(), p.wd))
	vendor, vendorErr := p.engine.VendorDir()
	if errors.Join(err, vendorErr) != nil || !ok {
		return ""
	}
	files, err := api.DetectOutdated(p.root(), tree, vendor)
	if err != nil || len(files) == 0 {
		return ""
	}
	return some(files)
}

// some is the first few of names.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
