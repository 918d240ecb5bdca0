package cloudapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// createDeployment is POST /v1/deployments/{org}/{uuid}/stacks, which the CLI
// sends once, before it runs anything. With the answer it may start, so by then
// the head of the run and its queued stacks are recorded and announced.
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
	wt, dirty, inputs, err := s.codeOf(ctx, commit.Hash, req.Stacks)
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
	for _, stack := range req.Stacks {
		n, e, err := s.newEntry(st, wt, d, stack.Stack, command{joined: stack.DeploymentCommand}, note.Queued)
		if err != nil {
			return nil, err
		}
		if hold, is := st.Hold(note.Slot{ID: e.rec.ID, Path: e.rec.Stack, Target: e.rec.Target}); is && !s.opt.DryRun {
			return nil, &wireError{http.StatusConflict, fmt.Errorf("%s is %s; leave it out, or end that with `tmnotes release`; nothing was executed", e.rec.Stack, hold.String())}
		}
		e.rec.Dirty, e.inputs = dirty[stack.Path], inputs[stack.Path]
		d.stacks[n], first = e, cmp.Or(first, e)
		records = append(records, &e.rec)
		res = append(res, resources.DeploymentStackResponse{StackID: n, StackMetaID: stack.MetaID, Target: stack.Target, Status: deployment.Pending})
	}
	head := s.head(ctx, d, o, commit, first, len(records))
	if err := s.announce(ctx, d, append([]*note.Record{head}, records...)); err != nil {
		return nil, err
	}
	s.seen.Deployments++
	return res, nil
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

// codeOf is the work tree, with which of the stacks have uncommitted changes there, and the
// digests of their inputs.
func (s *Server) codeOf(ctx context.Context, commit string, stacks resources.DeploymentStackRequests) (wt WorkTree, dirty map[string]bool, inputs map[string]string, err error) {
	if wt, err = s.workTree(ctx); err != nil {
		return nil, nil, nil, err
	}
	var paths []string
	for _, st := range stacks {
		paths = append(paths, st.Path)
	}
	if dirty, err = wt.Dirty(commit, paths); err == nil {
		inputs, err = wt.Inputs(commit, paths)
	}
	return wt, dirty, inputs, err
}

// announce records a deployment and has it announced. s.mu is held, but not for the latter:
// others need not wait for the network.
func (s *Server) announce(ctx context.Context, d *run, records []*note.Record) error {
	if err := s.open(d, records...); err != nil {
		return err
	}
	if err := s.writer.Sync(); err != nil {
		return s.undo(d, err, notRecorded)
	}
	if s.opt.Announce == nil || s.opt.DryRun {
		return nil
	}
	s.mu.Unlock()
	err := s.opt.Announce(ctx)
	s.mu.Lock()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("terramate did not wait for the deployment to be announced: %w", ctx.Err())
	}
	if err != nil {
		return s.undo(d, unavailable(fmt.Errorf("%w; nothing was executed", err)), "the run could not be announced: nothing was executed")
	}
	return nil
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
