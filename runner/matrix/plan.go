package matrix

import (
	"sort"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// Engine is what an engine takes, and what prints a matrix for it.
type Engine struct {
	Print  func(d *Document) ([]byte, error) // nil: what people read
	Files  bool                              // the output alone does not say what a leg is
	Jobs   int                               // legs of a level, at most; 0: as many as there are stacks
	Levels int                               // unless levels are asked for; 0: as many as there are
	Total  int                               // legs at most, unless jobs are asked for; 0: as many as there are
}

// GitHubLevels is how many levels scripts/ci has jobs for. A workflow is not generated,
// so the jobs of all levels stand in it, needed or not.
const GitHubLevels = 8

// Engines are those that a matrix can be made for, by format.
var Engines = map[string]Engine{
	"text": {},
	"json": {Print: inJSON},
	// "A matrix will generate a maximum of 256 jobs per workflow run"
	// (docs.github.com, workflow syntax).
	"github": {Print: forGitHub, Files: true, Jobs: 256, Levels: GitHubLevels},
	// gitlab.com takes 500 jobs in a pipeline of the free tier (docs.gitlab.com, GitLab.com
	// settings); some of them are barriers.
	"gitlab": {Print: forGitLab, Files: true, Total: 450},
}

// Plan is how a graph of stacks is divided into legs.
type Plan struct {
	Graph *runner.Graph
	Took  map[string]time.Duration // how long a stack is expected to take
	Legs  []Leg
	Of    map[string]int // which leg a stack is in, from 1
	Whole time.Duration  // the longest leg of each level, one after the other
}

// Divide packs the stacks as the engine takes them; what was not asked for is 0.
func (p *Plan) Divide(e Engine, l Limits) {
	fit := l.Jobs < 1 && e.Total > 0
	if l.Jobs < 1 {
		l.Jobs = e.Jobs
	}
	if l.Levels < 1 {
		l.Levels = e.Levels
	}
	p.pack(l)
	if !fit || len(p.Legs) <= e.Total {
		return
	}
	// As many at once as the whole pipeline has room for.
	if l.Levels < 1 || l.Levels > e.Total {
		l.Levels = e.Total
	}
	fits := sort.Search(p.widest(), func(n int) bool { l.Jobs = n + 2; p.pack(l); return len(p.Legs) > e.Total })
	l.Jobs = 1 + fits
	p.pack(l)
}

func (p *Plan) pack(l Limits) {
	p.Legs, p.Of, p.Whole = Pack(p.Graph, func(path string) time.Duration { return p.Took[path] }, l), map[string]int{}, 0
	longest := map[int]time.Duration{}
	for n, leg := range p.Legs {
		for _, path := range leg.Stacks {
			p.Of[path] = n + 1
		}
		longest[leg.Level] = max(longest[leg.Level], leg.Took)
	}
	for _, d := range longest {
		p.Whole += d
	}
}

// Levels is how many levels there are.
func (p *Plan) Levels() int {
	if len(p.Legs) == 0 {
		return 0
	}
	return p.Legs[len(p.Legs)-1].Level + 1
}

// widest is how many legs the level with the most has.
func (p *Plan) widest() (most int) {
	n := map[int]int{}
	for _, leg := range p.Legs {
		n[leg.Level]++
		most = max(most, n[leg.Level])
	}
	return most
}
