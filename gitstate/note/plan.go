package note

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Plan is how many resources a plan would change, and how. Values of them are secrets as often as
// not: none is taken out of a plan.
type Plan struct {
	Add, Change, Destroy int
	// Replace are those that are destroyed and created anew, which are in none of the others.
	Replace int
	// Joint says that they are not known: they are in Add and in Destroy, as in Terraform's own summary.
	Joint bool
}

// Change is a resource that a plan changes.
type Change struct{ Sign, Address string }

// The signs of Terraform, by how much there is to lose.
var signs = []string{"-", "-/+", "~", "+"}

// The keys of a plan, in the order of Plan.counts. The first is there where the plan is known, the others where
// they are not 0. Replacements that are not known are a question mark.
var planKeys = []string{"add", "change", "destroy", "replace"}

const unknownCount = "?"

func (p *Plan) counts() []*int { return []*int{&p.Add, &p.Change, &p.Destroy, &p.Replace} }

// Plan is what the command found to change, or applied; nil where that is not known.
func (r *Record) Plan() *Plan {
	if r.extra(planKeys[0]) == "" {
		return nil
	}
	p := &Plan{Joint: r.extra("replace") == unknownCount}
	for i, n := range p.counts() {
		*n = r.extraCount(planKeys[i])
	}
	return p
}

// SetPlan says what the command found to change.
func (r *Record) SetPlan(p *Plan) {
	for i, n := range p.counts() {
		text := countText(min(*n, maxCount))
		switch {
		case i == 0 && text == "":
			text = "0"
		case planKeys[i] == "replace" && p.Joint:
			text = unknownCount
		}
		r.setExtra(planKeys[i], text)
	}
}

// Destroys is how many resources are destroyed, for good or not.
func (p *Plan) Destroys() int { return p.Destroy + p.Replace }

// Counts are those of a plan by their keys.
func (p *Plan) Counts() map[string]int {
	if p == nil {
		return nil
	}
	counts := map[string]int{}
	for i, n := range p.counts() {
		if planKeys[i] != "replace" || !p.Joint {
			counts[planKeys[i]] = *n
		}
	}
	return counts
}

// Changes reports whether it is known that something changes.
func (p *Plan) Changes() bool { return p != nil && *p != Plan{} }

// String is the plan in a few characters: +2 ~1 -0 -/+1.
func (p *Plan) String() string {
	switch {
	case p == nil:
		return ""
	case !p.Changes():
		return "no changes"
	case p.Replace > 0:
		return fmt.Sprintf("+%d ~%d -%d -/+%d", p.Add, p.Change, p.Destroy, p.Replace)
	}
	return fmt.Sprintf("+%d ~%d -%d", p.Add, p.Change, p.Destroy)
}

// add counts a change.
func (p *Plan) add(sign string) {
	if i := slices.Index(signs, sign); i >= 0 {
		*[]*int{&p.Destroy, &p.Replace, &p.Change, &p.Add}[i]++
	}
}

// ReadPlan reads what `terraform show -json FILE` prints of a saved plan (format 1.x,
// developer.hashicorp.com/terraform/internals/json-format). What is not understood is an error: a limit is
// kept by it.
func ReadPlan(data []byte) (*Plan, []Change, error) {
	var file struct {
		Version string           `json:"format_version"`
		Values  *json.RawMessage `json:"values"` // of a state
		Errored bool             `json:"errored"`
		Changes []struct {
			Address, Mode string
			Deposed       string
			Change        struct{ Actions []string }
		} `json:"resource_changes"`
	}
	switch err := json.Unmarshal(data, &file); {
	case err != nil:
		return nil, nil, fmt.Errorf("its JSON cannot be read: %w", err)
	case !strings.HasPrefix(file.Version, "1.") && !strings.HasPrefix(file.Version, "0.") || file.Values != nil:
		return nil, nil, errors.New("it is not a plan")
	case file.Errored:
		return nil, nil, errors.New("planning failed, so that it is not whole")
	}
	plan, changes := &Plan{}, []Change{}
	for _, c := range file.Changes {
		sign, err := signOf(c.Change.Actions)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.Address, err)
		}
		if sign != "" && c.Mode != "data" {
			if c.Deposed != "" {
				c.Address += " (deposed " + c.Deposed + ")"
			}
			plan.add(sign)
			changes = append(changes, Change{sign, c.Address})
		}
	}
	return plan, changes, nil
}

// signOf is what actions come to for a resource, "" for one that stays as it is.
func signOf(actions []string) (sign string, err error) {
	has := map[string]bool{}
	for _, a := range actions {
		switch has[a] = true; a {
		case "create", "update", "delete", "no-op", "read", "forget":
		default:
			return "", fmt.Errorf("the action %q is not known", a)
		}
	}
	switch {
	case has["create"] && has["delete"]:
		return "-/+", nil
	case has["delete"]:
		return "-", nil
	case has["update"]:
		return "~", nil
	case has["create"]:
		return "+", nil
	}
	return "", nil
}

