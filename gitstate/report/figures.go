package report

import (
	"slices"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// figures sums a report up. What happened at since or before is not all in it,
// and does not count; without such a time, it counts from the first result.
func figures(r *Report, since time.Time) Figures {
	f := Figures{Since: since, Until: r.At}
	counts := func(at time.Time) bool { return since.IsZero() || at.After(since) }
	runs := map[runOf]outcome{}
	var took, recovered []time.Duration
	for i := range r.Stacks {
		var failing time.Time // since when
		for _, h := range r.Stacks[i].History {
			at := h.Record.At
			if !counts(at) {
				continue
			}
			if since.IsZero() && (f.Since.IsZero() || at.Before(f.Since)) {
				f.Since = at
			}
			if !note.Op(h.Record.Op).Deploys() {
				continue
			}
			switch {
			case isFailure(h.Status) && failing.IsZero():
				failing = at
			case h.Status == note.OK && !failing.IsZero():
				if h.Record.Op == note.Deploy {
					recovered = append(recovered, at.Sub(failing))
				}
				failing = time.Time{}
			}
			if h.Record.Op != note.Deploy || h.Record.By != "" {
				continue
			}
			k := runOf{h.Record.Run, h.Commit}
			runs[k] = runs[k].and(h.Status)
			if h.Status == note.OK && h.Record.Took > 0 {
				took = append(took, h.Record.Took)
			}
		}
		if !failing.IsZero() {
			f.Failing++
		}
	}
	f.count(runs)
	f.Recoveries, f.TimeToRecover = len(recovered), Duration(quantile(recovered, 0.5))
	f.Took = summary(took)
	return f
}

func isFailure(s note.Status) bool { return s == note.Failed || s == note.Interrupted }

// outcome is what came of the deployments of a run on a commit.
type outcome struct{ ran, failed, open bool }

func (o outcome) and(s note.Status) outcome {
	return outcome{o.ran || isFailure(s) || s == note.OK, o.failed || isFailure(s), o.open || isOpen(s)}
}

// count counts the runs that are over, and how often they succeed.
func (f *Figures) count(runs map[runOf]outcome) {
	for _, o := range runs {
		switch {
		case o.open || !o.ran:
		case o.failed:
			f.Failed++
			fallthrough
		default:
			f.Deployments++
		}
	}
	if f.Deployments > 0 {
		rate := float64(f.Failed) / float64(f.Deployments)
		f.FailureRate = &rate
		days := max(f.Until.Sub(f.Since).Hours()/24, 1)
		f.PerDay = float64(f.Deployments-f.Failed) / days
	}
}

// durations are of the deployments that succeeded.
func durations(history []Result) Durations {
	var took []time.Duration
	for _, h := range history {
		if h.Record.Op == note.Deploy && h.Status == note.OK && h.Record.Took > 0 {
			took = append(took, h.Record.Took)
		}
	}
	return summary(took)
}

func summary(took []time.Duration) Durations {
	return Durations{len(took), Duration(quantile(took, 0.5)), Duration(quantile(took, 0.95))}
}

// quantile is the smallest of the values that at least the share q of them do
// not exceed (the nearest rank), 0 if there are none.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(q*float64(len(values)) + 0.999999)
	return values[min(max(rank, 1), len(values))-1]
}
