//go:build ignore

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The projects and histories that the rows of the table measure on.

// project makes a Terramate project of n stacks in which every second one
// changed since the tag first.
func (b *bench) project(name string, n int) string {
	dir := filepath.Join(b.dir, name)
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	for i := range n {
		at := filepath.Join(dir, fmt.Sprintf("g%d", i/50), fmt.Sprintf("s%d", i))
		write(filepath.Join(at, "stack.tm"), fmt.Sprintf("stack {\n  name = \"s%d\"\n  id   = %q\n  tags = [\"t%d\"]\n}\n", i, uuid(i), i%7))
		write(filepath.Join(at, "main.tf"), "resource \"terraform_data\" \"x\" {\n  input = 1\n}\n")
	}
	b.git(dir, "add", "-A")
	b.git(dir, "commit", "-q", "-m", "first")
	b.git(dir, "tag", "first")
	for i := 0; i < n; i += 2 {
		write(filepath.Join(dir, fmt.Sprintf("g%d", i/50), fmt.Sprintf("s%d", i), "main.tf"), "resource \"terraform_data\" \"x\" {\n  input = 2\n}\n")
	}
	b.git(dir, "commit", "-qam", "second")
	syscall.Sync() // nobody waits for what the making of it left to be written
	return dir
}

// history makes a project of a few stacks whose commits all have a note with
// so many lines, through git fast-import.
func (b *bench) history(name string, commits, lines int) string {
	dir := filepath.Join(b.dir, name)
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	var in bytes.Buffer
	const stacks = 12
	who := "B <b@example.com>"
	in.WriteString("commit refs/heads/main\nmark :1\n")
	fmt.Fprintf(&in, "committer %s 1700000000 +0000\ndata 1\n1\n", who)
	for i := range stacks {
		body := fmt.Sprintf("stack {\n  name = \"s%d\"\n  id   = %q\n}\n", i, uuid(i))
		fmt.Fprintf(&in, "M 100644 inline s%d/stack.tm\ndata %d\n%s\n", i, len(body), body)
	}
	for i := 2; i <= commits; i++ {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter %s %d +0000\ndata 1\nc\nfrom :%d\nM 100644 inline f\ndata %d\n%d\n",
			i, who, 1700000000+i*60, i-1, len(strconv.Itoa(i)), i)
	}
	fmt.Fprintf(&in, "commit refs/notes/tmnotes\ncommitter %s 1800000000 +0000\ndata 1\nn\n", who)
	last := map[int]string{}
	at := time.Unix(1700000000, 0).UTC()
	for i := 1; i <= commits; i++ {
		run := fmt.Sprintf("01KA%022d", i)
		t := at.Add(time.Duration(i) * time.Minute)
		var text strings.Builder
		add := func(r note.Record) {
			line, err := r.Line()
			if err != nil {
				fatal(err)
			}
			text.WriteString(line + "\n")
		}
		add(note.Record{At: t, Event: note.Started, Op: "deploy", Run: run, Stacks: lines - 2, CommitTime: 1700000000 + int64(i)*60, By: "Alice <alice@example.com>", Cmd: "terraform apply -auto-approve", Version: 1})
		for l := range lines - 2 {
			s, exit := (i+l)%stacks, 0
			r := note.Record{At: t.Add(time.Second), Status: note.OK, Op: "deploy", Stack: fmt.Sprintf("/s%d", s), ID: uuid(s), Exit: &exit, Took: 12 * time.Second, Variant: "5d020000", Run: run}
			if last[s] != "" {
				r.Prev = []string{last[s]}
			}
			last[s] = run
			add(r)
		}
		add(note.Record{At: t.Add(2 * time.Second), Event: note.Finished, Run: run, OK: lines - 2})
		fmt.Fprintf(&in, "N inline :%d\ndata %d\n%s\n", i, text.Len(), text.String())
	}
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &in
	if out, err := cmd.CombinedOutput(); err != nil {
		fatal("git fast-import:", err, string(out))
	}
	b.git(dir, "reset", "-q", "--hard")
	return dir
}

// recorded checks that a measured run did what it was measured for.
func (b *bench) recorded(dir string, stacks int) {
	note := b.git(dir, "notes", "--ref=tmnotes", "show", "HEAD")
	if n := strings.Count(note, " status=ok "); n != stacks {
		// The last commit of a pair is the one that the peer ran on.
		note = b.git(dir, "log", "-2", "--notes=tmnotes", "--format=%N")
		if n = strings.Count(note, " status=ok "); n < stacks {
			fatal(fmt.Sprintf("%d results recorded instead of %d", n, stacks))
		}
	}
}

func write(path, text string) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		fatal(err)
	}
}

func glob(pattern string) []string {
	files, err := filepath.Glob(pattern)
	if err != nil {
		fatal(err)
	}
	return files
}

func size(dir string) (n int64) {
	filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// spread records the latest successes again, each at the commit that last changed
// its stack.
func spread(dir string, commits int) {
	ctx := context.Background()
	s, err := gitstate.Open(ctx, gitstate.Options{Dir: dir})
	if err != nil {
		fatal(err)
	}
	defer s.Close()
	st, err := s.State(ctx)
	if err != nil {
		fatal(err)
	}
	out, err := exec.Command("git", "-C", dir, "rev-list", "--reverse", fmt.Sprintf("--max-count=%d", commits), "HEAD").Output()
	if err != nil {
		fatal(err)
	}
	at := strings.Fields(string(out))
	run := s.NewRun()
	w := s.Writer(run)
	w.Follow(st)
	records := map[string][]*note.Record{}
	head, err := s.Note(at[len(at)-1])
	if err != nil {
		fatal(err)
	}
	for _, line := range head {
		r := line.Record
		if r.Status != note.OK {
			continue
		}
		l, err := st.Latest(note.Slot{ID: r.ID, Path: r.Stack, Op: note.Deploy})
		if err != nil {
			fatal(err)
		}
		i, err := strconv.Atoi(r.Stack[strings.LastIndexByte(r.Stack, 's')+1:])
		if err != nil {
			fatal(err)
		}
		r.At, r.Run, r.Prev = time.Time{}, run, l.Runs()
		records[at[i%commits]] = append(records[at[i%commits]], &r)
	}
	for commit, rs := range records {
		if err := w.Append(commit, rs...); err != nil {
			fatal(err)
		}
	}
	if err := s.Flush(ctx); err != nil {
		fatal(err)
	}
}

// uuid looks like a stack's id, and compresses as badly.
func uuid(i int) string {
	d := note.Digest(strconv.Itoa(i))
	return d[:8] + "-" + d[8:12] + "-4" + d[13:16] + "-a" + d[17:20] + "-" + d[20:32]
}

// fastImport has git make what is written to it.
func (b *bench) fastImport(dir string, write func(w *bufio.Writer)) {
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		fatal(err)
	}
	if err := cmd.Start(); err != nil {
		fatal(err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	write(w)
	w.Flush()
	in.Close()
	if err := cmd.Wait(); err != nil {
		fatal("git fast-import:", err)
	}
}
