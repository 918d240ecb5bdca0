package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
)

func cloudCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "cloud",
		Usage:     "run your own terramate, with git notes where Terramate Cloud would be",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "tmnotes cloud -- terramate run --status=failed --sync-deployment -- terraform apply -auto-approve\n" +
			"tmnotes cloud -- terramate script run deploy\n\n" +
			"COMMAND is terramate, or a program that calls it. Exits as it did; where it exits with 0, with 3 if a record could not\n" +
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
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("command not found: %s", argv[0])
	}
	h, err := newCloudHost(c, env, s, dir)
	if err != nil {
		return err
	}
	h.argv = argv
	defer project.RelaxGC(env.Environ)()
	repository, err := cloudRepository(c, s)
	if err != nil {
		return fmt.Errorf("%w; nothing was executed (with this one, `tmnotes run -- COMMAND` and `terramate run -- tmnotes exec -- COMMAND` work)", err)
	}
	g := &guest{cloudHost: h, token: rand.Text()}
	if g.notes, err = h.fetchAhead(c.Context); err != nil {
		return err
	}
	config, remove, err := quietConfig()
	if err != nil {
		return err
	}
	defer remove()
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	defer g.listener.Close()
	opt := g.apiOptions()
	opt.Repository, opt.KeepLogs = repository, c.Bool("keep-logs")
	opt.By, opt.Job, opt.Attempt = h.byAndJob(c.Context)
	watch, told := h.onChange(settings.onChange.text(c, s))
	defer told()
	opt.Watch = watch
	g.api = cloudapi.New(s, opt)
	return g.run(c.Context, g.command(path, config))
}

// fetchAhead brings the notes, which wait waits for. A terramate that is to sync asks for
// its organizations before it does anything: until then it reads the project, as we do,
// and the notes travel.
func (h *cloudHost) fetchAhead(ctx context.Context) (wait func() error, err error) {
	fetch := func() error { return fetchNotes(ctx, h.store, h.ui, h.plans[note.Deploy]) }
	if name := strings.TrimSuffix(filepath.Base(h.argv[0]), ".exe"); name != "terramate" || wants(h.argv, h.env.Getenv) == "" {
		return func() error { return nil }, fetch()
	}
	h.beginAhead()
	fetched := make(chan error, 1)
	go func() { fetched <- fetch() }()
	return sync.OnceValue(func() error { return <-fetched }), nil
}

// guest is the program that `tmnotes cloud` runs, with the API that it finds in the place
// of Terramate Cloud.
type guest struct {
	*cloudHost
	api      *cloudapi.Server
	listener net.Listener
	token    string
	notes    func() error // waits for them
	program  atomic.Pointer[runner.Program]
}

func (g *guest) apiOptions() cloudapi.Options {
	opt := g.options(g.token)
	opt.DryRun = isDryRun(g.argv, g.env.Getenv)
	opt.Live = func(run string) (func(), error) {
		mark, err := g.store.Live(run, "")
		if err != nil {
			return nil, err
		}
		return mark.Done, nil
	}
	// The program is killed where its deployment is refused: in automation mode
	// terramate would go on without one.
	opt.Refused = func(err error) {
		g.mu.Lock()
		g.refused = err
		g.mu.Unlock()
		g.program.Load().Kill()
	}
	opt.Begin = func() error {
		if err := g.notes(); err != nil {
			opt.Refused(err)
			return err
		}
		return g.begin()
	}
	return opt
}

// command is the program in an environment in which it finds the API.
func (g *guest) command(path, config string) *exec.Cmd {
	cmd := exec.Command(path, g.argv[1:]...)
	cmd.Args[0] = g.argv[0]
	cmd.Stdin = g.env.Stdin
	cmd.Stdout, cmd.Stderr = g.env.outputs()
	cmd.WaitDelay = 2 * time.Second // what it leaves behind may hold its output open
	cmd.Env = append(without(g.env.Environ, "TMC_API_HOST"), served("http://"+g.listener.Addr().String(), g.token)...)
	cmd.Env = append(cmd.Env, "CHECKPOINT_DISABLE=1", "TM_CLI_CONFIG_FILE="+config)
	return cmd
}

