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
	type outcome struct{ ran, failed, open bool }
	runs := map[runOf]*outcome{}
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
			failed := h.Status == note.Failed || h.Status == note.Interrupted
			switch {
			case failed && failing.IsZero():
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
			if runs[k] == nil {
				runs[k] = &outcome{}
			}
			o := runs[k]
			o.ran = o.ran || failed || h.Status == note.OK
			o.failed = o.failed || failed
			o.open = o.open || isOpen(h.Status)
			if h.Status == note.OK && h.Record.Took > 0 {
				took = append(took, h.Record.Took)
			}
		}
		if !failing.IsZero() {
			f.Failing++
		}
	}
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
	f.Recoveries, f.TimeToRecover = len(recovered), Duration(quantile(recovered, 0.5))
	f.Took = summary(took)
	return f
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
