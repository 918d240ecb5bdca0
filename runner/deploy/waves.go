package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Waves: a deployment reaches some stacks first, and the others only if that went
// well. A wave is executed as a run of its own stacks; between two of them there
// may be a pause (--soak) and a question (--gate). What is not reached is blocked.
//
// Nothing of this is kept but the records. So a later run looks at those: a wave
// that is ok is not executed again, what is left of its pause is waited for, and
// the gate before a wave that has something to run is always asked.

// Waves is what the flags say, and once the stacks are known, which wave has which.
type Waves struct {
	Filters []string
	Match   []func(runner.Stack) bool
	Soak    time.Duration
	Gate    string
	Limit   failureLimit
	// What stands in settings is meant for deployments; a flag is for what is typed.
	WavesTyped, LimitTyped bool

	List   []Wave
	WaveOf map[string]int // by path
	came   map[string]note.Record

	aside func() (out io.Writer, resume func()) // see Display
}

type Wave struct {
	Name   string
	stacks []string      // of those that are selected, in order
	stand  []note.Record // of its stacks that are ok on this commit already
}

// failureLimit is --max-failures.
type failureLimit struct {
	set     bool
	n       int
	percent bool
}

// divide finds the wave of each stack that is selected. What stands against it is an
// error, before anything is executed: a stack in no wave, an order between stacks
// that the waves turn around, a wave that no stack of the project could be in.
func (w *Waves) divide(p *project.Project, n *Session, g *runner.Graph, ops []string) error {
	if !note.AnyDeploys(ops...) {
		if !w.WavesTyped {
			w.Filters, w.Match = nil, nil
		}
		if !w.LimitTyped {
			w.Limit = failureLimit{}
		}
	}
	w.WaveOf, w.came = map[string]int{}, map[string]note.Record{}
	if len(w.Filters) == 0 {
		w.List = []Wave{{stacks: g.Order()}}
		return nil
	}
	all, err := p.All()
	if err != nil {
		return err
	}
	if err := w.Exist(all); err != nil {
		return err
	}
	for _, f := range w.Filters {
		w.List = append(w.List, Wave{Name: f})
	}
	for _, path := range g.Order() {
		i, ok := w.wave(n.Stacks[path].Stack)
		if !ok {
			return fmt.Errorf("%s is in none of the waves (%s); add --wave '*' for the stacks that are left", path, strings.Join(w.Filters, ", "))
		}
		w.WaveOf[path] = i
		w.List[i].stacks = append(w.List[i].stacks, path)
		for _, first := range g.Predecessors(path) {
			if w.WaveOf[first] > i {
				return fmt.Errorf("%s runs after %s, but is in the wave %s, which is before %s; put the two into one wave, or %s into the earlier one",
					path, first, w.Filters[i], w.Filters[w.WaveOf[first]], first)
			}
		}
	}
	return nil
}

// Exist refuses a wave that none of the project's stacks could be in: a canary whose tag is
// misspelt must not be left out.
func (w *Waves) Exist(all []runner.Stack) error {
	for i, f := range w.Filters {
		if f != "*" && !slices.ContainsFunc(all, w.Match[i]) {
			return fmt.Errorf("no stack of the project matches the wave %s; `terramate list --tags TAG` shows which have a tag", f)
		}
	}
	return nil
}

func (w *Waves) wave(s runner.Stack) (int, bool) {
	for i, match := range w.Match {
		if match(s) {
			return i, true
		}
	}
	return 0, false
}

// standing finds what earlier runs have made of the waves on this commit, also of
// stacks that --pending leaves out.
func (w *Waves) standing(st *gitstate.State, n *Session, skip map[string]bool) error {
	if len(w.Filters) == 0 {
		return nil
	}
	for _, path := range slices.Sorted(maps.Keys(n.Stacks)) {
		r := n.Stacks[path]
		i, ok := w.wave(r.Stack)
		if _, selected := w.WaveOf[path]; !ok || selected && !skip[path] {
			continue
		}
		l, err := n.latest(st, path)
		if err != nil {
			return err
		}
		if l.Status == note.OK && l.Commit == n.Commit.Hash {
			w.List[i].stand = append(w.List[i].stand, l.Record)
		}
	}
	return nil
}

// name is the wave that a stack's records name, "" where there are none.
func (w *Waves) NameOf(path string) string {
	if i, ok := w.WaveOf[path]; ok {
		return w.List[i].Name
	}
	return ""
}

// Todo are the stacks of a wave that are to run.
func (w *Waves) Todo(k int, skip map[string]bool) (paths []string) {
	for _, p := range w.List[k].stacks {
		if !skip[p] {
			paths = append(paths, p)
		}
	}
	return paths
}

