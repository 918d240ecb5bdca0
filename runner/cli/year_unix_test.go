//go:build unix

package cli

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var yearSeed = flag.Uint64("year", 0, "the seed of the simulated year, to have the same one again")

// year is a project over which a year passes, and what is true of it.
type year struct {
	*world
	random   *rand.Rand
	step     int
	version  int
	mains    []string                     // the commits of main, oldest first
	truth    map[string]map[string]string // commit → stack → what it is made of
	real     map[string]*deployed         // place and stack → what is there
	around   map[string]surroundings      // target → how it is deployed at the moment
	hidden   map[string][]*deployed       // clone → of what it alone knows that it was queued
	vanished map[string][]*deployed       // clone → of what it alone knows that nobody is at it any more
	vague    map[string]bool              // by clone, target and stack: announced without a place by a pipeline that was killed
	looked   map[string]map[int]bool      // target → commits that a pipeline looked at, by index in mains
	read     int                          // bytes of the ledger
	pipes    int
	cached   int // the newest commit that the cache has, as an index in mains
	happened map[string]int
	executed map[string]int // by why
	reverted map[int][]int  // commit → those that revert it, as indices in mains
}

// deployed is what there really is of a stack in a target.
type deployed struct {
	content string
	base    string // the part of it that is committed
	at      int    // the index of the commit in mains
	half    bool   // the last execution failed or did not end
	owed    bool   // it was to be executed after that, and something it depends on failed
	unsure  bool   // a kill, or another pipeline at the same time, kept from being recorded what is there
}

// pipeline is one run of tmnotes.
type pipeline struct {
	clone, target         string
	at                    int // the index of its commit in mains
	rollback, kill, retry bool
	shared                bool // another one is at work on the target at the same time
	stale                 bool // what it fetches from is older than what it pushes to
	fresh                 bool // its clone was never initialised: where it will write to is seen when it does
	surroundings

	id       int
	cmd      *exec.Cmd
	out      *syncBuffer
	wanted   map[string]bool // what is to be deployed
	due      map[string]bool // what is to be deployed at another place, which may be taken for this one
	back     map[string]bool // what would be a step back from what a later commit's pipeline left alone
	begun    bool            // something was executed
	tells    []*deployed     // of what its clone alone knew until now what was queued, or is over
	ok, fail map[string]bool // what was deployed, and what failed
}

func (y *year) fatalf(format string, args ...any) {
	y.Helper()
	y.Fatalf("step %d: %s", y.step, fmt.Sprintf(format, args...))
}

func (y *year) of(p *pipeline, stack string) *deployed {
	at := p.place(p.target) + stack
	d := y.real[at]
	if d == nil {
		d = &deployed{at: -1}
		y.real[at] = d
	}
	return d
}

// want is what a pipeline makes of a stack.
func (y *year) want(p *pipeline, stack string) string {
	return y.truth[y.mains[p.at]][stack] + p.values()
}

// begin starts a pipeline as a CI does: it checks its commit out, and lets
// tmnotes deploy what is pending.
func (y *year) begin(p *pipeline, flags ...string) {
	y.Helper()
	y.pipes++
	p.id, p.wanted, p.due, p.back, p.ok, p.fail = y.pipes, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	commit := y.mains[p.at]
	y.run(p.clone, "git", "fetch", "-q", "origin")
	y.run(p.clone, "git", "checkout", "-q", "-f", "--detach", commit)
	p.surroundings = y.around[p.target]
	p.fresh = p.fresh && y.everywhere(p)
	y.surround(p)
	p.tells = slices.Concat(y.hidden[p.clone], y.vanished[p.clone])
	for _, d := range p.tells {
		d.unsure = true
	}
	for _, s := range yearPaths {
		d := y.of(p, s)
		for at := range y.looked[p.target] {
			there := y.truth[y.mains[at]][s]
			for _, d := range append(y.others(p, s), d) {
				if at > p.at && there == d.base && there != y.truth[commit][s] && !p.rollback {
					p.back[s] = true
				}
			}
		}
		if !p.rollback && slices.ContainsFunc(y.others(p, s), func(d *deployed) bool { return d.at > p.at }) {
			p.back[s] = true
		}
		// Without a place it was announced for the default workspace.
		d.unsure = d.unsure || y.vague[p.clone+" "+p.target+" "+s] && (p.workspace == "" || p.fresh)
		p.due[s] = y.elsewhere(p, s)
		p.wanted[s] = (d.content != y.want(p, s) || d.half || d.owed || d.unsure) && (p.rollback || d.at <= p.at)
	}
	if y.looked[p.target] == nil {
		y.looked[p.target] = map[int]bool{}
	}
	y.looked[p.target][p.at] = true
	argv := append([]string{"tmnotes", "run", "--pending", "--op", "deploy", "--target", p.target, "-X", "-j2"}, flags...)
	if p.rollback {
		argv = append(argv, "--allow-rollback")
	}
	if p.retry {
		argv = append(argv, "--retry", "1")
	}
	p.cmd = y.command(p.clone, append(argv, "--", "provision")...)
	slow := ""
	if p.kill || p.shared {
		slow = "0.05"
	}
	// Who was killed is waited for as long as its lease.
	p.cmd.Env = append(slices.Clone(y.env), "TMNOTES_LEASE=3s", "PIPELINE="+strconv.Itoa(p.id), "TARGET="+p.target, "ROOT="+y.path(p.clone), "SLOW="+slow, "TF_VAR_tag="+p.tag, "INIT_WORKSPACE="+p.workspace, "INIT_BACKEND="+p.backend)
	if p.stale {
		p.cmd.Env = append(p.cmd.Env, "TMNOTES_NETWORK_TIMEOUT=4s") // it will not catch up
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.out = &syncBuffer{}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		y.Fatal(err)
	}
}

