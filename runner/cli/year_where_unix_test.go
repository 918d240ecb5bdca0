//go:build unix

package cli

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
)

// In the simulated year `where` is asked how far commits have got, and agrees with what the
// states of the stacks say.

// where asks of a commit of main, in a clone that deploys nothing.
func (y *year) where() {
	y.Helper()
	if len(y.mains) < 2 {
		return
	}
	if _, err := os.Stat(y.path("asker")); err != nil {
		y.run(".", "git", "clone", "-q", "work.git", "asker")
	}
	y.run("asker", "git", "fetch", "-q", "origin")
	y.run("asker", "git", "checkout", "-q", "--detach", "origin/main")
	y.run("asker", "tmnotes", "fetch")
	c := max(1, len(y.mains)-1-y.random.IntN(12))
	cmd := y.command("asker", "tmnotes", "where", "--format", "json", y.mains[c])
	text, err := cmd.Output()
	var out struct {
		Stacks []struct{ Stack, Target, Status, Why string }
	}
	if err != nil || json.Unmarshal(text, &out) != nil {
		y.fatalf("where %s: %v\n%s", y.mains[c], err, text)
	}
	touched := map[string]bool{}
	for _, r := range out.Stacks {
		touched[r.Stack] = true
		says, sure := r.Status == "deployed", r.Status != "unknown"
		d, place := y.onlyAt(r.Target, r.Stack)
		if d == nil || d.unsure {
			continue
		}
		state := &pipeline{surroundings: surroundings{workspace: place.workspace, backend: place.backend}}
		base, _, _ := strings.Cut(r.Target, "+")
		state.target = base
		content := y.applied(state, r.Stack)
		if content != d.content {
			y.fatalf("%s in %s: the ledger says %q, the state %q", r.Stack, r.Target, d.content, content)
		}
		y.happened["asked where"]++
		has := y.reached(c, r.Stack, content, d)
		if has {
			y.happened["there"]++
		}
		// A merge that took nothing of the file may have dropped the change, or have had it already.
		doubted := d.half || strings.HasPrefix(r.Why, "its merge, ")
		if says && !has || sure && !d.half && has != says || !sure && !doubted {
			y.fatalf("%s in %s at %s: where says %s (%s) of commit %d %s; the state is %q of commit %d, and the commit made %q of %q", r.Stack, r.Target, place.backend,
				r.Status, r.Why, c, y.mains[c], content, d.at, y.truth[y.mains[c]][r.Stack], y.truth[y.mains[c-1]][r.Stack])
		}
	}
	for _, s := range yearPaths {
		if is := y.truth[y.mains[c]][s] != y.truth[y.mains[c-1]][s]; is != touched[s] {
			y.fatalf("where says that commit %d %s touches %v, and %s is made of %q before and %q after", c, y.mains[c], slices.Sorted(maps.Keys(touched)), s, y.truth[y.mains[c-1]][s], y.truth[y.mains[c]][s])
		}
	}
}

// onlyAt is what there is of a stack at a target with a workspace, where it was deployed to one backend
// there: what names a backend in a record is no name that people give.
func (y *year) onlyAt(target, stack string) (found *deployed, at surroundings) {
	base, workspace, _ := strings.Cut(target, "+")
	for _, backend := range []string{"", "one", "two"} {
		s := surroundings{workspace: workspace, backend: backend}
		d := y.real[s.place(base)+stack]
		switch {
		case d == nil || d.at < 0 && !d.unsure && !d.half && !d.owed:
		case found != nil:
			return nil, at
		default:
			found, at = d, s
		}
	}
	return found, at
}

// reached is what is true: whether what a state says has what a commit changed.
func (y *year) reached(c int, stack, content string, d *deployed) bool {
	before, after := y.truth[y.mains[c-1]][stack], y.truth[y.mains[c]][stack]
	switch d.base {
	case after:
		return true
	case before:
		return false
	}
	if d.at < c {
		return false
	}
	was, is, now := yearParts(stack, before), yearParts(stack, after), yearParts(stack, content)
	as := func(then map[string]string) bool {
		for _, part := range slices.Concat(slices.Collect(maps.Keys(was)), slices.Collect(maps.Keys(is))) {
			// Which modules there are is uses.tf's.
			if strings.HasPrefix(part, "module ") && (was[part] == "" || is[part] == "") {
				continue
			}
			if was[part] != is[part] && now[part] != then[part] {
				return false
			}
		}
		return true
	}
	return as(is) || !y.undone(c, d.at) && !as(was)
}

// undone reports whether a commit of main was reverted, and that not reverted in turn, by another one.
func (y *year) undone(c, by int) bool {
	return slices.ContainsFunc(y.reverted[c], func(r int) bool { return r <= by && !y.undone(r, by) })
}

// yearParts takes apart what a stack is made of; see made.
func yearParts(stack, content string) map[string]string {
	f := strings.Split(content, "|")[1:]
	parts := map[string]string{}
	take := func(name string) {
		if len(f) > 0 {
			parts[name], f = f[0], f[1:]
		}
	}
	for _, name := range []string{"main", "extra", "policy", "uses"} {
		take(name)
	}
	if modules := strings.Fields(parts["uses"]); len(modules) > 2 {
		for _, m := range modules[2:] {
			take("module " + m)
		}
	}
	if stack == "/db" || stack == "/web" {
		take("limits")
	}
	take("env")
	return parts
}
