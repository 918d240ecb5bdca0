package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
)

// ErrInterrupted is of what was interrupted before anything was executed.
var ErrInterrupted = errors.New("interrupted; nothing was executed")

// Display shows what is executed.
type Display interface {
	Entering(path string)
	// Aside takes away what is drawn, and is where something else may write to until it resumes.
	Aside() (out io.Writer, resume func())
	End()
}

// Outcome is how a run ended.
type Outcome struct {
	Results     []runner.Result
	Counts      map[runner.Status]int
	Started     bool // something was executed
	Interrupted bool
	Stopped     error // why it ended before its time, other than by a signal
	Unsent      error // why the records are only here
	Overtaken   bool  // a pipeline of another commit began while this one looked at what is pending
}

// execution is a plan that is carried out.
type execution struct {
	*Plan
	reach  *Reach
	claims *claims
	show   Display
	held   map[string]string // path → why it waits, as it was said
	out    Outcome
}

// Execute announces the run, runs it, and records what comes of it. An error means that
// nothing was executed.
func (x *Plan) Execute(ctx context.Context, show func(*runner.Options) Display) (*Outcome, error) {
	if err := x.ready(ctx); err != nil {
		return nil, err
	}
	part := ""
	if x.LegNumber > 0 {
		part = note.LegName(x.LegNumber)
	}
	mark, err := x.Writer.Live(x.RunID, part)
	if err != nil {
		return nil, err
	}
	defer mark.Done()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, runner.Interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return nil, ErrInterrupted
	}
	head := x.head(ctx, strings.Join(x.Ops, ","), x.Select.Target, len(x.Todo), x.Command)
	if err := x.declare(ctx, x.Route.Remote, head, x.Todo); err != nil {
		return nil, err
	}
	x.seeing(x.Tasks)
	// Recording outlives cancellation: what is known is always written down.
	ctx = context.WithoutCancel(ctx)
	e := &execution{Plan: x, held: map[string]string{}}
	e.reach = NewReach(ctx, x.Out, x.Store, x.Route.Remote, 0)
	defer e.reach.Done()
	x.net = e.reach.Context
	x.courier.Remote = x.Route.Remote
	x.courier.Start(x.net)

	opt := x.Exec
	opt.Inherit, opt.Signals, opt.Foreground = mark.Inherited(), signals, runner.Foreground(x.Stdin)
	opt.Stdin, opt.Stdout, opt.Stderr = x.Stdin, x.Stdout, x.Stderr
	e.show = show(&opt)
	defer e.show.End()
	x.Rollout.aside = e.show.Aside
	e.gates(&opt, head)
	r := &rollout{Waves: x.Rollout, n: x.Session, graph: x.Graph, tasks: x.Tasks, x: opt, target: x.Select.Target, tell: x.watched(e.observe)}
	results, err := r.execute(ctx)
	e.settle(ctx, results, err)
	return &e.out, nil
}

// ready is what is done right before a run is announced.
func (x *Plan) ready(ctx context.Context) (err error) {
	if err := x.Leg.moved(x.State, x.Session); err != nil {
		return err
	}
	if x.made, err = query.MadeOf(ctx, x.project, x.Todo); err != nil {
		return err
	}
	stacks := make([]runner.Stack, len(x.Todo))
	for i, path := range x.Todo {
		stacks[i] = x.Stacks[path].Stack
	}
	x.guard, err = x.project.Guard(ctx, stacks)
	return err
}

// gates has the runner ask before stacks start: who holds them, the legs that they come after, where they are
// deployed to, and the other jobs. What is claimed starts, so claims are asked for last.
func (e *execution) gates(opt *runner.Options, head *note.Record) {
	held := &holds{Session: e.Session, tasks: e.Tasks, read: e.State}
	var gates []gate
	if note.AnyDeploys(e.Ops...) {
		gates = append(gates, held.admit)
	}
	if e.LegNumber > 0 {
		gates = append(gates, newLegGate(e.Plan).admit)
		e.waitsForLegs = func(path string) bool { return len(e.Leg.of[path].After) > 0 }
	}
	rules := e.rules()
	rules.Force = rules.Force || e.Filter.Set()
	if look := e.arrival(e.Todo, rules); look != nil {
		gates = append(gates, look)
	}
	if e.Gone != nil {
		gates = append(gates, e.admitGone)
	}
	if e.claims = e.claim(head, &e.out.Overtaken); e.claims != nil {
		gates = append(gates, e.claims.admit)
		e.claims.holds = held
		opt.Upcoming = func(next func(int) []runner.Stack) { e.claims.ahead.next = next }
		opt.KillAfter = min(killAfter, e.Claims.Lease/4)
	}
	if len(gates) > 0 {
		opt.Admit = inTurn(gates...)
	}
}

