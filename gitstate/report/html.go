package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The page is one file that asks nobody for anything; its policy (CSP) forbids
// it to. Everything that there is to read stands in the document as text and
// tables. The script adds the grid of results by commits, whose cells it makes of the
// data before it, for as many stacks as are in view. It stands before the details,
// which are most of the document: the filters need not wait for these.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	page = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(pageHTML)) })
)

// plainCSS shows what the script would: it is for browsers without one.
const plainCSS = `:root{--bar:0px}.js{display:none!important}.plain{display:revert!important}#details{display:block}#grid .when{width:168px}#stacks{margin-top:16px}`

// PageLimit is how many bytes a page of up to a thousand stacks may have; that of
// more may be larger by as much. What does not fit is left out of the lists and
// plots, then the oldest commits out of the grid, and the page says so.
const PageLimit = 3_000_000

// Page says how to show a report.
type Page struct {
	// Live is where the page is served, if it is: it then looks for a newer one
	// by itself.
	Live string
	// Problem is what keeps the report from being of now, "" if nothing does.
	Problem string
}

// WriteHTML writes the report as a page.
func (r *Report) WriteHTML(w io.Writer) error { return r.WritePage(w, Page{}) }

// WritePage writes the report as a page that may be live.
func (r *Report) WritePage(w io.Writer, p Page) error {
	limit := PageLimit * max(1000, len(r.Stacks)) / 1000
	columns, terse := len(r.Commits), false
	for {
		var b bytes.Buffer
		v, err := newPageView(r, p, columns, terse)
		if err != nil {
			return err
		}
		if err := page().Execute(&b, v); err != nil {
			return err
		}
		over := b.Len() - limit
		switch {
		case over > 0 && !terse:
			terse = true
		case over > 0 && columns > 1 && over < v.packed:
			// The rest is what it is; what the columns take shrinks with them.
			columns = max(1, min(columns-1, int(float64(columns)*(1-1.02*float64(over)/float64(v.packed)))))
		default:
			_, err = w.Write(b.Bytes())
			return err
		}
	}
}

// Policy is the content security policy of a page, as an HTTP header has it.
func Policy(live bool) string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy := "default-src 'none'; script-src " + hash(pageJS) + "; style-src " + hash(pageCSS) + " " + hash(plainCSS) + "; base-uri 'none'; form-action 'none'"
	if live {
		policy += "; connect-src 'self'"
	}
	return policy
}

// pageView is what the template shows.
type pageView struct {
	R               *Report
	Title, Live     string
	Problem         string
	Policy          string
	CSS, PlainCSS   template.CSS
	JS              template.JS
	Head            *commitView
	F               figuresView
	Runs            []runView
	RunsNote        string
	Running         bool
	Rows            []rowView
	Statuses        []statusCount
	Tags            []string
	Targets, Ops    []option
	Legend          []note.Status
	HistoryNote     string
	Notes           []string
	Data            template.HTML
	packed          int // bytes of Data, where they are those of many results
	commits         map[string]commitView
	heads           map[runOf]*Run
	recent, plotted int // how many results of a stack are listed, and drawn
	logs            int // how many bytes of an output
}

type (
	commitView  struct{ Short, Subject string }
	statusCount struct {
		Name  note.Status
		Count int
	}
	option      struct{ Value, Name string }
	figuresView struct {
		PerDay, Rate, Recover, Median, P95, Since           string
		Lead, LeadP95                                       string
		Leads                                               int
		Succeeded, Failed, Deployments, Recoveries, Failing int
		Took                                                int
	}
	runView struct {
		*Run
		commitView
		What, Cmd, Who, Took, Counts string
		Mark, SignedText             string // what its signatures say
		Link                         bool
	}
	rowView struct {
		*Stack
		Index                                    int
		PathText, NameText, TagsText, Why, Strip string
		TookSays, LeadSays                       string
		Shown, Failure, LastDrifted              *resultView
		Recent                                   []resultView
		Plot                                     *plotView
		Next                                     []string
	}
	resultView struct {
		commitView
		Status, Op, Who, TookText, WhyText string
		Exit, Job, Log                     string
		Link                               bool
		Tries                              int
		At                                 time.Time
	}
	plotView struct{ Label, Line, Dots, Bad, Max, From, To string }
)

