package report

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// MarkdownLimit is how long a report in Markdown may be to be taken by all that
// shows it, in bytes: a comment on GitHub has at most 65,536 characters, one on
// GitLab 1,000,000.
const MarkdownLimit = 65_000

// SummaryLimit is what GitHub takes as the summary of a step: 1 MiB, of all that
// is written into it.
const SummaryLimit = 1 << 20

// WriteMarkdown writes the report for a comment on a merge request or the summary
// of a job, in the Markdown of GitHub and GitLab: of the run that it is about
// (Options.Run), or else of the state. What is not ok comes first. It is no
// longer than limit bytes (at least 4,096; 0 is MarkdownLimit); how many stacks found no room it
// says.
//
// What comes from elsewhere (a path, a reason) is shown as text: it makes no
// markup, no link, no mention of somebody and no reference.
func (r *Report) WriteMarkdown(w io.Writer, limit int) error {
	var t table
	if r.Run != "" {
		t = r.runTable()
	} else {
		t = r.stateTable()
	}
	_, err := io.WriteString(w, t.markdown(cmp.Or(max(limit, 0), MarkdownLimit)))
	return err
}

// table is a report in rows: those that need a look, and those that do not,
// which are folded away.
type table struct {
	head    string
	columns []string
	bad, ok []string // rows as they are written
	fold    string   // what the rows that are ok are folded under
	none    string   // said where there are no rows at all
	logs    []func(limit int) string
}

func (t *table) row(fine bool, cells ...string) {
	line := "| " + strings.Join(cells, " | ") + " |\n"
	if fine {
		t.ok = append(t.ok, line)
	} else {
		t.bad = append(t.bad, line)
	}
}

