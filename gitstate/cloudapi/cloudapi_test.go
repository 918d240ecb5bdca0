package cloudapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terramate-io/terramate/cloud"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/drift"
	"github.com/terramate-io/terramate/cloud/api/preview"
	"github.com/terramate-io/terramate/cloud/api/resources"
	"github.com/terramate-io/terramate/cloud/api/stack"
	tmerrors "github.com/terramate-io/terramate/errors"
	tmhttp "github.com/terramate-io/terramate/http"
	"github.com/terramate-io/terramate/project"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func TestDeployment(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, func(o *cloudapi.Options) {
		o.Reason = func(stderr, stdout []byte) string { return "said: " + strings.TrimSpace(string(stderr)) }
	})
	id := newUUID()
	n := s.deploy(r.Head(), id, newStack("a"), newStack("b"), newStack("c"))
	if got := s.note(r.Head()); !strings.Contains(got, "event=started op=deploy run=… stacks=3") || strings.Count(got, "status=queued") != 3 {
		t.Fatalf("by the time of the answer the note is\n%s", got)
	}
	s.update(id, n["id-a"], deployment.Running)
	s.update(id, n["id-a"], deployment.OK)
	s.update(id, n["id-b"], deployment.Running)
	now := time.Now()
	logs := resources.CommandLogs{{Line: 1, Timestamp: &now, Channel: resources.StderrLogChannel, Message: "no capacity"}}
	if err := s.SyncCommandLogs(t.Context(), org, n["id-b"], cloud.Entity{Kind: cloud.EntityKindDeployment, EntityID: string(id)}, logs); err != nil {
		t.Fatal(err)
	}
	s.update(id, n["id-b"], deployment.Failed)
	s.update(id, n["id-b"], deployment.Failed) // said twice
	if got := s.failed(""); got != "id-b" {
		t.Errorf("failed: %q", got)
	}
	s.update(id, n["id-c"], deployment.Canceled)
	want := lines(
		"at=… event=started op=deploy run=… stacks=3 ct=… by=Alice cmd=\"deploy it\" v=1 commit=…",
		"at=… status=ok op=deploy stack=/a id=id-a took=… variant=… run=…",
		"at=… status=failed op=deploy stack=/b id=id-b took=… reason=\"said: no capacity\" variant=… run=…",
		"at=… status=canceled op=deploy stack=/c id=id-c reason=\"not started: /b failed\" variant=… run=…",
		"at=… event=finished run=… ok=1 failed=1 canceled=1")
	if got := s.note(r.Head()); got != want {
		t.Errorf("the note is\n%swant\n%s", got, want)
	}
	if got := s.failed(""); got != "id-b id-c" {
		t.Errorf("failed: %q", got)
	}

	// The next one follows it; nothing that is asked wrongly changes anything.
	before := s.note(r.Head())
	for name, err := range map[string]error{
		"the same UUID again": func() error { _, err := s.announce(r.Head(), id, newStack("a")); return err }(),
		"an unknown commit":   func() error { _, err := s.announce(strings.Repeat("ab", 20), newUUID(), newStack("a")); return err }(),
		"no commit at all":    func() error { _, err := s.announce("", newUUID(), newStack("a")); return err }(),
		"a stack twice":       func() error { _, err := s.announce(r.Head(), newUUID(), newStack("a"), newStack("a")); return err }(),
		"no UUID":             func() error { _, err := s.announce(r.Head(), "x", newStack("a")); return err }(),
		"another repository": func() error {
			st := newStack("a")
			st.Repository = "git.example/acme/other"
			_, err := s.announce(r.Head(), newUUID(), st)
			return err
		}(),
		"a strange target": func() error {
			st := newStack("a")
			st.Target = "a+b"
			_, err := s.announce(r.Head(), newUUID(), st)
			return err
		}(),
		"a strange path": func() error {
			st := newStack("a")
			st.Path = "/a/../b"
			_, err := s.announce(r.Head(), newUUID(), st)
			return err
		}(),
		"an unknown deployment": s.tryUpdate(newUUID(), n["id-a"], deployment.OK),
		"an unknown stack":      s.tryUpdate(id, 1, deployment.OK),
		"an unknown status":     s.tryUpdate(id, n["id-a"], deployment.Unrecognized),
		"begun when it ended":   s.tryUpdate(id, n["id-a"], deployment.Running),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if got := s.note(r.Head()); got != before {
		t.Errorf("the note is now\n%s", got)
	}
	if seen := s.api.Seen(); seen.Deployments != 1 || len(seen.Refused) != 12 {
		t.Errorf("%+v", seen)
	}
	again := newUUID()
	n = s.deploy(r.Head(), again, newStack("b"))
	s.update(again, n["id-b"], deployment.OK)
	if got := s.failed(""); got != "id-c" {
		t.Errorf("failed: %q", got)
	}
	if res, err := s.announce(r.Head(), newUUID()); err != nil || len(res) != 0 {
		t.Errorf("of no stack: %v, %v", res, err)
	}
}

