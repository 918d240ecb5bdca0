package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/runner"
)

// Document is a plan with what an engine has to be told of it.
type Document struct {
	*Plan
	Run                string // where it is announced
	Commit, Op, Target string
	Known              int // of how many stacks the notes know how long they took
	Stack              func(path string) runner.Stack
	Dir                string               // of the legs' files; "" where nothing is announced
	AtLeast            int                  // levels
	Label, About       func(leg int) string // for people: its stacks, and how long it takes
	GitLab             GitLab
}

// GitLab is what only GitLab's pipelines need.
type GitLab struct {
	Title         string // a line for people
	Tree          string // the work tree, that paths are seen from
	Template      string // --job-template
	Script        string // runs the leg whose file TMNOTES_LEG_FILE names
	Job, Pipeline string // that make the legs' files; "" outside of GitLab
}

// File is the name of a leg's file.
func File(leg int) string { return fmt.Sprintf("leg-%d.json", leg) }

// Numbers are legs as they are called outside, from 1.
func Numbers(legs []int) []int {
	out := make([]int, len(legs))
	for i, n := range legs {
		out[i] = n + 1
	}
	return out
}

// Seconds are those of an estimate, as exact as records are.
func Seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// inJSON is for any other engine: all that the others are made of.
func inJSON(d *Document) ([]byte, error) {
	type stack struct {
		Stack   string   `json:"stack"`
		ID      string   `json:"id,omitempty"`
		Name    string   `json:"name,omitempty"`
		Tags    []string `json:"tags,omitempty"`
		Leg     int      `json:"leg"`
		Seconds float64  `json:"seconds"` // estimate
		After   []string `json:"after"`   // of the stacks here, those that it directly comes after
	}
	type leg struct {
		Leg     int      `json:"leg"`
		Level   int      `json:"level"`
		Seconds float64  `json:"seconds"`
		Needs   []int    `json:"needs"` // legs that have what its stacks directly come after
		Stacks  []string `json:"stacks"`
		File    string   `json:"file,omitempty"` // for --stacks-from
	}
	out := struct {
		Run     string  `json:"run,omitempty"` // where it is announced
		Commit  string  `json:"commit"`
		Op      string  `json:"op,omitempty"`
		Target  string  `json:"target,omitempty"`
		Seconds float64 `json:"seconds"` // the longest leg of each level, one after the other
		Known   int     `json:"known"`   // of how many stacks the notes know how long they took
		Stacks  []stack `json:"stacks"`
		Legs    []leg   `json:"legs"`
		Levels  [][]int `json:"levels"` // legs
	}{Commit: d.Commit, Op: d.Op, Target: d.Target, Seconds: Seconds(d.Whole), Known: d.Known,
		Stacks: []stack{}, Legs: []leg{}, Levels: [][]int{}}
	if d.Dir != "" && len(d.Legs) > 0 {
		out.Run = d.Run
	}
	for _, path := range d.Graph.Order() {
		s := d.Stack(path)
		out.Stacks = append(out.Stacks, stack{path, s.ID, s.Name, s.Tags, d.Of[path], Seconds(d.Took[path]), append([]string{}, d.Graph.Predecessors(path)...)})
	}
	for n, l := range d.Legs {
		file := ""
		if d.Dir != "" {
			file = filepath.Join(d.Dir, File(n+1))
		}
		out.Legs = append(out.Legs, leg{n + 1, l.Level, Seconds(l.Took), Numbers(l.Needs), l.Stacks, file})
		if l.Level == len(out.Levels) {
			out.Levels = append(out.Levels, nil)
		}
		out.Levels[l.Level] = append(out.Levels[l.Level], n+1)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(out)
	return b.Bytes(), err
}

// forGitHub is lines for $GITHUB_OUTPUT, each a name and a value: the matrix of each
// level, [] where there is none. All outputs of a job together may have 1 MB, so that
// what a leg is stands in its file.
func forGitHub(d *Document) ([]byte, error) {
	type include struct {
		Leg    int    `json:"leg"`
		Stacks string `json:"stacks"`
	}
	matrices := make([][]include, max(d.Levels(), d.AtLeast, GitHubLevels))
	for n, leg := range d.Legs {
		matrices[leg.Level] = append(matrices[leg.Level], include{n + 1, d.Label(n)})
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "run=%s\nlegs=%d\n", d.Run, len(d.Legs))
	for n, legs := range matrices {
		if len(legs) == 0 {
			fmt.Fprintf(&b, "level-%d=[]\n", n)
			continue
		}
		line, err := json.Marshal(map[string]any{"include": legs})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "level-%d=%s\n", n, line)
	}
	return b.Bytes(), nil
}

// mostNeeds is how many jobs a job of GitLab may need (docs.gitlab.com, needs).
const mostNeeds = 50

