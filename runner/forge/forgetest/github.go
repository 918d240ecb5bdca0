package forgetest

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-github/v75/github"

	"github.com/tmnotes/tmnotes/runner/forge"
)

// gitHub answers as the token of a job: who that is, only GraphQL says.
func (d *Double) gitHub(mux *http.ServeMux) {
	const repo = "/repos/acme/infra"
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusForbidden, map[string]string{"message": "Resource not accessible by integration"})
	})
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Query string }
		d.read(r, &q)
		if q.Query != "{viewer{login}}" {
			d.tb.Errorf("GraphQL was asked for %q", q.Query)
		}
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"viewer": map[string]any{"login": Me}}})
	})
	mux.HandleFunc("GET "+repo+"/pulls", func(w http.ResponseWriter, r *http.Request) {
		var open []*github.PullRequest
		for i := range d.pulls {
			if d.pulls[i].Open && r.URL.Query().Get("state") == "open" {
				open = append(open, gitHubPull(&d.pulls[i]))
			}
		}
		gitHubPage(w, r, open)
	})
	mux.HandleFunc("GET "+repo+"/pulls/{number}", func(w http.ResponseWriter, r *http.Request) {
		if p := d.pull(r); p != nil {
			answer(w, http.StatusOK, gitHubPull(p))
			return
		}
		notFound(w)
	})
	mux.HandleFunc("GET "+repo+"/pulls/{number}/files", func(w http.ResponseWriter, r *http.Request) {
		var files []*github.CommitFile
		for _, name := range d.files[d.pull(r).Number] {
			files = append(files, &github.CommitFile{Filename: github.Ptr(name)})
		}
		gitHubPage(w, r, files)
	})
	mux.HandleFunc("GET "+repo+"/commits/{commit}/pulls", func(w http.ResponseWriter, r *http.Request) {
		var of []*github.PullRequest
		for i := range d.pulls {
			if p := &d.pulls[i]; p.Merge == r.PathValue("commit") || p.Head == r.PathValue("commit") {
				of = append(of, gitHubPull(p))
			}
		}
		gitHubPage(w, r, of)
	})
	mux.HandleFunc("POST "+repo+"/statuses/{commit}", func(w http.ResponseWriter, r *http.Request) {
		var s github.RepoStatus
		d.read(r, &s)
		if len(s.GetDescription()) > 140 {
			answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "Validation Failed"})
			return
		}
		commit := r.PathValue("commit")
		d.states[commit] = append(d.states[commit], forge.Status{State: forge.State(s.GetState()), Context: s.GetContext(), Description: s.GetDescription(), URL: s.GetTargetURL()})
		answer(w, http.StatusCreated, s)
	})
	d.gitHubComments(mux, repo)
	d.gitHubIssues(mux, repo)
}

func (d *Double) gitHubComments(mux *http.ServeMux, repo string) {
	mux.HandleFunc("GET "+repo+"/issues/{number}/comments", func(w http.ResponseWriter, r *http.Request) {
		var all []*github.IssueComment
		for _, c := range d.said[d.pull(r).Number] {
			all = append(all, gitHubComment(&c))
		}
		gitHubPage(w, r, all)
	})
	mux.HandleFunc("POST "+repo+"/issues/{number}/comments", func(w http.ResponseWriter, r *http.Request) {
		var c github.IssueComment
		d.read(r, &c)
		if len([]rune(c.GetBody())) > 65_536 {
			answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "body is too long (maximum is 65536 characters)"})
			return
		}
		answer(w, http.StatusCreated, gitHubComment(d.say(d.pull(r).Number, Me+"[bot]", c.GetBody())))
	})
	mux.HandleFunc("PATCH "+repo+"/issues/comments/{id}", func(w http.ResponseWriter, r *http.Request) {
		var c github.IssueComment
		d.read(r, &c)
		number, i := d.comment(r)
		if i < 0 {
			notFound(w)
			return
		}
		d.said[number][i].Body = c.GetBody()
		answer(w, http.StatusOK, gitHubComment(&d.said[number][i]))
	})
	mux.HandleFunc("DELETE "+repo+"/issues/comments/{id}", func(w http.ResponseWriter, r *http.Request) {
		number, i := d.comment(r)
		if i < 0 {
			notFound(w)
			return
		}
		d.said[number] = slices.Delete(d.said[number], i, i+1)
		w.WriteHeader(http.StatusNoContent)
	})
}

func (d *Double) gitHubIssues(mux *http.ServeMux, repo string) {
	mux.HandleFunc("GET "+repo+"/issues/{number}", func(w http.ResponseWriter, r *http.Request) {
		if i := d.issue(r); i != nil {
			answer(w, http.StatusOK, gitHubIssue(i))
			return
		}
		notFound(w)
	})
	set := func(w http.ResponseWriter, r *http.Request, i *forge.Issue, status int) {
		var in github.IssueRequest
		d.read(r, &in)
		i.Title, i.Body = in.GetTitle(), in.GetBody()
		if in.State != nil {
			i.Open = in.GetState() == "open"
		}
		answer(w, status, gitHubIssue(i))
	}
	mux.HandleFunc("POST "+repo+"/issues", func(w http.ResponseWriter, r *http.Request) {
		d.issues = append(d.issues, forge.Issue{Number: 100 + len(d.issues), Open: true})
		set(w, r, &d.issues[len(d.issues)-1], http.StatusCreated)
	})
	mux.HandleFunc("PATCH "+repo+"/issues/{number}", func(w http.ResponseWriter, r *http.Request) {
		if i := d.issue(r); i != nil {
			set(w, r, i, http.StatusOK)
			return
		}
		notFound(w)
	})
}

func gitHubPull(p *forge.PullRequest) *github.PullRequest {
	own, from := github.Ptr(int64(1)), github.Ptr(int64(1))
	if p.Fork {
		from = github.Ptr(int64(2))
	}
	out := &github.PullRequest{Number: &p.Number, Title: &p.Title, HTMLURL: github.Ptr(fmt.Sprintf("https://forge.example/pull/%d", p.Number)), State: github.Ptr("closed"),
		Head: &github.PullRequestBranch{SHA: &p.Head, Repo: &github.Repository{ID: from}}, Base: &github.PullRequestBranch{Ref: &p.Base, Repo: &github.Repository{ID: own}}}
	if p.Open {
		out.State = github.Ptr("open")
		out.MergeCommitSHA = github.Ptr("0123456789012345678901234567890123456789") // of a merge that GitHub tries
	}
	if p.Merged {
		out.MergedAt, out.MergeCommitSHA = &github.Timestamp{Time: mergedAt}, &p.Merge
	}
	return out
}

func gitHubComment(c *forge.Comment) *github.IssueComment {
	return &github.IssueComment{ID: &c.ID, Body: &c.Body, HTMLURL: &c.URL, User: &github.User{Login: &c.Author}}
}

func gitHubIssue(i *forge.Issue) *github.Issue {
	state := "closed"
	if i.Open {
		state = "open"
	}
	return &github.Issue{Number: &i.Number, Title: &i.Title, Body: &i.Body, State: &state, HTMLURL: github.Ptr(fmt.Sprintf("https://forge.example/issues/%d", i.Number))}
}

func gitHubPage[T any](w http.ResponseWriter, r *http.Request, all []T) {
	items, next := page(r, all)
	if next != 0 {
		w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, next))
	}
	answer(w, http.StatusOK, items)
}
