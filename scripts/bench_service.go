//go:build ignore

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// service measures what a long history costs where it is read most often: a project of 10,000
// stacks on 5 levels, of which each pipeline deployed thirty, and 300 are pending. Every job of a
// pipeline begins with a clone that has no notes; a machine that is kept has those of yesterday.
func (b *bench) service() {
	stacks := b.n(10000)
	name := fmt.Sprintf("a service of %d stacks", stacks)
	if !b.want(name) {
		return
	}
	var all []serviceFigures
	fmt.Printf("%s, 30 of them deployed by each pipeline:\n", name)
	fmt.Printf("  %10s %10s %12s %14s %14s %14s %14s %14s\n", "pipelines", "results", "notes, MB", "fetch all", "fetch one", "first matrix", "next matrix", "CPU of that")
	for _, pipelines := range []int{b.n(10), b.n(100), b.n(1000)} {
		f := b.servicePipelines(stacks, pipelines)
		all = append(all, f)
		ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
		fmt.Printf("  %10d %10d %12.2f %14s %14s %14s %14s %14s\n", f.pipelines, f.records, float64(f.size)/1e6, ms(f.fetch), ms(f.more), ms(f.cold), ms(f.again), ms(f.work))
	}
	first, last := all[0], all[len(all)-1]
	b.row(name+": bytes a result, all of history", float64(last.size)/float64(last.records), 100, "B", "")
	b.row(name+fmt.Sprintf(": CPU of a matrix after %d pipelines / after %d", last.pipelines, first.pipelines), float64(last.work)/float64(first.work), 1.3, "x", "")
}

// serviceFigures are what it costs after so many pipelines.
type serviceFigures struct {
	pipelines, records       int
	size                     int64 // of the notes, packed, in bytes
	fetch, more, cold, again time.Duration
	work                     time.Duration // of the processors, for again: it says more where the machine has other things to do
}

func (b *bench) servicePipelines(stacks, pipelines int) serviceFigures {
	dir := b.deployed(fmt.Sprintf("service-%d", pipelines), stacks, pipelines)
	origin := filepath.Join(b.dir, fmt.Sprintf("service-%d.git", pipelines))
	b.git(b.dir, "clone", "-q", "--mirror", dir, origin)
	b.git(origin, "gc", "-q", "--prune=now")
	f := serviceFigures{pipelines: pipelines, records: stacks + 30*pipelines}
	used, err := strconv.ParseInt(strings.TrimSpace(b.git(origin, "rev-list", "--disk-usage", "--objects", "refs/notes/tmnotes")), 10, 64)
	if err != nil {
		fatal(err)
	}
	f.size = used
	matrix := []string{*tmnotes, "matrix", "--pending", "--jobs", "8", "--format", "json", "--", "terraform", "apply"}
	var fetch, more, cold, again, work []time.Duration
	for i := range *pairs {
		clone := filepath.Join(b.dir, "clone")
		os.RemoveAll(clone)
		b.git(b.dir, "clone", "-q", "--single-branch", "file://"+origin, clone)
		fetch = append(fetch, b.must(clone, *tmnotes, "fetch"))
		cold = append(cold, b.must(clone, matrix...))
		next := exec.Command(matrix[0], matrix[1:]...)
		next.Dir = clone
		start := time.Now()
		if out, err := next.CombinedOutput(); err != nil {
			fatal(err, string(out))
		}
		again, work = append(again, time.Since(start)), append(work, next.ProcessState.UserTime()+next.ProcessState.SystemTime())
		pending := map[int]bool{}
		for l := range min(300, stacks) {
			pending[changed(pipelines, l, stacks)] = true
		}
		list := exec.Command(*tmnotes, "list", "--pending", "--sync=off")
		list.Dir = clone
		if out, err := list.Output(); err != nil || strings.Count(string(out), "\n") != len(pending) {
			fatal(fmt.Sprintf("%d stacks are pending, and not %d as they should: %v", strings.Count(string(out), "\n"), len(pending), err))
		}
		// Somebody else deploys one stack.
		b.must(dir, *tmnotes, "mark", "--sync=off", "--reason", fmt.Sprint("another ", i), "/g0/s1")
		b.git(dir, "push", "-q", "-f", origin, "refs/notes/tmnotes")
		more = append(more, b.must(clone, *tmnotes, "fetch"))
	}
	f.fetch, f.more, f.cold, f.again, f.work = median(fetch), median(more), median(cold), median(again), median(work)
	os.RemoveAll(dir)
	os.RemoveAll(origin)
	return f
}

// deployed makes a project whose commits each changed thirty stacks, with the notes of a pipeline on
// each: two pushes, one that announces it and one with its results. The last commit, that
// changes 300, has none.
func (b *bench) deployed(name string, stacks, pipelines int) string {
	dir := filepath.Join(b.dir, name)
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	width := min(30, stacks)
	b.commitPipelines(dir, stacks, pipelines, width, nil)
	digests := b.digests(dir, stacks)
	commits := strings.Fields(b.git(dir, "rev-list", "--reverse", "main"))
	pipeline := make(map[int]int, stacks) // that deployed the stack last; 0 is the first commit
	for p := range pipelines {
		for l := range width {
			pipeline[changed(p, l, stacks)] = p + 1
		}
	}
	last := map[int]string{}
	b.fastImport(dir, func(w *bufio.Writer) {
		for p := range pipelines + 1 {
			deployed := map[int]bool{}
			for i := range stacks {
				if p == 0 {
					deployed[i] = true
				} else if i < width {
					deployed[changed(p-1, i, stacks)] = true
				}
			}
			announced, results := pipelineRecords(p, deployed, last, func(i int, run string) string {
				if pipeline[i] == p {
					return digests["/"+stackPath(i)]
				}
				return "1:" + note.Digest(stackPath(i) + run)[:24]
			})
			writeNote(w, commits[p], announced)
			writeNote(w, commits[p], results)
		}
	})
	return dir
}

