package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tmnotes/tmnotes/runner/terminal"
)

// schema is what events.schema.json uses of JSON Schema.
type schema struct {
	Type       string            `json:"type"`
	Enum       []any             `json:"enum"`
	Const      any               `json:"const"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Format     string            `json:"format"`
	Others     *schema           `json:"additionalProperties"`
	AllOf      []struct{ If, Then schema }
}

// wrong says what of a value the schema does not allow. What is no property in it is
// wrong here, so that none is forgotten.
func (s schema) wrong(v any, strict bool) error {
	types := map[string]string{"string": "string", "object": "map[string]interface {}", "array": "[]interface {}", "integer": "float64", "number": "float64", "boolean": "bool"}
	if is := fmt.Sprintf("%T", v); s.Type != "" && is != types[s.Type] {
		return fmt.Errorf("%v is %s, not %s", v, is, s.Type)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) || s.Const != nil && s.Const != v {
		return fmt.Errorf("%v is none of %v %v", v, s.Enum, s.Const)
	}
	if s.Format == "date-time" {
		if _, err := time.Parse(time.RFC3339, v.(string)); err != nil {
			return err
		}
	}
	object, _ := v.(map[string]any)
	for _, key := range s.Required {
		if _, has := object[key]; !has {
			return fmt.Errorf("%v has no %s", v, key)
		}
	}
	for key, value := range object {
		p, known := s.Properties[key]
		if !known && strict && s.Properties != nil {
			return fmt.Errorf("%s is not in the schema: %v", key, v)
		}
		if !known && s.Others != nil {
			p = *s.Others
		}
		if err := p.wrong(value, strict); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if list, is := v.([]any); is && s.Items != nil {
		for _, item := range list {
			if err := s.Items.wrong(item, strict); err != nil {
				return err
			}
		}
	}
	for _, rule := range s.AllOf {
		if rule.If.wrong(v, false) == nil {
			if err := rule.Then.wrong(v, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// events: what the last command wrote is as the schema says; in short it is in $WORK/events.
func cmdEvents(ts *testscript.TestScript, neg bool, args []string) {
	var s schema
	ts.Check(json.Unmarshal([]byte(terminal.EventsSchema), &s))
	var got strings.Builder
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var e map[string]any
		ts.Check(json.Unmarshal([]byte(line), &e))
		if err := s.wrong(e, true); err != nil {
			ts.Fatalf("%v", err)
		}
		fmt.Fprint(&got, e["event"])
		for _, key := range []string{"stack", "stream", "text", "status", "op", "selected", "stacks", "try", "exit", "pushed", "signal"} {
			if value, has := e[key]; has {
				fmt.Fprintf(&got, " %s=%v", key, value)
			}
		}
		skipped, _ := e["skipped"].([]any)
		for _, s := range skipped {
			fmt.Fprintf(&got, " skipped: %v", s.(map[string]any)["stack"])
		}
		if r, has := e["record"].(map[string]any); has {
			fmt.Fprintf(&got, " record: %v", r["status"])
			for _, key := range []string{"reason", "cause"} {
				if value, has := r[key]; has {
					fmt.Fprintf(&got, " %v", value)
				}
			}
		}
		if counts, has := e["counts"].(map[string]any); has {
			for _, status := range slices.Sorted(maps.Keys(counts)) {
				fmt.Fprintf(&got, " %s:%v", status, counts[status])
			}
		}
		got.WriteByte('\n')
	}
	ts.Check(os.WriteFile(ts.MkAbs(filepath.Join(ts.Getenv("WORK"), "events")), []byte(got.String()), 0o644))
}
