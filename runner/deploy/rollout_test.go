package deploy

import (
	"maps"
	"testing"

	"github.com/tmnotes/tmnotes/runner"
)

// What runs regardless of a failure passes it on: what comes after it waits for the cause. What is held is a
// cause of its own, which did not fail.
func TestBlockedBy(t *testing.T) {
	t.Parallel()
	g, err := runner.NewGraph([]string{"/a", "/b", "/c"}, map[string][]string{"/b": {"/a"}, "/c": {"/b"}})
	if err != nil {
		t.Fatal(err)
	}
	failed, held := runner.Result{Status: runner.StatusFailed}, runner.Result{Status: runner.StatusBlocked, Reason: "held by Alice: migration"}
	byA, isHeld := runner.Cause{Path: "/a"}, runner.Cause{Path: "/a", Reason: "/a is held by Alice: migration"}
	for name, c := range map[string]struct {
		a          runner.Result
		regardless bool
		want       map[string]runner.Cause
	}{
		"failed, and passed on":     {failed, true, map[string]runner.Cause{"/a": byA, "/b": byA, "/c": byA}},
		"failed, and not passed on": {failed, false, map[string]runner.Cause{"/a": byA}},
		"held, and passed on":       {held, true, map[string]runner.Cause{"/a": isHeld, "/b": isHeld, "/c": isHeld}},
		"held, and not passed on":   {held, false, map[string]runner.Cause{"/a": isHeld}},
		"blocked by a gate":         {runner.Result{Status: runner.StatusBlocked, Reason: "the gate said no"}, false, map[string]runner.Cause{}},
	} {
		c.a.Stack.Path = "/a"
		r := &rollout{graph: g, tasks: map[string]runner.Task{"/b": {Regardless: c.regardless}}}
		got := r.blockedBy(map[string]runner.Result{"/a": c.a, "/b": {Status: runner.StatusOK}}, false)
		maps.DeleteFunc(got, func(_ string, cause runner.Cause) bool { return cause.Path == "" })
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
}
