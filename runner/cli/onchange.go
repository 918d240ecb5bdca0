package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/serve"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func onChangeFlag() cli.Flag {
	return settings.onChange.flag()
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
	dir     string // where they run
	store   *gitstate.Store
	u       *ui
	queue   chan changed
	ending  chan struct{} // closed when nothing more comes that is waited for
	done    chan struct{}
	late    atomic.Bool    // the time at the end is over
	signals chan os.Signal // to the command that runs then
}

// newChangeHook makes a hook that at most so many changes wait for. It runs its
// command at the top of the work tree, as git does its hooks.
func newChangeHook(u *ui, s *gitstate.Store, command string, room int) *changeHook {
	h := &changeHook{command: command, dir: cmp.Or(s.WorkTree(), s.GitDir()), store: s, u: u, queue: make(chan changed, room), ending: make(chan struct{}), done: make(chan struct{}), signals: make(chan os.Signal, 3)}
	go h.work()
	return h
}

// standing is what a stack's own status came from before the run.
type standing struct{ deploy, drift gitstate.Latest }

// changed is a record that gave its stack another status.
type changed struct {
	note.Record
	was, is note.Status
	from    string // the commit that was deployed, if any
	commit  string
	by      who
}

// who had to do with a change: for whoever is to be asked.
type who struct {
	Job    string `json:"job,omitempty"`    // of the CI
	Actor  string `json:"actor,omitempty"`  // who started it
	Author string `json:"author,omitempty"` // of what was changed
}

// MarshalJSON is the record, with the status that the stack had, and the commit.
func (c changed) MarshalJSON() ([]byte, error) {
	rec, err := c.Record.MarshalJSON()
	if err != nil {
		return nil, err
	}
	more, err := terminal.JSONLine(struct {
		Was    note.Status `json:"was"`
		Commit string      `json:"commit"`
		who
	}{c.was, c.commit, c.by})
	return append(append(rec[:len(rec)-1], ','), more[1:]...), err
}

// standings tell what stacks came from.
type standings struct {
	store *gitstate.Store
	st    *gitstate.State
	ended *gitstate.State // by the records of what has ended alone
}

func (x *standings) of(id, path, target string) (s standing, err error) {
	if s.deploy, err = x.latest(id, path, target, note.Deploy); err == nil {
		s.drift, err = x.latest(id, path, target, note.Drift)
	}
	return s, err
}

// latest is the latest record that has ended. What is queued or running may be so
// in this run: tmnotes matrix announces for all legs.
func (x *standings) latest(id, path, target, op string) (gitstate.Latest, error) {
	l, err := x.st.Latest(note.Slot{ID: id, Path: path, Target: target, Op: op})
	if err != nil || l.Status != note.Queued && l.Status != note.Running {
		return l, err
	}
	if x.ended == nil {
		x.ended, err = x.store.StateAt(context.Background(), func(_ string, r *note.Record) bool {
			return r.Status != note.Queued && r.Status != note.Running
		})
		if err != nil {
			return l, err
		}
	}
	return x.ended.Latest(note.Slot{ID: id, Path: path, Target: target, Op: op})
}

// onChange has the command told of the stacks whose status changes in this run.
// end returns when it was told of all, or too long after.
func onChange(u *ui, n *deploy.Session, command string, todo []string) (end func(), err error) {
	x := standings{store: n.Store, st: n.Basis}
	before := make(map[string]standing, len(todo))
	for _, path := range todo {
		r := n.Stacks[path]
		if before[path], err = x.of(r.Stack.ID, path, r.Target); err != nil {
			return nil, err
		}
	}
	h := newChangeHook(u, n.Store, command, len(todo))
	n.Watch = append(n.Watch, func(e runner.Event) {
		// Of a stack that was not needed there is no record.
		if rec := n.Last; e.Kind == runner.Finished && rec != nil && rec.Stack == e.Result.Stack.Path {
			h.told(before[rec.Stack], rec, n.Commit.Hash)
		}
	})
	return h.end, nil
}

// told queues the record, if it gave its stack another status.
//
// The first success of a stack is no change: nobody waits for that news. Its first
// failure is one, and its second none, also where it is another way not to succeed.
func (h *changeHook) told(s standing, rec *note.Record, commit string) {
	was, is := gitstate.StackStatus(s.deploy, s.drift), gitstate.After(s.deploy, s.drift, rec)
	if was == is || is == note.OK && was == note.Never || was.Unsuccessful() && is.Unsuccessful() {
		return
	}
	select {
	case h.queue <- changed{Record: *rec, was: was, is: is, from: s.deploy.OKCommit, commit: commit}:
	default:
		h.u.Warn(fmt.Sprintf("--on-change was not told that %s, %s before, is %s: too much waits for it", rec.Stack, was, is))
	}
}

func (h *changeHook) work() {
	defer close(h.done)
	for {
		select {
		case c := <-h.queue:
			h.tell(c)
			continue
		case <-h.ending:
		}
		for {
			select {
			case c := <-h.queue:
				h.tell(c)
				continue
			default:
			}
			return
		}
	}
}

