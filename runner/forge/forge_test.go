package forge_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner/forge"
	"github.com/tmnotes/tmnotes/runner/forge/forgetest"
)

// world is a repository on a forge, with two pull requests: 1 is open, and touches two files; the other one is merged.
type world struct {
	forge.Config
	merged int
	merge  string
	say    func(number int, body string) // by somebody else
}

func played(kind forge.Kind) func(*testing.T) world {
	return func(t *testing.T) world {
		d := forgetest.New(t, kind)
		d.Pull(forge.PullRequest{Number: 1, Title: "one", Head: strings.Repeat("1", 40), Base: "main", Open: true, Fork: true}, "a/main.tf", "b/main.tf")
		d.Pull(forge.PullRequest{Number: 2, Title: "two", Head: strings.Repeat("2", 40), Base: "main", Merged: true, Merge: strings.Repeat("3", 40)})
		return world{d.Config, 2, strings.Repeat("3", 40), func(n int, body string) { d.Say(n, "mallory", body) }}
	}
}

func realGitea(t *testing.T) world {
	g := gittest.StartGitea(t)
	owner, token, err := g.User("acme")
	check(t, err)
	_, robot, err := g.User("robot", "write:issue", "write:repository", "read:user")
	check(t, err)
	_, mallory, err := g.User("mallory")
	check(t, err)
	_, err = g.Repository(owner, "infra", token)
	check(t, err)
	repo := "/repos/" + owner + "/infra"
	check(t, g.Call("PUT", repo+"/collaborators/"+nameOf(t, g, robot), token, map[string]any{"permission": "write"}, nil))
	put := func(branch, from string, files ...string) {
		change := []map[string]any{}
		for _, name := range files {
			change = append(change, map[string]any{"operation": "create", "path": name, "content": base64.StdEncoding.EncodeToString([]byte("x"))})
		}
		check(t, g.Call("POST", repo+"/contents", token, map[string]any{"branch": from, "new_branch": branch, "files": change, "message": "change"}, nil))
	}
	put("", "main", "README")
	w := world{merged: 2, say: func(n int, body string) {
		check(t, g.Call("POST", fmt.Sprintf("%s/issues/%d/comments", repo, n), mallory, map[string]string{"body": body}, nil))
	}}
	w.Config = forge.Config{Kind: forge.Gitea, URL: g.URL + "/api/v1/", Repository: owner + "/infra", Token: robot, Agent: "tmnotes/test"}
	put("one", "main", "a/main.tf", "b/main.tf")
	put("two", "main", "c/main.tf")
	for _, name := range []string{"one", "two"} {
		check(t, g.Call("POST", repo+"/pulls", token, map[string]any{"head": name, "base": "main", "title": name}, nil))
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // it looks at first whether there are conflicts
		if err = g.Call("POST", repo+"/pulls/2/merge", token, map[string]any{"Do": "squash"}, nil); err == nil || time.Now().After(end) {
			break
		}
	}
	check(t, err)
	var pull struct {
		Merge string `json:"merge_commit_sha"`
	}
	check(t, g.Call("GET", repo+"/pulls/2", token, nil, &pull))
	w.merge = pull.Merge
	return w
}

func nameOf(t *testing.T, g *gittest.Gitea, token string) string {
	var me struct{ Login string }
	check(t, g.Call("GET", "/user", token, nil, &me))
	return me.Login
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// All forges do the same.
func TestForges(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*testing.T) world{"github": played(forge.GitHub), "gitlab": played(forge.GitLab), "gitea": realGitea} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := make(t)
			f, err := forge.New(w.Config)
			check(t, err)
			t.Run("pull requests", func(t *testing.T) { pullRequests(t, w, f) })
			t.Run("comment", func(t *testing.T) { sticky(t, w, f) })
			t.Run("two at once", func(t *testing.T) { atOnce(t, w, f) })
			t.Run("issues", func(t *testing.T) { issues(t, f) })
			t.Run("status", func(t *testing.T) {
				for _, s := range []forge.State{forge.Pending, forge.Pending, forge.Failure, forge.Success} {
					check(t, f.SetStatus(bounded(t), w.merge, forge.Status{State: s, Context: "tmnotes/prod", Description: "1 of 2 deployed"}))
				}
			})
		})
	}
}