func (t *table) markdown(limit int) string {
	var b strings.Builder
	b.WriteString(t.head)
	left := 0
	const tail = 100 // what is kept free for the last line
	section := func(before, after string, rows []string) {
		open := false
		for i, row := range rows {
			if !open {
				row = before + "| " + strings.Join(t.columns, " | ") + " |\n|" + strings.Repeat(" --- |", len(t.columns)) + "\n" + row
			}
			// Where one finds no room, none behind it is shown: the order says what matters.
			if left > 0 || b.Len()+len(row)+len(after)+tail > limit {
				left += len(rows) - i
				break
			}
			b.WriteString(row)
			open = true
		}
		if open {
			b.WriteString(after)
		}
	}
	section("\n", "", t.bad)
	section("\n<details><summary>"+t.fold+"</summary>\n\n", "\n</details>\n", t.ok)
	switch {
	case left > 0:
		fmt.Fprintf(&b, "\n%d more stacks not shown: there is no room for them here.\n", left)
	case len(t.bad)+len(t.ok) == 0:
		b.WriteString("\n" + t.none + "\n")
	}
	for i, log := range t.logs {
		text := log(min(LogLimit, max(limit/2/len(t.logs), 1024)))
		if b.Len()+len(text)+tail > limit {
			fmt.Fprintf(&b, "\nThe output of %d more is not shown; `tmnotes show --log STACK` prints it.\n", len(t.logs)-i)
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

// runTable is what the run of the report came to.
func (r *Report) runTable() table {
	t := table{columns: []string{"status", "stack", "time", "why"}, none: "Nothing was executed."}
	run, counts := r.theRun()
	results := r.runResults()
	slices.SortStableFunc(results, func(a, b runResult) int { return cmp.Compare(severity(a.Status), severity(b.Status)) })
	for _, x := range results {
		t.row(x.Status == note.OK && !x.Record.Dirty, icon(x.Status), code(x.stack.Path, 200), took(x.Record.Took), code(x.why(), 300))
		if x.Log != "" {
			t.logs = append(t.logs, x.folded)
		}
	}
	t.head = "### tmnotes: " + code(cmp.Or(run.Op, "run"), 40)
	if run.Target != "" {
		t.head += " to " + code(run.Target, 60)
	}
	if run.Commit != "" {
		t.head += " at " + code(short(run.Commit), 12) + " " + code(r.subject(run.Commit), 80)
	}
	says := []string{"**" + counts.String() + "**"}
	if !run.Finished.IsZero() && run.Finished.After(run.Started) {
		says = append(says, "in "+took(run.Finished.Sub(run.Started)))
	}
	says = append(says, by(run.By), job(run.Job), "run "+code(r.Run, 40))
	t.head += "\n\n" + join(says, ", ") + "\n"
	t.fold = counts.of(note.OK)
	return t
}

// stateTable is what stands where.
func (r *Report) stateTable() table {
	t := table{columns: []string{"status", "stack", "commit", "when", "by", "why"}, none: "There are no stacks."}
	targets := slices.ContainsFunc(r.Stacks, func(s Stack) bool { return s.Target != "" })
	if targets {
		t.columns = slices.Insert(t.columns, 2, "target")
	}
	order := make([]*Stack, len(r.Stacks))
	counts := tallied{}
	for i := range r.Stacks {
		order[i] = &r.Stacks[i]
		counts.add(order[i].Status)
	}
	slices.SortStableFunc(order, func(a, b *Stack) int { return cmp.Compare(severity(a.Status), severity(b.Status)) })
	for _, s := range order {
		cells := []string{icon(s.Status), code(s.Path, 200)}
		if targets {
			cells = append(cells, code(s.Target, 60))
		}
		commit, when, who := "", "", ""
		fine := s.Status == note.OK && len(s.Diverged) == 0
		if d := s.Deployment(); d != nil && d.Record.Dirty {
			fine = false
		}
		if d := cmp.Or(s.Deployment(), s.Drift()); d != nil {
			commit, when, who = code(short(d.Commit), 12), moment(d.Record.At), by(d.By)
		}
		t.row(fine, append(cells, commit, when, strings.TrimPrefix(who, "by "), code(s.why(), 300))...)
	}
	t.head = "### tmnotes: " + code(cmp.Or(r.Repository, "state"), 120) + "\n\n" + join([]string{"**" + counts.String() + "**", r.figuresLine()}, ". ") + "\n"
	t.fold = counts.of(note.OK)
	says := "As of " + moment(r.At)
	if r.Remote != "" && r.Fetched.IsZero() {
		says += "; the notes of " + code(r.Remote, 60) + " were never fetched"
	} else if r.Remote != "" {
		says += "; the notes of " + code(r.Remote, 60) + " were fetched " + moment(r.Fetched)
	}
	t.head += "\n" + says + ".\n"
	return t
}

func (r *Report) figuresLine() string {
	f := r.Figures
	if f.Deployments == 0 {
		return ""
	}
	line := fmt.Sprintf("Deployments since %s: %d (%.1f a day that succeeded", f.Since.Format(time.DateOnly), f.Deployments, f.PerDay)
	if f.LeadTime.Count > 0 {
		line += ", lead time " + took(time.Duration(f.LeadTime.Median))
	}
	if f.FailureRate != nil {
		line += fmt.Sprintf(", %.0f %% failed", *f.FailureRate*100)
	}
	if f.Recoveries > 0 {
		line += ", recovered in " + took(time.Duration(f.TimeToRecover))
	}
	return line + ")"
}

// runResult is what came of a stack in the run of the report.
type runResult struct {
	stack *Stack
	*Result
}

// runResults are those of the run that the report is about, the last of each stack,
// in the order of the stacks.
func (r *Report) runResults() []runResult {
	var results []runResult
	for i := range r.Stacks {
		s := &r.Stacks[i]
		for j := len(s.History) - 1; j >= 0; j-- {
			if s.History[j].Record.Run == r.Run {
				results = append(results, runResult{s, &s.History[j]})
				break
			}
		}
	}
	return results
}

// theRun is the run that the report is about, and what it came to.
func (r *Report) theRun() (Run, tallied) {
	counts := tallied{}
	for _, x := range r.runResults() {
		counts.add(x.Status)
	}
	for _, run := range r.Runs {
		if run.Run == r.Run {
			return run, counts
		}
	}
	return Run{Run: r.Run}, counts
}

func (r *Report) subject(commit string) string {
	for _, c := range r.Commits {
		if c.Hash == commit {
			return c.Subject
		}
	}
	return ""
}

// why is why the result is not simply ok, in a line.
func (x *Result) why() string {
	says := why(&x.Record)
	if x.Record.Tries > 1 {
		says = strings.TrimSuffix(fmt.Sprintf("%d tries; %s", x.Record.Tries, says), "; ")
	}
	return says
}

// why is why the stack has its status, in a line.
func (s *Stack) why() string {
	d, drift := s.Deployment(), s.Drift()
	why := ""
	switch {
	case s.Status == note.Orphaned && s.LastCommit != "":
		why = "gone from HEAD and not destroyed; " + short(s.LastCommit) + " had it last"
	case s.Status == note.Orphaned:
		why = "gone from HEAD and not destroyed"
	case s.Status == note.Drifted && drift != nil:
		at := drift.Record.At
		if !drift.Record.Since.IsZero() {
			at = drift.Record.Since
		}
		why = strings.TrimSpace(fmt.Sprintf("has changes since %s %s", moment(at), drift.Record.Plan()))
	case s.Status == note.Never:
		why = "never deployed"
	case d != nil && d.Status != s.Status && d.Status != note.OK:
		why = strings.TrimSuffix(string(d.Status)+": "+d.why(), ": ")
	case d != nil:
		why = d.why()
	}
	if len(s.Diverged) > 0 {
		why = strings.TrimPrefix(why+"; conflict: deployed by runs unaware of each other", "; ")
	}
	return why
}

// tallied counts statuses.
type tallied map[note.Status]int

func (t tallied) add(s note.Status) { t[s]++ }

func (t tallied) of(s note.Status) string { return fmt.Sprintf("%d %s", t[s], s) }

// String names the counts, the worst first.
func (t tallied) String() string {
	var all []note.Status
	for s := range t {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b note.Status) int {
		return cmp.Or(cmp.Compare(severity(a), severity(b)), strings.Compare(string(a), string(b)))
	})
	says := make([]string, len(all))
	for i, s := range all {
		says[i] = t.of(s)
	}
	return cmp.Or(strings.Join(says, ", "), "nothing")
}

// severities say what is looked at first.
var severities = []note.Status{note.Failed, note.Interrupted, note.Canceled, note.Blocked, note.Drifted, note.Orphaned,
	note.Running, note.Queued, note.Triggered, note.Never, note.OK}

// severity sorts a status of a later version to the failures.
func severity(s note.Status) int { return max(slices.Index(severities, s), 0) }

// icon is a status that is seen at a glance; the word is what it means.
func icon(s note.Status) string {
	sign := "❌"
	switch s {
	case note.OK:
		sign = "✅"
	case note.Blocked, note.Canceled:
		sign = "🚫"
	case note.Drifted, note.Orphaned:
		sign = "⚠️"
	case note.Running, note.Queued, note.Triggered:
		sign = "⏳"
	case note.Never:
		sign = "➖"
	}
	return sign + " " + text(string(s))
}

// code is a text from elsewhere, at most so many characters of it, as it is. In
// code GitHub and GitLab look for no mentions and references.
func code(s string, most int) string {
	if s == "" {
		return ""
	}
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return "<code>" + text(s) + "</code>"
}

// text is a text in which no character means anything to Markdown or HTML: where
// one might, it is a numeric character reference (CommonMark 0.31, 2.5).
func text(s string) string {
	var b strings.Builder
	s = inline(s)
	for i, r := range s {
		plain := r > unicode.MaxASCII || unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" /-,;()+='", r)
		if r == '.' { // GFM makes a link of what starts with www. (6.9)
			plain = !strings.EqualFold(s[max(0, i-3):i], "www")
		}
		if !plain {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// inline is visible in one line.
func inline(s string) string { return strings.ReplaceAll(visible(s), "\n", `\u000a`) }

// by is who did it, without the mail address: what is written may be public.
func by(who string) string {
	return strings.TrimSuffix("by "+code(note.NameOf(who), 80), "by ")
}

// job is a link to a CI job, if its name is an address of the web.
func job(name string) string {
	if u, err := url.Parse(name); err == nil && isLink(name) && u.Host != "" {
		return `<a href="` + html.EscapeString(u.String()) + `">job</a>`
	}
	return code(name, 120)
}

func join(parts []string, sep string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// took is how long something ran, "" if it did not.
func took(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}
