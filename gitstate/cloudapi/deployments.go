package cloudapi

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// createDeployment is POST /v1/deployments/{org}/{uuid}/stacks, which the CLI
// sends once, before it runs anything. With the answer it may start, so by then
// the head of the run and its queued stacks are recorded, and announced: see announce.
func (s *Server) createDeployment(r *http.Request) (any, error) {
	res, err := s.deploy(r)
	if err != nil && s.opt.Refused != nil {
		s.opt.Refused(err)
	}
	return res, err
}

func (s *Server) deploy(r *http.Request) (any, error) {
	ctx := r.Context()
	name, err := deploymentUUID(r)
	if err != nil {
		return nil, err
	}
	req, o, err := s.readDeployment(r)
	if err != nil {
		return nil, err
	}
	if len(req.Stacks) == 0 {
		s.mu.Lock()
		s.seen.Deployments++
		s.mu.Unlock()
		return resources.DeploymentStacksResponse{}, nil
	}
	commit, err := s.commitOf(origin{commit: o.commit, meta: req.Metadata})
	if err != nil {
		return nil, err
	}
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	wt, err := s.workTree(ctx)
	if err != nil {
		return nil, err
	}
	stacks, dirty, err := s.lookAtAll(wt, commit.Hash, req.Stacks)
	if err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(slices.Collect(maps.Keys(s.runs)), func(id string) bool { return gitstate.RunIsFor(id, name) }) {
		return nil, &wireError{http.StatusConflict, fmt.Errorf("the deployment %s is there already", name)}
	}
	st, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	s.writer.Follow(st)
	d := &run{id: s.store.NewRunFor(name), op: note.Deploy, commit: commit.Hash, stacks: map[int64]*entry{}, closed: true}
	res := resources.DeploymentStacksResponse{}
	var records []*note.Record
	var first *entry
	for _, stack := range stacks {
		n, e, err := s.newEntry(st, d, stack, note.Queued)
		if err != nil {
			return nil, err
		}
		if hold, is := st.Hold(note.Slot{ID: e.rec.ID, Path: e.rec.Stack, Target: e.rec.Target}); is && !s.opt.DryRun {
			return nil, &wireError{http.StatusConflict, fmt.Errorf("%s is %s; leave it out, or end that with `tmnotes release`; nothing was executed", e.rec.Stack, hold.String())}
		}
		e.rec.Dirty = dirty[stack.Path]
		d.stacks[n], first = e, cmp.Or(first, e)
		records = append(records, &e.rec)
		res = append(res, resources.DeploymentStackResponse{StackID: n, StackMetaID: stack.MetaID, Target: stack.Target, Status: deployment.Pending})
	}
	head := s.head(ctx, d, o, commit, first, len(records))
	if err := s.open(d, append([]*note.Record{head}, records...)...); err != nil {
		return nil, err
	}
	return res, s.announce(r, d, wt)
}

// readDeployment reads a deployment, which is of one commit and one target.
func (s *Server) readDeployment(r *http.Request) (req resources.DeploymentStacksPayloadRequest, o origin, err error) {
	if req, err = read[resources.DeploymentStacksPayloadRequest](r); err != nil {
		return req, o, err
	}
	o.meta = req.Metadata
	for i, st := range req.Stacks {
		if err := s.validStack(&st.Stack); err != nil {
			return req, o, err
		}
		if i > 0 && (st.CommitSHA != o.commit || st.Target != req.Stacks[0].Target) {
			return req, o, bad("one deployment is of one commit and one target, not of several")
		}
		o.commit, o.url = st.CommitSHA, st.DeploymentURL
	}
	return req, o, nil
}

// looked is a stack that a run is to have, with what its command sees.
type looked struct {
	resources.Stack
	cmd       command
	seen      Sight
	workspace string
}

func (s *Server) lookAt(wt WorkTree, of resources.Stack, cmd command) (l looked, err error) {
	l = looked{Stack: of, cmd: cmd}
	if l.seen, err = s.see(of.Path, cmd.joined, cmd.argv); err != nil {
		return l, fmt.Errorf("%s: %w", of.Path, err)
	}
	_, l.workspace, err = wt.Env(of.Path)
	return l, err
}

