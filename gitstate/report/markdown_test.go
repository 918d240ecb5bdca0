package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
	xhtml "golang.org/x/net/html"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// failedRun is the run of sample in which something failed.
const failedRun = "RUN2"

func markdownOf(t testing.TB, r *Report, limit int) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteMarkdown(&b, limit); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	golden(t, "report.md", []byte(markdownOf(t, p.build(opt), 0)))
	opt.Run = failedRun
	golden(t, "run.md", []byte(markdownOf(t, p.build(opt), 0)))
	empty := newProject(t)
	empty.commit(day(1, 0), "nothing")
	golden(t, "empty.md", []byte(markdownOf(t, empty.build(Options{}), 0)))
}

// A report is never longer than what takes it, shows what is worst, and says how
// much is missing.
func TestMarkdownLimit(t *testing.T) {
	t.Parallel()
	r := &Report{At: day(1, 0), Run: "RUN1", Runs: []Run{{Run: "RUN1", Op: "deploy", Commit: strings.Repeat("c", 40), Started: day(1, 0)}}}
	const stacks = 3000
	for i := range stacks {
		status := note.OK
		if i%3 == 2 {
			status = note.Failed
		}
		r.Stacks = append(r.Stacks, Stack{Path: fmt.Sprintf("/stack/%04d", i), History: []Result{{Status: status,
			Record: note.Record{Run: "RUN1", Status: status, Reason: strings.Repeat("<|*`@~ ", 100)}}}})
	}
	for _, limit := range []int{4096, 5000, 20_000, 0, SummaryLimit, 8 << 20} {
		got := markdownOf(t, r, limit)
		at := limit
		if limit == 0 {
			at = MarkdownLimit
		}
		rows := strings.Count(got, "<code>/stack&#") + strings.Count(got, "<code>/stack/")
		var left int
		if i := strings.LastIndex(got, " more stacks not shown"); i >= 0 {
			if _, err := fmt.Sscan(got[strings.LastIndexByte(got[:i], '\n')+1:], &left); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) > at || rows+left != stacks || rows == 0 {
			t.Errorf("limit %d: %d bytes, %d rows, %d said to be missing", at, len(got), rows, left)
		}
		if left > 0 && len(got) < at-2500 {
			t.Errorf("limit %d: only %d bytes are used", at, len(got))
		}
		if rows < 1000 && strings.Contains(got, "✅") {
			t.Errorf("limit %d: what is ok is shown, and not all that failed", at)
		}
		if strings.Count(got, "<details>") != strings.Count(got, "</details>") {
			t.Errorf("limit %d: a fold is open", at)
		}
	}
}

// rendered is what GitHub makes of Markdown.
func rendered(t *testing.T, markdown string) string {
	t.Helper()
	var out bytes.Buffer
	if err := github.Convert([]byte(markdown), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

var github = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))

// FuzzMarkdownText holds what is rendered against what was to be shown: whatever a
// text says, it is one cell of a table, in code, and the text.
func FuzzMarkdownText(f *testing.F) {
	for _, s := range []string{"", " ", "plain", "<script>alert(1)</script>", "a|b", "`x` ``y``", "**x** _y_ ~~z~~ $x$", "@alice #12 !3 GH-1", "https://evil.example www.evil.example a@b.c",
		"[x](y) ![x](y) <https://x>", "\\", "\\|", "a\nb\r\n\n# c", "&lt; &#60;", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "</code></td></table>", "| --- |", "- x\n+ y\n1. z", ":smile:", "\xff\x00", "\xb1\xc6", "{% raw %} {{ x }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		doc := "| a | b |\n| --- | --- |\n| " + code(s, 1000) + " | end |\n"
		root, err := xhtml.Parse(strings.NewReader(rendered(t, doc)))
		if err != nil {
			t.Fatal(err)
		}
		var elements []string
		var said strings.Builder
		var walk func(n *xhtml.Node, in bool)
		walk = func(n *xhtml.Node, in bool) {
			if n.Type == xhtml.ElementNode {
				elements = append(elements, n.Data)
				in = n.Data == "code"
			}
			if n.Type == xhtml.TextNode && in {
				said.WriteString(n.Data)
			}
			for c := n.FirstChild; c != nil; c = c.NextSibling {
				walk(c, in)
			}
		}
		walk(root, false)
		want := "html head body table thead tr th th tbody tr td code td"
		if s == "" {
			want = "html head body table thead tr th th tbody tr td td"
		}
		if got := strings.Join(elements, " "); got != want {
			t.Fatalf("%q makes %s", s, got)
		}
		if want := inline(s); len([]rune(s)) < 1000 && said.String() != want {
			t.Fatalf("%q is shown as %q", want, said.String())
		}
	})
}

// A job's name comes from the notes: it is a link only if it is an address, and
// then one that goes nowhere else.
func TestJobLink(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"https://ci.example/1?a=b&c=d#x", "javascript:alert(1)", "nightly", `https://x/"><script>alert(1)</script>`, "http://", "", "//evil.example"} {
		link := strings.HasPrefix(name, "https://")
		if got := rendered(t, "x "+job(name)+"\n"); strings.Contains(got, "<script") || strings.Contains(got, `href="javascript`) || strings.Contains(got, "<a ") != link {
			t.Errorf("%q: %s", name, got)
		}
	}
}
