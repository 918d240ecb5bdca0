package gitstate

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// What Open is told wins over git's configuration, that over ConfigFile, and that over the default.
func TestConfiguredTimes(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	are := func(opt Options, stale, network time.Duration) {
		t.Helper()
		opt.Dir = repo.Dir
		if s := openWith(t, opt); s.staleAfter != stale || s.networkTimeout != network {
			t.Errorf("stale after %v, network timeout %v; want %v, %v", s.staleAfter, s.networkTimeout, stale, network)
		}
	}
	are(Options{}, DefaultStaleAfter, DefaultNetworkTimeout)
	noError(t, os.WriteFile(filepath.Join(repo.Dir, ConfigFile), []byte("[tmnotes]\n\tstaleAfter = 1h\n\tnetworkTimeout = 1s\n"), 0o644))
	are(Options{}, time.Hour, time.Second)
	repo.Git("config", "tmnotes.staleAfter", "2h")
	repo.Git("config", "tmnotes.networkTimeout", "2s")
	are(Options{}, 2*time.Hour, 2*time.Second)
	are(Options{StaleAfter: 3 * time.Hour, NetworkTimeout: 3 * time.Second}, 3*time.Hour, 3*time.Second)
}
