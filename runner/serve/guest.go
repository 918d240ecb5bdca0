package serve

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// fetchAhead is called before the program is started, and brings the notes. A terramate that is to
// sync asks for its organizations before it does anything: until then it reads the project, as we do,
// and the notes travel, once meanwhile is called.
func (h *Host) fetchAhead(ctx context.Context) (notes func() error, meanwhile func(), err error) {
	if !isTerramate(h.Command) || wants(h.Command, h.Getenv) == "" {
		return func() error { return nil }, func() {}, h.Fetch(ctx)
	}
	notes = sync.OnceValue(func() error {
		err := h.Fetch(ctx)
		if err == nil {
			h.Store.Who(ctx)
			_, err = h.Store.State(ctx) // this and the next are quick then
		}
		return err
	})
	return notes, func() {
		h.beginAhead()
		go notes()
	}, nil
}

// Guest is the program that `tmnotes cloud` runs, with the API that it finds in the place
// of Terramate Cloud.
type Guest struct {
	*Host
	Stdout, Stderr io.Writer // of the program
	KeepLogs       string    // see cloudapi.Options
	Watch          Watch

	api      *cloudapi.Server
	listener net.Listener
	token    string
	notes    func() error // waits for them
	travel   func()       // has them come while the program begins
	program  atomic.Pointer[runner.Program]
}

// Watch is called before records are made, and what it returns after that.
type Watch = func(commit string, records []*note.Record) func()

// Run runs the program to its end. It is to be exited with the code; with 0 and an error, as that says.
func (g *Guest) Run(ctx context.Context) (code int, err error) {
	path, err := exec.LookPath(g.Command[0])
	if err != nil {
		return 0, fmt.Errorf("command not found: %s", g.Command[0])
	}
	repository, err := g.Repository(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w; nothing was executed (with this one, `tmnotes run -- COMMAND` and `terramate run -- tmnotes exec -- COMMAND` work)", err)
	}
	if g.notes, g.travel, err = g.fetchAhead(ctx); err != nil {
		return 0, err
	}
	config, remove, err := quietConfig()
	if err != nil {
		return 0, err
	}
	defer remove()
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return 0, err
	}
	defer g.listener.Close()
	g.token = rand.Text()
	opt := g.apiOptions()
	opt.Repository, opt.KeepLogs, opt.Watch = repository, g.KeepLogs, g.Watch
	opt.By, opt.Job, opt.Attempt = g.CI.By, g.CI.Job, g.CI.Attempt
	g.api = cloudapi.New(g.Store, g.writer, opt)
	return g.run(ctx, g.command(path, config))
}

func (g *Guest) apiOptions() cloudapi.Options {
	opt := g.options(g.token)
	opt.DryRun, opt.WaitsToStart = isDryRun(g.Command, g.Getenv), waitsToStart(g.Command, g.Getenv)
	opt.Ended = g.ended
	opt.Live = func(run string) (func(), error) {
		mark, err := g.writer.Live(run, "")
		if err != nil {
			return nil, err
		}
		return mark.Done, nil
	}
	// The program is killed where its deployment is refused: in automation mode
	// terramate would go on without one.
	opt.Refused = func(err error) {
		g.mu.Lock()
		g.refused = cmp.Or(g.refused, err) // what it does when it is stopped is no reason
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
func (g *Guest) command(path, config string) *exec.Cmd {
	cmd := exec.Command(path, g.Command[1:]...)
	cmd.Args[0] = g.Command[0]
	cmd.Stdin = g.Stdin
	cmd.Stdout, cmd.Stderr = g.Stdout, g.Stderr
	cmd.WaitDelay = 2 * time.Second // what it leaves behind may hold its output open
	cmd.Env = append(without(g.Environ, "TMC_API_HOST"), served("http://"+g.listener.Addr().String(), g.token)...)
	cmd.Env = append(cmd.Env, "CHECKPOINT_DISABLE=1", "TM_CLI_CONFIG_FILE="+config)
	return cmd
}

// run executes the program to its end, and records what it left unsaid.
func (g *Guest) run(ctx context.Context, cmd *exec.Cmd) (code int, err error) {
	name := g.Command[0]
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, runner.Interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return 0, deploy.ErrInterrupted
	}
	ctx = context.WithoutCancel(ctx) // what is known is always written down
	reach := deploy.NewReach(ctx, g.Out, g.Store, g.routes[note.Deploy].Remote, 0)
	defer reach.Done()
	g.net = reach.Context
	runner.OutliveReader()
	p, err := runner.StartProgram(cmd, runner.Foreground(g.Stdin))
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w; nothing was executed", name, err)
	}
	g.program.Store(p) // before it may be refused
	g.travel()
	server := &http.Server{Handler: g.api, ReadHeaderTimeout: 10 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(g.listener) }()
	exit, waited := p.Wait(signals, func(os.Signal) {
		go g.api.Interrupt() // the signal is passed on at once
		g.now()
	})
	if waited != nil {
		waited = fmt.Errorf("%s: %w", name, waited)
	}
	if err := g.notes(); err != nil && g.api.Seen().Members == 0 {
		g.Out.Warn(err.Error()) // nobody asked for the notes
	}
	_ = server.Close()
	open, err := g.api.Settle(fmt.Sprintf("%s ended (exit code %d) before it reported its result", name, exit))
	if open > 0 {
		g.Out.Warn(fmt.Sprintf("%s ended and left %s unfinished: recorded as canceled", name, runner.Plural(open, "stack")))
	}
	return g.verdict(exit, g.api.Seen(), errors.Join(waited, err, g.end(ctx, reach)))
}

