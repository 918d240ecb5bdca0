package cloudapi

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/terramate-io/terramate/cloud/api/drift"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// driftKey is what the drift runs of stacks have in common to be one run of the
// notes: the CLI sends one for each stack, and nothing that says that they
// belong together.
type driftKey struct{ commit, target, command string }

// createDrift is POST /v2/drifts/{org}, before the command runs in a stack.
func (s *Server) createDrift(r *http.Request) (any, error) {
	ctx := r.Context()
	req, err := read[resources.DriftCheckRunStartPayloadRequest](r)
	if err != nil {
		return nil, err
	}
	if err := s.validStack(&req.Stack); err != nil {
		return nil, err
	}
	o := origin{meta: req.Metadata}
	if o.meta == nil || o.meta.GitCommitSHA == "" {
		return nil, bad("which commit? metadata.git_commit_sha is missing")
	}
	o.commit = o.meta.GitCommitSHA
	commit, err := s.commitOf(o)
	if err != nil {
		return nil, err
	}
	wt, err := s.workTree(ctx)
	if err != nil {
		return nil, err
	}
	of, err := s.lookAt(wt, req.Stack, command{joined(req.Command), req.Command})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	target := join(req.Stack.Target, of.workspace)
	key := driftKey{commit.Hash, target, joined(req.Command)}
	d, fresh, err := s.driftRun(key, stackID(target, req.Stack.MetaID))
	if err != nil {
		return nil, err
	}
	st, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	s.writer.Follow(st)
	n, e, err := s.newEntry(st, d, of, note.Running)
	if err != nil {
		return nil, err
	}
	e.started = time.Now()
	d.stacks[n] = e
	if fresh {
		err = s.open(d, s.head(ctx, d, o, commit, e, 0), &e.rec)
	} else if err = s.append(d, &e.rec); err != nil {
		err = s.undoOne(d, n, err)
	}
	if err != nil {
		return nil, err
	}
	s.drifts[key] = d
	s.seen.Drifts++
	return resources.DriftCheckRunStartResponse{DriftUUID: resources.UUID(runAndStack(d.id, n))}, nil
}

// driftRun is the run that a stack's drift run is one of: that which has not had the stack
// yet, or else a new one.
func (s *Server) driftRun(key driftKey, stack int64) (d *run, fresh bool, err error) {
	s.evict() // what is hours old is another run
	if d = s.drifts[key]; d != nil && d.stacks[stack] == nil {
		return d, false, nil
	}
	if d != nil {
		err = s.closeDrift(key)
	}
	return &run{id: s.store.NewRun(), op: note.Drift, commit: key.commit, stacks: map[int64]*entry{}}, true, err
}

// closeDrift ends a run of drift runs: it takes up no further stack.
func (s *Server) closeDrift(key driftKey) error {
	d := s.drifts[key]
	delete(s.drifts, key)
	d.closed = true
	return s.finish(d)
}

// closeDrifts ends all of them: another CLI begins.
func (s *Server) closeDrifts() (err error) {
	for key := range s.drifts {
		if cerr := s.closeDrift(key); err == nil {
			err = cerr
		}
	}
	return err
}

