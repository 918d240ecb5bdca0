// Package deploy is the engine: what was asked for (a [Request]) becomes a [Plan], which says of
// each stack whether it is executed and why; the plan is announced, executed and recorded
// ([Plan.Execute]), and what came of it is an [Outcome].
//
// Whether a stack need be run is decided in one place, decide.go, from facts alone: when stacks
// are selected, and again when one is about to start. Before that, gates are asked (gates.go): who holds
// it (hold.go), the legs that it comes after (leg.go), where it is deployed to (arrive.go), and the other jobs that may be
// at it (claims.go). A [Session] makes the records, a [Courier] carries them to the disk, into the
// notes and to the remote. [Here] is all that for one stack, in a process of its own.
//
// The package knows no flag, no variable of its own, and no colour: what comes from outside is a
// [World], which a caller may replace.
package deploy

import (
	"io"
	"os"
	"slices"

	"github.com/tmnotes/tmnotes/runner"
)

// World is what a run gets from outside, so that a caller can give it another one.
type World struct {
	Environ        []string // NAME=value
	Stdin          *os.File
	Stdout, Stderr io.Writer
	CI             CI
	Out            Voice
}

// Voice tells a person what happens, a line at a time.
type Voice interface {
	Say(format string, args ...any)
	Warn(text string)
}

// Getenv is the value of a variable, "" where it is not set.
func (w *World) Getenv(name string) string { return runner.Getenv(w.Environ, name) }

// with is the environment with more variables, for a child.
func (w *World) with(more ...string) []string { return append(slices.Clip(w.Environ), more...) }

// CI is the CI job that tmnotes runs in, as its environment says: for whom
// it works, where its log is, and the how-manieth try it is. An attempt with a
// higher number means that the earlier ones of the same job are over: job has to name
// just the thing that attempt counts.
type CI struct {
	Name    string // "github", "gitlab", another, or "" for none
	Job     string
	Attempt int
	By      string
}
