package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/forge"
)

// An issue on the forge follows the drift of a stack. Its number is in the records of the stack's drift runs, so it is
// asked for right before the result is recorded. What the forge does not do is a warning: the records are the
// truth, and a later run makes up for it.

func issueFlags() []cli.Flag {
	return flagsOf(settings.issues, settings.maxOpenIssues, settings.forge, settings.forgeUrl)
}

// issueOptions is what --issues says, checked.
type issueOptions struct {
	on, typed bool
	most      int // open at once
}

func parseIssues(c *cli.Context, s *gitstate.Store) (o issueOptions, err error) {
	if o.on, err = settings.issues.yes(c, s, false); err != nil {
		return o, err
	}
	o.typed = settings.issues.given(c)
	if o.most, err = settings.maxOpenIssues.number(c, s); err == nil && o.most < 0 {
		err = fmt.Errorf("%s must be 0 or more, not %d", settings.maxOpenIssues.origin(c, s), o.most)
	}
	return o, err
}

// driftIssues are those of the stacks of a run.
type driftIssues struct {
	*commenter
	x    *chosen
	most int

	mu       sync.Mutex
	open     int
	touched  map[string]int // by file: a pull request that touches it; nil before that is known
	off      bool           // the forge did not do something
	opened   []string       // what is said at the end
	updated  int
	closed   int
	unopened int
}

// newDriftIssues is nil where no issue is asked for, or the run neither looks for drift nor deploys.
func newDriftIssues(c *cli.Context, env Env, x *chosen) (*driftIssues, error) {
	if !x.o.issues.on {
		return nil, nil
	}
	concerned := false
	for _, op := range x.Ops {
		concerned = concerned || closesIssue(op) || op == note.Drift
	}
	d := &driftIssues{commenter: &commenter{clone: &clone{ui: x.u, c: c, store: x.Store}}, x: x, most: x.o.issues.most}
	var err error
	if concerned {
		err = d.findForge()
	} else if x.o.issues.typed {
		err = fmt.Errorf("--issues is for drift runs and deployments, and this is recorded as %s: add --op drift if the command looks for drift", strings.Join(x.Ops, ", "))
	}
	switch {
	case err != nil && x.o.issues.typed:
		return nil, err
	case err != nil:
		x.u.Warn(fmt.Sprintf("no issue is opened or closed: %v", err))
		return nil, nil
	case !concerned:
		return nil, nil
	}
	return d, d.count()
}

func closesIssue(op string) bool { return op == note.Deploy || op == note.Destroy }

// count takes down how many issues are open, as far as the records say.
func (d *driftIssues) count() error {
	for _, slot := range d.x.State.Slots() {
		if slot.Op != note.Drift {
			continue
		}
		drift, err := d.x.State.Latest(slot)
		if err != nil {
			return err
		}
		slot.Op = note.Deploy
		deployed, err := d.x.State.Latest(slot)
		if err != nil {
			return err
		}
		number, closed := drift.Record.Issue()
		if number > 0 && !closed && gitstate.StackStatus(deployed, drift) == note.Drifted {
			d.open++
		}
	}
	return nil
}

// watch has the issue of each stack in which drift is looked for follow what is found.
func (d *driftIssues) watch(tasks map[string]runner.Task) {
	if d == nil {
		return
	}
	for path, task := range tasks {
		if d.x.Planned(path).Op.Name != note.Drift {
			continue
		}
		before := task.After
		task.After = func(ctx context.Context, r runner.Result) {
			if before != nil {
				before(ctx, r)
			}
			number, closed := d.x.IssueOf(path)
			switch {
			case r.Status == runner.StatusDrifted:
				d.try(ctx, path, func(ctx context.Context) error { return d.found(ctx, path, number) })
			case r.Status == runner.StatusOK && number > 0 && !closed:
				d.try(ctx, path, func(ctx context.Context) error {
					still, err := d.close(ctx, d.about(path), number, "a drift run found no difference")
					d.x.SetIssue(path, still, err == nil)
					return err
				})
			}
		}
		tasks[path] = task
	}
}

// try does something on the forge. After what that does not do, nothing more is tried: it may well not do the rest, and each result
// would wait for that.
func (d *driftIssues) try(ctx context.Context, path string, do func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.store.NetworkTimeout())
	defer cancel()
	err := do(ctx)
	if err == nil {
		return
	}
	d.off = true
	if e, is := errors.AsType[*forge.Error](err); is && e.Refused() {
		err = fmt.Errorf("%w; the token must be allowed to write issues and to read pull requests", err)
	}
	d.x.u.Warn(fmt.Sprintf("the issue of %s: %v; this run touches no more issues, a later one makes up for it", path, err))
}

// about is what there is to say of a stack.
func (d *driftIssues) about(path string) *report.Issue {
	r, x := d.x.Planned(path), d.x
	by := x.CI.By
	if by == "" {
		by = d.store.Who(d.c.Context)
	}
	return &report.Issue{Stack: path, ID: r.Stack.ID, Target: r.Target, Commit: x.Commit.Hash, Subject: x.Commit.Subject, Run: x.RunID, By: by, Job: x.CI.Job}
}

