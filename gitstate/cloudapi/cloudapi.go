// Package cloudapi is the state of the notes as Terramate Cloud's HTTP API: what
// the terramate CLI v0.17.2 asks its cloud for, this answers from git.
//
//	api := cloudapi.New(store, store.Writer(store.NewRun()), cloudapi.Options{Token: token, Repository: "github.com/acme/infra"})
//	http.Serve(listener, api)
//
// With TMC_API_URL, TMC_TOKEN and TM_CLOUD_ORGANIZATION set for it, an
// unmodified terramate then finds its deployments, drift runs and previews, and
// `--status=failed` the stacks that the notes say it of.
//
// Nothing that matters is in memory only. A deployment, drift run or preview is
// a run of the notes: its head and its queued stacks are in the journal before
// the CLI gets its answer, and every id that is handed out can be found again
// in the records, by this process or by another one over another clone:
//
//   - the run of a deployment has a name that is derived from the CLI's UUID;
//   - a stack_id is derived from the stack's target and id;
//   - the id of a drift run, a preview and a stack's preview is run and stack_id.
//
// What is in memory is how a run goes on, the ends of the logs, and which
// requests were refused ([Server.Seen]).
//
// Wire types are Terramate's own (cloud/api/...). What the CLI sends and what it
// needs back is in cloud/client.go, cloudsync and engine/cloud.go of
// terramate v0.17.2.
package cloudapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Organization is the one organization that there is, and OrganizationUUID its
// id in every path.
const (
	Organization     = "tmnotes"
	OrganizationUUID = "7c1d2f0e-5a4b-5c3d-9e8f-746d6e6f7465"
)

// maxBody is how much of a request is read. The CLI sends the whole plan with
// each result where it was given one.
const maxBody = 64 << 20

// Options say for whom the server works. Every function may be nil.
type Options struct {
	// Token is what TMC_TOKEN has to be.
	Token string
	// Repository is how Terramate calls the repository ("github.com/acme/infra").
	// Requests for another one are refused; "" takes all.
	Repository string
	// KeepLogs is of which stacks the commands' output is kept, redacted: one of
	// gitstate.KeepLogs. With "all" plans are, too.
	KeepLogs string
	// DryRun records nothing: the CLI that is served does not execute either
	// (`terramate run --dry-run` announces a deployment all the same).
	DryRun bool
	// Environ is where secrets are that no record may have; of a stack whose own
	// environment is known, that takes its place.
	Environ []string
	// By, Job and Attempt stand in the heads of runs. Where they are empty, what
	// the CLI says of its CI job does.
	By      string
	Job     string
	Attempt int

	// Begin is called when a CLI starts to talk to the server, before it has done
	// anything. If it fails, the CLI is told that it has no cloud.
	Begin func() error
	// Refresh is called before something is decided by the state: it brings what
	// others recorded.
	Refresh func(ctx context.Context) error
	// Announce is called when the head of a deployment and its queued stacks are
	// recorded, before the CLI may start: it brings them to where others see
	// them. If it fails, the deployment is withdrawn and refused.
	Announce func(ctx context.Context) error
	// WaitsToStart says that the CLI executes nothing of a deployment before it has said of a
	// stack that it is running, and has the answer to that. Then the deployment is taken while it is still
	// being announced, and that answer waits for it; where it is not announced, Refused is called before.
	WaitsToStart bool
	// Refused is called, before the answer is sent, when a deployment is refused
	// for whatever reason: the CLI must not go on, but in automation mode it
	// would.
	Refused func(err error)
	// Recorded is called after something was recorded for an operation, which is
	// on its way to the disk. If it is nil, the server waits for the disk.
	Recorded func(op string)
	// Ended is called when the end of a run was recorded and no other is open.
	Ended func()
	// Watch is called before records are made on a commit, and what it returns
	// when they were.
	Watch func(commit string, records []*note.Record) (made func())
	// Live marks a run as one that is worked on, until done is called.
	Live func(run string) (done func(), err error)
	// WorkTree reads what only the files of the project say.
	WorkTree func(ctx context.Context) (WorkTree, error)
	// See looks at what a command in a stack sees now. Of argv the CLI may have sent the
	// words joined only.
	See func(path, joined string, argv []string) (Sight, error)
	// CommandLine is that of the CLI that is served, where it is known: it tells
	// words with blanks, and secrets among them.
	CommandLine []string
	// Reason picks from the ends of a command's output why it failed.
	Reason func(stderr, stdout []byte) string
	Warn   func(string)
	// Now is the clock by which runs that nobody asks for are forgotten.
	Now func() time.Time
}

