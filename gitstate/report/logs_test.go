package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What is kept of the output of a failure is in all that a reader may have before him, as text, and of bounded
// size; what is kept of a success is not.
func TestLogs(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	head := p.commit(day(1, 0), "first")
	const run = "01M8M5NX7ZCGZ0000000000000"
	writer := p.store.Writer(run)
	stacks := []Known{{Path: "/db"}, {Path: "/ok"}}
	for path, status := range map[string]note.Status{"/db": note.Failed, "/ok": note.OK} {
		if err := writer.Append(head, &note.Record{At: day(1, 1), Status: status, Op: note.Deploy, Stack: path, Run: run}); err != nil {
			t.Fatal(err)
		}
		said := "it is <b>\tof " + path + "\n```\n" + strings.Repeat("some line\n", 4000) + "````\n@team the end\n"
		key := gitstate.TextKey{Kind: gitstate.LogText, Path: path, Op: note.Deploy, Run: run}
		if err := writer.KeepText(key, said, &note.Redactor{}); err != nil {
			t.Fatal(err)
		}
	}
	ofRun, state := p.build(Options{Stacks: stacks, Run: run}), p.build(Options{Stacks: stacks})
	var page, json bytes.Buffer
	if err := state.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteJSON(&json); err != nil {
		t.Fatal(err)
	}
	junit := junitOf(t, ofRun)
	valid(t, "run.xml", junit)
	summary := markdownOf(t, ofRun, 0)
	for name, text := range map[string]string{"page": page.String(), "JSON": json.String(), "JUnit": string(junit), "Markdown": summary} {
		if !strings.Contains(text, "of /db") || !strings.Contains(text, "@team the end") || !strings.Contains(text, "bytes are left out here") {
			t.Errorf("%s has no output: %.300s", name, text)
		}
		if strings.Contains(text, "of /ok") || len(text) > 2*LogLimit+40_000 {
			t.Errorf("%s has too much, %d bytes", name, len(text))
		}
	}
	if !strings.Contains(string(junit), "<system-out>/db:&#xA;it is &lt;b&gt;    of /db&#xA;") {
		t.Errorf("%.1500s", junit)
	}
	// A fence that nothing of it closes.
	if html := rendered(t, summary); !strings.Contains(html, "it is &lt;b&gt;    of /db\n```\n") || !strings.Contains(html, "````\n@team the end\n</code></pre>\n</details>") {
		t.Errorf("%.2000s", summary)
	}
	many := &Report{At: day(1, 0), Run: run}
	for i := range 500 {
		many.Stacks = append(many.Stacks, Stack{Path: fmt.Sprint("/s", i), History: []Result{{Status: note.Failed, Log: strings.Repeat("x\n", 5000), Record: note.Record{Run: run}}}})
	}
	if got := markdownOf(t, many, 0); len(got) > MarkdownLimit || !strings.Contains(got, "more is not shown; `tmnotes show --log STACK`") || strings.Count(got, "<details>") < 5 {
		t.Errorf("%d bytes: %s", len(got), got[len(got)-300:])
	}
}
