package note

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A plan that is recorded is the plan that is read, and one without changes is not one that is unknown.
func TestPlanInRecord(t *testing.T) {
	t.Parallel()
	for plan, want := range map[Plan]string{
		{}:                                     " add=0",
		{Add: 2}:                               " add=2",
		{Destroy: 3}:                           " add=0 destroy=3",
		{Add: 1, Change: 2, Replace: 4}:        " add=1 change=2 replace=4",
		{Add: 1, Destroy: 1, Joint: true}:      " add=1 destroy=1 replace=?",
		{Add: maxCount, Change: maxCount * 10}: " add=2147483647 change=2147483647",
	} {
		r := Record{At: time.UnixMilli(1), Status: OK, Op: "plan", Stack: "/a", Run: "R"}
		if r.Plan() != nil {
			t.Error("a plan that nobody knows")
		}
		r.SetPlan(&plan)
		line, err := r.Line()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseRecord(line)
		if err != nil || !strings.HasSuffix(line, want) {
			t.Errorf("%+v: %s, %v", plan, line, err)
		}
		plan.Change = min(plan.Change, maxCount)
		if got := back.Plan(); got == nil || *got != plan {
			t.Errorf("%+v was read as %+v", plan, got)
		}
	}
}

func TestReadPlan(t *testing.T) {
	t.Parallel()
	change := func(address, mode string, actions ...string) string {
		return fmt.Sprintf(`{"address":%q,"mode":%q,"change":{"actions":["%s"],"before":"s3cr3t"}}`, address, mode, strings.Join(actions, `","`))
	}
	plan := func(changes ...string) string {
		return `{"format_version":"1.2","planned_values":{},"resource_drift":[` + change("x", "managed", "delete") + `],"resource_changes":[` + strings.Join(changes, ",") + `]}`
	}
	for _, c := range []struct {
		json, want string
		plan       Plan
	}{
		{json: plan(), want: ""},
		{json: `{"format_version":"1.2","planned_values":{}}`},
		{json: plan(change("a", "managed", "create"), change("b", "managed", "update"), change("c", "managed", "delete")), want: "- c\n~ b\n+ a\n", plan: Plan{1, 1, 1, 0, false}},
		{json: plan(change("a", "managed", "delete", "create"), change("b", "managed", "create", "delete")), want: "-/+ a\n-/+ b\n", plan: Plan{Replace: 2}},
		{json: plan(change("a", "managed", "no-op"), change("b", "data", "read"), change("c", "managed", "forget"))},
		{json: plan(change("a", "managed", "create", "forget")), want: "+ a\n", plan: Plan{Add: 1}},
		{json: plan(`{"address":"a","deposed":"b1","mode":"managed","change":{"actions":["delete"]}}`), want: "- a (deposed b1)\n", plan: Plan{Destroy: 1}},
		{json: plan(change("a", "managed", "explode")), want: `error: a: the action "explode" is not known`},
		{json: `{"format_version":"1.0","values":{}}`, want: "error: it is not a plan"},
		{json: `{"format_version":"1.2","errored":true}`, want: "error: planning failed, so that it is not whole"},
		{json: `{}`, want: "error: it is not a plan"},
		{json: `{"format_version":"2.0"}`, want: "error: it is not a plan"},
		{json: `nonsense`, want: "error: its JSON cannot be read: invalid character 'o' in literal null (expecting 'u')"},
	} {
		p, changes, err := ReadPlan([]byte(c.json))
		got := Listed(changes, 1000)
		if err != nil {
			got, p = "error: "+err.Error(), &Plan{}
		}
		if got != c.want || *p != c.plan {
			t.Errorf("%s: %+v %s", c.json, *p, got)
		}
	}
}

