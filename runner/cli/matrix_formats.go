package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// engine is what prints a matrix for an engine, and what the engine takes.
type engine struct {
	print  func(c *cli.Context, m *matrixPlan) ([]byte, error)
	files  bool // the output alone does not say what a leg is
	jobs   int  // legs of a level, at most; 0: as many as there are stacks
	levels int  // unless --levels says otherwise; 0: as many as there are
	total  int  // legs at most, unless --jobs says otherwise; 0: as many as there are
}

// githubLevels is how many levels scripts/ci has jobs for. A workflow is not generated,
// so the jobs of all levels stand in it, needed or not.
const githubLevels = 8

var engines = map[string]engine{
	"text": {print: matrixText},
	"json": {print: matrixJSON},
	// "A matrix will generate a maximum of 256 jobs per workflow run"
	// (docs.github.com, workflow syntax).
	"github": {print: matrixGitHub, files: true, jobs: 256, levels: githubLevels},
	// gitlab.com takes 500 jobs in a pipeline of the free tier (docs.gitlab.com, GitLab.com
	// settings); some of them are barriers.
	"gitlab": {print: matrixGitLab, files: true, total: 450},
}

// label says for a person which stacks a leg has.
func (m *matrixPlan) label(leg int) string {
	stacks := m.legs[leg].Stacks
	text := terminal.Printable(stacks[0])
	if r := []rune(text); len(r) > 60 {
		text = string(r[:59]) + "…"
	}
	if n := len(stacks) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

func matrixText(_ *cli.Context, m *matrixPlan) ([]byte, error) {
	var b bytes.Buffer
	rows := [][]string{{"LEG", "LEVEL", "TIME", "NEEDS", "STACKS"}}
	for n, leg := range m.legs {
		needs := "-"
		if len(leg.Needs) > 0 {
			needs = strings.Trim(fmt.Sprint(numbers(leg.Needs)), "[]")
		}
		rows = append(rows, []string{strconv.Itoa(n + 1), strconv.Itoa(leg.Level), terminal.Took(leg.Took), needs, strings.Join(leg.Stacks, " ")})
	}
	if len(m.legs) > 0 {
		m.u.Table(&b, rows, func(i int) string {
			if i == 0 {
				return terminal.Faint
			}
			return ""
		})
	}
	return b.Bytes(), nil
}

// numbers are legs as they are called outside, from 1.
func numbers(legs []int) []int {
	out := make([]int, len(legs))
	for i, n := range legs {
		out[i] = n + 1
	}
	return out
}

// seconds are those of an estimate, as exact as records are.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

// matrixJSON is for any other engine: all that the others are made of.
func matrixJSON(c *cli.Context, m *matrixPlan) ([]byte, error) {
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
	}{Commit: m.commit.Hash, Op: strings.Join(m.ops, ","), Target: m.o.sel.Target, Seconds: seconds(m.whole), Known: m.known,
		Stacks: []stack{}, Legs: []leg{}, Levels: [][]int{}}
	if m.dir != "" && len(m.legs) > 0 {
		out.Run = m.run
	}
	for _, path := range m.graph.Order() {
		s := m.stacks[path].stack
		out.Stacks = append(out.Stacks, stack{path, s.ID, s.Name, s.Tags, m.of[path], seconds(m.took[path]), append([]string{}, m.graph.Predecessors(path)...)})
	}
	for n, l := range m.legs {
		file := ""
		if m.dir != "" {
			file = filepath.Join(m.dir, legFile(n+1))
		}
		out.Legs = append(out.Legs, leg{n + 1, l.Level, seconds(l.Took), numbers(l.Needs), l.Stacks, file})
		if l.Level == len(out.Levels) {
			out.Levels = append(out.Levels, nil)
		}
		out.Levels[l.Level] = append(out.Levels[l.Level], n+1)
	}
	var b bytes.Buffer
	err := terminal.PrintJSON(&b, out)
	return b.Bytes(), err
}

