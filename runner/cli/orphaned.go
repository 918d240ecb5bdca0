package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// Stacks that are gone from HEAD are destroyed in work trees of the commits that they were deployed at,
// one of each commit, below .git/tmnotes: what `terraform init` leaves there is there for the destroy
// that is typed next. Each commit is a run of its own, since a success is recorded only on the commit it ran on.

func orphanedFlags() []cli.Flag {
	return []cli.Flag{&cli.BoolFlag{Name: "orphaned", Usage: "run in the stacks that are gone from HEAD and not destroyed, as they were deployed last, to destroy them"}}
}

// orphanedFlagsNot are the flags that say which stacks run, or how a deployment does.
func orphanedFlagsNot() []cli.Flag {
	return slices.Concat(selectionFlags(), statusFlags(), pendingFlags(), waveFlags()[:1], legFlags(), []cli.Flag{runFlags()[0], runReportFlag(),
		&cli.BoolFlag{Name: "reverse"}, &cli.BoolFlag{Name: "force"}, &cli.BoolFlag{Name: "allow-rollback"}, &cli.StringFlag{Name: "plan-file"},
		&cli.BoolFlag{Name: "sync-deployment"}, &cli.BoolFlag{Name: "sync-drift-status"}, &cli.BoolFlag{Name: "sync-preview"}})
}

// checkOrphaned checks what was typed with --orphaned.
func checkOrphaned(c *cli.Context, env Env, cmd []string) error {
	for _, f := range orphanedFlagsNot() {
		name := f.Names()[0]
		if c.IsSet(name) && !inEnvironment(f, env) && env.Getenv("TMNOTES_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))) == "" {
			return fmt.Errorf("--%s cannot be combined with --orphaned, which runs in all orphaned stacks at or below the working directory (-C DIR)", name)
		}
	}
	return destroys(cmd, env.Environ, c.String("op"))
}

// destroys is an error for a command that is not known to destroy a stack, or to leave it as it is.
func destroys(cmd, env []string, op string) error {
	is := command.Recognise(cmd, env, "")
	harmless := command.Harmless(cmd, env)
	switch {
	case command.NamesState(cmd, env):
		return errors.New("--orphaned: -state names a state that need not be the one that the stack deployed: leave it out")
	case harmless && op != note.Destroy, is.Name == note.Destroy && is.Note == "" && cmp.Or(op, note.Destroy) == note.Destroy:
		return nil
	case op == note.Destroy && !harmless && is.Name != note.Destroy && !command.Applies(cmd, env):
		return nil // who typed it knows
	}
	return fmt.Errorf("--orphaned: %s does not destroy a stack; use terraform destroy, or --op destroy with a program of your own that does (terraform init and plan -destroy run as well)",
		note.NewRedactor(env, cmd).Command(cmd))
}

// orphanRun is all that one command line does to orphaned stacks.
type orphanRun struct {
	c       *cli.Context
	env     Env
	u       *ui
	store   *gitstate.Store
	project *project.Project
	o       runOptions
	found   *query.Orphanage
	target  string            // as records have it
	trees   map[string]string // by commit
	made    []string          // of them those that were not there

	gone  map[*query.Orphan]bool // dealt with
	count map[runner.Status]int
	err   error // the worst
}

