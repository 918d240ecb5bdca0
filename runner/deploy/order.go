package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Of pipelines that overlap the newer commit's deployment is to stand at the end. A
// stack of which a later commit is deployed is superseded (decide). That says
// nothing of a stack that a later commit's pipeline left alone, since what was
// deployed was what it has: there, to deploy an earlier commit would be a step back,
// too, and nobody would come after it.

// newer knows of the pipelines of later commits.
type newer struct {
	digests *query.Pendings
	commit  string // that this run deploys
	code    string // the remote that has commits
	target  string
	commits []string             // after it, on which the target was deployed, or was looked at
	known   map[string]time.Time // others: zero of one that is here, else when it was asked for last
}

func newNewer(ctx context.Context, n *Session, p *project.Project, st *gitstate.State, code, target string) (*newer, error) {
	o := &newer{digests: &query.Pendings{Ctx: context.WithoutCancel(ctx), S: n.Store, P: p, St: st, Then: map[string]map[string]string{}},
		commit: n.Commit.Hash, code: code, target: target, known: map[string]time.Time{}}
	// Those of later commits began after this one was made, if clocks are not too wrong.
	heads, err := st.RunsSince(ctx, n.Commit.Time.Add(-clockSlack))
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
	if o.code != "" {
		if err := o.digests.S.Remote(o.code).Bring(ctx, commits); err != nil {
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

// LookedAt records that a pipeline found nothing to deploy at a commit, once for each
// commit: that of an earlier one that is late must not deploy what this one has left
// as it is.
func (x *Plan) LookedAt(ctx context.Context) (overtaken bool, err error) {
	target, remote := x.Select.Target, x.Route.Remote
	if remote == "" || !note.AnyDeploys(x.asked...) || x.Exec.DryRun || x.Gone != nil {
		return false, x.Store.Flush(ctx)
	}
	lines, err := x.Store.Note(x.Commit.Hash)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(lines, func(l gitstate.Line) bool {
		return !l.Copied && l.Record.Event == note.Started && l.Record.Deploys() && l.Record.Target == target
	}) {
		return false, x.Store.Flush(ctx)
	}
	if err := x.announce(x.head(ctx, strings.Join(x.asked, ","), target, 0, x.Command), nil); err != nil {
		return false, err
	}
	if err := x.finish(nil); err != nil {
		return false, err
	}
	if _, err := x.Store.Remote(remote).PushFetched(ctx); err != nil {
		x.Out.Warn(fmt.Sprintf("%v; nothing was to be done, but a pipeline of an earlier commit that comes late does not learn of it", err))
		return false, nil
	}
	if _, err := x.Store.Remote(remote).Fetch(ctx); err != nil {
		return false, err
	}
	now, err := x.Store.State(ctx)
	if err != nil {
		return false, err
	}
	heads, err := now.Began(x.Basis)
	return x.reselect && x.overtaken(heads, target), err
}

// overtaken reports whether runs of other commits are among those that began.
func (n *Session) overtaken(heads []gitstate.Stored, target string) bool {
	return slices.ContainsFunc(heads, func(h gitstate.Stored) bool {
		return h.Run != n.RunID && h.Commit != n.Commit.Hash && h.Deploys() && h.Target == target
	})
}