// The CLI says that it did not start a stack, or killed it, and not why.
func TestWhyCanceled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		a, b    deployment.Status // what became of /a; /b is canceled after it, and is Pending or Running before
		cmdline []string
		want    string
	}{
		{name: "after a failure", a: deployment.Failed, b: deployment.Pending, want: "not started: /a failed"},
		{name: "after a success", a: deployment.OK, b: deployment.Pending, want: "terramate was interrupted"},
		{name: "while it ran", a: deployment.Failed, b: deployment.Running, want: "terramate was interrupted"},
		{name: "failures end nothing", a: deployment.Failed, b: deployment.Pending, want: "terramate was interrupted",
			cmdline: []string{"terramate", "run", "--continue-on-error", "--", "deploy", "it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := gittest.New(t)
			s := serve(t, r.Dir, func(o *cloudapi.Options) { o.CommandLine = c.cmdline })
			id := newUUID()
			n := s.deploy(r.Head(), id, newStack("a"), newStack("b"))
			s.update(id, n["id-b"], c.b)
			s.update(id, n["id-a"], deployment.Running)
			s.update(id, n["id-a"], c.a)
			s.update(id, n["id-b"], deployment.Canceled)
			if got := s.note(r.Head()); !strings.Contains(got, "status=canceled op=deploy stack=/b ") || !strings.Contains(got, "reason=\""+c.want+"\"") {
				t.Errorf("the note is\n%s", got)
			}
		})
	}
}

// A server that starts in the middle of a deployment goes on with it; so does
// one over another clone, once the notes have travelled.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	id := newUUID()
	first := serve(t, r.Dir, nil)
	n := first.deploy(r.Head(), id, newStack("a"), newStack("b"), newStack("c"))
	first.update(id, n["id-a"], deployment.Running)
	d, err := first.CreateStackDrift(t.Context(), org, driftOf(r.Head(), newStack("x")))
	if err != nil {
		t.Fatal(err)
	}

	second := serve(t, r.Dir, nil)
	second.update(id, n["id-a"], deployment.OK)
	second.update(id, n["id-b"], deployment.Running)
	// Another run comes between, so that the deployment is not the latest of /b.
	other := newUUID()
	m := second.deploy(r.Head(), other, newStack("a"), newStack("b"), newStack("c"))
	second.update(other, m["id-b"], deployment.OK)
	if m["id-b"] != n["id-b"] {
		t.Errorf("two servers have two numbers for a stack: %d, %d", m["id-b"], n["id-b"])
	}

	third := serve(t, r.Dir, nil)
	third.update(id, n["id-b"], deployment.OK)
	if err := third.UpdateStackDrift(t.Context(), org, d.DriftUUID, resources.UpdateDriftPayloadRequest{Status: drift.OK, UpdatedAt: time.Now()}); err != nil {
		t.Error(err)
	}
	if _, err := third.store.Remote("origin").Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	clone := r.Clone()
	fourth := serve(t, clone.Dir, nil)
	if _, err := fourth.store.Remote("origin").Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	fourth.update(id, n["id-c"], deployment.OK)
	if got := fourth.note(r.Head()); strings.Count(got, "event=finished") != 2 || !strings.Contains(got, "event=finished run=… ok=3\n") {
		t.Errorf("the deployment did not end as one:\n%s", got)
	}
	if _, err := fourth.store.Remote("origin").Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := third.store.Remote("origin").Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := third.note(r.Head()), fourth.note(r.Head()); a != b {
		t.Errorf("two clones do not agree:\n%s\n%s", a, b)
	}
	f := resources.NoStatusFilters()
	if a, b := third.with("", f), fourth.with("", f); a != b || a != "id-a id-b id-c id-x" {
		t.Errorf("two servers do not agree: %q, %q", a, b)
	}
}

