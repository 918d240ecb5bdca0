//go:build unix

package runner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outputs runs tasks and returns what came out.
func outputs(t *testing.T, g *Graph, tasks map[string]Task, opt Options) (stdout, stderr string, results []Result) {
	t.Helper()
	var out, err safeBuffer
	opt.Stdout, opt.Stderr = &out, &err
	results, e := Execute(t.Context(), g, tasks, opt, nil)
	if e != nil {
		t.Fatal(e)
	}
	return out.String(), err.String(), results
}

// A long line is one in the log that is kept: what breaks it in two hides half of a secret
// from who looks for it.
func TestLogHasLongLines(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	long := strings.Repeat("x", maxLine-3) + "secret" + strings.Repeat("y", 2*maxLine)
	file := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(file, []byte(long+"\nshort\nno end"), 0o666); err != nil {
		t.Fatal(err)
	}
	task := sh(t, "/a", "cat '"+file+"'")
	task.Log = &log
	outputs(t, free(t, "/a"), map[string]Task{"/a": task}, Options{})
	if got := log.String(); got != long+"\nshort\nno end\n" {
		t.Errorf("%d bytes, %d lines", len(got), strings.Count(got, "\n"))
	}
}

func TestOutputModes(t *testing.T) {
	t.Parallel()
	begun := filepath.Join(t.TempDir(), "begun") // none fails before the other has started
	scripts := map[string]string{
		"/prod/vpc": `: >'` + begun + `'; printf 'one\ntwo'; printf 'warn\n' >&2`,
		"/prod/db":  `while ! test -e '` + begun + `'; do sleep 0.01; done; echo; echo three; exit 1`,
	}
	g := free(t, "/prod/vpc", "/prod/db")
	tasks := map[string]Task{}
	for p, s := range scripts {
		tasks[p] = sh(t, p, s)
	}
	start := func(s Stack, r Result) string { return "::group::" + s.Path }
	end := func(s Stack, r Result) string { return "::endgroup::" + string(r.Status) }
	for _, c := range []struct {
		name           string
		opt            Options
		stdout, stderr string
	}{
		{"direct", Options{}, "one\ntwo\nthree\n", "warn\n"},
		{"prefixed", Options{Output: OutputPrefixed},
			"/prod/vpc | one\n/prod/vpc | two\n/prod/db | \n/prod/db | three\n", "/prod/vpc | warn\n"},
		{"own prefix", Options{Output: OutputPrefixed, Prefix: func(s Stack) string { return "[" + filepath.Base(s.Path) + "] " }},
			"[vpc] one\n[vpc] two\n[db] \n[db] three\n", "[vpc] warn\n"},
		{"grouped, one at a time", Options{Output: OutputGrouped, GroupStart: start, GroupEnd: end},
			"::group::/prod/vpc\none\ntwo\n::endgroup::ok\n::group::/prod/db\n\nthree\n::endgroup::failed\n", "warn\n"},
		{"grouped without marks", Options{Output: OutputGrouped, Parallel: 2, FailFast: true}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, _ := outputs(t, g, tasks, c.opt)
			if c.opt.Parallel > 1 { // any order of stacks
				if strings.Count(stdout, "one\ntwo\n") != 1 || strings.Count(stdout, "\nthree\n") != 1 || len(stdout) != 15 || stderr != "warn\n" {
					t.Errorf("%q, %q", stdout, stderr)
				}
				return
			}
			if d := cmp.Diff(c.stdout, stdout) + cmp.Diff(c.stderr, stderr); d != "" {
				t.Error(d)
			}
		})
	}
}

