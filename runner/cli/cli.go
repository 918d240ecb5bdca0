// Package cli is the tmnotes command: argv, the environment, exit codes and
// what is printed. Each command has a file of its own: its flags, and a run
// function that gets everything it needs.
//
// It is where the other packages meet: project says which stacks, gitstate
// which of them are done, runner executes, and what comes of it becomes
// records. Nothing imports it but main.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
)

const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotPushed   = 3
	exitExec        = 125
	exitInterrupted = 130
)

// exitCodes are the same in every command; `tmnotes help` has this table.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "all selected stacks are ok (also when nothing was to be done, when other jobs did it, and when a drift run found drift)"},
	{exitFailed, "at least one stack failed, was blocked or canceled (check: the notes need a hand; verify: records are not signed as they should be; doctor: a deployment would fail)"},
	{exitUsage, "usage, configuration, or state that could not be read or announced: nothing was executed"},
	{exitNotPushed, "the work was done, but its record could not be pushed"},
	{exitExec, "exec: an error of tmnotes itself (otherwise exec passes on the command's exit code)"},
	{exitInterrupted, "interrupted"},
}

// exitError is an error with its exit code; see exitCode.
type exitError struct {
	code int
	err  error // nil: everything was said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Main runs tmnotes with its arguments, without the program's name, and
// returns the exit code. ctx ends with the first interrupt.
func Main(ctx context.Context, args []string, env Env) int {
	env.args = args
	app := newApp(env)
	var err error
	if len(args) > 0 && args[len(args)-1] == completionWord {
		err = complete(ctx, app, env, args)
	} else {
		err = app.RunContext(ctx, append([]string{app.Name}, normalize(app, args)...))
	}
	if err == nil {
		return exitOK
	}
	if ee, is := errors.AsType[*exitError](err); !is || ee.err != nil {
		newUI(env).Fail(err)
	}
	code := exitCode(err)
	if ctx.Err() != nil && code == exitUsage {
		code = exitInterrupted
	}
	return code
}

// exitCode is that of an error. One that does not say means that nothing was executed.
func exitCode(err error) int {
	var of *exitError
	var unsent *deploy.NotPushedError
	switch {
	case errors.As(err, &of):
		return of.code
	case errors.As(err, &unsent):
		return exitNotPushed
	case errors.Is(err, deploy.ErrInterrupted):
		return exitInterrupted
	}
	return exitUsage
}

// hasExitCode reports whether an error says its exit code.
func hasExitCode(err error) bool {
	_, is := errors.AsType[*exitError](err)
	return is || exitCode(err) != exitUsage
}

// Help is ours: urfave/cli's shares one flag among all apps, and knows one length of text.
func init() { cli.HelpFlag = nil }

func newApp(env Env) *cli.App {
	env.quiet = new(bool)
	app := &cli.App{
		Name:                      "tmnotes",
		Usage:                     "deploy Terramate stacks, and remember each result as a git note",
		HideVersion:               true,
		HideHelp:                  true,
		DisableSliceFlagSeparator: true,
		Writer:                    env.Stdout,
		ErrWriter:                 env.Stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // Main has the exit code
		OnUsageError:              usageError,
		Flags:                     everywhereFlags("")[:2],
		Commands: []*cli.Command{
			runCommand(env), execCommand(env), scriptCommand(env), cloudCommand(env), serveCommand(env), matrixCommand(env), listCommand(env), previewCommand(env), commentCommand(env), statusCommand(env),
			logCommand(env), runsCommand(env), showCommand(env), blameCommand(env), whereCommand(env), flakyCommand(env), markCommand(env), adoptCommand(env), triggerCommand(env), holdCommand(env), releaseCommand(env),
			forgetCommand(env), unlockCommand(env), initCommand(env), syncCommand(env), fetchCommand(env), pushCommand(env), setupCommand(env), reportCommand(env),
			doctorCommand(env), checkCommand(env), verifyCommand(env), versionCommand(env), completionCommand(env), helpCommand(env),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.App, c.Args().First())
			}
			printHelp(env, rootPage(c.App, !c.Bool("h")))
			return nil
		},
	}
	for _, c := range app.Commands {
		finish(env, c, c.Name)
		for _, sub := range c.Subcommands {
			finish(env, sub, c.Name+" "+sub.Name)
		}
	}
	return app
}

// finish gives a command what all have: flags, help, and what is said before it begins.
func finish(env Env, c *cli.Command, name string) {
	c.OnUsageError, c.HideHelp = usageError, true
	addJSON(c)
	has := map[string]bool{}
	for _, f := range c.Flags {
		for _, n := range namesOf(f) {
			has[n] = true
		}
	}
	for _, f := range everywhereFlags(name) {
		if !has[namesOf(f)[0]] {
			c.Flags = append(c.Flags, f)
		}
	}
	for _, f := range c.Flags {
		dropEmpty(f, env)
		if f, is := f.(*cli.BoolFlag); is {
			f.DisableDefaultText = true
		}
	}
	do := c.Action
	c.Action = func(ctx *cli.Context) error {
		switch {
		case ctx.Bool("help"), ctx.Bool("h"):
			printHelp(env, commandPage(c, name, ctx.Bool("help")))
			return nil
		case ctx.Bool("version"):
			return printVersion(env)
		}
		if err := terramatesCommand(name + " " + ctx.Args().First()); err != nil {
			return err
		}
		*env.quiet = ctx.Bool("quiet")
		heed(ctx, newUI(env), name)
		return do(ctx)
	}
}

