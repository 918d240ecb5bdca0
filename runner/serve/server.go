package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// Server is Terramate Cloud for a repository, with a page of its stacks.
type Server struct {
	*Host
	Address    string // HOST:PORT
	Token      string // who has it can read and record
	Repository string // as terramate calls it, if it does
	KeepLogs   string // see cloudapi.Options
	Watch      Watch
	Metrics    *prometheus.Registry
	Report     func() (*report.Report, error) // of all stacks, as it is now
}

// Run serves until the context ends, then to the end of what is being asked. listening is told where.
func (s *Server) Run(ctx context.Context, listening func(net.Addr)) error {
	opt := s.options(s.Token)
	opt.Repository, opt.KeepLogs, opt.Watch = s.Repository, s.KeepLogs, s.Watch
	api := cloudapi.New(s.Store, s.writer, opt)
	page := &livePage{host: s.Host, token: s.Token, report: s.Report}
	runner.OutliveReader()
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	host, _, _ := net.SplitHostPort(s.Address)
	// A deployment is announced on the remote before its request is answered.
	server := &http.Server{Handler: onlyHosts(host, s.routed(api, page)), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, WriteTimeout: 10 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	listening(listener.Addr())
	err = nil
	select {
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	ctx = context.WithoutCancel(ctx)
	reach := deploy.NewReach(ctx, s.Out, s.Store, s.Host.routes[note.Deploy].Remote, 1)
	defer reach.Done()
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if server.Shutdown(wait) != nil {
		_ = server.Close() // which ends what is still being asked
	}
	page.end()
	return errors.Join(err, api.Close(), s.end(ctx, reach))
}

// routed is what answers under which path.
func (s *Server) routed(api *cloudapi.Server, page *livePage) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", api)
	mux.Handle("/v2/", api)
	mux.Handle("/.well-known/", api)
	page.register(mux, api.Authorize)
	mux.Handle("GET /metrics", api.Authorize(s.metricsHandler(s.Metrics)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.Store.State(r.Context()); err != nil {
			s.Out.Warn(err.Error())
			http.Error(w, "the notes cannot be read", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
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

// metricsHandler answers a scrape. The remote's notes are brought first, for as long as a
// scrape can wait; when that was done last is a metric. State that cannot be read fails the scrape.
func (h *Host) metricsHandler(r *prometheus.Registry) http.Handler {
	answer := promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, ErrorLog: metricsLog{h.Out}, MaxRequestsInFlight: 4})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), 4*time.Second)
		err := h.refresh(ctx)
		cancel()
		if err != nil && req.Context().Err() == nil {
			h.Out.Warn(fmt.Sprintf("metrics: %v", err))
		}
		answer.ServeHTTP(w, req)
	})
}

type metricsLog struct{ deploy.Voice }

func (l metricsLog) Println(v ...any) { l.Warn("metrics: " + strings.TrimSpace(fmt.Sprintln(v...))) }