func runOrphaned(c *cli.Context, env Env, cmd []string) error {
	if err := errors.Join(checkFormat(c), setLogLevel(c), checkOrphaned(c, env, cmd)); err != nil {
		return err
	}
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	if !c.Bool("dry-run") {
		runner.OutliveReader()
	}
	env = withScreen(env)
	s, err := openStore(c, env, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	r := &orphanRun{c: c, env: env, u: newUI(env), store: s, trees: map[string]string{}, gone: map[*query.Orphan]bool{}, count: map[runner.Status]int{}}
	if r.o, err = parseRun(c, env, s, cmd); err != nil {
		return err
	}
	if err := r.find(dir); err != nil {
		return err
	}
	for batch := r.found.Next(r.gone); len(batch) > 0 && c.Context.Err() == nil; batch = r.found.Next(r.gone) {
		began := len(r.count) > 0
		if err := r.run(batch); err != nil {
			if r.err = err; began && exitCode(err) == exitUsage {
				r.err = &exitError{exitFailed, err}
			}
			break
		}
	}
	return r.end()
}

// find finds out which stacks are orphaned, and which of them can be destroyed.
func (r *orphanRun) find(dir string) (err error) {
	ctx, env := r.c.Context, r.env
	if r.project, err = project.Load(ctx, project.Options{Dir: r.store.WorkTree(), Environ: env.Environ}); err != nil {
		return err
	}
	p, base := r.project, r.o.Select.Target
	r.target = command.TargetOf(base, env.workspace())
	if err := p.NeedsTarget(base); err != nil {
		return err
	}
	world := env.world(r.u)
	safe := deploy.Request{Safeguards: r.o.Safeguards, Select: project.Selection{Target: base}}
	safe.Exec.DryRun = true // HEAD is what counts, not the files
	if err := world.CheckSafeguards(ctx, r.store, p, &safe); err != nil {
		return err
	}
	route, err := r.o.Sync.Route(r.store, p.DefaultRemote(), env.ci(), note.Destroy)
	if err != nil {
		return err
	}
	if err := world.Fetch(ctx, r.store, route); err != nil {
		return err
	}
	st, err := r.store.State(ctx)
	if err != nil {
		return err
	}
	if r.found, err = query.FindOrphans(ctx, r.store, st, p, r.target); err != nil {
		return err
	}
	below := "/"
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if rel, err := filepath.Rel(p.Root(), dir); err == nil && rel != "." {
		below = "/" + filepath.ToSlash(rel)
	}
	others := r.found.Narrow(below)
	r.tidy()
	if others == len(r.found.All) {
		r.u.Say("no stack is orphaned: nothing to do")
	}
	return nil
}

// folder is where the work trees are.
func (r *orphanRun) folder() string { return filepath.Join(r.store.GitDir(), "tmnotes", "orphaned") }

// treeName is that of a commit's work tree. Each target has its own: what init leaves in it may differ.
func (r *orphanRun) treeName(commit string) string {
	return strings.TrimSuffix(note.Short(commit)+"@"+r.target, "@")
}

// tidy removes work trees that are of no use any more, as of who was killed. Another checkout of this clone may be
// in the middle of a destroy in one, though nothing is orphaned here.
func (r *orphanRun) tidy() {
	entries, err := os.ReadDir(r.folder())
	if err != nil {
		return
	}
	commits, err := r.found.Busy()
	if err != nil {
		return
	}
	for _, x := range r.found.All {
		commits = append(commits, x.Commit)
	}
	for _, e := range entries {
		needed := slices.ContainsFunc(commits, func(commit string) bool { return commit != "" && r.treeName(commit) == e.Name() })
		if _, target, _ := strings.Cut(e.Name(), "@"); !needed && target == r.target {
			r.remove(filepath.Join(r.folder(), e.Name()))
		}
	}
}

func (r *orphanRun) remove(tree string) {
	if err := r.project.RemoveWorkTree(context.WithoutCancel(r.c.Context), tree); err != nil {
		r.u.Warn(err.Error())
	}
}

// tree makes the work tree of a commit.
func (r *orphanRun) tree(commit string) (string, error) {
	if dir := r.trees[commit]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(r.folder(), r.treeName(commit))
	made, err := r.project.WorkTreeAt(r.c.Context, commit, dir)
	if err != nil {
		return "", err
	}
	if made {
		r.made = append(r.made, dir)
	}
	r.trees[commit], err = filepath.EvalSymlinks(dir)
	return r.trees[commit], err
}

// run runs the command in orphans of one commit. An error ends it all.
func (r *orphanRun) run(batch []*query.Orphan) error {
	ctx, commit := r.c.Context, batch[0].Commit
	dir, err := r.tree(commit)
	if err != nil {
		return err
	}
	o := r.o
	if len(r.gone) > 0 {
		o.Run = r.store.NewRun()
	}
	byPath := map[string]*query.Orphan{}
	o.Gone = &deploy.Gone{Since: map[string]time.Time{}, Check: func(s runner.Stack, at command.Place, destroys bool) string {
		return r.check(byPath[s.Path], at, dir, destroys)
	}}
	for _, x := range batch {
		byPath[x.At.Path] = x
		o.Gone.Paths = append(o.Gone.Paths, x.At.Path)
		if o.Gone.Since[x.At.Path], err = r.found.Latest(x); err != nil {
			return err
		}
		if x.Deploy.OKDirty && x.Commit == x.Deploy.OKCommit {
			r.u.Warn(fmt.Sprintf("%s was deployed with uncommitted changes, which %s has not", x.Path, note.Short(commit)))
		}
	}
	o.Select = project.Selection{Target: r.o.Select.Target}
	o.Waves = deploy.Waves{Limit: o.Waves.Limit, LimitTyped: o.Waves.LimitTyped}
	o.Reverse, o.reports, o.Safeguards = true, nil, o.Safeguards.WithoutGit()
	e := deploy.Engine{World: r.env.world(r.u), Store: r.store, Dir: dir, Commit: commit}
	p, err := e.Plan(ctx, o.Request, r.tasks(&o, byPath))
	if err != nil {
		return err
	}
	x := &chosen{Plan: p, u: r.u, o: o, words: r.c.Args().Slice()}
	if o.events {
		x.events = &terminal.Events{Run: p.RunID, Out: r.env.Stdout}
	}
	out, err := x.run(r.c)
	r.took(x, out, byPath)
	if out.Interrupted || out.Stopped != nil || err != nil && exitCode(err) == exitUsage {
		return err
	}
	if err != nil && (r.err == nil || exitCode(r.err) == exitNotPushed) {
		r.err = err
	}
	return nil
}

// took takes down what came of a run.
func (r *orphanRun) took(x *chosen, out *deploy.Outcome, of map[string]*query.Orphan) {
	came := map[string]runner.Status{}
	for _, res := range out.Results {
		came[res.Stack.Path] = res.Status
		r.count[res.Status]++
	}
	for path, orphan := range of {
		_, off := x.Off[path]
		switch status := came[path]; {
		case !slices.Contains(x.Order, path):
			orphan.Blocked = "it is not in the work tree of " + note.Short(orphan.Commit)
		case x.Exec.DryRun || !slices.Contains(x.Ops, note.Destroy):
			r.gone[orphan] = true
		case status == runner.StatusOK, (status == runner.StatusSkipped || off) && r.found.IsDestroyed(orphan):
			r.gone[orphan] = true
		case status == runner.StatusSkipped || off:
			orphan.Blocked = "another run is at it"
		default:
			orphan.Blocked = tried
		}
	}
}

// tried is why an orphan is not run again: the run has said what came of it.
const tried = "it was not destroyed"

// end tells what was left out, and removes the work trees of what is destroyed.
func (r *orphanRun) end() error {
	r.found.Next(r.gone)
	first := ""
	for _, x := range r.found.All {
		if x.Blocked != "" && x.Blocked != tried && x.Blocked != query.NotAsked {
			r.u.Warn(fmt.Sprintf("%s is not destroyed: %s", x.Path, x.Blocked))
			r.count[runner.StatusBlocked]++
			if !strings.Contains(x.Blocked, " depends on it") {
				first = cmp.Or(first, x.ID, x.Path)
			}
		}
	}
	if first != "" {
		r.u.Say("if one was destroyed otherwise, record that: tmnotes mark --op destroy --reason '…' %s%s", ofTarget(r.o.Select.Target), shellQuote(first))
	}
	for commit, dir := range r.trees {
		left := slices.ContainsFunc(r.found.All, func(x *query.Orphan) bool { return x.Commit == commit && !r.gone[x] })
		if r.o.Exec.DryRun && slices.Contains(r.made, dir) || !left && !r.o.Exec.DryRun && !command.Harmless(r.o.Command, r.env.Environ) {
			r.remove(dir)
		}
	}
	if len(r.trees) > 1 && !r.o.Exec.DryRun {
		var parts []string
		for _, status := range []runner.Status{runner.StatusOK, runner.StatusFailed, runner.StatusCanceled, runner.StatusBlocked} {
			if n := r.count[status]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, status))
			}
		}
		r.u.Say("all: %s, at %d commits", strings.Join(parts, ", "), len(r.trees))
	}
	switch {
	case r.err == nil && r.c.Context.Err() != nil:
		return &exitError{code: exitInterrupted}
	case r.count[runner.StatusBlocked] > 0 && r.err == nil:
		return &exitError{code: exitFailed}
	case r.count[runner.StatusBlocked] > 0 && exitCode(r.err) == exitNotPushed:
		return &exitError{exitFailed, r.err}
	}
	return r.err
}

