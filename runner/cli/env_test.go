package cli

import (
	"slices"
	"testing"

	"github.com/tmnotes/tmnotes/runner"
)

func TestEnv(t *testing.T) {
	t.Parallel()
	env := Env{Environ: []string{"A=1", "A=2", "AB=3", "=C:=x", "EMPTY=", "odd"}}
	for name, want := range map[string]string{"A": "2", "AB": "3", "EMPTY": "", "B": "", "odd": ""} {
		if got := env.Getenv(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	for name, want := range map[string]bool{"A": true, "EMPTY": true, "odd": false, "B": false} {
		if _, got := runner.LookupEnv(env.Environ, name); got != want {
			t.Errorf("%s is set: %v, not %v", name, got, want)
		}
	}
	// Two children do not share what is added for one.
	one, other := env.with("X=1"), env.with("X=2")
	if !slices.Equal(one, append(slices.Clone(env.Environ), "X=1")) || other[len(other)-1] != "X=2" {
		t.Errorf("%v, %v", one, other)
	}
}