func pullRequests(t *testing.T, w world, f forge.Forge) {
	ctx := bounded(t)
	open, err := f.OpenPullRequests(ctx)
	check(t, err)
	if len(open) != 1 || open[0].Number != 1 || !open[0].Open || open[0].Merged || len(open[0].Head) != 40 || open[0].Base != "main" {
		t.Errorf("open: %+v", open)
	}
	files, err := f.Files(ctx, 1)
	slices.Sort(files)
	if check(t, err); !slices.Equal(files, []string{"a/main.tf", "b/main.tf"}) {
		t.Errorf("files: %q", files)
	}
	merged, err := f.PullRequest(ctx, w.merged)
	if check(t, err); !merged.Merged || merged.Open || merged.Merge != w.merge || merged.URL == "" {
		t.Errorf("%+v is not merged as %s", merged, w.merge)
	}
	of, err := f.PullRequestOf(ctx, w.merge)
	if check(t, err); !reflect.DeepEqual(of, merged) {
		t.Errorf("the one of its merge is %+v, not %+v", of, merged)
	}
	if p, err := f.PullRequestOf(ctx, open[0].Head); !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("what is not merged is merged: %+v, %v", p, err)
	}
	if p, err := f.PullRequest(ctx, 4711); !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("there is a 4711: %+v, %v", p, err)
	}
}

const marker = "<!-- tmnotes: test -->\n"

// Somebody else's comment is not ours, whatever it says, nor is one for another target.
func sticky(t *testing.T, w world, f forge.Forge) {
	ctx := bounded(t)
	w.say(1, marker+"is mine")
	if c, err := forge.Sticky(ctx, f, 1, marker); err != nil || c != nil {
		t.Fatalf("somebody else's comment is ours: %+v, %v", c, err)
	}
	other, err := forge.SetSticky(ctx, f, 1, "<!-- tmnotes: other -->\n", "<!-- tmnotes: other -->\n> "+marker+"quoted")
	check(t, err)
	first, err := forge.SetSticky(ctx, f, 1, marker, marker+"one")
	check(t, err)
	again, err := forge.SetSticky(ctx, f, 1, marker, marker+"two\n\n| `a` | <code>&#42;</code> |\n")
	check(t, err)
	if first.ID != again.ID || first.ID == other.ID {
		t.Errorf("%d became %d; the other one is %d", first.ID, again.ID, other.ID)
	}
	c, err := forge.Sticky(ctx, f, 1, marker)
	if check(t, err); strings.TrimSpace(c.Body) != strings.TrimSpace(again.Body) {
		t.Errorf("it says %q, not %q", c.Body, again.Body)
	}
	// As long as a comment may be.
	long := marker + strings.Repeat("äöü\n", (f.CommentLimit()-100)/7)
	_, err = forge.SetSticky(ctx, f, 1, marker, long)
	check(t, err)
	if c, err := forge.Sticky(ctx, f, 1, marker); err != nil || strings.TrimSpace(c.Body) != strings.TrimSpace(long) {
		t.Errorf("of %d bytes %d came back: %v", len(long), len(c.Body), err)
	}
	check(t, f.DeleteComment(ctx, 1, c.ID))
	if c, err := forge.Sticky(ctx, f, 1, marker); err != nil || c != nil {
		t.Errorf("it is still there: %+v, %v", c, err)
	}
}

func atOnce(t *testing.T, w world, f forge.Forge) {
	ctx := bounded(t)
	var jobs sync.WaitGroup
	for i := range 6 {
		jobs.Go(func() {
			if _, err := forge.SetSticky(ctx, f, w.merged, marker, fmt.Sprintf("%sjob %d", marker, i)); err != nil {
				t.Error(err)
			}
		})
	}
	jobs.Wait()
	all, err := f.Comments(ctx, w.merged)
	if check(t, err); len(all) != 1 || !strings.HasPrefix(all[0].Body, marker) {
		t.Errorf("six jobs at once left %d comments: %+v", len(all), all)
	}
}

func issues(t *testing.T, f forge.Forge) {
	ctx := bounded(t)
	made, err := f.SetIssue(ctx, forge.Issue{Title: "drift in /a", Body: "one", Open: true})
	check(t, err)
	for _, want := range []forge.Issue{{Title: "drift in /a", Body: "two", Open: true}, {Title: "drift in /a", Body: "three"}, {Title: "drift, again", Body: "four", Open: true}} {
		want.Number, want.URL = made.Number, made.URL
		set, err := f.SetIssue(ctx, want)
		check(t, err)
		got, err := f.Issue(ctx, made.Number)
		check(t, err)
		if cmp.Diff(got, &want)+cmp.Diff(set, &want) != "" {
			t.Errorf("%+v is %+v", want, got)
		}
	}
	if i, err := f.Issue(ctx, 4711); !errors.Is(err, forge.ErrNotFound) {
		t.Errorf("there is an issue 4711: %+v, %v", i, err)
	}
}