// verdict is the exit code: the program's own, but where it does not know that
// something went wrong.
func (h *Host) verdict(exit int, seen cloudapi.Seen, err error) (code int, _ error) {
	h.mu.Lock()
	refused := h.refused
	h.mu.Unlock()
	if refused != nil {
		if err != nil && !errors.Is(err, gitstate.ErrNotPushed) { // that is why, mostly
			h.Out.Warn(err.Error())
		}
		if seen.Deployments > 0 { // earlier ones
			return 1, fmt.Errorf("%w; %s was stopped", refused, h.Command[0])
		}
		return 0, fmt.Errorf("%w; %s was stopped before it ran anything", refused, h.Command[0])
	}
	for _, r := range seen.Refused {
		h.Out.Warn("not recorded: " + r)
	}
	var unsent *deploy.NotPushedError
	switch {
	case exit != 0 && err != nil:
		h.Out.Warn(err.Error())
		return exit, nil
	case exit != 0:
		return exit, nil
	case errors.As(err, &unsent):
		return 0, err
	case err != nil:
		return 1, fmt.Errorf("the results could not be recorded: %w", err)
	case len(seen.Refused) > 0:
		return 1, fmt.Errorf("%s ended with 0, but %s of it could not be recorded", h.Command[0], runner.Plural(len(seen.Refused), "request"))
	}
	if err := h.arrived(seen); err != nil {
		return 1, err
	}
	return 0, nil
}

// arrived notices that terramate was to sync and did not: in automation mode it
// takes that for a warning, runs everything, and exits with 0.
func (h *Host) arrived(seen cloudapi.Seen) error {
	if seen.Deployments+seen.Drifts+seen.Previews > 0 {
		return nil
	}
	asked := wants(h.Command, h.Getenv)
	if asked == "" && (seen.Members == 0 || seen.Reads > 0) {
		return nil
	}
	hint := "see what it says above"
	if seen.Members > 0 {
		h.treeMu.Lock()
		tree := h.tree
		h.treeMu.Unlock()
		if tree != nil {
			if none, err := tree.withoutID(); err == nil {
				switch {
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
	return fmt.Errorf("%s ended with 0, but nothing of it was synced, so nothing is recorded: %s", h.Command[0], hint)
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

// waitsToStart reports whether terramate executes nothing of a deployment before it has the
// answer that a stack is running, as far as can be seen. A script may have commands before the one that
// is synced, and outputs of other stacks are asked for before it.
func waitsToStart(argv []string, getenv func(string) string) bool {
	words := own(argv)
	return isTerramate(argv) && slices.Contains(words, "run") && !slices.Contains(words, "script") && !isSet(getenv("TM_ARG_RUN_ENABLE_SHARING")) &&
		!slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, "--enable-sharing") })
}

func isTerramate(argv []string) bool {
	return strings.TrimSuffix(filepath.Base(argv[0]), ".exe") == "terramate"
}

// asksForStatus reports whether terramate is to ask for all stacks, as far as can be seen.
func asksForStatus(argv []string) bool {
	return slices.ContainsFunc(own(argv), func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return strings.HasPrefix(name, "--") && strings.HasSuffix(name, "status") && !strings.HasPrefix(name, "--sync")
	})
}

// own is a command line without the one that it is to run.
func own(argv []string) []string {
	if i := slices.Index(argv, "--"); i >= 0 {
		return argv[:i]
	}
	return argv
}

func isSet(v string) bool { return v != "" && v != "0" && v != "false" }
