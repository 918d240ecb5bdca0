package cloudapi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/terramate-io/terramate/cloud"
	"github.com/terramate-io/terramate/cloud/api/deployment"
	"github.com/terramate-io/terramate/cloud/api/drift"
	"github.com/terramate-io/terramate/cloud/api/preview"
	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// disk is the journal of a repository, which can be full: then nothing is recorded,
// and what was recorded before can still be read.
type disk struct {
	testing.TB
	journal string
}

func diskOf(t testing.TB, r *gittest.Repo) *disk {
	return &disk{t, filepath.Join(r.Dir, ".git", "tmnotes", "journal")}
}

func (d *disk) full() {
	d.Helper()
	file := filepath.Join(d.journal, "run-R.log")
	if err := os.Rename(file, filepath.Join(d.journal, fmt.Sprintf("before-%d.log", time.Now().UnixNano()))); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.Fatal(err)
	}
	if err := os.Mkdir(file, 0o777); err != nil {
		d.Fatal(err)
	}
}

func (d *disk) mended() {
	d.Helper()
	if err := os.Remove(filepath.Join(d.journal, "run-R.log")); err != nil {
		d.Fatal(err)
	}
}

// liveRuns counts the runs that are marked as live.
type liveRuns struct{ atomic.Int64 }

func (l *liveRuns) mark(string) (func(), error) {
	l.Add(1)
	return func() { l.Add(-1) }, nil
}

func (s *service) preview(commit string, names ...string) (map[string]string, error) {
	opt := cloud.CreatePreviewOpts{OrgUUID: org, AffectedStacks: map[string]resources.Stack{}, PushedAt: 1, CommitSHA: commit,
		Technology: "terraform", TechnologyLayer: "default", Metadata: metadata(commit), ReviewRequest: &resources.ReviewRequest{Repository: repo}}
	for _, name := range names {
		opt.AffectedStacks["id-"+name] = newStack(name)
		opt.Runs = append(opt.Runs, cloud.RunContext{StackID: "id-" + name, Cmd: []string{"terraform", "plan"}})
	}
	p, err := s.CreatePreview(s.Context(), opt)
	if err != nil {
		return nil, err
	}
	return p.StackPreviewsByMetaID, nil
}

// protocols begin a run on a stack, each in its way, and say how to end it.
var protocols = map[string]func(s *service, commit string, id resources.UUID, name string) (end func() error, err error){
	"deployment": func(s *service, commit string, id resources.UUID, name string) (func() error, error) {
		res, err := s.announce(commit, id, newStack(name))
		if err != nil {
			return nil, err
		}
		return func() error { return s.tryUpdate(id, res[0].StackID, deployment.OK) }, nil
	},
	"drift": func(s *service, commit string, _ resources.UUID, name string) (func() error, error) {
		d, err := s.CreateStackDrift(s.Context(), org, driftOf(commit, newStack(name)))
		return func() error {
			return s.UpdateStackDrift(s.Context(), org, d.DriftUUID, resources.UpdateDriftPayloadRequest{Status: drift.OK, UpdatedAt: time.Now()})
		}, err
	},
	"preview": func(s *service, commit string, _ resources.UUID, name string) (func() error, error) {
		ids, err := s.preview(commit, name)
		return func() error {
			return s.UpdateStackPreview(s.Context(), cloud.UpdateStackPreviewOpts{OrgUUID: org, StackPreviewID: ids["id-"+name], Status: preview.StackStatusUnchanged})
		}, err
	},
}

