// Package early is what must be done before other packages are initialised.
//
// The init function of bubbletea (v1, tea_init.go) has termenv write two queries
// to a terminal and wait up to five seconds for the answer, which comes in on
// stdin: in every command, also in those that never show a view, and while the
// command that an outer terramate runs may be reading there. With CI set termenv
// takes nothing for a terminal. So CI is set from before that function runs
// until [Restore].
//
// And more than six hundred packages allocate 8 MB while they are initialised, most of it
// for good, of which the garbage collector is told by and by: a fifth of the start of a
// short command is one collection that finds nothing. Where there is much already it comes
// later: see ballast.
//
// That this package comes first is not luck. Of the packages that are ready to
// be initialised, the one with the least import path is the next (Go
// specification, "Program initialization", since Go 1.21). This one waits for
// os alone; bubbletea waits for golang.org/x/sync/errgroup, which waits for fmt,
// which waits for os, and whose path is the greater one. A test in runner/cli
// looks at what is written to a terminal.
package early

import (
	"os"
	"runtime"
)

const name = "CI"

var was, had = os.LookupEnv(name)

// ballast takes no memory, since nobody writes to it. It is collected when there is
// something to collect.
var ballast = make([]byte, 16<<20)

func init() {
	if was == "" {
		_ = os.Setenv(name, "true")
	}
}

// Restore gives CI back what it was, and lets go of the ballast. To be called from an init function of the
// package that imports bubbletea, before anybody looks at the environment.
func Restore() {
	runtime.KeepAlive(ballast)
	ballast = nil
	switch {
	case !had:
		_ = os.Unsetenv(name)
	case was == "":
		_ = os.Setenv(name, was)
	}
}