// observe records what happens, and says what is not shown.
func (e *execution) observe(ev runner.Event) error {
	path := ev.Result.Stack.Path
	switch ev.Kind {
	case runner.Started:
		e.out.Started = true
		e.show.Entering(path)
		e.recheck(path)
		return e.started(path)
	case runner.Held:
		if e.held[path] != ev.Result.Reason {
			e.held[path] = ev.Result.Reason
			e.Out.Say("%s waits: %s", path, ev.Result.Reason)
		}
	case runner.Retrying:
		e.Out.Say("%s failed (%s); trying again in %s", path, ev.Result.Reason, runner.Took(ev.Wait))
	case runner.Interrupted:
		e.out.Interrupted = true
		e.courier.Now()
		e.Out.Say("%v: no further stacks start; waiting for those that run (twice more kills them)", ev.Signal)
	case runner.Finished:
		if !ev.Result.Started.IsZero() {
			e.recheck(path)
		}
		err := e.result(ev.Result)
		e.claims.finished(ev.Result)
		return err
	}
	return nil
}

// settle records the end of the run, and sends what is not on the remote yet.
func (e *execution) settle(ctx context.Context, results []runner.Result, err error) {
	e.show.End()
	e.reach.End(e.Out, e.Route.Remote)
	e.courier.End()
	out := &e.out
	out.Results, out.Counts, out.Stopped = results, count(results), err
	for _, last := range []func() error{func() error { return e.finish(out.Counts) }, func() error { return e.Store.Flush(ctx) }} {
		if err := last(); err != nil && out.Stopped == nil {
			out.Stopped = err
		}
	}
	if e.Route.Remote != "" {
		_, out.Unsent = e.Store.Remote(e.Route.Remote).Push(e.reach.Context)
	} else {
		e.Store.Tidy()
	}
	e.claims.end(out.Unsent == nil && out.Stopped == nil)
}

// killAfter is how long a child that was interrupted may take to end.
const killAfter = 30 * time.Second

// declare announces a run, also on the remote. Where that fails, what was announced
// is withdrawn, and nothing may be executed.
func (n *Session) declare(ctx context.Context, remote string, head *note.Record, todo []string) error {
	runner.OutliveReader()
	s := n.Store
	if s.SignsRecords() {
		if err := s.TrySign(ctx); err != nil {
			return fmt.Errorf("%w; nothing was executed", err) // nor recorded, as it would not count
		}
	}
	if err := n.announce(head, todo); err != nil {
		return err
	}
	tr, err := gitstate.Traveled{}, error(nil)
	if remote == "" {
		// What is not pushed is written into the notes later, unless that cannot be.
		err = s.TrySign(ctx)
	} else {
		tr, err = s.Remote(remote).Announce(ctx, false)
	}
	if err != nil {
		why := "the run could not be announced: nothing was executed"
		if werr := n.withdraw(todo, why); werr != nil {
			return errors.Join(err, werr)
		}
		_ = s.Flush(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		if errors.Is(err, gitstate.ErrSign) || remote == "" {
			return fmt.Errorf("%w; nothing was executed", err)
		}
		return NotAnnounced(err, remote, s.Ref(), n.CI)
	}
	n.shared = remote != "" && !tr.Spooled
	if tr.Spooled {
		n.Out.Warn(Spooled(remote, s.Ref()))
	}
	return nil
}

// Spooled tells what becomes of records that the shared ref did not take.
func Spooled(remote, ref string) string {
	return fmt.Sprintf("%s does not accept %s from here, or others keep pushing to it; the records wait on a separate ref there until somebody with permission syncs", remote, ref)
}
