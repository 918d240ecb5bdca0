package forge

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v75/github"
)

type gitHub struct {
	client      *github.Client
	host        string
	owner, repo string
}

func newGitHub(c Config, at *url.URL, client *http.Client) (Forge, error) {
	gh := github.NewClient(client)
	gh.BaseURL = at.JoinPath("/")
	gh.DisableRateLimitCheck = true // transport knows when to wait
	f := &gitHub{client: gh, host: at.Host}
	f.owner, f.repo = split(c.Repository)
	return f, nil
}

func (f *gitHub) Name() string { return f.owner + "/" + f.repo + " on " + f.host }

func (*gitHub) CommentLimit() int { return 65_536 }

// Me of the token of a job, or of an app, is not to be had by REST.
func (f *gitHub) Me(ctx context.Context) (string, error) {
	user, _, err := f.client.Users.Get(ctx, "")
	if err == nil {
		return user.GetLogin(), nil
	}
	if e, is := plain(err).(*Error); !is || e.Status != http.StatusForbidden {
		return "", plain(err)
	}
	path := "graphql" // of GitHub Enterprise Server: HOST/api/graphql beside HOST/api/v3
	if strings.HasSuffix(f.client.BaseURL.Path, "/v3/") {
		path = "../graphql"
	}
	request, err := f.client.NewRequest(http.MethodPost, path, map[string]string{"query": "{viewer{login}}"})
	if err != nil {
		return "", err
	}
	var out struct {
		Data struct{ Viewer struct{ Login string } }
	}
	if _, err = f.client.Do(ctx, request, &out); err != nil {
		return "", plain(err)
	}
	if out.Data.Viewer.Login == "" {
		return "", fmt.Errorf("%s does not say who the token writes as", f.host)
	}
	return strings.TrimSuffix(out.Data.Viewer.Login, bot) + bot, nil
}

// bot is the end of an app's name, which GraphQL may leave out, and which no name of a person has.
const bot = "[bot]"

func pullRequestOfGitHub(p *github.PullRequest) *PullRequest {
	return &PullRequest{Number: p.GetNumber(), Title: p.GetTitle(), URL: p.GetHTMLURL(), Head: p.GetHead().GetSHA(), Base: p.GetBase().GetRef(),
		Open: p.GetState() == "open", Merged: !p.GetMergedAt().IsZero(), Merge: p.GetMergeCommitSHA(),
		Fork: p.GetHead().GetRepo().GetID() != p.GetBase().GetRepo().GetID()}
}

func (f *gitHub) PullRequest(ctx context.Context, number int) (*PullRequest, error) {
	p, _, err := f.client.PullRequests.Get(ctx, f.owner, f.repo, number)
	if err != nil {
		return nil, plain(err)
	}
	return pullRequestOfGitHub(p), nil
}

func (f *gitHub) PullRequestOf(ctx context.Context, commit string) (*PullRequest, error) {
	all, err := pages(func(page int) ([]*github.PullRequest, int, error) {
		items, r, err := f.client.PullRequests.ListPullRequestsWithCommit(ctx, f.owner, f.repo, commit, &github.ListOptions{Page: page, PerPage: pageSize})
		return items, nextOfGitHub(r), err
	})
	if err != nil {
		return nil, plain(err)
	}
	var of []*PullRequest
	for _, p := range all {
		of = append(of, pullRequestOfGitHub(p))
	}
	return mergedIn(of, commit)
}

// mergedIn is the pull request whose merge made a commit: the last commit of it, else one of those that a
// rebase made.
func mergedIn(all []*PullRequest, commit string) (found *PullRequest, err error) {
	for _, p := range all {
		if p.Merged && p.Merge == commit {
			return p, nil
		} else if p.Merged && found == nil {
			found = p
		}
	}
	if found == nil {
		return nil, ErrNotFound
	}
	return found, nil
}

func nextOfGitHub(r *github.Response) int {
	if r == nil {
		return 0
	}
	return r.NextPage
}