// A run that could not be recorded was none: nothing of it is kept, and the same
// request is taken once there is room.
func TestNotRecorded(t *testing.T) {
	t.Parallel()
	for name, begin := range protocols {
		for _, lazily := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lazily %v", name, lazily), func(t *testing.T) {
				t.Parallel()
				r := gittest.New(t)
				var live liveRuns
				s := serve(t, r.Dir, func(o *cloudapi.Options) {
					o.Live = live.mark
					if lazily {
						o.Recorded = func(string) {}
					}
				})
				d, id := diskOf(t, r), newUUID()
				d.full()
				if _, err := begin(s, r.Head(), id, "a"); err == nil || !strings.Contains(err.Error(), "500") {
					t.Fatalf("it is taken: %v", err)
				}
				if n := live.Load(); n != 0 {
					t.Errorf("%d runs are live", n)
				}
				if seen := s.api.Seen(); seen.Deployments+seen.Drifts+seen.Previews != 0 || len(seen.Refused) != 1 {
					t.Errorf("%+v", seen)
				}
				d.mended()
				if got := s.note(r.Head()); got != "" {
					t.Errorf("left behind:\n%s", got)
				}
				end, err := begin(s, r.Head(), id, "a")
				if err != nil {
					t.Fatalf("once there is room: %v", err)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if open, err := s.api.Settle("the end"); err != nil || open != 0 {
					t.Errorf("%d open, %v", open, err)
				}
				if got := s.note(r.Head()); strings.Count(got, "\n") != 3 || !strings.Contains(got, "event=started") || !strings.Contains(got, "status=ok") || !strings.Contains(got, "event=finished") {
					t.Errorf("the note is\n%s", got)
				}
				if n := live.Load(); n != 0 {
					t.Errorf("%d runs are live at the end", n)
				}
			})
		}
	}
}

// Of a deployment whose records did not come to the disk, those that can be read are
// forgotten: it must not look as if it went on.
func TestNotSynced(t *testing.T) {
	t.Parallel()
	for _, mended := range []bool{true, false} {
		t.Run(fmt.Sprint("mended at once ", mended), func(t *testing.T) {
			t.Parallel()
			r := gittest.New(t)
			d := diskOf(t, r)
			var live liveRuns
			recorded, full := 0, false
			s := serve(t, r.Dir, func(o *cloudapi.Options) {
				o.Live = live.mark
				o.Recorded = func(string) {
					if recorded++; recorded == 1 {
						d.full()
						full = true
					}
				}
				o.Now = func() time.Time { // looked at to take back what is not on the disk
					if full && mended {
						d.mended()
						full = false
					}
					return time.Now()
				}
			})
			id := newUUID()
			if _, err := s.announce(r.Head(), id, newStack("a"), newStack("b")); err == nil {
				t.Fatal("it is taken")
			}
			if seen := s.api.Seen(); len(seen.Refused) != 1 || strings.Contains(seen.Refused[0], "\n") {
				t.Errorf("it is not said in one line: %q", seen.Refused)
			}
			if n := live.Load(); n != 0 {
				t.Errorf("%d runs are live", n)
			}
			if !mended {
				if got := s.note(r.Head()); strings.Count(got, "status=queued") != 2 {
					t.Fatalf("the note is\n%s", got)
				}
				d.mended()
				if err := s.api.Close(); err != nil { // tries again
					t.Error(err)
				}
			}
			if got := s.note(r.Head()); strings.Count(got, "event=forgotten") != 2 || !strings.Contains(got, "nothing was executed") || !strings.Contains(got, "event=finished run=… skipped=2") {
				t.Errorf("the note is\n%s", got)
			}
			if seen := s.api.Seen(); seen.Deployments != 0 {
				t.Errorf("%+v", seen)
			}
		})
	}
}

// A drift run of a further stack that cannot be recorded leaves those that were.
func TestFurtherDriftNotRecorded(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, nil)
	d := diskOf(t, r)
	s.drift(r.Head(), newStack("a"), drift.OK, nil)
	d.full()
	if _, err := s.CreateStackDrift(t.Context(), org, driftOf(r.Head(), newStack("b"))); err == nil {
		t.Fatal("it is taken")
	}
	d.mended()
	s.drift(r.Head(), newStack("b"), drift.Drifted, nil)
	s.drift(r.Head(), newStack("c"), drift.OK, nil)
	if open, err := s.api.Settle("the end"); err != nil || open != 0 {
		t.Errorf("%d open, %v", open, err)
	}
	if got := s.note(r.Head()); strings.Count(got, "event=started") != 1 || !strings.Contains(got, "event=finished run=… ok=2 drifted=1") {
		t.Errorf("the note is\n%s", got)
	}
}