// order is how bad a status is, the worst first; it is also the legend.
var order = []note.Status{note.Failed, note.Interrupted, note.Blocked, note.Canceled, note.Drifted, note.Orphaned,
	note.Running, note.Queued, note.Triggered, note.Never, note.OK}

func newPageView(r *Report, p Page, columns int, terse bool) (*pageView, error) {
	v := &pageView{R: r, Title: visible(cmp.Or(r.Repository, "tmnotes")), Live: p.Live, Problem: visible(p.Problem), Policy: Policy(p.Live != ""),
		CSS: template.CSS(pageCSS), PlainCSS: plainCSS, JS: template.JS(pageJS), commits: map[string]commitView{}, heads: map[runOf]*Run{}}
	// The more stacks, the less of each.
	n := max(len(r.Stacks), 1)
	v.recent, v.plotted = min(max(4000/n, 3), 50), min(max(24000/n, 20), 100)
	v.logs = LogLimit
	if terse {
		v.recent, v.plotted, v.logs = min(v.recent, 2), min(v.plotted, 16), 1024
	}
	for _, c := range r.Commits {
		v.commits[c.Hash] = commitView{short(c.Hash), visible(c.Subject)}
	}
	for i := range r.Runs {
		v.heads[runOf{r.Runs[i].Run, r.Runs[i].Commit}] = &r.Runs[i]
	}
	if r.Head != "" {
		head := v.commit(r.Head)
		v.Head = &head
	}
	v.figures()
	v.runs()
	v.stacks()
	var err error
	if v.Data, v.packed, err = v.data(columns); err != nil {
		return nil, err
	}
	if r.OlderCommits > 0 {
		v.Notes = append(v.Notes, fmt.Sprintf("The history covers the last %d commits with records; %d older ones have records too (tmnotes report --commits N).", len(r.Commits), r.OlderCommits))
	}
	if columns < len(r.Commits) {
		v.Notes = append(v.Notes, fmt.Sprintf("The grid has the newest %d of %d commits: with all of them this page would be too large. The figures and the lists are of all of them.", columns, len(r.Commits)))
	}
	return v, nil
}

// stacks makes the rows, and of all of them what there is to filter them by.
func (v *pageView) stacks() {
	counts := map[note.Status]int{}
	targets, tags, ops := map[string]bool{}, map[string]bool{}, map[string]bool{}
	longer := false
	for i := range v.R.Stacks {
		s := &v.R.Stacks[i]
		counts[s.Status]++
		targets[s.Target] = true
		for _, t := range s.Tags {
			tags[t] = true
		}
		for _, h := range s.History {
			if !note.Op(h.Record.Op).Deploys() {
				ops[h.Record.Op] = true
			}
		}
		longer = longer || len(s.History) > v.recent
		v.Rows = append(v.Rows, v.row(i, s))
	}
	for _, s := range order {
		if counts[s] > 0 {
			v.Statuses = append(v.Statuses, statusCount{s, counts[s]})
		}
		if s != note.Orphaned && s != note.Never {
			v.Legend = append(v.Legend, s)
		}
	}
	for s, n := range counts {
		if !slices.Contains(order, s) { // of a later version
			v.Statuses = append(v.Statuses, statusCount{s, n})
		}
	}
	v.Legend = append(v.Legend, "destroyed")
	v.Tags = slices.Sorted(maps.Keys(tags))
	if len(targets) > 1 {
		for _, t := range slices.Sorted(maps.Keys(targets)) {
			v.Targets = append(v.Targets, option{"=" + t, cmp.Or(visible(t), "no target")})
		}
	}
	v.Ops = []option{{note.Deploy, "deployments"}}
	for _, op := range slices.Sorted(maps.Keys(ops)) {
		v.Ops = append(v.Ops, option{op, visible(op)})
	}
	if longer {
		v.HistoryNote = fmt.Sprintf("the newest %d", v.recent)
	}
}

