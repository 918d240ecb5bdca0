//go:build ignore

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// preview compares preview with list --pending, of a branch that changes 20 stacks where 10 failed:
// up to date with its base, and with a base that moved on; and one that adds a stack, too.
func (b *bench) preview() {
	n := b.n(1000)
	name := fmt.Sprintf("preview, %d stacks, 20 changed, 10 failed", n)
	if !b.want(name) {
		return
	}
	dir := b.project("preview", n)
	changed := func(from, stacks int, text string) {
		for i := from; i < min(from+stacks, n); i++ {
			write(filepath.Join(dir, fmt.Sprintf("g%d", i/50), fmt.Sprintf("s%d", i), "main.tf"), "# "+text+"\n")
		}
		b.git(dir, "add", "-A")
		b.git(dir, "commit", "-qm", text)
	}
	fail := filepath.Join(b.dir, "fail")
	run := []string{"run", "-X", "--pending", "--init", "--quiet", "-j4", "--sync=off", "--op", "deploy", "--", "test", "!", "-e", fail}
	b.must(dir, append([]string{*tmnotes}, run...)...)
	changed(0, 10, "backlog")
	write(fail, "")
	failing := exec.Command(*tmnotes, run...)
	failing.Dir = dir
	if err := failing.Run(); err == nil || failing.ProcessState.ExitCode() != 1 {
		fatal("the stacks of the backlog should fail:", err)
	}
	b.git(dir, "checkout", "-qb", "topic")
	changed(100, 20, "topic")
	for _, of := range []struct {
		what   string
		before func()
		stacks int
	}{
		{"up to date", func() {}, 30},
		{"base moved on", func() {
			b.git(dir, "checkout", "-q", "main")
			changed(200, 5, "main")
			b.git(dir, "checkout", "-q", "topic")
		}, 35},
		{"base moved on, a new stack", func() {
			write(filepath.Join(dir, "new", "stack.tm"), "stack {\n}\n")
			changed(0, 0, "new")
		}, 36},
	} {
		of.before()
		x, y := []string{*tmnotes, "preview", "--sync=off", "--json"}, []string{*tmnotes, "list", "--pending", "--sync=off", "--json"}
		cmd := exec.Command(x[0], x[1:]...)
		cmd.Dir = dir
		if out, err := cmd.Output(); err != nil || strings.Count(string(out), `"stack":`) != of.stacks && *scale == 1 {
			fatal("preview should have", of.stacks, "stacks:", err, strings.Count(string(out), `"stack":`))
		}
		r := b.pair(dir, nil, x, y)
		b.row(name+", "+of.what+" / list --pending", r.ratio, 1.3, "x", r.String())
		r = b.measure(*pairs, nil, func(argv []string) time.Duration { return b.cpu(dir, argv...) }, x, y)
		b.row(name+", "+of.what+", CPU", r.ratio, 1.3, "x", r.String())
	}
}