// More than a page of comments is found, and what is refused for now is asked again.
func TestPagesAndFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []forge.Kind{forge.GitHub, forge.GitLab} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			d := forgetest.New(t, kind)
			d.Pull(forge.PullRequest{Number: 1, Open: true, Base: "main"})
			for i := range 250 {
				d.Say(1, "alice", fmt.Sprint("comment ", i))
			}
			f, err := forge.New(d.Config)
			check(t, err)
			ctx := bounded(t)
			first, err := forge.SetSticky(ctx, f, 1, marker, marker)
			check(t, err)
			for i := range 250 {
				d.Say(1, "alice", fmt.Sprint("comment ", i))
			}
			d.Fail(forgetest.Fault{Status: 502}, forgetest.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}}, forgetest.Fault{})
			again, err := forge.SetSticky(ctx, f, 1, marker, marker+"more")
			check(t, err)
			if first.ID != again.ID {
				t.Errorf("%+v, and then %+v", first, again)
			}
			// A limit that ends later than anybody waits is said, and not waited for.
			d.Fail(forgetest.Fault{Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(time.Now().Add(time.Hour).Unix())}}})
			begin := time.Now()
			if _, err := f.Comments(ctx, 1); err == nil || !strings.Contains(err.Error(), "takes no more requests until") || time.Since(begin) > 20*time.Second {
				t.Errorf("after %s: %v", time.Since(begin), err)
			}
		})
	}
}

// A comment of which nobody knows whether it was made is not made twice.
func TestMadeUnheard(t *testing.T) {
	t.Parallel()
	for _, fault := range []forgetest.Fault{{Method: "POST", Status: 502, Done: true}, {Method: "POST", Done: true}, {Method: "POST", Status: 500}} {
		d := forgetest.New(t, forge.GitLab)
		d.Pull(forge.PullRequest{Number: 1, Open: true, Base: "main"})
		f, err := forge.New(d.Config)
		check(t, err)
		d.Fail(fault)
		_, err = forge.SetSticky(bounded(t), f, 1, marker, marker)
		check(t, err)
		if all := d.Comments(1); len(all) != 1 {
			t.Errorf("%+v: there are %d comments: %+v", fault, len(all), all)
		}
		d.Fail(fault)
		if _, err := f.SetIssue(bounded(t), forge.Issue{Title: "x", Open: true}); err == nil || strings.Count(strings.Join(d.Asked(), "\n"), "POST /api/v4/projects/acme/infra/issues") != 1 {
			t.Errorf("%+v: an issue was asked for twice: %v", fault, err)
		}
	}
}

// Of a GitHub app the name ends in [bot], and a person with the rest of it is somebody else. Who is nobody
// would never find a comment of theirs, and make another one each time.
func TestMe(t *testing.T) {
	t.Parallel()
	d := forgetest.New(t, forge.GitHub)
	d.Pull(forge.PullRequest{Number: 1, Open: true, Base: "main"})
	d.Say(1, forgetest.Me, marker+"forged")
	f, err := forge.New(d.Config)
	check(t, err)
	if c, err := forge.Sticky(bounded(t), f, 1, marker); err != nil || c != nil {
		t.Errorf("a person's comment is ours: %+v, %v", c, err)
	}
	for says, want := range map[string]string{`{"data":null,"errors":[{"message":"x"}]}`: "does not say who the token writes as", "<html>": "200 a web page"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/user" {
				w.WriteHeader(http.StatusForbidden)
			}
			fmt.Fprint(w, says)
		}))
		defer server.Close()
		f, err := forge.New(forge.Config{Kind: forge.GitHub, URL: server.URL, Repository: "a/b", Token: "x"})
		check(t, err)
		if me, err := f.Me(bounded(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", says, me, err)
		}
	}
}

