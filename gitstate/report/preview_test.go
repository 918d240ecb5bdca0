package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

func preview() *Preview {
	return &Preview{At: day(3, 0), Base: strings.Repeat("b", 40), BaseRef: "origin/main", Head: strings.Repeat("a", 40), Subject: "more | @machines", Op: "deploy", Target: "prod",
		Waves: []string{"tag:canary", "*"}, Took: Duration(6 * time.Minute), Known: 4, Jobs: 1,
		Stacks: []PreviewStack{
			{Path: "/canary", Changed: true, Why: "inputs changed since 0123456789ab: /canary/main.tf", Wave: "tag:canary", Took: Duration(time.Minute)},
			{Path: "/db", Backlog: true, Why: "failed at 0123456789ab by run 01X", Status: note.Failed, Since: day(1, 0), Commit: strings.Repeat("c", 40), By: "Bob <bob@example.com>", Reason: "Error: <b>no</b> quota", Wave: "*", Took: Duration(5 * time.Minute)},
			{Path: "/app", Backlog: true, Changed: true, Why: "blocked by /db at 0123456789ab", Status: note.Blocked, Since: day(1, 1), Commit: strings.Repeat("c", 40), By: "Bob <bob@example.com>", Reason: "/db failed", Wave: "*"},
			{Path: "/held", Changed: true, Why: "never deployed", Wave: "*", Hold: "held by Carol: migration"},
			{Path: "/after", Changed: true, Why: "never deployed", Wave: "*", Hold: "held by Carol: migration", Cause: "/held"},
			{Path: "/busy", Changed: true, Why: "never deployed", Wave: "*", Lock: "locked by run 01Y of Dan since 12:00:00"},
		},
		Undone:  []PreviewStack{{Path: "/back", Changed: true, Why: "inputs changed since 0123456789ab at the base"}},
		Removed: []PreviewStack{{Path: "/gone", Changed: true, Why: "removed by this change, and not destroyed: it leaves resources behind"}},
	}
}

func previewMarkdown(t *testing.T, p *Preview, limit int) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.WriteMarkdown(&b, limit); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPreviewMarkdown(t *testing.T) {
	t.Parallel()
	golden(t, "preview.md", []byte(previewMarkdown(t, preview(), 0)))
	golden(t, "preview_merged.md", []byte(previewMarkdown(t, &Preview{Base: strings.Repeat("b", 40), Head: strings.Repeat("a", 40), Merged: true}, 0)))
	if out := rendered(t, previewMarkdown(t, preview(), 0)); strings.Contains(out, "<b>") || strings.Contains(out, "@machines</a>") {
		t.Errorf("a text makes markup:\n%s", out)
	}
}

func TestPreviewSummary(t *testing.T) {
	t.Parallel()
	one := func(s PreviewStack) *Preview {
		return &Preview{Stacks: []PreviewStack{s}, Took: Duration(90 * time.Second), Known: 1}
	}
	for want, p := range map[string]*Preview{
		"2 stacks by this change, 2 of the backlog, 2 held, 1 locked now, 1 removed and not destroyed, 1 no longer pending; 2 waves; about 6m": preview(),
		"nothing to merge":                                    {Merged: true},
		"nothing to deploy":                                   {},
		"1 stack by this change; about 2m":                    one(PreviewStack{}),
		"no stack by this change, 1 of the backlog; about 2m": one(PreviewStack{Backlog: true}),
		"nothing to deploy, 1 held; about 2m":                 one(PreviewStack{Hold: "held by Carol: x"}),
	} {
		if got := p.Summary(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// A preview is never longer than what takes it, shows what matters first, and says how much is missing.
func TestPreviewMarkdownLimit(t *testing.T) {
	t.Parallel()
	p := &Preview{BaseRef: "origin/main", Head: strings.Repeat("a", 40)}
	for i := range 3000 {
		p.Stacks = append(p.Stacks, PreviewStack{Path: fmt.Sprintf("/stack/%04d", i), Backlog: i%2 == 0, Why: strings.Repeat("<|*`@~ ", 100)})
	}
	for _, limit := range []int{4096, 20_000, 0} {
		got := previewMarkdown(t, p, limit)
		if most := max(limit, 0); most > 0 && len(got) > most || len(got) > MarkdownLimit {
			t.Errorf("limit %d: %d bytes", limit, len(got))
		}
		if !strings.Contains(got, "change | <code>/stack") || strings.Contains(got, "backlog | <code>/stack") && !strings.Contains(got, "2999") {
			t.Errorf("limit %d: the backlog stands before what changes", limit)
		}
		if !strings.Contains(got, "more stacks not shown") {
			t.Errorf("limit %d: it does not say what is missing", limit)
		}
	}
}
