package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/forge"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

func commentCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "comment",
		Usage: "say on a pull request what it would deploy, and after the merge what came of that",
		Description: "Before the merge the comment has what `tmnotes preview` says, and the plans of this commit; after it, what came of each stack.\n" +
			"There is one comment for each target, which later runs update. After the merge the commit status tmnotes (tmnotes/TARGET)\n" +
			"of the merge commit is pending until all that was announced is deployed, and failed where a stack is.\n" +
			"The forge, the repository and the pull request are the CI job's. The token is in GITHUB_TOKEN, GITLAB_TOKEN or GITEA_TOKEN.",
		Flags: slices.Concat([]cli.Flag{
			&cli.IntFlag{Name: "pr", DefaultText: "that of the CI job, or whose merge HEAD is", Usage: "the pull request (merge request) with the number `N`"},
			&cli.StringFlag{Name: "base", DefaultText: "the pull request's, else Terramate's default branch", Usage: "preview the merge into `REF`"},
		}, chdirFlags(), targetFlags(), flagsOf(settings.forge, settings.forgeUrl), syncFlags(), storeFlags()),
		Action: inClone(env, parseComment, comment),
	}
}

// commentOptions is what the flags of comment say, checked.
type commentOptions struct {
	number       int // 0: as the CI says
	base, target string
}

func parseComment(c *cli.Context) (commentOptions, error) {
	o := commentOptions{number: c.Int("pr"), base: c.String("base"), target: c.String("target")}
	if err := noArgs(c); err != nil {
		return o, err
	}
	if c.IsSet("pr") && o.number < 1 {
		return o, fmt.Errorf("--pr: %d is not the number of a pull request", o.number)
	}
	return o, cmp.Or(checkBase(c), project.ValidTarget(o.target))
}

// commenter says something about one target on one forge.
type commenter struct {
	*clone
	commentOptions
	forge.Forge
	config forge.Config
}

func comment(here *clone, o commentOptions) error {
	x := &commenter{clone: here, commentOptions: o}
	if err := x.findForge(); err != nil {
		return fmt.Errorf("%w (nothing was posted)", err)
	}
	return x.ask(x.post)
}

// findForge finds the repository of which the CI, or the remote, says that it is this one.
func (x *commenter) findForge() (err error) {
	remote, err := findRemote(x.c, x.store, "")
	if err != nil {
		return err
	}
	x.config, err = forge.Detect(x.env.Getenv, settings.forge.text(x.c, x.store), settings.forgeUrl.text(x.c, x.store),
		query.RepositoryName(x.c.Context, x.store, syncSetting(x.c, x.store).Code(x.store, remote)))
	if err != nil {
		return err
	}
	program, _ := version()
	x.config.Agent = "tmnotes/" + program
	x.Forge, err = forge.New(x.config)
	return err
}

// ask does something within --network-timeout, and says what a token lacks.
func (x *commenter) ask(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(x.c.Context, x.store.NetworkTimeout())
	defer cancel()
	err := do(ctx)
	if e, is := errors.AsType[*forge.Error](err); is && e.Refused() {
		return fmt.Errorf("%w; %s", err, lacks[x.config.Kind])
	}
	if errors.Is(err, context.DeadlineExceeded) && x.c.Context.Err() == nil {
		return fmt.Errorf("%s did not answer within %s; see --network-timeout", x.Name(), x.store.NetworkTimeout())
	}
	return err
}

// lacks is what a token needs that was not enough.
var lacks = map[forge.Kind]string{
	forge.GitHub: "the job needs `permissions:` with pull-requests: write, and after the merge statuses: write",
	forge.GitLab: "the token needs the scope api and the role Developer",
	forge.Gitea:  "the token needs the scopes write:issue, write:repository and read:user",
}

func (x *commenter) post(ctx context.Context) error {
	head, err := x.store.Resolve("HEAD")
	if err != nil {
		return err
	}
	number := cmp.Or(x.number, x.config.Number)
	var pr *forge.PullRequest
	if number > 0 {
		pr, err = x.PullRequest(ctx, number)
	} else {
		pr, err = x.PullRequestOf(ctx, head.Hash)
	}
	switch {
	case number > 0 && errors.Is(err, forge.ErrNotFound):
		return fmt.Errorf("%s has no pull request %d, or the token does not see it (nothing was posted)", x.Name(), number)
	case errors.Is(err, forge.ErrNotFound):
		return x.postOutcome(ctx, nil, head.Hash, true)
	case err != nil:
		return err
	case pr.Merged:
		return x.postOutcome(ctx, pr, pr.Merge, pr.Merge == head.Hash)
	case !pr.Open:
		x.Say("%s is closed and was not merged: nothing to say", numbered(pr))
		return nil
	}
	c, err := x.preview()
	if err != nil {
		return err
	}
	return x.set(ctx, pr, c, len(c.Preview.Stacks)+len(c.Preview.Removed) == 0)
}

func numbered(pr *forge.PullRequest) string { return fmt.Sprintf("pull request %d", pr.Number) }

// set makes or updates the comment. One that has nothing to say is not made for that.
func (x *commenter) set(ctx context.Context, pr *forge.PullRequest, c *report.Comment, nothing bool) error {
	marker := report.Marker(c.Target)
	old, err := forge.Sticky(ctx, x, pr.Number, marker)
	if err != nil {
		return err
	}
	if nothing && old == nil {
		x.Say("nothing to say on %s of %s", numbered(pr), x.Name())
		return nil
	}
	var body bytes.Buffer
	if err := c.WriteMarkdown(&body, bodyOf(old), x.CommentLimit()-1024); err != nil {
		return err
	}
	made, err := forge.SetSticky(ctx, x, pr.Number, marker, body.String())
	if err != nil {
		return err
	}
	x.Say("commented on %s of %s%s", numbered(pr), x.Name(), strings.TrimSuffix(": "+made.URL, ": "))
	return nil
}