// end waits for the pipelines, or kills them, and compares what they did with
// what was to be done.
func (y *year) end(pipes ...*pipeline) {
	y.Helper()
	for _, p := range pipes {
		if !p.kill {
			_ = p.cmd.Wait()
			continue
		}
		ended := make(chan struct{})
		go func() { _ = p.cmd.Wait(); close(ended) }()
		over := func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		after := time.Duration(y.random.Int64N(int64(400 * time.Millisecond)))
		if y.random.IntN(3) > 0 { // rather while stacks are deployed
			after /= 2
			y.await("a deployment, or the end", func() bool { return over() || y.atWork(p) })
		}
		select {
		case <-time.After(after):
			killSession(y.world, &exec.Cmd{Process: p.cmd.Process})
			<-ended
			y.happened["kills"]++
		case <-ended:
			p.kill = false
		}
	}
	y.follow(pipes)
	for _, p := range pipes {
		y.judge(p)
	}
	for _, p := range pipes {
		for _, d := range p.tells {
			// Whether another that was at work meanwhile saw that, is chance.
			d.unsure = d.unsure || len(pipes) > 1
		}
	}
}

// ledger is what was written into it since it was last followed.
func (y *year) ledger() string {
	y.Helper()
	b, err := os.ReadFile(y.path("ledger"))
	if err != nil && !os.IsNotExist(err) {
		y.Fatal(err)
	}
	return string(b[min(y.read, len(b)):])
}

func (y *year) atWork(p *pipeline) bool {
	return strings.Contains("\n"+y.ledger(), fmt.Sprintf("\n%d start ", p.id))
}

// follow reads what was executed.
func (y *year) follow(pipes []*pipeline) {
	y.Helper()
	news := y.ledger()
	for line := range strings.Lines(news) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		i := slices.IndexFunc(pipes, func(p *pipeline) bool { return strconv.Itoa(p.id) == f[0] })
		if i < 0 || len(f) != 5 {
			y.fatalf("the ledger says %q", line)
		}
		p, what, stack, place, content := pipes[i], f[1], f[2], f[3], f[4]
		d := y.of(p, stack)
		if want := y.want(p, stack); content != want || place != p.place(p.target) {
			y.fatalf("%s of %s: deploys %q to %s, and is made of %q", p.target, stack, content, place, want)
		}
		switch what {
		case "start":
			why := ""
			switch {
			case d.at > p.at && !p.rollback && !p.shared && !d.unsure:
				y.fatalf("%s in %s: a later commit was deployed already (%d, this is %d)\n%s", stack, p.target, d.at, p.at, p.out)
			case p.fail[stack]:
				why = "again"
			case d.content != content:
				why = "differs"
			case d.half:
				why = "half"
			case d.owed:
				why = "owed"
			case p.shared:
				why = "by two at once"
			case d.unsure:
				why = "unsure"
			case y.elsewhere(p, stack):
				why = "due at another place"
			default:
				y.fatalf("%s in %s: executed with inputs already deployed: %q, by pipeline %d\n%s\n%s", stack, p.target, content, p.id, p.out, y.about(p, stack))
			}
			y.executed[why]++
			p.begun, d.half = true, true
		case "ok":
			p.ok[stack] = true
			*d = deployed{content: content, base: y.truth[y.mains[p.at]][stack], at: p.at, unsure: p.kill || p.shared}
		case "failed":
			p.fail[stack] = true
		}
	}
	y.read += len(news)
}