// Of what fails the output is kept, also of one at a time, and of the rest dropped;
// nobody is asked what is not seen.
func TestOutputFailed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	tasks := map[string]Task{
		"/ok":      sh(t, "/ok", `yes 'all is well' | head -c 3000000; echo fine >&2`), // goes through a file
		"/bad":     sh(t, "/bad", `echo one; read x; echo "got $x"; echo; printf 'Error: two\n\033[1mthree\033[0m' >&2; exit 3`),
		"/blocked": sh(t, "/blocked", `echo never`),
	}
	g, err := NewGraph([]string{"/ok", "/bad", "/blocked"}, map[string][]string{"/blocked": {"/bad"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, parallel := range []int{1, 2} {
		var around safeBuffer
		stdout, stderr, results := outputs(t, g, tasks, Options{Output: OutputFailed, Parallel: parallel, Stdin: strings.NewReader("an answer\n"), Marks: &around,
			GroupStart: func(s Stack, r Result) string { return fmt.Sprintf("%s: %s", s.Path, r.Status) },
			GroupEnd:   func(s Stack, r Result) string { return fmt.Sprintf("%s: %d", s.Path, r.Exit) }})
		if d := cmp.Diff("one\ngot \n\n", stdout) + cmp.Diff("Error: two\n\x1b[1mthree\x1b[0m\n", stderr) + cmp.Diff("/bad: failed\n/bad: 3\n", around.String()); d != "" {
			t.Errorf("%d at once: %s", parallel, d)
		}
		if d := cmp.Diff([]string{"Error: two", "three"}, results[1].Last); d != "" || results[0].Last != nil {
			t.Errorf("last lines: %s, and of a success %q", d, results[0].Last)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// Groups never mix, whatever their size and the stream, and keep what was written
// in order.
func TestGroupsDoNotMix(t *testing.T) {
	t.Parallel()
	var order []string
	tasks := map[string]Task{}
	for i := range 6 {
		p := fmt.Sprintf("/s%d", i)
		order = append(order, p)
		script := `i=0; while [ $i -lt 30 ]; do echo ` + p + ` out $i; echo ` + p + ` err $i >&2; i=$((i+1)); done`
		if i == 3 { // goes through the file
			script = `yes '` + p + ` out, many of them' | head -c 3000000; echo`
		}
		tasks[p] = sh(t, p, script)
	}
	g := free(t, order...)
	var both slowBuffer
	opt := Options{Output: OutputGrouped, Parallel: 4, Stdout: &both, Stderr: &both,
		GroupStart: func(s Stack, r Result) string { return "start " + s.Path },
		GroupEnd:   func(s Stack, r Result) string { return "end " + s.Path + "\n" }}
	if _, err := Execute(t.Context(), g, tasks, opt, nil); err != nil {
		t.Fatal(err)
	}
	open := ""
	sizes := map[string]int{}
	for line := range strings.Lines(both.String()) {
		f := strings.Fields(line)
		switch {
		case f[0] == "start" && open == "":
			open = f[1]
		case f[0] == "end" && open == f[1]:
			open = ""
		case open != "" && strings.HasPrefix(open, f[0][:min(3, len(f[0]))]):
			sizes[open] += len(line)
		default:
			t.Fatalf("in the group of %q: %q", open, line)
		}
	}
	if sizes["/s3"] < 3_000_000 || sizes["/s0"] != sizes["/s5"] || len(sizes) != 6 {
		t.Errorf("sizes %v", sizes)
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "tmnotes-output-*"))
	for _, l := range left {
		if info, err := os.Stat(l); err == nil && info.Size() > 2_000_000 {
			t.Errorf("%s is left", l)
		}
	}
}

// What goes to one place has the order in which it was written, whichever the stream.
// With Tee, which is of stdout alone, nothing is lost.
func TestOneWriterKeepsOrder(t *testing.T) {
	t.Parallel()
	const script = `i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf 'Error: no\n' >&2; echo bye; exit 1`
	want := ""
	for i := range 200 {
		want += fmt.Sprintf("out %d\nerr %d\n", i, i)
	}
	want += "Error: no\nbye\n"
	for _, c := range []struct {
		mode     OutputMode
		parallel int
	}{{OutputDirect, 1}, {OutputGrouped, 1}, {OutputGrouped, 2}, {OutputFailed, 1}, {OutputFailed, 2}} {
		var both safeBuffer
		opt := Options{Output: c.mode, Parallel: c.parallel, Stdout: &both, Stderr: &both}
		results, err := Execute(t.Context(), free(t, "/a"), map[string]Task{"/a": sh(t, "/a", script)}, opt, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, both.String()); d != "" {
			t.Errorf("mode %d, parallel %d: %s", c.mode, c.parallel, d)
		}
		if results[0].Reason != "Error: no: bye" {
			t.Errorf("reason %q", results[0].Reason)
		}
		var teed strings.Builder
		task := sh(t, "/a", script)
		task.Commands[0].Tee = func() io.Writer { return &teed }
		both = safeBuffer{}
		if _, err = Execute(t.Context(), free(t, "/a"), map[string]Task{"/a": task}, opt, nil); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(teed.String(), "err") || strings.Count(teed.String(), "out") != 200 || strings.Count(both.String(), "\n") != 402 {
			t.Errorf("mode %d, parallel %d: tee has %d bytes, the group %d", c.mode, c.parallel, teed.Len(), len(both.String()))
		}
	}
}

// slowBuffer gives others time to get in between.
type slowBuffer struct{ safeBuffer }

func (s *slowBuffer) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.safeBuffer.Write(p)
}

func TestPrefixedLinesDoNotMix(t *testing.T) {
	t.Parallel()
	g := free(t, "/a", "/b", "/c")
	tasks := map[string]Task{}
	for _, p := range g.Order() {
		// printf by letter: lines arrive in pieces.
		tasks[p] = sh(t, p, `i=0; while [ $i -lt 100 ]; do printf x; printf y >&2; printf 'x\n'; printf 'y\n' >&2; i=$((i+1)); done`)
	}
	var both safeBuffer
	_, err := Execute(t.Context(), g, tasks, Options{Parallel: 3, Output: OutputPrefixed, Stdout: &both, Stderr: &both}, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(both.String()) {
		count[line]++
	}
	if len(count) != 6 {
		t.Errorf("%v", count)
	}
	for line, n := range count {
		if n != 100 {
			t.Errorf("%d of %q", n, line)
		}
	}
}

// A prompt has no line end, and must be seen nevertheless.
func TestPromptAppearsAtOnce(t *testing.T) {
	t.Parallel()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	var out safeBuffer
	prompt := promptWriter{out: &out, then: func() { _, _ = w.WriteString("yes\n") }}
	g := free(t, "/a")
	_, err = Execute(t.Context(), g, map[string]Task{"/a": sh(t, "/a", `printf 'sure? ' >&2; read a; echo "got $a"`)},
		Options{Stdin: in, Stdout: &out, Stderr: &prompt}, nil)
	if err != nil || out.String() != "sure? got yes\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

type promptWriter struct {
	out  *safeBuffer
	then func()
}

func (p *promptWriter) Write(b []byte) (int, error) {
	defer p.then()
	return p.out.Write(b)
}

func TestStdinOfSeveral(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		opt  Options
		want string
	}{
		{Options{}, "typed\n"},
		{Options{Parallel: 2}, "typed\n"},
		{Options{Output: OutputPrefixed}, "/a | typed\n"},
		{Options{Output: OutputGrouped}, "typed\n"},
		{Options{Output: OutputPrefixed, Parallel: 2}, ""},
		{Options{Output: OutputGrouped, Parallel: 2}, ""},
	} {
		in, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.WriteString("typed\n")
		_ = w.Close()
		c.opt.Stdin = in
		got, _, _ := outputs(t, free(t, "/a"), map[string]Task{"/a": sh(t, "/a", "cat")}, c.opt)
		_ = in.Close()
		if got != c.want {
			t.Errorf("mode %d, parallel %d: %q, want %q", c.opt.Output, c.opt.Parallel, got, c.want)
		}
	}
}

func TestLineSplitter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			n := rapid.SampledFrom([]int{0, 1, 80, maxLine - 1, maxLine, maxLine + 1, 2*maxLine + 7}).Draw(t, "length")
			for text.Len()%7 != 0 {
				text.WriteByte('.')
			}
			text.WriteString(strings.Repeat("é", n/2) + strings.Repeat("x", n%2))
			if rapid.Bool().Draw(t, "end") {
				text.WriteByte('\n')
			}
		}
		given := text.String()
		var joined strings.Builder
		var lines []string
		s := splitter(func(l []byte) {
			if len(l) > maxLine || bytes.IndexByte(l, '\n') >= 0 || !utf8.Valid(l) {
				t.Fatalf("a piece of %d bytes", len(l))
			}
			joined.Write(l)
			lines = append(lines, string(l))
		})
		for rest := []byte(given); len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(40_000))
			s.write(rest[:n])
			rest = rest[n:]
		}
		s.flush()
		if joined.String() != strings.ReplaceAll(given, "\n", "") {
			t.Fatal("the pieces are not the text")
		}
		short := true
		for l := range strings.Lines(given) {
			short = short && len(strings.TrimSuffix(l, "\n")) <= maxLine
		}
		if want := strings.Count(given, "\n"); short && len(lines) != want && len(lines) != want+1 {
			t.Fatalf("%d lines, want %d", len(lines), want)
		}
	})
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		var tl tail
		for i, n := range rapid.SliceOfN(rapid.IntRange(0, 3*maxTail/2), 0, 8).Draw(t, "writes") {
			p := bytes.Repeat([]byte{byte('a' + i)}, n)
			all = append(all, p...)
			tl.write(p)
		}
		if want := all[max(0, len(all)-maxTail):]; !bytes.Equal(tl.bytes(), want) {
			t.Fatalf("%d bytes, want %d", len(tl.bytes()), len(want))
		}
		if cap(tl.buf) > 8*maxTail {
			t.Fatalf("%d bytes kept", cap(tl.buf))
		}
	})
}

