package forge

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

type gitLab struct {
	client        *gitlab.Client
	host, project string
}

func newGitLab(c Config, at *url.URL, client *http.Client) (Forge, error) {
	gl, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, gitlab.WithBaseURL(at.String()), gitlab.WithHTTPClient(client), gitlab.WithoutRetries())
	if err != nil {
		return nil, err
	}
	return &gitLab{client: gl, host: at.Host, project: c.Repository}, nil
}

func (f *gitLab) Name() string {
	if strings.Contains(f.project, "/") {
		return f.project + " on " + f.host
	}
	return "project " + f.project + " on " + f.host
}

func (*gitLab) CommentLimit() int { return 1_000_000 }

func (f *gitLab) Me(ctx context.Context) (string, error) {
	user, _, err := f.client.Users.CurrentUser(gitlab.WithContext(ctx))
	if err != nil {
		return "", plain(err)
	}
	return user.Username, nil
}

func pullRequestOfGitLab(m *gitlab.BasicMergeRequest) *PullRequest {
	return &PullRequest{Number: int(m.IID), Title: m.Title, URL: m.WebURL, Head: m.SHA, Base: m.TargetBranch,
		Open: m.State == "opened", Merged: m.State == "merged", Fork: m.SourceProjectID != m.TargetProjectID,
		Merge: cmp.Or(m.MergeCommitSHA, m.SquashCommitSHA, m.SHA)} // a fast-forward makes no commit
}

func (f *gitLab) PullRequest(ctx context.Context, number int) (*PullRequest, error) {
	m, _, err := f.client.MergeRequests.GetMergeRequest(f.project, int64(number), nil, gitlab.WithContext(ctx))
	if err != nil {
		return nil, plain(err)
	}
	return pullRequestOfGitLab(&m.BasicMergeRequest), nil
}

func (f *gitLab) PullRequestOf(ctx context.Context, commit string) (*PullRequest, error) {
	all, _, err := f.client.Commits.ListMergeRequestsByCommit(f.project, commit, gitlab.WithContext(ctx))
	if err != nil {
		return nil, plain(err)
	}
	var of []*PullRequest
	for _, m := range all {
		of = append(of, pullRequestOfGitLab(m))
	}
	return mergedIn(of, commit)
}

func nextOfGitLab(r *gitlab.Response) int {
	if r == nil {
		return 0
	}
	return int(r.NextPage)
}

func (f *gitLab) OpenPullRequests(ctx context.Context) (open []PullRequest, err error) {
	all, err := pages(func(page int) ([]*gitlab.BasicMergeRequest, int, error) {
		items, r, err := f.client.MergeRequests.ListProjectMergeRequests(f.project, &gitlab.ListProjectMergeRequestsOptions{State: gitlab.Ptr("opened"),
			ListOptions: gitlab.ListOptions{Page: int64(page), PerPage: pageSize}}, gitlab.WithContext(ctx))
		return items, nextOfGitLab(r), err
	})
	for _, m := range all {
		open = append(open, *pullRequestOfGitLab(m))
	}
	return open, plain(err)
}

func (f *gitLab) Files(ctx context.Context, number int) (names []string, err error) {
	all, err := pages(func(page int) ([]*gitlab.MergeRequestDiff, int, error) {
		items, r, err := f.client.MergeRequests.ListMergeRequestDiffs(f.project, int64(number), &gitlab.ListMergeRequestDiffsOptions{
			ListOptions: gitlab.ListOptions{Page: int64(page), PerPage: pageSize}}, gitlab.WithContext(ctx))
		return items, nextOfGitLab(r), err
	})
	for _, d := range all {
		names = appendNames(names, d.NewPath, d.OldPath)
	}
	return names, plain(err)
}

func (f *gitLab) Comments(ctx context.Context, number int) (comments []Comment, err error) {
	all, err := pages(func(page int) ([]*gitlab.Note, int, error) {
		items, r, err := f.client.Notes.ListMergeRequestNotes(f.project, int64(number), &gitlab.ListMergeRequestNotesOptions{
			ListOptions: gitlab.ListOptions{Page: int64(page), PerPage: pageSize}}, gitlab.WithContext(ctx))
		return items, nextOfGitLab(r), err
	})
	for _, n := range all {
		if !n.System {
			comments = append(comments, Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body})
		}
	}
	return comments, plain(err)
}

func (f *gitLab) CreateComment(ctx context.Context, number int, body string) (*Comment, error) {
	n, _, err := f.client.Notes.CreateMergeRequestNote(f.project, int64(number), &gitlab.CreateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	if err != nil {
		return nil, plain(err)
	}
	return &Comment{ID: n.ID, Author: n.Author.Username, Body: n.Body}, nil
}

func (f *gitLab) EditComment(ctx context.Context, number int, id int64, body string) error {
	_, _, err := f.client.Notes.UpdateMergeRequestNote(f.project, int64(number), id, &gitlab.UpdateMergeRequestNoteOptions{Body: &body}, gitlab.WithContext(ctx))
	return plain(err)
}

func (f *gitLab) DeleteComment(ctx context.Context, number int, id int64) error {
	_, err := f.client.Notes.DeleteMergeRequestNote(f.project, int64(number), id, gitlab.WithContext(ctx))
	return plain(err)
}

func (f *gitLab) SetStatus(ctx context.Context, commit string, s Status) error {
	o := &gitlab.SetCommitStatusOptions{State: map[State]gitlab.BuildStateValue{Pending: gitlab.Running, Success: gitlab.Success, Failure: gitlab.Failed}[s.State],
		Name: &s.Context, Description: &s.Description}
	if s.URL != "" {
		o.TargetURL = &s.URL
	}
	_, _, err := f.client.Commits.SetCommitStatus(f.project, commit, o, gitlab.WithContext(ctx))
	if e, is := plain(err).(*Error); is && e.Status == http.StatusBadRequest && strings.Contains(e.Message, "Cannot transition status") {
		return nil // that is what GitLab says where the status has the state already
	}
	return plain(err)
}

func (f *gitLab) Issue(ctx context.Context, number int) (*Issue, error) {
	i, _, err := f.client.Issues.GetIssue(f.project, int64(number), gitlab.WithContext(ctx))
	return issueOfGitLab(i, err)
}

func issueOfGitLab(i *gitlab.Issue, err error) (*Issue, error) {
	if err != nil {
		return nil, plain(err)
	}
	return &Issue{Number: int(i.IID), Title: i.Title, Body: i.Description, Open: i.State == "opened", URL: i.WebURL}, nil
}

func (f *gitLab) SetIssue(ctx context.Context, i Issue) (*Issue, error) {
	if i.Number == 0 {
		made, _, err := f.client.Issues.CreateIssue(f.project, &gitlab.CreateIssueOptions{Title: &i.Title, Description: &i.Body}, gitlab.WithContext(ctx))
		return issueOfGitLab(made, err)
	}
	event := "close"
	if i.Open {
		event = "reopen"
	}
	set, _, err := f.client.Issues.UpdateIssue(f.project, int64(i.Number), &gitlab.UpdateIssueOptions{Title: &i.Title, Description: &i.Body, StateEvent: &event}, gitlab.WithContext(ctx))
	return issueOfGitLab(set, err)
}