func driftOf(commit string, st resources.Stack) resources.DriftCheckRunStartPayloadRequest {
	now := time.Now()
	return resources.DriftCheckRunStartPayloadRequest{Stack: st, Metadata: metadata(commit), StartedAt: &now, Command: []string{"terraform", "plan"}}
}

func (s *service) drift(commit string, st resources.Stack, status drift.Status, plan *resources.ChangesetDetails) {
	s.Helper()
	d, err := s.CreateStackDrift(s.Context(), org, driftOf(commit, st))
	if err == nil {
		err = s.UpdateStackDrift(s.Context(), org, d.DriftUUID, resources.UpdateDriftPayloadRequest{Status: status, UpdatedAt: time.Now(), Changeset: plan})
	}
	if err != nil {
		s.Fatal(err)
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, func(o *cloudapi.Options) { o.KeepLogs = "all" })
	plan := &resources.ChangesetDetails{Provisioner: "terraform", ChangesetASCII: "  + will be created\n    password = \"hunter2\"\n",
		ChangesetJSON: `{"format_version":"1.2","planned_values":{},"resource_changes":[{"address":"x.y","mode":"managed","change":{"actions":["create"],"after":{"password":"hunter2"}}}]}`}
	s.drift(r.Head(), newStack("a"), drift.Drifted, plan)
	s.drift(r.Head(), newStack("b"), drift.OK, nil)
	s.drift(r.Head(), newStack("a"), drift.Drifted, plan)         // again: another run
	if _, err := s.MemberOrganizations(t.Context()); err != nil { // another CLI
		t.Fatal(err)
	}
	written := s.note(r.Head())
	if strings.Count(written, "event=started") != 2 || strings.Count(written, "event=finished") != 2 || strings.Count(written, "status=drifted") != 1 || !strings.Contains(written, "since=… seen=2 ") ||
		strings.Count(written, " add=1\n") != 1 || strings.Contains(written, "hunter2") {
		t.Errorf("the note is\n%s", written)
	}
	st, found, err := s.GetStack(t.Context(), org, repo, "default", "ID-A")
	if err != nil || !found || st.DriftStatus != drift.Drifted || st.Status != stack.Drifted {
		t.Fatalf("%+v, %v, %v", st, found, err)
	}
	last, err := s.StackLastDrift(t.Context(), org, st.ID)
	if err != nil || len(last.Drifts) != 1 || last.Drifts[0].Status != drift.Drifted {
		t.Fatalf("%+v, %v", last, err)
	}
	d, err := s.DriftDetails(t.Context(), org, st.ID, last.Drifts[0].ID)
	if err != nil || d.Details == nil || d.Details.Provisioner != "terraform" || !strings.Contains(d.Details.ChangesetASCII, "will be created") || strings.Contains(d.Details.ChangesetASCII, "hunter2") {
		t.Errorf("%+v, %+v, %v", d, d.Details, err)
	}
	if _, err := s.DriftDetails(t.Context(), org, st.ID, 1); !tmerrors.IsKind(err, tmhttp.ErrNotFound) {
		t.Errorf("a drift that is not there: %v", err)
	}
	if _, found, err := s.GetStack(t.Context(), org, repo, "default", "id-none"); err != nil || found {
		t.Errorf("a stack that is not there: %v, %v", found, err)
	}
	f := resources.NoStatusFilters()
	f.DriftStatus = drift.FilterStatus(drift.OK)
	if got := s.with("", f); got != "id-b" {
		t.Errorf("drift ok: %q", got)
	}
	// Another commit's drift is another result.
	second := r.Commit("second", nil)
	s.drift(second, newStack("a"), drift.OK, nil)
	all, err := s.get("/v1/stacks/" + string(org) + fmt.Sprintf("/%d/drifts", st.ID))
	if err != nil || strings.Count(all, `"id"`) != 2 || strings.Index(all, `"ok"`) > strings.Index(all, `"drifted"`) {
		t.Errorf("newest first: %s, %v", all, err)
	}
}