func (h *changeHook) tell(c changed) {
	if h.late.Load() {
		h.u.Warn(fmt.Sprintf("--on-change was not told that %s, %s before, is %s: there was no time left", c.Stack, c.was, c.is))
	} else if err := h.call(c); err != nil {
		h.u.Warn(fmt.Sprintf("--on-change, of %s (%s, %s before): %v", c.Stack, c.is, c.was, err))
	}
}

// involved finds out who had to do with a change: the author is that of the newest
// commit since the one that was deployed which touched the stack's folder or, where none
// did, that of the commit. What cannot be read is left out, for the news matters more.
func (h *changeHook) involved(c *changed) {
	ctx := context.Background()
	if st, err := h.store.State(ctx); err == nil {
		slot := note.Slot{ID: c.ID, Path: c.Stack, Target: c.Target, Op: c.Op}
		if l, err := st.Latest(slot); err == nil && l.Run == c.Run {
			c.by.Job, c.by.Actor = l.Job, l.By
		}
	}
	commits, err := h.store.Between(ctx, c.from, c.commit, 1, c.Stack)
	if err != nil || len(commits) == 0 {
		commits, err = h.store.Between(ctx, "", c.commit, 1)
	}
	if err == nil && len(commits) > 0 {
		c.by.Author = commits[0].Author
	}
}

func (h *changeHook) call(c changed) error {
	h.involved(&c)
	text, err := terminal.JSONLine(c)
	if err != nil {
		return err
	}
	task := runner.Task{Stack: runner.Stack{Path: c.Stack, Dir: h.dir}, Commands: []runner.Command{{Args: runner.Shell(h.command)}},
		Env: h.u.env.with("TMNOTES_STACK="+c.Stack, "TMNOTES_STATUS="+string(c.is), "TMNOTES_WAS="+string(c.was), "TMNOTES_RUN="+c.Run, "TMNOTES_COMMIT="+c.commit,
			"TMNOTES_JOB="+c.by.Job, "TMNOTES_ACTOR="+c.by.Actor, "TMNOTES_AUTHOR="+c.by.Author)}
	g, err := runner.NewGraph([]string{c.Stack}, nil)
	if err != nil {
		return err
	}
	said := &note.Excerpt{Limit: 4 << 10}
	opt := runner.Options{Stdin: bytes.NewReader(text), Stdout: said, Stderr: said, Signals: h.signals, Timeout: hookTimeout, KillAfter: time.Second}
	results, err := runner.Execute(context.Background(), g, map[string]runner.Task{c.Stack: task}, opt, nil)
	if err != nil {
		return err
	}
	for line := range strings.Lines(said.String()) {
		h.u.Say("on-change: %s", strings.TrimRight(line, "\n"))
	}
	if r := results[0]; r.Status != runner.StatusOK {
		return fmt.Errorf("%s", note.NewRedactor(h.u.env.Environ).Text(r.Reason, 200))
	}
	return nil
}

// end waits until all is told. What takes too long is interrupted, and then killed,
// which takes three signals.
func (h *changeHook) end() {
	close(h.ending)
	for i, wait := range []time.Duration{hooksAtEnd, 2 * time.Second, 2 * time.Second} {
		select {
		case <-h.done:
			return
		case <-time.After(wait):
		}
		h.late.Store(true)
		for range 1 + i {
			select {
			case h.signals <- os.Interrupt:
			default:
			}
		}
	}
}

// mostWaiting is how many changes may wait for --on-change of a server.
const mostWaiting = 1000

// hostChanges has the command told of the stacks whose status terramate changes; end is as that
// of a session.
func hostChanges(u *ui, s *gitstate.Store, command string) (watch serve.Watch, end func()) {
	if command == "" {
		return nil, func() {}
	}
	type place struct{ run, op, target, stack string }
	before := map[place]standing{} // of the stacks that a run has taken up
	var mu sync.Mutex
	hook := newChangeHook(u, s, command, mostWaiting)
	of := func(r *note.Record) place { return place{r.Run, r.Op, r.Target, r.Stack} }
	return func(commit string, records []*note.Record) func() {
		mu.Lock()
		defer mu.Unlock()
		x := standings{store: s}
		for _, r := range records {
			if _, has := before[of(r)]; has || r.Status == "" {
				continue
			}
			var err error
			if x.st == nil {
				x.st, err = s.State(context.Background())
			}
			var was standing
			if err == nil {
				was, err = x.of(r.ID, r.Stack, r.Target)
			}
			if err != nil {
				u.Warn(fmt.Sprintf("--on-change: the earlier status is unknown: %v", err))
				return func() {}
			}
			before[of(r)] = was
		}
		return func() {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range records {
				if r.Status != "" && r.Status != note.Queued && r.Status != note.Running {
					hook.told(before[of(r)], r, commit)
					delete(before, of(r))
				}
			}
		}
	}, hook.end
}
