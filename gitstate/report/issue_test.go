package report

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// An issue is within the forge's limit, begins with its mark whatever else is in it, and a plan ends no code block.
func TestIssueLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(8<<10, 64<<10).Draw(rt, "limit")
		line := rapid.SampledFrom([]string{"+ x = 1\n", "```\n", "/close\n", "\u202e\x1b[0m &<>\n", "~~~~ `````` \n"}).Draw(rt, "line")
		i := &Issue{Stack: "/" + rapid.String().Draw(rt, "stack"), Target: rapid.String().Draw(rt, "target"), Commit: "0123456789abcdef", Subject: rapid.String().Draw(rt, "subject"),
			Run: "01KAR9Z8QG7Z7VJ2J3C4D5E6F7", Plan: strings.Repeat(line, rapid.IntRange(0, 40_000).Draw(rt, "lines"))}
		i.Record = note.Record{At: time.UnixMilli(1_790_000_000_000), Status: note.Drifted, Op: note.Drift}
		body := i.Body(limit)
		if len(body) > limit || !strings.HasPrefix(body, i.Marker()) || strings.Contains(body, "\n/close") {
			rt.Fatalf("%d bytes of %d:\n%.3000s", len(body), limit, body)
		}
		if i.Plan != "" && !strings.HasSuffix(body, "\n</details>\n") {
			rt.Fatalf("where is the plan?\n%.3000s", body)
		}
		closed := i.Closed(body, "it was deployed")
		if strings.Count(closed, "<!-- tmnotes:drift") != 1 || !strings.HasPrefix(closed, i.Marker()) || strings.Contains(i.Title(), "\n") {
			rt.Fatalf("%.3000s", closed)
		}
	})
}

// The mark is that of the stack: of its id, if it has one, wherever it is, for its target.
func TestIssueMarker(t *testing.T) {
	t.Parallel()
	a := Issue{Stack: "/a", ID: "ID", Target: "prod"}
	for _, c := range []struct {
		i    Issue
		same bool
	}{
		{Issue{Stack: "/moved", ID: "id", Target: "prod"}, true},
		{Issue{Stack: "/a", ID: "id"}, false},
		{Issue{Stack: "/a", Target: "prod"}, false},
	} {
		if (c.i.Marker() == a.Marker()) != c.same {
			t.Errorf("%+v", c.i)
		}
	}
}
