package deploy

import (
	"maps"
	"testing"

	"github.com/tmnotes/tmnotes/runner"
)

// What runs regardless of a failure passes it on: what comes after it waits for the cause.
func TestBlockedBy(t *testing.T) {
	t.Parallel()
	g, err := runner.NewGraph([]string{"/a", "/b", "/c"}, map[string][]string{"/b": {"/a"}, "/c": {"/b"}})
	if err != nil {
		t.Fatal(err)
	}
	for regardless, want := range map[bool]map[string]string{true: {"/a": "/a", "/b": "/a", "/c": "/a"}, false: {"/a": "/a"}} {
		r := &rollout{graph: g, tasks: map[string]runner.Task{"/b": {Regardless: regardless}}}
		got := r.blockedBy(map[string]runner.Result{"/a": {Status: runner.StatusFailed}, "/b": {Status: runner.StatusOK}}, false)
		maps.DeleteFunc(got, func(_, cause string) bool { return cause == "" })
		if !maps.Equal(got, want) {
			t.Errorf("regardless: %v: %v, not %v", regardless, got, want)
		}
	}
}
