package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// cloudHost is what the API of cloudapi and the rest of the program have in
// common, for `cloud` and for `serve`: when notes travel, and what the files of
// the project say.
type cloudHost struct {
	env      Env
	store    *gitstate.Store
	net      context.Context // of all that goes to the remote
	ui       *ui
	dir      string
	argv     []string // of the program that is served, if there is one
	plans    map[string]deploy.Route
	interval time.Duration

	mu      sync.Mutex      // guards what follows
	push    *deploy.Courier // nil until something is recorded
	refused error           // why a deployment was refused

	treeMu sync.Mutex
	tree   func() (*workTree, error) // of this invocation of terramate; nil: not looked at yet
	ahead  bool                      // it was looked at before the invocation began

	fetching sync.Mutex
}

// freshFor is how long the notes that were fetched count as what the remote has.
const freshFor = 10 * time.Second

func newCloudHost(c *cli.Context, env Env, s *gitstate.Store, dir string) (*cloudHost, error) {
	h := &cloudHost{env: env, store: s, net: context.Background(), ui: newUI(env), dir: dir, plans: map[string]deploy.Route{}}
	var err error
	for _, op := range []string{note.Deploy, note.Drift, "preview"} {
		if h.plans[op], err = planSync(c, s, "", env.ci(), op); err != nil {
			return nil, err
		}
	}
	if err = s.TrySign(c.Context); err != nil {
		return nil, err
	}
	h.interval, err = settings.pushInterval.duration(c, s)
	s.UseJournal(s.NewRun()) // a file of its own
	return h, err
}

// options are those of the API that come from here.
func (h *cloudHost) options(token string) cloudapi.Options {
	opt := cloudapi.Options{Token: token, Environ: h.env.Environ, Begin: h.begin, Refresh: h.refresh, Announce: h.announce, Recorded: h.recorded,
		CommandLine: h.argv, See: h.see, Reason: runner.Reason, Warn: h.ui.Warn}
	if h.store.WorkTree() != "" {
		opt.WorkTree = func(context.Context) (cloudapi.WorkTree, error) {
			h.treeMu.Lock()
			if h.tree == nil {
				h.tree = h.load()
			}
			tree := h.tree
			h.treeMu.Unlock()
			return tree()
		}
	}
	return opt
}

// begin looks at the project anew: another terramate has started. It does so
// while that one reads the project, too.
func (h *cloudHost) begin() error {
	h.treeMu.Lock()
	defer h.treeMu.Unlock()
	if h.store.WorkTree() == "" || h.ahead {
		h.ahead = false
		return nil
	}
	tree := h.load()
	h.tree = tree
	go func() { _, _ = tree() }()
	return nil
}

// beginAhead is begin where it is known that a terramate starts now, and finds
// the project as it is.
func (h *cloudHost) beginAhead() {
	_ = h.begin()
	h.ahead = true
}

func (h *cloudHost) load() func() (*workTree, error) {
	return sync.OnceValues(func() (*workTree, error) {
		p, err := project.Load(context.Background(), project.Options{Dir: h.dir, Environ: h.env.Environ})
		if err != nil {
			return nil, err
		}
		w := &workTree{env: h.env, store: h.store, project: p, byPath: map[string]runner.Stack{}, seen: map[string][]string{}, reader: query.NewReader(context.Background(), p.Root())}
		if w.stacks, err = p.All(); err != nil {
			return nil, err
		}
		for _, s := range w.stacks {
			w.byPath[s.Path] = s
		}
		return w, nil
	})
}

// refresh brings the remote's notes, unless they were brought just now.
func (h *cloudHost) refresh(ctx context.Context) error {
	h.fetching.Lock()
	defer h.fetching.Unlock()
	plan := h.plans[note.Deploy]
	if plan.Remote == "" || time.Since(h.store.Remote(plan.Remote).LastFetch()) < freshFor {
		return nil
	}
	_, err := h.store.Remote(plan.Remote).Fetch(ctx)
	return err
}

// announce brings the head of a deployment and its queued stacks to the remote.
func (h *cloudHost) announce(ctx context.Context) error {
	remote := h.plans[note.Deploy].Remote
	if remote == "" {
		return nil
	}
	tr, err := h.store.Remote(remote).Announce(ctx, true) // refresh fetched
	if err != nil {
		return deploy.NotAnnounced(err, remote, h.store.Ref(), h.env.ci())
	}
	if tr.Spooled {
		h.ui.Warn(deploy.Spooled(remote, h.store.Ref()))
	}
	return nil
}

// recorded sees to it that what was recorded comes to the disk, into the notes,
// and, if its operation is synced, to the remote.
func (h *cloudHost) recorded(op string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if remote := h.plans[op].Remote; h.push == nil || remote != "" && h.push.Remote == "" {
		if h.push != nil {
			h.push.End()
		}
		h.push = deploy.NewCourier(h.store, remote, h.interval)
		h.push.Start(h.net)
	}
	h.push.Recorded()
}

// now sends what is known at once, without waiting for it.
func (h *cloudHost) now() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.push != nil {
		h.push.Now()
	}
}

