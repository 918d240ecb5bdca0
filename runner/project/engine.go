package project

import (
	"context"
	"os"

	"github.com/terramate-io/terramate/engine"
	tmgit "github.com/terramate-io/terramate/git"
	"github.com/terramate-io/terramate/printer"
	"github.com/terramate-io/terramate/ui/tui/cliconfig"
)

// loadEngine is engine.Load with a git that takes no lock it can do without:
// `git status` writes the index it has refreshed, and one that is killed while
// it does leaves .git/index.lock, which stops the user's next `git add`. The
// engine's git has the environment of this process (newGit) and no option for
// this; git(1) has a variable. The stack manager shares the engine's wrapper,
// so that is given another one's settings. That is made meanwhile, since it asks git for its version.
func loadEngine(ctx context.Context, dir string, terragrunt bool, cfg cliconfig.Config) (*engine.Engine, bool, error) {
	var made *tmgit.Git
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		made, failed = tmgit.WithConfig(tmgit.Config{WorkingDir: dir, Env: append(os.Environ(), "GIT_OPTIONAL_LOCKS=0")})
	}()
	e, found, err := engine.Load(ctx, dir, terragrunt, cfg, engine.HumanMode, printer.DefaultPrinters, 0, parserOptions())
	if err != nil || !found || !e.Project().IsRepo() {
		return e, found, err
	}
	if <-done; failed != nil {
		return nil, false, failed
	}
	*e.Project().Git.Wrapper = *made.With().WorkingDir(e.Config().HostDir()).Wrapper()
	return e, true, nil
}