// What is printed is read as it comes, in whatever pieces.
func TestPlanOutput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		said string
		want *Plan
	}{
		{"", nil},
		{"Apply complete! Resources: 1 added, 0 changed, 0 destroyed.\n", nil},
		{"\x1b[0m\x1b[1m\x1b[32mNo changes.\x1b[0m Your infrastructure matches the configuration.\n", &Plan{}},
		{"\x1b[1mPlan:\x1b[0m 1 to import, 2 to add, 3 to change, 0 to destroy.\n", &Plan{Add: 2, Change: 3}},
		{"Plan: 0 to add, 0 to change, 5 to destroy, 1 to forget.", &Plan{Destroy: 5}},
		{"Plan: 2 to add, 0 to change, 1 to destroy.\n", &Plan{Add: 2, Destroy: 1, Joint: true}},
		{"  # a will be created\n  # b must be replaced\nPlan: 2 to add, 0 to change, 1 to destroy.\n", &Plan{Add: 1, Replace: 1}},
		{"  # a[\"x y\"] is tainted, so it must be replaced\nPlan: 1 to add, 0 to change, 1 to destroy.\n", &Plan{Replace: 1}},
		{"  # b must be replaced\nPlan: 2 to add, 0 to change, 1 to destroy.\n", &Plan{Add: 2, Destroy: 1, Joint: true}},
		{"Plan: 1 to add, 0 to change, 0 to destroy.\nPlan: 1 to add, 0 to change, 0 to destroy.\n", &Plan{Add: 1}},
		{"Plan: 1 to add, 0 to change, 0 to destroy.\nPlan: 2 to add, 0 to change, 0 to destroy.\n", nil},
		{`{"type":"planned_change","change":{"resource":{"addr":"a"},"action":"replace"}}` + "\n" + `{"type":"change_summary","changes":{"add":1,"change":0,"remove":1,"operation":"plan"}}` + "\n", &Plan{Replace: 1}},
		{`{"type":"change_summary","changes":{"add":1,"change":0,"remove":1,"operation":"apply"}}` + "\n", nil},
		{`{"type":"change_summary","changes":{"add":0,"change":0,"remove":0,"operation":"plan"}}` + "\n", &Plan{}},
		{"{not JSON\n" + strings.Repeat("x", longestLine+10) + "\nNo changes.\n", &Plan{}},
	} {
		for _, size := range []int{1, 7, 1 << 21} {
			o := &PlanOutput{}
			for piece := range slices.Chunk([]byte(c.said), size) {
				_, _ = o.Write(piece)
			}
			if got, _ := o.Plan(); (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
				t.Errorf("%.100q: %+v", c.said, got)
			}
		}
	}
}

// Of a plan that is too long the resources are there all the same, and what destroys before all.
func TestKeptPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(600, 4000).Draw(rt, "limit")
		var changes []Change
		e := &Excerpt{Limit: limit}
		for i := range rapid.IntRange(1, 200).Draw(rt, "resources") {
			c := Change{rapid.SampledFrom(signs).Draw(rt, "sign"), fmt.Sprintf("aws_x.y[%d]", i)}
			changes = append(changes, c)
			fmt.Fprintf(e, "  # %s is planned\n%s\n", c.Address, strings.Repeat("x", rapid.IntRange(0, 50).Draw(rt, "length")))
		}
		text := KeptPlan(e, changes, limit)
		if len(text) > limit {
			rt.Fatalf("%d bytes, of %d", len(text), limit)
		}
		if e.written <= limit-MarkRoom-1 {
			if strings.Contains(text, "left out") || !strings.HasPrefix(text, "  # aws_x.y[0]") {
				rt.Fatalf("a short one is as it is: %s", text)
			}
			return
		}
		head, _, _ := strings.Cut(text, "\n\n")
		lines := strings.Split(head, "\n")
		for i, line := range lines[:len(lines)-1] {
			sign := func(l string) int { s, _, _ := strings.Cut(l, " "); return slices.Index(signs, s) }
			if next := lines[i+1]; !strings.HasPrefix(next, "[") && sign(line) > sign(next) {
				rt.Fatalf("%q stands above %q", line, next)
			}
		}
		if len(lines) != len(changes) && !strings.HasPrefix(lines[len(lines)-1], "[... ") {
			rt.Fatalf("%d of %d are named:\n%s", len(lines), len(changes), head)
		}
	})
}
