package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// HereRequest is what is asked for of one command in one stack, for use inside `terramate run`.
type HereRequest struct {
	Command    []string
	Op, Target string
	Exec       runner.Options
	Rules      Rules
	Sync       Sync
	BreakHold  string // see Request
	Run        string // "" for that of the parent's children
	Parent     string // names the process that started this one
}

// Here is a stack in whose folder one command runs. Its siblings run beside it, in processes of
// their own: what one of them is enough for is done by one of them.
type Here struct {
	*Session
	req   HereRequest
	Stack runner.Stack
	Tasks map[string]runner.Task // one
	group *gitstate.Group        // of all children of one `terramate run`
	files *project.Here
	dirty func() (bool, error) // whether it had uncommitted changes when this began
}

// Here finds the stack of the working directory, the run that its command is of, and what is
// known of it.
func (e *Engine) Here(ctx context.Context, req HereRequest) (*Here, error) {
	go e.Store.Who(ctx) // and what else git is asked while other things are read
	stack, root, err := project.StackAt(ctx, e.Dir, e.Store.WorkTree())
	if err != nil {
		return nil, err
	}
	here := project.LookHere(ctx, root, stack)
	dirty := sync.OnceValues(here.Dirty)
	go dirty()
	head, err := e.Store.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	op := command.Recognise(req.Command, e.Environ, req.Op)
	if op.Note != "" {
		e.Out.Say("%s: %s: %s", stack.Path, op.Name, op.Note)
	}
	at := stack
	at.Dir = e.Dir // as the command sees it
	tasks := map[string]runner.Task{stack.Path: {Stack: at, Commands: []runner.Command{{Args: req.Command, Changes: Changes(op)}}, Env: e.Environ,
		Secrets: note.NewRedactor(e.Environ, req.Command)}}
	if err := CheckPrograms(tasks, []string{stack.Path}); err != nil {
		return nil, err
	}
	runEnv, err := project.RunEnvAt(root, stack.Dir)
	if err != nil {
		return nil, err
	}
	// All children of one `terramate run` are one run, and fetch once. (A shell
	// is a parent, too, for a day: on another commit it is another run.)
	group, err := e.Store.Group(ctx, req.Parent+"-"+head.Hash)
	if err != nil {
		return nil, err
	}
	if req.Run == "" {
		if req.Run, err = attempt(ctx, e.Store, group, head.Hash, stack.Path, op.Name); err != nil {
			return nil, err
		}
	}
	w := e.Store.Writer(req.Run)
	task := tasks[stack.Path]
	task.Env = e.with("TMNOTES_RUN=" + req.Run)
	tasks[stack.Path] = task
	n := &Session{World: e.World, Store: e.Store, Writer: w, Commit: head, RunID: req.Run, Stacks: map[string]Planned{}, reader: query.NewReader(ctx, root), courier: NewCourier(e.Store, w, "", 0)}
	n.breakHold = note.NewRedactor(e.Environ).Text(req.BreakHold, mostReason)
	h := &Here{Session: n, req: req, Stack: stack, Tasks: tasks, group: group, files: here, dirty: dirty}
	if err := h.read(ctx, op.Name); err != nil {
		return nil, err
	}
	return h, h.know(ctx, op, runEnv)
}

// attempt is the run of a group that has not done the operation to the stack yet: in a shell that is
// the parent of one exec after the other each is a run of its own.
func attempt(ctx context.Context, s *gitstate.Store, group *gitstate.Group, commit, stack, op string) (string, error) {
	for {
		run := group.Run
		lines, err := s.Note(commit)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(lines, func(l gitstate.Line) bool { return l.Record.Run == run && l.Record.Stack == stack && l.Record.Op == op }) {
			return run, nil
		}
		if err := group.Renew(ctx, run, s.NewRun); err != nil {
			return "", err
		}
	}
}

// read reads what is recorded, of the remote as well where the operation is synced.
func (h *Here) read(ctx context.Context, op string) error {
	sync, err := h.req.Sync.Route(h.Store, "", h.CI, op)
	if err != nil {
		return err
	}
	if sync.Remote != "" {
		if err := h.group.Once(ctx, "fetch-"+sync.Remote, time.Minute, func() error { return h.Fetch(ctx, h.Store, sync) }); err != nil {
			return err
		}
	}
	if h.Basis, err = h.Writer.Fresh(ctx, nil); err == nil {
		h.Writer.Follow(h.Basis)
	}
	return err
}

