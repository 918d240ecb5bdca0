//go:build unix

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A preview says what a run lists after the branch is merged for real, whichever way; and tells what is
// pending at the base already from what the branch brings.
func TestPreviewIsWhatTheMergeDeploys(t *testing.T) {
	t.Parallel()
	steps := 8
	if os.Getenv("TMNOTES_LONG_TESTS") != "" {
		steps = 300
	}
	if testing.Short() {
		steps = 3
	}
	seed := anySeed()
	t.Logf("seed %d", seed)
	m := newMerges(t, rand.New(rand.NewPCG(seed, 0)))
	for m.step = range steps {
		m.once()
	}
	t.Logf("%v", m.happened)
}

// previewed is what the test reads of the JSON of a preview.
type previewed struct {
	Head   string
	Merged bool
	Stacks []struct {
		Stack, ID, Hold string
		Backlog         bool
	}
	Undone  []struct{ Stack, ID string } `json:"no_longer_pending"`
	Removed []struct{ Stack, ID string }
}

// merges is a project whose main moves on by merges.
type merges struct {
	*world
	random   *rand.Rand
	step     int
	next     int
	plan     strings.Builder // of the step, to be printed if it fails
	happened map[string]int
	acks     bool // the branch has a trigger that acknowledges something
}

func newMerges(t *testing.T, random *rand.Rand) *merges {
	m := &merges{world: newWorld(t), random: random, happened: map[string]int{}}
	m.script("terraform", deployScript)
	m.project("work", "/s0", "/s1", "/s2:/s0", "/s3", "/s3/in", "/s4")
	m.write("modules/m/main.tf", "# module\n")
	m.write("s0/main.tf", "module \"m\" {\n  source = \"../modules/m\"\n}\n")
	m.write("s1/main.tf", "locals {\n  text = file(\"../shared.txt\")\n}\n")
	m.write("shared.txt", "shared\n")
	m.write("root.tm", "terramate {\n  config {\n    run {\n      env {\n        GREETING = \"hello\"\n      }\n    }\n  }\n}\n")
	m.commit("work", "modules")
	m.run("work", "git", "push", "-q", "origin", "main")
	m.run("work", "tmnotes", "run", "-X", "--pending", "--init", "--", "terraform", "apply")
	return m
}

func (m *merges) failf(format string, args ...any) {
	m.Helper()
	m.Fatalf("step %d: %s\n%s", m.step, fmt.Sprintf(format, args...), m.plan.String())
}

func (m *merges) write(name, text string) {
	m.Helper()
	file := m.path("work", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		m.Fatal(err)
	}
}

func (m *merges) stacks() (dirs []string) {
	files := strings.Fields(m.run("work", "git", "ls-files", "*stack.tm"))
	for _, f := range files {
		dirs = append(dirs, filepath.Dir(f))
	}
	return dirs
}

// change makes a commit at random.
func (m *merges) change() {
	m.next++
	stacks := m.stacks()
	s := stacks[m.random.IntN(len(stacks))]
	what := []string{"code", "code", "code", "module", "shared", "new", "remove", "move", "trigger", "ignore", "env", "backend", "revert", "text"}[m.random.IntN(14)]
	switch what {
	case "code":
		m.write(s+"/extra.tf", fmt.Sprintf("# %d\n", m.random.IntN(3)))
	case "module":
		m.write("modules/m/main.tf", fmt.Sprintf("# module %d\n", m.random.IntN(3)))
	case "shared":
		m.write("shared.txt", fmt.Sprintf("shared %d\n", m.random.IntN(3)))
	case "new":
		s = fmt.Sprintf("n%d", m.next)
		m.write(s+"/stack.tm", fmt.Sprintf("stack {\n  id = \"id-n%d\"\n  after = [\"/s0\"]\n}\n", m.next))
		m.write(s+"/main.tf", "# new\n")
		if m.random.IntN(2) == 0 {
			m.write(s+"/backend.tf", "terraform {\n  backend \"local\" {}\n}\n")
		}
	case "remove":
		if len(stacks) > 4 {
			m.run("work", "git", "rm", "-rq", s)
		}
	case "move":
		m.run("work", "git", "mv", s, fmt.Sprintf("v%d", m.next))
	case "trigger":
		m.run("work", "tmnotes", "trigger", "--reason", "again", "/"+s)
	case "ignore":
		m.acks = true
		m.write(s+"/extra.tf", fmt.Sprintf("# ignored %d\n", m.next))
		m.run("work", "tmnotes", "trigger", "--ignore-change", "--reason", "no need", "/"+s)
	case "env":
		m.write("root.tm", fmt.Sprintf("terramate {\n  config {\n    run {\n      env {\n        GREETING = \"hello %d\"\n      }\n    }\n  }\n}\n", m.random.IntN(3)))
	case "backend":
		m.write(s+"/backend.tf", fmt.Sprintf("terraform {\n  backend \"local\" {\n    path = \"state-%d\"\n  }\n}\n", m.random.IntN(3)))
	case "revert":
		if m.command("work", "git", "revert", "--no-edit", "HEAD").Run() != nil {
			m.run("work", "git", "reset", "-q", "--hard")
			return
		}
	case "text":
		m.write(fmt.Sprintf("notes-%d.txt", m.next), "text\n")
	}
	m.happened[what]++
	fmt.Fprintf(&m.plan, "%s of %s\n", what, s)
	m.commit("work", what+" "+s)
}

