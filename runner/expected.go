package runner

import (
	"slices"
	"time"
)

// Expected is how long the stacks of a graph that are to run take, if each takes as long as took says, and at
// most so many run at once.
func Expected(g *Graph, todo []string, took map[string]time.Duration, parallel int) time.Duration {
	waits := map[string]int{} // for how many of todo
	for _, path := range todo {
		waits[path] = 0
	}
	after := map[string][]string{}
	for _, path := range todo {
		for _, p := range g.Predecessors(path) {
			if _, is := waits[p]; is {
				waits[path]++
				after[p] = append(after[p], path)
			}
		}
	}
	type job struct {
		path string
		end  time.Duration
	}
	var ready []string
	for _, path := range todo {
		if waits[path] == 0 {
			ready = append(ready, path)
		}
	}
	var now time.Duration
	var running []job
	for len(ready)+len(running) > 0 {
		for len(ready) > 0 && len(running) < max(parallel, 1) {
			running = append(running, job{ready[0], now + took[ready[0]]})
			ready = ready[1:]
		}
		i := 0
		for j := range running {
			if running[j].end < running[i].end {
				i = j
			}
		}
		ended := running[i]
		now, running = ended.end, slices.Delete(running, i, i+1)
		for _, path := range after[ended.path] {
			if waits[path]--; waits[path] == 0 {
				ready = append(ready, path)
			}
		}
	}
	return now
}
