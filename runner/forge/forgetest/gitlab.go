package forgetest

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/tmnotes/tmnotes/runner/forge"
)

var mergedAt = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func (d *Double) gitLab(mux *http.ServeMux) {
	const project = "/projects/{project}"
	handle := func(pattern string, do http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if name := r.PathValue("project"); name != "" && name != "acme/infra" {
				notFound(w)
				return
			}
			do(w, r)
		})
	}
	handle("GET /user", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, gitlab.User{Username: Me}) })
	handle("GET "+project+"/merge_requests", func(w http.ResponseWriter, r *http.Request) {
		var open []*gitlab.BasicMergeRequest
		for i := range d.pulls {
			if d.pulls[i].Open && r.URL.Query().Get("state") == "opened" {
				open = append(open, gitLabPull(&d.pulls[i]))
			}
		}
		gitLabPage(w, r, open)
	})
	handle("GET "+project+"/merge_requests/{number}", func(w http.ResponseWriter, r *http.Request) {
		if p := d.pull(r); p != nil {
			answer(w, http.StatusOK, gitlab.MergeRequest{BasicMergeRequest: *gitLabPull(p)})
			return
		}
		notFound(w)
	})
	handle("GET "+project+"/merge_requests/{number}/diffs", func(w http.ResponseWriter, r *http.Request) {
		var files []*gitlab.MergeRequestDiff
		for _, name := range d.files[d.pull(r).Number] {
			files = append(files, &gitlab.MergeRequestDiff{NewPath: name, OldPath: name})
		}
		gitLabPage(w, r, files)
	})
	handle("GET "+project+"/repository/commits/{commit}/merge_requests", func(w http.ResponseWriter, r *http.Request) {
		of := []*gitlab.BasicMergeRequest{}
		for i := range d.pulls {
			if p := &d.pulls[i]; p.Merge == r.PathValue("commit") || p.Head == r.PathValue("commit") {
				of = append(of, gitLabPull(p))
			}
		}
		answer(w, http.StatusOK, of)
	})
	handle("POST "+project+"/statuses/{commit}", func(w http.ResponseWriter, r *http.Request) {
		var s gitlab.SetCommitStatusOptions
		d.read(r, &s)
		state := map[gitlab.BuildStateValue]forge.State{gitlab.Running: forge.Pending, gitlab.Success: forge.Success, gitlab.Failed: forge.Failure}[s.State]
		commit := r.PathValue("commit")
		all := d.states[commit]
		if n := len(all); state == forge.Pending && n > 0 && all[n-1].State == state {
			answer(w, http.StatusBadRequest, map[string]any{"message": `Cannot transition status via :run from :running (Reason(s): Status cannot transition via "run")`})
			return
		}
		d.states[commit] = append(all, forge.Status{State: state, Context: *s.Name, Description: *s.Description})
		answer(w, http.StatusCreated, gitlab.CommitStatus{Status: string(s.State), Name: *s.Name})
	})
	d.gitLabComments(handle, project)
	d.gitLabIssues(handle, project)
}

func (d *Double) gitLabComments(handle func(string, http.HandlerFunc), project string) {
	notes := project + "/merge_requests/{number}/notes"
	handle("GET "+notes, func(w http.ResponseWriter, r *http.Request) {
		all := []*gitlab.Note{{ID: 1 << 40, System: true, Author: gitlab.NoteAuthor{Username: Me}, Body: "assigned to @alice"}}
		for _, c := range d.said[d.pull(r).Number] {
			all = append(all, gitLabNote(&c))
		}
		gitLabPage(w, r, all)
	})
	handle("POST "+notes, func(w http.ResponseWriter, r *http.Request) {
		var c gitlab.CreateMergeRequestNoteOptions
		d.read(r, &c)
		answer(w, http.StatusCreated, gitLabNote(d.say(d.pull(r).Number, Me, *c.Body)))
	})
	handle("PUT "+notes+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		var c gitlab.UpdateMergeRequestNoteOptions
		d.read(r, &c)
		number, i := d.comment(r)
		if i < 0 {
			notFound(w)
			return
		}
		d.said[number][i].Body = *c.Body
		answer(w, http.StatusOK, gitLabNote(&d.said[number][i]))
	})
	handle("DELETE "+notes+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		number, i := d.comment(r)
		if i < 0 {
			notFound(w)
			return
		}
		d.said[number] = slices.Delete(d.said[number], i, i+1)
		w.WriteHeader(http.StatusNoContent)
	})
}

func (d *Double) gitLabIssues(handle func(string, http.HandlerFunc), project string) {
	handle("GET "+project+"/issues/{number}", func(w http.ResponseWriter, r *http.Request) {
		if i := d.issue(r); i != nil {
			answer(w, http.StatusOK, gitLabIssue(i))
			return
		}
		notFound(w)
	})
	handle("POST "+project+"/issues", func(w http.ResponseWriter, r *http.Request) {
		var in gitlab.CreateIssueOptions
		d.read(r, &in)
		d.issues = append(d.issues, forge.Issue{Number: 100 + len(d.issues), Open: true, Title: *in.Title, Body: *in.Description})
		answer(w, http.StatusCreated, gitLabIssue(&d.issues[len(d.issues)-1]))
	})
	handle("PUT "+project+"/issues/{number}", func(w http.ResponseWriter, r *http.Request) {
		var in gitlab.UpdateIssueOptions
		d.read(r, &in)
		i := d.issue(r)
		if i == nil {
			notFound(w)
			return
		}
		i.Title, i.Body, i.Open = *in.Title, *in.Description, *in.StateEvent == "reopen"
		answer(w, http.StatusOK, gitLabIssue(i))
	})
}

func gitLabPull(p *forge.PullRequest) *gitlab.BasicMergeRequest {
	out := &gitlab.BasicMergeRequest{IID: int64(p.Number), ID: int64(p.Number) + 1000, Title: p.Title, TargetBranch: p.Base, SHA: p.Head, State: "closed",
		SourceProjectID: 1, TargetProjectID: 1, WebURL: fmt.Sprintf("https://forge.example/pull/%d", p.Number)}
	if p.Fork {
		out.SourceProjectID = 2
	}
	if p.Open {
		out.State = "opened"
	}
	if p.Merged {
		out.State, out.MergedAt, out.MergeCommitSHA = "merged", &mergedAt, p.Merge
	}
	return out
}

func gitLabNote(c *forge.Comment) *gitlab.Note {
	return &gitlab.Note{ID: c.ID, Body: c.Body, Author: gitlab.NoteAuthor{Username: c.Author}}
}

func gitLabIssue(i *forge.Issue) *gitlab.Issue {
	state := "closed"
	if i.Open {
		state = "opened"
	}
	return &gitlab.Issue{IID: int64(i.Number), ID: int64(i.Number) + 5000, Title: i.Title, Description: i.Body, State: state, WebURL: fmt.Sprintf("https://forge.example/issues/%d", i.Number)}
}

func gitLabPage[T any](w http.ResponseWriter, r *http.Request, all []T) {
	items, next := page(r, all)
	if next != 0 {
		w.Header().Set("X-Next-Page", fmt.Sprint(next))
	}
	answer(w, http.StatusOK, items)
}
