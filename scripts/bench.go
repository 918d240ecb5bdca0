//go:build ignore

// Bench measures tmnotes against its peers and prints a table. Both sides of a
// ratio are measured here, in turn (A B A B ...), so that a machine that is
// slow at the moment is slow for both; a ratio is the median of the pairs'.
//
// It is started by scripts/bench, which builds both programs.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

var (
	tmnotes   = flag.String("tmnotes", "", "path of tmnotes")
	terramate = flag.String("terramate", "", "path of the stock terramate")
	pairs     = flag.Int("pairs", 5, "how often each pair is measured")
	only      = flag.String("only", "", "run only the measures whose names contain this")
	scale     = flag.Float64("scale", 1, "size of the projects, 1 is what the limits are for")
	table     = flag.String("table", "", "`FILE` of the manual whose table is replaced by what is measured")
)

func main() {
	flag.Parse()
	dir, err := os.MkdirTemp("", "tmnotes-bench-")
	if err != nil {
		fatal(err)
	}
	b := &bench{dir: dir}
	code := b.run()
	os.RemoveAll(dir)
	if *table != "" {
		if *only != "" || *scale != 1 {
			fatal("-table is for all measures in full size")
		}
		if err := b.intoManual(*table); err != nil {
			fatal(err)
		}
	}
	os.Exit(code)
}

func fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"bench:"}, args...)...)
	os.Exit(2)
}

type bench struct {
	dir    string
	missed int
	rows   []string // of the manual's table
}

// row prints a measure with what is to be reached.
func (b *bench) row(name string, got, limit float64, unit, detail string) {
	verdict := "ok"
	if got > limit {
		verdict = "MISSED"
		b.missed++
	}
	fmt.Printf("%-62s %9.3f %-4s (<= %g) %-6s %s\n", name, got, unit, limit, verdict, detail)
	figure := fmt.Sprintf("%.3g %s", got, unit)
	if got > limit {
		figure = "**" + figure + "**"
	}
	b.rows = append(b.rows, fmt.Sprintf("| %s | %s | %.3g %s |\n", strings.ReplaceAll(name, "|", `\|`), figure, limit, unit))
}

func (b *bench) want(name string) bool { return strings.Contains(name, *only) }

func (b *bench) run() int {
	fmt.Printf("%s, %d CPUs; medians of %d pairs, one warm-up\n", runtime.Version(), runtime.NumCPU(), *pairs)
	n1, n5 := b.n(1000), b.n(5000)
	p1 := b.project("p1000", n1)

	if name := fmt.Sprintf("run -j2 of `true`, %d stacks, all recorded / terramate run", n1); b.want(name) {
		commit := func() { b.git(p1, "commit", "-q", "--allow-empty", "-m", "next") }
		r := b.pair(p1, commit,
			[]string{*tmnotes, "run", "-X", "-j2", "--sync=off", "--op", "deploy", "--", "true"},
			[]string{*terramate, "run", "-X", "-j2", "--quiet", "--", "true"})
		b.row(name, r.ratio, 1.0, "x", r.String())
		b.recorded(p1, n1)
	}
	b.live(p1, n1)
	if name := fmt.Sprintf("list --changed, %d stacks / terramate list --changed", n1); b.want(name) {
		r := b.pair(p1, nil, []string{*tmnotes, "list", "--changed", "-B", "first"}, []string{*terramate, "list", "--changed", "-B", "first"})
		b.row(name, r.ratio, 0.9, "x", r.String())
	}
	p5 := b.project("p5000", n5)
	if name := fmt.Sprintf("list --changed, %d stacks / terramate list --changed", n5); b.want(name) {
		r := b.pair(p5, nil, []string{*tmnotes, "list", "--changed", "-B", "first"}, []string{*terramate, "list", "--changed", "-B", "first"})
		b.row(name, r.ratio, 0.9, "x", r.String())
	}
	if name := fmt.Sprintf("run --changed --dry-run, %d stacks / terramate run --dry-run", n5); b.want(name) {
		r := b.pair(p5, nil, []string{*tmnotes, "run", "-X", "--changed", "-B", "first", "--dry-run", "--quiet", "--", "true"},
			[]string{*terramate, "run", "-X", "--changed", "-B", "first", "--dry-run", "--quiet", "--", "true"})
		b.row(name, r.ratio, 0.6, "x", r.String())
	}
	b.pending(n5)
	if name := "start of tmnotes version, over true"; b.want(name) {
		r := b.pair(p1, nil, []string{*tmnotes, "version"}, []string{"true"})
		b.row(name, (r.a-r.b).Seconds()*1000, 20, "ms", r.String())
	}
	if name := fmt.Sprintf("tmnotes exec --op deploy -- true, %d stacks, over true", n5); b.want(name) {
		stack := filepath.Join(p5, "g0", "s0")
		r := b.pair(stack, func() { b.git(p5, "commit", "-q", "--allow-empty", "-m", "next") },
			[]string{*tmnotes, "exec", "--op", "deploy", "--", "true"}, []string{"true"})
		b.row(name, (r.a-r.b).Seconds()*1000, 40, "ms", r.String())
	}
	b.oneRecord()
	b.preview()
	b.status()
	b.bytes()
	b.memory()
	b.cloud()
	b.service()
	b.records()
	b.redaction()
	b.growth()
	b.claims()
	b.where()
	b.signed()
	if b.missed > 0 {
		fmt.Printf("%d missed\n", b.missed)
		return 1
	}
	return 0
}

