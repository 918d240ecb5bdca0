package cli

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/serve"
)

func serveCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "serve Terramate Cloud's API, and a page of the stacks",
		Description: "Says which variables terramate needs, and where the page is. Whoever has the token can read and record; it is sent as it is,\n" +
			"so an address that others reach belongs behind a proxy with TLS.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			settings.listen.flag(), settings.tokenFile.flag(), settings.keepLogs.flag(), metricsFlag(), onChangeFlag(),
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return withStore(c, env, func(s *gitstate.Store, dir string) error { return serveAPI(c, env, s, dir) })
		},
	}
}

func serveAPI(c *cli.Context, env Env, s *gitstate.Store, dir string) error {
	address := settings.listen.text(c, s)
	if host, _, err := net.SplitHostPort(address); err != nil || host == "" {
		return fmt.Errorf("--listen: %q is not an address; use HOST:PORT, as in 127.0.0.1:3006 (0.0.0.0:3006 for everybody)", address)
	}
	file := c.String("token-file")
	if file == "" {
		file = filepath.Join(s.GitDir(), "tmnotes", "serve-token")
	}
	token, err := tokenFrom(file)
	if err != nil {
		return err
	}
	u := newUI(env)
	h, err := newHost(c, u, s, dir)
	if err != nil {
		return err
	}
	repository, err := h.Repository(c.Context)
	if err != nil {
		u.Warn(err.Error())
	}
	if err := h.Fetch(c.Context); err != nil {
		return err
	}
	registry, err := metrics(c, s)
	if err != nil {
		return err
	}
	keep, err := parseKeepLogs(c, s)
	if err != nil {
		return err
	}
	watch, told := hostChanges(u, s, settings.onChange.text(c, s))
	defer told()
	server := serve.Server{Host: h, Address: address, Token: token, Repository: repository, KeepLogs: keep, Watch: watch, Metrics: registry,
		Report: func() (*report.Report, error) { return reportNow(c, env, s, dir) }}
	return server.Run(c.Context, func(at net.Addr) {
		fmt.Fprintf(env.Stdout, "export TMC_API_URL=http://%s TM_CLOUD_ORGANIZATION=%s TMC_TOKEN=\"$(cat %s)\"\n", runner.Printable(at.String()), cloudapi.Organization, shellQuote(file))
		u.Say("serving %s; Ctrl-C ends it", cmp.Or(repository, s.GitDir()))
		u.Say("the page is at http://%s/ and asks for the token in %s", at, file)
	})
}

// reportNow is the report of all stacks. A bare repository has no project that
// could be read: there the records say which stacks there are.
func reportNow(c *cli.Context, env Env, s *gitstate.Store, dir string) (*report.Report, error) {
	if s.WorkTree() != "" {
		p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ})
		if err != nil {
			return nil, err
		}
		return makeReport(c, env, s, p, project.Selection{}, query.StatusFilter{})
	}
	st, err := s.State(c.Context)
	if err != nil {
		return nil, err
	}
	opt := report.Options{Repository: query.RepositoryName(c.Context, s, "")}
	for _, k := range st.Stacks() {
		opt.Stacks = append(opt.Stacks, report.Known{Path: k.Path, ID: k.ID, Target: k.Target})
	}
	return report.Build(c.Context, s, st, opt)
}

// tokenFrom reads the token, and makes the file with a new one where it is not
// there.
func tokenFrom(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		token := rand.Text()
		_, err = f.WriteString(token + "\n")
		return token, errors.Join(err, f.Close())
	}
	if !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("--token-file: others may read %s; chmod 600 makes it yours alone", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 16 {
		return "", fmt.Errorf("--token-file: the token in %s is too short; delete the file to get a new one", file)
	}
	return token, nil
}
