package cli

import (
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/serve"
)

func cloudCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "cloud",
		Usage:     "run your own terramate, with git notes where Terramate Cloud would be",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "COMMAND is terramate, or a program that calls it. Exits as it did; where it exits with 0, with 3 if a record could not\n" +
			"be pushed, and with 1 if something could not be recorded, or nothing was synced. With 2 nothing was executed.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{settings.keepLogs.flag(), onChangeFlag()}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			return withStore(c, env, func(s *gitstate.Store, dir string) error { return cloud(c, env, s, dir) })
		},
	}
}

func cloud(c *cli.Context, env Env, s *gitstate.Store, dir string) error {
	argv := c.Args().Slice()
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("no command given; write it after --, as in: tmnotes cloud -- terramate run --sync-deployment -- terraform apply -auto-approve")
	}
	u := newUI(env)
	h, err := newHost(c, u, s, dir)
	if err != nil {
		return err
	}
	defer project.RelaxGC(env.Environ)()
	keep, err := parseKeepLogs(c, s)
	if err != nil {
		return err
	}
	watch, told := hostChanges(u, s, settings.onChange.text(c, s))
	defer told()
	g := serve.Guest{Host: h, KeepLogs: keep, Watch: watch}
	g.Stdout, g.Stderr = env.outputs()
	code, err := g.Run(c.Context)
	if code != 0 {
		return &exitError{code, err}
	}
	return err
}

// newHost is the host of the API by the settings.
func newHost(c *cli.Context, u *ui, s *gitstate.Store, dir string) (*serve.Host, error) {
	interval, err := settings.pushInterval.duration(c, s)
	if err != nil {
		return nil, err
	}
	return serve.NewHost(c.Context, serve.Options{World: u.env.world(u), Store: s, Dir: dir, Command: c.Args().Slice(), Sync: syncSetting(c, s), Interval: interval})
}
