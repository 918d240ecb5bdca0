// Package serve is where the state meets programs that ask for it: the API in the place of Terramate
// Cloud, for `tmnotes cloud` ([Guest]) and `tmnotes serve` ([Server]), with the page and
// the metrics of the latter. A [Host] says when notes travel, and what the files of the project say.
package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Options are what a host is told.
type Options struct {
	deploy.World
	Store    *gitstate.Store
	Dir      string   // where it is started
	Command  []string // of the program that is served, if there is one
	Sync     deploy.Sync
	Interval time.Duration // between pushes
}

// Host is what the API of cloudapi and the rest of the program have in
// common, for `cloud` and for `serve`: when notes travel, and what the files of
// the project say.
type Host struct {
	Options
	writer *gitstate.Writer
	net    context.Context // of all that goes to the remote
	routes map[string]deploy.Route

	mu      sync.Mutex      // guards what follows
	push    *deploy.Courier // nil until something is recorded
	made    int             // how often something was
	last    *sending        // what began when nothing was left to be done
	refused error           // why a deployment was refused

	treeMu sync.Mutex
	tree   *workTree // of this invocation of terramate; nil: not looked at yet
	ahead  bool      // it was looked at before the invocation began

	fetching sync.Mutex
}

// freshFor is how long the notes that were fetched count as what the remote has.
const freshFor = 10 * time.Second

// NewHost makes ready to record what is asked for.
func NewHost(ctx context.Context, opt Options) (*Host, error) {
	h := &Host{Options: opt, writer: opt.Store.Writer(opt.Store.NewRun()), net: context.Background(), routes: map[string]deploy.Route{}}
	var err error
	for _, op := range []string{note.Deploy, note.Drift, "preview"} {
		if h.routes[op], err = opt.Sync.Route(opt.Store, "", opt.CI, op); err != nil {
			return nil, err
		}
	}
	return h, opt.Store.TrySign(ctx)
}

// Fetch brings the notes by which deployments are answered for.
func (h *Host) Fetch(ctx context.Context) error {
	return h.World.Fetch(ctx, h.Store, h.routes[note.Deploy])
}

// options are those of the API that come from here.
func (h *Host) options(token string) cloudapi.Options {
	opt := cloudapi.Options{Token: token, Environ: h.Environ, Begin: h.begin, Refresh: h.refresh, Announce: h.announce, Recorded: h.recorded,
		CommandLine: h.Command, See: h.see, Reason: runner.Reason, Warn: h.Out.Warn}
	if h.Store.WorkTree() != "" {
		opt.WorkTree = func(context.Context) (cloudapi.WorkTree, error) { return h.workTree(), nil }
	}
	return opt
}

// begin looks at the project anew: another terramate has started. What is needed of it is
// looked at while that one reads the project, too.
func (h *Host) begin() error {
	h.treeMu.Lock()
	defer h.treeMu.Unlock()
	if h.Store.WorkTree() == "" || h.ahead {
		h.ahead = false
		return nil
	}
	h.tree = h.newWorkTree()
	h.tree.lookAhead(h.Dir, asksForStatus(h.Command))
	return nil
}

// beginAhead is begin where it is known that a terramate starts now, and finds
// the project as it is.
func (h *Host) beginAhead() {
	_ = h.begin()
	h.ahead = true
}

func (h *Host) workTree() *workTree {
	h.treeMu.Lock()
	defer h.treeMu.Unlock()
	if h.tree == nil {
		h.tree = h.newWorkTree()
	}
	return h.tree
}

// refresh brings the remote's notes, unless they were brought just now.
func (h *Host) refresh(ctx context.Context) error {
	h.fetching.Lock()
	defer h.fetching.Unlock()
	plan := h.routes[note.Deploy]
	if plan.Remote == "" || time.Since(h.Store.Remote(plan.Remote).LastFetch()) < freshFor {
		return nil
	}
	_, err := h.Store.Remote(plan.Remote).Fetch(ctx)
	return err
}

// announce brings the head of a deployment and its queued stacks to the remote.
func (h *Host) announce(ctx context.Context) error {
	remote := h.routes[note.Deploy].Remote
	if remote == "" {
		return nil
	}
	tr, err := h.Store.Remote(remote).Announce(ctx, true) // refresh fetched
	if err != nil {
		return deploy.NotAnnounced(err, remote, h.Store.Ref(), h.CI)
	}
	if tr.Spooled {
		h.Out.Warn(deploy.Spooled(remote, h.Store.Ref()))
	}
	return nil
}

