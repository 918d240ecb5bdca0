package cli

import (
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

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
}

// Process is what this process was given.
func Process() Env {
	return Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}
}

// Getenv is the value of a variable, "" where it is not set.
func (env Env) Getenv(name string) string {
	value, _ := env.lookup(name)
	return value
}

func (env Env) lookup(name string) (value string, set bool) {
	for _, kv := range slices.Backward(env.Environ) {
		if len(kv) > len(name) && kv[len(name)] == '=' && sameVariable(kv[:len(name)], name) {
			return kv[len(name)+1:], true
		}
	}
	return "", false
}

// sameVariable: Windows does not tell Path from PATH.
func sameVariable(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}

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

func newUI(env Env) *ui { return &ui{terminal.NewPrinter(env.Stdout, env.Stderr, env.Getenv), env} }

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
