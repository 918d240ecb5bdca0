//go:build ignore

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// claims measures what it costs to claim stacks that take no time, on a bare repository
// of this machine: against a run without claims, and against fewer stacks.
func (b *bench) claims() {
	few, many := b.n(1000), b.n(4000)
	off := fmt.Sprintf("run -j4 with claims, %d stacks, over 1.5 x --claims=off", few)
	linear := fmt.Sprintf("run -j4 with claims, %d stacks / %d stacks", many, few)
	pushes := fmt.Sprintf("pushes of the notes, %d stacks, beyond one an interval", few)
	if !b.want(off) && !b.want(linear) && !b.want(pushes) {
		return
	}
	run := []string{*tmnotes, "run", "-X", "-j4", "--quiet", "--op", "deploy"}
	with, without := append(run[:len(run):len(run)], "--", "true"), append(run[:len(run):len(run)], "--claims=off", "--", "true")
	remote := func(n int) (dir, remote string) {
		name := fmt.Sprint("claims", n)
		dir, remote = b.project(name, n), filepath.Join(b.dir, name+".git")
		b.git(b.dir, "init", "-q", "--bare", remote)
		b.git(dir, "remote", "add", "origin", remote)
		b.git(dir, "push", "-q", "-u", "origin", "main")
		return dir, remote
	}
	dir, bare := remote(few)
	next := func(dir string) { b.git(dir, "commit", "-q", "--allow-empty", "-m", "next") }
	count := func() int {
		n, err := strconv.Atoi(strings.TrimSpace(b.git(bare, "rev-list", "--count", "refs/notes/tmnotes")))
		if err != nil {
			fatal(err)
		}
		return n
	}
	const interval = 10 * time.Second
	most := 0
	r := b.measure(*pairs, nil, func(argv []string) time.Duration {
		next(dir)
		before := 0
		if b.git(bare, "for-each-ref", "refs/notes/tmnotes") != "" {
			before = count()
		}
		took := b.must(dir, argv...)
		most = max(most, count()-before-2-int(took/interval)) // the announcement, and the end
		return took
	}, with, without)
	b.row(off, (r.a - r.b*3/2).Seconds(), 5, "s", r.String())
	b.row(pushes, float64(most), 0, "", "")
	b.recorded(dir, few)
	if !b.want(linear) {
		return
	}
	large, _ := remote(many)
	var ratios []float64
	var detail string
	for range *pairs {
		next(dir)
		next(large)
		small, all := b.must(dir, with...), b.must(large, with...)
		ratios, detail = append(ratios, float64(all)/float64(small)), fmt.Sprintf("%v / %v", all.Round(time.Millisecond), small.Round(time.Millisecond))
	}
	b.row(linear, median(ratios), 4.5, "x", detail)
}