// ours is an issue of ours that follows the stack; nil where there is none: a number alone, that anybody may have
// recorded, gives no right to write there.
func (d *driftIssues) ours(ctx context.Context, i *report.Issue, number int) (*forge.Issue, error) {
	if number == 0 {
		return nil, nil
	}
	have, err := d.Issue(ctx, number)
	if errors.Is(err, forge.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.ReplaceAll(have.Body, "\r\n", "\n"), i.Marker()) {
		d.x.u.Warn(fmt.Sprintf("issue %d of %s is not that of %s, and is left alone", number, d.Name(), i.Stack))
		return nil, nil
	}
	return have, nil
}

// found opens or updates the issue of a stack that has drifted.
func (d *driftIssues) found(ctx context.Context, path string, number int) error {
	i := d.about(path)
	have, err := d.ours(ctx, i, number)
	if err != nil {
		return err
	}
	opening := have == nil || !have.Open
	if opening {
		pull, err := d.touches(ctx, path)
		switch {
		case err != nil:
			return err
		case pull > 0:
			d.opened = append(d.opened, fmt.Sprintf("no issue for %s: pull request %d touches it", path, pull))
			return nil
		case d.open >= d.most:
			d.unopened++
			return nil
		}
	}
	i.Record = d.x.DriftOf(path)
	if text, kept, err := d.store.Text(gitstate.TextKey{Kind: gitstate.PlanText, ID: i.ID, Path: path, Target: i.Target, Op: note.Drift, Run: d.x.RunID}); err == nil && kept {
		i.Plan = text.Body
	}
	set := forge.Issue{Title: i.Title(), Body: i.Body(d.CommentLimit()), Open: true}
	if have != nil {
		set.Number = have.Number
	}
	made, err := d.SetIssue(ctx, set)
	if err != nil {
		return err
	}
	d.x.SetIssue(path, made.Number, false)
	if !opening {
		d.updated++
		return nil
	}
	verb := "opened"
	if have != nil {
		verb = "reopened"
	}
	d.open++
	d.opened = append(d.opened, strings.TrimSuffix(fmt.Sprintf("%s issue %d for %s: %s", verb, made.Number, path, made.URL), ": "))
	return nil
}

// close closes an issue, if it is ours and open, and returns its number; 0 where it is not there any more.
func (d *driftIssues) close(ctx context.Context, i *report.Issue, number int, why string) (int, error) {
	have, err := d.ours(ctx, i, number)
	if err != nil {
		return number, err
	}
	if have == nil {
		return 0, nil
	}
	if have.Open {
		if _, err := d.SetIssue(ctx, forge.Issue{Number: number, Title: have.Title, Body: i.Closed(have.Body, why), Open: false}); err != nil {
			return number, err
		}
		d.closed++
		d.open--
	}
	return number, nil
}

// touches is an open pull request of this repository that touches the stack's folder, 0 for none. Those of forks do not
// count: anybody may open one.
func (d *driftIssues) touches(ctx context.Context, path string) (int, error) {
	if d.touched == nil {
		pulls, err := d.OpenPullRequests(ctx)
		if err != nil {
			return 0, err
		}
		touched := map[string]int{}
		for _, p := range pulls {
			if p.Fork {
				continue
			}
			files, err := d.Files(ctx, p.Number)
			if err != nil {
				return 0, err
			}
			for _, f := range files {
				touched[f] = p.Number
			}
		}
		d.touched = touched
	}
	dir, err := filepath.Rel(d.store.WorkTree(), d.x.Planned(path).Stack.Dir)
	if err != nil {
		return 0, err
	}
	for f, pull := range d.touched {
		if dir == "." || strings.HasPrefix(f, filepath.ToSlash(dir)+"/") {
			return pull, nil
		}
	}
	return 0, nil
}

// end closes the issues of the stacks that were deployed, and says what became of issues.
func (d *driftIssues) end(ctx context.Context, out *deploy.Outcome) {
	if d == nil {
		return
	}
	for _, r := range out.Results {
		p := d.x.Planned(r.Stack.Path)
		if r.Status != runner.StatusOK || r.Started.IsZero() || !closesIssue(p.Op.Name) {
			continue
		}
		drift, err := d.x.State.Latest(note.Slot{ID: p.Stack.ID, Path: r.Stack.Path, Target: p.Target, Op: note.Drift})
		if number, closed := drift.Record.Issue(); err == nil && number > 0 && !closed {
			d.try(ctx, r.Stack.Path, func(ctx context.Context) error {
				_, err := d.close(ctx, d.about(r.Stack.Path), number, fmt.Sprintf("%s (%s)", map[bool]string{true: "the stack was deployed", false: "the stack was destroyed"}[p.Op.Name == note.Deploy], p.Op.Name))
				return err
			})
		}
	}
	for _, line := range d.opened {
		d.x.u.Say("%s", line)
	}
	if d.updated+d.closed > 0 {
		d.x.u.Say("issues of %s: %d updated, %d closed", d.Name(), d.updated, d.closed)
	}
	if d.unopened > 0 {
		d.x.u.Say("%s drifted without an issue: --max-open-issues is %d, and %d are open", runner.Plural(d.unopened, "stack"), d.most, d.open)
	}
}
