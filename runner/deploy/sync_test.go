package deploy

import (
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// The records may be on another remote than the code.
func TestRemoteOfCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		remotes       []string
		records, ours string // tmnotes.remote, and Terramate's default_remote
		want          string
	}{
		{nil, "", "", ""},
		{[]string{"origin"}, "", "", "origin"},
		{[]string{"origin"}, "origin", "", "origin"},
		{[]string{"fork"}, "", "", "fork"},
		{[]string{"fork"}, "fork", "origin", "fork"},
		{[]string{"origin", "ledger"}, "ledger", "", "origin"},
		{[]string{"origin", "ledger"}, "ledger", "origin", "origin"},
		{[]string{"origin", "ledger"}, "", "", "origin"},
		{[]string{"ledger", "upstream"}, "ledger", "", "upstream"},
		{[]string{"ledger", "upstream"}, "ledger", "origin", "upstream"},
		{[]string{"origin", "ledger", "upstream"}, "ledger", "upstream", "upstream"},
		{[]string{"a", "b", "ledger"}, "ledger", "", "ledger"}, // nobody knows
	} {
		repo := gittest.New(t)
		repo.Git("remote", "remove", "origin")
		for _, name := range tc.remotes {
			repo.Git("remote", "add", name, repo.Remote)
		}
		s, err := gitstate.Open(t.Context(), gitstate.Options{Dir: repo.Dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := (Sync{Remote: tc.records}).Code(s, tc.ours); got != tc.want {
			t.Errorf("%+v: %q", tc, got)
		}
		s.Close()
	}
}