// Sight is what a command in a stack sees, as its record says it.
type Sight struct {
	Variant, Values string
	Workspace       string // a part of the target, "" for none
	Backend         string
	Known           bool // the two are: else they are taken for those of before
}

// WorkTree is what only the files of the project say.
type WorkTree interface {
	// Stacks are the stacks that are there.
	Stacks() ([]gitstate.KnownStack, error)
	// Env is the environment of commands in a stack, and the workspace that it, or
	// Terraform's data directory, names: a part of the target ("" for none).
	Env(path string) (env []string, workspace string, err error)
	// Dirty are those of the stacks that have uncommitted changes.
	Dirty(commit string, paths []string) (map[string]bool, error)
	// Inputs are the digests of their inputs, as far as they are computed.
	Inputs(commit string, paths []string) (map[string]string, error)
}

// noWorkTree is what is known of one that is elsewhere.
type noWorkTree struct{}

func (noWorkTree) Stacks() ([]gitstate.KnownStack, error) { return nil, nil }

func (noWorkTree) Env(string) ([]string, string, error) { return nil, "", nil }

func (noWorkTree) Dirty(string, []string) (map[string]bool, error) { return nil, nil }

func (noWorkTree) Inputs(string, []string) (map[string]string, error) { return nil, nil }

// Server answers the CLI. It is an http.Handler, for several requests at once.
type Server struct {
	store  *gitstate.Store
	writer *gitstate.Writer
	opt    Options
	mux    *http.ServeMux

	life       sync.RWMutex // read-held by every request
	ended      bool         // guarded by life
	announcing sync.WaitGroup
	patience   time.Duration

	mu     sync.Mutex // guards what follows, and is held while a run changes
	runs   map[string]*run
	drifts map[driftKey]*run // that take up further stacks
	seen   Seen
	most   int // how many runs that have ended are in memory
}

// Seen is what the CLI asked for since the server started.
type Seen struct {
	Members int // requests for the organizations: a CLI that wants the cloud begins with one
	Reads   int // requests for the status of stacks
	// Arrived are the announcements that were taken, those of no stack included.
	Deployments, Drifts, Previews int
	// Refused are the requests that were answered with an error, one line each.
	Refused []string
}

// New makes a server over a store, which records by the writer.
func New(store *gitstate.Store, w *gitstate.Writer, opt Options) *Server {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Server{store: store, writer: w, opt: opt, mux: http.NewServeMux(), runs: map[string]*run{}, drifts: map[driftKey]*run{}, most: 100, patience: defaultPatience}
	s.handle("GET /v1/memberships", s.memberships)
	s.handle("GET /v1/users", s.user)
	s.handle("GET /v1/stacks/{org}", s.listStacks)
	s.handle("GET /v1/stacks/{org}/{stack}/drifts", s.listDrifts)
	s.handle("GET /v1/drifts/{org}/{stack}/{drift}", s.showDrift)
	s.handle("POST /v1/deployments/{org}/{uuid}/stacks", s.createDeployment)
	s.handle("PATCH /v1/deployments/{org}/{uuid}/stacks", s.updateDeployment)
	s.handle("POST /v1/stacks/{org}/{stack}/deployments/{uuid}/logs", s.deploymentLogs)
	s.handle("POST /v2/drifts/{org}", s.createDrift)
	s.handle("PATCH /v2/drifts/{org}/{id}", s.updateDrift)
	s.handle("POST /v2/drifts/{org}/{id}/logs", s.logs)
	s.handle("POST /v1/previews/{org}", s.createPreview)
	s.handle("PATCH /v1/stack_previews/{org}/{id}", s.updatePreview)
	s.handle("POST /v1/stack_previews/{org}/{id}/logs", s.logs)
	s.handle("GET /v1/review_requests/{org}", s.reviewRequests)
	s.mux.HandleFunc("GET /.well-known/cli.json", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, resources.WellKnown{RequiredVersion: "> 0.4.3"})
	})
	return s
}

// ServeHTTP answers "503 Service Unavailable" once the server has ended: what it
// recorded then, nobody would send.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.ended {
		sendError(w, http.StatusServiceUnavailable, errors.New("tmnotes has stopped serving"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// shut returns when all requests have been answered, and lets no further one in.
func (s *Server) shut() {
	s.life.Lock()
	s.ended = true
	s.life.Unlock()
	s.announcing.Wait()
}

// Seen is what was asked for so far.
func (s *Server) Seen() Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	seen.Refused = append([]string(nil), seen.Refused...)
	return seen
}

// wireError is an error with its HTTP status.
type wireError struct {
	code int
	err  error
}

func (e *wireError) Error() string { return e.err.Error() }

func (e *wireError) Unwrap() error { return e.err }

func bad(format string, args ...any) error {
	return &wireError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &wireError{http.StatusNotFound, fmt.Errorf(format, args...)}
}

func unavailable(err error) error { return &wireError{http.StatusServiceUnavailable, err} }

// handle registers a request that needs the token. What f returns is sent as
// JSON; nil is "204 No Content", which is how the CLI wants to be told that
// there is nothing to say (terramate http/http.go, Request).
func (s *Server) handle(pattern string, f func(r *http.Request) (any, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := s.authorized(r)
		if err == nil {
			v, err = f(r)
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, v)
	})
}