// updateDrift is PATCH /v2/drifts/{org}/{uuid}, after the command.
func (s *Server) updateDrift(r *http.Request) (any, error) {
	req, err := read[resources.UpdateDriftPayloadRequest](r)
	if err != nil {
		return nil, err
	}
	status, ok := map[drift.Status]note.Status{drift.OK: note.OK, drift.Drifted: note.Drifted, drift.Failed: note.Failed, drift.Running: note.Running}[req.Status]
	if !ok {
		return nil, bad("%v is not a status of a drift run", req.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, e, err := s.entryOf(r.Context(), r.PathValue("id"), note.Drift)
	if err != nil {
		return nil, err
	}
	s.keepPlan(e, req.Changeset)
	s.keepLog(e, status)
	return nil, s.change(d, e, status, "", nil)
}

// A drift's number is its time, in milliseconds: no two records of a stack have
// the same.
func driftNumber(r *note.Record) int64 { return r.At.UnixMilli() }

// wireDrift is a drift run as the CLI reads it.
func wireDrift(r *note.Record, commit string) resources.Drift {
	return resources.Drift{ID: driftNumber(r), UUID: resources.UUID(runAndStack(r.Run, stackID(r.Target, r.ID))), Status: driftStatus(r.Status),
		Metadata: &resources.DeploymentMetadata{GitMetadata: resources.GitMetadata{GitCommitSHA: commit}}}
}

// stored are the drift runs of a stack that stand in the notes, newest first.
// Where only the latest is wanted, the notes need not be read.
func (s *Server) stored(r *http.Request, n int64, onlyLatest bool) ([]gitstate.Stored, error) {
	st, err := s.store.State(r.Context())
	if err != nil {
		return nil, err
	}
	var of *gitstate.KnownStack
	for _, k := range st.Stacks() {
		if k.ID == "" || stackID(k.Target, k.ID) != n {
			continue
		}
		if of != nil && of.ID != k.ID {
			return nil, sameNumber(of.ID, k.ID)
		}
		of = &k
	}
	if of == nil {
		return nil, notFound("there is no stack %d", n)
	}
	l, err := st.Latest(note.Slot{ID: of.ID, Path: of.Path, Target: of.Target, Op: note.Drift})
	if err != nil {
		return nil, err
	}
	if l.Status == note.Never {
		return nil, nil
	}
	l.Record.Status = l.Status
	if onlyLatest {
		return []gitstate.Stored{l.Stored}, nil
	}
	found := []gitstate.Stored{}
	err = s.store.Notes(func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			rec := line.Record
			if line.Err == nil && rec.Status != "" && rec.Op == note.Drift && rec.ID != "" && stackID(rec.Target, rec.ID) == n {
				if rec.Run == l.Run && rec.At.Equal(l.At) {
					rec.Status = l.Status
				}
				found = append(found, gitstate.Stored{Commit: commit, Record: rec})
			}
		}
		return nil
	})
	slices.SortFunc(found, func(a, b gitstate.Stored) int { return b.At.Compare(a.At) })
	return found, err
}

// listDrifts is GET /v1/stacks/{org}/{stack_id}/drifts, newest first.
func (s *Server) listDrifts(r *http.Request) (any, error) {
	n, err := numberOf(r, "stack")
	if err != nil {
		return nil, err
	}
	page, per, err := paging(r)
	if err != nil {
		return nil, err
	}
	found, err := s.stored(r, n, page == 1 && per == 1)
	if err != nil {
		return nil, err
	}
	drifts := resources.Drifts{}
	for _, f := range onPage(found, page, per) {
		drifts = append(drifts, wireDrift(&f.Record, f.Commit))
	}
	return resources.DriftsStackPayloadResponse{Drifts: drifts, Pagination: resources.PaginatedResult{Total: int64(len(found)), Page: page, PerPage: per}}, nil
}

// showDrift is GET /v1/drifts/{org}/{stack_id}/{drift_id}, with the plan if it
// was kept.
func (s *Server) showDrift(r *http.Request) (any, error) {
	n, err := numberOf(r, "stack")
	if err != nil {
		return nil, err
	}
	number, err := numberOf(r, "drift")
	if err != nil {
		return nil, err
	}
	for _, onlyLatest := range []bool{true, false} {
		found, err := s.stored(r, n, onlyLatest)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if driftNumber(&f.Record) == number {
				d := wireDrift(&f.Record, f.Commit)
				d.Details, err = s.planOf(&f)
				return d, err
			}
		}
	}
	return nil, notFound("the stack has no drift %d", number)
}

func numberOf(r *http.Request, name string) (int64, error) {
	n, err := strconv.ParseInt(r.PathValue(name), 10, 64)
	if err != nil || n <= 0 {
		return 0, bad("%q is not the number of a %s", r.PathValue(name), name)
	}
	return n, nil
}
