package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func whereCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "where",
		Usage:     "show how far a change has got: which stacks of which targets have it, and why others do not",
		ArgsUsage: "COMMIT|PR",
		Description: "The stacks that a commit touches are those whose inputs are others than at its first parent. PR is the number of a pull or\n" +
			"merge request, as '#12', !12 or 12: that is looked for in the history of HEAD and of the remote's default branch (\"Merge pull\n" +
			"request #12\", \"… (#12)\", \"See merge request …!12\"), then among refs/pull/12/head, refs/merge-requests/12/head and the like.\n" +
			"A stack has the change (deployed) if its inputs are as the commit left them, or if what is deployed has the commit, or what it\n" +
			"was squashed, rebased or picked to, in its history, and it was not reverted since. That is looked for by the changed files.\n" +
			"What cannot be told is unknown. Reads what is here; `tmnotes fetch` brings what is on the remote.",
		Flags:  slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{formatFlag()}, storeFlags()),
		Action: inClone(env, parseWhere, where),
	}
}

// whereOptions is what the flags of where say, checked.
type whereOptions struct {
	rev    string
	pr     int // 0: a commit
	target string
}

func parseWhere(c *cli.Context) (o whereOptions, err error) {
	o = whereOptions{rev: c.Args().First(), target: c.String("target")}
	switch {
	case o.rev == "":
		return o, errors.New("which change? Name a commit, or a pull request in quotes, as in: tmnotes where HEAD~1, tmnotes where '#12'")
	case c.Args().Len() > 1:
		return o, fmt.Errorf("one change at a time, not %d", c.Args().Len())
	}
	if number := strings.TrimLeft(o.rev, "#!"); number != o.rev {
		if o.pr, err = strconv.Atoi(number); err != nil || o.pr < 1 {
			return o, fmt.Errorf("%s is not the number of a pull request; write it like '#12'", o.rev)
		}
	}
	return o, errors.Join(setLogLevel(c), project.ValidTarget(o.target))
}

func where(here *clone, o whereOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	if err := here.read(); err != nil {
		return err
	}
	p, err := here.projectAtHead()
	if err != nil {
		return err
	}
	tips := []string{"refs/remotes/" + p.Remote + "/" + p.Branch, "HEAD"}
	change, err := here.change(o, p, tips)
	if err != nil {
		return err
	}
	rows, err := query.Tracing{S: here.store, St: here.state, Project: here.loaded, Stacks: p.Stacks, Change: change, Target: o.target, Tips: tips}.Trace(here.c.Context)
	if err != nil {
		return err
	}
	if here.json {
		return terminal.PrintJSON(here.Out, whereShown{change.Commit.Hash, change.From, change.PR, change.Commit.Subject, change.Author, change.Commit.Time.UTC(), append([]query.Reached{}, rows...)})
	}
	return sayWhere(here, change, rows)
}

// projectAtHead is what has to be known of the project at HEAD. To load it takes longer than all
// else, so it is kept.
type projectAtHead struct {
	Remote, Branch string // Terramate's default ones
	Stacks         []runner.Stack
}

func (here *clone) projectAtHead() (p projectAtHead, err error) {
	head, err := here.store.Resolve("HEAD")
	if err != nil {
		return p, err
	}
	name := "stacks-1-" + head.Hash
	if text, kept := here.store.Kept(name); kept && json.Unmarshal([]byte(text), &p) == nil {
		return p, nil
	}
	loaded, err := here.loaded()
	if err != nil {
		return p, err
	}
	p = projectAtHead{Remote: loaded.DefaultRemote(), Branch: loaded.DefaultBranch()}
	all, err := loaded.All()
	if err != nil {
		return p, err
	}
	for _, s := range all {
		p.Stacks = append(p.Stacks, runner.Stack{Path: s.Path, ID: s.ID})
	}
	clean, err := loaded.Clean()
	if text, bad := json.Marshal(p); err == nil && clean && bad == nil {
		here.store.Keep(name, string(text))
	}
	return p, err
}

// loaded is the project, which is loaded once.
func (here *clone) loaded() (*project.Project, error) {
	if here.project == nil {
		if err := here.load(project.Options{Terragrunt: true, Memory: here.store}); err != nil {
			return nil, err
		}
	}
	return here.project, nil
}

