// Package noprobe keeps bubbletea from asking the terminal for its colours.
//
// The init function of bubbletea (v1, tea_init.go) has termenv write two queries
// to a terminal and wait up to five seconds for the answer, which comes in on
// stdin: in every command, also in those that never show a view, and while the
// command that an outer terramate runs may be reading there. With CI set termenv
// takes nothing for a terminal. So CI is set from before that function runs
// until [Restore].
//
// That this package comes first is not luck. Of the packages that are ready to
// be initialised, the one with the least import path is the next (Go
// specification, "Program initialization", since Go 1.21). This one waits for
// os alone; bubbletea waits for golang.org/x/sync/errgroup, which waits for fmt,
// which waits for os, and whose path is the greater one. A test in runner/cli
// looks at what is written to a terminal.
package noprobe

import (
	"os"
)

const name = "CI"

var was, had = os.LookupEnv(name)

func init() {
	if was == "" {
		_ = os.Setenv(name, "true")
	}
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
