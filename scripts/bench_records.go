//go:build ignore

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
)

// records measures what it costs that stacks were deployed often, all of them by each run: of who
// has an index, of who fetches all records for the first time, and on the disk. To make a million
// records takes minutes, so they are made only where -only asks for this.
func (b *bench) records() {
	stacks := b.n(1000)
	name := fmt.Sprintf("records of %d stacks", stacks)
	if !b.want(name) {
		return
	}
	sizes := []int{b.n(10), b.n(100)}
	if *only != "" {
		sizes = append(sizes, b.n(1000))
	}
	fmt.Printf("%s, all of them deployed by each run, in a clone that has no notes yet:\n", name)
	fmt.Printf("  %10s %10s %12s %12s %12s %14s %12s\n", "records", "fetch, MB", "a record, B", "fetch", "peak, MiB", "first status", "peak, MiB")
	var clones []string
	for _, runs := range sizes {
		f, n := b.firstTime(stacks, runs), stacks*runs
		clones = append(clones, f.clone)
		fmt.Printf("  %10d %10.2f %12.1f %12v %12.0f %14v %12.0f\n", n, float64(f.bytes)/1e6, float64(f.bytes)/float64(n),
			f.fetch.took.Round(time.Millisecond), f.fetch.peak, f.status.took.Round(time.Millisecond), f.status.peak)
	}
	last := len(clones) - 1
	status := func(i int) []string { return []string{*tmnotes, "-C", clones[i], "status"} }
	r := b.measure(2**pairs, nil, func(argv []string) time.Duration { return b.cpu(b.dir, argv...) }, status(last), status(0))
	b.row(fmt.Sprintf("%s: CPU of status, %d / %d", name, stacks*sizes[last], stacks*sizes[0]), r.ratio, 1.2, "x", r.String())
	b.signedBytes(name, stacks, sizes[0])
}

// signedBytes measures what a record costs on the disk where each push of them is signed: of runs that push once,
// and, for the eye, of runs that push as often as those of five minutes do.
func (b *bench) signedBytes(name string, stacks, runs int) {
	bytes := func(pushes int, signed bool) float64 {
		origin := b.recorder(stacks, runs, pushes, signed)
		defer os.RemoveAll(origin)
		b.git(origin, "repack", "-adfq") // fast-import has made deltas that no gc looks at again
		used, err := strconv.ParseInt(strings.TrimSpace(b.git(origin, "rev-list", "--disk-usage", "--objects", "refs/notes/tmnotes")), 10, 64)
		if err != nil {
			fatal(err)
		}
		return float64(used) / float64(stacks*runs)
	}
	often := fmt.Sprintf("%.1f unsigned; of 30 pushes a run %.1f, %.1f unsigned", bytes(1, false), bytes(30, true), bytes(30, false))
	b.row(name+": bytes a record after git gc, signed", bytes(1, true), 100, "B", often)
}

// firstCost is what a clone pays that has no notes yet.
type firstCost struct {
	clone         string
	bytes         int64 // of the pack that the fetch brings
	fetch, status cost
}

type cost struct {
	took time.Duration
	peak float64 // MiB, of the command or of its largest child
}

func (b *bench) firstTime(stacks, runs int) (f firstCost) {
	origin := b.recorder(stacks, runs, 1, false)
	f.clone = filepath.Join(b.dir, fmt.Sprintf("records-%d", runs))
	b.git(b.dir, "clone", "-q", "--single-branch", "file://"+origin, f.clone)
	b.git(f.clone, "config", "fetch.unpackLimit", "1") // what comes stays the pack that came
	packs := func() (n int64) {
		for _, pack := range glob(filepath.Join(f.clone, ".git", "objects", "pack", "*.pack")) {
			n += size(pack)
		}
		return n
	}
	before := packs()
	f.fetch = b.cost(f.clone, *tmnotes, "fetch")
	f.bytes = packs() - before
	f.status = b.cost(f.clone, *tmnotes, "status")
	os.RemoveAll(origin)
	return f
}

func (b *bench) cost(dir string, argv ...string) cost {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		fatal(argv, err, string(out[max(0, len(out)-2000):]))
	}
	took, kib := time.Since(start), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "darwin" {
		kib /= 1024
	}
	return cost{took, float64(kib) / 1024}
}

// recorder makes a bare repository of a project whose stacks were all deployed by each of so many runs, on as
// many commits; there is one more. A run pushes what it announces, and so often what comes of it.
func (b *bench) recorder(stacks, runs, pushes int, signed bool) (origin string) {
	dir := filepath.Join(b.dir, "recorder")
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	b.commitPipelines(dir, stacks, runs-1, min(30, stacks), func(i int) string {
		return fmt.Sprintf("terraform {\n  backend \"s3\" {\n    bucket = \"acme\"\n    key    = %q\n    region = \"eu-central-1\"\n  }\n}\n", stackPath(i))
	})
	m := maker{stacks: stacks, rng: rand.New(rand.NewPCG(1, 2)), digests: b.digests(dir, stacks), backends: backends(dir, stacks)}
	commits := strings.Fields(b.git(dir, "rev-list", "--reverse", "main"))
	b.fastImport(dir, func(w *bufio.Writer) {
		for p := range runs {
			lines, results := m.run(p, commits[p], p == runs-1)
			writeNote(w, commits[p], lines)
			for part := range slices.Chunk(results, (len(results)+pushes-1)/pushes) {
				if lines = append(lines, part...); signed {
					lines = append(lines, m.signature(commits[p], part))
				}
				writeNote(w, commits[p], lines)
			}
		}
	})
	origin = dir + ".git"
	b.git(b.dir, "clone", "-q", "--mirror", dir, origin)
	os.RemoveAll(dir)
	b.git(origin, "gc", "-q", "--prune=now")
	return origin
}

