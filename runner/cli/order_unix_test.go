//go:build unix

package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// gated is a deployment that waits until the test lets it go on. What is deployed is
// the stack's value.
const gated = `job=${PWD#"$WORK"/} job=${job%%/*} stack=${PWD##*/}
touch "$WORK/at.$job.$stack"
until test -e "$WORK/go.$job.$stack"; do sleep 0.02; done
echo "$job $stack $(cat value)" >>"$WORK/deployed.${job%.*}"
cat value >"$WORK/live.${job%.*}.$stack"
`

// Pipelines of a few commits overlap in all ways, and stacks change and change back
// between them: at the end the newest commit is what is deployed, of every stack.
func TestPipelinesOverlap(t *testing.T) {
	t.Parallel()
	rounds := 4
	if os.Getenv("TMNOTES_LONG_TESTS") != "" {
		rounds = 40
	}
	if testing.Short() {
		rounds = 1
	}
	seed := anySeed()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	w.script("gated", gated)
	for round := range rounds {
		overlap(t, w, random, fmt.Sprint("round", round))
	}
}

func overlap(t *testing.T, w *world, random *rand.Rand, name string) {
	stacks := []string{"s0", "s1", "s2"}
	w.project(name, "/s0", "/s1", "/s2:/s0")
	var plan strings.Builder // to be printed if it fails
	say := func(format string, args ...any) { fmt.Fprintf(&plan, format+"\n", args...) }
	set := func(values []int) {
		for i, v := range values {
			if err := os.WriteFile(w.path(name, stacks[i], "value"), fmt.Appendln(nil, v), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		say("commit %v", values)
		w.commit(name, fmt.Sprint(values))
		w.run(name, "git", "push", "-q", "origin", "main")
	}
	open := func(job, stack string) {
		if err := os.WriteFile(w.path("go."+job+"."+stack), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{"run", "-X", "--pending", "--init", "-j3", "--lease", "20s", "--op", "deploy", "--", "gated"}
	values := []int{0, 0, 0}
	set(values)
	for _, s := range stacks {
		open(name, s)
	}
	w.run(name, append([]string{"tmnotes"}, argv...)...)

	// Each commit's job has its clone from when the commit was pushed.
	var jobs []string
	for i := range 2 + random.IntN(2) {
		for k := range values {
			values[k] = random.IntN(2)
		}
		set(values)
		jobs = append(jobs, fmt.Sprintf("%s.%d", name, i))
		w.run(".", "git", "clone", "-q", w.path(name+".git"), w.path(jobs[i]))
	}
	// They start in any order, and what they do may take long.
	type step struct{ job, stack string }
	var steps []step
	for _, job := range jobs {
		steps = append(steps, step{job: job})
		for _, s := range stacks {
			steps = append(steps, step{job, s})
		}
	}
	random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	var end []func()
	for _, s := range steps {
		if s.stack == "" {
			say("start %s", s.job)
			cmd, out := w.start(s.job, argv...)
			end = append(end, func() {
				if err := cmd.Wait(); err != nil {
					t.Errorf("%s: %v", s.job, err)
				}
				say("%s said:\n%s", s.job, out)
			})
		} else {
			say("let %s go on in %s", s.job, s.stack)
			open(s.job, s.stack)
		}
		time.Sleep(time.Duration(random.Int64N(int64(800 * time.Millisecond)))) // any time is right
	}
	for _, f := range end {
		f()
	}
	for i, s := range stacks {
		b, err := os.ReadFile(w.path("live." + name + "." + s))
		if got := strings.TrimSpace(string(b)); err != nil || got != fmt.Sprint(values[i]) {
			t.Errorf("%s: %s stands in %s, not %d: %v", name, got, s, values[i], err)
		}
	}
	if t.Failed() {
		b, _ := os.ReadFile(w.path("deployed." + name))
		t.Fatalf("%s\ndeployed:\n%s\n%s", plan.String(), b, w.notes(name+".git"))
	}
}
