package matrix

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

// Whatever the legs need: no job of GitLab needs more than it may, none waits for itself,
// and each starts after all that it needs.
func TestGitLabNeeds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		most := rapid.IntRange(2, 5).Draw(rt, "most")
		var legs []Leg
		from := 0
		for level := range rapid.IntRange(1, 5).Draw(rt, "levels") {
			below := len(legs)
			for range rapid.IntRange(1, 12).Draw(rt, "legs") {
				leg := Leg{Level: level, Stacks: []string{fmt.Sprintf("/%d", len(legs))}}
				if level > 0 {
					leg.Needs = append(leg.Needs, rapid.IntRange(from, below-1).Draw(rt, "one below"))
					leg.Needs = append(leg.Needs, rapid.SliceOfN(rapid.IntRange(0, below-1), 0, 12).Draw(rt, "others")...)
					slices.Sort(leg.Needs)
					leg.Needs = slices.Compact(leg.Needs)
				}
				legs = append(legs, leg)
			}
			from = below
		}
		needs, barriers := needsOf(legs, most)
		jobs := map[string][]string{}
		add := func(name string, needs []string) {
			if _, twice := jobs[name]; twice || len(needs) > most {
				rt.Fatalf("%s is there twice, or needs %v", name, needs)
			}
			jobs[name] = needs
		}
		for _, b := range barriers {
			add(b.name, b.needs)
		}
		for n := range legs {
			add(fmt.Sprintf("leg-%d", n+1), needs[n])
		}
		// after is all that is over when a job starts; it ends, as no job waits for itself.
		var after func(job string, on []string) map[string]bool
		after = func(job string, on []string) map[string]bool {
			if slices.Contains(on, job) {
				rt.Fatalf("jobs wait for each other: %v", on)
			}
			all := map[string]bool{}
			for _, n := range jobs[job] {
				if _, is := jobs[n]; !is {
					rt.Fatalf("%s needs %s, which is no job", job, n)
				}
				all[n] = true
				for k := range after(n, append(slices.Clone(on), job)) {
					all[k] = true
				}
			}
			return all
		}
		for n, leg := range legs {
			over := after(fmt.Sprintf("leg-%d", n+1), nil)
			for _, k := range leg.Needs {
				if !over[fmt.Sprintf("leg-%d", k+1)] {
					rt.Fatalf("leg %d starts before leg %d is over: %v", n+1, k+1, over)
				}
			}
			for job := range over {
				var k int
				if _, err := fmt.Sscanf(job, "leg-%d", &k); err == nil && legs[k-1].Level >= leg.Level {
					rt.Fatalf("leg %d of level %d waits for leg %d of level %d", n+1, leg.Level, k, legs[k-1].Level)
				}
			}
		}
		if len(barriers) > 0 && !slices.ContainsFunc(legs, func(l Leg) bool { return len(l.Needs) > most }) {
			rt.Fatalf("barriers that nobody needs: %v", barriers)
		}
	})
}

// The command of a leg is the same when GitLab has read it, whatever it means to YAML.
func TestGitLabScript(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	for _, script := range []string{`run -- deploy 'it'\''s' "$x": #1`, "true", "1:20", "- a", "two\nlines\n", "tab\t, bell\a, delete\x7f, next line\u0085, 世😀"} {
		out, err := forGitLab(&Document{Plan: &Plan{}, Dir: filepath.Join(tree, "legs"), GitLab: GitLab{Title: "Made for a test.", Tree: tree, Script: script}})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Common struct{ Script []string } `yaml:".tmnotes"`
		}
		if err := yaml.Unmarshal(out, &got); err != nil || !slices.Equal(got.Common.Script, []string{script}) {
			t.Errorf("%q: %v %q in\n%s", script, err, got.Common.Script, out)
		}
	}
}
