package project

import (
	"runtime/debug"

	"github.com/tmnotes/tmnotes/runner"
)

// RelaxGC holds the garbage collector back while a project is loaded: a quarter
// of that time is collection of what is kept anyway. It is not for reading a
// long history, of which next to nothing is kept.
func RelaxGC(environ []string) (restore func()) {
	if runner.Getenv(environ, "GOGC") != "" {
		return func() {}
	}
	old := debug.SetGCPercent(400)
	return func() {
		var stats debug.GCStats
		if debug.ReadGCStats(&stats); stats.NumGC > 0 {
			old = min(old, 100) // until the first collection it is more, see runner/terminal/early
		}
		debug.SetGCPercent(old)
	}
}
