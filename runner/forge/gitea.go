package forge

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"

	"code.gitea.io/sdk/gitea"
)

type giteaForge struct {
	base        string
	http        *http.Client
	host        string
	owner, repo string
}

func newGitea(c Config, at *url.URL, client *http.Client) (Forge, error) {
	f := &giteaForge{base: strings.TrimSuffix(at.String(), "/api/v1"), http: client, host: at.Host}
	f.owner, f.repo = split(c.Repository)
	_, err := f.client(context.Background())
	return f, err
}

// client is one for a context, which this client takes in no other way. What the server's version is, which says nothing of
// Forgejo, it does not ask.
func (f *giteaForge) client(ctx context.Context) (*gitea.Client, error) {
	return gitea.NewClient(f.base, gitea.SetContext(ctx), gitea.SetHTTPClient(f.http), gitea.SetGiteaVersion(""))
}

// ask is a request by a client with the context.
func ask[T any](ctx context.Context, f *giteaForge, do func(*gitea.Client) (T, *gitea.Response, error)) (T, *gitea.Response, error) {
	c, err := f.client(ctx)
	if err != nil {
		var none T
		return none, nil, err
	}
	got, r, err := do(c)
	return got, r, plain(err)
}

func (f *giteaForge) Name() string { return f.owner + "/" + f.repo + " on " + f.host }

// CommentLimit is GitHub's: Gitea has none of its own, and a page with more takes long.
func (*giteaForge) CommentLimit() int { return 65_536 }

func (f *giteaForge) Me(ctx context.Context) (string, error) {
	user, _, err := ask(ctx, f, (*gitea.Client).GetMyUserInfo)
	if err != nil {
		return "", err
	}
	return user.UserName, nil
}

func pullRequestOfGitea(p *gitea.PullRequest) *PullRequest {
	out := &PullRequest{Number: int(p.Index), Title: p.Title, URL: p.HTMLURL, Open: p.State == gitea.StateOpen, Merged: p.HasMerged}
	if p.MergedCommitID != nil {
		out.Merge = *p.MergedCommitID
	}
	if p.Head != nil && p.Base != nil {
		out.Head, out.Base, out.Fork = p.Head.Sha, p.Base.Ref, p.Head.RepoID != p.Base.RepoID
	}
	return out
}

func (f *giteaForge) PullRequest(ctx context.Context, number int) (*PullRequest, error) {
	p, _, err := ask(ctx, f, func(c *gitea.Client) (*gitea.PullRequest, *gitea.Response, error) {
		return c.GetPullRequest(f.owner, f.repo, int64(number))
	})
	if err != nil {
		return nil, err
	}
	return pullRequestOfGitea(p), nil
}

func (f *giteaForge) PullRequestOf(ctx context.Context, commit string) (*PullRequest, error) {
	p, _, err := ask(ctx, f, func(c *gitea.Client) (*gitea.PullRequest, *gitea.Response, error) {
		return c.GetCommitPullRequest(f.owner, f.repo, commit)
	})
	if err != nil {
		return nil, err
	}
	return mergedIn([]*PullRequest{pullRequestOfGitea(p)}, commit)
}

func nextOfGitea(r *gitea.Response) int {
	if r == nil {
		return 0
	}
	return r.NextPage
}

func (f *giteaForge) OpenPullRequests(ctx context.Context) (open []PullRequest, err error) {
	all, err := pages(func(page int) ([]*gitea.PullRequest, int, error) {
		items, r, err := ask(ctx, f, func(c *gitea.Client) ([]*gitea.PullRequest, *gitea.Response, error) {
			return c.ListRepoPullRequests(f.owner, f.repo, gitea.ListPullRequestsOptions{State: gitea.StateOpen, ListOptions: gitea.ListOptions{Page: page, PageSize: pageSize}})
		})
		return items, nextOfGitea(r), err
	})
	for _, p := range all {
		open = append(open, *pullRequestOfGitea(p))
	}
	return open, err
}

func (f *giteaForge) Files(ctx context.Context, number int) (names []string, err error) {
	all, err := pages(func(page int) ([]*gitea.ChangedFile, int, error) {
		items, r, err := ask(ctx, f, func(c *gitea.Client) ([]*gitea.ChangedFile, *gitea.Response, error) {
			return c.ListPullRequestFiles(f.owner, f.repo, int64(number), gitea.ListPullRequestFilesOptions{ListOptions: gitea.ListOptions{Page: page, PageSize: pageSize}})
		})
		return items, nextOfGitea(r), err
	})
	for _, file := range all {
		names = appendNames(names, file.Filename, file.PreviousFilename)
	}
	return names, err
}