// get is what the CLI never asks.
func (s *service) get(path string) (string, error) {
	req, err := http.NewRequestWithContext(s.Context(), "GET", s.url+path, nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(token, "")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	return string(b), err
}

func TestPreview(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, nil)
	affected := map[string]resources.Stack{"id-a": newStack("a"), "id-b": newStack("b"), "id-c": newStack("c")}
	cmd := []string{"terraform", "plan"}
	p, err := s.CreatePreview(t.Context(), cloud.CreatePreviewOpts{OrgUUID: org, AffectedStacks: affected,
		Runs:     []cloud.RunContext{{StackID: "id-a", Cmd: cmd}, {StackID: "id-b", Cmd: cmd}},
		PushedAt: 1, CommitSHA: strings.Repeat("ab", 20), // the head of the review, which is not here
		Technology: "terraform", TechnologyLayer: "default", Metadata: metadata(r.Head()), ReviewRequest: &resources.ReviewRequest{Repository: repo}})
	if err != nil || len(p.StackPreviewsByMetaID) != 3 {
		t.Fatalf("%+v, %v", p, err)
	}
	now := time.Now()
	logs := resources.CommandLogs{{Line: 1, Timestamp: &now, Channel: resources.StdoutLogChannel, Message: "planning"}}
	if err := s.SyncCommandLogs(t.Context(), org, 1, cloud.Entity{Kind: cloud.EntityKindPreview, EntityID: p.StackPreviewsByMetaID["id-a"]}, logs); err != nil {
		t.Error(err)
	}
	for _, u := range []struct {
		id     string
		status preview.StackStatus
	}{{"id-a", preview.StackStatusRunning}, {"id-a", preview.StackStatusChanged}, {"id-b", preview.StackStatusRunning}, {"id-b", preview.StackStatusUnchanged}} {
		if err := s.UpdateStackPreview(t.Context(), cloud.UpdateStackPreviewOpts{OrgUUID: org, StackPreviewID: p.StackPreviewsByMetaID[u.id], Status: u.status}); err != nil {
			t.Error(err)
		}
	}
	want := lines(
		`at=… event=started op=preview run=… stacks=2 ct=… by=Alice cmd="terraform plan" v=1 commit=…`,
		`at=… status=ok op=preview stack=/a id=id-a exit=2 took=… variant=… run=…`,
		`at=… status=ok op=preview stack=/b id=id-b exit=0 took=… variant=… run=…`,
		`at=… event=finished run=… ok=2`)
	if got := s.note(r.Head()); got != want {
		t.Errorf("the note is\n%swant\n%s", got, want)
	}
	if got := s.with("", resources.NoStatusFilters()); got != "" {
		t.Errorf("a preview made stacks known: %q", got)
	}
}