// matrixGitHub is lines for $GITHUB_OUTPUT, each a name and a value: the matrix of each
// level, [] where there is none. All outputs of a job together may have 1 MB, so that
// what a leg is stands in its file.
func matrixGitHub(c *cli.Context, m *matrixPlan) ([]byte, error) {
	type include struct {
		Leg    int    `json:"leg"`
		Stacks string `json:"stacks"`
	}
	matrices := make([][]include, max(m.levels(), c.Int("levels"), githubLevels))
	for n, leg := range m.legs {
		matrices[leg.Level] = append(matrices[leg.Level], include{n + 1, m.label(n)})
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "run=%s\nlegs=%d\n", m.run, len(m.legs))
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

// matrixGitLab is a child pipeline of a job for each leg. A job needs the jobs that have
// what its stacks come after. It runs also where one of them failed: that blocks the
// stacks that depend on what failed, and no others, and has to be on record.
func matrixGitLab(c *cli.Context, m *matrixPlan) ([]byte, error) {
	tree := m.store.WorkTree()
	dir, err := inside(tree, m.dir)
	if err != nil {
		return nil, fmt.Errorf("--out: %w; artifacts are inside of the project", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by tmnotes matrix: %s of %s in %s.\n", terminal.Plural(len(m.todo), "stack"), note.Short(m.commit.Hash), terminal.Plural(len(m.legs), "leg"))
	if template := c.String("job-template"); template != "" {
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
`, quoted(legScript(c, `"$CI_PROJECT_DIR/$TMNOTES_LEG_FILE"`)))
	if len(m.legs) == 0 {
		// GitLab refuses a pipeline without jobs.
		b.WriteString("nothing-to-do:\n  extends: [.tmnotes, .tmnotes-leg]\n  before_script: []\n  after_script: []\n" +
			"  variables:\n    GIT_STRATEGY: none\n  script:\n    - \"echo 'no stack has to run'\"\n")
		return b.Bytes(), nil
	}
	// The files are an artifact of this very job, in the parent pipeline.
	artifact := ""
	if job, pipeline := m.env.Getenv("CI_JOB_NAME"), m.env.Getenv("CI_PIPELINE_ID"); job != "" && pipeline != "" {
		artifact = fmt.Sprintf("    - pipeline: %s\n      job: %s\n", quoted(pipeline), quoted(job))
	}
	needs, barriers := m.gitlabNeeds(mostNeeds - strings.Count(artifact, "job:"))
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
	for n := range m.legs {
		fmt.Fprintf(&b, "leg-%d: # %s, about %s\n  extends: [.tmnotes, .tmnotes-leg]\n  variables:\n    TMNOTES_LEG_FILE: %s\n", n+1, m.label(n), terminal.Took(m.legs[n].Took), quoted(dir+"/"+legFile(n+1)))
		list(needs[n], artifact)
	}
	return b.Bytes(), nil
}

// barrier is a job that does nothing, and is there when the jobs that it needs are over.
type barrier struct {
	name  string
	needs []string
}

// gitlabNeeds are the jobs that the legs' jobs need, at most so many each. A leg that would
// need more needs a barrier for all that is in lower levels.
func (m *matrixPlan) gitlabNeeds(most int) (needs [][]string, barriers []barrier) {
	name := func(n int) string { return fmt.Sprintf("leg-%d", n+1) }
	below := map[int]string{} // the barrier behind all levels below one
	for _, leg := range m.legs {
		var jobs []string
		for _, n := range leg.Needs {
			jobs = append(jobs, name(n))
		}
		if len(jobs) > most {
			if below[leg.Level] == "" {
				var all []string
				for n, other := range m.legs {
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

// legScript is the line of sh that runs a leg whose file is named, as the shell has it:
// with the command of the matrix, and its flags that are not about the selection.
func legScript(c *cli.Context, file string) string {
	words := []string{"tmnotes"}
	if c.Bool("script") {
		words = append(words, "script")
	}
	words = append(words, "run")
	if dir := c.String("chdir"); dir != "" {
		words = append(words, "-C", shellQuote(dir))
	}
	for _, flag := range []string{"X", "quiet", "eval", "enable-sharing", "mock-on-fail", "sync-deployment", "sync-drift-status"} {
		if c.Bool(flag) {
			words = append(words, strings.Repeat("-", min(len(flag), 2))+flag)
		}
	}
	for _, flag := range []string{"op", "ref", "remote", "sync"} {
		if v := c.String(flag); v != "" {
			words = append(words, "--"+flag, shellQuote(v))
		}
	}
	for _, v := range disabledSafeguards(c) {
		words = append(words, "--disable-safeguards", shellQuote(v))
	}
	words = append(words, "--stacks-from", file, "--")
	for _, w := range c.Args().Slice() {
		words = append(words, shellQuote(w))
	}
	return strings.Join(words, " ")
}
