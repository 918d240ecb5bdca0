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
	written := map[string]time.Time{}
	for _, c := range r.Commits {
		written[c.Hash] = c.Time
	}
	var took, recovered, leads []time.Duration
	for i := range r.Stacks {
		lead := leadTimes(r.Stacks[i].History, written, since)
		r.Stacks[i].LeadTime, leads = summary(lead), append(leads, lead...)
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
	f.Took, f.LeadTime = summary(took), summary(leads)
	return f
}

// leadTimes are how long changes took from their commit to the deployment of a stack; see
// Figures.LeadTime. written has the times of commits.
func leadTimes(history []Result, written map[string]time.Time, since time.Time) (leads []time.Duration) {
	var last *Result            // success
	var first, newest time.Time // of the oldest commit with which it was tried since then; of the newest that ever succeeded
	for i := range history {
		h := &history[i]
		at, known := written[h.Commit]
		switch {
		case h.Status == note.OK && h.Record.Op == note.Destroy:
			last, first = nil, time.Time{}
			continue
		case h.Record.Op != note.Deploy || h.Status == note.Triggered:
			continue
		case known && at.After(newest) && (first.IsZero() || at.Before(first)):
			first = at
		}
		if h.Status != note.OK {
			continue
		}
		// Before the first one there may have been another that is not in the report.
		if news := last == nil && since.IsZero() || last != nil && last.brought(h); news && !first.IsZero() && h.Record.By == "" && !h.Record.Dirty && h.Record.At.After(since) {
			leads = append(leads, max(0, h.Record.At.Sub(first)))
		}
		last, first = h, time.Time{}
		if at.After(newest) {
			newest = at
		}
	}
	return leads
}

// brought reports whether a later success is of other inputs, as far as is known.
func (h *Result) brought(later *Result) bool {
	a, b := h.Record.Inputs, later.Record.Inputs
	return h.Commit != later.Commit && (a == "" || b == "" || a != b)
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
