package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

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

type fields = map[string]any

// forGitLab is a child pipeline of a job for each leg (docs.gitlab.com/ci/yaml). A job needs
// the jobs that have what its stacks come after. It runs also where one of them failed: that
// blocks the stacks that depend on what failed, and no others, and has to be on record.
func forGitLab(d *Document) ([]byte, error) {
	dir, err := inside(d.GitLab.Tree, d.Dir)
	if err != nil {
		return nil, fmt.Errorf("--out: %w; artifacts are inside of the project", err)
	}
	pipeline := yaml.Node{Kind: yaml.MappingNode}
	add := func(name, about string, what any) {
		var value yaml.Node
		err = errors.Join(err, value.Encode(what))
		pipeline.Content = append(pipeline.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name, LineComment: about}, &value)
	}
	if template := d.GitLab.Template; template != "" {
		local, err := d.GitLab.local(template)
		if err != nil {
			return nil, fmt.Errorf("--job-template: %w", err)
		}
		add("include", "", []fields{{"local": local}})
	} else {
		add(".tmnotes-leg", "", fields{})
	}
	add("workflow", "", fields{"rules": []fields{{"when": "always"}}})
	add("stages", "", []string{"deploy"})
	add(".tmnotes", "", fields{"stage": "deploy", "when": "always", "variables": fields{"GIT_DEPTH": "0"}, "script": []string{d.GitLab.Script}})
	extends := []string{".tmnotes", ".tmnotes-leg"}
	idle := func(script string) fields {
		return fields{"extends": extends, "before_script": []string{}, "after_script": []string{}, "variables": fields{"GIT_STRATEGY": "none"}, "script": []string{script}}
	}
	if len(d.Legs) == 0 {
		// GitLab refuses a pipeline without jobs.
		add("nothing-to-do", "", idle("echo 'no stack has to run'"))
	}
	files := []fields{} // an artifact of this very job, in the parent pipeline
	if d.GitLab.Job != "" && d.GitLab.Pipeline != "" {
		files = append(files, fields{"pipeline": d.GitLab.Pipeline, "job": d.GitLab.Job})
	}
	after := func(jobs []string, needs []fields) []fields {
		for _, j := range jobs {
			needs = append(needs, fields{"job": j, "artifacts": false})
		}
		return needs
	}
	needs, barriers := needsOf(d.Legs, mostNeeds-len(files))
	for _, bar := range barriers {
		wait := idle("true")
		wait["needs"] = after(bar.needs, nil)
		add(bar.name, "", wait)
	}
	for n := range d.Legs {
		add(fmt.Sprintf("leg-%d", n+1), fmt.Sprintf("%s, about %s", d.Label(n), d.About(n)),
			fields{"extends": extends, "variables": fields{"TMNOTES_LEG_FILE": dir + "/" + File(n+1)}, "needs": after(needs[n], slices.Clip(files))})
	}
	b := bytes.NewBufferString("# " + d.GitLab.Title + "\n")
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	err = errors.Join(err, enc.Encode(&pipeline))
	return b.Bytes(), err
}

// local is a template as GitLab includes it: a file of the commit.
func (g GitLab) local(template string) (string, error) {
	if _, err := os.Stat(template); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(template)
	if err != nil {
		return "", err
	}
	path, err := inside(g.Tree, abs)
	if err != nil {
		return "", fmt.Errorf("%w; GitLab can include committed files only", err)
	}
	return "/" + path, nil
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
