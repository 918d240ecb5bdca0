package deploy

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/runner"
)

// The first question that does not let a stack start decides.
func TestAdmitAll(t *testing.T) {
	t.Parallel()
	var asked []string
	ask := func(name string, off ...string) func(stacks []runner.Stack) []runner.Admission {
		return func(stacks []runner.Stack) (answers []runner.Admission) {
			for _, s := range stacks {
				asked = append(asked, name+s.Path)
				a := runner.Admission{}
				if slices.Contains(off, s.Path) {
					a = runner.Admission{Status: runner.StatusBlocked, Cause: name}
				}
				answers = append(answers, a)
			}
			return answers
		}
	}
	type question = func(context.Context, []runner.Stack) ([]runner.Admission, error)
	with := func(f func([]runner.Stack) []runner.Admission) question {
		return func(_ context.Context, stacks []runner.Stack) ([]runner.Admission, error) { return f(stacks), nil }
	}
	admit := inTurn(with(ask("1", "/b")), with(ask("2", "/a", "/b")))
	got, err := admit(t.Context(), []runner.Stack{{Path: "/a"}, {Path: "/b"}, {Path: "/c"}})
	if err != nil || len(got) != 3 || got[0].Cause != "2" || got[1].Cause != "1" || got[2] != (runner.Admission{}) {
		t.Errorf("%+v, %v", got, err)
	}
	if s := strings.Join(asked, " "); s != "1/a 1/b 1/c 2/a 2/c" {
		t.Errorf("asked %s", s)
	}
}
