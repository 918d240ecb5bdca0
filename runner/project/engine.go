package project

import (
	"context"
	"os"
	"sync"

	"github.com/terramate-io/terramate/engine"
	"github.com/terramate-io/terramate/printer"
	"github.com/terramate-io/terramate/ui/tui/cliconfig"
)

// loading is held while the environment of this process is not its own.
var loading sync.Mutex

// loadEngine is engine.Load with a git that takes no lock it can do without:
// `git status` writes the index it has refreshed, and one that is killed while
// it does leaves .git/index.lock, which stops the user's next `git add`. The
// engine's git has the environment of the process that loads it (newGit) and
// no option for this; git(1) has a variable.
func loadEngine(ctx context.Context, dir string, terragrunt bool, cfg cliconfig.Config) (*engine.Engine, bool, error) {
	const name = "GIT_OPTIONAL_LOCKS"
	loading.Lock()
	defer loading.Unlock()
	if _, set := os.LookupEnv(name); !set {
		if err := os.Setenv(name, "0"); err != nil {
			return nil, false, err
		}
		defer func() { _ = os.Unsetenv(name) }()
	}
	return engine.Load(ctx, dir, terragrunt, cfg, engine.HumanMode, printer.DefaultPrinters, 0, parserOptions())
}
