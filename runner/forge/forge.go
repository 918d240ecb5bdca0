// Package forge is what tmnotes asks of GitHub, GitLab, Gitea and Forgejo: comments on pull requests,
// commit statuses, issues. It is the only importer of their clients.
//
// What it returns is what the forge says, and whoever may write there may have said anything: a number, a state and a
// commit are taken from it, and a text is only ever compared. The token is sent to the host of Config.URL and nowhere
// else, and is in no error.
package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Kind is a forge's API.
type Kind string

const (
	GitHub Kind = "github"
	GitLab Kind = "gitlab"
	Gitea  Kind = "gitea" // Forgejo, too
)

// Kinds are all of them.
var Kinds = []Kind{GitHub, GitLab, Gitea}

// ErrNotFound is what errors are that say that there is no such thing, or none that the token may see.
var ErrNotFound = errors.New("not found")

// Forge is one repository on a forge, as the owner of a token sees it. Every method may return an *Error; what a forge
// refuses for now (a rate limit, a fault of its own) is asked again until the context ends, unless
// that could make a comment or an issue twice.
type Forge interface {
	// Name is how people call the repository, with its forge.
	Name() string
	// CommentLimit is how many bytes a comment, or the text of an issue, may have.
	CommentLimit() int
	// Me is the name that the token writes under.
	Me(ctx context.Context) (string, error)

	PullRequest(ctx context.Context, number int) (*PullRequest, error)
	// PullRequestOf is the one whose merge made a commit; an ErrNotFound if none did.
	PullRequestOf(ctx context.Context, commit string) (*PullRequest, error)
	OpenPullRequests(ctx context.Context) ([]PullRequest, error)
	// Files are the paths that a pull request touches, also those that it renames.
	Files(ctx context.Context, number int) ([]string, error)

	// Comments are those of a pull request, in any order.
	Comments(ctx context.Context, number int) ([]Comment, error)
	CreateComment(ctx context.Context, number int, body string) (*Comment, error)
	EditComment(ctx context.Context, number int, id int64, body string) error
	DeleteComment(ctx context.Context, number int, id int64) error

	SetStatus(ctx context.Context, commit string, s Status) error

	Issue(ctx context.Context, number int) (*Issue, error)
	// SetIssue makes an issue (Number 0), or gives one its title, text and state; it returns
	// what the forge has then.
	SetIssue(ctx context.Context, i Issue) (*Issue, error)
}

// PullRequest is one, or GitLab's merge request.
type PullRequest struct {
	Number     int
	Title, URL string
	Head       string // the commit that is to be merged
	Base       string // the branch into which
	Open       bool
	Merged     bool
	Merge      string // of a merged one: the commit that has it on the base branch
	Fork       bool   // it comes from another repository
}

// Comment is one on a pull request.
type Comment struct {
	ID           int64
	Author, Body string
	URL          string
}

// State is that of a commit status.
type State string

const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure"
)

// Status is a commit status: of several with one context the last counts.
type Status struct {
	State       State
	Context     string
	Description string // at most 140 characters are shown
	URL         string // of the details; may be ""
}

// Issue is one, with the number under which its repository has it.
type Issue struct {
	Number      int
	Title, Body string
	Open        bool
	URL         string // as the forge says
}

// Config says where a repository is, and who asks.
type Config struct {
	Kind       Kind
	URL        string // of the API, as the CI has it: https://api.github.com, https://gitlab.com/api/v4, https://codeberg.org/api/v1
	Repository string // owner/name; of GitLab the path or the number of the project
	Token      string
	Agent      string // who we are: tmnotes/VERSION
	Number     int    // of the pull request of this CI job; 0 is none
}

// New is the repository that c names. Nothing is asked yet.
func New(c Config) (Forge, error) {
	at, err := url.Parse(c.URL)
	if err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http" || at.User != nil || at.RawQuery != "" {
		return nil, fmt.Errorf("%q is not the address of a forge's API; write it like %s", c.URL, example[c.Kind])
	}
	if c.Repository == "" || c.Kind != GitLab && strings.Count(c.Repository, "/") != 1 {
		return nil, fmt.Errorf("%q is not a repository of a forge; write it like owner/name", c.Repository)
	}
	at.Path = strings.TrimSuffix(at.Path, "/")
	client := &http.Client{Transport: &transport{base: http.DefaultTransport, to: at, config: c}, CheckRedirect: elsewhere}
	switch c.Kind {
	case GitHub:
		return newGitHub(c, at, client)
	case GitLab:
		return newGitLab(c, at, client)
	case Gitea:
		return newGitea(c, at, client)
	}
	return nil, fmt.Errorf("%q is not a forge: github, gitlab or gitea", c.Kind)
}

var example = map[Kind]string{GitHub: "https://api.github.com", GitLab: "https://gitlab.example.com/api/v4", Gitea: "https://gitea.example.com/api/v1"}

// pages asks page after page, from the first, until there is no next one.
func pages[T any](ask func(page int) (items []T, next int, err error)) (all []T, err error) {
	for page := 1; page != 0; {
		items, next, err := ask(page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next <= page {
			break
		}
		page = next
	}
	return all, nil
}

const pageSize = 100

// split has both parts of owner/name.
func split(repository string) (owner, name string) {
	owner, name, _ = strings.Cut(repository, "/")
	return owner, name
}
