package matrix

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/runner"
)

// Whatever the graph: every stack is in one leg, legs wait only for legs of lower
// levels and for all that their stacks come after, and neither the jobs nor the
// levels are more than there may be.
func TestPackProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		nodes, after := drawStacks(rt, 30)
		order, err := runner.Sort(nodes, after)
		if err != nil {
			rt.Fatal(err)
		}
		g, err := runner.NewGraph(order, after)
		if err != nil {
			rt.Fatal(err)
		}
		took, sum, longest := map[string]time.Duration{}, time.Duration(0), time.Duration(0)
		for _, p := range order {
			took[p] = time.Duration(rapid.SampledFrom([]int{0, 1, 1, 5, 60}).Draw(rt, "seconds")) * time.Second
			sum += took[p]
			longest = max(longest, took[p])
		}
		jobs, most := rapid.IntRange(0, 5).Draw(rt, "jobs"), rapid.IntRange(0, 4).Draw(rt, "levels")
		least := time.Duration(rapid.SampledFrom([]int{0, 0, 3, 60}).Draw(rt, "least")) * time.Second
		legs := Pack(g, func(p string) time.Duration { return took[p] }, Limits{Jobs: jobs, Levels: most, MinLeg: least})

		of, at := map[string]int{}, map[string]int{}
		width, load, short := map[int]int{}, map[int]time.Duration{}, map[int]bool{}
		depth, level := 0, 0
		for n, leg := range legs {
			if leg.Level < level || leg.Level > level+1 || len(leg.Stacks) == 0 {
				rt.Fatalf("leg %d: %+v", n, leg)
			}
			level = leg.Level
			width[leg.Level]++
			var all time.Duration
			for i, p := range leg.Stacks {
				if _, twice := of[p]; twice {
					rt.Fatalf("%s is in two legs", p)
				}
				of[p], at[p] = n, i
				all += took[p]
			}
			load[leg.Level] += all
			short[leg.Level] = short[leg.Level] || all < least
			if leg.Took != all {
				rt.Fatalf("leg %d takes %v, not %v", n, leg.Took, all)
			}
		}
		if len(of) != len(order) {
			rt.Fatalf("%d of %d stacks are in a leg", len(of), len(order))
		}
		needs := map[int][]int{}
		chain := map[string]int{}
		for _, p := range order {
			chain[p] = 1
			for _, q := range g.Predecessors(p) {
				chain[p] = max(chain[p], chain[q]+1)
				if of[p] == of[q] {
					if at[q] >= at[p] {
						rt.Fatalf("%s stands after %s", q, p)
					}
				} else {
					needs[of[p]] = append(needs[of[p]], of[q])
				}
			}
			depth = max(depth, chain[p])
		}
		for n, leg := range legs {
			slices.Sort(needs[n])
			if want := slices.Compact(needs[n]); !slices.Equal(leg.Needs, want) {
				rt.Fatalf("leg %d needs %v, not %v", n, leg.Needs, want)
			}
			for _, m := range leg.Needs {
				if legs[m].Level >= leg.Level {
					rt.Fatalf("leg %d of level %d waits for %d of level %d", n, leg.Level, m, legs[m].Level)
				}
			}
		}
		if len(order) > 0 && level+1 > depth || most > 0 && level+1 > most {
			rt.Fatalf("%d levels for a chain of %d, at most %d", level+1, depth, most)
		}
		for l, w := range width {
			if jobs > 0 && w > jobs {
				rt.Fatalf("level %d has %d legs", l, w)
			}
			if short[l] && (w > 1 || level > 0) {
				rt.Fatalf("level %d of %d has %d legs, and one shorter than %v", l, level+1, w, least)
			}
		}
		if least == 0 && (most == 0 || depth <= most) {
			// As even as the longest stack lets them be.
			for n, leg := range legs {
				if jobs > 0 && leg.Took > load[leg.Level]/time.Duration(jobs)+longest {
					rt.Fatalf("leg %d takes %v of the %v of its level", n, leg.Took, load[leg.Level])
				}
			}
		}
	})
}