// The end of a run that could not be recorded is recorded when the CLI says once more
// how the last stack ended, or when the server closes.
func TestEndNotRecorded(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{true, false} {
		t.Run(fmt.Sprint("said again ", again), func(t *testing.T) {
			t.Parallel()
			r := gittest.New(t)
			d := diskOf(t, r)
			ending := false
			s := serve(t, r.Dir, func(o *cloudapi.Options) {
				o.Watch = func(_ string, records []*note.Record) func() {
					if records[0].Event == note.Finished && !ending {
						ending = true
						d.full()
					}
					return func() {}
				}
			})
			id := newUUID()
			n := s.deploy(r.Head(), id, newStack("a"))
			if err := s.tryUpdate(id, n["id-a"], deployment.OK); err == nil {
				t.Fatal("the end of the run is not recorded, and nobody is told")
			}
			d.mended()
			if again {
				s.update(id, n["id-a"], deployment.OK)
			} else if err := s.api.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.note(r.Head()); strings.Count(got, "event=finished") != 1 || strings.Count(got, "status=ok") != 1 {
				t.Errorf("the note is\n%s", got)
			}
		})
	}
}

// A server that has ended, or is ending, takes nothing any more; ending it again, in
// either way, changes nothing.
func TestEnded(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, func(o *cloudapi.Options) { o.KeepLogs = "all" })
	id := newUUID()
	n := s.deploy(r.Head(), id, newStack("a"), newStack("b"))
	s.update(id, n["id-a"], deployment.OK)
	s.drift(r.Head(), newStack("c"), drift.OK, nil)
	if err := s.api.Close(); err != nil {
		t.Fatal(err)
	}
	closed := s.note(r.Head())
	if strings.Count(closed, "status=queued") != 1 || strings.Count(closed, "event=finished") != 1 {
		t.Errorf("the CLI of the deployment may come back:\n%s", closed)
	}
	for name, err := range map[string]error{
		"a deployment": func() error { _, err := s.announce(r.Head(), newUUID(), newStack("x")); return err }(),
		"a drift run": func() error {
			_, err := s.CreateStackDrift(t.Context(), org, driftOf(r.Head(), newStack("x")))
			return err
		}(),
		"a preview": func() error { _, err := s.preview(r.Head(), "x"); return err }(),
		"a result":  s.tryUpdate(id, n["id-b"], deployment.OK),
		"a new CLI": func() error { _, err := s.MemberOrganizations(t.Context()); return err }(),
		"a question": func() error {
			_, err := s.StacksByStatus(t.Context(), org, repo, "", resources.NoStatusFilters())
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	if err := s.api.Close(); err != nil {
		t.Error(err)
	}
	if got := s.note(r.Head()); got != closed {
		t.Errorf("closing twice: the note is\n%swas\n%s", got, closed)
	}
	for i := range 2 {
		if open, err := s.api.Settle("the CLI is gone"); err != nil || open != 1-i {
			t.Errorf("settled %d times: %d open, %v", i+1, open, err)
		}
	}
	if err := s.api.Close(); err != nil {
		t.Error(err)
	}
	if got := s.note(r.Head()); strings.Count(got, "event=finished") != 2 || strings.Count(got, "status=canceled") != 1 {
		t.Errorf("the note is\n%s", got)
	}
}

// A server that ends while a deployment is being announced waits for what becomes of
// it: nothing is recorded after the end, and who asked is not told to go on.
func TestEndWhileAnnounced(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	announcing, cancel := make(chan struct{}), make(chan struct{})
	s := serve(t, r.Dir, func(o *cloudapi.Options) {
		o.Announce = func(ctx context.Context) error {
			close(announcing)
			<-cancel
			return errors.New("it was interrupted")
		}
	})
	answer := make(chan error, 1)
	go func() {
		_, err := s.announce(r.Head(), newUUID(), newStack("a"))
		answer <- err
	}()
	<-announcing
	ended := make(chan error, 1)
	var answered atomic.Bool
	go func() {
		err := s.api.Close()
		if !answered.Load() {
			err = errors.New("it ended before its last request did")
		}
		ended <- err
	}()
	runtime.Gosched() // so that it may fail
	answered.Store(true)
	close(cancel)
	if err := <-answer; err == nil {
		t.Error("the deployment is taken")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := s.note(r.Head()); !strings.Contains(got, "event=forgotten") || !strings.Contains(got, "event=finished") {
		t.Errorf("the note is\n%s", got)
	}
}

// What comes while the server ends is answered, or refused; what was answered is
// recorded, and nothing is afterwards.
func TestEndUnderLoad(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	s := serve(t, r.Dir, func(o *cloudapi.Options) { o.Recorded = func(string) {} })
	var taken atomic.Int64
	var wg sync.WaitGroup
	begun := make(chan struct{}, 100)
	for i := range 8 {
		wg.Go(func() {
			for k := 0; ; k++ {
				name := fmt.Sprintf("s%d-%d", i, k)
				if _, err := s.announce(r.Head(), newUUID(), newStack(name)); err != nil {
					if !strings.Contains(err.Error(), "503") {
						t.Error(err)
					}
					return
				}
				taken.Add(1)
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 10 {
		<-begun
	}
	open, err := s.api.Settle("the end")
	note := s.note(r.Head())
	wg.Wait()
	if err != nil || int64(open) != taken.Load() {
		t.Errorf("%d were taken, %d settled, %v", taken.Load(), open, err)
	}
	if got := s.note(r.Head()); got != note || strings.Count(got, "status=canceled") != open || strings.Contains(got, "queued") {
		t.Errorf("the note is\n%safter the end\n%s", got, note)
	}
}

// What has ended, and what nobody has asked for as long as makes a run an interrupted
// one, is not kept in memory; who asks for it after all finds it in the notes.
func TestForgets(t *testing.T) {
	t.Parallel()
	for name, begin := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := gittest.New(t)
			var now atomic.Pointer[time.Time]
			later := func(d time.Duration) { at := now.Load().Add(d); now.Store(&at) }
			start := time.Now()
			now.Store(&start)
			s := serve(t, r.Dir, func(o *cloudapi.Options) {
				o.Now = func() time.Time { return *now.Load() }
				o.Recorded = func(string) {} // it is not about the disk
			})
			s.api.Keep(5)
			old, err := begin(s, r.Head(), newUUID(), "old")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				if _, err := s.MemberOrganizations(t.Context()); err != nil { // else drift runs are one
					t.Fatal(err)
				}
				end, err := begin(s, r.Head(), newUUID(), fmt.Sprint("s", i))
				if err == nil {
					err = end()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if n := s.api.Kept(); n > 6 {
				t.Errorf("%d runs are kept", n)
			}
			if err := old(); err != nil { // which is what makes it asked for
				t.Error(err)
			}
			if _, err := begin(s, r.Head(), newUUID(), "left"); err != nil {
				t.Fatal(err)
			}
			later(7 * time.Hour)
			if _, err := begin(s, r.Head(), newUUID(), "new"); err != nil {
				t.Fatal(err)
			}
			if n := s.api.Kept(); n != 1 {
				t.Errorf("%d runs are kept after hours", n)
			}
			if err := old(); err != nil {
				t.Errorf("what was forgotten is not found again: %v", err)
			}
		})
	}
}
