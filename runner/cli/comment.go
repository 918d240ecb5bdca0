package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
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
			&cli.StringFlag{Name: "out", Usage: "write what it would say before the merge to `FILE` (- is stdout), and ask no forge"},
			&cli.StringFlag{Name: "from", Usage: "post what --out wrote to `FILE`, in another job"},
		}, chdirFlags(), targetFlags(), flagsOf(settings.forge, settings.forgeURL), syncFlags(), storeFlags()),
		Action: inClone(env, parseComment, comment),
	}
}

// commentOptions is what the flags of comment say, checked.
type commentOptions struct {
	number            int // 0: as the CI says
	out, from, target string
}

func parseComment(c *cli.Context) (commentOptions, error) {
	o := commentOptions{number: c.Int("pr"), out: c.String("out"), from: c.String("from"), target: c.String("target")}
	switch {
	case noArgs(c) != nil:
		return o, noArgs(c)
	case c.IsSet("pr") && o.number < 1:
		return o, fmt.Errorf("--pr: %d is not the number of a pull request", o.number)
	case c.IsSet("out") && c.IsSet("from"):
		return o, errors.New("--out writes a comment that is not posted, and --from posts it; leave one out")
	case c.IsSet("out") && o.out == "", c.IsSet("from") && o.from == "":
		return o, errors.New("--out and --from need a file")
	case c.IsSet("from") && c.IsSet("target"):
		return o, errors.New("--from has its target in the file; leave out --target")
	}
	return o, project.ValidTarget(o.target)
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
	x.target = command.TargetOf(o.target, here.env.workspace())
	if o.out != "" {
		return x.write()
	}
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
	x.config, err = forge.Detect(x.env.Getenv, settings.forge.text(x.c, x.store), settings.forgeURL.text(x.c, x.store),
		query.RepositoryName(x.c.Context, x.store, syncSetting(x.c, x.store).Code(x.store, remote)))
	if err != nil {
		return err
	}
	x.config.Agent = "tmnotes/" + buildVersion()
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
	return err
}

// lacks is what a token needs that was not enough.
var lacks = map[forge.Kind]string{
	forge.GitHub: "the job needs `permissions:` with pull-requests: write, and after the merge statuses: write",
	forge.GitLab: "the token needs the scope api and the role Developer",
	forge.Gitea:  "the token needs the scopes write:issue, write:repository and read:user",
}

func (x *commenter) post(ctx context.Context) error {
	if x.from != "" {
		return x.postFile(ctx)
	}
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
	return x.setBody(ctx, pr.Number, marker, body.String())
}

func bodyOf(c *forge.Comment) string {
	if c == nil {
		return ""
	}
	return c.Body
}

func (x *commenter) setBody(ctx context.Context, number int, marker, body string) error {
	set, err := forge.SetSticky(ctx, x, number, marker, body)
	if err != nil {
		return err
	}
	x.Say("commented on pull request %d of %s%s", number, x.Name(), strings.TrimSuffix(": "+set.URL, ": "))
	return nil
}

// postFile posts what another job wrote, which needed no token for it.
func (x *commenter) postFile(ctx context.Context) error {
	number := cmp.Or(x.number, x.config.Number)
	if number == 0 {
		return errors.New("--from: on which pull request? This is no job of one; add --pr N")
	}
	text, err := os.ReadFile(x.from)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	body := string(text)
	marker := report.MarkerOf(body)
	if marker == "" {
		return fmt.Errorf("--from: %s is not what `tmnotes comment --out` writes", x.from)
	}
	if len(body) > x.CommentLimit() {
		return fmt.Errorf("--from: %s has %d bytes, and a comment on %s at most %d", x.from, len(body), x.config.Kind, x.CommentLimit())
	}
	if report.SaysNothing(body) {
		if old, err := forge.Sticky(ctx, x, number, marker); err != nil || old == nil {
			x.Say("nothing to say on pull request %d of %s", number, x.Name())
			return err
		}
	}
	return x.setBody(ctx, number, marker, body)
}

// write writes the comment to a file, for the forge with the least room.
func (x *commenter) write() error {
	c, err := x.preview()
	if err != nil {
		return err
	}
	return writeFile(x.env, x.out, func(w io.Writer) error { return c.WriteMarkdown(w, "", report.MarkdownLimit) })
}

// postOutcome says what came of a merge, and, where that is what was deployed last, of those that it settled.
func (x *commenter) postOutcome(ctx context.Context, pr *forge.PullRequest, merge string, deployed bool) error {
	here := x.clone
	if err := here.load(project.Options{Terragrunt: true, Inputs: true, Memory: here.store}); err != nil {
		return err
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
	const most = 10
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
		if err := x.outcome(ctx, q, pr, commit); err != nil {
			return err
		}
	}
	return nil
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
	}
	views := query.ViewsOf(x.c.Context, x.env.Environ, x.state, x.project, x.commentOptions.target)
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

// plans are those that were made of the stacks at HEAD.
func (x *commenter) plans(stacks []runner.Stack) (plans []report.Plan, err error) {
	head, err := x.store.Resolve("HEAD")
	if err != nil {
		return nil, err
	}
	for _, s := range stacks {
		l, err := x.state.Latest(note.Slot{ID: s.ID, Path: s.Path, Target: x.target, Op: planOp})
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
			plans = append(plans, report.Plan{Stack: s.Path, Text: text.Body})
		}
	}
	return plans, nil
}

// planOp is the operation of a command that only plans.
const planOp = "plan"