// The CLI compares ids as they are written with ids in lower case, and says of a stack whose id has
// capitals that it is only affected. It is planned and reported on all the same: also after the
// others have ended, and where there are no others.
func TestPreviewOfCapitals(t *testing.T) {
	t.Parallel()
	for _, beside := range []bool{false, true} {
		r := gittest.New(t)
		s := serve(t, r.Dir, nil)
		capital := newStack("up")
		capital.MetaID = "up-1"
		opts := cloud.CreatePreviewOpts{OrgUUID: org, AffectedStacks: map[string]resources.Stack{"up-1": capital},
			Runs: []cloud.RunContext{{StackID: "UP-1", Cmd: []string{"terraform", "plan"}}}, PushedAt: 1, CommitSHA: r.Head(),
			Technology: "terraform", TechnologyLayer: "default", Metadata: metadata(r.Head()), ReviewRequest: &resources.ReviewRequest{Repository: repo}}
		report := func(preview, stack string, statuses ...preview.StackStatus) {
			for _, status := range statuses {
				if err := s.UpdateStackPreview(t.Context(), cloud.UpdateStackPreviewOpts{OrgUUID: org, StackPreviewID: preview, Status: status}); err != nil {
					t.Errorf("%s of %s: %v", status, stack, err)
				}
			}
		}
		if beside {
			opts.AffectedStacks["id-a"] = newStack("a")
			opts.Runs = append(opts.Runs, cloud.RunContext{StackID: "id-a", Cmd: []string{"terraform", "plan"}})
		}
		p, err := s.CreatePreview(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if beside {
			report(p.StackPreviewsByMetaID["id-a"], "/a", preview.StackStatusRunning, preview.StackStatusUnchanged)
		} else if got := s.note(r.Head()); got != "" {
			t.Errorf("what nobody reported on is on record:\n%s", got)
		}
		report(p.StackPreviewsByMetaID["up-1"], "/up", preview.StackStatusRunning, preview.StackStatusChanged)
		got := s.note(r.Head())
		for _, want := range []string{" event=started op=preview ", " status=ok op=preview stack=/up id=up-1 exit=2 ", " event=finished "} {
			if !strings.Contains(got, want) {
				t.Errorf("with others %v: there is no%sin\n%s", beside, want, got)
			}
		}
		if strings.Contains(got, "canceled") || beside && !strings.Contains(got, "status=ok op=preview stack=/a ") {
			t.Errorf("with others %v: the note is\n%s", beside, got)
		}
	}
}

func TestWhoAsks(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, nil)
	orgs, err := s.MemberOrganizations(t.Context())
	if err != nil || len(orgs.ActiveOrgs()) != 1 || orgs[0].UUID != org {
		t.Errorf("%+v, %v", orgs, err)
	}
	if u, err := s.Users(t.Context()); err != nil || u.UUID == "" {
		t.Errorf("%+v, %v", u, err)
	}
	if err := s.CheckVersion(t.Context()); err != nil {
		t.Error(err)
	}
	if rr, err := s.ListReviewRequests(t.Context(), org); err != nil || len(rr) != 0 {
		t.Errorf("%+v, %v", rr, err)
	}
	if _, err := s.StacksByStatus(t.Context(), "another", repo, "", resources.NoStatusFilters()); !tmerrors.IsKind(err, tmhttp.ErrNotFound) {
		t.Errorf("another organization: %v", err)
	}
	for _, path := range []string{"?repository=git.example/acme/other", "", "?repository=" + repo + "&page=0", "?repository=" + repo + "&per_page=x",
		"?repository=" + repo + "&status=canceled", "?repository=" + repo + "&target=A"} {
		if _, err := s.get("/v1/stacks/" + string(org) + path); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, wrong := range []string{"", "another", token + "x"} {
		s.SetCredential(credential(wrong))
		if _, err := s.MemberOrganizations(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
	open := serve(t, r.Dir, func(o *cloudapi.Options) { o.Token = "" })
	open.SetCredential(credential(""))
	if _, err := open.MemberOrganizations(t.Context()); err == nil {
		t.Error("a server without a token lets everybody in")
	}
}

// Filters come before pages: the CLI stops at the first page that is not full.
func TestPages(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, nil)
	var stacks []resources.Stack
	for i := range 120 {
		stacks = append(stacks, newStack(fmt.Sprintf("s%03d", i)))
	}
	id := newUUID()
	n := s.deploy(r.Head(), id, stacks...)
	var all resources.UpdateDeploymentStacks
	for i, st := range stacks {
		status := deployment.OK
		if i%2 == 0 {
			status = deployment.Failed
		}
		all.Stacks = append(all.Stacks, resources.UpdateDeploymentStack{StackID: n[st.MetaID], Status: status})
	}
	if err := s.UpdateDeploymentStacks(t.Context(), org, id, all); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(s.failed(""))
	if len(got) != 60 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != 60 {
		t.Errorf("%d failed: %v", len(got), got)
	}
}

// What could not be announced is refused, and is over.
func TestNotAnnounced(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	var refused error
	s := serve(t, r.Dir, func(o *cloudapi.Options) {
		o.Announce = func(context.Context) error { return errors.New("the remote is down") }
		o.Refused = func(err error) { refused = err }
	})
	id := newUUID()
	_, err := s.announce(r.Head(), id, newStack("a"))
	if err == nil || !strings.Contains(err.Error(), "503") || refused == nil || !strings.Contains(refused.Error(), "the remote is down") {
		t.Errorf("%v; %v", err, refused)
	}
	got := s.note(r.Head())
	if strings.Contains(got, "status=") || !strings.Contains(got, "event=forgotten op=deploy stack=/a ") || !strings.Contains(got, "event=finished") || s.api.Seen().Deployments != 0 {
		t.Errorf("%s%+v", got, s.api.Seen())
	}
	// Who deploys it meanwhile knows nothing of that, and is not in conflict with it.
	other := &note.Record{Status: note.OK, Op: note.Deploy, Stack: "/a", ID: "id-a", Run: s.store.NewRun()}
	if err := s.store.Writer(other.Run).Append(r.Head(), other); err != nil {
		t.Fatal(err)
	}
	st, err := s.store.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l, err := st.Latest(note.Slot{ID: "id-a", Path: "/a", Target: "", Op: note.Deploy}); err != nil || l.Status != note.OK || len(l.Diverged)+len(l.Conflicts) > 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

// A CLI that goes away leaves nothing open, and the next deployment follows it.
func TestSettle(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, nil)
	id := newUUID()
	n := s.deploy(r.Head(), id, newStack("a"), newStack("b"))
	s.update(id, n["id-a"], deployment.Running)
	if _, err := s.CreateStackDrift(t.Context(), org, driftOf(r.Head(), newStack("c"))); err != nil {
		t.Fatal(err)
	}
	open, err := s.api.Settle("it was killed")
	if err != nil || open != 3 {
		t.Errorf("%d open, %v", open, err)
	}
	if got := s.note(r.Head()); strings.Count(got, `reason="it was killed"`) != 3 || strings.Count(got, "event=finished") != 2 || strings.Contains(got, "queued") {
		t.Error(got)
	}
}

// Under the Cloud API a deployment's command comes with its words joined by blanks.
// What -var sets stays out of head, reason and log, also where it has blanks in it.
func TestSecretsOfTheCommand(t *testing.T) {
	t.Parallel()
	for name, known := range map[string][]string{
		"unknown": nil,
		"known":   {"terramate", "run", "--", "terraform", "apply", "-var", "password=two secret words", "-no-color"},
	} {
		r := gittest.New(t)
		s := serve(t, r.Dir, func(o *cloudapi.Options) {
			o.KeepLogs, o.CommandLine = "all", known
			o.Reason = func(stderr, stdout []byte) string { return strings.TrimSpace(string(stderr)) }
		})
		id := newUUID()
		res, err := s.CreateDeploymentStacks(t.Context(), org, id, resources.DeploymentStacksPayloadRequest{Workdir: project.NewPath("/"), Metadata: metadata(r.Head()),
			Stacks: resources.DeploymentStackRequests{{Stack: newStack("a"), CommitSHA: r.Head(), DeploymentCommand: "terraform apply -var password=two secret words -no-color"}}})
		if err != nil {
			t.Fatal(err)
		}
		s.update(id, res[0].StackID, deployment.Running)
		now := time.Now()
		logs := resources.CommandLogs{{Line: 1, Timestamp: &now, Channel: resources.StderrLogChannel, Message: "Error: \x1b[1mtwo secret\x1b[0m words is refused"}}
		if err := s.SyncCommandLogs(t.Context(), org, res[0].StackID, cloud.Entity{Kind: cloud.EntityKindDeployment, EntityID: string(id)}, logs); err != nil {
			t.Fatal(err)
		}
		s.update(id, res[0].StackID, deployment.Failed)
		written := s.note(r.Head())
		if strings.Contains(written, "two") || strings.Contains(written, "words") || !strings.Contains(written, `cmd="terraform apply -var password=*** -no-color"`) ||
			!strings.Contains(written, `reason="Error: *** is refused"`) {
			t.Errorf("%s: the note is\n%s", name, written)
		}
		text, found, err := s.store.Text(gitstate.TextKey{Kind: gitstate.LogText, ID: "id-a", Path: "/a", Op: note.Deploy})
		if err != nil || !found || text.Body != "Error: *** is refused\n" {
			t.Errorf("%s: the log is %q, %v", name, text.Body, err)
		}
	}
}
