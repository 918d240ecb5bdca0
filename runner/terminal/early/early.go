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
// for good, of which the garbage collector is told by and by: a tenth of the start of a
// short command is one collection that finds nothing. The first one comes later: see atFirst.
//
// That this package comes first is not luck. Of the packages that are ready to
// be initialised, the one with the least import path is the next (Go
// specification, "Program initialization", since Go 1.21). This one waits for
// os, and on Linux for bytes; bubbletea waits for golang.org/x/sync/errgroup, which waits for fmt,
// which waits for os, and whose path is the greater one. A test in runner/cli
// looks at what is written to a terminal.
package early

import (
	"os"
	"runtime"
	_ "unsafe" // for go:linkname
)

const name = "CI"

var was, had = os.LookupEnv(name)

// atFirst is GOGC until the first collection: at this one it comes when there are 32 MB.
const atFirst = 800

// setGCPercent is debug.SetGCPercent, by the name under which the runtime hands it to runtime/debug
// (runtime/mgcpacer.go). To import that package is to wait for it, and for half of the others.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) (was int32)

var percent = setGCPercent(atFirst)

func init() {
	if was == "" {
		_ = os.Setenv(name, "true")
	}
	if percent < 0 || percent >= atFirst { // somebody has set GOGC
		setGCPercent(percent)
		return
	}
	runtime.AddCleanup(new([64]byte), func(percent int32) {
		if now := setGCPercent(percent); now != atFirst { // who set that sets it back
			setGCPercent(now)
		}
	}, percent)
}

// Restore gives CI back what it was. To be called from an init function of the
// package that imports bubbletea, before anybody looks at the environment.
func Restore() {
	switch {
	case !had:
		_ = os.Unsetenv(name)
	case was == "":
		_ = os.Setenv(name, was)
	}
}