// maker makes the records of runs that each deploy all stacks.
type maker struct {
	stacks   int
	rng      *rand.Rand
	digests  map[string]string // of the last run's commit
	backends []string
	last     string // the run before
}

// backends are those of the stacks, as records name them.
func backends(dir string, stacks int) []string {
	found := make([]string, stacks)
	code := command.NewReader(dir, nil)
	for i := range found {
		at, err := code.Place(command.Surroundings{Dir: filepath.Join(dir, stackPath(i))})
		if err != nil {
			fatal(err)
		}
		block, err := code.Declared(at)
		if err != nil {
			fatal(err)
		}
		found[i] = "s3." + note.Digest(stackPath(i))[:8] + "." + block
	}
	return found
}

// run is what a run announces, and what comes of it: of a hundred stacks one fails and one
// is blocked.
func (m *maker) run(p int, commit string, latest bool) (announced, results []note.Record) {
	at := time.UnixMilli(int64(1700000000+p*600+60)*1000 + m.rng.Int64N(1000)).UTC()
	run := ulid.MustNew(ulid.Timestamp(at), m).String()
	head := note.Record{At: at, Event: note.Started, Op: "deploy", Run: run, Stacks: m.stacks, CommitTime: at.Unix() - 60, By: "Alice <alice@example.com>",
		Job: fmt.Sprintf("https://ci.example.com/acme/infra/runs/%d", p), Attempt: 1, Cmd: "terraform apply -auto-approve", Version: 1}
	head.SayCommit(commit)
	announced = []note.Record{head}
	end := note.Record{At: at.Add(320 * time.Second), Event: note.Finished, Run: run}
	for i := range m.stacks {
		r := note.Record{At: at.Add(time.Millisecond), Status: note.Queued, Op: "deploy", Stack: "/" + stackPath(i), ID: uuid(i), Variant: "2:2c03bf52", Run: run}
		if m.last != "" {
			r.Prev = []string{m.last}
		}
		r.SetBackend(m.backends[i])
		r.SetValues("run.env:AWS_REGION=3f2a91 run.env:TF_VAR_stage=90b1d4")
		announced = append(announced, r)
		r.At = at.Add(time.Duration(i%300)*time.Second + time.Duration(m.rng.IntN(20000))*time.Millisecond)
		m.result(&r, i, latest)
		switch r.Status {
		case note.OK:
			end.OK++
		case note.Failed:
			end.Failed++
		default:
			end.Blocked++
		}
		results = append(results, r)
	}
	m.last = run
	slices.SortFunc(results, func(a, b note.Record) int { return a.At.Compare(b.At) })
	return announced, append(results, end)
}

func (m *maker) result(r *note.Record, i int, latest bool) {
	exit := 0
	if r.Inputs = m.digests[r.Stack]; !latest {
		r.Inputs = "2:" + hex.EncodeToString(m.bytes(12))
	}
	switch m.rng.IntN(100) {
	case 0:
		r.Status, exit = note.Failed, 1
		r.Reason = fmt.Sprintf("Error: waiting for the instance i-%08x to be ready: timeout while waiting for state (main.tf:%d)", m.rng.Uint32(), i%90+1)
	case 1:
		r.Status, r.Cause, r.Inputs = note.Blocked, "/"+stackPath((i+1)%m.stacks), ""
		return
	default:
		r.Status = note.OK
	}
	r.Exit, r.Took = &exit, (time.Duration(5+i*7919%300)*time.Second + time.Duration(m.rng.IntN(5000))*time.Millisecond).Round(100*time.Millisecond)
}

// signature is a line that vouches for all results of a push, with chance in the place of the signature.
func (m *maker) signature(commit string, results []note.Record) note.Record {
	end := results[len(results)-1]
	var lines []string
	for i := range results {
		line, err := results[i].Line()
		if err != nil {
			fatal(err)
		}
		lines = append(lines, line)
	}
	r := note.Vouch(note.Record{At: end.At, Run: end.Run}, "github.com/acme/infra", "SHA256:"+base64.RawStdEncoding.EncodeToString(make([]byte, 32)), lines)
	r.SetMadeOn(commit)
	r.Sign(m.bytes(180))
	return r
}

func (m *maker) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = m.Read(b)
	return b
}

func (m *maker) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return len(b), nil
}

// writeNote makes a commit of the notes, as a push is, in which a commit has these records.
func writeNote(w *bufio.Writer, commit string, records []note.Record) {
	lines := make([]string, len(records))
	for i := range records {
		line, err := records[i].Line()
		if err != nil {
			fatal(err)
		}
		lines[i] = line
	}
	text := note.JoinLines(note.NormalLines(lines))
	pushed := records[len(records)-1].At.Unix() // what looks for the runs since then goes by that
	fmt.Fprintf(w, "commit refs/notes/tmnotes\ncommitter %s %d +0000\ndata 1\nn\nN inline %s\ndata %d\n%s\n", deployer, pushed, commit, len(text), text)
}
