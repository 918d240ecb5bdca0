package cloudapi_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/terramate-io/terramate/cloud"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/resources"
	"github.com/terramate-io/terramate/cloud/api/stack"
	"github.com/terramate-io/terramate/project"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The server is tested with the other side's own client.

const (
	token = "a token for tests"
	repo  = "git.example/acme/infra"
	org   = resources.UUID(cloudapi.OrganizationUUID)
)

func TestMain(m *testing.M) {
	cleanup := gittest.Isolate()
	code := m.Run()
	cleanup()
	os.Exit(code)
}

type credential string

func (c credential) ApplyCredentials(r *http.Request) error {
	r.SetBasicAuth(string(c), "")
	return nil
}

func (c credential) RedactCredentials(*http.Request) {}

// service is a server over a repository, with Terramate's client for it.
type service struct {
	testing.TB
	*cloud.Client
	store *gitstate.Store
	api   *cloudapi.Server
	url   string
}

func serve(t testing.TB, dir string, change func(*cloudapi.Options)) *service {
	t.Helper()
	store, err := gitstate.Open(t.Context(), gitstate.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	opt := cloudapi.Options{Token: token, Repository: repo, By: "Alice", Warn: func(s string) { t.Error(s) },
		See: func(_, joined string, _ []string) (cloudapi.Sight, error) {
			return cloudapi.Sight{Variant: note.Digest(joined)[:8]}, nil
		}}
	if change != nil {
		change(&opt)
	}
	api := cloudapi.New(store, store.Writer("R"), opt)
	s := httptest.NewServer(api)
	t.Cleanup(s.Close)
	c := cloud.NewClient(cloud.WithBaseURL(s.URL), cloud.WithHTTPClient(s.Client()), cloud.WithCredential(credential(token)))
	return &service{t, c, store, api, s.URL}
}

func newStack(name string) resources.Stack {
	return resources.Stack{Repository: repo, DefaultBranch: "main", Path: "/" + name, MetaID: "id-" + name, MetaName: name}
}

func newUUID() resources.UUID { return resources.UUID(uuid.NewString()) }

// deploy announces a deployment and returns the numbers of its stacks.
func (s *service) deploy(commit string, id resources.UUID, stacks ...resources.Stack) map[string]int64 {
	s.Helper()
	res, err := s.announce(commit, id, stacks...)
	if err != nil {
		s.Fatal(err)
	}
	n := map[string]int64{}
	for _, r := range res {
		n[r.StackMetaID] = r.StackID
	}
	return n
}

func (s *service) announce(commit string, id resources.UUID, stacks ...resources.Stack) (resources.DeploymentStacksResponse, error) {
	req := resources.DeploymentStacksPayloadRequest{Workdir: project.NewPath("/"), Metadata: metadata(commit)}
	for _, st := range stacks {
		req.Stacks = append(req.Stacks, resources.DeploymentStackRequest{Stack: st, CommitSHA: commit, DeploymentCommand: "deploy it"})
	}
	return s.CreateDeploymentStacks(s.Context(), org, id, req)
}

func metadata(commit string) *resources.DeploymentMetadata {
	return &resources.DeploymentMetadata{GitMetadata: resources.GitMetadata{GitCommitSHA: commit}}
}

func (s *service) update(id resources.UUID, n int64, status deployment.Status) {
	s.Helper()
	if err := s.tryUpdate(id, n, status); err != nil {
		s.Fatal(err)
	}
}

func (s *service) tryUpdate(id resources.UUID, n int64, status deployment.Status) error {
	return s.UpdateDeploymentStacks(s.Context(), org, id, resources.UpdateDeploymentStacks{Stacks: []resources.UpdateDeploymentStack{{StackID: n, Status: status}}})
}

// with are the ids of the stacks that a filter brings.
func (s *service) with(target string, f resources.StatusFilters) string {
	s.Helper()
	found, err := s.StacksByStatus(s.Context(), org, repo, target, f)
	if err != nil {
		s.Fatal(err)
	}
	var ids []string
	for _, o := range found {
		ids = append(ids, o.MetaID)
	}
	return strings.Join(ids, " ")
}

func (s *service) failed(target string) string {
	s.Helper()
	f := resources.NoStatusFilters()
	f.StackStatus = stack.FilterStatus(stack.Failed)
	return s.with(target, f)
}

// note is the note of a commit, with words for what differs from run to run.
func (s *service) note(commit string) string {
	s.Helper()
	lines, err := s.store.Note(commit)
	if err != nil {
		s.Fatal(err)
	}
	var all []string
	for _, l := range lines {
		if l.Err != nil {
			s.Errorf("no record: %s: %v", l.Text, l.Err)
		}
		all = append(all, masked.ReplaceAllString(l.Text, "${1}…")+"\n")
	}
	slices.Sort(all) // of what happened within one millisecond, which came first is chance
	return strings.Join(all, "")
}

var masked = regexp.MustCompile(`\b((?:at|run|prev|ct|took|variant|since|commit)=)[^ ]+`)

func lines(s ...string) string {
	slices.Sort(s)
	return strings.Join(s, "\n") + "\n"
}
