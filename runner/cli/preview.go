package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func previewCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "preview",
		Usage: "show which stacks merging HEAD would deploy",
		Description: "Lists what `tmnotes run --pending` would deploy after HEAD is merged into the base: the stacks that this change makes\n" +
			"pending, and the backlog, which is pending at the base already and is deployed along with them. The merge is computed\n" +
			"aside: nothing in the repository changes, and reading it is all the permission that is needed.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "base", DefaultText: "the pull request's, else Terramate's default branch", Usage: "preview the merge into `REF`"},
		}, previewSelectionFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "for operation `NAME`"},
			&cli.BoolFlag{Name: "init", Usage: "take every stack as never deployed, where nothing is recorded"},
			settings.wave.flag(), settings.soak.flag(), settings.parallel.flag(),
			&cli.StringFlag{Name: "format", Value: "text", Usage: "print in `FORMAT`: text, json or markdown"},
		}, syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error {
			o, err := parsePreview(c)
			if err != nil {
				return err
			}
			return withStore(c, env, func(s *gitstate.Store, dir string) error {
				here := &clone{ui: newUI(env), c: c, store: s, dir: dir, json: o.format == "json"}
				p, err := makePreview(here, o)
				if err != nil {
					return err
				}
				return here.printPreview(p, o.format)
			})
		},
	}
}

// previewSelectionFlags are those of list without what compares with a base: preview does.
func previewSelectionFlags() []cli.Flag {
	return slices.DeleteFunc(selectionFlags(), func(f cli.Flag) bool {
		name := f.Names()[0]
		return name == "changed" || name == "git-change-base" || strings.HasSuffix(name, "-change-detection")
	})
}

// previewOptions is what the flags of preview say, checked.
type previewOptions struct {
	base, op, format string
	sel              project.Selection
	init             bool
}

func parsePreview(c *cli.Context) (o previewOptions, err error) {
	o = previewOptions{base: c.String("base"), init: c.Bool("init"), format: c.String("format")}
	if err := errors.Join(noArgs(c), setLogLevel(c)); err != nil {
		return o, err
	}
	switch {
	case o.format != "markdown" && checkFormat(c) != nil:
		return o, fmt.Errorf("--format: unknown format %q; use text, json or markdown", o.format)
	case checkBase(c) != nil:
		return o, checkBase(c)
	}
	if o.sel, err = selection(c); err != nil {
		return o, err
	}
	o.op, err = opFlag(c)
	return o, err
}

func checkBase(c *cli.Context) error {
	if base := c.String("base"); c.IsSet("base") && (base == "" || strings.HasPrefix(base, "-")) {
		return fmt.Errorf("--base: %q is not a revision; write one as in --base origin/main", base)
	}
	return nil
}

// makePreview finds out what merging HEAD would deploy.
func makePreview(here *clone, o previewOptions) (*report.Preview, error) {
	restore := project.RelaxGC(here.env.Environ)
	defer restore()
	if err := here.load(project.Options{Terragrunt: true, Inputs: true, Memory: here.store}); err != nil {
		return nil, err
	}
	if err := here.project.NeedsTarget(o.sel.Target); err != nil {
		return nil, err
	}
	// The notes are read while the merge is made.
	read := make(chan error, 1)
	go func() { read <- here.know(note.Deploy) }()
	base := cmp.Or(o.base, here.baseOf())
	m, err := here.project.Merge(here.c.Context, base)
	if err == nil {
		defer m.Close()
		if !m.Contained {
			err = m.Read(here.c.Context)
		}
	}
	if err := cmp.Or(<-read, err); err != nil {
		return nil, err
	}
	p := &report.Preview{At: time.Now().UTC(), Base: m.Base, BaseRef: base, Head: m.Head, Op: o.op, Target: o.sel.Target, Merged: m.Contained,
		Stacks: []report.PreviewStack{}, Undone: []report.PreviewStack{}, Removed: []report.PreviewStack{}}
	if head, err := here.store.Resolve(m.Head); err == nil {
		p.Subject = head.Subject
	}
	if p.Remote = here.sync.Remote; p.Remote != "" {
		p.Fetched = here.store.Remote(p.Remote).LastFetch()
	}
	if p.Merged {
		return p, nil
	}
	if err := deploy.RefuseEmpty(here.state, o.op, o.init); err != nil {
		return nil, err
	}
	clean, err := here.project.Clean()
	if p.Dirty = !clean; err != nil {
		return nil, err
	}
	q := &query.Merging{Ctx: here.c.Context, S: here.store, St: here.state, P: here.project, Merge: m, Select: o.sel, Op: o.op, Environ: here.env.Environ}
	if err := q.Look(p); err != nil {
		return nil, err
	}
	if q.Assumed > 0 {
		here.Say("the place of %s is not known here: assumed to be the recorded one", runner.Plural(q.Assumed, "stack"))
	}
	if q.Newer > 0 {
		here.Say("of %s a newer commit is deployed than %s has in this clone; `git fetch` brings what it is now", runner.Plural(q.Newer, "stack"), base)
	}
	return p, here.schedule(p, q)
}

// baseOf is what a pull request is merged into where CI says so, else the project's default branch.
func (here *clone) baseOf() string {
	branch := cmp.Or(here.env.Getenv("GITHUB_BASE_REF"), here.env.Getenv("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"), here.project.DefaultBranch())
	if remote := here.project.DefaultRemote(); slices.Contains(here.store.Remotes(), remote) {
		return remote + "/" + branch
	}
	return branch
}