const deployer = "B <b@example.com>"

func stackPath(i int) string { return fmt.Sprintf("g%d/s%d", i/50, i) }

// commitPipelines makes the commits: that of the project, with what more its stacks have, that of each
// pipeline, and the last.
func (b *bench) commitPipelines(dir string, stacks, pipelines, width int, more func(i int) string) {
	b.fastImport(dir, func(w *bufio.Writer) {
		blob := func(path, text string) { fmt.Fprintf(w, "M 100644 inline %s\ndata %d\n%s\n", path, len(text), text) }
		fmt.Fprintf(w, "commit refs/heads/main\nmark :1\ncommitter %s 1700000000 +0000\ndata 1\n1\n", deployer)
		for i := range stacks {
			after := ""
			if i%50 >= 10 {
				after = fmt.Sprintf("  after = [\"/%s\"]\n", stackPath(i-10))
			}
			blob(stackPath(i)+"/stack.tm", fmt.Sprintf("stack {\n  name = \"s%d\"\n  id   = %q\n%s}\n", i, uuid(i), after))
			blob(stackPath(i)+"/main.tf", "# 1\n")
			if more != nil {
				blob(stackPath(i)+"/more.tf", more(i))
			}
		}
		for p := range pipelines + 1 {
			n := width
			if p == pipelines {
				n = min(300, stacks)
			}
			fmt.Fprintf(w, "commit refs/heads/main\nmark :%d\ncommitter %s %d +0000\ndata 1\nc\nfrom :%d\n", p+2, deployer, 1700000000+(p+1)*600, p+1)
			for l := range n {
				blob(stackPath(changed(p, l, stacks))+"/main.tf", fmt.Sprintf("# %d\n", p+2))
			}
		}
	})
}

// digests are those that tmnotes finds at the commit before the last.
func (b *bench) digests(dir string, stacks int) map[string]string {
	b.git(dir, "checkout", "-q", "--detach", "main~1")
	b.must(dir, *tmnotes, "adopt", "--all", "--sync=off", "--reason", "digests")
	s, err := gitstate.Open(context.Background(), gitstate.Options{Dir: dir})
	if err != nil {
		fatal(err)
	}
	lines, err := s.Note(strings.TrimSpace(b.git(dir, "rev-parse", "HEAD")))
	if err != nil {
		fatal(err)
	}
	s.Close()
	digests := map[string]string{}
	for _, l := range lines {
		if l.Record.Inputs != "" {
			digests[l.Record.Stack] = l.Record.Inputs
		}
	}
	if len(digests) != stacks {
		fatal(len(digests), "stacks were adopted")
	}
	os.RemoveAll(filepath.Join(dir, ".git", "tmnotes"))
	b.git(dir, "update-ref", "-d", "refs/notes/tmnotes")
	b.git(dir, "checkout", "-q", "main")
	return digests
}

// pipelineRecords are what a pipeline announces, and what comes of it. last is the run that
// deployed each stack before.
func pipelineRecords(p int, deployed map[int]bool, last map[int]string, inputs func(i int, run string) string) (announced, results []note.Record) {
	run, at := fmt.Sprintf("01KA%022d", p), time.Unix(int64(1700000000+p*600+60), 0).UTC()
	head := note.Record{At: at, Event: note.Started, Op: "deploy", Run: run, Stacks: len(deployed), CommitTime: at.Unix() - 60,
		By: "Alice <alice@example.com>", Job: fmt.Sprintf("https://ci.example.com/acme/infra/runs/%d", p), Attempt: 1, Cmd: "terraform apply -auto-approve", Version: 1}
	announced, results = []note.Record{head}, []note.Record{head}
	for i := range deployed {
		r := note.Record{At: at.Add(time.Millisecond), Status: note.Queued, Op: "deploy", Stack: "/" + stackPath(i), ID: uuid(i), Variant: "2c03bf52", Run: run}
		if last[i] != "" {
			r.Prev = []string{last[i]}
		}
		last[i] = run
		announced = append(announced, r)
		exit := 0
		r.At, r.Status, r.Exit, r.Took = at.Add(time.Duration(i%300+1)*time.Second), note.OK, &exit, time.Duration(5+i*7919%300)*time.Second
		r.Inputs = inputs(i, run)
		results = append(results, r)
	}
	return announced, append(results, note.Record{At: at.Add(310 * time.Second), Event: note.Finished, Run: run, OK: len(deployed)})
}

// changed is which stack a pipeline's commit changed as its l-th: some are changed often.
func changed(p, l, stacks int) int {
	if l%3 == 0 {
		return (l * 17) % stacks
	}
	return (p*7919 + l*331) % stacks
}