func (b *bench) n(n int) int { return max(int(float64(n)**scale), 4) }

// live compares a run with a view with one without, both on a terminal.
func (b *bench) live(dir string, n int) {
	name := fmt.Sprintf("run -j2 --output=live of `true`, %d stacks / --output=stream", n)
	if !b.want(name) {
		return
	}
	run := func(output string) []string {
		return []string{*tmnotes, "run", "-X", "-j2", "--sync=off", "--op", "deploy", "--output", output, "--", "true"}
	}
	// The limit is so near to 1 that it takes more pairs to tell.
	r := b.measure(4**pairs+1, nil, func(argv []string) time.Duration {
		b.git(dir, "commit", "-q", "--allow-empty", "-m", "next") // or the second has nothing to do
		return b.onTerminal(dir, argv)
	}, run("live"), run("stream"))
	b.row(name, r.ratio, 1.02, "x", r.String())
	b.recorded(dir, n)
}

// onTerminal runs a command whose terminal is read as fast as it writes.
func (b *bench) onTerminal(dir string, argv []string) time.Duration {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TERM=xterm-256color")
	start := time.Now()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 120, Rows: 40})
	if err != nil {
		fatal(argv, err)
	}
	defer tty.Close()
	go func() { _, _ = io.Copy(io.Discard, tty) }()
	if err := cmd.Wait(); err != nil {
		fatal(argv, err)
	}
	return time.Since(start)
}

// pending compares list --pending with list --changed, over stacks that each call one
// of 20 modules and were deployed at 500 different commits.
func (b *bench) pending(n int) {
	commits := min(500, n)
	name := fmt.Sprintf("list --pending, %d stacks, 20 modules, %d commits / list --changed", n, commits)
	if !b.want(name) {
		return
	}
	dir := b.project("pending", n)
	for i := range 20 {
		write(filepath.Join(dir, "modules", fmt.Sprintf("m%d", i), "main.tf"), "resource \"terraform_data\" \"x\" {\n  input = 1\n}\n")
	}
	for i := range n {
		write(filepath.Join(dir, fmt.Sprintf("g%d", i/50), fmt.Sprintf("s%d", i), "modules.tf"), fmt.Sprintf("module \"m\" {\n  source = \"../../modules/m%d\"\n}\n", i%20))
	}
	b.git(dir, "add", "-A")
	b.git(dir, "commit", "-qm", "modules")
	for i := range commits {
		for j := i; j < n; j += commits {
			write(filepath.Join(dir, fmt.Sprintf("g%d", j/50), fmt.Sprintf("s%d", j), "more.tf"), fmt.Sprintf("# %d\n", i))
		}
		b.git(dir, "add", "-A")
		b.git(dir, "commit", "-qm", fmt.Sprint(i))
	}
	// One run at HEAD gives the digests; the records then stand on the commits
	// that last changed their stacks.
	b.must(dir, *tmnotes, "run", "-X", "--pending", "--init", "--quiet", "-j4", "--sync=off", "--op", "deploy", "--", "true")
	spread(dir, commits)
	for i := range 20 {
		write(filepath.Join(dir, fmt.Sprintf("g%d", 0), fmt.Sprintf("s%d", i), "more.tf"), "# pending\n")
	}
	b.git(dir, "commit", "-qam", "last")
	list := exec.Command(*tmnotes, "list", "--pending", "--sync=off")
	list.Dir = dir
	if out, err := list.CombinedOutput(); err != nil || bytes.Count(out, []byte("\n")) != min(20, n) {
		fatal("list --pending should list 20 stacks:", err, string(out))
	}
	r := b.pair(dir, nil, []string{*tmnotes, "list", "--pending", "--sync=off"}, []string{*terramate, "list", "--changed"})
	b.row(name, r.ratio, 0.6, "x", r.String())
	r = b.pair(dir, func() { os.RemoveAll(filepath.Join(dir, ".git", "tmnotes", "cache")) },
		[]string{*tmnotes, "list", "--pending", "--sync=off"}, []string{*terramate, "list", "--changed"})
	b.row(name+", for the first time", r.ratio, 0.6, "x", r.String())
}

