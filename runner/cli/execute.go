package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner"
)

// execute announces the run, runs it, and records what comes of it.
func (n *session) execute(ctx context.Context, u *ui, ci ciJob, sync syncPlan, g *runner.Graph, tasks map[string]runner.Task, todo []string, off map[string]taken, o runOptions, op, target string, env Env, again *bool) error {
	s := n.store
	part := ""
	if n.leg > 0 {
		part = gitstate.LegName(n.leg)
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
	// Recording outlives cancellation: what is known is always written down.
	ctx = context.WithoutCancel(ctx)
	head := n.head(ctx, ci, op, target, len(todo), o.command)
	if err := n.declare(ctx, u, sync, head, todo); err != nil {
		return err
	}
	push := startPusher(ctx, n, sync.remote, o.interval)

	x := o.exec
	x.Inherit = mark.Inherited()
	x.Signals = signals
	x.Foreground = runner.Foreground(env.Stdin)
	x.Stdin, x.Stdout, x.Stderr = env.Stdin, env.Stdout, env.Stderr
	d := n.display(&x, u, ci, o, g, tasks, todo)
	defer d.end()
	n.waves.pause = d.pause
	var admit []admitter
	if x.Admit != nil {
		admit = append(admit, x.Admit)
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
			d.entering(path)
			return n.started(path)
		case runner.Held:
			if held[path] != e.Result.Reason {
				held[path] = e.Result.Reason
				u.say("%s waits: %s", path, e.Result.Reason)
			}
		case runner.Retrying:
			u.say("%s failed (%s); trying again in %s", path, e.Result.Reason, took(e.Wait))
		case runner.Interrupted:
			interrupted = true
			push.now()
			u.say("%v: nothing further starts; waiting for what runs (twice more kills it)", e.Signal)
		case runner.Finished:
			err := n.result(e.Result, tasks[path])
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
	d.end()
	push.end()
	counts := count(results)
	failed := err
	if ferr := n.finish(counts); ferr != nil && failed == nil {
		failed = ferr
	}
	if ferr := s.Flush(ctx); ferr != nil && failed == nil {
		failed = ferr
	}
	var pushErr error
	if sync.remote != "" {
		_, pushErr = s.Push(ctx, sync.remote)
	} else {
		s.Tidy()
	}
	claims.end(pushErr == nil && failed == nil)
	n.report(u, results, off, sync, pushErr)
	switch ae := (admitError{}); {
	case errors.As(failed, &ae) && !started:
		return fmt.Errorf("%w; nothing was executed", ae)
	case errors.As(failed, &ae):
		return &exitError{exitFailed, fmt.Errorf("the run was stopped: %w", ae)}
	case failed != nil:
		return &exitError{exitFailed, fmt.Errorf("the run was stopped because a result could not be recorded: %w", failed)}
	case interrupted:
		if pushErr != nil {
			u.warn(notPushed(s, sync.remote, pushErr).Error())
		}
		return &exitError{code: exitInterrupted}
	case counts[runner.StatusFailed]+counts[runner.StatusBlocked]+counts[runner.StatusCanceled] > 0:
		if pushErr != nil {
			u.warn(notPushed(s, sync.remote, pushErr).Error())
		}
		return &exitError{code: exitFailed}
	case pushErr != nil:
		return notPushed(s, sync.remote, pushErr)
	}
	return nil
}

// killAfter is how long a child that was interrupted may take to end.
const killAfter = 30 * time.Second

// declare announces a run, also on the remote. Where that fails, what was announced
// is withdrawn, and nothing may be executed.
func (n *session) declare(ctx context.Context, u *ui, sync syncPlan, head *gitstate.Record, todo []string) error {
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
		_ = s.Flush(ctx)
		switch {
		case errors.Is(err, gitstate.ErrLagging):
			return fmt.Errorf("%w; nothing was executed: try again when they have caught up, or fetch from where you push (git remote set-url %s URL)", err, sync.remote)
		case errors.Is(err, gitstate.ErrSign):
			return fmt.Errorf("%w; nothing was executed", err)
		}
		return fmt.Errorf("%w; nothing was executed: what is about to run must be on %s first (check that you may push %s, or use --sync=off)", err, sync.remote, s.Ref())
	}
	if tr.Spooled {
		u.warn(fmt.Sprintf("%s does not take %s from here, or others keep pushing to it; the records are on a spool ref there until the next sync of somebody who may", sync.remote, s.Ref()))
	}
	return nil
}