// String says how many stacks each wave runs.
func (w *Waves) String(skip map[string]bool) string {
	var parts []string
	for k := range w.List {
		parts = append(parts, fmt.Sprintf("%s (%d)", w.List[k].Name, len(w.Todo(k, skip))))
	}
	return strings.Join(parts, ", ")
}

// Only is the options with which the stacks of one wave run.
func Only(x runner.Options, g *runner.Graph, paths []string) runner.Options {
	x.Skip = map[string]bool{}
	for _, p := range g.Order() {
		x.Skip[p] = true
	}
	for _, p := range paths {
		delete(x.Skip, p)
	}
	return x
}

// execute runs one wave after the other and returns the results of all of their
// stacks, each of which was observed, also where it was not reached.
func (w *Waves) execute(ctx context.Context, n *Session, g *runner.Graph, tasks map[string]runner.Task, x runner.Options, target string, tell func(runner.Event) error) (results []runner.Result, err error) {
	r := rollout{Waves: w, n: n, x: x, target: target}
	r.observe = func(e runner.Event) error {
		if e.Kind == runner.Interrupted {
			r.over = &runner.Result{Status: runner.StatusCanceled, Reason: "not started: interrupted by " + runner.SignalName(e.Signal)}
		}
		return tell(e)
	}
	came := map[string]runner.Result{}
	for k := range w.List {
		todo := w.Todo(k, x.Skip)
		if len(todo) == 0 {
			continue
		}
		if k > 0 && r.over == nil {
			r.pass(k, tasks, todo)
		}
		blocked := blockedBy(g, came, r.over == nil)
		var part []runner.Result
		if r.over == nil {
			if len(w.Filters) > 0 {
				n.Out.Say("wave %s, %d of %d: %s", w.List[k].Name, k+1, len(w.List), runner.Plural(len(todo), "stack"))
			}
			y := Only(x, g, todo)
			y.Blocked = map[string]string{}
			for _, p := range todo {
				if blocked[p] != "" {
					y.Blocked[p] = blocked[p]
				}
			}
			if w.Limit.set {
				y.StopAfter = r.allowed(len(todo)) + 1
			}
			var failed error
			if part, failed = runner.Execute(ctx, g, tasks, y, r.observe); failed != nil && err == nil {
				err = failed
				r.over = &runner.Result{Status: runner.StatusCanceled, Reason: "not started: the results cannot be recorded"}
			}
			r.judge(k, part)
			r.ended = time.Now()
		} else {
			for _, p := range todo {
				res := *r.over
				res.Stack, res.Exit = tasks[p].Stack, -1
				if blocked[p] != "" {
					res.Status, res.Cause, res.Reason = runner.StatusBlocked, blocked[p], ""
				}
				if failed := r.observe(runner.Event{Kind: runner.Finished, Result: res}); failed != nil && err == nil {
					err = failed
				}
				part = append(part, res)
			}
		}
		for _, res := range part {
			came[res.Stack.Path] = res
		}
		results = append(results, part...)
	}
	return results, err
}

// blockedBy is, for what depends on a stack that failed, or was canceled by itself, the
// one that did so in the first place.
func blockedBy(g *runner.Graph, came map[string]runner.Result, canceled bool) map[string]string {
	cause := map[string]string{}
	for _, p := range g.Order() {
		switch r, has := came[p]; {
		case has && (r.Status == runner.StatusFailed || r.Status == runner.StatusCanceled && canceled):
			cause[p] = p
		case has && r.Status == runner.StatusBlocked:
			cause[p] = r.Cause
		case has:
		default:
			for _, q := range g.Predecessors(p) {
				if cause[p] = cause[q]; cause[p] != "" {
					break
				}
			}
		}
	}
	return cause
}

// rollout is one execution of the waves.
type rollout struct {
	*Waves
	n        *Session
	x        runner.Options
	target   string
	observe  func(runner.Event) error
	over     *runner.Result // set once nothing further starts: what is left becomes that
	failures int
	ended    time.Time // when the last wave that was executed was over
}

// allowed is how many failures a wave of so many stacks may have.
func (r *rollout) allowed(stacks int) int {
	if r.Limit.percent {
		return r.Limit.n * stacks / 100
	}
	return max(r.Limit.n-r.failures, 0)
}

// judge decides whether the wave that has ended lets the next one start.
func (r *rollout) judge(k int, results []runner.Result) {
	if r.over != nil {
		return // interrupted
	}
	allowed, failed, cause := r.allowed(len(results)), 0, ""
	for _, res := range results {
		switch res.Status {
		case runner.StatusFailed, runner.StatusCanceled:
			failed++
			if failed == 1 || r.Limit.set {
				cause = res.Stack.Path
			}
		case runner.StatusBlocked:
			if cause == "" {
				cause = res.Cause
			}
		}
	}
	r.failures += failed
	switch name := r.List[k].Name; {
	case r.Limit.set && failed > allowed:
		for _, res := range results {
			if res.Status == runner.StatusBlocked && res.Reason != "" {
				cause = res.Cause // the one that was one too many
			}
		}
		r.over = &runner.Result{Status: runner.StatusBlocked, Cause: cause, Reason: fmt.Sprintf("the wave %s had %s", name, runner.Plural(failed, "failure"))}
	case cause != "" && (!r.Limit.set || r.x.FailFast):
		r.over = &runner.Result{Status: runner.StatusBlocked, Cause: cause, Reason: fmt.Sprintf("the wave %s is not ok", name)}
	}
}

