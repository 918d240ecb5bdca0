package gitstate

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Honest runs of several clones sign what they record, in whatever pieces. However the notes are merged
// (in any order, in any grouping, with what was forgotten in one of them, with drift that is seen again
// and again and announcements that are over) whatever is still there counts, nothing seems to be gone, and
// all runs are signed.
func TestSignedMergesProperty(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	by := must[*trust](t)(func() (*trust, error) {
		p := s.as("alice", s.Clone(), "R")
		fetch(t, p)
		return p.trusted(context.Background())
	}())
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		clones := make([]allNotes, rapid.IntRange(2, 4).Draw(t, "clones"))
		for i := range clones {
			clones[i] = allNotes{}
		}
		commits := []string{s.one, s.two}
		sec, runs := 0, 0
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			k := rapid.IntRange(0, len(clones)-1).Draw(t, "clone")
			c, commit := clones[k], rapid.SampledFrom(commits).Draw(t, "commit")
			sec += rapid.IntRange(-3, 10).Draw(t, "clock") // they are wrong
			now := gittest.T0.Add(time.Duration(sec) * time.Second)
			runs++
			run := fmt.Sprintf("R%02d", runs)
			sign := func(lines []string) {
				r := note.Record{Run: run, At: now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "later")) * time.Second)}
				line, err := by.s.vouchFor(ctx, r, commit, lines)
				if err != nil {
					t.Fatal(err)
				}
				c.add(commit, append(slices.Clone(lines), line)...)
			}
			switch rapid.SampledFrom([]string{"run", "run", "run", "merge", "merge", "forget", "hand"}).Draw(t, "what") {
			case "merge":
				c.merge(clones[rapid.IntRange(0, len(clones)-1).Draw(t, "other")])
			case "forget":
				results := slices.DeleteFunc(slices.Clone(c[commit]), func(l string) bool {
					r, err := note.ParseRecord(l)
					return err != nil || r.Event == note.Forgotten || r.Event == note.Signed
				})
				if len(results) == 0 {
					continue
				}
				tomb := note.Tombstone(rapid.SampledFrom(results).Draw(t, "line"), note.Record{At: now, By: "Alice <alice@example.com>"})
				sign([]string{mustLine(tomb)})
			case "hand":
				r := rec(sec, rapid.SampledFrom([]note.Status{note.OK, note.Failed, note.Triggered}).Draw(t, "status"), note.Deploy, "/a", run)
				r.CommitTime = 1
				r.SayCommit(commit)
				sign([]string{mustLine(r)})
			default:
				op := rapid.SampledFrom([]string{note.Deploy, note.Destroy, note.Drift, note.Drift}).Draw(t, "op")
				lines := []string{mustLine(note.Record{At: now.Add(-time.Second), Event: note.Started, Run: run, Op: op, By: "Alice <alice@example.com>", Version: 1})}
				for i, stack := range rapid.SliceOfN(rapid.SampledFrom([]string{"/a", "/b", "/c"}), 1, 4).Draw(t, "stacks") {
					c.add(commit, mustLine(rec(sec, note.Queued, op, stack, run)))
					r := rec(sec+i, rapid.SampledFrom([]note.Status{note.OK, note.OK, note.Failed, note.Drifted}).Draw(t, "status"), op, stack, run)
					if r.Status == note.Drifted && op != note.Drift {
						r.Status = note.Canceled
					}
					lines = append(lines, mustLine(r))
					if rapid.Bool().Draw(t, "push") {
						sign(lines)
						lines = nil
						if rapid.Bool().Draw(t, "fetched") {
							clones[(k+1)%len(clones)].merge(c)
						}
					}
				}
				lines = append(lines, mustLine(note.Record{At: now.Add(time.Minute), Event: note.Finished, Run: run}))
				sign(lines)
			}
			for i := range clones {
				honest(t, by, clones[i])
			}
		}
		all := allNotes{}
		for _, c := range rapid.Permutation(clones).Draw(t, "order") {
			all.merge(c)
			honest(t, by, all)
		}
		for i := range clones {
			all.merge(clones[i]) // once more
		}
		honest(t, by, all)
	})
}

func honest(t *rapid.T, by *trust, notes allNotes) {
	t.Helper()
	for commit, lines := range notes {
		j := by.judge(commit, lines)
		if len(j.doubts) > 0 || len(j.uncounted) > 0 || !slices.Equal(j.counted, lines) {
			t.Fatalf("%d of %d lines count; in doubt: %v; %v do not count", len(j.counted), len(lines), j.doubts, j.uncounted)
		}
		for _, sg := range j.signatures {
			if sg.Bad != nil || sg.Missing > 0 {
				t.Fatalf("%v: %d are missing: %v", sg.Text, sg.Missing, sg.Bad)
			}
		}
		for _, v := range verifiedRuns(j) {
			if v.Verdict() != "signed" {
				t.Fatalf("%s is %s: %v", v.Run, v.Verdict(), v.Why())
			}
		}
	}
}
