package cloudapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/terramate-io/terramate/cloud/api/preview"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// createPreview is POST /v1/previews/{org}: the stacks that a review affects,
// of which those that are pending are planned now. The others have an id as
// well, and no record: nothing is done to them. But the CLI compares ids as they are written with
// ids in lower case (client_preview.go), and takes one with capitals for one of those,
// which it plans all the same: that is recorded when it says so.
func (s *Server) createPreview(r *http.Request) (any, error) {
	ctx := r.Context()
	req, err := s.readPreview(r)
	if err != nil {
		return nil, err
	}
	o := origin{meta: req.Metadata, commit: req.CommitSHA}
	commit, err := s.commitOf(o)
	if err != nil {
		return nil, err
	}
	wt, err := s.workTree(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	s.writer.Follow(st)
	p := &run{id: s.store.NewRun(), op: previewOp, commit: commit.Hash, stacks: map[int64]*entry{}, closed: true, affected: map[int64]*entry{}}
	res := resources.CreatePreviewResponse{PreviewID: p.id, Stacks: resources.ResponsePreviewStacks{}}
	var records []*note.Record
	var last *entry
	for _, stack := range req.Stacks {
		of, err := s.lookAt(wt, stack.Stack, command{joined(stack.Cmd), stack.Cmd})
		if err != nil {
			return nil, err
		}
		n, e, err := s.newEntry(st, p, of, note.Queued)
		if err != nil {
			return nil, err
		}
		res.Stacks = append(res.Stacks, resources.ResponsePreviewStack{MetaID: stack.MetaID, StackPreviewID: runAndStack(p.id, n)})
		if stack.PreviewStatus == preview.StackStatusPending {
			p.stacks[n], last = e, e
			records = append(records, &e.rec)
		} else {
			p.affected[n] = e
		}
	}
	if len(records) > 0 {
		head := s.head(ctx, p, o, commit, last, len(records))
		if err := s.open(p, append([]*note.Record{head}, records...)...); err != nil {
			return nil, err
		}
	}
	if len(records) == 0 && len(p.affected) > 0 {
		any := slices.Collect(maps.Values(p.affected))[0]
		p.head = s.head(ctx, p, o, commit, any, 1)
		p.done, p.asked, s.runs[p.id] = func() {}, s.opt.Now(), p
	}
	s.seen.Previews++
	return res, nil
}

func (s *Server) readPreview(r *http.Request) (req resources.CreatePreviewPayloadRequest, err error) {
	if req, err = decode[resources.CreatePreviewPayloadRequest](r); err != nil {
		return req, err
	}
	for i := range req.Stacks {
		if req.Stacks[i].Cmd == nil { // left out by the CLI where it is empty
			req.Stacks[i].Cmd = []string{}
		}
	}
	if err := req.Validate(); err != nil {
		return req, bad("%v", err)
	}
	for i := range req.Stacks {
		if err := s.validStack(&req.Stacks[i].Stack); err != nil {
			return req, err
		}
		if st := req.Stacks[i].PreviewStatus; st != preview.StackStatusAffected && st != preview.StackStatusPending {
			return req, bad("%q is not a status that a preview begins with", st)
		}
	}
	return req, nil
}

// planned is the entry of a stack that is planned. One that was only affected so far is recorded.
func (s *Server) planned(ctx context.Context, id string) (*run, *entry, error) {
	runID, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(number, 10, 64)
	p := s.runs[runID]
	if err != nil || p == nil || p.affected[n] == nil {
		return s.entryOf(ctx, id, previewOp)
	}
	e := p.affected[n]
	records := []*note.Record{&e.rec}
	if p.head != nil {
		records = []*note.Record{p.head, &e.rec}
	}
	if !p.live {
		p.finished = false
		if err := s.begin(p); err != nil {
			return nil, nil, err
		}
	}
	if err := s.append(p, records...); err != nil {
		return nil, nil, err
	}
	p.stacks[n], p.head = e, nil
	delete(p.affected, n)
	return p, e, nil
}

// changedExit is the exit code of `terraform plan -detailed-exitcode` that finds
// changes (preview.DerivePreviewStatus).
const changedExit = 2

// updatePreview is PATCH /v1/stack_previews/{org}/{stack_preview_id}. A plan
// that finds changes has succeeded; its exit code tells it from one without.
func (s *Server) updatePreview(r *http.Request) (any, error) {
	req, err := read[resources.UpdateStackPreviewPayloadRequest](r)
	if err != nil {
		return nil, err
	}
	var status note.Status
	var exit *int
	switch preview.StackStatus(req.Status) {
	case preview.StackStatusRunning:
		status = note.Running
	case preview.StackStatusChanged:
		status, exit = note.OK, new(changedExit)
	case preview.StackStatusUnchanged:
		status, exit = note.OK, new(0)
	case preview.StackStatusCanceled:
		status = note.Canceled
	case preview.StackStatusFailed:
		status = note.Failed
	default:
		return nil, bad("%q is not a status of a preview", req.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, e, err := s.planned(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if status != note.Running {
		s.keepPlan(e, req.ChangesetDetails)
		s.keepLog(e, status)
	}
	return nil, s.change(p, e, status, "", exit)
}
