package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// execute announces the run, runs it, and records what comes of it.
func (n *session) execute(ctx context.Context, u *ui, ci ciJob, sync syncPlan, g *runner.Graph, tasks map[string]runner.Task, todo []string, off map[string]taken, o runOptions, op, target string, env Env, again *bool) error {
	s := n.store
	part := ""
	if n.leg > 0 {
		part = note.LegName(n.leg)
	}
	mark, err := s.Live(n.run, part)
	if err != nil {
		return err
	}
	defer mark.Done()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, interrupts...)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was executed")}
	}
	head := n.head(ctx, ci, op, target, len(todo), o.command)
	if err := n.declare(ctx, u, sync, head, todo); err != nil {
		return err
	}
	n.seeing(tasks)
	// Recording outlives cancellation: what is known is always written down.
	ctx = context.WithoutCancel(ctx)
	reach := newReach(ctx, u, s, sync.remote, 0)
	defer reach.done()
	n.net = reach.ctx
	push := startPusher(reach.ctx, n, sync.remote, o.interval)

	x := o.exec
	x.Inherit = mark.Inherited()
	x.Signals = signals
	x.Foreground = runner.Foreground(env.Stdin)
	x.Stdin, x.Stdout, x.Stderr = env.Stdin, env.Stdout, env.Stderr
	d := n.display(&x, u, o, g, tasks, todo)
	defer d.End()
	n.waves.pause = d.Pause
	var admit []admitter
	if x.Admit != nil {
		admit = append(admit, x.Admit)
	}
	if look := n.arrival(u, todo, o); look != nil {
		admit = append(admit, look)
	}
	claims := n.claim(u, push, o, head, g, again)
	if claims != nil {
		admit = append(admit, claims.admit) // the last: what is claimed starts
		x.Upcoming = func(next func(int) []runner.Stack) { claims.ahead.next = next }
		x.KillAfter = min(killAfter, o.claims.lease/4)
	}
	if len(admit) > 0 {
		x.Admit = inTurn(admit...)
	}
	interrupted, started := false, false
	held := map[string]string{}
	observe := func(e runner.Event) error {
		path := e.Result.Stack.Path
		switch e.Kind {
		case runner.Started:
			started = true
			d.Entering(path)
			n.recheck(u, path)
			return n.started(path)
		case runner.Held:
			if held[path] != e.Result.Reason {
				held[path] = e.Result.Reason
				u.Say("%s waits: %s", path, e.Result.Reason)
			}
		case runner.Retrying:
			u.Say("%s failed (%s); trying again in %s", path, e.Result.Reason, terminal.Took(e.Wait))
		case runner.Interrupted:
			interrupted = true
			push.now()
			u.Say("%v: nothing further starts; waiting for what runs (twice more kills it)", e.Signal)
		case runner.Finished:
			if !e.Result.Started.IsZero() {
				n.recheck(u, path)
			}
			err := n.result(e.Result)
			claims.finished(e.Result)
			return err
		}
		return nil
	}
	results, err := n.waves.execute(ctx, u, n, g, tasks, x, target, func(e runner.Event) error {
		err := observe(e)
		for _, w := range n.watch {
			w(e)
		}
		return err
	})
	d.End()
	reach.end(u, sync.remote)
	push.end()
	out := outcome{counts: count(results), stopped: err, started: started, interrupted: interrupted}
	for _, last := range []func() error{func() error { return n.finish(out.counts) }, func() error { return s.Flush(ctx) }} {
		if err := last(); err != nil && out.stopped == nil {
			out.stopped = err
		}
	}
	if sync.remote != "" {
		_, out.unsent = s.Push(reach.ctx, sync.remote)
	} else {
		s.Tidy()
	}
	claims.end(out.unsent == nil && out.stopped == nil)
	n.report(u, results, off, sync, out.unsent)
	return out.verdict(u, s, sync.remote)
}

// outcome is how a run ended.
type outcome struct {
	counts      map[runner.Status]int
	stopped     error // why it ended before its time, other than by a signal
	started     bool  // something was executed
	interrupted bool
	unsent      error // why the records are only here
}

// verdict is the exit code and the last words of a run. That records are only here is
// always said.
func (o *outcome) verdict(u *ui, s *gitstate.Store, remote string) error {
	var refused admitError
	var verdict error
	switch {
	case errors.As(o.stopped, &refused) && !o.started:
		verdict = fmt.Errorf("%w; nothing was executed", refused)
	case errors.As(o.stopped, &refused):
		verdict = &exitError{exitFailed, fmt.Errorf("the run was stopped: %w", refused)}
	case o.stopped != nil:
		verdict = &exitError{exitFailed, fmt.Errorf("the run was stopped because a result could not be recorded: %w", o.stopped)}
	case o.interrupted:
		verdict = &exitError{code: exitInterrupted}
	case o.counts[runner.StatusFailed]+o.counts[runner.StatusBlocked]+o.counts[runner.StatusCanceled] > 0:
		verdict = &exitError{code: exitFailed}
	case o.unsent != nil:
		return notPushed(s, remote, o.unsent, u.env.ci())
	}
	if o.unsent != nil {
		u.Warn(notPushed(s, remote, o.unsent, u.env.ci()).Error())
	}
	return verdict
}

// killAfter is how long a child that was interrupted may take to end.
const killAfter = 30 * time.Second

// declare announces a run, also on the remote. Where that fails, what was announced
// is withdrawn, and nothing may be executed.
func (n *session) declare(ctx context.Context, u *ui, sync syncPlan, head *note.Record, todo []string) error {
	outliveReader()
	s := n.store
	if err := n.announce(head, todo); err != nil {
		return err
	}
	tr, err := gitstate.Traveled{}, error(nil)
	if sync.remote == "" {
		// What is not pushed is written into the notes later, unless that cannot be.
		err = s.TrySign(ctx)
	} else {
		tr, err = s.Announce(ctx, sync.remote, false)
	}
	if err != nil {
		why := "the run could not be announced: nothing was executed"
		if werr := n.withdraw(todo, why); werr != nil {
			return errors.Join(err, werr)
		}
		_ = s.Flush(context.WithoutCancel(ctx))
		if ctx.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted; nothing was executed")}
		}
		if errors.Is(err, gitstate.ErrSign) || sync.remote == "" {
			return fmt.Errorf("%w; nothing was executed", err)
		}
		return notAnnounced(err, sync.remote, s.Ref(), u.env.ci())
	}
	n.shared = sync.remote != "" && !tr.Spooled
	if tr.Spooled {
		u.Warn(spooled(sync.remote, s.Ref()))
	}
	return nil
}

// spooled tells what becomes of records that the shared ref did not take.
func spooled(remote, ref string) string {
	return fmt.Sprintf("%s does not take %s from here, or others keep pushing to it; the records are on a spool ref there until the next sync of somebody who may", remote, ref)
}
