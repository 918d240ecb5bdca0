package gitstate

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

func TestAppendFlushRead(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, s, head := context.Background(), open(t, repo.Dir), repo.Head()
	if st := must[*State](t)(s.State(ctx)); !st.Empty() {
		t.Error("a repository without notes is not empty")
	}
	noError(t, s.Append(head, &note.Record{Event: note.Started, Op: note.Deploy, Run: "R1", By: "Alice <a@b>", Job: "https://ci/1"}, result(note.Queued, "/a", "R1")))
	// Before it is in a note it can be read, also by another process.
	l := must[Latest](t)(must[*State](t)(open(t, repo.Dir).State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	if l.Record.Status != note.Queued || l.By != "Alice <a@b>" || l.Job != "https://ci/1" {
		t.Errorf("latest %+v", l)
	}
	if _, err := repo.Try("rev-parse", DefaultRef); err == nil {
		t.Error("there are notes before anything was flushed")
	}
	noError(t, s.Flush(ctx))
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	noError(t, s.Flush(ctx))
	noError(t, s.Flush(ctx))
	show := repo.Git("notes", "--ref=tmnotes", "show", head)
	if n := strings.Count(show, "\n") + 1; n != 2 || !strings.Contains(show, "status=ok") || !strings.Contains(show, "event=started") {
		t.Errorf("git notes show:\n%s", show)
	}
	if n := repo.Git("rev-list", "--count", DefaultRef); n != "2" {
		t.Errorf("%s notes commits, not 2", n)
	}
	if log := repo.Git("log", "-1", "--format=%N", "--notes=tmnotes"); !strings.Contains(log, "status=ok") {
		t.Errorf("git log shows %q", log)
	}
}

func TestAppendTimes(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	now := gittest.T0
	s := openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { return now }})
	stamp := func(r *note.Record) time.Time {
		t.Helper()
		must[*State](t)(s.State(ctx))
		noError(t, s.Append(head, r))
		return r.At
	}
	first := stamp(result(note.OK, "/a", "R1"))
	if again := stamp(result(note.OK, "/a", "R2", "R1")); !again.After(first) {
		t.Errorf("%v is not after %v", again, first)
	}
	now = gittest.T0.Add(-24 * time.Hour) // the clock was set back
	s = openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { return now }})
	// t0 is from the future now: it is not followed in time, but it is by prev.
	r := stamp(result(note.Failed, "/a", "R3", "R2"))
	if !r.Equal(now) {
		t.Errorf("%v follows a time that is a day ahead", r)
	}
	l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	if l.Run != "R3" || len(l.Diverged) > 0 {
		t.Errorf("the latest is %s beside %d", l.Run, len(l.Diverged))
	}
	now = gittest.T0.Add(-5 * time.Minute)
	s = openWith(t, Options{Dir: repo.Dir, Now: func() time.Time { return now }})
	noError(t, s.Append(head, &note.Record{At: gittest.T0, Status: note.OK, Op: note.Deploy, Stack: "/b", Run: "R1"}))
	if at := stamp(result(note.OK, "/b", "R2", "R1")); !at.After(gittest.T0) {
		t.Errorf("%v is not after %v, which is five minutes ahead", at, gittest.T0)
	}
}

// What a run recorded of a stack earlier, another process of the run goes on
// with, although it knows only of its own run.
func TestAppendTakesOverPrev(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R0")))
	noError(t, s.Append(head, result(note.Queued, "/a", "R1", "R0")))
	noError(t, s.Flush(ctx))
	s = open(t, repo.Dir)
	s.Follow(must[*State](t)(s.State(ctx)))
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	noError(t, s.Flush(ctx))
	l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy}))
	if l.Run != "R1" || len(l.Diverged) > 0 {
		t.Errorf("the latest is %s beside %d", l.Run, len(l.Diverged))
	}
}

// Many processes append while git itself writes to the same note.
func TestAppendBesideGit(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	head := repo.Head()
	procs, each, foreign := 8, 200, 150
	if testing.Short() {
		procs, each, foreign = 4, 40, 30
	}
	var wg sync.WaitGroup
	acked := make([][]string, procs)
	for i := range procs {
		cmd, out := child(t, "append", repo.Dir, head, fmt.Sprint("run", i), strconv.Itoa(each))
		wg.Add(1)
		go func() {
			defer wg.Done()
			for out.Scan() {
				acked[i] = append(acked[i], out.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}()
	}
	appended := 0
	for i := range foreign {
		// It may find the ref locked, which it says.
		if _, err := repo.Try("notes", "--ref=tmnotes", "append", "-m", fmt.Sprintf("by hand %d.", i), head); err == nil {
			appended++
		}
	}
	wg.Wait()
	s := open(t, repo.Dir)
	noError(t, s.Flush(context.Background()))
	show := repo.Git("notes", "--ref=tmnotes", "show", head) + "\n"
	for _, stacks := range acked {
		if len(stacks) != each {
			t.Errorf("%d of %d acknowledged", len(stacks), each)
		}
		for _, stack := range stacks {
			if !strings.Contains(show, "stack="+stack+" ") {
				t.Errorf("%s was acknowledged and is lost", stack)
			}
		}
	}
	// One git writer alone is lost to nobody: we never overwrite it.
	byHand := 0
	for i := range foreign {
		if strings.Contains(show, fmt.Sprintf("by hand %d.\n", i)) {
			byHand++
		}
	}
	if byHand < appended {
		t.Errorf("%d of %d lines of git are lost", appended-byHand, appended)
	}
	t.Logf("%d notes commits for %d records and %d lines of git", commits(repo), procs*each, appended)
	checkStore(t, s)
}

func commits(repo *gittest.Repo) int {
	n, _ := strconv.Atoi(repo.Git("rev-list", "--count", DefaultRef))
	return n
}

// After a repack the objects are elsewhere.
func TestRepackBeside(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	for i := range 4 {
		noError(t, s.Append(head, result(note.OK, "/a", fmt.Sprint("R", i), fmt.Sprint("R", i-1))))
		noError(t, s.Flush(ctx))
		repo.Git("repack", "-adq")
		repo.Git("pack-refs", "--all")
		repo.Git("prune-packed")
		if l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Run != fmt.Sprint("R", i) {
			t.Errorf("round %d: %s", i, l.Run)
		}
	}
}

// More objects than are written loose.
func TestFlushPack(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx := context.Background()
	s := open(t, repo.Dir)
	for i := range 60 {
		commit := plumbing.ComputeHash(plumbing.BlobObject, []byte{byte(i)}).String()
		noError(t, s.AppendLazily(commit, result(note.OK, "/a", "R1")))
	}
	noError(t, s.Flush(ctx))
	if n := strings.Count(repo.Git("notes", "--ref=tmnotes", "list"), "\n") + 1; n != 60 {
		t.Errorf("%d notes", n)
	}
	checkStore(t, s)
}