// end writes everything down, and sends it where anything was recorded that is
// to be sent.
func (h *cloudHost) end(ctx context.Context, reach *deploy.Reach) error {
	h.mu.Lock()
	push, remote := h.push, ""
	h.push = nil // it ends once
	h.mu.Unlock()
	if push != nil {
		remote = push.Remote
	}
	reach.End(h.ui, remote)
	if push != nil {
		push.End()
	}
	if err := h.store.Sync(); err != nil {
		return err
	}
	if remote == "" {
		err := h.store.Flush(ctx)
		h.store.Tidy()
		return err
	}
	to := h.store.Remote(remote)
	send := to.Push
	if time.Since(to.LastFetch()) < freshFor {
		send = to.PushFetched
	}
	if _, err := send(reach.Context); err != nil {
		if err := h.store.Flush(ctx); err != nil {
			return err
		}
		return deploy.NotPushed(h.store, remote, err, h.env.ci())
	}
	return nil
}

// see is what `tmnotes run -- COMMAND` sees and records. For deployments the CLI sends the
// words joined; where its own command line ends in these words, they are known as they
// were.
func (h *cloudHost) see(path, joined string, argv []string) (seen cloudapi.Sight, err error) {
	if argv == nil {
		argv = strings.Fields(joined)
		for i := range h.argv {
			if strings.Join(h.argv[i:], " ") == joined {
				argv = h.argv[i:]
				break
			}
		}
	}
	h.treeMu.Lock()
	load := h.tree
	h.treeMu.Unlock()
	env, reader, at := h.env.Environ, command.NewReader("", nil), command.Surroundings{}
	if load != nil {
		tree, err := load()
		if err != nil {
			return seen, err
		}
		env, _ = tree.Env(path)
		reader = tree.reader
		at = command.Surroundings{Dir: tree.byPath[path].Dir, RunEnv: tree.project.RunEnv(env)}
	}
	at.Env = env
	op, place, err := reader.Look(command.Recognise(argv, env, ""), at)
	return cloudapi.Sight{Variant: op.Variant, Values: op.Values, Workspace: place.Workspace, Backend: place.Backend, Known: place.Known()}, err
}

// workTree is the project as one invocation of terramate finds it.
type workTree struct {
	env     Env
	store   *gitstate.Store
	project *project.Project
	stacks  []runner.Stack
	byPath  map[string]runner.Stack

	reader *command.Reader

	mu   sync.Mutex
	seen map[string][]string // environments
}

func (w *workTree) Stacks() []gitstate.KnownStack {
	known := make([]gitstate.KnownStack, len(w.stacks))
	for i, s := range w.stacks {
		known[i] = gitstate.KnownStack{ID: s.ID, Path: s.Path}
	}
	return known
}

// Env is the process's own environment with the stack's run.env. Where that
// cannot be evaluated, terramate does not run the stack either.
func (w *workTree) Env(path string) ([]string, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	stack, here := w.byPath[path]
	env, ok := w.seen[path]
	if !ok {
		env = w.env.Environ
		if here {
			if own, err := w.project.Env(stack); err == nil {
				env = own
			}
		}
		w.seen[path] = env
	}
	place, err := w.reader.Place(command.Surroundings{Dir: stack.Dir, Env: env})
	if err != nil {
		return env, ""
	}
	return env, place.Workspace
}

// Dirty looks at the work tree, if it is the one that is deployed. (Of another
// one, the CLI's own safeguards have to do.)
func (w *workTree) Dirty(commit string, paths []string) (map[string]bool, error) {
	if head, err := w.store.Resolve("HEAD"); err != nil || head.Hash != commit {
		return nil, nil
	}
	var stacks []runner.Stack
	for _, p := range paths {
		if s, ok := w.byPath[p]; ok {
			stacks = append(stacks, s)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.project.DirtyStacks(stacks)
}

// Inputs are digests of the code that git ignores, likewise: nobody finds that in the
// commit later.
func (w *workTree) Inputs(commit string, paths []string) (map[string]string, error) {
	if head, err := w.store.Resolve("HEAD"); err != nil || head.Hash != commit {
		return nil, nil
	}
	var known []string
	for _, path := range paths {
		if _, ok := w.byPath[path]; ok {
			known = append(known, path)
		}
	}
	return project.IgnoredDigests(context.Background(), w.project.Root(), known)
}

// withoutID are stacks that the CLI's cloud features cannot name.
func (w *workTree) withoutID() (paths []string) {
	for _, s := range w.stacks {
		if s.ID == "" {
			paths = append(paths, s.Path)
		}
	}
	return paths
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

// cloudRepository is how terramate calls the repository, by the remote that it
// looks at.
func cloudRepository(c *cli.Context, s *gitstate.Store) (string, error) {
	remote, err := findRemote(c, s, "")
	if err != nil {
		return "", err
	}
	if remote == "" {
		return "", errors.New("terramate does not use its cloud features without a remote")
	}
	url, err := s.Remote(remote).URL(c.Context)
	if err != nil {
		return "", err
	}
	return project.CloudRepository(url)
}

func (h *cloudHost) byAndJob(ctx context.Context) (by, job string, attempt int) {
	ci := h.env.ci()
	return cmp.Or(ci.By, h.store.Who(ctx)), ci.Job, ci.Attempt
}