// Tee gets what the last try wrote to stdout, beside Stdout, and After comes
// once, before Finished and for nothing that was not started.
func TestTeeAndAfter(t *testing.T) {
	t.Parallel()
	pts, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer pts.Close()
	defer tty.Close()
	go io.Copy(io.Discard, pts)
	for name, stdout := range map[string]io.Writer{"a buffer": &bytes.Buffer{}, "a terminal": tty} {
		var mu sync.Mutex
		var said strings.Builder
		var seen []string
		note := func(what string) {
			mu.Lock()
			seen = append(seen, what)
			mu.Unlock()
		}
		g, err := NewGraph([]string{"/a", "/b"}, map[string][]string{"/b": {"/a"}})
		if err != nil {
			t.Fatal(err)
		}
		tasks := map[string]Task{}
		for _, p := range []string{"/a", "/b"} {
			tasks[p] = Task{Stack: Stack{Path: p, Dir: t.TempDir()}, Env: os.Environ(),
				Commands: []Command{{Args: []string{"sh", "-c", "test -t 1 && echo on a terminal; echo out; echo err >&2; exit 1"},
					Tee: func() io.Writer { said.Reset(); return &said }}},
				After: func(_ context.Context, r Result) {
					note(fmt.Sprint("after ", p, " ", r.Status, " ", r.Tries, " ", said.String()))
				},
			}
		}
		opt := Options{Stdout: stdout, Retries: 1, Backoff: func(int) time.Duration { return 0 }}
		_, err = Execute(context.Background(), g, tasks, opt, func(e Event) error {
			if e.Kind == Finished {
				note("finished " + e.Result.Stack.Path)
			}
			return nil
		})
		want := []string{"after /a failed 2 out\n", "finished /a", "finished /b"}
		if err != nil || !slices.Equal(seen, want) {
			t.Errorf("%s: %q, %v; want %q", name, seen, err, want)
		}
		if b, is := stdout.(*bytes.Buffer); is && b.String() != "out\nout\n" {
			t.Errorf("stdout has %q", b)
		}
	}
}

// What a command printed is read however late somebody comes to read it: the grace after its end is for
// what it leaves behind, which has its output open.
func TestOutputIsReadLate(t *testing.T) {
	t.Parallel()
	var out safeBuffer
	st := &tryOutput{}
	for i := range st.streams {
		st.streams[i].put = func(p []byte) { _, _ = out.Write(p) }
	}
	p, err := st.attach(&exec.Cmd{})
	if err != nil {
		t.Fatal(err)
	}
	left, err := syscall.Dup(int(p.w[0].Fd())) // as what a child left behind has it
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(left)
	printed := strings.Repeat("x", 60<<10) + "\nPlan: 1 to add\n"
	for i := range p.w {
		if _, err := p.w[i].WriteString(printed); err != nil {
			t.Fatal(err)
		}
		if err := p.r[i].SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	p.copy()
	p.close()
	if got := out.String(); len(got) != 2*len(printed) {
		t.Errorf("%d of %d bytes", len(got), 2*len(printed))
	}
}
