package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
)

func onChangeFlag() cli.Flag {
	return &cli.StringFlag{Name: "on-change", EnvVars: []string{"TMNOTES_ON_CHANGE"},
		Usage: "run the shell command `CMD` for each stack whose status changes (ok to failed, failed to ok, drifted), with its record as JSON on stdin (git config tmnotes.onChange)"}
}

// How long --on-change may take: each command, and all that is left when the run
// has ended.
const (
	hookTimeout = time.Minute
	hooksAtEnd  = 30 * time.Second
)

// changeHook is --on-change. Its commands run one after the other beside the run,
// which never waits for them but at its end.
type changeHook struct {
	command string
	n       *session
	u       *ui
	before  map[string]standing
	queue   chan changed
	done    chan struct{}
	stop    context.CancelFunc
}

// standing is what a stack's own status came from before the run.
type standing struct{ deploy, drift gitstate.Latest }

// changed is a record that gave its stack another status.
type changed struct {
	gitstate.Record
	was, is gitstate.Status
	commit  string
}

// MarshalJSON is the record, with the status that the stack had, and the commit.
func (c changed) MarshalJSON() ([]byte, error) {
	rec, err := c.Record.MarshalJSON()
	if err != nil {
		return nil, err
	}
	more, err := json.Marshal(struct {
		Was    gitstate.Status `json:"was"`
		Commit string          `json:"commit"`
	}{c.was, c.commit})
	return append(append(rec[:len(rec)-1], ','), more[1:]...), err
}

// onChange has the command told of the stacks whose status changes in this run.
// end returns when it was told of all, or too long after.
func (n *session) onChange(ctx context.Context, u *ui, st *gitstate.State, command string, todo []string) (end func(), err error) {
	h := &changeHook{command: command, n: n, u: u, before: map[string]standing{}, queue: make(chan changed, len(todo)), done: make(chan struct{})}
	for _, path := range todo {
		r := n.stacks[path]
		var s standing
		if s.deploy, err = st.Latest(r.stack.ID, path, r.target, gitstate.Deploy); err != nil {
			return nil, err
		}
		if s.drift, err = st.Latest(r.stack.ID, path, r.target, gitstate.Drift); err != nil {
			return nil, err
		}
		h.before[path] = s
	}
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.watch = append(n.watch, h.observe)
	go h.work(ctx)
	return h.end, nil
}

// observe queues what changed. Each stack ends once, so that there is always room.
//
// The first success of a stack is no change: nobody waits for that news. Its first
// failure is one. What was running is of a run that did not end; a success after that
// is none, either, since what it follows is not known.
func (h *changeHook) observe(e runner.Event) {
	rec := h.n.last
	if e.Kind != runner.Finished || rec == nil || rec.Stack != e.Result.Stack.Path {
		return
	}
	s := h.before[rec.Stack]
	was, is := gitstate.StackStatus(s.deploy, s.drift), gitstate.After(s.deploy, s.drift, rec)
	if was == is || is == gitstate.OK && (was == gitstate.Never || was == gitstate.Running) {
		return
	}
	h.queue <- changed{*rec, was, is, h.n.commit.Hash}
}

func (h *changeHook) work(ctx context.Context) {
	defer close(h.done)
	for c := range h.queue {
		if ctx.Err() != nil {
			h.u.warn(fmt.Sprintf("--on-change was not told that %s, %s before, is %s: there was no time left", c.Stack, c.was, c.is))
			continue
		}
		if err := h.call(ctx, c); err != nil {
			h.u.warn(fmt.Sprintf("--on-change, of %s (%s, %s before): %v", c.Stack, c.is, c.was, err))
		}
	}
}

// call runs the command at the top of the work tree, as git runs its hooks.
func (h *changeHook) call(ctx context.Context, c changed) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // for people and jq, not for a page
	if err := enc.Encode(c); err != nil {
		return err
	}
	shell := []string{"sh", "-c", h.command}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/c", h.command}
	}
	task := runner.Task{Stack: runner.Stack{Path: c.Stack, Dir: h.n.store.WorkTree()}, Commands: []runner.Command{{Args: shell}},
		Env: append(os.Environ(), "TMNOTES_STACK="+c.Stack, "TMNOTES_STATUS="+string(c.is), "TMNOTES_WAS="+string(c.was), "TMNOTES_RUN="+c.Run, "TMNOTES_COMMIT="+c.commit)}
	g, err := runner.NewGraph([]string{c.Stack}, nil)
	if err != nil {
		return err
	}
	said := &gitstate.Excerpt{Limit: 4 << 10}
	opt := runner.Options{Stdin: &text, Stdout: said, Stderr: said, Timeout: hookTimeout, KillAfter: time.Second}
	results, err := runner.Execute(ctx, g, map[string]runner.Task{c.Stack: task}, opt, nil)
	if err != nil {
		return err
	}
	for line := range strings.Lines(said.String()) {
		h.u.say("on-change: %s", strings.TrimRight(line, "\n"))
	}
	if r := results[0]; r.Status != runner.StatusOK {
		return fmt.Errorf("%s", gitstate.NewRedactor(os.Environ()).Text(r.Reason, 200))
	}
	return nil
}

func (h *changeHook) end() {
	close(h.queue)
	late := time.AfterFunc(hooksAtEnd, h.stop)
	defer late.Stop()
	select {
	case <-h.done:
	case <-time.After(hooksAtEnd + 2*time.Second): // it does not heed the interrupt
		h.u.warn("--on-change still runs, and is not waited for")
	}
	h.stop()
}
