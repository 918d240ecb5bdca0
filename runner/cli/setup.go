package cli

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func setupCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "setup",
		Usage: "have git fetch bring the notes, and git log show them",
		Description: "Adds to this repository's git configuration: the remote's notes are fetched to a tracking ref (never onto your own),\n" +
			"and git log shows that ref. With --remote, other commands will use that remote, too. --undo takes it out again.",
		Flags:  slices.Concat(chdirFlags(), []cli.Flag{&cli.BoolFlag{Name: "undo", Usage: "remove what setup added"}}, storeFlags()),
		Action: inClone(env, func(c *cli.Context) (bool, error) { return c.Bool("undo"), noArgs(c) }, setup),
	}
}

func setup(here *clone, undo bool) error {
	remote, err := findRemote(here.c, here.store, "")
	if err != nil {
		return err
	}
	usual, err := deploy.Sync{}.Find(here.store, "")
	choose := settings.remote.given(here.c) && (err != nil || remote != usual)
	changed, err := here.store.Remote(remote).Setup(here.c.Context, choose, undo)
	if err != nil {
		return err
	}
	for _, line := range changed {
		here.Say("%s", line)
	}
	if len(changed) == 0 {
		here.Say("nothing to change")
	}
	if remote == "" || undo {
		return nil
	}
	if code := syncSetting(here.c, here.store).Code(here.store, ""); code != remote {
		here.Say("`git fetch %s` brings the notes; plain `git fetch` asks %s alone, or all with `git config fetch.all true` (git 2.44)", remote, code)
	}
	if _, err := here.store.Remote(remote).Fetch(here.c.Context); err != nil {
		here.Warn(err.Error())
	}
	return nil
}

func checkCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "check all notes for problems",
		Description: "Exits with 1 if something is found that needs a hand, and with 0 if not.",
		Flags:       slices.Concat(chdirFlags(), []cli.Flag{formatFlag()}, storeFlags()),
		Action:      inClone(env, func(c *cli.Context) (struct{}, error) { return struct{}{}, noArgs(c) }, check),
	}
}

func check(here *clone, _ struct{}) error {
	if err := here.store.Flush(here.c.Context); err != nil {
		here.Warn(err.Error())
	}
	problems, err := here.store.Check(here.c.Context)
	if err != nil {
		return err
	}
	if here.json {
		if err := terminal.PrintJSON(here.Out, append([]gitstate.Problem{}, problems...)); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			line := p.What
			if p.Commit != "" {
				line = note.Short(p.Commit) + ": " + line
			}
			if p.Do != "" {
				line += " (" + p.Do + ")"
			}
			fmt.Fprintln(here.Out, runner.Printable(line))
		}
		if len(problems) == 0 {
			fmt.Fprintf(here.Out, "%s is in order\n", here.store.Ref())
		}
	}
	if slices.ContainsFunc(problems, func(p gitstate.Problem) bool { return p.Fatal }) {
		return &exitError{code: exitFailed}
	}
	return nil
}

// Version is the version of this build, as the go command stamped it.
func version() (program, terramate string) {
	program, terramate = "(devel)", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return program, terramate
	}
	if v := info.Main.Version; v != "" {
		program = v
	}
	for _, d := range info.Deps {
		if d.Path == "github.com/terramate-io/terramate" {
			terramate = strings.TrimPrefix(d.Version, "v")
		}
	}
	return program, terramate
}

func versionCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version, and which Terramate it works as",
		Action: func(*cli.Context) error { return printVersion(env) },
	}
}

func printVersion(env Env) error {
	program, terramate := version()
	_, err := fmt.Fprintf(env.Stdout, "tmnotes %s (terramate %s)\n", program, terramate)
	return err
}