// recorded sees to it that what was recorded comes to the disk, into the notes,
// and, if its operation is synced, to the remote.
func (h *Host) recorded(op string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if remote := h.routes[op].Remote; h.push == nil || remote != "" && h.push.Remote == "" {
		if h.push != nil {
			h.push.End()
		}
		h.push = deploy.NewCourier(h.Store, h.writer, remote, h.Interval)
		h.push.Start(h.net)
	}
	h.made++
	h.push.Recorded()
}

// sending is a push of what was recorded until then.
type sending struct {
	made int
	done chan struct{}
	err  error
}

// ended sends what was recorded, while terramate sees to its own end.
func (h *Host) ended() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.push == nil || h.push.Remote == "" {
		return
	}
	s, remote := &sending{made: h.made, done: make(chan struct{})}, h.push.Remote
	h.last = s
	go func() {
		defer close(s.done)
		if h.writer.Sync() != nil {
			s.made = -1 // whoever waits for it finds out why
			return
		}
		s.err = h.send(h.net, remote)
	}()
}

// sent waits for the push that ended began. It reports whether that had all that there is to send,
// and what came of it.
func (h *Host) sent(ctx context.Context) (all bool, err error) {
	h.mu.Lock()
	s, made := h.last, h.made
	h.mu.Unlock()
	if s == nil {
		return false, nil
	}
	select {
	case <-s.done:
		return s.made == made, s.err
	case <-ctx.Done():
		return false, nil
	}
}

// send pushes, and fetches before where that was not done just now.
func (h *Host) send(ctx context.Context, remote string) (err error) {
	to := h.Store.Remote(remote)
	if time.Since(to.LastFetch()) < freshFor {
		_, err = to.PushFetched(ctx)
	} else {
		_, err = to.Push(ctx)
	}
	return err
}

// now sends what is known at once, without waiting for it.
func (h *Host) now() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.push != nil {
		h.push.Now()
	}
}

// end writes everything down, and sends it where anything was recorded that is
// to be sent.
func (h *Host) end(ctx context.Context, reach *deploy.Reach) error {
	h.mu.Lock()
	push, remote := h.push, ""
	h.push = nil // it ends once
	h.mu.Unlock()
	if push != nil {
		remote = push.Remote
	}
	reach.End(h.Out, remote)
	sent, err := h.sent(reach.Context)
	if push != nil {
		push.End()
	}
	if sent && err == nil {
		return nil
	}
	if err := h.writer.Sync(); err != nil {
		return err
	}
	if remote == "" {
		err := h.Store.Flush(ctx)
		h.Store.Tidy()
		return err
	}
	if !sent {
		err = h.send(reach.Context, remote)
	}
	if err != nil {
		if err := h.Store.Flush(ctx); err != nil {
			return err
		}
		return deploy.NotPushed(h.Store, remote, err, h.CI)
	}
	return nil
}

// see is what `tmnotes run -- COMMAND` sees and records. For deployments the CLI sends the
// words joined; where its own command line ends in these words, they are known as they
// were.
func (h *Host) see(path, joined string, argv []string) (seen cloudapi.Sight, err error) {
	if argv == nil {
		argv = strings.Fields(joined)
		for i := range h.Command {
			if strings.Join(h.Command[i:], " ") == joined {
				argv = h.Command[i:]
				break
			}
		}
	}
	h.treeMu.Lock()
	tree := h.tree
	h.treeMu.Unlock()
	reader, at := command.NewReader("", nil), command.Surroundings{Env: h.Environ}
	if tree != nil {
		reader = tree.reader
		if at, err = tree.surroundings(path); err != nil {
			return seen, err
		}
	}
	op, place, err := reader.Look(command.Recognise(argv, at.Env, ""), at)
	return cloudapi.Sight{Variant: op.Variant, Values: op.Values, Workspace: place.Workspace, Backend: place.Backend, Known: place.Known()}, err
}

// quietConfig writes a Terramate configuration with which terramate calls
// nobody but its cloud.
func quietConfig() (path string, remove func(), err error) {
	text, err := project.QuietUserConfig()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "tmnotes-")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "terramaterc")
	return path, func() { os.RemoveAll(dir) }, os.WriteFile(path, text, 0o600)
}

// served is what a terramate has to find in its environment.
func served(url, token string) []string {
	return []string{"TMC_API_URL=" + url, "TMC_TOKEN=" + token, "TM_CLOUD_ORGANIZATION=" + cloudapi.Organization}
}

// without leaves variables out of an environment.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}

// Repository is how terramate calls the repository, by the remote that it looks at.
func (h *Host) Repository(ctx context.Context) (string, error) {
	remote := h.Sync.Code(h.Store, "")
	if remote == "" {
		return "", errors.New("terramate does not use its cloud features without a remote")
	}
	url, err := h.Store.Remote(remote).URL(ctx)
	if err != nil {
		return "", err
	}
	return project.CloudRepository(url)
}