// blocked says whether something that the stack comes after failed.
func (p *pipeline) blocked(stack string) bool {
	return slices.ContainsFunc(yearPaths, func(s string) bool {
		// A stack comes after those that it is nested in; to be after a folder
		// is to be after all in it.
		after := strings.HasPrefix(stack, s+"/") || yearStacks[stack] != "" && strings.HasPrefix(s+"/", yearStacks[stack]+"/")
		return after && (p.fail[s] || p.blocked(s))
	})
}

// doubt says that nobody can tell what a pipeline has done.
func (y *year) doubt(p *pipeline, d *deployed) {
	d.unsure = true
	if p.kill && !p.begun {
		// It may have been killed before the remote knew what it queued. When
		// this comes to light, nobody can tell whether it was executed.
		y.hidden[p.clone] = append(y.hidden[p.clone], d)
	}
	if p.kill {
		// What it had announced, others take for the plan of a pipeline that is at
		// work, and of no concern to what they do meanwhile.
		y.vanished[p.clone] = append(y.vanished[p.clone], d)
	}
}

// judge says whether a pipeline did what was to be done, and notes what it
// left undone.
func (y *year) judge(p *pipeline) {
	y.Helper()
	for _, s := range yearPaths {
		// Where the place is not known it may have been announced for another one, and
		// blocked or killed there.
		in := y.others(p, s)
		if p.due[s] && !p.wanted[s] {
			in = append(in, y.of(p, s))
		}
		if (p.due[s] || p.wanted[s]) && (p.kill || !p.ok[s] && !p.fail[s]) {
			for _, d := range in {
				y.doubt(p, d)
			}
			// Nor is it known of a place that is yet to come.
			y.vague[p.clone+" "+p.target+" "+s] = p.fresh && p.kill
		} else if p.ok[s] && p.workspace == "" {
			delete(y.vague, p.clone+" "+p.target+" "+s)
		}
		switch d := y.of(p, s); {
		case !p.wanted[s], p.stale:
		case p.kill || p.shared:
			y.doubt(p, d)
		case !p.ok[s] && !p.fail[s] && p.back[s]:
			d.unsure = true // left alone, or blocked
		case !p.ok[s]:
			if !d.unsure && !p.fail[s] && !p.blocked(s) {
				y.fatalf("%s in %s: forgotten; it is to be %q, and %q is deployed (half: %v)\n%s\n%s", s, p.target, y.want(p, s), d.content, d.half, p.out, y.about(p, s))
			}
			d.owed = true
		}
	}
	if p.kill {
		return
	}
	if p.stale {
		// It is kept from executing anything, or finds nothing to do in what it sees.
		if code := p.cmd.ProcessState.ExitCode(); p.begun || code != 0 && code != exitUsage {
			y.fatalf("exit code %d of a pipeline that read what is old\n%s", code, p.out)
		}
		return
	}
	if len(p.ok)+len(p.fail) > 0 {
		delete(y.hidden, p.clone) // now it is pushed
	}
	switch code := p.cmd.ProcessState.ExitCode(); {
	case code == exitFailed && len(p.fail) > 0, p.shared && (code == 0 || code == exitFailed):
	case code != 0:
		y.fatalf("exit code %d, and %d stacks failed\n%s", code, len(p.fail), p.out)
	default:
		for _, s := range yearPaths {
			d := y.of(p, s)
			if d.at > p.at || p.back[s] && !p.ok[s] {
				continue // superseded
			}
			if want := y.want(p, s); d.content != y.applied(p, s) {
				y.fatalf("%s in %s: the ledger says %q, the state %q", s, p.target, d.content, y.applied(p, s))
			} else if d.content != want || d.half {
				y.fatalf("%s in %s: all is well, and %q is deployed (half: %v, unsure: %v), not %q\n%s\n%s", s, p.target, d.content, d.half, d.unsure, want, p.out, y.about(p, s))
			}
			d.owed, d.unsure = false, false
			y.vanished[p.clone] = slices.DeleteFunc(y.vanished[p.clone], func(v *deployed) bool { return v == d })
		}
	}
}

