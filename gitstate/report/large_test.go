package report

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// large is a report of many stacks and commits, of which each deployed so many
// of the stacks, as it might be after some months.
func large(stacks, commits, each int) *Report {
	rnd := rand.New(rand.NewPCG(1, 2))
	areas := []string{"network", "data", "identity", "edge", "observability", "payments", "search", "platform"}
	people := []string{"Alice Archer <alice@example.com>", "Bob Baker <bob@example.com>", "Chiara Conti <chiara@example.com>", "Dmitri <d@example.com>", "renovate[bot]"}
	reasons := []string{
		"Error: creating RDS DB Instance: InvalidParameterCombination: RDS does not support creating a DB instance with the following combination",
		"Error: Error acquiring the state lock: ConditionalCheckFailedException", "Error: timeout while waiting for state to become 'available' (last state: 'modifying')",
		"Error: reading IAM Role: couldn't find resource", "Error: Provider produced inconsistent final plan", "Error: Post \"https://api.example.com\": net/http: TLS handshake timeout",
	}
	subjects := []string{"widen the subnets", "raise the limits", "a larger cache", "rotate keys", "bump the provider", "fix tags", "new region", "drop the old queue"}
	r := &Report{At: day(31, 0), Repository: "github.com/acme/infrastructure", Ref: gitstate.DefaultRef, Remote: "origin", Fetched: day(31, 0).Add(-3 * time.Minute)}
	base := make([]time.Duration, stacks)
	for i := range stacks {
		area := areas[i*len(areas)/stacks]
		base[i] = time.Duration(3+rnd.ExpFloat64()*25) * time.Second
		s := Stack{Path: fmt.Sprintf("/%s/%s/svc-%03d", []string{"prod", "staging", "dev"}[i%3], area, i), ID: fmt.Sprintf("3f2a%08x-7c1d-4d0e-9a55-%012x", i*7919, i*104729), Tags: []string{area, []string{"prod", "staging", "dev"}[i%3]},
			Status: note.Never, DeploymentStatus: note.Never, DriftStatus: note.Never}
		if i%5 == 4 {
			s.Target = "eu"
		}
		r.Stacks = append(r.Stacks, s)
	}
	add := func(i int, res Result) {
		s := &r.Stacks[i]
		res.Record.Stack, res.Record.ID, res.Record.Target = s.Path, s.ID, s.Target
		s.History = append(s.History, res)
		keep := s.Latest[:0:0]
		for _, l := range s.Latest {
			if note.Op(l.Record.Op).Deploys() != note.Op(res.Record.Op).Deploys() {
				keep = append(keep, l)
			}
		}
		s.Latest = append(keep, res)
		if note.Op(res.Record.Op).Deploys() {
			s.DeploymentStatus, s.Status = res.Status, res.Status
			if res.Status == note.Blocked || res.Status == note.Canceled {
				s.Status = note.Failed
			}
		} else if s.DriftStatus = res.Status; s.Status == note.OK && res.Status == note.Drifted {
			s.Status = res.Status
		}
		switch {
		case res.Status == note.Failed:
			s.LastFailure = &res
		case res.Status == note.Drifted:
			s.LastDrift = &res
		}
	}
	start := day(31, 0).Add(-time.Duration(commits) * 11 * time.Hour)
	for c := range commits {
		at := start.Add(time.Duration(c)*11*time.Hour + time.Duration(rnd.IntN(600))*time.Minute)
		hash := fmt.Sprintf("%016x%016x%08x", rnd.Uint64(), rnd.Uint64(), rnd.Uint32())
		r.Commits = append([]Commit{{hash, fmt.Sprintf("%s in %s (#%d)", subjects[rnd.IntN(len(subjects))], areas[rnd.IntN(len(areas))], 1000+c), at.Add(-10 * time.Minute)}}, r.Commits...)
		var todo []int
		for _, i := range rnd.Perm(stacks)[:min(each, stacks)] {
			if i%97 != 13 {
				todo = append(todo, i)
			}
		}
		for attempt := 0; len(todo) > 0 && attempt < 3; attempt++ {
			run := Run{Run: fmt.Sprintf("01KB%022d", c*10+attempt), Commit: hash, Op: note.Deploy, By: people[rnd.IntN(len(people))], Job: fmt.Sprintf("https://github.com/acme/infrastructure/actions/runs/%d", 70000+c),
				Cmd: "terraform apply -auto-approve -input=false", Started: at, Stacks: len(todo), Status: note.OK}
			var again []int
			for n, i := range todo {
				took := time.Duration(float64(base[i]) * (0.7 + rnd.Float64()))
				res := Result{Commit: hash, Status: note.OK, By: run.By, Record: note.Record{At: at.Add(time.Duration(n)*700*time.Millisecond + took), Op: note.Deploy, Took: took, Run: run.Run}}
				switch p := rnd.Float64(); {
				case p < 0.006:
					res.Status, res.Record.Reason, res.Record.Tries = note.Failed, reasons[rnd.IntN(len(reasons))], 2*rnd.IntN(2)
					run.Status, run.Failed = note.Failed, run.Failed+1
					again = append(again, i)
				case p < 0.009:
					res.Status, res.Record.Cause, res.Record.Took = note.Blocked, r.Stacks[(i+1)%stacks].Path, 0
					run.Status, run.Blocked = note.Failed, run.Blocked+1
					again = append(again, i)
				case p < 0.01:
					res.Status = note.Interrupted
					again = append(again, i)
				default:
					run.OK++
				}
				res.Record.Status = res.Status
				add(i, res)
			}
			run.Finished = at.Add(time.Duration(len(todo)) * time.Second)
			r.Runs = append([]Run{run}, r.Runs...)
			at = at.Add(time.Duration(20+rnd.IntN(200)) * time.Minute)
			if todo = again; rnd.Float64() < 0.3 {
				break
			}
		}
		if c%7 == 6 { // a drift run
			run := Run{Run: fmt.Sprintf("01KD%022d", c), Commit: hash, Op: note.Drift, By: "nightly", Cmd: "terraform plan -detailed-exitcode", Started: at.Add(time.Hour), Finished: at.Add(80 * time.Minute), Status: note.Drifted}
			for range min(each, stacks) {
				i := rnd.IntN(stacks)
				if r.Stacks[i].Status == note.Never {
					continue
				}
				res := Result{Commit: hash, Status: note.OK, By: run.By, Record: note.Record{At: run.Started, Op: note.Drift, Took: base[i] / 2, Run: run.Run}}
				if rnd.Float64() < 0.06 {
					res.Status, run.Drifted = note.Drifted, run.Drifted+1
				}
				res.Record.Status = res.Status
				add(i, res)
			}
			r.Runs = append([]Run{run}, r.Runs...)
		}
	}
	for i := range r.Stacks {
		r.Stacks[i].Took = durations(r.Stacks[i].History)
	}
	r.Head = r.Commits[0].Hash
	r.Figures = figures(r, time.Time{})
	return r
}
