package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func TestMain(m *testing.M) {
	cleanup := gittest.Isolate()
	code := m.Run()
	cleanup()
	os.Exit(code)
}

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *gittest.Update {
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it): -want +got\n%s", file, cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")))
	}
}

// day is noon of a day in January 2026, plus minutes.
func day(d, minutes int) time.Time {
	return time.Date(2026, 1, d, 12, minutes, 0, 0, time.UTC)
}

// project is a repository whose commits and records have fixed times, and so
// the same names in every run of the tests.
type project struct {
	*gittest.Repo
	t     testing.TB
	store *gitstate.Store
	now   time.Time
	run   int
}

func newProject(t testing.TB) *project {
	t.Helper()
	p := &project{Repo: gittest.Init(t), t: t, now: day(31, 0)}
	s, err := gitstate.Open(t.Context(), gitstate.Options{Dir: p.Dir, Now: func() time.Time { return p.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p.store = s
	return p
}

// commit makes an empty commit at a time.
func (p *project) commit(at time.Time, subject string) string {
	p.t.Helper()
	cmd := p.Command("commit", "-q", "--allow-empty", "-m", subject)
	date := at.Format(time.RFC3339)
	cmd.Env = append(cmd.Env, "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("git commit: %v\n%s", err, out)
	}
	return p.Head()
}

// records makes a run of an operation on a commit, which began at a time: its head,
// its results, a second each, and, unless the last of these is open, its end.
func (p *project) records(commit string, at time.Time, op string, results ...note.Record) string {
	p.t.Helper()
	p.run++
	run := fmt.Sprintf("RUN%d", p.run)
	all := []*note.Record{{At: at, Event: note.Started, Op: op, Target: results[0].Target, Run: run, Stacks: len(results), CommitTime: at.Unix(),
		By: "Alice <alice@example.com>", Job: "https://ci.example/" + run, Attempt: 1, Cmd: "terraform apply -auto-approve", Version: 1}}
	st, err := p.store.State(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	for i, r := range results {
		l, err := st.Latest(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: op})
		if err != nil {
			p.t.Fatal(err)
		}
		r.Prev = l.Runs()
		r.At, r.Op, r.Run, r.Variant = at.Add(time.Duration(i+1)*time.Second), op, run, "v1"
		all = append(all, &r)
	}
	last := results[len(results)-1].Status
	if last != note.Queued && last != note.Running {
		all = append(all, &note.Record{At: at.Add(time.Minute), Event: note.Finished, Run: run})
	}
	if err := p.store.Writer(run).Append(commit, all...); err != nil {
		p.t.Fatal(err)
	}
	return run
}

func (p *project) build(opt Options) *Report {
	p.t.Helper()
	if opt.Now.IsZero() {
		opt.Now = p.now
	}
	st, err := p.store.State(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := Build(context.Background(), p.store, st, opt)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// remove deletes an object.
func (p *project) remove(hash string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.Dir, ".git", "objects", hash[:2], hash[2:])); err != nil {
		p.t.Fatal(err)
	}
}
