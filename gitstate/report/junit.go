package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// The elements of a JUnit report, in the intersection of the two schemas that its
// readers hold it against: that of Ant's JUnit task (windyroad/JUnit-Schema) and
// junit-10.xsd of Jenkins' xUnit plugin. The order of fields is that of Ant's.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		ID         int             `xml:"id,attr"`
		Package    string          `xml:"package,attr"`
		Name       string          `xml:"name,attr"`
		Timestamp  string          `xml:"timestamp,attr"` // UTC, without a zone
		Hostname   string          `xml:"hostname,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"` // seconds
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Out        string          `xml:"system-out"`
		Err        string          `xml:"system-err"`

		took time.Duration
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string       `xml:"name,attr"`
		Classname string       `xml:"classname,attr"`
		Time      string       `xml:"time,attr"`
		Skipped   *junitResult `xml:"skipped"`
		Error     *junitResult `xml:"error"`
		Failure   *junitResult `xml:"failure"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as the results of tests, which CI systems know how to
// show: a suite for the run that the report is about (Options.Run) with a
// case for each of its stacks, or else a suite for each target with a case for
// each stack as it stands.
//
// A stack that failed or has drifted is a failure; one that was interrupted is
// an error; one that was blocked, canceled, never deployed, or is at work, is
// skipped.
func (r *Report) WriteJUnit(w io.Writer) error {
	var all junitSuites
	if r.Run != "" {
		all.Suites = []junitSuite{r.runSuite()}
	} else {
		all.Suites = r.stateSuites()
	}
	for i := range all.Suites {
		s := &all.Suites[i]
		s.ID, s.Hostname, s.Time = i, "localhost", decimal(s.took)
		s.Properties = slices.DeleteFunc(s.Properties, func(p junitProperty) bool { return p.Value == "" })
		for _, c := range s.Cases {
			s.Tests++
			switch {
			case c.Failure != nil:
				s.Failures++
			case c.Error != nil:
				s.Errors++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) runSuite() junitSuite {
	run, _ := r.theRun()
	s := newSuite("tmnotes."+cmp.Or(run.Op, "run"), run.Target, run.Started)
	s.Properties = []junitProperty{{"run", r.Run}, {"commit", run.Commit}, {"op", run.Op}, {"target", run.Target}, {"by", inline(note.NameOf(run.By))}, {"job", inline(run.Job)}, {"cmd", inline(run.Cmd)}}
	for _, x := range r.runResults() {
		s.add(x.stack.Path, x.Status, x.Result.why(), x.Result)
	}
	if run.Finished.After(run.Started) {
		s.took = run.Finished.Sub(run.Started) // stacks may have run side by side
	}
	return s
}

func (r *Report) stateSuites() []junitSuite {
	var suites []junitSuite
	of := map[string]int{}
	for i := range r.Stacks {
		x := &r.Stacks[i]
		n, has := of[x.Target]
		if !has {
			n = len(suites)
			of[x.Target] = n
			s := newSuite("tmnotes", x.Target, r.At)
			s.Properties = []junitProperty{{"repository", inline(r.Repository)}, {"ref", r.Ref}, {"head", r.Head}, {"target", x.Target}}
			suites = append(suites, s)
		}
		status, result := x.Status, x.Deployment()
		if status == note.Drifted {
			result = x.Drift()
		}
		suites[n].add(x.Path, status, x.why(), cmp.Or(result, x.Drift()))
	}
	return suites
}

func newSuite(name, target string, at time.Time) junitSuite {
	s := junitSuite{Package: name, Name: name, Timestamp: at.UTC().Format("2006-01-02T15:04:05"), Cases: []junitCase{}}
	if target != "" {
		s.Package += "." + inline(target)
		s.Name += " " + inline(target)
	}
	return s
}

// add adds a stack. result is what the status comes from, nil if nothing is recorded.
func (s *junitSuite) add(path string, status note.Status, why string, result *Result) {
	c := junitCase{Name: inline(path), Classname: s.Package, Time: decimal(0)}
	is := &junitResult{Message: inline(cmp.Or(why, string(status))), Type: string(status)}
	if result != nil {
		c.Time = decimal(result.Record.Took)
		s.took += result.Record.Took
		is.Text = details(result)
		if result.Log != "" {
			is.Text += "\n" + readable(result.Log) + "\n"
			s.Out += inline(path) + ":\n" + readable(result.Log) + "\n\n"
		}
	}
	switch status {
	case note.OK:
	case note.Interrupted:
		c.Error = is
	case note.Blocked, note.Canceled, note.Never, note.Running, note.Queued, note.Triggered, note.Orphaned:
		is.Text, is.Type = "", ""
		c.Skipped = is
	default:
		c.Failure = is
	}
	s.Cases = append(s.Cases, c)
}

// details are what the record says, in lines.
func details(x *Result) string {
	r := &x.Record
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, inline(value))
		}
	}
	b.WriteString("\n")
	line("reason", r.Reason)
	line("plan", r.Plan().String())
	if r.Exit != nil {
		line("exit code", fmt.Sprint(*r.Exit))
	}
	if r.Tries > 1 {
		line("tries", fmt.Sprint(r.Tries))
	}
	line("at", moment(r.At))
	line("commit", x.Commit)
	line("run", r.Run)
	return b.String()
}

// decimal is a duration as xs:decimal.
func decimal(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
