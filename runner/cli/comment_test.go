package cli

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner/forge"
	"github.com/tmnotes/tmnotes/runner/forge/forgetest"
)

// scriptForge is the forge of a script: a real Gitea, or one that is played.
type scriptForge interface {
	// open opens a pull request of a branch that is on origin.
	open(branch, head string) error
	// merge merges it, or, where the forge is played, says that it is merged as a commit.
	merge(number int, how string) error
	comments(number int) ([]forge.Comment, error)
	statuses(commit string) ([]forge.Status, error)
	say(number int, body string) error
}

var scriptForges sync.Map // by $WORK

// forge KIND starts one, whose pull requests are 1, 2, ..., and makes the script a job of its CI. Of gitea it is a real one, with
// the work tree's origin.
func cmdForge(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: forge github|gitlab|gitea")
		}
		var f scriptForge
		var config forge.Config
		if kind := forge.Kind(args[0]); kind == forge.Gitea {
			var err error
			f, config, err = newScriptGitea(t, func(args ...string) error { return ts.Exec("git", args...) })
			ts.Check(err)
		} else {
			d := forgetest.New(t, kind)
			f, config = &scriptDouble{d, 0}, d.Config
		}
		scriptForges.Store(ts.Getenv("WORK"), f)
		set := map[forge.Kind][]string{
			forge.GitHub: {"GITHUB_ACTIONS", "true", "GITHUB_API_URL", config.URL, "GITHUB_REPOSITORY", config.Repository, "GITHUB_TOKEN", config.Token},
			forge.GitLab: {"GITLAB_CI", "true", "CI_API_V4_URL", config.URL, "CI_PROJECT_PATH", config.Repository, "GITLAB_TOKEN", config.Token},
			forge.Gitea:  {"GITHUB_ACTIONS", "true", "GITEA_ACTIONS", "true", "GITHUB_API_URL", config.URL, "GITHUB_REPOSITORY", config.Repository, "GITHUB_TOKEN", config.Token},
		}[config.Kind]
		for i := 0; i < len(set); i += 2 {
			ts.Setenv(set[i], set[i+1])
		}
	}
}

// pull BRANCH opens a pull request; pull say N TEXT has somebody else comment on one; pull merge N HOW merges it (HOW is a style, or
// the commit that a forge that is played has for it); pull comments N and pull statuses REV print what is there.
func cmdPull(ts *testscript.TestScript, neg bool, args []string) {
	at, is := scriptForges.Load(ts.Getenv("WORK"))
	if neg || !is || len(args) == 0 {
		ts.Fatalf("usage: forge KIND, and then: pull BRANCH | pull say N TEXT | pull merge N HOW | pull comments N | pull statuses REV")
	}
	f := at.(scriptForge)
	rev := func(name string) string {
		cmd := exec.Command("git", "rev-parse", name)
		cmd.Dir = ts.MkAbs(".")
		out, err := cmd.Output()
		ts.Check(err)
		return strings.TrimSpace(string(out))
	}
	number := 0
	if len(args) > 1 {
		number, _ = strconv.Atoi(args[1])
	}
	switch args[0] {
	case "say":
		ts.Check(f.say(number, args[2]))
	case "merge":
		how := args[2]
		if _, real := f.(*scriptGitea); !real {
			how = rev(how)
		}
		ts.Check(f.merge(number, how))
	case "comments":
		all, err := f.comments(number)
		ts.Check(err)
		for _, c := range all {
			fmt.Fprintf(ts.Stdout(), "%s\n", c.Body)
		}
		fmt.Fprintf(ts.Stdout(), "%d comments\n", len(all))
	case "statuses":
		all, err := f.statuses(rev(args[1]))
		ts.Check(err)
		for _, s := range all {
			fmt.Fprintf(ts.Stdout(), "%s: %s, %s\n", s.Context, s.State, s.Description)
		}
	default:
		ts.Check(f.open(args[0], rev(args[0])))
	}
}

type scriptDouble struct {
	*forgetest.Double
	last int
}

func (d *scriptDouble) open(branch, head string) error {
	d.last++
	d.Pull(forge.PullRequest{Number: d.last, Title: branch, Head: head, Base: "main", Open: true})
	return nil
}

func (d *scriptDouble) merge(number int, commit string) error {
	d.Pull(forge.PullRequest{Number: number, Base: "main", Merged: true, Merge: commit})
	return nil
}

func (d *scriptDouble) comments(number int) ([]forge.Comment, error) { return d.Comments(number), nil }

func (d *scriptDouble) statuses(commit string) ([]forge.Status, error) {
	return d.Statuses(commit), nil
}

func (d *scriptDouble) say(number int, body string) error {
	d.Say(number, "mallory", body)
	return nil
}

type scriptGitea struct {
	*gittest.Gitea
	repo, token, other string
}

// newScriptGitea pushes the work tree to a repository of its own, which becomes its origin.
func newScriptGitea(t *testing.T, git func(...string) error) (*scriptGitea, forge.Config, error) {
	g := &scriptGitea{Gitea: gittest.StartGitea(t)}
	owner, token, err := g.User("acme")
	if err != nil {
		return nil, forge.Config{}, err
	}
	g.repo, g.token = "/repos/"+owner+"/infra", token
	if _, g.other, err = g.User("mallory"); err != nil {
		return nil, forge.Config{}, err
	}
	address, err := g.Repository(owner, "infra", token)
	if err == nil {
		err = git("remote", "set-url", "origin", address)
	}
	if err == nil {
		err = git("push", "-q", "origin", "main")
	}
	return g, forge.Config{Kind: forge.Gitea, URL: g.URL + "/api/v1", Repository: owner + "/infra", Token: token}, err
}

func (g *scriptGitea) open(branch, _ string) error {
	return g.Call("POST", g.repo+"/pulls", g.token, map[string]any{"head": branch, "base": "main", "title": branch}, nil)
}

// merge waits until Gitea has looked for conflicts.
func (g *scriptGitea) merge(number int, how string) (err error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = g.Call("POST", fmt.Sprintf("%s/pulls/%d/merge", g.repo, number), g.token, map[string]any{"Do": how}, nil); err == nil {
			break
		}
	}
	return err
}

func (g *scriptGitea) comments(number int) (all []forge.Comment, err error) {
	var said []struct{ Body string }
	err = g.Call("GET", fmt.Sprintf("%s/issues/%d/comments", g.repo, number), g.token, nil, &said)
	for _, c := range said {
		all = append(all, forge.Comment{Body: c.Body})
	}
	return all, err
}

func (g *scriptGitea) statuses(commit string) (all []forge.Status, err error) {
	var said []struct{ Status, Context, Description string }
	err = g.Call("GET", g.repo+"/commits/"+commit+"/statuses?sort=leastindex", g.token, nil, &said)
	for _, s := range said {
		all = append(all, forge.Status{State: forge.State(s.Status), Context: s.Context, Description: s.Description})
	}
	return all, err
}

func (g *scriptGitea) say(number int, body string) error {
	return g.Call("POST", fmt.Sprintf("%s/issues/%d/comments", g.repo, number), g.other, map[string]string{"body": body}, nil)
}