// lookAtAll looks at the stacks of a deployment, and says which have uncommitted changes.
func (s *Server) lookAtAll(wt WorkTree, commit string, stacks resources.DeploymentStackRequests) (all []looked, dirty map[string]bool, err error) {
	all = make([]looked, len(stacks))
	errs := make([]error, len(stacks)+1)
	var paths []string
	for _, st := range stacks {
		paths = append(paths, st.Path)
	}
	var wait sync.WaitGroup
	wait.Go(func() { dirty, errs[len(stacks)] = wt.Dirty(commit, paths) })
	var next atomic.Int64
	for range min(len(stacks), runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(stacks)); i = next.Add(1) - 1 {
				all[i], errs[i] = s.lookAt(wt, stacks[i].Stack, command{joined: stacks[i].DeploymentCommand})
			}
		})
	}
	wait.Wait()
	return all, dirty, cmp.Or(errs...)
}

func deploymentUUID(r *http.Request) (string, error) {
	id, err := uuid.Parse(r.PathValue("uuid"))
	if err != nil {
		return "", bad("%q is no UUID of a deployment", r.PathValue("uuid"))
	}
	return id.String(), nil
}

// deploymentOf finds the deployment of a request.
func (s *Server) deploymentOf(r *http.Request) (*run, error) {
	name, err := deploymentUUID(r)
	if err != nil {
		return nil, err
	}
	d, err := s.find(r.Context(), func(id string) bool { return gitstate.RunIsFor(id, name) })
	if err == nil && d == nil {
		err = notFound("there is no deployment %s", name)
	}
	return d, err
}

var statusOf = map[deployment.Status]note.Status{
	deployment.Pending: note.Queued, deployment.Running: note.Running, deployment.OK: note.OK,
	deployment.Failed: note.Failed, deployment.Canceled: note.Canceled,
}

// updateDeployment is PATCH /v1/deployments/{org}/{uuid}/stacks: running before
// a stack's command, its result afterwards.
func (s *Server) updateDeployment(r *http.Request) (any, error) {
	req, err := read[resources.UpdateDeploymentStacks](r)
	if err != nil {
		return nil, err
	}
	for _, u := range req.Stacks {
		if _, ok := statusOf[u.Status]; !ok {
			return nil, bad("%v is not a status of a deployment", u.Status)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.deploymentOf(r)
	if err != nil {
		return nil, err
	}
	if err := s.mayStart(r.Context(), d); err != nil {
		return nil, err
	}
	for _, u := range req.Stacks {
		if d.stacks[u.StackID] == nil {
			return nil, notFound("the deployment has no stack %d", u.StackID)
		}
	}
	for _, u := range req.Stacks {
		e, status := d.stacks[u.StackID], statusOf[u.Status]
		if status == note.Queued {
			continue
		}
		if status != note.Running {
			s.keepPlan(e, u.Details)
			s.keepLog(e, status)
		}
		reason := ""
		if status == note.Canceled {
			reason = s.whyCanceled(d, e)
		}
		if err := s.change(d, e, status, reason, nil); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// whyCanceled says why the CLI did not go on with a stack, which it does not: it starts
// none after a failure or after Ctrl-C.
func (s *Server) whyCanceled(d *run, e *entry) string {
	goesOn := slices.Contains(s.opt.CommandLine, "--continue-on-error")
	if e.rec.Status == note.Queued && !goesOn {
		var first *note.Record
		for _, other := range d.stacks {
			if other.rec.Status == note.Failed && (first == nil || other.rec.At.Before(first.At)) {
				first = &other.rec
			}
		}
		if first != nil {
			return "not started: " + first.Stack + " failed"
		}
	}
	return "terramate was interrupted"
}

// deploymentLogs is POST /v1/stacks/{org}/{stack_id}/deployments/{uuid}/logs.
func (s *Server) deploymentLogs(r *http.Request) (any, error) {
	lines, err := readLogs(r)
	if err != nil {
		return nil, err
	}
	n, err := numberOf(r, "stack")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.deploymentOf(r)
	if err != nil {
		return nil, err
	}
	e := d.stacks[n]
	if e == nil {
		return nil, notFound("the deployment has no stack %d", n)
	}
	e.out.add(lines, s.keepsLogs())
	return nil, nil
}

// joined is a command as the CLI sends it for deployments.
func joined(argv []string) string { return strings.Join(argv, " ") }
