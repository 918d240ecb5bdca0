package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

func (v *pageView) row(i int, s *Stack) rowView {
	x := rowView{Stack: s, Index: i, PathText: visible(s.Path), NameText: visible(s.Name), TagsText: visible(strings.Join(s.Tags, ", ")), Strip: v.strip(s)}
	if "/"+s.Name == s.Path || strings.HasSuffix(s.Path, "/"+s.Name) {
		x.NameText = "" // says nothing new
	}
	d, drift := s.Deployment(), s.Drift()
	shown := d
	if shown == nil || s.Status == note.Drifted && drift != nil {
		shown = cmp.Or(drift, d)
	}
	if shown != nil {
		r := v.result(shown)
		x.Shown = &r
		if s.Status != note.OK || d != nil && (d.Status == note.Triggered || d.Record.Dirty) {
			x.Why = r.WhyText
		}
		if s.Status == note.OK && d != nil && d.Status.Unsuccessful() {
			x.Why = strings.TrimSuffix(string(d.Status)+" before it started: "+r.WhyText, ": ")
		}
	}
	switch {
	case s.Status == note.Orphaned:
		x.Why = "gone from HEAD, and not destroyed"
		if s.LastCommit != "" {
			x.Why += "; " + short(s.LastCommit) + " had it last"
		}
	case len(s.Diverged) > 0:
		x.Why = "conflict: deployed by runs unaware of each other: " + strings.Join(append([]string{d.Record.Run}, s.Diverged...), ", ")
	}
	if s.LastFailure != nil {
		r := v.result(s.LastFailure)
		if log := s.LastFailure.Log; log != "" {
			r.Log = readable(excerpt(log, v.logs))
		}
		x.Failure = &r
	}
	if s.LastDrift != nil {
		r := v.result(s.LastDrift)
		x.LastDrifted = &r
	}
	if s.Took.Count > 0 {
		x.TookSays = fmt.Sprintf("%s, median of %d; 95 %% take up to %s", took(time.Duration(s.Took.Median)), s.Took.Count, took(time.Duration(s.Took.P95)))
	}
	if s.LeadTime.Count > 0 {
		x.LeadSays = fmt.Sprintf("%s, median of %d; 95 %% take up to %s", took(time.Duration(s.LeadTime.Median)), s.LeadTime.Count, took(time.Duration(s.LeadTime.P95)))
	}
	for j := len(s.History) - 1; j >= max(0, len(s.History)-v.recent); j-- {
		x.Recent = append(x.Recent, v.result(&s.History[j]))
	}
	x.Plot = v.plot(s)
	name := shellWord(s.Path)
	if s.Target != "" {
		name += " --target " + shellWord(s.Target)
	}
	switch {
	case s.Status.Unsuccessful():
		if x.Failure != nil && x.Failure.Log != "" {
			x.Next = append(x.Next, "tmnotes show --log "+name)
		}
		x.Next = append(x.Next, "tmnotes blame "+name)
	case s.Status == note.Drifted:
		x.Next = append(x.Next, "tmnotes show --plan "+name)
	}
	return x
}

func (v *pageView) result(h *Result) resultView {
	r := &h.Record
	x := resultView{commitView: v.commit(h.Commit), Status: shownStatus(h), Op: r.Op, Who: who(h.By), Tries: r.Tries, At: r.At, WhyText: visible(why(r))}
	if r.Took > 0 {
		x.TookText = took(r.Took)
	}
	if r.Exit != nil && *r.Exit != 0 {
		x.Exit = fmt.Sprint(*r.Exit)
	}
	if run := v.heads[runOf{r.Run, h.Commit}]; run != nil {
		x.Job, x.Link = run.Job, isLink(run.Job)
	}
	return x
}

// shownStatus is the status, or what a destruction came to.
func shownStatus(h *Result) string {
	if h.Status == note.OK && h.Record.Op == note.Destroy {
		return "destroyed"
	}
	return string(h.Status)
}

func why(r *note.Record) string {
	var parts []string
	if p := r.Plan(); p.Changes() {
		parts = append(parts, p.String())
	}
	if r.Dirty {
		parts = append(parts, "with uncommitted changes")
	}
	if w := r.Why(); w != "" {
		parts = append(parts, w)
	}
	return strings.Join(parts, "; ")
}

// stripLength is how many results are shown in a row without the script.
const stripLength = 20

// strip shows the newest deployments, the latest first, a sign each.
func (v *pageView) strip(s *Stack) string {
	var b strings.Builder
	n := 0
	for i := len(s.History) - 1; i >= 0 && n < stripLength; i-- {
		if h := &s.History[i]; note.Op(h.Record.Op).Deploys() {
			b.WriteString(signs[shownStatus(h)])
			n++
		}
	}
	return b.String()
}

// signs are what tells the statuses apart without colours; page.css has them, too.
var signs = map[string]string{"ok": "✓", "failed": "✕", "interrupted": "!", "blocked": "⊘", "canceled": "–", "drifted": "≠", "running": "▸", "queued": "…",
	"triggered": "↻", "destroyed": "∅"}

// plot draws how long the deployments of a stack took, the oldest on the left.
func (v *pageView) plot(s *Stack) *plotView {
	var of []*Result
	for i := range s.History {
		h := &s.History[i]
		if h.Record.Op == note.Deploy && h.Record.Took > 0 && (h.Status == note.OK || h.Status == note.Failed) {
			of = append(of, h)
		}
	}
	of = of[max(0, len(of)-v.plotted):]
	if len(of) < 2 {
		return nil
	}
	most := of[0].Record.Took
	for _, h := range of {
		most = max(most, h.Record.Took)
	}
	p := &plotView{Max: took(most), From: of[0].Record.At.Format("2 Jan 2006"), To: of[len(of)-1].Record.At.Format("2 Jan 2006")}
	bad := 0
	var line, dots, crosses strings.Builder
	for i, h := range of {
		x, y := 3+314*i/(len(of)-1), 60-int(46*int64(h.Record.Took)/int64(most))
		if h.Status != note.OK {
			bad++
			fmt.Fprintf(&crosses, "M%d %dl4 4m0-4l-4 4", x-2, y-2)
			continue
		}
		op := "L"
		if line.Len() == 0 {
			op = "M"
		}
		fmt.Fprintf(&line, "%s%d %d", op, x, y)
		if len(of) <= 12 || v.plotted == 100 && len(of) <= 40 {
			fmt.Fprintf(&dots, "M%d %dh0", x, y)
		}
	}
	p.Line, p.Dots, p.Bad = line.String(), dots.String(), crosses.String()
	p.Label = fmt.Sprintf("How long its last %d deployments took: up to %s; %d of them failed", len(of), p.Max, bad)
	return p
}