// A year of a project with three targets, in which `run --pending` is the whole
// pipeline: whatever is committed, and however pipelines end, everything gets
// deployed, and nothing twice. What was deployed is known from the deployments
// themselves, not from the notes.
//
// Executed again with inputs that were deployed may be what a kill, or another
// pipeline on the same target at the same time, left in doubt (unsure), what
// failed on the way to others (half), and what was blocked on the way to others
// (owed): as long as the latest record is no success, the inputs do not count.
func TestYear(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to kill a session")
	}
	steps := 150
	if testing.Short() {
		steps = 40
	}
	seed := *yearSeed
	if seed == 0 {
		seed = anySeed()
	}
	t.Logf("-year %d", seed)
	y := &year{world: newWorld(t), random: rand.New(rand.NewPCG(seed, 0)), truth: map[string]map[string]string{}, real: map[string]*deployed{}, hidden: map[string][]*deployed{}, vanished: map[string][]*deployed{}, vague: map[string]bool{}, looked: map[string]map[int]bool{}, happened: map[string]int{}, executed: map[string]int{}, around: map[string]surroundings{}, reverted: map[int][]int{}}
	y.script("provision", provision)
	y.found()
	begin := time.Now()
	for y.step = 1; y.step <= steps; y.step++ {
		if time.Since(begin) > 2*time.Minute {
			t.Logf("this machine is slow: %d steps will do", y.step)
			break
		}
		y.push()
		y.faults()
		y.moves()
		y.day()
		if !testing.Short() || y.step%8 == 0 {
			y.where()
		}
	}
	t.Logf("%d commits, %d of them of main; %d pipelines; %v; executed: %v", y.version, len(y.mains), y.pipes, y.happened, y.executed)
	for _, what := range []string{"squash merges", "merges", "cherry-picks", "reverts", "rollbacks", "late pipelines", "kills", "workspaces", "backends", "values", "ignored code", "caches", "asked where", "there"} {
		if y.happened[what] == 0 && y.step > 100 {
			t.Errorf("there were no %s in this year, which says little", what)
		}
	}

	if err := os.RemoveAll(y.path("faults")); err != nil {
		t.Fatal(err)
	}
	for _, target := range yearTargets {
		var p *pipeline
		for i, clone := range []string{"ci0", "ci1", "ci0"} {
			p = &pipeline{clone: clone, target: target, at: len(y.mains) - 1}
			y.begin(p)
			y.end(p)                     // all is deployed, or this says what is not
			if i == 2 && len(p.ok) > 0 { // the second may know of what was in doubt
				t.Errorf("%s: deployed again: %v\n%s", target, p.ok, p.out)
			}
		}
		for _, s := range yearPaths {
			if got := y.applied(p, s); got != y.want(p, s) {
				t.Errorf("%s in %s: deployed is %q, not %q", s, target, got, y.want(p, s))
			}
		}
		cmd := y.command("ci0", "tmnotes", "list", "--pending", "--why", "--target", target)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || len(out) > 0 {
			t.Errorf("%s: pending: %v\n%s%s", target, err, out, &stderr)
		}
	}
	for _, repo := range []string{"ci0", "ci1", "ci2", "work.git"} {
		y.run(repo, "git", "fsck", "--no-dangling", "--no-progress")
		y.run(repo, "tmnotes", "check")
	}
}

// day runs the pipelines of a push.
func (y *year) day() {
	y.Helper()
	head := len(y.mains) - 1
	ago := func() int { return max(0, head-1-y.random.IntN(6)) }
	clone := y.random.IntN(2)
	next := func() *pipeline {
		clone = 1 - clone
		return &pipeline{clone: fmt.Sprint("ci", clone), target: yearTargets[y.random.IntN(len(yearTargets))], at: head, retry: y.random.IntN(3) == 0, fresh: y.random.IntN(6) == 0}
	}
	a := next()
	switch y.random.IntN(12) {
	default:
		y.begin(a)
		y.end(a)
	case 0: // rolled back
		y.happened["rollbacks"]++
		a.at, a.rollback = ago(), true
		y.begin(a)
		y.end(a)
	case 1: // a late one
		y.happened["late pipelines"]++
		a.at = ago()
		y.begin(a)
		y.end(a)
	case 8: // it fetches from a cache
		y.happened["caches"]++
		a.clone, a.fresh = "ci2", false
		a.stale = y.cache(a.clone, y.random.IntN(2) == 0)
		a.at = y.cached
		y.begin(a)
		y.end(a)
	case 2, 3:
		a.kill = true
		y.begin(a)
		y.end(a)
		if y.random.IntN(3) == 0 { // the machine is gone, too
			if err := os.RemoveAll(y.path(a.clone)); err != nil {
				y.Fatal(err)
			}
			y.run(".", "git", "clone", "-q", "work.git", a.clone)
			delete(y.hidden, a.clone)
			delete(y.vanished, a.clone)
		}
	case 4, 5, 6, 7: // two at once
		b := next()
		if y.random.IntN(3) == 0 {
			b.target = a.target
		}
		a.shared = a.target == b.target
		b.shared = a.shared
		y.happened["two at once"]++
		b.kill = y.random.IntN(4) == 0
		y.begin(a)
		y.begin(b)
		y.end(b, a)
	}
}
