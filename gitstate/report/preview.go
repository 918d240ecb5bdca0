package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Preview is what a merge of one commit into another would have deployed.
type Preview struct {
	At      time.Time `json:"at"`                 // when it was made
	Base    string    `json:"base"`               // the commit that is merged into,
	BaseRef string    `json:"base_ref,omitempty"` // and what it is called
	Head    string    `json:"head"`               // the commit that is merged
	Subject string    `json:"subject,omitempty"`  // of Head
	Op      string    `json:"op"`
	Target  string    `json:"target,omitempty"`
	// Remote and Fetched are as in [Report].
	Remote  string    `json:"remote,omitempty"`
	Fetched time.Time `json:"fetched,omitzero"`
	// Merged says that Base has Head already, so that there is nothing to merge.
	Merged bool `json:"merged,omitempty"`

	Stacks  []PreviewStack `json:"stacks"`                // that would be deployed, in order of execution
	Undone  []PreviewStack `json:"no_longer_pending"`     // that are pending at Base, and would not be any more
	Removed []PreviewStack `json:"removed"`               // that are deployed, and that the merge removes from the project
	Waves   []string       `json:"waves,omitempty"`       // in which there is something to deploy
	Took    Duration       `json:"took,omitzero"`         // how long it is going to take
	Known   int            `json:"took_known"`            // of how many stacks that is known
	Jobs    int            `json:"parallel,omitempty"`    // how many of them run at once
	Dirty   bool           `json:"uncommitted,omitempty"` // the work tree has changes, which are not looked at
}

// PreviewStack is a stack of a [Preview].
type PreviewStack struct {
	Path string   `json:"stack"`
	ID   string   `json:"id,omitempty"`
	Name string   `json:"name,omitempty"`
	Tags []string `json:"tags,omitempty"`

	// Backlog says that it is pending at the base already, and Changed that what it is made of
	// differs between there and the merge. One that is not of the backlog is pending by this change.
	Backlog bool   `json:"backlog"`
	Changed bool   `json:"changed"`
	Why     string `json:"why,omitempty"` // it is pending

	Status     note.Status `json:"deployment_status,omitempty"` // of the latest deployment,
	LiveCommit string      `json:"live_commit,omitempty"`       // and what is deployed now
	// Of one of the backlog whose latest deployment did not succeed: since when none did, the
	// commit at which that began, who was at it, and what came of it then.
	Since  time.Time `json:"since,omitzero"`
	Commit string    `json:"commit,omitempty"`
	By     string    `json:"by,omitempty"`
	Job    string    `json:"job,omitempty"`
	Reason string    `json:"reason,omitempty"`

	Wave string   `json:"wave,omitempty"`
	Took Duration `json:"took,omitzero"` // when it was deployed last

	Hold  string `json:"hold,omitempty"`  // who holds it, and why: it would not be deployed
	Cause string `json:"cause,omitempty"` // or the stack that it comes after, and that is held
	Lock  string `json:"lock,omitempty"`  // who is at it: it would wait
}

// Blocked reports whether the stack would not be deployed for a hold.
func (s *PreviewStack) Blocked() bool { return s.Hold != "" }

// PreviewCounts are how many stacks of a preview are what. A stack that is held counts as Held
// alone.
type PreviewCounts struct{ Changed, Backlog, Held, Locked, Undone, Removed int }

// Counts sums up the preview.
func (p *Preview) Counts() (n PreviewCounts) {
	n.Undone, n.Removed = len(p.Undone), len(p.Removed)
	for i := range p.Stacks {
		switch s := &p.Stacks[i]; {
		case s.Blocked():
			n.Held++
			continue
		case s.Backlog:
			n.Backlog++
		default:
			n.Changed++
		}
		if p.Stacks[i].Lock != "" {
			n.Locked++
		}
	}
	return n
}

// Summary is the preview in a line: "3 stacks by this change, 2 of the backlog, 1 held; 2 waves; about 6m".
func (p *Preview) Summary() string {
	if p.Merged {
		return "nothing to merge"
	}
	n := p.Counts()
	var says []string
	add := func(n int, format string) {
		if n > 0 {
			says = append(says, fmt.Sprintf(format, n))
		}
	}
	switch {
	case n.Changed == 1:
		add(1, "%d stack by this change")
	case n.Changed > 1:
		add(n.Changed, "%d stacks by this change")
	case n.Backlog > 0:
		says = append(says, "no stack by this change")
	default:
		says = append(says, "nothing to deploy")
	}
	add(n.Backlog, "%d of the backlog")
	add(n.Held, "%d held")
	add(n.Locked, "%d locked now")
	add(n.Removed, "%d removed and not destroyed")
	add(n.Undone, "%d no longer pending")
	says = []string{strings.Join(says, ", ")}
	if len(p.Waves) > 1 {
		says = append(says, fmt.Sprintf("%d waves", len(p.Waves)))
	}
	if p.Took > 0 && p.Known > 0 {
		says = append(says, "about "+p.About())
	}
	return strings.Join(says, "; ")
}

