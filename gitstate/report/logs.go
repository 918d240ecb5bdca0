package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What a report has of the output of a stack that failed, and of all of them, in bytes.
const (
	LogLimit  = 16 << 10
	logsLimit = 1 << 20
)

// addLogs gives the output to the results that a reader asks for it: in a report of a run to those of the
// run, else to each stack's last failure.
func (r *Report) addLogs(s *gitstate.Store) {
	logs, left := s.Logs(), logsLimit
	add := func(x *Result) {
		if left > 0 && x.Status != note.OK {
			x.Log = excerpt(logs(&x.Record), LogLimit)
			left -= len(x.Log)
		}
	}
	if r.Run != "" {
		for _, x := range r.runResults() {
			add(x.Result)
		}
		return
	}
	for i := range r.Stacks {
		if f := r.Stacks[i].LastFailure; f != nil {
			add(f)
		}
	}
}

// excerpt is a text of at most so many bytes, whole lines of it.
func excerpt(text string, limit int) string {
	e := note.Excerpt{Limit: limit}
	_, _ = e.Write([]byte(text))
	return e.String()
}

// readable is an output to be shown: see visible.
func readable(log string) string {
	return strings.TrimSuffix(visible(strings.ReplaceAll(log, "\t", "    ")), "\n")
}

var backticks = regexp.MustCompile("`{3,}")

// folded is the output in Markdown, folded away.
func (x *runResult) folded(limit int) string {
	return folded("output of "+code(x.stack.Path, 200), excerpt(x.Log, limit))
}

// folded is a text of a program in Markdown, folded away: as code, in which nothing means anything. GitLab takes a
// line that begins with a slash for a command, and does not always know that it is code.
func folded(title, log string) string {
	fence := "```"
	for _, ticks := range backticks.FindAllString(log, -1) {
		fence = max(fence, ticks+"`")
	}
	log = strings.ReplaceAll("\n"+readable(log), "\n/", "\n /")
	return fmt.Sprintf("\n<details><summary>%s</summary>\n\n%s%s\n%s\n\n</details>\n", title, fence, log, fence)
}
