package cloudapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/drift"
	"github.com/terramate-io/terramate/cloud/api/resources"
	"github.com/terramate-io/terramate/cloud/api/stack"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// view is what the notes say of a stack for a target.
type view struct {
	id, path      string
	target        string // of the records
	deploy, drift gitstate.Latest
}

// The CLI's words for the statuses of the notes. What it has no word for is
// none of those that it can ask for.

func (v *view) stackStatus() stack.Status {
	switch own := gitstate.Attempted(v.deploy, v.drift); {
	case own == note.OK:
		return stack.OK
	case own == note.Drifted:
		return stack.Drifted
	case own.Unsuccessful():
		return stack.Failed
	}
	return stack.Unrecognized // under way, or only ever looked at in vain
}

func deploymentStatus(s note.Status) deployment.Status {
	switch s {
	case note.OK:
		return deployment.OK
	case note.Queued, note.Triggered:
		return deployment.Pending
	case note.Running:
		return deployment.Running
	case note.Canceled:
		return deployment.Canceled
	case note.Never:
		return deployment.Unrecognized
	}
	return deployment.Failed // blocked and interrupted, too: --status=failed is to bring them
}

func driftStatus(s note.Status) drift.Status {
	switch s {
	case note.OK:
		return drift.OK
	case note.Drifted:
		return drift.Drifted
	case note.Queued, note.Running:
		return drift.Running
	case note.Never, note.Triggered:
		return drift.Unknown
	}
	return drift.Failed
}

// filters are those of one request; a stack has to match all of them.
type filters struct{ stack, deployment, drift string }

// readFilters takes the words that the CLI sends, and their aliases.
func readFilters(r *http.Request) (filters, error) {
	q := r.URL.Query()
	f := filters{q.Get("status"), q.Get("deployment_status"), q.Get("drift_status")}
	for _, of := range []struct {
		name  string
		value *string
		words []string
	}{
		{"status", &f.stack, []string{"ok", "drifted", "failed", "unhealthy"}},
		{"deployment_status", &f.deployment, []string{"ok", "pending", "running", "failed", "canceled", "unhealthy"}},
		{"drift_status", &f.drift, []string{"ok", "unknown", "drifted", "failed", "running", "unhealthy"}},
	} {
		if *of.value == "healthy" {
			*of.value = "ok"
		}
		if *of.value != "" && !slices.Contains(of.words, *of.value) {
			return f, bad("%s=%q is no filter; use one of %s", of.name, *of.value, strings.Join(of.words, ", "))
		}
	}
	return f, nil
}

func (f filters) match(o *resources.StackObject) bool {
	is := func(filter, status string) bool {
		switch filter {
		case "":
			return true
		case "unhealthy":
			return status == "failed" || status == "drifted" || status == "canceled"
		}
		return status == filter
	}
	return is(f.stack, o.Status.String()) && is(f.deployment, o.DeploymentStatus.String()) && is(f.drift, o.DriftStatus.String())
}

// paging reads page and per_page. per is 0 where all is asked for at once.
func paging(r *http.Request) (page, per int64, err error) {
	page = 1
	for name, to := range map[string]*int64{"page": &page, "per_page": &per} {
		v := r.URL.Query().Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 1 {
			return 1, 0, bad("%s=%q is not a number", name, v)
		}
		*to = n
	}
	if per == 0 && r.URL.Query().Has("page") {
		per = 50
	}
	return page, per, nil
}

// onPage are the items of one page.
func onPage[T any](all []T, page, per int64) []T {
	if per == 0 {
		return all
	}
	from := min((page-1)*per, int64(len(all)))
	return all[from:min(from+per, int64(len(all)))]
}

// listStacks is GET /v1/stacks/{org}: the stacks of a repository and target
// that have been deployed or looked at for drift, filtered, then cut in pages
// (the CLI stops at the first page that is not full).
func (s *Server) listStacks(r *http.Request) (any, error) {
	q := r.URL.Query()
	s.mu.Lock()
	s.seen.Reads++
	s.mu.Unlock()
	f, err := readFilters(r)
	if err != nil {
		return nil, err
	}
	page, per, err := paging(r)
	if err != nil {
		return nil, err
	}
	if err := s.isHere(q.Get("repository")); err != nil {
		return nil, err
	}
	target := q.Get("target")
	if err := validTarget(target); err != nil {
		return nil, err
	}
	if err := s.refresh(r.Context()); err != nil {
		return nil, err
	}
	views, err := s.views(r, target, strings.ToLower(q.Get("meta_id")))
	if err != nil {
		return nil, err
	}
	found := []resources.StackObject{}
	for i := range views {
		v := &views[i]
		o := resources.StackObject{ID: stackID(v.target, v.id),
			Stack:  resources.Stack{Repository: q.Get("repository"), Target: target, Path: v.path, MetaID: v.id},
			Status: v.stackStatus(), DeploymentStatus: deploymentStatus(v.deploy.Status), DriftStatus: driftStatus(v.drift.Status)}
		if at := v.deploy.At; !at.IsZero() || !v.drift.At.IsZero() {
			if v.drift.At.After(at) {
				at = v.drift.At
			}
			o.UpdatedAt, o.SeenAt = &at, &at
		}
		if f.match(&o) {
			found = append(found, o)
		}
	}
	return resources.StacksResponse{Stacks: onPage(found, page, per), Pagination: resources.PaginatedResult{Total: int64(len(found)), Page: page, PerPage: per}}, nil
}