// cloud compares a synced run under tmnotes, with a remote, with one of the same
// terramate that syncs nothing and calls nobody.
func (b *bench) cloud() {
	n := b.n(200)
	name := fmt.Sprintf("cloud -- terramate run --sync-deployment, %d stacks / without sync", n)
	if !b.want(name) {
		return
	}
	dir := b.project("cloud", n)
	remote, ssh, config := filepath.Join(b.dir, "cloud.git"), filepath.Join(b.dir, "ssh"), filepath.Join(b.dir, "terramaterc")
	write(config, "disable_checkpoint = true\ndisable_checkpoint_signature = true\ndisable_telemetry = true\n")
	write(ssh, "for last; do :; done\nexec sh -c \"$last\"\n") // the other machine is this one
	os.Setenv("TM_CLI_CONFIG_FILE", config)
	os.Setenv("GIT_SSH_COMMAND", "sh "+ssh)
	b.git(b.dir, "init", "-q", "--bare", remote)
	b.git(dir, "remote", "add", "origin", "ssh://git.example"+remote)
	b.git(dir, "push", "-q", "-u", "origin", "main")
	run := []string{*terramate, "run", "-X", "--quiet", "-j2"}
	r := b.pair(dir, func() { b.git(dir, "commit", "-q", "--allow-empty", "-m", "next") },
		slices.Concat([]string{*tmnotes, "cloud", "--"}, run, []string{"--sync-deployment", "--", "true"}), slices.Concat(run, []string{"--", "true"}))
	b.row(name, r.ratio, 1.5, "x", r.String())
	b.recorded(dir, n)
}

// oneRecord compares a record of a run of many stacks with `git notes append`.
func (b *bench) oneRecord() {
	stacks, notes := b.n(1000), b.n(10000)
	name := fmt.Sprintf("one record while %d stacks finish / git notes append, %d notes", stacks, notes)
	if !b.want(name) {
		return
	}
	dir := b.history("record", notes, 3)
	b.git(dir, "repack", "-adq")
	head := strings.TrimSpace(b.git(dir, "rev-parse", "HEAD"))
	var ratios []float64
	var ours, git time.Duration
	for range *pairs {
		a := recordRun(dir, head, stacks) / time.Duration(stacks)
		start := time.Now()
		const appends = 20
		for i := range appends {
			b.git(dir, "notes", "--ref=tmnotes", "append", "-m", fmt.Sprintf("line %d", i), "HEAD~1")
		}
		g := time.Since(start) / appends
		ratios = append(ratios, float64(a)/float64(g))
		ours, git = a, g
	}
	b.row(name, median(ratios), 1.0/15, "x", fmt.Sprintf("%v / %v", ours, git))
}

// recordRun records what a run of so many stacks does, and is how long that takes.
func recordRun(dir, head string, stacks int) time.Duration {
	ctx := context.Background()
	s, err := gitstate.Open(ctx, gitstate.Options{Dir: dir})
	if err != nil {
		fatal(err)
	}
	st, err := s.State(ctx)
	if err != nil {
		fatal(err)
	}
	run := s.NewRun()
	w := s.Writer(run)
	w.Follow(st)
	exit := 0
	start := time.Now()
	for i := range stacks {
		for _, st := range []note.Status{note.Running, note.OK} {
			r := &note.Record{Status: st, Op: "deploy", Stack: fmt.Sprintf("/g%d/s%d", i/50, i), Run: run, Variant: "00000000"}
			if st == note.OK {
				r.Exit = &exit
			}
			if err := w.AppendLazily(head, r); err != nil {
				fatal(err)
			}
		}
		// As a run does while stacks finish: the disk ten times a second, the
		// notes every two. A stack that takes no time is the worst case; here
		// the notes are written four times for the whole run.
		if i%20 == 19 {
			if err := w.Sync(); err != nil {
				fatal(err)
			}
		}
		if (i+1)%max(stacks/4, 1) == 0 {
			if err := s.Flush(ctx); err != nil {
				fatal(err)
			}
		}
	}
	took := time.Since(start)
	s.Close()
	return took
}

// status compares status with and without history, and with git log.
func (b *bench) status() {
	commits := b.n(10000)
	with := fmt.Sprintf("status, %d annotated commits, with index / with no notes", commits)
	without := fmt.Sprintf("status, %d annotated commits, no index / git log --notes", commits)
	if !b.want(with) && !b.want(without) {
		return
	}
	dir := b.history("status", commits, 3)
	plain := filepath.Join(b.dir, "plain")
	b.git(b.dir, "clone", "-q", "--no-tags", dir, plain)
	b.git(plain, "remote", "remove", "origin")
	index := func() { b.must(dir, *tmnotes, "status") }
	index()
	if b.want(with) {
		r := b.pairIn(nil, []string{*tmnotes, "-C", dir, "status"}, []string{*tmnotes, "-C", plain, "status"}, dir)
		b.row(with, r.ratio, 1.2, "x", r.String())
	}
	if b.want(without) {
		noIndex := func() {
			for _, f := range glob(filepath.Join(dir, ".git", "tmnotes", "index*")) {
				os.Remove(f)
			}
		}
		r := b.pairIn(noIndex, []string{*tmnotes, "-C", dir, "status"}, []string{"git", "-C", dir, "log", "--notes=tmnotes", "--format=%N"}, dir)
		b.row(without, r.ratio, 1, "x", r.String())
	}
}