// PlanOutput is a writer that learns of a plan from what `terraform plan` prints, for people or with
// -json: there is nothing better where no plan is saved.
type PlanOutput struct {
	line    []byte
	plans   []Plan // that the output sums up
	changes []Change
}

const longestLine = 1 << 20

// Write never fails.
func (o *PlanOutput) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		if len(o.line)+len(part) <= longestLine {
			o.line = append(o.line, part...)
		}
		if part[len(part)-1] == '\n' {
			o.read(string(o.line))
			o.line = o.line[:0]
		}
	}
	return len(p), nil
}

var (
	mayTell = regexp.MustCompile(`Plan:|No changes\.|  # `)
	planSum = regexp.MustCompile(`^Plan: (?:\d+ to import, )?(\d+) to add, (\d+) to change, (\d+) to destroy\b`)
	planned = regexp.MustCompile(`^  # (.+?) (will be created|will be updated in-place|will be destroyed|(?:will|must) be replaced|is tainted, so it must be replaced)`)
	verbs   = map[string]string{"will be created": "+", "will be updated in-place": "~", "will be destroyed": "-"}
	actions = map[string]string{"create": "+", "update": "~", "delete": "-", "replace": "-/+"}
)

func (o *PlanOutput) read(line string) {
	if strings.HasPrefix(line, "{") {
		o.readMessage(line)
		return
	}
	if !mayTell.MatchString(line) {
		return
	}
	line = PlainText(line)
	if found := planSum.FindStringSubmatch(line); found != nil {
		p := Plan{}
		for i, n := range p.counts()[:3] {
			*n, _ = strconv.Atoi(found[i+1])
		}
		o.plans = append(o.plans, p)
	} else if strings.HasPrefix(line, "No changes.") {
		o.plans = append(o.plans, Plan{})
	} else if found := planned.FindStringSubmatch(line); found != nil {
		o.changes = append(o.changes, Change{cmp.Or(verbs[found[2]], "-/+"), found[1]})
	}
}

// readMessage reads one of -json (developer.hashicorp.com/terraform/internals/machine-readable-ui).
func (o *PlanOutput) readMessage(line string) {
	var m struct {
		Type   string
		Change struct {
			Resource struct{ Addr string }
			Action   string
		}
		Changes struct {
			Add, Change, Remove int
			Operation           string
		}
	}
	switch err := json.Unmarshal([]byte(line), &m); {
	case err != nil:
	case m.Type == "planned_change" && actions[m.Change.Action] != "":
		o.changes = append(o.changes, Change{actions[m.Change.Action], m.Change.Resource.Addr})
	case m.Type == "change_summary" && m.Changes.Operation == "plan":
		o.plans = append(o.plans, Plan{Add: m.Changes.Add, Change: m.Changes.Change, Destroy: m.Changes.Remove})
	}
}

// Plan is what was found; nil where nothing was, or several plans that differ. Where the resources that are named
// add up to the sum, replacements are known.
func (o *PlanOutput) Plan() (*Plan, []Change) {
	if len(o.line) > 0 {
		o.read(string(o.line))
		o.line = nil
	}
	if len(o.plans) == 0 || slices.ContainsFunc(o.plans, func(p Plan) bool { return p != o.plans[0] }) {
		return nil, nil
	}
	sum, named := o.plans[0], Plan{}
	for _, c := range o.changes {
		named.add(c.Sign)
	}
	if (Plan{Add: named.Add + named.Replace, Change: named.Change, Destroy: named.Destroys()}) == sum {
		return &named, o.changes
	}
	sum.Joint = sum.Add > 0 && sum.Destroy > 0
	return &sum, nil
}

// Listed are changes, a line each, in at most so many bytes: what destroys comes first.
func Listed(changes []Change, most int) string {
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b Change) int { return slices.Index(signs, a.Sign) - slices.Index(signs, b.Sign) })
	var b strings.Builder
	for i, c := range changes {
		line := c.Sign + " " + c.Address + "\n"
		if b.Len()+len(line)+MarkRoom > most {
			fmt.Fprintf(&b, "[... %d more ...]\n", len(changes)-i)
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// KeptPlan is the text of a plan in at most so many bytes: where it is longer, the resources stand above it.
func KeptPlan(e *Excerpt, changes []Change, most int) string {
	if text := e.String(); len(changes) == 0 || e.written <= max(e.Limit-MarkRoom, 0)/2*2 {
		return text
	}
	list := Listed(changes, most/2) + "\n"
	short := Excerpt{Limit: most - len(list), tail: e.tail, written: e.written}
	short.head = e.head[:min(len(e.head), max(short.Limit-MarkRoom, 0)/2)]
	return list + short.String()
}
