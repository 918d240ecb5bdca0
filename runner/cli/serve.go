package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

func serveCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "be Terramate Cloud for this repository, with a page of its stacks, until interrupted",
		Description: "Says which variables terramate needs, and where the page is. Whoever has the token can read and record; it is sent as it is,\n" +
			"so an address that others reach belongs behind a proxy with TLS.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			settings.listen.flag(), settings.tokenFile.flag(), settings.keepLogs.flag(), metricsFlag(), onChangeFlag(),
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return withStore(c, env, func(s *gitstate.Store, dir string) error { return serve(c, env, s, dir) })
		},
	}
}

func serve(c *cli.Context, env Env, s *gitstate.Store, dir string) error {
	ctx := c.Context
	address := settings.listen.text(c, s)
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("--listen: %q is no address; use HOST:PORT, as in 127.0.0.1:3006 (0.0.0.0:3006 for everybody)", address)
	}
	file := c.String("token-file")
	if file == "" {
		file = filepath.Join(s.GitDir(), "tmnotes", "serve-token")
	}
	token, err := tokenFrom(file)
	if err != nil {
		return err
	}
	h, err := newCloudHost(c, env, s, dir)
	if err != nil {
		return err
	}
	repository, err := cloudRepository(c, s)
	if err != nil {
		h.ui.Warn(err.Error())
	}
	if err := fetchNotes(ctx, s, h.ui, h.plans[note.Deploy]); err != nil {
		return err
	}
	registry, err := metrics(c, s)
	if err != nil {
		return err
	}
	opt := h.options(token)
	opt.Repository, opt.KeepLogs = repository, c.Bool("keep-logs")
	watch, told := h.onChange(settings.onChange.text(c, s))
	defer told()
	opt.Watch = watch
	api := cloudapi.New(s, opt)
	mux := http.NewServeMux()
	mux.Handle("/v1/", api)
	mux.Handle("/v2/", api)
	mux.Handle("/.well-known/", api)
	page := newLivePage(c, h, token)
	page.register(mux, api.Authorize)
	mux.Handle("GET /metrics", api.Authorize(h.metricsHandler(registry)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.State(r.Context()); err != nil {
			h.ui.Warn(err.Error())
			http.Error(w, "the notes cannot be read", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	runner.OutliveReader()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	// A deployment is announced on the remote before its request is answered.
	server := &http.Server{Handler: onlyHosts(host, mux), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, WriteTimeout: 10 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Fprintf(env.Stdout, "export TMC_API_URL=http://%s TM_CLOUD_ORGANIZATION=%s TMC_TOKEN=\"$(cat %s)\"\n", runner.Printable(listener.Addr().String()), cloudapi.Organization, shellQuote(file))
	h.ui.Say("serving %s; Ctrl-C ends it", cmp.Or(repository, s.GitDir()))
	h.ui.Say("the page is at http://%s/ and asks for the token in %s", listener.Addr(), file)
	err = nil
	select {
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	ctx = context.WithoutCancel(ctx)
	reach := deploy.NewReach(ctx, h.ui, s, h.plans[note.Deploy].Remote, 1)
	defer reach.Done()
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if server.Shutdown(wait) != nil {
		_ = server.Close() // which ends what is still being asked
	}
	page.end()
	return errors.Join(err, api.Close(), h.end(ctx, reach))
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
		return "", fmt.Errorf("--token-file: what is in %s is too short for a token; delete the file, and a new one is made", file)
	}
	return token, nil
}

// onlyHosts answers requests that name the server as it may be named: by an
// address, as localhost, or as --listen has it. A page in somebody's browser
// cannot make a name of its own point here and have it answer (DNS rebinding).
func onlyHosts(listen string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
		if net.ParseIP(name) == nil && !strings.EqualFold(name, "localhost") && !strings.EqualFold(name, listen) {
			http.Error(w, "this server does not go by that name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
