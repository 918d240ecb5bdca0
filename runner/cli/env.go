package cli

import (
	"io"
	"os"
	"slices"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// Env is what a command gets from outside. Nothing else in this program reads the
// environment of the process, so that a caller can give it another one.
type Env struct {
	Stdin          *os.File
	Stdout, Stderr io.Writer
	Environ        []string // NAME=value; of two with one name the last counts
	args           []string // as they were typed
	quiet          *bool    // --quiet of the command that runs, once it is known
}

// Process is what this process was given.
func Process() Env {
	return Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}
}

// Getenv is the value of a variable, "" where it is not set.
func (env Env) Getenv(name string) string { return runner.Getenv(env.Environ, name) }

// with is the environment with more variables, for a child.
func (env Env) with(more ...string) []string { return append(slices.Clip(env.Environ), more...) }

func (env Env) ci() deploy.CI { return detectCI(env.Getenv) }

// world is what a run gets of it.
func (env Env) world(u *ui) deploy.World {
	return deploy.World{Environ: env.Environ, Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr, CI: env.ci(), Out: u}
}

// ui is what a command prints with, and where it runs.
type ui struct {
	*terminal.Printer
	env Env
}

func newUI(env Env) *ui {
	u := &ui{terminal.NewPrinter(env.Stdout, env.Stderr, env.Getenv), env}
	u.Quiet = env.quiet != nil && *env.quiet
	return u
}

// withScreen makes a screen of stderr where stdout is the same terminal.
func withScreen(env Env) Env {
	env.Stderr = terminal.OnScreen(env.Stdout, env.Stderr)
	return env
}

// targetHere is the target under which a stack is recorded from its folder, as far as that
// says which workspace it is.
func targetHere(env Env, reader *command.Reader, stack runner.Stack, base string) (string, error) {
	place, err := reader.Place(command.Surroundings{Dir: stack.Dir, Env: env.Environ})
	return command.TargetOf(base, place.Workspace), err
}