// About is how long it is going to take, no more exactly than that can be known.
func (p *Preview) About() string {
	d := time.Duration(p.Took)
	switch {
	case d < time.Minute:
		return max(d.Round(time.Second), time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return strings.TrimSuffix(d.Round(10*time.Minute).String(), "0s")
}

// Name is what people call what is merged into.
func (p *Preview) Name() string { return cmp.Or(p.BaseRef, short(p.Base)) }

// Says is why a stack is in the preview, in a line.
func (s *PreviewStack) Says() string {
	why := s.Why
	if !s.Since.IsZero() {
		why = fmt.Sprintf("%s since %s at %s", s.Status, moment(s.Since), short(s.Commit))
		if who := note.NameOf(s.By); who != "" {
			why += " by " + who
		}
		if s.Reason != "" {
			why += ": " + s.Reason
		}
	}
	switch {
	case s.Cause != "" && !strings.Contains(s.Hold, s.Cause):
		why = "after " + s.Cause + ", " + s.Hold + "; " + why
	case s.Hold != "":
		why = s.Hold + "; " + why
	}
	if s.Lock != "" {
		why = s.Lock + "; " + why
	}
	if s.Backlog && s.Changed {
		why += "; changed as well"
	}
	return strings.TrimSuffix(why, "; ")
}

// Group is what a stack is in the preview, in a word.
func (s *PreviewStack) Group() string {
	switch {
	case s.Blocked():
		return "held"
	case s.Backlog:
		return "backlog"
	}
	return "change"
}

// WriteMarkdown writes the preview for a comment on a merge request, as [Report.WriteMarkdown]
// writes a report: stacks whose resources would be left behind first, then what is held, what the
// change brings, and the backlog.
func (p *Preview) WriteMarkdown(w io.Writer, limit int) error {
	t := table{columns: []string{"", "stack", "time", "why"}, none: "Nothing would be deployed."}
	if p.Merged {
		t.none = code(p.Name(), 120) + " has " + code(short(p.Head), 12) + " already."
	}
	waves := len(p.Waves) > 1
	if waves {
		t.columns = slices.Insert(t.columns, 2, "wave")
	}
	row := func(s *PreviewStack, fine bool, sign, why string) {
		cells := []string{sign, code(s.Path, 200), took(time.Duration(s.Took)), code(why, 300)}
		if waves {
			cells = slices.Insert(cells, 2, code(s.Wave, 60))
		}
		t.row(fine, cells...)
	}
	for i := range p.Removed {
		row(&p.Removed[i], false, "⚠️ removed", p.Removed[i].Why)
	}
	signs := []string{"🚫 held", "🔷 change", "❌ backlog"}
	for _, sign := range signs {
		for i := range p.Stacks {
			if s := &p.Stacks[i]; strings.HasSuffix(sign, s.Group()) {
				row(s, false, sign, s.Says())
			}
		}
	}
	for i := range p.Undone {
		row(&p.Undone[i], true, "✅ no longer pending", p.Undone[i].Why)
	}
	t.fold = fmt.Sprintf("%d no longer pending", len(p.Undone))
	t.head = "### tmnotes: preview of " + code(short(p.Head), 12)
	if p.Subject != "" {
		t.head += " " + code(p.Subject, 80)
	}
	t.head += " merged into " + code(p.Name(), 120)
	if p.Target != "" {
		t.head += ", to " + code(p.Target, 60)
	}
	t.head += "\n\n**" + text(p.Summary()) + "**\n"
	if len(p.Removed) > 0 {
		t.head += "\nWhat is removed leaves resources behind. Once this is merged: <code>" + text("tmnotes run --orphaned -- terraform destroy") + "</code>\n"
	}
	_, err := io.WriteString(w, t.markdown(cmp.Or(max(limit, 0), MarkdownLimit)))
	return err
}
