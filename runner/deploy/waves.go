package deploy

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Waves: a deployment reaches some stacks first, and the others only if that went
// well. A wave is executed as a run of its own stacks; between two of them there
// may be a pause (--soak) and a question (--gate). What is not reached is blocked.
//
// Nothing of this is kept but the records. So a later run looks at those: a wave
// that is ok is not executed again, what is left of its pause is waited for, and
// the gate before a wave that has something to run is always asked.

// Waves is what the flags say, and once the stacks are known, which wave has which.
type Waves struct {
	Filters []string
	Match   []func(runner.Stack) bool
	Soak    time.Duration
	Gate    string
	Limit   failureLimit
	// What stands in settings is meant for deployments; a flag is for what is typed.
	WavesTyped, LimitTyped bool

	List   []Wave
	WaveOf map[string]int // by path
	came   map[string]note.Record

	aside func() (out io.Writer, resume func()) // see Display
}

// Wave is a part of the stacks, which runs after those before it.
type Wave struct {
	Name   string
	stacks []string      // of those that are selected, in order
	stand  []note.Record // of its stacks that are ok on this commit already
}

// failureLimit is --max-failures.
type failureLimit struct {
	set     bool
	n       int
	percent bool
}

// divide finds the wave of each stack that is selected. What stands against it is an
// error, before anything is executed: a stack in no wave, an order between stacks
// that the waves turn around, a wave that no stack of the project could be in.
func (w *Waves) divide(p *project.Project, n *Session, g *runner.Graph, ops []string) error {
	return w.Divide(p, func(path string) runner.Stack { return n.Stacks[path].Stack }, g, ops)
}

// Divide is what a run with these operations does with the stacks of a graph.
func (w *Waves) Divide(p *project.Project, stack func(path string) runner.Stack, g *runner.Graph, ops []string) error {
	if !note.AnyDeploys(ops...) {
		if !w.WavesTyped {
			w.Filters, w.Match = nil, nil
		}
		if !w.LimitTyped {
			w.Limit = failureLimit{}
		}
	}
	w.WaveOf, w.came = map[string]int{}, map[string]note.Record{}
	if len(w.Filters) == 0 {
		w.List = []Wave{{stacks: g.Order()}}
		return nil
	}
	all, err := p.All()
	if err != nil {
		return err
	}
	if err := w.Exist(all); err != nil {
		return err
	}
	for _, f := range w.Filters {
		w.List = append(w.List, Wave{Name: f})
	}
	for _, path := range g.Order() {
		i, ok := w.wave(stack(path))
		if !ok {
			return fmt.Errorf("%s is in none of the waves (%s); add --wave '*' for the stacks that are left", path, strings.Join(w.Filters, ", "))
		}
		w.WaveOf[path] = i
		w.List[i].stacks = append(w.List[i].stacks, path)
		for _, first := range g.Predecessors(path) {
			if w.WaveOf[first] > i {
				return fmt.Errorf("%s runs after %s, but is in the wave %s, which is before %s; put the two into one wave, or %s into the earlier one",
					path, first, w.Filters[i], w.Filters[w.WaveOf[first]], first)
			}
		}
	}
	return nil
}

// Exist refuses a wave that none of the project's stacks could be in: a canary whose tag is
// misspelt must not be left out.
func (w *Waves) Exist(all []runner.Stack) error {
	for i, f := range w.Filters {
		if f != "*" && !slices.ContainsFunc(all, w.Match[i]) {
			return fmt.Errorf("no stack of the project matches the wave %s; `terramate list --tags TAG` shows which have a tag", f)
		}
	}
	return nil
}

func (w *Waves) wave(s runner.Stack) (int, bool) {
	for i, match := range w.Match {
		if match(s) {
			return i, true
		}
	}
	return 0, false
}

// standing finds what earlier runs have made of the waves on this commit, also of
// stacks that --pending leaves out.
func (w *Waves) standing(st *gitstate.State, n *Session, skip map[string]bool) error {
	if len(w.Filters) == 0 {
		return nil
	}
	for _, path := range slices.Sorted(maps.Keys(n.Stacks)) {
		r := n.Stacks[path]
		i, ok := w.wave(r.Stack)
		if _, selected := w.WaveOf[path]; !ok || selected && !skip[path] {
			continue
		}
		l, err := n.latest(st, path)
		if err != nil {
			return err
		}
		if l.Status == note.OK && l.Commit == n.Commit.Hash {
			w.List[i].stand = append(w.List[i].stand, l.Record)
		}
	}
	return nil
}

// NameOf is the wave that a stack's records name, "" where there are none.
func (w *Waves) NameOf(path string) string {
	if i, ok := w.WaveOf[path]; ok {
		return w.List[i].Name
	}
	return ""
}

// Todo are the stacks of a wave that are to run.
func (w *Waves) Todo(k int, skip map[string]bool) (paths []string) {
	for _, p := range w.List[k].stacks {
		if !skip[p] {
			paths = append(paths, p)
		}
	}
	return paths
}

// String says how many stacks each wave runs.
func (w *Waves) String(skip map[string]bool) string {
	var parts []string
	for k := range w.List {
		parts = append(parts, fmt.Sprintf("%s (%d)", w.List[k].Name, len(w.Todo(k, skip))))
	}
	return strings.Join(parts, ", ")
}

// Only is the options with which the stacks of one wave run.
func Only(x runner.Options, g *runner.Graph, paths []string) runner.Options {
	x.Skip = map[string]bool{}
	for _, p := range g.Order() {
		x.Skip[p] = true
	}
	for _, p := range paths {
		delete(x.Skip, p)
	}
	return x
}

// ParseLimit reads --max-failures: a number of stacks, or of percent.
func ParseLimit(text string) (l failureLimit, err error) {
	if text == "" {
		return l, nil
	}
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || percent && n > 100 {
		return l, fmt.Errorf("--max-failures: %q is not a number of stacks, or a percentage from 0%% to 100%%", text)
	}
	return failureLimit{true, n, percent}, nil
}