func TestPack(t *testing.T) {
	t.Parallel()
	diamonds := map[string][]string{"b": {"a"}, "c": {"a"}, "d": {"b", "c"}, "f": {"e"}, "h": {"g"}}
	for name, c := range map[string]struct {
		after        map[string][]string
		took         map[string]int
		jobs, levels int
		least        time.Duration
		want         string
	}{
		"a leg a stack":            {diamonds, nil, 0, 0, 0, "0:a 0:e 0:g | 1:b<0 1:c<0 1:f<1 1:h<2 | 2:d<3,4"},
		"two at once":              {diamonds, nil, 2, 0, 0, "0:ag 0:e | 1:bf<0,1 1:ch<0 | 2:d<2,3"},
		"the longest has its own":  {diamonds, map[string]int{"e": 9}, 2, 0, 0, "0:ag 0:e | 1:bf<0,1 1:ch<0 | 2:d<2,3"},
		"even length":              {map[string][]string{}, map[string]int{"a": 7, "b": 6, "c": 5, "d": 4, "e": 3, "f": 3, "g": 2, "h": 2}, 3, 0, 0, "0:af 0:beg 0:cdh"},
		"one level: what is tied":  {diamonds, nil, 0, 1, 0, "0:abcd 0:ef 0:gh"},
		"two levels of three":      {diamonds, nil, 0, 2, 0, "0:a 0:e 0:g | 1:bcd<0 1:f<1 1:h<2"},
		"one job, one level":       {diamonds, nil, 1, 1, 0, "0:aegbcfhd"},
		"nothing":                  {nil, map[string]int{}, 4, 4, 0, ""},
		"no more jobs than stacks": {map[string][]string{}, map[string]int{"a": 1, "b": 1}, 8, 0, 0, "0:a 0:b"},
		"quick ones share a leg":   {diamonds, nil, 0, 0, time.Minute, "0:aegbcfhd"},
		"legs worth a machine":     {diamonds, map[string]int{"a": 60, "e": 60}, 0, 0, time.Minute, "0:abcd 0:egfh"},
		"long ones have theirs":    {diamonds, map[string]int{"a": 90, "e": 90, "d": 90}, 0, 0, time.Minute, "0:abc 0:egfh | 1:d<0"},
	} {
		seen := map[string]bool{}
		var nodes []string
		add := func(p string) {
			if !seen[p] {
				seen[p] = true
				nodes = append(nodes, p)
			}
		}
		for p, qs := range c.after {
			add(p)
			for _, q := range qs {
				add(q)
			}
		}
		for p := range c.took {
			add(p)
		}
		order, err := runner.Sort(nodes, c.after)
		if err != nil {
			t.Fatal(err)
		}
		g, err := runner.NewGraph(order, c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		last := 0
		for _, leg := range Pack(g, func(p string) time.Duration { return time.Duration(max(c.took[p], 1)) * time.Second }, Limits{Jobs: c.jobs, Levels: c.levels, MinLeg: c.least}) {
			if leg.Level != last {
				got, last = append(got, "|"), leg.Level
			}
			s := fmt.Sprintf("%d:%s", leg.Level, strings.Join(leg.Stacks, ""))
			if len(leg.Needs) > 0 {
				s += "<" + strings.Trim(strings.ReplaceAll(fmt.Sprint(leg.Needs), " ", ","), "[]")
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n %s, not\n %s", name, s, c.want)
		}
	}
}

// What is left out still stands between the others.
func TestGraphWithout(t *testing.T) {
	t.Parallel()
	g, err := runner.NewGraph([]string{"/a", "/b", "/c", "/d"}, map[string][]string{"/b": {"/a"}, "/c": {"/b"}, "/d": {"/b", "/c"}})
	if err != nil {
		t.Fatal(err)
	}
	g = g.Without(map[string]bool{"/b": true})
	if order := g.Order(); !slices.Equal(order, []string{"/a", "/c", "/d"}) || !slices.Equal(g.Predecessors("/c"), []string{"/a"}) || !slices.Equal(g.Predecessors("/d"), []string{"/a", "/c"}) {
		t.Errorf("%v: /c after %v, /d after %v", order, g.Predecessors("/c"), g.Predecessors("/d"))
	}
}

// drawStacks makes stacks, and who comes after whom.
func drawStacks(t *rapid.T, most int) (nodes []string, after map[string][]string) {
	n := rapid.IntRange(0, most).Draw(t, "n")
	for i := range n {
		nodes = append(nodes, fmt.Sprintf("/s%02d", i))
	}
	rank := rapid.Permutation(nodes).Draw(t, "rank")
	after = map[string][]string{}
	for i, p := range rank {
		for _, j := range rapid.SliceOfN(rapid.IntRange(0, max(i, 1)), 0, 3).Draw(t, "preds") {
			switch {
			case j < i:
				after[p] = append(after[p], rank[j])
			case rapid.Bool().Draw(t, "stranger"):
				after[p] = append(after[p], "/elsewhere")
			}
		}
	}
	return nodes, after
}