// bytes measures what a record costs in a repository that git tidied up.
func (b *bench) bytes() {
	stacks, commits := b.n(1000), b.n(100)
	name := fmt.Sprintf("bytes a record after git gc, %d stacks x %d commits", stacks, commits)
	if !b.want(name) {
		return
	}
	dir := filepath.Join(b.dir, "bytes")
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	for range commits {
		b.git(dir, "commit", "-q", "--allow-empty", "-m", "c")
	}
	b.git(dir, "gc", "-q")
	before := size(filepath.Join(dir, ".git", "objects"))
	ctx := context.Background()
	s, err := gitstate.Open(ctx, gitstate.Options{Dir: dir})
	if err != nil {
		fatal(err)
	}
	prev := ""
	records := 0
	for _, c := range strings.Fields(b.git(dir, "rev-list", "--reverse", "HEAD")) {
		run := s.NewRun()
		w := s.Writer(run)
		rs := []*note.Record{{Event: note.Started, Op: "deploy", Run: run, Stacks: stacks, CommitTime: 1795446000, By: "Alice <alice@example.com>", Cmd: "terraform apply -auto-approve", Version: 1}}
		for i := range stacks {
			exit := 0
			r := &note.Record{Status: note.OK, Op: "deploy", Stack: fmt.Sprintf("/g%d/s%d", i/50, i), ID: uuid(i), Exit: &exit,
				Took: time.Duration(1000+(i*7919+records)%20000) * time.Millisecond, Variant: "5d020000", Run: run}
			if prev != "" {
				r.Prev = []string{prev}
			}
			rs = append(rs, r)
			records++
		}
		rs = append(rs, &note.Record{Event: note.Finished, Run: run, OK: stacks})
		if err := w.Append(c, rs...); err != nil {
			fatal(err)
		}
		if err := s.Flush(ctx); err != nil {
			fatal(err)
		}
		prev = run
	}
	s.Close()
	b.git(dir, "gc", "-q", "--prune=now")
	b.row(name, float64(size(filepath.Join(dir, ".git", "objects"))-before)/float64(records), 100, "B", fmt.Sprintf("%d records", records))
}

// memory is the peak of status over a long history.
func (b *bench) memory() {
	commits := b.n(100000)
	name := fmt.Sprintf("peak memory of status, %d annotated commits, no index", commits)
	if !b.want(name) {
		return
	}
	dir := b.history("memory", commits, 3)
	cmd := exec.Command(*tmnotes, "-C", dir, "status")
	if out, err := cmd.CombinedOutput(); err != nil {
		fatal(err, string(out))
	}
	kib := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "darwin" {
		kib /= 1024
	}
	b.row(name, float64(kib)/1024, 300, "MiB", "")
}

type result struct {
	ratio float64
	a, b  time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%v / %v", r.a.Round(time.Millisecond/10), r.b.Round(time.Millisecond/10))
}

func (b *bench) pair(dir string, before func(), x, y []string) result {
	return b.pairIn(before, x, y, dir)
}

// pairIn measures two commands in turn, and takes the median of the ratios.
func (b *bench) pairIn(before func(), x, y []string, dir string) result {
	return b.measure(*pairs, before, func(argv []string) time.Duration { return b.must(dir, argv...) }, x, y)
}

func (b *bench) measure(pairs int, before func(), run func(argv []string) time.Duration, x, y []string) result {
	var as, bs []time.Duration
	var ratios []float64
	for i := range pairs + 1 {
		if before != nil {
			before()
		}
		a := run(x)
		c := run(y)
		if i == 0 {
			continue // warm-up
		}
		as, bs = append(as, a), append(bs, c)
		ratios = append(ratios, float64(a)/float64(c))
	}
	return result{median(ratios), median(as), median(bs)}
}

func median[T int | float64 | time.Duration](v []T) T {
	slices.Sort(v)
	return v[len(v)/2]
}

func (b *bench) must(dir string, argv ...string) time.Duration {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		fatal(argv, err, stderr.String())
	}
	return time.Since(start)
}

func (b *bench) git(dir string, args ...string) string {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		fatal("git", args, err, stderr.String())
	}
	return string(out)
}