// know takes down what is known of the stack.
func (h *Here) know(ctx context.Context, op command.Operation, runEnv []string) error {
	if err := h.RecordedAs(h.Tasks[h.Stack.Path].Stack, op, h.req.Target, h.Environ, runEnv); err != nil {
		return err
	}
	r := h.Stacks[h.Stack.Path]
	l, err := h.Locate(h.Basis, &r)
	if err != nil {
		return err
	}
	r.followed(&l, h.Commit.Hash, h.RunID)
	if r.Dirty, err = h.dirty(); err != nil {
		return err
	}
	h.Stacks[h.Stack.Path] = r
	return nil
}

// Decide says whether the stack need be run.
func (h *Here) Decide(ctx context.Context) (Decision, error) {
	off, err := h.decideAll(ctx, h.Basis, []string{h.Stack.Path}, h.req.Rules)
	return off[h.Stack.Path], err
}

// Execute runs the command, and records what came of it.
func (h *Here) Execute(ctx context.Context) (result runner.Result, interrupted bool, err error) {
	path := h.Stack.Path
	mark, err := h.Writer.Live(h.RunID, path)
	if err != nil {
		return result, false, err
	}
	defer mark.Done()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, runner.Interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return result, false, ErrInterrupted
	}
	runner.OutliveReader()
	ctx = context.WithoutCancel(ctx)
	if err := h.begin(ctx); err != nil {
		return result, false, err
	}
	graph, err := runner.NewGraph([]string{path}, nil)
	if err != nil {
		return result, false, err
	}
	opt := h.req.Exec
	opt.Inherit, opt.Signals, opt.Foreground = mark.Inherited(), signals, runner.Foreground(h.Stdin)
	opt.Stdin, opt.Stdout, opt.Stderr, opt.Output = h.Stdin, h.Stdout, h.Stderr, runner.OutputDirect
	opt.Admit = (&holds{Session: h.Session, tasks: h.Tasks, read: h.Basis}).admit
	results, err := runner.Execute(ctx, graph, h.Tasks, opt, h.watched(func(e runner.Event) error {
		interrupted = interrupted || e.Kind == runner.Interrupted
		return h.observe(e)
	}))
	if serr := errors.Join(h.Writer.Sync(), h.Writer.Sign(ctx)); err == nil {
		err = serr
	}
	if err != nil {
		return result, interrupted, fmt.Errorf("%s ran, but its result could not be recorded: %w", path, err)
	}
	// One of all children writes the notes every few seconds; what is left is
	// in the journal for the next, and for `tmnotes sync`.
	if err := h.group.Once(ctx, "flush", flushInterval, func() error { return h.Store.Flush(ctx) }); err != nil {
		h.Out.Warn(err.Error())
	}
	return results[0], interrupted, nil
}

// begin has the run on record, and takes down what the stack is made of.
func (h *Here) begin(ctx context.Context) error {
	if err := h.group.Once(ctx, "sign", time.Minute, func() error { return h.Store.TrySign(ctx) }); err != nil {
		return fmt.Errorf("%w; nothing was executed", err)
	}
	r := h.Planned(h.Stack.Path)
	if err := h.group.Once(ctx, "head-"+h.RunID, 0, func() error {
		return h.Writer.Append(h.Commit.Hash, h.head(ctx, r.Op.Name, r.Target, 0, h.req.Command))
	}); err != nil {
		return err
	}
	ignored, err := h.files.Ignored()
	if err != nil {
		return err
	}
	h.made = &query.Made{Ignored: ignored}
	h.guard = &stackHere{h.Store, h.files, h.Commit.Hash}
	return nil
}

// observe records what happens.
func (h *Here) observe(e runner.Event) error {
	path := h.Stack.Path
	switch e.Kind {
	case runner.Started:
		return h.started(path)
	case runner.Retrying:
		h.Out.Say("%s failed (%s); trying again in %s", path, e.Result.Reason, runner.Took(e.Wait))
	case runner.Finished:
		if !e.Result.Started.IsZero() {
			h.recheck(path)
		}
		return h.result(e.Result)
	}
	return nil
}

// Changes is what exit code 2 of a command says of its stack.
func Changes(op command.Operation) runner.Status {
	if op.Name == note.Drift {
		return runner.StatusDrifted
	}
	return ""
}