// check says why an orphan must not be destroyed at a place. Where its state is a file beside the code, the work tree
// gets a link to the one in the folder that was left.
func (r *orphanRun) check(x *query.Orphan, at command.Place, tree string, destroys bool) string {
	missing := ""
	for _, file := range at.StateFiles() {
		rel, err := filepath.Rel(tree, file)
		if err != nil || !filepath.IsLocal(rel) {
			if _, err := os.Stat(file); err != nil {
				missing = file
			}
			continue
		}
		old := filepath.Join(r.project.Root(), rel) // a link there may be of another work tree, or to what is not there any more
		info, err := os.Stat(old)
		if err == nil && info.Mode().IsRegular() {
			_ = os.Remove(file) // of the commit, and so of another time
			if err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.Symlink(old, file)); err != nil {
				err = os.Link(old, file) // Windows asks for a privilege to make the other kind
			}
		}
		if err != nil || !info.Mode().IsRegular() {
			missing = old
		}
	}
	if !destroys {
		return ""
	}
	code := command.StateList(r.o.Command) != nil || command.ProgramName(r.o.Command) == "terragrunt"
	if why := r.found.Misplaced(x, r.o.Select.Target, at, code, tree); why != "" {
		return why
	}
	if missing != "" {
		return fmt.Sprintf("its state is a file that is not here, %s: destroy it where that is", missing)
	}
	return ""
}