func (v *pageView) commit(hash string) commitView {
	if c, ok := v.commits[hash]; ok {
		return c
	}
	return commitView{Short: short(hash)}
}

func short(hash string) string { return hash[:min(len(hash), 12)] }

func (v *pageView) figures() {
	f := &v.R.Figures
	v.F = figuresView{Rate: "–", Recover: "–", Median: "–", P95: "–", Lead: "–", LeadP95: "–", Leads: f.LeadTime.Count, Succeeded: f.Deployments - f.Failed, Failed: f.Failed, Deployments: f.Deployments,
		Recoveries: f.Recoveries, Failing: f.Failing, Took: f.Took.Count}
	if f.FailureRate != nil {
		v.F.Rate = fmt.Sprintf("%.0f %%", *f.FailureRate*100)
		if *f.FailureRate > 0 && *f.FailureRate < 0.1 {
			v.F.Rate = fmt.Sprintf("%.1f %%", *f.FailureRate*100)
		}
		v.F.PerDay = fmt.Sprintf("%.1f", f.PerDay)
		if f.PerDay < 1 {
			v.F.PerDay = fmt.Sprintf("%.2g", f.PerDay)
		}
	}
	if f.Recoveries > 0 {
		v.F.Recover = took(time.Duration(f.TimeToRecover))
	}
	if f.Took.Count > 0 {
		v.F.Median, v.F.P95 = took(time.Duration(f.Took.Median)), took(time.Duration(f.Took.P95))
	}
	if f.LeadTime.Count > 0 {
		v.F.Lead, v.F.LeadP95 = took(time.Duration(f.LeadTime.Median)), took(time.Duration(f.LeadTime.P95))
	}
	if !f.Since.IsZero() {
		v.F.Since = " since " + f.Since.Format("2 Jan 2006")
	}
}

// mostRuns is how many runs are listed.
const mostRuns = 50

func (v *pageView) runs() {
	all := v.R.Runs
	v.RunsNote = fmt.Sprint(len(all))
	if len(all) > mostRuns {
		v.RunsNote = fmt.Sprintf("the newest %d of %d", mostRuns, len(all))
		all = all[:mostRuns]
	}
	for i := range all {
		r := &all[i]
		x := runView{Run: r, commitView: v.commit(r.Commit), Cmd: visible(r.Cmd), Who: who(r.By), Link: isLink(r.Job), What: cmp.Or(r.Op, "several operations")}
		x.Mark, x.SignedText = strings.Replace(r.Verdict, "unsigned", "not signed", 1), visible(r.Signed)
		if r.Target != "" {
			x.What += " to " + visible(r.Target)
		}
		if r.ByHand {
			x.What += ", recorded by hand"
		}
		if !r.Finished.IsZero() {
			x.Took = took(r.Finished.Sub(r.Started))
		}
		var parts []string
		for _, n := range []struct {
			n    int
			what string
		}{{r.Failed, "failed"}, {r.Interrupted, "interrupted"}, {r.Blocked, "blocked"}, {r.Canceled, "canceled"}, {r.Drifted, "drifted"}, {r.Open, "to go"}, {r.OK, "ok"}} {
			if n.n > 0 {
				parts = append(parts, fmt.Sprint(n.n, " ", n.what))
			}
		}
		x.Counts = strings.Join(parts, ", ")
		v.Running = v.Running || r.Status == note.Running
		v.Runs = append(v.Runs, x)
	}
}

func who(by string) string {
	return cmp.Or(visible(note.NameOf(by)), "somebody")
}

func isLink(job string) bool {
	return strings.HasPrefix(job, "https://") || strings.HasPrefix(job, "http://")
}

// visible is a text of which nothing hides, reorders or drives anything: what
// cannot be seen is shown by its number. HTML is the template's to escape.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// shellWord is a word as a shell reads it back.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(visible(s), "'", `'\''`) + "'"
}
