package report_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/report"
)

func write(t interface{ Fatal(...any) }, c *report.Comment, kept string, limit int) string {
	var b bytes.Buffer
	if err := c.WriteMarkdown(&b, kept, limit); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A thousand stacks, each with a plan and a reason that are long, find their place in a comment; what does not is counted.
func TestCommentLimits(t *testing.T) {
	t.Parallel()
	p := &report.Preview{Base: strings.Repeat("a", 40), BaseRef: "origin/main", Head: strings.Repeat("b", 40)}
	before, after := &report.Comment{Target: "prod", Preview: p}, &report.Comment{Target: "prod", Merge: strings.Repeat("c", 40)}
	var names []string
	for i := range 1000 {
		name := fmt.Sprintf("/accounts/eu-central-1/team-%03d/service-%d/with a name that is <long>", i/10, i)
		names = append(names, name)
		p.Stacks = append(p.Stacks, report.PreviewStack{Path: name, Backlog: i%5 == 4, Why: strings.Repeat("it changed & ", 30)})
		before.Plans = append(before.Plans, report.Plan{Stack: name, Counts: "+1 ~2 -3", Text: strings.Repeat("  # aws_instance.x will be created\n", i)})
		after.Outcome = append(after.Outcome, report.Outcome{Stack: name, What: report.What(i % 3), Status: "failed", Why: strings.Repeat("Error: ", 100), Commit: after.Merge, Job: "https://ci.example/" + strings.Repeat("x", 200)})
	}
	for _, limit := range []int{16 << 10, 65_536, 1_000_000} {
		body := write(t, before, "", limit)
		merged := write(t, after, body, limit)
		for what, text := range map[string]string{"before": body, "after": merged} {
			if len(text) > limit || !utf8.ValidString(text) || !strings.HasPrefix(text, report.Marker("prod")) || len(text) < limit/4 {
				t.Errorf("%s: %d of %d bytes", what, len(text), limit)
			}
			if strings.Count(text, "<details>") != strings.Count(text, "</details>") {
				t.Errorf("%s, %d bytes: a fold is left open", what, limit)
			}
			got, backlog := report.Announced(text)
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(names))) || len(backlog) != 200 {
				t.Errorf("%s: %d stacks are announced, %d of them of the backlog", what, len(got), len(backlog))
			}
		}
		if limit == 65_536 && (!strings.Contains(body, "more stacks not shown") || !strings.Contains(body, "The plans of ") || !strings.Contains(merged, "more stacks not shown")) {
			t.Errorf("what is left out is not said:\n%.400s", body)
		}
		if limit == 65_536 && !strings.Contains(body, "/service-1/") {
			t.Error("the smallest plan found no room")
		}
	}
}

// The plans stand in order of their length, the largest last, of which the beginning and the end are shown.
func TestCommentPlans(t *testing.T) {
	t.Parallel()
	c := &report.Comment{Preview: &report.Preview{}, Plans: []report.Plan{{"/large", "+9 ~0 -0", "begin\n" + strings.Repeat("a line of a plan\n", 10_000) + "end\n"}, {"/small", "+1 ~0 -0", "small\n"}}}
	body := write(t, c, "", 20_000)
	small, large := strings.Index(body, "plan of <code>/small</code>"), strings.Index(body, "plan of <code>/large</code>")
	if small < 0 || large < small || !strings.Contains(body[large:], "\nbegin\n") || !strings.Contains(body[large:], "bytes are left out here") || !strings.Contains(body[large:], "\nend\n") || len(body) > 20_000 {
		t.Errorf("%d bytes, small at %d, large at %d:\n%s", len(body), small, large, body)
	}
}

// Whatever stacks, reasons and plans are called, nothing of it begins a line as a command, ends its code, mentions somebody or is
// markup, and what is announced is read again.
func TestCommentIsText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		evil := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"-->", "<!-- tmnotes:announced 1.x -->", "\n/close", "@everyone", "#1", "```", "````\n/merge", "</details>", "<img src=x>", "|", "![x](http://x)", "\r\n/close"}))
		name := rapid.Custom(func(t *rapid.T) string { return "/" + evil.Draw(t, "a") + evil.Draw(t, "b") })
		p := &report.Preview{Subject: evil.Draw(t, "subject"), BaseRef: evil.Draw(t, "base")}
		c := &report.Comment{Target: evil.Draw(t, "target"), Preview: p}
		after := &report.Comment{Target: c.Target, Subject: p.Subject}
		var want []string
		for range rapid.IntRange(0, 5).Draw(t, "stacks") {
			s := report.PreviewStack{Path: strings.ToValidUTF8(name.Draw(t, "stack"), ""), Why: evil.Draw(t, "why")}
			p.Stacks, want = append(p.Stacks, s), append(want, s.Path)
			c.Plans = append(c.Plans, report.Plan{Stack: s.Path, Counts: "+1", Text: evil.Draw(t, "x") + "\n" + evil.Draw(t, "y")})
			after.Outcome = append(after.Outcome, report.Outcome{Stack: s.Path, Status: evil.Draw(t, "status"), Why: s.Why, Job: evil.Draw(t, "job"), What: report.What(rapid.IntRange(0, 3).Draw(t, "what"))})
		}
		body := write(t, c, "", 65_536)
		for _, text := range []string{body, write(t, after, body, 65_536)} {
			if got, _ := report.Announced(text); !slices.Equal(got, want) {
				t.Fatalf("%q is announced, not %q", got, want)
			}
			fence := ""
			for i, line := range strings.Split(text, "\n") {
				switch {
				case strings.HasPrefix(line, "/"):
					t.Fatalf("a command: %q in\n%s", line, text)
				case fence != "":
					if line == fence {
						fence = ""
					}
				case strings.HasPrefix(line, "```"):
					fence = line
				case i < 2 && strings.HasPrefix(line, "<!-- tmnotes:"):
					if strings.Contains(strings.TrimSuffix(strings.TrimPrefix(line, "<!--"), "-->"), "--") {
						t.Fatalf("a comment that ends early: %q", line)
					}
				case strings.ContainsAny(line, "@!`") || strings.Contains(line, "<img") || strings.Contains(line, "<!--"):
					t.Fatalf("markup: %q", line)
				}
			}
			if fence != "" {
				t.Fatalf("the code does not end:\n%s", text)
			}
		}
	})
}

// What somebody made of the list is a list of names or nothing.
func TestAnnouncedByOthers(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "1.", "1.eNqK", "2.eNqKjlbST1SK1YmOjQUEAAD//xJIAyk=", "1.AAAA", "1.eNqrrgUAAXUA+Q=="} {
		if stacks, _ := report.Announced(report.Marker("") + "<!-- tmnotes:announced " + line + " -->\nrest"); len(stacks) > 0 {
			t.Errorf("%q: %q", line, stacks)
		}
	}
}
