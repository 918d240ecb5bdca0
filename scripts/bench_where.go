//go:build ignore

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// where measures how long it takes to say how far a change has got, with the index and what
// the second call for a change has kept; the first one is in the detail.
func (b *bench) where() {
	stacks, commits := b.n(5000), b.n(1000)
	name := fmt.Sprintf("where, %d stacks, %d commits with records", stacks, commits)
	if !b.want(name) {
		return
	}
	const width = 20
	dir := filepath.Join(b.dir, "where")
	b.git(b.dir, "init", "-q", "-b", "main", dir)
	b.commitPipelines(dir, stacks, commits, width, nil)
	b.git(dir, "reset", "-q", "--hard")
	all := strings.Fields(b.git(dir, "rev-list", "--reverse", "main"))
	m := maker{rng: rand.New(rand.NewPCG(1, 2))}
	last := make([]string, stacks)
	b.fastImport(dir, func(w *bufio.Writer) {
		for p := range commits + 1 { // all stacks first
			at := time.Unix(int64(1700000000+p*600+60), 0).UTC()
			run := ulid.MustNew(ulid.Timestamp(at), &m).String()
			records := []note.Record{{At: at, Event: note.Started, Op: "deploy", Run: run, Stacks: width, CommitTime: at.Unix() - 60, By: "Alice <alice@example.com>", Cmd: "terraform apply", Version: 1}}
			n := width
			if p == 0 {
				n = stacks
			}
			done := map[int]bool{}
			for l := range n {
				i := l
				if p > 0 {
					i = changed(p-1, l, stacks)
				}
				if done[i] {
					continue
				}
				done[i] = true
				exit := 0
				r := note.Record{At: at.Add(time.Minute), Status: note.OK, Op: "deploy", Stack: "/" + stackPath(i), ID: uuid(i), Exit: &exit, Took: 9 * time.Second, Variant: "2:2c03bf52", Run: run}
				if last[i] != "" {
					r.Prev = []string{last[i]}
				}
				r.Inputs, last[i] = "2:"+fmt.Sprintf("%024x", m.rng.Uint64()), run
				records = append(records, r)
			}
			writeNote(w, all[p], records)
		}
	})
	b.must(dir, *tmnotes, "status")

	for _, c := range []struct{ what, rev string }{
		{"a change of 20 stacks, half-way back", fmt.Sprintf("main~%d", commits/2)}, {"the last, of 300", "main"}, {"the first, of all", all[0]},
	} {
		argv := []string{*tmnotes, "-C", dir, "where", c.rev}
		os.RemoveAll(filepath.Join(dir, ".git", "tmnotes", "cache"))
		first := b.must(b.dir, argv...)
		r := b.pair(dir, nil, argv, []string{"true"})
		b.row(name+", "+c.what, r.a.Seconds(), 1, "s", fmt.Sprintf("for the first time %v", first.Round(time.Millisecond)))
	}
}