// pass waits, and asks, before a wave may start, whose stacks are told so.
func (r *rollout) pass(k int, tasks map[string]runner.Task, todo []string) {
	hold := func(wait time.Duration, reason string) {
		for _, p := range todo {
			for _, w := range r.n.Watch { // what is said of it is said of the wave
				w(runner.Event{Kind: runner.Held, Wait: wait, Result: runner.Result{Stack: tasks[p].Stack, Exit: -1, Reason: reason}})
			}
		}
	}
	before := k - 1
	var records []note.Record
	for i := k - 1; i >= 0; i-- {
		for _, rec := range r.List[i].stand {
			if rec.At.After(r.ended) {
				r.ended = rec.At
			}
		}
		if len(records) == 0 {
			records = slices.Clone(r.List[i].stand)
			for _, p := range r.List[i].stacks {
				if rec, has := r.came[p]; has {
					records = append(records, rec)
				}
			}
			if len(records) > 0 {
				before = i
			}
		}
	}
	from, to := r.List[before].Name, r.List[k].Name
	if wait := min(r.Soak-time.Since(r.ended), r.Soak); !r.ended.IsZero() && wait > 0 {
		until := time.Now().Add(wait).Format("15:04:05")
		r.n.Out.Say("soaking for %s before the wave %s, until %s", runner.Took(wait), to, until)
		hold(wait, "soaking until "+until)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case sig := <-r.x.Signals:
			_ = r.observe(runner.Event{Kind: runner.Interrupted, Signal: sig})
			return
		}
	}
	if r.Gate == "" {
		return
	}
	// The records it is about are on the disk, and in reach of `tmnotes status`.
	if err := r.n.Store.Flush(context.Background()); err != nil {
		r.n.Out.Warn(err.Error())
	}
	r.n.Out.Say("the gate after the wave %s: %s", from, note.NewRedactor(r.n.Environ).Text(r.Gate, 200))
	hold(0, "for the gate after the wave "+from)
	exit, err := r.ask(from, to, records)
	switch {
	case r.over != nil: // interrupted
	case err != nil:
		r.over = &runner.Result{Status: runner.StatusBlocked, Reason: fmt.Sprintf("the gate after the wave %s could not be asked: %v", from, err)}
	case exit != 0:
		r.over = &runner.Result{Status: runner.StatusBlocked, Reason: fmt.Sprintf("the gate after the wave %s said no (exit code %d)", from, exit)}
	default:
		return
	}
	if r.over.Status == runner.StatusBlocked {
		r.n.Out.Say("%s; nothing further starts", r.over.Reason)
	}
}

// ask runs the gate. Signals are passed on to it as to the command of a stack: the
// first and the second one each once, the third kills it.
func (r *rollout) ask(from, to string, records []note.Record) (exit int, err error) {
	var stdin bytes.Buffer
	enc := json.NewEncoder(&stdin)
	enc.SetEscapeHTML(false)
	for i := range records {
		if err := enc.Encode(records[i]); err != nil {
			return 0, err
		}
	}
	shell := runner.Shell(r.Gate)
	cmd := exec.Command(shell[0], shell[1:]...)
	cmd.Dir = r.n.Store.WorkTree()
	cmd.Env = r.n.with("TMNOTES_WAVE="+from, "TMNOTES_NEXT_WAVE="+to, "TMNOTES_RUN="+r.n.RunID, "TMNOTES_COMMIT="+r.n.Commit.Hash, "TMNOTES_TARGET="+r.target)
	out, resume := r.aside()
	defer resume()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &stdin, out, out
	cmd.WaitDelay = 2 * time.Second // what it leaves behind may hold its output open
	gate, err := runner.StartProgram(cmd, r.x.Foreground)
	if err != nil {
		return 0, err
	}
	signals := 0
	return gate.Wait(r.x.Signals, func(sig os.Signal) {
		switch signals++; signals {
		case 1:
			_ = r.observe(runner.Event{Kind: runner.Interrupted, Signal: sig})
		case 3:
			gate.Kill()
		}
	})
}

func ParseLimit(text string) (l failureLimit, err error) {
	if text == "" {
		return l, nil
	}
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || percent && n > 100 {
		return l, fmt.Errorf("--max-failures: %q is no number of stacks, and no percentage from 0%% to 100%%", text)
	}
	return failureLimit{true, n, percent}, nil
}
