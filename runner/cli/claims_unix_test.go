//go:build unix

package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// alone is a deployment that finds out if another one is at the same stack.
const alone = `exec 9>"$WORK/at.${PWD##*/}"
flock -n 9 || echo "${PWD##*/}" >>"$WORK/overlaps"
sleep 0.1
deploy
`

// clones makes copies of the project's repository, as many jobs would.
func (w *world) clones(n int) (dirs []string) {
	w.Helper()
	for i := range n {
		dirs = append(dirs, fmt.Sprint("clone", i))
		w.run(".", "git", "clone", "-q", "--shared", w.path("work.git"), w.path(dirs[i]))
	}
	return dirs
}

// start starts a tmnotes in a clone, in a session of its own.
func (w *world) start(dir string, args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	w.Helper()
	cmd = w.command(dir, append([]string{"tmnotes"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

// The same pipeline starts in many clones at the same moment: every stack is
// deployed once, no two at a time, and all end well.
func TestSamePipelineManyTimes(t *testing.T) {
	t.Parallel()
	n := 6
	if v, err := strconv.Atoi(os.Getenv("TMNOTES_LONG_TESTS")); err == nil {
		if n = 64; v > 1 {
			n = v
		}
	}
	w := newWorld(t)
	w.script("alone", alone)
	stacks := []string{"/a", "/b", "/c", "/d"}
	w.project("work", "/a", "/b:/a", "/c:/a", "/d")
	begin := time.Now()
	var wait sync.WaitGroup
	dirs := w.clones(n)
	for i, dir := range dirs {
		cmd, out := w.start(dir, "run", "-X", "-j", strconv.Itoa(1+i%3), "--lease", "20s", "--op", "deploy", "--", "alone")
		wait.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", dir, err, out)
			}
		})
	}
	wait.Wait()
	for _, dir := range dirs[1:] { // to look for damage in hundreds would take longer than the rest
		if err := os.RemoveAll(w.path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d processes took %v", n, time.Since(begin))
	if got := w.ran(); !slices.Equal(got, stacks) {
		t.Errorf("deployed: %v", got)
	}
	if b, err := os.ReadFile(w.path("overlaps")); err == nil {
		t.Errorf("two at once: %s", b)
	}
	w.run("work", "tmnotes", "fetch")
	if status := w.run("work", "tmnotes", "status"); strings.Count(status, "\nok ")+strings.Count(status, "\nok\t") != len(stacks) || strings.Contains(status, "conflict") {
		t.Errorf("the state:\n%s", status)
	}
	w.run("work", "tmnotes", "run", "-X", "--op", "deploy", "--", "alone")
	if got := w.ran(); len(got) > 0 {
		t.Errorf("deployed again: %v", got)
	}
	if refs := w.run("work.git", "git", "for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
		t.Errorf("still claimed:\n%s", refs)
	}
}

// Many stacks that take no time are claimed and let go of in a few pushes, with hardly a push
// of the notes more than without claims.
func TestManyClaims(t *testing.T) {
	t.Parallel()
	const stacks = 120
	w := newWorld(t)
	var paths []string
	for i := range stacks {
		paths = append(paths, fmt.Sprintf("/s%d", i))
	}
	w.project("work", paths...)
	began := time.Now()
	w.run("work", "tmnotes", "run", "-X", "--quiet", "-j4", "--op", "deploy", "--", "true")
	most := 3 + int(time.Since(began)/(10*time.Second))
	if n, err := strconv.Atoi(strings.TrimSpace(w.run("work.git", "git", "rev-list", "--count", "refs/notes/tmnotes"))); err != nil || n > most {
		t.Errorf("%d notes commits for %d stacks, want at most %d, %v", n, stacks, most, err)
	}
	if n := strings.Count(w.run("work", "tmnotes", "status"), "\nok "); n != stacks {
		t.Errorf("%d of %d are deployed", n, stacks)
	}
	if refs := w.run("work.git", "git", "for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
		t.Errorf("still claimed:\n%s", refs)
	}
}

// Who waits for a holder that was killed waits no longer than the lease, and a look.
func TestKilledHolder(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	w := newWorld(t)
	w.script("hang", "touch $WORK/up\nexec sleep 600\n")
	w.project("work", "/a", "/b:/a")
	dirs := w.clones(2)
	holder, _ := w.start(dirs[0], "run", "-X", "--lease", lease.String(), "--op", "deploy", "--", "hang")
	w.await("the holder", w.exists("up"))
	waiting, out := w.start(dirs[1], "run", "-X", "--lease", lease.String(), "--op", "deploy", "--", "deploy")
	w.await("who waits", func() bool {
		refs, _ := filepath.Glob(w.path(dirs[1], ".git/refs/tmnotes/remotes/origin/tmnotes-claims/*"))
		return len(refs) > 0
	})
	killSession(w, holder)
	killed := time.Now()
	if err := waiting.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(killed); took > lease+3*time.Second || took < lease/3 {
		t.Errorf("it went on %v after the holder was killed, with a lease of %v\n%s", took, lease, out)
	}
	if got := w.ran(); !slices.Equal(got, []string{"/a", "/b"}) {
		t.Errorf("deployed: %v", got)
	}
}

// A holder whose remote is gone interrupts its command before the lease ends, and
// keeps what it knows.
func TestHolderWithoutNetwork(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	w := newWorld(t)
	w.script("hang", "trap 'touch $WORK/interrupted; exit 1' INT\ntouch $WORK/up\nwhile :; do sleep 0.05; done\n")
	w.project("work", "/a", "/b:/a")
	holder, out := w.start("work", "run", "-X", "--lease", lease.String(), "--op", "deploy", "--", "hang")
	w.await("the command", w.exists("up"))
	if err := os.Rename(w.path("work.git"), w.path("gone.git")); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	w.await("the interrupt", w.exists("interrupted"))
	if took := time.Since(gone); took > lease {
		t.Errorf("interrupted after %v, with a lease of %v", took, lease)
	}
	err := holder.Wait()
	if code := holder.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.Rename(w.path("gone.git"), w.path("work.git")); err != nil {
		t.Fatal(err)
	}
	w.run("work", "tmnotes", "sync")
	status := w.run("work", "tmnotes", "status")
	if !strings.Contains(status, "was not renewed in time") || !strings.Contains(status, "blocked") {
		t.Errorf("the state:\n%s", status)
	}
}

// kill -9 of jobs at random moments, each of which is started again: no two are at a
// stack at once, all stacks are deployed, and nothing stays claimed.
func TestHoldersKilled(t *testing.T) {
	t.Parallel()
	rounds := 2
	if os.Getenv("TMNOTES_LONG_TESTS") != "" {
		rounds = 15
	}
	seed := anySeed()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	w.script("alone", alone)
	w.project("work", "/a", "/b:/a", "/c:/a", "/d", "/e:/b")
	dirs := w.clones(3)
	argv := []string{"run", "-X", "-j2", "--lease", "6s", "--push-interval", "100ms", "--op", "deploy", "--", "alone"}
	for range rounds {
		w.commit("work", "round")
		w.run("work", "git", "push", "-q")
		var wait sync.WaitGroup
		for _, dir := range dirs {
			w.run(dir, "git", "pull", "-q")
			kill := time.Duration(random.Int64N(int64(4 * time.Second)))
			cmd, _ := w.start(dir, argv...)
			wait.Go(func() {
				ended := make(chan struct{})
				go func() { _ = cmd.Wait(); close(ended) }()
				select {
				case <-time.After(kill):
					killSession(w, &exec.Cmd{Process: cmd.Process})
					<-ended
				case <-ended:
				}
				again, out := w.start(dir, argv...)
				if err := again.Wait(); err != nil {
					t.Errorf("%s: %v\n%s", dir, err, out)
				}
			})
		}
		wait.Wait()
		w.ran()
		w.run("work", append([]string{"tmnotes"}, argv...)...)
		if got := w.ran(); len(got) > 0 {
			t.Errorf("not deployed: %v", got)
		}
	}
	// What the dead have claimed is taken over.
	w.run("work", "tmnotes", "run", "-X", "--force", "--lease", "6s", "--op", "deploy", "--", "alone")
	if got := w.ran(); len(got) != 5 {
		t.Errorf("deployed again: %v", got)
	}
	if b, err := os.ReadFile(w.path("overlaps")); err == nil {
		t.Errorf("two at once: %s", b)
	}
	if refs := w.run("work.git", "git", "for-each-ref", "refs/notes/tmnotes-claims"); refs != "" {
		t.Errorf("still claimed:\n%s", refs)
	}
}