// once is one branch, from its beginning to what becomes of it.
func (m *merges) once() {
	m.plan.Reset()
	m.acks = false
	m.run("work", "git", "checkout", "-q", "-B", "topic", "main")
	for range 1 + m.random.IntN(3) {
		m.change()
	}
	acks := m.acks
	if m.random.IntN(2) == 0 { // the base moves on
		m.run("work", "git", "checkout", "-q", "main")
		m.plan.WriteString("meanwhile on main:\n")
		m.change()
		m.run("work", "git", "push", "-q", "origin", "main")
		if m.random.IntN(2) == 0 {
			m.deploy()
		}
		m.run("work", "git", "checkout", "-q", "topic")
	}
	if m.random.IntN(4) == 0 {
		held := "/" + m.stacks()[0]
		m.run("work", "tmnotes", "hold", "--reason", "wait", held)
		defer func() { _ = m.command("work", "tmnotes", "release", held).Run() }() // which may be gone by then
	}
	before := m.run("work", "git", "count-objects")
	out, err := m.command("work", "tmnotes", "preview", "--json").Output()
	if after := m.run("work", "git", "count-objects"); before != after {
		m.failf("objects are left behind: %s, not %s", after, before)
	}
	if left, _ := filepath.Glob(m.path("tmnotes-merge-*")); len(left) > 0 {
		m.failf("left behind: %v", left)
	}
	if status := m.run("work", "git", "status", "--porcelain"); status != "" {
		m.failf("the work tree changed: %s", status)
	}
	if ee, is := errors.AsType[*exec.ExitError](err); is {
		m.happened["conflict"]++
		if !strings.Contains(string(ee.Stderr), "the merge conflicts") || m.command("work", "git", "merge", "-q", "main").Run() == nil {
			m.failf("%s", ee.Stderr)
		}
		m.run("work", "git", "merge", "--abort")
		return
	}
	var p previewed
	if err := errors.Join(err, json.Unmarshal(out, &p)); err != nil {
		m.failf("%v: %s", err, out)
	}
	if p.Merged {
		return // a change that was reverted at once may leave no commit
	}
	m.compareBase(&p)
	kinds := []string{"merge", "squash", "rebase"}
	for _, kind := range kinds {
		if kind == "rebase" && acks {
			continue // it acknowledges what its own commit changed, and this is no commit of its own in the others
		}
		m.compare(&p, kind)
	}
	kind := kinds[m.random.IntN(3)]
	m.run("work", "git", "checkout", "-q", "main")
	if !m.merge("work", kind) {
		m.run("work", "git", "reset", "-q", "--hard", "main")
		return
	}
	m.run("work", "git", "push", "-q", "origin", "main")
	if m.random.IntN(3) > 0 {
		m.deploy()
	}
}