// normalize brings an argv into the form that urfave/cli reads. Terramate's
// users write -j4 and -C/dir, flags before the command (`terramate -C dir run`),
// and flags after what is no flag (`tmnotes log /a -n 5`); Go's flag package
// knows none of it. (It is long since it is one loop over the words, whose cases stand side by side.)
func normalize(app *cli.App, args []string) []string {
	valued, known := flagNames(app.Commands...)
	var before, after, words []string
	command := "" // "script run" is one
	i := 0
loop:
	for ; i < len(args); i++ {
		a := args[i]
		to := &before
		if command != "" {
			to = &after
		}
		switch {
		case a == "--" || a == "-" || a == "":
			break loop
		case a[0] != '-':
			if command == "" && app.Command(a) != nil {
				command = a
				own, _ := flagNames(app.Command(a))
				maps.Copy(valued, own) // --json takes a FILE in one command only
				continue
			}
			if command == "script" {
				command += " " + a
				continue
			}
			if command == "" || command == "run" || command == "exec" || command == "cloud" || command == "matrix" || strings.HasPrefix(command, "script ") {
				break loop // what follows is a command line of its own, or a script's labels
			}
			words = append(words, a)
			continue
		}
		a = respell(a, valued)
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "--") && len(a) > 2 && !known[name] {
			// -j4 is -j 4, -Xc is -X -c
			for j := 1; j < len(a); j++ {
				short := a[j : j+1]
				*to = append(*to, "-"+short)
				if valued[short] && j+1 < len(a) {
					*to = append(*to, strings.TrimPrefix(a[j+1:], "="))
					break
				} else if valued[short] && i+1 < len(args) {
					i++
					*to = append(*to, args[i])
				}
			}
			continue
		}
		if name == "keep-logs" && !hasValue && (i+1 == len(args) || strings.HasPrefix(args[i+1], "-")) {
			a, hasValue = a+"=all", true // it was a flag without a value once
		}
		*to = append(*to, a)
		if valued[name] && !hasValue && i+1 < len(args) {
			i++
			*to = append(*to, args[i])
		}
	}
	switch {
	case command == "" && slices.Contains(before, "--version"):
		return []string{"version"}
	case command == "":
		return args
	}
	rest := args[i:]
	if len(words) > 0 && len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:] // the first word ends the flags already
	}
	return slices.Concat(strings.Split(command, " "), before, after, words, rest)
}

// respell has a flag as it is called here, of which terramate takes more spellings.
func respell(flag string, valued map[string]bool) string {
	typed, value, hasValue := strings.Cut(strings.TrimLeft(flag, "-"), "=")
	name := cmp.Or(respelled[typed], typed)
	many, err := strconv.Atoi(value)
	switch {
	case (name == "verbose" || name == "v") && err == nil && many > 1: // terramate counts them
		return "--verbose"
	case hasValue && !valued[name] && strings.EqualFold(value, "yes"):
		return "--" + name + "=true"
	case hasValue && !valued[name] && strings.EqualFold(value, "no"):
		return "--" + name + "=false"
	}
	return strings.Replace(flag, typed, name, 1)
}

// flagNames are the flags of commands: which there are, and which take a value, in all that
// have them.
func flagNames(commands ...*cli.Command) (valued, known map[string]bool) {
	valued, known = map[string]bool{}, map[string]bool{}
	for _, cmd := range commands { // those of `script run` are run's
		for _, f := range cmd.Flags {
			d, ok := f.(cli.DocGenerationFlag)
			for _, n := range namesOf(f) {
				valued[n] = ok && d.TakesValue() && (valued[n] || !known[n])
				known[n] = true
			}
		}
	}
	return valued, known
}

// namesOf are those of a flag. Its own method finds them by a regular expression, each time: of all
// commands, a fortieth of the start of a short one.
func namesOf(f cli.Flag) []string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.BoolFlag:
		return append([]string{f.Name}, f.Aliases...)
	}
	return f.Names()
}

// openStore opens the store with the settings of the command line, the
// environment, git's configuration and the repository's own.
func openStore(c *cli.Context, env Env, dir string) (*gitstate.Store, error) {
	ui, opt := newUI(env), storeOptions(c, env, dir)
	opt.Warn = ui.Warn
	s, err := gitstate.Open(c.Context, opt)
	if err != nil {
		return nil, err
	}
	if err := checkSettings(s, ui.Warn); err != nil {
		s.Close()
		return nil, err
	}
	if err := useSignatures(c, s); err != nil {
		s.Close()
		return nil, err
	}
	divide(c, s, env.ci())
	return s, nil
}

// storeOptions are what the command line and the environment say; the store reads the rest itself.
func storeOptions(c *cli.Context, env Env, dir string) gitstate.Options {
	return gitstate.Options{Dir: dir, Environ: env.Environ, Ref: c.String(settings.ref.flagName()),
		StaleAfter: c.Duration(settings.staleAfter.flagName()), NetworkTimeout: c.Duration(settings.networkTimeout.flagName())}
}

// withStore opens the store of the working directory for as long as do runs.
func withStore(c *cli.Context, env Env, do func(s *gitstate.Store, dir string) error) error {
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	s, err := openStore(c, env, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s, dir)
}

// workingDir goes to --chdir, as Terramate does: relative paths of the command
// line and of the children are seen from there.
func workingDir(c *cli.Context) (string, error) {
	if dir := c.String("chdir"); dir != "" {
		if err := os.Chdir(dir); err != nil {
			return "", fmt.Errorf("--chdir: %w", err)
		}
	}
	return os.Getwd()
}

func setLogLevel(c *cli.Context) error {
	if l := c.String("log-level"); l != "" {
		if err := project.SetLogLevel(l); err != nil {
			return err
		}
	}
	return project.SetLogOutput(c.String("log-fmt"), c.String("log-destination"))
}