// isHere refuses what is meant for another repository.
func (s *Server) isHere(repository string) error {
	if repository == "" {
		return bad("the repository is missing")
	}
	if s.opt.Repository != "" && !strings.EqualFold(repository, s.opt.Repository) {
		return bad("this server is for %s, not for %s", s.opt.Repository, repository)
	}
	return nil
}

// views are the stacks that a target knows: those that have records with an
// id, and those of the work tree that have records of the time before they had
// one. Only those with an id: the CLI asks by it.
func (s *Server) views(r *http.Request, target, only string) ([]view, error) {
	st, err := s.store.State(r.Context())
	if err != nil {
		return nil, err
	}
	wt, err := s.workTree(r.Context())
	if err != nil {
		return nil, err
	}
	here, err := wt.Stacks()
	if err != nil {
		return nil, err
	}
	known := st.Stacks()
	paths := map[string]string{}
	for _, k := range append(known, here...) {
		if id := strings.ToLower(k.ID); id != "" && (only == "" || id == only) {
			paths[id] = k.Path // where it is in the work tree comes last, and counts
		}
	}
	moved := movedTo(st, known, target)
	var views []view
	for id, path := range paths {
		_, workspace, err := wt.Env(path)
		if err != nil {
			return nil, err
		}
		v, err := viewOf(st, id, path, join(target, workspace))
		if err != nil {
			return nil, err
		}
		// `cloud drift show` says "default" where there is no target.
		if target == "default" && v.empty() {
			if v, err = viewOf(st, id, path, join("", workspace)); err != nil {
				return nil, err
			}
		}
		if from := v.drift.Record.Extra; v.deploy.Status == note.Never && len(from) > 0 {
			// Looked at for the first time under this target (--from-target): what
			// it was under the other one, it still is.
			if from := fromTarget(&v.drift.Record); from != "" {
				if v.deploy, err = st.Latest(note.Slot{ID: id, Path: path, Target: join(from, workspace), Op: note.Deploy}); err != nil {
					return nil, err
				}
			}
		}
		if v.empty() || !moved[id].IsZero() && moved[id].After(v.deploy.At) && moved[id].After(v.drift.At) {
			continue
		}
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b view) int { return strings.Compare(a.path+"\x00"+a.id, b.path+"\x00"+b.id) })
	numbers := map[int64]string{}
	for _, v := range views {
		n := stackID(v.target, v.id)
		if other, taken := numbers[n]; taken {
			return nil, sameNumber(other, v.id)
		}
		numbers[n] = v.id
	}
	return views, nil
}

func viewOf(st *gitstate.State, id, path, target string) (v view, err error) {
	v = view{id: id, path: path, target: target}
	if v.deploy, err = st.Latest(note.Slot{ID: id, Path: path, Target: target, Op: note.Deploy}); err != nil {
		return v, err
	}
	v.drift, err = st.Latest(note.Slot{ID: id, Path: path, Target: target, Op: note.Drift})
	return v, err
}

func (v *view) empty() bool {
	return v.deploy.Status == note.Never && v.drift.Status == note.Never
}

// The key under which a record says that the stack was known under another
// target before (--from-target).
const fromKey = "from"

func fromTarget(r *note.Record) string {
	for _, p := range r.Extra {
		if p.Key == fromKey {
			return p.Value
		}
	}
	return ""
}

// movedTo says since when stacks of a target are known under another one.
func movedTo(st *gitstate.State, known []gitstate.KnownStack, target string) map[string]time.Time {
	moved := map[string]time.Time{}
	for _, k := range known {
		if k.ID == "" || k.Target == target {
			continue
		}
		for _, op := range []string{note.Deploy, note.Drift} {
			l, err := st.Latest(note.Slot{ID: k.ID, Path: k.Path, Target: k.Target, Op: op})
			if err == nil && l.Status != note.Never && len(l.Extra) > 0 && fromTarget(&l.Record) == target && l.At.After(moved[k.ID]) {
				moved[k.ID] = l.At
			}
		}
	}
	return moved
}