func bodyOf(c *forge.Comment) string {
	if c == nil {
		return ""
	}
	return c.Body
}

// postOutcome says what came of a merge, and, where that is what was deployed last, of those that it settled.
func (x *commenter) postOutcome(ctx context.Context, pr *forge.PullRequest, merge string, deployed bool) error {
	here := x.clone
	if err := here.load(project.Options{Terragrunt: true, Inputs: true, Memory: here.store}); err != nil {
		return err
	}
	if pr == nil {
		if err := here.onBase(merge); err != nil {
			return err
		}
	}
	// What is pending is asked of HEAD: of one without the merge the answer would be another's.
	before, err := here.store.Ancestors(here.c.Context, "HEAD")
	if err != nil {
		return err
	}
	if !before[merge] {
		return fmt.Errorf("HEAD does not have the merge %s of %s; check out the branch that is deployed (nothing was posted)", note.Short(merge), numbered(pr))
	}
	if err := here.know(note.Deploy); err != nil {
		return err
	}
	q, err := query.NewPendings(here.c.Context, here.store, here.project, here.state)
	if err != nil {
		return err
	}
	if err := x.outcome(ctx, q, pr, merge); err != nil || !deployed {
		return err
	}
	const most = 10 // each of them is a few requests
	settled, err := query.SettledBy(here.store, merge, x.target)
	if err != nil {
		return err
	}
	for _, commit := range settled[:min(len(settled), most)] {
		pr, err := x.PullRequestOf(ctx, commit)
		if err != nil && !errors.Is(err, forge.ErrNotFound) {
			return err
		}
		if pr != nil {
			commit = pr.Merge
		}
		if !before[commit] {
			continue
		}
		if err := x.outcome(ctx, q, pr, commit); err != nil {
			return err
		}
	}
	return nil
}

// onBase refuses a commit that is no merge, and not on the branch that is deployed: it would have a status that nothing
// brings to an end.
func (here *clone) onBase(commit string) error {
	name := here.baseOf()
	base, err := here.store.Resolve(name)
	if err != nil {
		return err
	}
	on, err := here.store.Ancestors(here.c.Context, base.Hash)
	if err == nil && !on[commit] {
		err = fmt.Errorf("no merged pull request has %s, and %s does not either: on which pull request? Add --pr N (nothing was posted)", note.Short(commit), name)
	}
	return err
}

func (x *commenter) outcome(ctx context.Context, q *query.Pendings, pr *forge.PullRequest, merge string) error {
	at, err := x.store.Resolve(merge)
	if err != nil {
		return err
	}
	c := &report.Comment{Target: x.target, Merge: at.Hash, Subject: at.Subject}
	m := query.Merge{Commit: at.Hash}
	if pr != nil {
		old, err := forge.Sticky(ctx, x, pr.Number, report.Marker(x.target))
		if err != nil {
			return err
		}
		m.Announced, m.Backlog = report.Announced(bodyOf(old))
		files, err := x.Files(ctx, pr.Number)
		if err != nil {
			return err
		}
		if m.From, err = x.store.Brought(x.c.Context, at.Hash, files); err != nil {
			return err
		}
	}
	views := query.ViewsOf(x.c.Context, x.env.Environ, x.state, x.project, x.target)
	if c.Outcome, err = q.Outcomes(x.c.Context, views, m); err != nil {
		return err
	}
	if pr != nil {
		if err := x.set(ctx, pr, c, len(c.Outcome) == 0); err != nil {
			return err
		}
	}
	s := forge.Status{State: forge.Pending, Context: "tmnotes", Description: c.Summary()}
	if x.target != "" {
		s.Context += "/" + x.target
	}
	switch {
	case c.Failed():
		s.State = forge.Failure
	case c.Done():
		s.State = forge.Success
	}
	if pr != nil {
		s.URL = pr.URL
	}
	if err := x.SetStatus(ctx, at.Hash, s); err != nil {
		return fmt.Errorf("the commit status of %s: %w", note.Short(at.Hash), err)
	}
	x.Say("commit status %s of %s: %s, %s", s.Context, note.Short(at.Hash), s.State, s.Description)
	return nil
}

// preview is what is said before the merge.
func (x *commenter) preview() (*report.Comment, error) {
	p, err := makePreview(x.clone, previewOptions{base: x.base, op: note.Deploy, sel: project.Selection{Target: x.target}})
	if err != nil {
		return nil, err
	}
	c := &report.Comment{Target: x.target, Preview: p}
	c.Plans, err = x.plans(p)
	return c, err
}

// plans are those that were made of the stacks of a preview at HEAD.
func (x *commenter) plans(p *report.Preview) (plans []report.Plan, err error) {
	head, err := x.store.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	for _, s := range p.Stacks {
		l, err := x.state.Latest(note.Slot{ID: s.ID, Path: s.Path, Target: command.TargetOf(x.target, x.env.workspace()), Op: planOp})
		if err != nil {
			return nil, err
		}
		if l.Commit != head.Hash || l.Run == "" {
			continue
		}
		text, found, err := x.store.Text(gitstate.TextKey{Kind: gitstate.PlanText, ID: l.ID, Path: l.Record.Stack, Target: l.Target, Op: l.Op, Run: l.Run})
		if err != nil {
			return nil, err
		}
		if found {
			plans = append(plans, report.Plan{Stack: s.Path, Counts: l.Record.Plan().String(), Text: text.Body})
		}
	}
	return plans, nil
}

// planOp is the operation of a command that only plans.
const planOp = "plan"