// The token goes to the forge, and is in no error; nothing goes where that sends us.
func TestToken(t *testing.T) {
	t.Parallel()
	const secret = "very-secret-token"
	heard := make(chan http.Header, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.Header
		w.WriteHeader(http.StatusTeapot)
	}))
	defer elsewhere.Close()
	for _, kind := range forge.Kinds {
		own := make(chan http.Header, 10)
		home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			own <- r.Header
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}))
		defer home.Close()
		f, err := forge.New(forge.Config{Kind: kind, URL: home.URL, Repository: "a/b", Token: secret, Agent: "tmnotes/test"})
		check(t, err)
		_, err = f.Issue(bounded(t), 1)
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "307 it sends to "+strings.TrimPrefix(elsewhere.URL, "http://")) {
			t.Errorf("%s: %v", kind, err)
		}
		if h := fmt.Sprint(<-own); !strings.Contains(h, secret) {
			t.Errorf("%s: the forge was asked without the token: %s", kind, h)
		}
		if len(heard) > 0 {
			t.Errorf("%s: another host was asked: %s", kind, <-heard)
		}
	}
	for _, address := range []string{"", "gitlab.com", "ftp://x/", "https://user:pass@x/", "https://x/?a=b"} {
		if _, err := forge.New(forge.Config{Kind: forge.GitLab, URL: address, Repository: "a/b"}); err == nil {
			t.Errorf("%q is an address", address)
		}
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	event := filepath.Join(t.TempDir(), "event.json")
	check(t, os.WriteFile(event, []byte(`{"action":"closed","pull_request":{"number":7,"merged":true}}`), 0o600))
	actions := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_API_URL": "https://api.github.com", "GITHUB_REPOSITORY": "acme/infra", "GITHUB_TOKEN": "t", "GITHUB_REF": "refs/pull/12/merge"}
	lab := map[string]string{"GITLAB_CI": "true", "CI_API_V4_URL": "https://lab.example/api/v4", "CI_PROJECT_PATH": "acme/live/infra", "CI_PROJECT_ID": "3", "GITLAB_TOKEN": "t", "CI_MERGE_REQUEST_IID": "5", "GITHUB_TOKEN": "no"}
	with := func(m map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for _, c := range []struct {
		name                  string
		env                   map[string]string
		kind, address, remote string
		want                  forge.Config
		err                   string
	}{
		{"github", actions, "", "", "", forge.Config{Kind: forge.GitHub, URL: "https://api.github.com", Repository: "acme/infra", Token: "t", Number: 12}, ""},
		{"event", with(actions, "GITHUB_REF", "refs/heads/main", "GITHUB_EVENT_PATH", event), "", "", "", forge.Config{Kind: forge.GitHub, URL: "https://api.github.com", Repository: "acme/infra", Token: "t", Number: 7}, ""},
		{"gh", with(actions, "GH_TOKEN", "own"), "", "", "", forge.Config{Kind: forge.GitHub, URL: "https://api.github.com", Repository: "acme/infra", Token: "own", Number: 12}, ""},
		{"gitea", with(actions, "GITEA_ACTIONS", "true", "GITHUB_API_URL", "https://tea.example/api/v1", "GITHUB_REF", "refs/pull/3/head"), "", "", "", forge.Config{Kind: forge.Gitea, URL: "https://tea.example/api/v1", Repository: "acme/infra", Token: "t", Number: 3}, ""},
		{"forgejo", with(actions, "GITHUB_API_URL", "https://jo.example/api/v1"), "", "", "", forge.Config{Kind: forge.Gitea, URL: "https://jo.example/api/v1", Repository: "acme/infra", Token: "t", Number: 12}, ""},
		{"gitlab", lab, "", "", "", forge.Config{Kind: forge.GitLab, URL: "https://lab.example/api/v4", Repository: "acme/live/infra", Token: "t", Number: 5}, ""},
		{"fork", with(lab, "CI_MERGE_REQUEST_PROJECT_ID", "3"), "", "", "", forge.Config{Kind: forge.GitLab, URL: "https://lab.example/api/v4", Repository: "3", Token: "t", Number: 5}, ""},
		{"job token", with(lab, "GITLAB_TOKEN", "", "CI_JOB_TOKEN", "j"), "", "", "", forge.Config{}, "no token for gitlab: set GITLAB_TOKEN to a project access token with the scope api (GitLab lets CI_JOB_TOKEN neither comment nor set a status)"},
		{"no token", with(actions, "GITHUB_TOKEN", ""), "", "", "", forge.Config{}, "no token for github: set GH_TOKEN or GITHUB_TOKEN"},
		{"remote", map[string]string{"GITHUB_TOKEN": "t"}, "", "", "github.com/acme/infra", forge.Config{Kind: forge.GitHub, URL: "https://api.github.com", Repository: "acme/infra", Token: "t"}, ""},
		{"self-hosted", map[string]string{"GITEA_TOKEN": "t"}, "gitea", "", "tea.example/acme/infra", forge.Config{Kind: forge.Gitea, URL: "https://tea.example/api/v1", Repository: "acme/infra", Token: "t"}, ""},
		{"github's token", map[string]string{"GITHUB_TOKEN": "t"}, "gitea", "", "tea.example/acme/infra", forge.Config{}, "no token for gitea: set GITEA_TOKEN or FORGEJO_TOKEN"},
		{"other", with(actions, "GITEA_TOKEN", "own"), "gitea", "https://tea.example/api/v1", "", forge.Config{Kind: forge.Gitea, URL: "https://tea.example/api/v1", Repository: "acme/infra", Token: "own", Number: 12}, ""},
		{"folder", map[string]string{"GITEA_TOKEN": "t"}, "gitea", "", "tea.example", forge.Config{Kind: forge.Gitea, Token: "t"}, ""},
		{"nothing", nil, "", "", "git.example/acme/infra", forge.Config{}, "no forge is known here: not in GitHub Actions, GitLab CI or Gitea Actions; use --forge github, gitlab or gitea (and --forge-url)"},
		{"unknown", nil, "bitbucket", "", "", forge.Config{}, `--forge: "bitbucket" is not one of github, gitlab, gitea`},
	} {
		got, err := forge.Detect(func(name string) string { return c.env[name] }, c.kind, c.address, c.remote)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
}
