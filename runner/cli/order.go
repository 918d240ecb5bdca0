package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Of pipelines that overlap the newer commit's deployment is to stand at the end. A
// stack of which a later commit is deployed is superseded (takeOff). That says
// nothing of a stack that a later commit's pipeline left alone, since what was
// deployed was what it has: there, to deploy an earlier commit would be a step back,
// too, and nobody would come after it.

// newer knows of the pipelines of later commits.
type newer struct {
	digests *query.Pendings
	commit  string // that this run deploys
	remote  string
	target  string
	commits []string             // after it, on which the target was deployed, or was looked at
	known   map[string]time.Time // others: zero of one that is here, else when it was asked for last
}

func newNewer(ctx context.Context, n *session, p *project.Project, st *gitstate.State, remote, target string) (*newer, error) {
	o := &newer{digests: &query.Pendings{Ctx: context.WithoutCancel(ctx), S: n.store, P: p, St: st, Then: map[string]map[string]string{}},
		commit: n.commit.Hash, remote: remote, target: target, known: map[string]time.Time{}}
	// Those of later commits began after this one was made, if clocks are not too wrong.
	heads, err := st.RunsSince(ctx, n.commit.Time.Add(-clockSlack))
	if err != nil {
		return nil, err
	}
	return o, o.know(ctx, heads)
}

// clockSlack is more than the clocks of those who commit and of those who deploy differ.
const clockSlack = 6 * time.Hour

// know takes in the heads of runs. A commit that is not here is asked for, since
// what was pushed after a job's clone was made is what matters.
func (o *newer) know(ctx context.Context, heads []gitstate.Stored) error {
	var commits []string
	for _, h := range heads {
		if h.Deploys() && h.Target == o.target && h.Commit != o.commit && o.news(h.Commit) && !slices.Contains(commits, h.Commit) {
			commits = append(commits, h.Commit)
		}
	}
	if len(commits) == 0 {
		return nil
	}
	if o.remote != "" {
		if err := o.digests.S.Bring(ctx, o.remote, commits); err != nil {
			return err
		}
	}
	after, err := o.digests.S.After(ctx, o.commit, commits)
	if err != nil {
		return err
	}
	for _, c := range commits {
		has, err := o.digests.S.Has(c)
		switch {
		case err != nil:
			return err
		case after[c]:
			o.commits = append(o.commits, c)
		case has:
			o.known[c] = time.Time{}
		default:
			o.known[c] = time.Now()
		}
	}
	return nil
}

// askAgain is how long a commit is not asked for again that the remote did not give.
const askAgain = time.Minute

// news reports whether it is not known yet if a commit is a later one.
func (o *newer) news(commit string) bool {
	asked, known := o.known[commit]
	return !slices.Contains(o.commits, commit) && (!known || !asked.IsZero() && time.Since(asked) > askAgain)
}

// back is why to deploy a stack would be a step back from what is deployed, "" if it
// would not.
func (o *newer) back(l *gitstate.Latest, stack string) (string, error) {
	if o == nil || len(o.commits) == 0 || l.Op != note.Deploy || l.Status != note.OK || l.Dirty || len(l.Diverged) > 0 {
		return "", nil
	}
	deployed, unknown, err := o.digests.Recorded(l)
	if err != nil || unknown != "" {
		return "", err
	}
	here, err := o.digests.Digests(o.commit)
	if err != nil || here[stack] == "" || here[stack] == deployed {
		return "", err
	}
	for _, c := range o.commits {
		if there, err := o.digests.Digests(c); err != nil || there[stack] == deployed {
			return fmt.Sprintf("what a newer commit (%s) has is already deployed", note.Short(c)), err
		}
	}
	return "", nil
}

// lookedAt records that a pipeline found nothing to deploy at a commit, once for each
// commit: that of an earlier one that is late must not deploy what this one has left
// as it is.
func (n *session) lookedAt(ctx context.Context, u *ui, ci ciJob, sync syncPlan, ops string, o runOptions, again *bool) error {
	target := o.sel.Target
	if sync.remote == "" || !note.AnyDeploys(strings.Split(ops, ",")...) || o.exec.DryRun {
		return n.store.Flush(ctx)
	}
	lines, err := n.store.Note(n.commit.Hash)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(lines, func(l gitstate.Line) bool {
		return !l.Copied && l.Record.Event == note.Started && l.Record.Deploys() && l.Record.Target == target
	}) {
		return n.store.Flush(ctx)
	}
	if err := n.announce(n.head(ctx, ci, ops, target, 0, o.command), nil); err != nil {
		return err
	}
	if err := n.finish(nil); err != nil {
		return err
	}
	if _, err := n.store.PushFetched(ctx, sync.remote); err != nil {
		u.Warn(fmt.Sprintf("%v; nothing was to be done, but a pipeline of an earlier commit that comes late does not learn of it", err))
		return nil
	}
	if _, err := n.store.Fetch(ctx, sync.remote); err != nil {
		return err
	}
	now, err := n.store.State(ctx)
	if err != nil {
		return err
	}
	heads, err := now.Began(n.before)
	*again = n.reselect && n.overtaken(heads, target)
	return err
}

// overtaken reports whether runs of other commits are among those that began.
func (n *session) overtaken(heads []gitstate.Stored, target string) bool {
	return slices.ContainsFunc(heads, func(h gitstate.Stored) bool {
		return h.Run != n.run && h.Commit != n.commit.Hash && h.Deploys() && h.Target == target
	})
}

// run runs what `run` and `script run` select. With --pending it selects anew where
// a pipeline of another commit began between the look at what is deployed and the
// announcement: neither knew of the other then.
func run(c *cli.Context, env Env, command []string, plan work) error {
	const most = 3
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	var first error
	for range most {
		again := false
		err := runOnce(c, env, command, plan, &again)
		if first == nil {
			first = err
		}
		if !again || c.Context.Err() != nil || os.Chdir(dir) != nil {
			break
		}
		newUI(env).Say("a pipeline of another commit began meanwhile: looking again at what is pending")
	}
	return first
}