// run executes the program to its end, and records what it left unsaid.
func (g *guest) run(ctx context.Context, cmd *exec.Cmd) error {
	name := g.argv[0]
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, runner.Interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was executed")}
	}
	ctx = context.WithoutCancel(ctx) // what is known is always written down
	reach := deploy.NewReach(ctx, g.ui, g.store, g.plans[note.Deploy].Remote, 0)
	defer reach.Done()
	g.net = reach.Context
	runner.OutliveReader()
	p, err := runner.StartProgram(cmd, runner.Foreground(g.env.Stdin))
	if err != nil {
		return fmt.Errorf("starting %s: %w; nothing was executed", name, err)
	}
	g.program.Store(p) // before it may be refused
	server := &http.Server{Handler: g.api, ReadHeaderTimeout: 10 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(g.listener) }()
	exit, waited := p.Wait(signals, func(os.Signal) { g.now() })
	if waited != nil {
		waited = fmt.Errorf("%s: %w", name, waited)
	}
	if err := g.notes(); err != nil && g.api.Seen().Members == 0 {
		g.ui.Warn(err.Error()) // nobody asked for the notes
	}
	_ = server.Close()
	open, err := g.api.Settle(fmt.Sprintf("%s ended (exit code %d) before it said what came of it", name, exit))
	if open > 0 {
		g.ui.Warn(fmt.Sprintf("%s ended and left %s unfinished: recorded as canceled", name, runner.Plural(open, "stack")))
	}
	return g.verdict(g.argv, exit, g.api.Seen(), errors.Join(waited, err, g.end(ctx, reach)))
}

// verdict is the exit code: the program's own, but where it does not know that
// something went wrong.
func (h *cloudHost) verdict(argv []string, exit int, seen cloudapi.Seen, err error) error {
	h.mu.Lock()
	refused := h.refused
	h.mu.Unlock()
	if refused != nil {
		if err != nil && !errors.Is(err, gitstate.ErrNotPushed) { // that is why, mostly
			h.ui.Warn(err.Error())
		}
		if seen.Deployments > 0 { // earlier ones
			return &exitError{exitFailed, fmt.Errorf("%w; %s was stopped", refused, argv[0])}
		}
		return fmt.Errorf("%w; %s was stopped before it ran anything", refused, argv[0])
	}
	for _, r := range seen.Refused {
		h.ui.Warn("not recorded: " + r)
	}
	switch {
	case exit != 0 && err != nil:
		h.ui.Warn(err.Error())
		return &exitError{code: exit}
	case exit != 0:
		return &exitError{code: exit}
	case err != nil && hasExitCode(err):
		return err
	case err != nil:
		return &exitError{exitFailed, fmt.Errorf("the results could not be recorded: %w", err)}
	case len(seen.Refused) > 0:
		return &exitError{exitFailed, fmt.Errorf("%s ended with 0, but %s of it could not be recorded", argv[0], runner.Plural(len(seen.Refused), "request"))}
	}
	return h.arrived(argv, seen)
}

// arrived notices that terramate was to sync and did not: in automation mode it
// takes that for a warning, runs everything, and exits with 0.
func (h *cloudHost) arrived(argv []string, seen cloudapi.Seen) error {
	if seen.Deployments+seen.Drifts+seen.Previews > 0 {
		return nil
	}
	asked := wants(argv, h.env.Getenv)
	if asked == "" && (seen.Members == 0 || seen.Reads > 0) {
		return nil
	}
	hint := "see what it says above"
	if seen.Members > 0 {
		h.treeMu.Lock()
		load := h.tree
		h.treeMu.Unlock()
		if load != nil {
			if tree, err := load(); err == nil {
				switch none := tree.withoutID(); {
				case len(none) > 0:
					hint = fmt.Sprintf("%s has no id (%s in all); `terramate create --ensure-stack-ids` gives them one", none[0], runner.Plural(len(none), "stack"))
				case asked == "" || asked == "--sync-drift-status":
					return nil // no stack was selected
				}
			}
		}
	} else {
		hint = "it did not ask for a cloud at all"
	}
	return &exitError{exitFailed, fmt.Errorf("%s ended with 0, but nothing of it was synced, so nothing is recorded: %s", argv[0], hint)}
}

// wants is what says in a command line, or in the environment, that terramate is
// to sync what it runs; "" where that cannot be seen.
func wants(argv []string, getenv func(string) string) string {
	words := own(argv)
	for _, flag := range []string{"sync-deployment", "sync-preview", "sync-drift-status"} {
		if slices.Contains(words, "--"+flag) || slices.Contains(words, "--"+flag+"=true") {
			return "--" + flag
		}
		if isSet(getenv("TM_ARG_RUN_"+strings.ToUpper(strings.ReplaceAll(flag, "-", "_")))) && slices.Contains(words, "run") {
			return "--" + flag
		}
	}
	return ""
}

// isDryRun reports whether terramate is to execute nothing.
func isDryRun(argv []string, getenv func(string) string) bool {
	words := own(argv)
	return slices.Contains(words, "--dry-run") || slices.Contains(words, "--dry-run=true") || isSet(getenv("TM_ARG_RUN_DRY_RUN"))
}

// own is a command line without the one that it is to run.
func own(argv []string) []string {
	if i := slices.Index(argv, "--"); i >= 0 {
		return argv[:i]
	}
	return argv
}

func isSet(v string) bool { return v != "" && v != "0" && v != "false" }
