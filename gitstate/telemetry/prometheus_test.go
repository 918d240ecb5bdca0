package telemetry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
)

func TestMain(m *testing.M) {
	cleanup := gittest.Isolate()
	code := m.Run()
	cleanup()
	os.Exit(code)
}

// at is so many minutes after noon of a day.
func at(minutes int) time.Time { return time.Date(2026, 1, 31, 12, minutes, 0, 0, time.UTC) }

// history is a repository in which everything happened once.
func history(t *testing.T) (*gittest.Repo, *gitstate.Store) {
	t.Helper()
	repo := gittest.New(t)
	s, err := gitstate.Open(context.Background(), gitstate.Options{Dir: repo.Dir, Now: func() time.Time { return at(59) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	head := repo.Head()
	n := 0
	add := func(status note.Status, op, stack string, set func(*note.Record)) {
		t.Helper()
		n++
		r := &note.Record{At: at(n), Status: status, Op: op, Stack: stack, Run: fmt.Sprintf("RUN%02d", n), Variant: "v1", Took: 12400 * time.Millisecond}
		if status == note.Blocked || status == note.Running {
			r.Took = 0
		}
		if set != nil {
			set(r)
		}
		st, err := s.State(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		l, err := st.Latest(note.Slot{ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op})
		if err != nil {
			t.Fatal(err)
		}
		r.Prev = l.Runs()
		of := []*note.Record{r}
		if stack == "/prod/db" {
			of = append(of, &note.Record{At: at(n), Event: note.Started, Op: op, Run: r.Run, CommitTime: at(-30).Unix()})
		}
		if err := s.Writer("R").Append(head, of...); err != nil {
			t.Fatal(err)
		}
	}
	id := func(id string) func(*note.Record) { return func(r *note.Record) { r.ID = id } }
	target := func(name string) func(*note.Record) { return func(r *note.Record) { r.Target = name } }
	add("ok", "deploy", "/prod/vpc", nil)       // before it has an id,
	add("ok", "deploy", "/prod/vpc", id("vpc")) // and with one
	add("drifted", "drift", "/prod/vpc", id("vpc"))
	add("ok", "deploy", "/prod/db", nil)
	add("failed", "deploy", "/prod/db", nil)
	add("blocked", "deploy", "/prod/app", nil) // never deployed
	add("ok", "deploy", "/was/here", id("moved"))
	add("ok", "deploy", "/is/here", id("moved"))
	add("ok", "deploy", "/prod/vpc", target("staging"))
	add("running", "deploy", "/prod/dns", target("staging"))
	add("ok", "deploy", "/gone", nil)
	add("ok", "destroy", "/gone", nil)
	add("ok", "plan", "/only/planned", nil)
	add("ok", "deploy", "/by/hand", func(r *note.Record) { r.Variant, r.By, r.Took = gitstate.AnyVariant, "Bob", 0 })
	add("ok", "deploy", "/\"quoted\"\\\n", nil)
	return repo, s
}

func gather(s *gitstate.Store, opt telemetry.Options, file string) (string, error) {
	r := prometheus.NewPedanticRegistry() // it holds what is collected against what was described
	if err := r.Register(telemetry.NewCollector(s, opt)); err != nil {
		return "", err
	}
	if err := prometheus.WriteToTextfile(file, r); err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	repo, s := history(t)
	if _, err := s.Remote("origin").Push(context.Background()); err != nil {
		t.Fatal(err)
	}
	fetched := filepath.Join(s.GitDir(), "tmnotes", "fetched-origin")
	if err := os.Chtimes(fetched, at(20), at(20)); err != nil {
		t.Fatal(err)
	}
	if err := s.Writer("R").Append(repo.Head(), &note.Record{At: at(58), Status: "ok", Op: "deploy", Stack: "/not/pushed", Run: "RUN58", Variant: "v1"}); err != nil {
		t.Fatal(err)
	}
	got, err := gather(s, telemetry.Options{Remote: "origin", MaxStacks: 9}, filepath.Join(t.TempDir(), "x.prom"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "metrics.prom", got)
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	// One stack more than the limit: none has series of its own, and a metric says so.
	got, err = gather(s, telemetry.Options{MaxStacks: 8}, filepath.Join(t.TempDir(), "x.prom"))
	if err != nil || strings.Contains(got, "stack=") || !strings.Contains(got, "\ntmnotes_stacks_without_series 9\n") || !strings.Contains(got, "\ntmnotes_stacks{") {
		t.Errorf("over the limit: %v\n%s", err, got)
	}
}

// However many targets and operations there are, the series stay few.
func TestCardinality(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	s, err := gitstate.Open(context.Background(), gitstate.Options{Dir: repo.Dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var records []*note.Record
	for i := range 500 {
		records = append(records, &note.Record{Status: "ok", Op: "deploy", Target: fmt.Sprintf("pr-%d", i), Stack: "/a", Run: fmt.Sprintf("R%d", i), Variant: "v1"},
			&note.Record{Status: "ok", Op: fmt.Sprintf("op-%d", i), Stack: "/a", Run: fmt.Sprintf("R%d", i), Variant: "v1"})
	}
	if err := s.Writer("R").Append(repo.Head(), records...); err != nil {
		t.Fatal(err)
	}
	got, err := gather(s, telemetry.Options{MaxStacks: 10}, filepath.Join(t.TempDir(), "x.prom"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got, "\n"); n > 1400 {
		t.Errorf("%d lines", n)
	}
	for _, line := range []string{
		`tmnotes_stacks{status="ok",target="(other)"} 400`,
		`tmnotes_deployments_total{op="deploy",status="ok",target="(other)"} 400`,
		`tmnotes_latest_results{op="(other)",status="ok",target="(other)"} 451`, // "" is used least,
		`tmnotes_stacks_without_series 500`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("%s is not in\n%s", line, got)
		}
	}
}

// State that cannot be read is no state, and never zeros.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	repo, s := history(t)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.prom")
	before, err := gather(s, telemetry.Options{MaxStacks: 9}, file)
	if err != nil {
		t.Fatal(err)
	}
	ref := filepath.Join(repo.Dir, ".git", "refs", "notes", "tmnotes")
	was, err := os.ReadFile(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ref, []byte(strings.Repeat("1", 40)+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := gather(s, telemetry.Options{MaxStacks: 9}, file); err == nil {
		t.Errorf("no error, but\n%s", got)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != before {
		t.Errorf("the file was not left as it was: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := os.WriteFile(ref, was, 0o666); err != nil { // git fsck comes next
		t.Fatal(err)
	}
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *gittest.Update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs (go test -update writes it): -want +got\n%s", file, diff)
	}
}
