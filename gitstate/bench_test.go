package gitstate

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// long reports whether tests that take a minute or more are wanted.
func long() bool { return os.Getenv("TMNOTES_LONG_TESTS") != "" }

// history makes a repository of n commits, each with a note of three lines
// over 300 stacks, in one pack.
func history(tb testing.TB, n int) *gittest.Repo {
	tb.Helper()
	repo := gittest.Init(tb)
	cmd := repo.Command("fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	for i := range n {
		fmt.Fprintf(w, "commit refs/heads/main\nmark :%d\ncommitter a <a@b> %d +0000\ndata 1\nx\n", i+1, 1_700_000_000+i)
	}
	fmt.Fprintf(w, "commit refs/notes/tmnotes\ncommitter a <a@b> 1800000000 +0000\ndata 1\nx\n")
	last := map[string]string{}
	for i := range n {
		run := fmt.Sprintf("01KA2ZV7QJ5X0M3Y%010d", i)
		at := gittest.T0.Add(time.Duration(i) * time.Minute)
		lines := []string{mustLine(note.Record{At: at, Event: note.Started, Op: note.Deploy, Run: run, Stacks: 2, CommitTime: 1_700_000_000 + int64(i),
			By: "Alice <alice@example.com>", Job: fmt.Sprintf("https://ci.example.com/acme/infra/jobs/%d", i), Attempt: 1, Cmd: "terraform apply -auto-approve", Version: 1})}
		for j := range 2 {
			stack := fmt.Sprintf("/prod/eu-west-1/stack-%03d", (2*i+j)%300)
			r := note.Record{At: at.Add(time.Duration(j+1) * time.Second), Status: note.OK, Op: note.Deploy, Stack: stack, ID: fmt.Sprintf("8a1f0b1c-2d3e-4f50-8a1f-%012d", (2*i+j)%300),
				Exit: new(int), Took: 12400 * time.Millisecond, Inputs: "9c41d2a7b3f0e5619c41d2a7b3f0e561", Variant: "5d02", Run: run}
			if p := last[stack]; p != "" {
				r.Prev = []string{p}
			}
			last[stack] = run
			lines = append(lines, mustLine(r))
		}
		text := note.JoinLines(lines)
		fmt.Fprintf(w, "N inline :%d\ndata %d\n%s\n", i+1, len(text), text)
	}
	w.Flush()
	in.Close()
	if err := cmd.Wait(); err != nil {
		tb.Fatal(err)
	}
	repo.Git("repack", "-adq")
	return repo
}

func BenchmarkState(b *testing.B) {
	repo := history(b, 10_000)
	ctx := context.Background()
	b.Run("git log", func(b *testing.B) {
		for b.Loop() {
			cmd := repo.Command("log", "--notes=tmnotes", "--format=%N", "main")
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	read := func(b *testing.B, prepare func(s process)) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := opened(Options{Dir: repo.Dir})
			if err != nil {
				b.Fatal(err)
			}
			prepare(s)
			if _, err := s.State(ctx); err != nil {
				b.Fatal(err)
			}
			s.Close()
		}
	}
	b.Run("no index", func(b *testing.B) { read(b, func(s process) { os.Remove(s.indexPath()) }) })
	b.Run("index", func(b *testing.B) { read(b, func(process) {}) })
	b.Run("one note later", func(b *testing.B) {
		head, i := repo.Head(), 0
		read(b, func(s process) {
			i++
			if err := s.Append(head, result(note.OK, "/new", fmt.Sprint("R", i), fmt.Sprint("R", i-1))); err != nil {
				b.Fatal(err)
			}
			if err := s.Flush(ctx); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkNormal is of a note of a deployment of 1,000 stacks.
func BenchmarkNormal(b *testing.B) {
	lines := []string{}
	for i := range 1000 {
		lines = append(lines, mustLine(rec(i, note.OK, note.Deploy, fmt.Sprint("/", i), "R1", "R0")))
	}
	text := note.Normal(note.JoinLines(lines))
	b.ReportAllocs()
	for b.Loop() {
		if n := note.NormalLines(note.AppendLines(nil, text)); len(n) != 1000 {
			b.Fatal(len(n))
		}
	}
}

func init() {
	children["peak"] = func(args []string) {
		s, err := Open(context.Background(), Options{Dir: args[0]})
		if err == nil {
			_, err = s.State(context.Background())
		}
		if err != nil {
			fail(err)
		}
		s.Close()
		status, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM:") {
				fmt.Println(strings.Fields(line)[1])
			}
		}
	}
}

// What State takes of memory over 100,000 annotated commits.
func TestPeakMemory(t *testing.T) {
	if !long() || runtime.GOOS != "linux" {
		t.Skip("needs TMNOTES_LONG_TESTS and Linux")
	}
	repo := history(t, 100_000)
	for _, what := range []string{"no index", "index"} {
		start := time.Now()
		cmd, out := child(t, "peak", repo.Dir)
		out.Scan()
		var kib int
		fmt.Sscan(out.Text(), &kib)
		noError(t, cmd.Wait())
		t.Logf("%s: %d MiB, %v", what, kib/1024, time.Since(start).Round(time.Millisecond))
		if kib == 0 || kib > 300*1024 {
			t.Errorf("%s: %d KiB", what, kib)
		}
	}
}
