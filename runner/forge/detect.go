package forge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tokens are the variables that may have the token of a forge, the first of them first.
var tokens = map[Kind][]string{
	GitHub: {"GH_TOKEN", "GITHUB_TOKEN"},
	GitLab: {"GITLAB_TOKEN"},
	Gitea:  {"GITEA_TOKEN", "FORGEJO_TOKEN", "GITHUB_TOKEN"},
}

// Detect is what the variables of a CI job say of its forge, and what is asked for in their place: kind and address
// are "" where nothing is. remote is the repository as git's remote has it, HOST/PATH, for who is in no CI.
func Detect(getenv func(string) string, kind, address, remote string) (c Config, err error) {
	if kind != "" && !slices.Contains(Kinds, Kind(kind)) {
		return c, fmt.Errorf("--forge: %q is not one of github, gitlab, gitea", kind)
	}
	host, path, is := strings.Cut(strings.TrimSuffix(remote, ".git"), "/")
	if !is {
		host = "" // it is no address of a remote
	}
	here := kindOfCI(getenv)
	c.Kind = cmp.Or(Kind(kind), here, known[host].kind)
	if c.Kind == "" {
		return c, fmt.Errorf("no forge is known here: not in GitHub Actions, GitLab CI or Gitea Actions; use --forge github, gitlab or gitea (and --forge-url)")
	}
	fromCI(&c, here, getenv)
	c.Repository = cmp.Or(c.Repository, path)
	if c.Kind != here {
		c.URL = known[host].api
	}
	if c.URL == "" && host != "" {
		c.URL = "https://" + host + apiPath[c.Kind]
	}
	c.URL = cmp.Or(address, c.URL)
	for _, name := range tokens[c.Kind] {
		if c.Kind == Gitea && name == "GITHUB_TOKEN" && here != Gitea {
			continue // it is GitHub's
		}
		c.Token = cmp.Or(c.Token, getenv(name))
	}
	if c.Token != "" {
		return c, nil
	}
	err = fmt.Errorf("no token for %s: set %s", c.Kind, strings.Join(tokens[c.Kind][:min(len(tokens[c.Kind]), 2)], " or "))
	if c.Kind == GitLab && getenv("CI_JOB_TOKEN") != "" {
		err = fmt.Errorf("%w to a project access token with the scope api (GitLab lets CI_JOB_TOKEN neither comment nor set a status)", err)
	}
	return c, err
}

// known are the forges that need not be named.
var known = map[string]struct {
	kind Kind
	api  string
}{
	"github.com":   {GitHub, "https://api.github.com"},
	"gitlab.com":   {GitLab, "https://gitlab.com/api/v4"},
	"gitea.com":    {Gitea, "https://gitea.com/api/v1"},
	"codeberg.org": {Gitea, "https://codeberg.org/api/v1"},
}

var apiPath = map[Kind]string{GitHub: "/api/v3", GitLab: "/api/v4", Gitea: "/api/v1"}

// kindOfCI is the forge whose CI this is. Gitea's and Forgejo's set GitHub's variables as well.
func kindOfCI(getenv func(string) string) Kind {
	on := func(name string) bool { return getenv(name) == "true" }
	switch {
	case on("GITEA_ACTIONS"), on("FORGEJO_ACTIONS"), on("GITHUB_ACTIONS") && strings.HasSuffix(strings.TrimSuffix(getenv("GITHUB_API_URL"), "/"), "/api/v1"):
		return Gitea
	case on("GITHUB_ACTIONS"):
		return GitHub
	case on("GITLAB_CI"):
		return GitLab
	}
	return ""
}

var pullRef = regexp.MustCompile(`^refs/pull/(\d+)/(?:merge|head)$`)

// fromCI takes from a CI job what it knows.
func fromCI(c *Config, here Kind, getenv func(string) string) {
	if here == GitLab {
		c.URL = getenv("CI_API_V4_URL")
		// Of a merge request the job may be the fork's.
		for _, name := range []string{"CI_MERGE_REQUEST_PROJECT_PATH", "CI_MERGE_REQUEST_PROJECT_ID", "CI_PROJECT_PATH", "CI_PROJECT_ID"} {
			c.Repository = cmp.Or(c.Repository, getenv(name))
		}
		c.Number, _ = strconv.Atoi(getenv("CI_MERGE_REQUEST_IID"))
		return
	}
	if here == "" {
		return // a variable that is set for something else is not the CI's
	}
	c.URL, c.Repository = getenv("GITHUB_API_URL"), getenv("GITHUB_REPOSITORY")
	if m := pullRef.FindStringSubmatch(getenv("GITHUB_REF")); m != nil {
		c.Number, _ = strconv.Atoi(m[1])
	} else if text, err := os.ReadFile(getenv("GITHUB_EVENT_PATH")); err == nil {
		// Of pull_request_target and of a merged one the ref is the base branch.
		var event struct {
			PullRequest struct{ Number int } `json:"pull_request"`
		}
		if json.Unmarshal(text, &event) == nil {
			c.Number = event.PullRequest.Number
		}
	}
}