// merge merges the branch, which may fail for a rebase.
func (m *merges) merge(dir, kind string) bool {
	switch kind {
	case "merge":
		m.run(dir, "git", "merge", "-q", "--no-ff", "-m", "merged", "topic")
	case "squash":
		m.run(dir, "git", "merge", "-q", "--squash", "topic")
		m.run(dir, "git", "commit", "-q", "--allow-empty", "-m", "squashed")
	case "rebase":
		if m.command(dir, "git", "rebase", "-q", "main", "topic").Run() != nil {
			m.run(dir, "git", "rebase", "--abort")
			m.run(dir, "git", "checkout", "-q", "main")
			return false
		}
		m.run(dir, "git", "checkout", "-q", "main")
		m.run(dir, "git", "merge", "-q", "--ff-only", "topic")
	}
	return true
}

var entered = regexp.MustCompile(`\(dry-run\) Entering stack in (\S+)`)

// compare holds the preview against what is listed after the merge in a clone.
func (m *merges) compare(p *previewed, kind string) {
	dir := fmt.Sprintf("clone-%d-%s", m.step, kind)
	m.run(".", "git", "clone", "-q", "--shared", m.path("work"), m.path(dir))
	m.run(dir, "git", "remote", "set-url", "origin", m.path("work.git"))
	m.run(dir, "git", "checkout", "-q", "-B", "main", "origin/main")
	m.run(dir, "git", "branch", "-q", "-f", "topic", p.Head)
	defer os.RemoveAll(m.path(dir))
	if !m.merge(dir, kind) {
		return
	}
	m.happened[kind]++
	out, err := m.command(dir, "tmnotes", "run", "-X", "--pending", "--dry-run", "--", "terraform", "apply").CombinedOutput()
	if err != nil {
		m.failf("%s: %v\n%s", kind, err, out)
	}
	var got, want []string
	for _, s := range entered.FindAllStringSubmatch(string(out), -1) {
		want = append(want, s[1])
	}
	for _, s := range p.Stacks {
		if s.Hold != "" {
			m.happened["held"]++
		} else {
			got = append(got, s.Stack)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.failf("%s: the preview has %v, and the run has %v\n%s", kind, got, want, out)
	}
	m.happened["stacks"] += len(got)
}

// compareBase holds what the preview has of the backlog against what is pending at the base.
func (m *merges) compareBase(p *previewed) {
	dir := fmt.Sprintf("base-%d", m.step)
	m.run(".", "git", "clone", "-q", m.path("work.git"), m.path(dir))
	defer os.RemoveAll(m.path(dir))
	var listed []struct{ ID string }
	out, err := m.command(dir, "tmnotes", "list", "--pending", "--json").Output()
	if err := errors.Join(err, json.Unmarshal(out, &listed)); err != nil {
		m.failf("%v: %s", err, out)
	}
	pending := map[string]bool{}
	for _, s := range listed {
		pending[s.ID] = true
	}
	for _, s := range p.Stacks {
		if s.Backlog != pending[s.ID] {
			m.failf("%s: backlog is %v; pending at the base: %v", s.Stack, s.Backlog, pending)
		}
		if s.Backlog {
			m.happened["backlog"]++
		}
		delete(pending, s.ID)
	}
	for _, s := range p.Undone {
		if !pending[s.ID] {
			m.failf("%s is not pending at the base: %v", s.Stack, pending)
		}
		delete(pending, s.ID)
		m.happened["undone"]++
	}
	for _, s := range p.Removed {
		delete(pending, s.ID)
		m.happened["removed"]++
	}
	for id := range pending {
		if m.command("work", "git", "grep", "-q", fmt.Sprintf("\"%s\"", id), "topic").Run() == nil {
			m.failf("%s is pending at the base, and the preview does not say what becomes of it", id)
		}
	}
}

// deploy is what a pipeline of main does, in which stacks fail at random.
func (m *merges) deploy() {
	_ = os.RemoveAll(m.path("fail"))
	for _, s := range m.stacks() {
		if m.random.IntN(4) == 0 {
			file := m.path("fail", strings.ReplaceAll("/"+s, "/", "-"))
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("Error: no\n"), 0o644)); err != nil {
				m.Fatal(err)
			}
		}
	}
	out, err := m.command("work", "tmnotes", "run", "-X", "--pending", "--", "terraform", "apply").CombinedOutput()
	if ee, is := errors.AsType[*exec.ExitError](err); is && ee.ExitCode() != 1 {
		m.failf("%v\n%s", err, out)
	}
	m.plan.WriteString("deployed\n")
}