// tasks are those of the command, in stacks whose state is looked at first.
func (r *orphanRun) tasks(o *runOptions, of map[string]*query.Orphan) deploy.Tasks {
	inner := commandTasks(r.u, o)
	return func(p *project.Project, n *deploy.Session, stacks []runner.Stack) (map[string]runner.Task, error) {
		tasks, err := inner(p, n, stacks)
		if err != nil {
			return nil, err
		}
		for path, task := range tasks {
			cmd := &task.Commands[0]
			if err := destroys(cmd.Args, task.Env, o.Op); err != nil {
				return nil, err
			}
			list := command.StateList(cmd.Args)
			if n.Stacks[path].Op.Name != note.Destroy || list == nil || of[path].Emptied(nothingDone) {
				continue
			}
			before := cmd.Prepare
			cmd.Prepare = func(ctx context.Context) (more []string, err error) {
				if before != nil {
					if more, err = before(ctx); err != nil {
						return nil, err
					}
				}
				return more, notEmpty(ctx, list, task.Stack.Dir, append(slices.Clip(task.Env), more...))
			}
		}
		return tasks, nil
	}
}

// nothingDone is in the reason of an attempt that ended before anything could be destroyed.
const nothingDone = "nothing was destroyed"

// notEmpty is an error where a state has nothing in it, or cannot be read.
func notEmpty(ctx context.Context, list []string, dir string, env []string) error {
	cmd := exec.CommandContext(ctx, list[0], list[1:]...)
	if path, err := runner.LookPath(list[0], dir, env); err == nil {
		cmd.Path = path
	}
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(slices.Clone(env), func(pair string) bool { return strings.HasPrefix(pair, "TF_CLI_ARGS") })
	out, err := cmd.Output()
	if err == nil && strings.TrimSpace(string(out)) != "" {
		return nil
	}
	if failed, is := errors.AsType[*exec.ExitError](err); is && !strings.Contains(string(failed.Stderr), "No state file was found") {
		said := strings.Join(strings.Fields(note.PlainText(string(failed.Stderr))), " ")
		return fmt.Errorf("%s: %s: %s", nothingDone, strings.Join(list, " "), cmp.Or(said, failed.Error()))
	} else if err != nil && !is {
		return fmt.Errorf("%s: %w", nothingDone, err)
	}
	return errors.New(nothingDone + ": its state has no resources; if that is right: tmnotes mark --op destroy")
}