// schedule finds out when which stack would be deployed: what is held, what others are at, in which
// waves, and how long it takes.
func (here *clone) schedule(p *report.Preview, q *query.Merging) error {
	g, err := q.Merge.After.Graph(q.Stacks)
	if err != nil {
		return err
	}
	if err := q.Held(g); err != nil {
		return err
	}
	waves, err := parseWaves(here.c, here.env, here.store)
	if err != nil {
		return err
	}
	stacks := map[string]runner.Stack{}
	for _, s := range q.Stacks {
		stacks[s.Path] = s
	}
	if err := waves.Divide(q.Merge.After.Project, func(path string) runner.Stack { return stacks[path] }, g, []string{p.Op}); err != nil {
		return err
	}
	if err := here.locked(p, q); err != nil {
		return err
	}
	skip := map[string]bool{}
	for _, path := range g.Order() {
		row := q.Row(path)
		row.Wave = waves.NameOf(path)
		skip[path] = row.Blocked()
	}
	if err := here.expect(p, q, g, &waves, skip); err != nil {
		return err
	}
	for _, path := range g.Order() {
		p.Stacks = append(p.Stacks, *q.Row(path))
	}
	return nil
}

// expect estimates how long it takes.
func (here *clone) expect(p *report.Preview, q *query.Merging, g *runner.Graph, waves *deploy.Waves, skip map[string]bool) (err error) {
	if p.Jobs, err = settings.parallel.number(here.c, here.store); err != nil {
		return err
	}
	p.Jobs = max(p.Jobs, 1)
	latest := map[string]gitstate.Latest{}
	for path, l := range q.Latest {
		if !skip[path] {
			latest[path] = l
		}
	}
	took, known, err := deploy.Durations(here.store, latest, func(path string) (op, target string) { return p.Op, cmp.Or(latest[path].Target, p.Target) })
	if err != nil {
		return err
	}
	p.Known = known
	var whole time.Duration
	for k, w := range waves.List {
		todo := waves.Todo(k, skip)
		if len(todo) == 0 {
			continue
		}
		if len(p.Waves) > 0 {
			whole += waves.Soak
		}
		if w.Name != "" {
			p.Waves = append(p.Waves, w.Name)
		}
		whole += runner.Expected(g, todo, took, p.Jobs)
	}
	p.Took = report.Duration(whole)
	for path, l := range latest {
		if l.OKCommit != "" {
			q.Row(path).Took = report.Duration(took[path])
		}
	}
	return nil
}

// locked says of which stacks a job has the lock now, by what was fetched last.
func (here *clone) locked(p *report.Preview, q *query.Merging) error {
	remote, err := findRemote(here.c, here.store, here.project.DefaultRemote())
	if err != nil || remote == "" {
		return err
	}
	claims, err := here.store.Remote(remote).Claims(here.c.Context)
	if err != nil {
		return err
	}
	target := command.TargetOf(p.Target, here.env.workspace())
	for _, s := range q.Stacks {
		i := slices.IndexFunc(claims, func(n gitstate.Claim) bool {
			of, _, _ := strings.Cut(n.Target, "+")
			return (n.Stack == s.Path || s.ID != "" && strings.EqualFold(n.ID, s.ID)) && (n.Target == target || of == p.Target) && n.At.Add(n.Lease).After(time.Now())
		})
		if i >= 0 {
			q.Row(s.Path).Lock = fmt.Sprintf("locked by %s %s", claims[i].Who(), deploy.SinceWhen(&claims[i]))
		}
	}
	return nil
}

func (here *clone) printPreview(p *report.Preview, format string) error {
	switch format {
	case "json":
		return terminal.PrintJSON(here.Out, p)
	case "markdown":
		return p.WriteMarkdown(here.Out, 0)
	}
	if p.Merged {
		here.Say("nothing to merge: %s has HEAD (%s) already", p.BaseRef, note.Short(p.Head))
		return nil
	}
	if p.Dirty {
		here.Say("uncommitted changes are not looked at: the preview is of HEAD")
	}
	if _, err := fmt.Fprintf(here.Out, "%s %q into %s: %s\n", note.Short(p.Head), p.Subject, p.BaseRef, p.Summary()); err != nil {
		return err
	}
	rows := here.previewRows(p)
	if len(rows) == 0 {
		return nil
	}
	head := []string{"WHAT", "STACK", "TIME", "WHY"}
	if len(p.Waves) > 1 {
		head = slices.Insert(head, 2, "WAVE")
	}
	err := here.Table(here.Out, head, rows, terminal.StatusColor)
	if len(p.Removed) > 0 {
		here.Say("next: tmnotes run --orphaned -- terraform destroy")
		here.Say("that destroys what is left of the removed stacks, once this is merged")
	}
	return err
}

func (here *clone) previewRows(p *report.Preview) (rows [][]string) {
	add := func(s *report.PreviewStack, what, why string) {
		row := []string{what, s.Path, runner.Took(time.Duration(s.Took)), why}
		if len(p.Waves) > 1 {
			row = slices.Insert(row, 2, s.Wave)
		}
		rows = append(rows, row)
	}
	for _, group := range []string{"change", "backlog", "held"} {
		for i := range p.Stacks {
			if s := &p.Stacks[i]; s.Group() == group {
				add(s, group, s.Says())
			}
		}
	}
	for i := range p.Removed {
		add(&p.Removed[i], "removed", p.Removed[i].Why)
	}
	for i := range p.Undone {
		add(&p.Undone[i], "no longer", p.Undone[i].Why)
	}
	return rows
}