func (f *gitHub) OpenPullRequests(ctx context.Context) (open []PullRequest, err error) {
	all, err := pages(func(page int) ([]*github.PullRequest, int, error) {
		items, r, err := f.client.PullRequests.List(ctx, f.owner, f.repo, &github.PullRequestListOptions{State: "open", ListOptions: github.ListOptions{Page: page, PerPage: pageSize}})
		return items, nextOfGitHub(r), err
	})
	for _, p := range all {
		open = append(open, *pullRequestOfGitHub(p))
	}
	return open, plain(err)
}

func (f *gitHub) Files(ctx context.Context, number int) (names []string, err error) {
	all, err := pages(func(page int) ([]*github.CommitFile, int, error) {
		items, r, err := f.client.PullRequests.ListFiles(ctx, f.owner, f.repo, number, &github.ListOptions{Page: page, PerPage: pageSize})
		return items, nextOfGitHub(r), err
	})
	for _, file := range all {
		names = appendNames(names, file.GetFilename(), file.GetPreviousFilename())
	}
	return names, plain(err)
}

func appendNames(names []string, more ...string) []string {
	for i, name := range more {
		if name != "" && (i == 0 || name != more[0]) {
			names = append(names, name)
		}
	}
	return names
}

func commentOfGitHub(c *github.IssueComment) Comment {
	return Comment{ID: c.GetID(), Author: c.GetUser().GetLogin(), Body: c.GetBody(), URL: c.GetHTMLURL()}
}

func (f *gitHub) Comments(ctx context.Context, number int) (comments []Comment, err error) {
	all, err := pages(func(page int) ([]*github.IssueComment, int, error) {
		items, r, err := f.client.Issues.ListComments(ctx, f.owner, f.repo, number, &github.IssueListCommentsOptions{ListOptions: github.ListOptions{Page: page, PerPage: pageSize}})
		return items, nextOfGitHub(r), err
	})
	for _, c := range all {
		comments = append(comments, commentOfGitHub(c))
	}
	return comments, plain(err)
}

func (f *gitHub) CreateComment(ctx context.Context, number int, body string) (*Comment, error) {
	made, _, err := f.client.Issues.CreateComment(ctx, f.owner, f.repo, number, &github.IssueComment{Body: &body})
	if err != nil {
		return nil, plain(err)
	}
	c := commentOfGitHub(made)
	return &c, nil
}

func (f *gitHub) EditComment(ctx context.Context, _ int, id int64, body string) error {
	_, _, err := f.client.Issues.EditComment(ctx, f.owner, f.repo, id, &github.IssueComment{Body: &body})
	return plain(err)
}

func (f *gitHub) DeleteComment(ctx context.Context, _ int, id int64) error {
	_, err := f.client.Issues.DeleteComment(ctx, f.owner, f.repo, id)
	return plain(err)
}

func (f *gitHub) SetStatus(ctx context.Context, commit string, s Status) error {
	status := &github.RepoStatus{State: github.Ptr(string(s.State)), Context: &s.Context, Description: &s.Description}
	if s.URL != "" {
		status.TargetURL = &s.URL
	}
	_, _, err := f.client.Repositories.CreateStatus(ctx, f.owner, f.repo, commit, status)
	return plain(err)
}

func (f *gitHub) Issue(ctx context.Context, number int) (*Issue, error) {
	i, _, err := f.client.Issues.Get(ctx, f.owner, f.repo, number)
	return issueOfGitHub(i, err)
}

func issueOfGitHub(i *github.Issue, err error) (*Issue, error) {
	if err != nil {
		return nil, plain(err)
	}
	return &Issue{Number: i.GetNumber(), Title: i.GetTitle(), Body: i.GetBody(), Open: i.GetState() == "open", URL: i.GetHTMLURL()}, nil
}

func (f *gitHub) SetIssue(ctx context.Context, i Issue) (*Issue, error) {
	request := &github.IssueRequest{Title: &i.Title, Body: &i.Body}
	if i.Number == 0 {
		made, _, err := f.client.Issues.Create(ctx, f.owner, f.repo, request)
		return issueOfGitHub(made, err)
	}
	request.State = github.Ptr("closed")
	if i.Open {
		request.State = github.Ptr("open")
	}
	set, _, err := f.client.Issues.Edit(ctx, f.owner, f.repo, i.Number, request)
	return issueOfGitHub(set, err)
}