func commentOfGitea(c *gitea.Comment) Comment {
	out := Comment{ID: c.ID, Body: c.Body, URL: c.HTMLURL}
	if c.Poster != nil && c.OriginalAuthor == "" { // else it was brought from another forge
		out.Author = c.Poster.UserName
	}
	return out
}

func (f *giteaForge) Comments(ctx context.Context, number int) (comments []Comment, err error) {
	all, err := pages(func(page int) ([]*gitea.Comment, int, error) {
		items, r, err := ask(ctx, f, func(c *gitea.Client) ([]*gitea.Comment, *gitea.Response, error) {
			return c.ListIssueComments(f.owner, f.repo, int64(number), gitea.ListIssueCommentOptions{ListOptions: gitea.ListOptions{Page: page, PageSize: pageSize}})
		})
		return items, nextOfGitea(r), err
	})
	for _, c := range all {
		comments = append(comments, commentOfGitea(c))
	}
	return comments, err
}

func (f *giteaForge) CreateComment(ctx context.Context, number int, body string) (*Comment, error) {
	made, _, err := ask(ctx, f, func(c *gitea.Client) (*gitea.Comment, *gitea.Response, error) {
		return c.CreateIssueComment(f.owner, f.repo, int64(number), gitea.CreateIssueCommentOption{Body: body})
	})
	if err != nil {
		return nil, err
	}
	c := commentOfGitea(made)
	return &c, nil
}

func (f *giteaForge) EditComment(ctx context.Context, _ int, id int64, body string) error {
	_, _, err := ask(ctx, f, func(c *gitea.Client) (*gitea.Comment, *gitea.Response, error) {
		return c.EditIssueComment(f.owner, f.repo, id, gitea.EditIssueCommentOption{Body: body})
	})
	return err
}

func (f *giteaForge) DeleteComment(ctx context.Context, _ int, id int64) error {
	_, _, err := ask(ctx, f, func(c *gitea.Client) (struct{}, *gitea.Response, error) {
		r, err := c.DeleteIssueComment(f.owner, f.repo, id)
		return struct{}{}, r, err
	})
	return err
}

func (f *giteaForge) SetStatus(ctx context.Context, commit string, s Status) error {
	_, _, err := ask(ctx, f, func(c *gitea.Client) (*gitea.Status, *gitea.Response, error) {
		return c.CreateStatus(f.owner, f.repo, commit, gitea.CreateStatusOption{State: gitea.StatusState(s.State), Context: s.Context, Description: s.Description, TargetURL: s.URL})
	})
	return err
}

func (f *giteaForge) Issue(ctx context.Context, number int) (*Issue, error) {
	return issueOfGitea(ask(ctx, f, func(c *gitea.Client) (*gitea.Issue, *gitea.Response, error) {
		return c.GetIssue(f.owner, f.repo, int64(number))
	}))
}

func issueOfGitea(i *gitea.Issue, _ *gitea.Response, err error) (*Issue, error) {
	if err != nil {
		return nil, err
	}
	return &Issue{Number: int(i.Index), Title: i.Title, Body: i.Body, Open: i.State == gitea.StateOpen, URL: cmp.Or(i.HTMLURL, i.URL)}, nil
}

func (f *giteaForge) SetIssue(ctx context.Context, i Issue) (*Issue, error) {
	if i.Number == 0 {
		return issueOfGitea(ask(ctx, f, func(c *gitea.Client) (*gitea.Issue, *gitea.Response, error) {
			return c.CreateIssue(f.owner, f.repo, gitea.CreateIssueOption{Title: i.Title, Body: i.Body})
		}))
	}
	state := gitea.StateClosed
	if i.Open {
		state = gitea.StateOpen
	}
	return issueOfGitea(ask(ctx, f, func(c *gitea.Client) (*gitea.Issue, *gitea.Response, error) {
		return c.EditIssue(f.owner, f.repo, int64(i.Number), gitea.EditIssueOption{Title: i.Title, Body: &i.Body, State: &state})
	}))
}