// change is what was asked for. A plain number is that of a pull request, unless it is the beginning
// of a commit's name.
func (here *clone) change(o whereOptions, p projectAtHead, tips []string) (c gitstate.Change, err error) {
	n := o.pr
	if n == 0 {
		if c, err = here.store.ChangeOf(o.rev); err == nil {
			return c, nil
		}
		if _, there := here.store.Resolve(o.rev); there == nil {
			return c, err // its parent is missing
		}
		number, bad := strconv.Atoi(o.rev)
		if bad != nil || number < 1 || len(o.rev) > 9 {
			return c, err
		}
		n = number
	}
	c, err = here.store.PullRequest(here.c.Context, n, tips...)
	if errors.Is(err, gitstate.ErrNoPR) {
		err = fmt.Errorf("no commit of HEAD or %s/%s says that it merged #%d, and no ref of it is here; `git fetch %s pull/%d/head:refs/pull/%d/head` (GitLab: merge-requests/%d/head:refs/merge-requests/%d/head) brings it, or name the commit",
			p.Remote, p.Branch, n, p.Remote, n, n, n, n)
	}
	return c, err
}

// whereShown is what --format json prints.
type whereShown struct {
	Commit  string          `json:"commit"`
	From    string          `json:"from,omitempty"` // the commit that it is compared with
	PR      int             `json:"pr,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Author  string          `json:"author,omitempty"`
	At      time.Time       `json:"at"`
	Stacks  []query.Reached `json:"stacks"`
}

func sayWhere(here *clone, c gitstate.Change, rows []query.Reached) error {
	what := fmt.Sprintf("%s %q by %s, %s", note.Short(c.Commit.Hash), c.Commit.Subject, c.Author, terminal.Ago(time.Since(c.Commit.Time)))
	if c.PR > 0 {
		what = fmt.Sprintf("#%d: %s", c.PR, what)
	}
	if len(rows) == 0 {
		here.Say("%s touches no stack", what)
		return nil
	}
	stacks, backends, has := map[string]bool{}, map[[2]string]int{}, 0
	for i := range rows {
		backends[[2]string{rows[i].Stack, rows[i].Target}]++
	}
	var table [][]string
	now := time.Now()
	for i := range rows {
		r := &rows[i]
		stacks[r.Stack] = true
		if r.Status == query.Deployed {
			has++
		}
		row := reachedRow(r, now)
		if backends[[2]string{r.Stack, r.Target}] > 1 {
			row[2] += " " + r.Backend
		}
		table = append(table, row)
	}
	here.Say("%s touches %s", what, runner.Plural(len(stacks), "stack"))
	err := here.Table(here.Out, []string{"STATUS", "STACK", "TARGET", "SINCE", "COMMIT", "RUN", "WHY"}, table, terminal.StatusColor)
	here.Say("%d of %d have it", has, len(rows))
	err = errors.Join(err, sayLocked(here, rows))
	here.sayAge()
	return err
}

func reachedRow(r *query.Reached, now time.Time) []string {
	since, commit, run, target := "-", "-", "-", cmp.Or(r.Target, "-")
	if r.Status == query.Deployed && !r.Since.IsZero() {
		since = terminal.Ago(now.Sub(r.Since))
	}
	if r.Commit != "" {
		commit = note.Short(r.Commit)
	}
	if r.Run != "" {
		run = note.ShortRun(r.Run)
	}
	why := r.Why
	if r.Was != "" {
		why = strings.TrimSuffix("it was "+r.Was+"; "+why, "; ")
	}
	return []string{string(r.Status), r.Stack, target, since, commit, run, why}
}

// sayLocked says who is at the stacks that are under way.
func sayLocked(here *clone, rows []query.Reached) (err error) {
	byTarget := map[string][]query.StackView{}
	for i := range rows {
		r := &rows[i]
		base, _, _ := strings.Cut(r.Target, "+")
		byTarget[base] = append(byTarget[base], query.StackView{Stack: runner.Stack{ID: r.ID, Path: r.Stack}, View: query.View{Deploy: r.Latest}})
	}
	for target, views := range byTarget {
		err = errors.Join(err, sayClaims(here, views, target))
	}
	return err
}