var plainPath = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// forGitLab is a child pipeline of a job for each leg. A job needs the jobs that have
// what its stacks come after. It runs also where one of them failed: that blocks the
// stacks that depend on what failed, and no others, and has to be on record.
func forGitLab(d *Document) ([]byte, error) {
	tree := d.GitLab.Tree
	dir, err := inside(tree, d.Dir)
	if err != nil {
		return nil, fmt.Errorf("--out: %w; artifacts are inside of the project", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", d.GitLab.Title)
	if template := d.GitLab.Template; template != "" {
		if _, err := os.Stat(template); err != nil {
			return nil, fmt.Errorf("--job-template: %w", err)
		}
		abs, err := filepath.Abs(template)
		if err != nil {
			return nil, err
		}
		local, err := inside(tree, abs)
		if err != nil {
			return nil, fmt.Errorf("--job-template: %w; GitLab includes what is in the commit", err)
		}
		fmt.Fprintf(&b, "include:\n  - local: %s\n", quoted("/"+local))
	} else {
		b.WriteString(".tmnotes-leg: {}\n")
	}
	fmt.Fprintf(&b, `workflow:
  rules:
    - when: always
stages: [deploy]
.tmnotes:
  stage: deploy
  when: always
  variables:
    GIT_DEPTH: "0"
  script:
    - %s
`, quoted(d.GitLab.Script))
	if len(d.Legs) == 0 {
		// GitLab refuses a pipeline without jobs.
		b.WriteString("nothing-to-do:\n  extends: [.tmnotes, .tmnotes-leg]\n  before_script: []\n  after_script: []\n" +
			"  variables:\n    GIT_STRATEGY: none\n  script:\n    - \"echo 'no stack has to run'\"\n")
		return b.Bytes(), nil
	}
	// The files are an artifact of this very job, in the parent pipeline.
	artifact := ""
	if job, pipeline := d.GitLab.Job, d.GitLab.Pipeline; job != "" && pipeline != "" {
		artifact = fmt.Sprintf("    - pipeline: %s\n      job: %s\n", quoted(pipeline), quoted(job))
	}
	needs, barriers := needsOf(d.Legs, mostNeeds-strings.Count(artifact, "job:"))
	list := func(jobs []string, first string) {
		if len(jobs) == 0 && first == "" {
			b.WriteString("  needs: []\n")
			return
		}
		b.WriteString("  needs:\n" + first)
		for _, j := range jobs {
			fmt.Fprintf(&b, "    - job: %s\n      artifacts: false\n", j)
		}
	}
	for _, bar := range barriers {
		fmt.Fprintf(&b, "%s:\n  extends: [.tmnotes, .tmnotes-leg]\n  before_script: []\n  after_script: []\n  variables:\n    GIT_STRATEGY: none\n  script:\n    - \"true\"\n", bar.name)
		list(bar.needs, "")
	}
	for n := range d.Legs {
		fmt.Fprintf(&b, "leg-%d: # %s, about %s\n  extends: [.tmnotes, .tmnotes-leg]\n  variables:\n    TMNOTES_LEG_FILE: %s\n", n+1, d.Label(n), d.About(n), quoted(dir+"/"+File(n+1)))
		list(needs[n], artifact)
	}
	return b.Bytes(), nil
}

// barrier is a job that does nothing, and is there when the jobs that it needs are over.
type barrier struct {
	name  string
	needs []string
}

// needsOf are the jobs that the legs' jobs need, at most so many each. A leg that would
// need more needs a barrier for all that is in lower levels.
func needsOf(legs []Leg, most int) (needs [][]string, barriers []barrier) {
	name := func(n int) string { return fmt.Sprintf("leg-%d", n+1) }
	below := map[int]string{} // the barrier behind all levels below one
	for _, leg := range legs {
		var jobs []string
		for _, n := range leg.Needs {
			jobs = append(jobs, name(n))
		}
		if len(jobs) > most {
			if below[leg.Level] == "" {
				var all []string
				for n, other := range legs {
					if other.Level < leg.Level {
						all = append(all, name(n))
					}
				}
				for k := 1; len(all) > 1; k++ {
					var next []string
					for i := 0; i < len(all); i += most {
						bar := barrier{fmt.Sprintf("before-level-%d-%d-%d", leg.Level, k, len(next)+1), all[i:min(i+most, len(all))]}
						barriers, next = append(barriers, bar), append(next, bar.name)
					}
					all = next
				}
				below[leg.Level] = all[0]
			}
			jobs = []string{below[leg.Level]}
		}
		needs = append(needs, jobs)
	}
	return needs, barriers
}

// inside is a path as seen from the top of the work tree, in a form that needs no quoting
// in a shell or in GitLab's variables.
func inside(tree, path string) (string, error) {
	if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(parent, filepath.Base(path))
	}
	rel, err := filepath.Rel(tree, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s is outside of %s", path, tree)
	}
	if rel = filepath.ToSlash(rel); !plainPath.MatchString(rel) {
		return "", fmt.Errorf("%q: use letters, digits, dots, - and _", rel)
	}
	return rel, nil
}

// quoted is a string as JSON and YAML have it.
func quoted(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string has a form
	}
	return strings.TrimSuffix(b.String(), "\n")
}
