//go:build unix

package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// world is a folder with an environment of its own, in which repositories are
// made and processes started and killed.
type world struct {
	*testing.T
	dir string
	env []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: dir}
	if w.env, err = isolate(dir, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			intact(t.Fatal, dir, w.env)
		}
	})
	return w
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *world) command(dir string, argv ...string) *exec.Cmd {
	w.Helper()
	name := argv[0]
	if name == "tmnotes" { // it is in the PATH of this process
		var err error
		if name, err = exec.LookPath(name); err != nil {
			w.Fatal(err)
		}
	}
	cmd := exec.Command(name, argv[1:]...)
	cmd.Dir, cmd.Env = w.path(dir), w.env
	return cmd
}

// run runs a command that is to succeed, and returns what it printed.
func (w *world) run(dir string, argv ...string) string {
	w.Helper()
	cmd := w.command(dir, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		w.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String() + stderr.String()
}

func (w *world) project(dir string, stacks ...string) {
	w.Helper()
	w.makeProject(dir, false, stacks...)
}

// makeProject makes one, of real Terraform or of anything.
func (w *world) makeProject(dir string, terraform bool, stacks ...string) {
	w.Helper()
	err := makeProject(w.path(dir), terraform, stacks, func(in string, args ...string) error {
		if args[0] == "commit" {
			w.commit(dir, args[1])
			return nil
		}
		cmd := w.command(".", append([]string{"git"}, args...)...)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("git %v: %w\n%s", args, err, out)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) commit(dir, message string) {
	w.Helper()
	w.run(dir, "git", "add", "-A")
	w.run(dir, "git", "commit", "-q", "--allow-empty", "-m", message)
}

// script puts a command into the PATH of the world.
func (w *world) script(name, text string) {
	w.Helper()
	if err := os.WriteFile(w.path("bin", name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		w.Fatal(err)
	}
}

// ran are the stacks that were executed since the last time.
func (w *world) ran() []string {
	w.Helper()
	b, err := os.ReadFile(w.path("ran"))
	if err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(w.path("ran"), nil, 0o644); err != nil {
		w.Fatal(err)
	}
	got := strings.Fields(string(b))
	slices.Sort(got)
	return got
}

func (w *world) await(what string, is func() bool) {
	w.Helper()
	if err := waitFor(30*time.Second, is); err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

func (w *world) exists(name string) func() bool {
	return func() bool { _, err := os.Stat(w.path(name)); return err == nil }
}

// killSession kills everything that cmd, which leads a session, started.
func killSession(w *world, cmd *exec.Cmd) {
	w.Helper()
	sid := strconv.Itoa(cmd.Process.Pid)
	_ = cmd.Process.Kill()
	for range 5 { // who was forking meanwhile
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, s := range stats {
			b, err := os.ReadFile(s)
			i := bytes.LastIndexByte(b, ')')
			if err != nil || i < 0 {
				continue
			}
			if f := strings.Fields(string(b[i+1:])); len(f) > 3 && f[3] == sid { // proc(5): session
				// Who serves the remote is another machine.
				if at, _ := os.Readlink(filepath.Join(filepath.Dir(s), "cwd")); strings.HasPrefix(at, w.path("work.git")) {
					continue
				}
				if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(s))); err == nil && pid != cmd.Process.Pid {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	_ = cmd.Wait()
}

// A machine that vanishes with its clone, right after the first command was
// started, leaves behind what it had meant to do.
func TestVanishedMachine(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to kill a session")
	}
	w := newWorld(t)
	stacks := []string{"/a", "/b", "/c", "/d", "/e", "/f"}
	w.project("work", "/a", "/b:/a", "/c:/b", "/d", "/e", "/f")
	w.run(".", "git", "clone", "-q", w.path("work.git"), w.path("other"))
	w.script("hang", "touch $WORK/up\nexec sleep 600\n")
	cmd := w.command("work", "tmnotes", "run", "-j2", "--lease", "5s", "--op", "deploy", "--", "hang")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the first command", w.exists("up"))
	killSession(w, cmd)
	if err := os.RemoveAll(w.path("work")); err != nil {
		t.Fatal(err)
	}

	w.run("other", "tmnotes", "fetch")
	status := w.run("other", "tmnotes", "status")
	if n := strings.Count(status, "\nrunning "); n != len(stacks) {
		t.Errorf("%d of %d stacks are running as far as anybody knows:\n%s", n, len(stacks), status)
	}
	status = w.run("other", "tmnotes", "status", "--stale-after", "1ms")
	if n := strings.Count(status, "\ninterrupted "); n != len(stacks) {
		t.Errorf("%d of %d stacks are interrupted:\n%s", n, len(stacks), status)
	}
	w.run("other", "git", "config", "tmnotes.staleAfter", "1ms")
	w.run("other", "tmnotes", "run", "--deployment-status", "interrupted", "--dry-run", "--op", "deploy", "--", "deploy")
	w.run("other", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	if got := w.ran(); !slices.Equal(got, stacks) {
		t.Errorf("deployed: %v", got)
	}
	w.run("other", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	if got := w.ran(); len(got) != 0 {
		t.Errorf("deployed again: %v", got)
	}
}

var (
	journalLine = regexp.MustCompile(`(?m)^[0-9a-f]{8} [0-9a-f]{40} (at=.*)\n`)
	finalLine   = regexp.MustCompile(`^at=\S+ status=(ok|failed|blocked|canceled) .*stack=(\S+)`)
)

// acknowledged are the final records that are in the journals at this moment.
func (w *world) acknowledged(dir string) map[string]bool {
	w.Helper()
	files, err := filepath.Glob(w.path(dir, ".git", "tmnotes", "journal", "*.log"))
	if err != nil {
		w.Fatal(err)
	}
	lines := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			w.Fatal(err)
		}
		for _, m := range journalLine.FindAllSubmatch(b, -1) {
			if line := string(m[1]); finalLine.MatchString(line) {
				lines[line] = true
			}
		}
	}
	return lines
}

func (w *world) notes(dir string) string {
	cmd := w.command(dir, "git", "log", "--all", "--format=%N", "--notes=tmnotes")
	out, _ := cmd.Output()
	return string(out)
}

// kill -9 at random moments of a run: the repository opens, git finds nothing
// wrong with it, no acknowledged record is missing, what was running is
// interrupted, and the next run resumes.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to kill a session")
	}
	rounds, worlds := 200, 4
	if testing.Short() {
		rounds, worlds = 15, 1
	}
	for i := range worlds {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			killed(t, rounds/worlds)
		})
	}
}

func killed(t *testing.T, rounds int) {
	w := newWorld(t)
	w.project("work", "/a", "/b:/a", "/c:/b", "/d", "/e:/d", "/f", "/g", "/h", "/i:/h", "/j")
	argv := []string{"tmnotes", "run", "-X", "-j2", "--push-interval", "20ms", "--op", "deploy", "--", "steady"}
	w.script("steady", "sleep 0.04\nexec deploy\n") // so that many a kill comes between two results
	begin := time.Now()
	w.run("work", argv...)
	whole := time.Since(begin)
	w.ran()
	seed := anySeed()
	t.Logf("seed %d, a whole run takes %v", seed, whole)
	random := rand.New(rand.NewPCG(seed, 0))
	known := map[string]bool{} // acknowledged final records of all runs
	done := map[string]bool{}  // stacks that were acknowledged as ok on HEAD
	w.commit("work", "round")
	inTime, resumed := 0, 0
	for round := range rounds {
		if time.Since(begin) > 2*time.Minute {
			t.Logf("this machine is slow: %d rounds will do", round)
			rounds = round
			break
		}
		cmd := w.command("work", argv...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		started := time.Now()
		timer := time.NewTimer(time.Duration(random.Int64N(int64(whole))))
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-timer.C:
			inTime++
			if round%2 == 0 {
				killSession(w, &exec.Cmd{Process: cmd.Process})
			} else {
				_ = cmd.Process.Kill() // git's own children live on
			}
			<-ended
			if round%2 == 0 { // a lock of git's may be left; not that of a minute ago
				before := time.Now().Add(-time.Hour)
				_ = os.Chtimes(w.path("work", ".git", "packed-refs.lock"), before, before)
			}
		case <-ended:
			timer.Stop()
			whole = (whole + time.Since(started)) / 2 // the machine is busy now and then
		}
		for line := range w.acknowledged("work") {
			known[line] = true
		}
		ran := w.ran()
		for _, stack := range ran {
			if done[stack] {
				t.Fatalf("round %d: %s was deployed already, and was deployed again", round, stack)
			}
		}
		if len(done) > 0 && len(ran) > 0 {
			resumed++
		}
		// A stack's command may outlive tmnotes for a moment, and as long as it does it is at work.
		w.await("that nobody is at work", func() bool {
			status := w.run("work", "tmnotes", "status", "--format", "json")
			return !strings.Contains(status, `"deployment_status": "running"`) && !strings.Contains(status, `"deployment_status": "queued"`)
		})
		notes := w.notes("work")
		for line := range known {
			if !strings.Contains(notes, line) {
				t.Fatalf("round %d: lost: %s\nthe notes:\n%s", round, line, notes)
			}
		}
		w.run("work", "git", "fsck", "--no-dangling", "--no-progress")
		w.run("work", "tmnotes", "check")
		head := strings.TrimSpace(w.run("work", "git", "rev-parse", "HEAD"))
		clear(done)
		note, _ := w.command("work", "git", "notes", "--ref=tmnotes", "show", head).Output()
		for line := range strings.Lines(string(note)) {
			if m := finalLine.FindStringSubmatch(line); m != nil && m[1] == "ok" {
				done[m[2]] = true
			}
		}
		if len(done) == 10 {
			w.commit("work", "round")
			clear(done)
		}
	}
	t.Logf("%d of %d were killed, %d resumed, %d records", inTime, rounds, resumed, len(known))
	if inTime < rounds/4 || rounds >= 50 && resumed == 0 {
		t.Errorf("too few runs were killed (%d) or resumed (%d) to say anything", inTime, resumed)
	}
	w.run("work", argv...)
	w.ran()
	w.run("work", argv...)
	if got := w.ran(); len(got) != 0 {
		t.Errorf("deployed again: %v", got)
	}
}

// Two runs at once in one repository lose none of each other's records.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b", "/c", "/d", "/e", "/f")
	var cmds []*exec.Cmd
	for range 2 {
		cmd := w.command("work", "tmnotes", "run", "-X", "-j3", "--force", "--push-interval", "10ms", "--op", "deploy", "--", "deploy")
		cmd.Stderr = &bytes.Buffer{}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, cmd.Stderr)
		}
	}
	if got := w.ran(); len(got) != 12 {
		t.Errorf("executed: %v", got)
	}
	w.run("work", "tmnotes", "sync")
	for _, repo := range []string{"work", "work.git"} {
		if n := strings.Count(w.notes(repo), " status=ok "); n != 12 {
			t.Errorf("%s has %d of 12 results", repo, n)
		}
	}
}