func (s *Server) authorized(r *http.Request) (any, error) {
	// The CLI sends an API key as the user's name (cliauth, APIKey).
	if token, _, _ := r.BasicAuth(); !s.isToken(token) {
		return nil, &wireError{http.StatusUnauthorized, errors.New("TMC_TOKEN is not this server's token")}
	}
	if org := r.PathValue("org"); org != "" && org != OrganizationUUID {
		return nil, notFound("there is no organization %q here", org)
	}
	return nil, nil
}

func (s *Server) isToken(token string) bool {
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.opt.Token))
	return s.opt.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// Authorize lets through to next who has the token of the API, as the CLI sends it
// or as a bearer (RFC 6750), which is what a Prometheus sends.
func (s *Server) Authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _, _ := r.BasicAuth()
		if scheme, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(bearer)
		}
		if !s.isToken(token) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="tmnotes"`)
			http.Error(w, "this needs the server's token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	var we *wireError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		code = http.StatusRequestEntityTooLarge
	case errors.As(err, &we):
		code = we.code
	}
	s.mu.Lock()
	if len(s.seen.Refused) < 100 {
		s.seen.Refused = append(s.seen.Refused, fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err))
	}
	s.mu.Unlock()
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="tmnotes"`)
	}
	sendError(w, code, err)
}

func sendError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

func answer(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func decode[T resources.Resource](r *http.Request) (v T, err error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return v, err
		}
		return v, bad("reading the request: %v", err)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, bad("reading the request: %v", err)
	}
	return v, nil
}

// read decodes a request's body, and has Terramate's own rules for it checked.
func read[T resources.Resource](r *http.Request) (v T, err error) {
	if v, err = decode[T](r); err != nil {
		return v, err
	}
	if err := v.Validate(); err != nil {
		return v, bad("%v", err)
	}
	return v, nil
}

// warn tells of what is no reason to refuse a request.
func (s *Server) warn(format string, args ...any) {
	if s.opt.Warn != nil {
		s.opt.Warn(fmt.Sprintf(format, args...))
	}
}

func (s *Server) refresh(ctx context.Context) error {
	if s.opt.Refresh == nil {
		return nil
	}
	if err := s.opt.Refresh(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

func (s *Server) workTree(ctx context.Context) (WorkTree, error) {
	if s.opt.WorkTree == nil {
		return noWorkTree{}, nil
	}
	return s.opt.WorkTree(ctx)
}

func (s *Server) memberships(*http.Request) (any, error) {
	if s.opt.Begin != nil {
		if err := s.opt.Begin(); err != nil {
			return nil, unavailable(err)
		}
	}
	s.mu.Lock()
	s.seen.Members++
	err := s.closeDrifts()
	s.mu.Unlock()
	return resources.MemberOrganizations{{Name: Organization, DisplayName: "git notes", UUID: OrganizationUUID, Status: "active"}}, err
}

func (s *Server) user(*http.Request) (any, error) {
	return resources.User{Email: "tmnotes@localhost", DisplayName: "tmnotes", UUID: OrganizationUUID}, nil
}

// reviewRequests: there are none, since nothing keeps them.
func (s *Server) reviewRequests(r *http.Request) (any, error) {
	page, _, err := paging(r)
	return resources.ReviewRequestResponsePayload{ReviewRequests: resources.ReviewRequestResponses{}, Pagination: resources.PaginatedResult{Page: page}}, err
}

// stackID is a stack's number for the CLI: 53 bits, which JSON carries through
// every reader, of a digest over the target and the id. Two stacks that have
// the same are an error where they meet.
func stackID(target, id string) int64 {
	sum := sha256.Sum256([]byte(target + "\x00" + strings.ToLower(id)))
	return max(int64(binary.BigEndian.Uint64(sum[:])>>11), 1)
}

// join is the target under which records stand: a workspace is a part of it, as
// in `tmnotes run`. "+" stands in no name of a target.
func join(target, workspace string) string {
	if workspace == "" {
		return target
	}
	return target + "+" + workspace
}
