package telemetry

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Options say of what there are metrics.
type Options struct {
	Remote string // whose notes are compared with those that are here; "" for none
	// MaxStacks is how many stacks, each target counted by itself, may have series
	// of their own. If there are more, none has, and
	// tmnotes_stacks_without_series says how many.
	MaxStacks int
}

// DefaultMaxStacks is a sensible Options.MaxStacks: fifteen series each, and four for each plan.
const DefaultMaxStacks = 1000

// So many targets, and operations, have series of their own; those of all others
// are added up under the name that follows, which none of them can have.
const (
	maxTargets = 100
	maxOps     = 50
	others     = "(other)"
)

// The own statuses of a stack (see gitstate.StackStatus), each a series.
var stackStatuses = []note.Status{note.OK, note.Failed, note.Blocked, note.Canceled, note.Interrupted, note.Drifted, note.Running, note.Never}

// How a deployment may have ended.
var finalStatuses = []note.Status{note.OK, note.Failed, note.Canceled, note.Blocked}

var (
	stacksDesc = prometheus.NewDesc("tmnotes_stacks",
		"Stacks that were deployed or checked for drift, by their own status; without those that were destroyed.", []string{"target", "status"}, nil)
	resultsDesc = prometheus.NewDesc("tmnotes_latest_results",
		"Stacks by the status of their latest record of an operation.", []string{"target", "op", "status"}, nil)
	deploymentsDesc = prometheus.NewDesc("tmnotes_deployments_total",
		"Deployments of stacks that ended and are on record, by what they came to.", []string{"target", "op", "status"}, nil)
	statusDesc = prometheus.NewDesc("tmnotes_stack_status",
		"Whether this is the stack's own status (1) or not (0).", []string{"stack", "target", "status"}, nil)
	runDesc = prometheus.NewDesc("tmnotes_stack_last_run_timestamp_seconds",
		"When the stack's latest record of the operation was made.", []string{"stack", "target", "op"}, nil)
	successDesc = prometheus.NewDesc("tmnotes_stack_last_success_timestamp_seconds",
		"When the operation succeeded last for the stack, 0 if never.", []string{"stack", "target", "op"}, nil)
	durationDesc = prometheus.NewDesc("tmnotes_stack_last_run_duration_seconds",
		"How long the command of the latest record ran.", []string{"stack", "target", "op"}, nil)
	planDesc = prometheus.NewDesc("tmnotes_stack_planned_resources",
		"Resources that the plan of the stack's latest record of the operation changes, by action; absent if that is not known.", []string{"stack", "target", "op", "action"}, nil)
	deployedDesc = prometheus.NewDesc("tmnotes_stack_deployed_commit_timestamp_seconds",
		"The commit time of what was deployed last with success; from there to tmnotes_stack_last_success_timestamp_seconds is its lead time.", []string{"stack", "target"}, nil)
	omittedDesc = prometheus.NewDesc("tmnotes_stacks_without_series",
		"Stacks that have no tmnotes_stack_ series since there are more than the limit; 0 if all have.", nil, nil)
	fetchDesc = prometheus.NewDesc("tmnotes_last_fetch_timestamp_seconds",
		"When the notes of the remote were fetched last, 0 if never.", []string{"remote"}, nil)
	unpushedDesc = prometheus.NewDesc("tmnotes_unpushed_records",
		"Records that are in this repository and were not seen on the remote.", []string{"remote"}, nil)
	oldestDesc = prometheus.NewDesc("tmnotes_oldest_unpushed_record_timestamp_seconds",
		"When the oldest of these records was made; absent if there is none.", []string{"remote"}, nil)
)

// Collector is a prometheus.Collector over what the notes say at the moment of
// the scrape. State that cannot be read is an error of Gather, and so a scrape
// that failed: never zeros.
type Collector struct {
	store *gitstate.Store
	opt   Options
}

// NewCollector makes the collector of a store.
func NewCollector(s *gitstate.Store, opt Options) *Collector { return &Collector{s, opt} }

// Describe names the metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{stacksDesc, resultsDesc, deploymentsDesc, statusDesc, runDesc, successDesc, durationDesc, planDesc, deployedDesc, omittedDesc, fetchDesc, unpushedDesc, oldestDesc} {
		ch <- d
	}
}

// Collect reads the notes.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	if err := c.collect(context.Background(), ch); err != nil {
		ch <- prometheus.NewInvalidMetric(stacksDesc, err)
	}
}

func (c *Collector) collect(ctx context.Context, ch chan<- prometheus.Metric) error {
	st, err := c.store.State(ctx)
	if err != nil {
		return err
	}
	stacks, err := stacksOf(st)
	if err != nil {
		return err
	}
	counts, err := c.store.Tally(ctx)
	if err != nil {
		return err
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if c.opt.Remote != "" {
		n, oldest, err := c.store.Remote(c.opt.Remote).Unpushed(ctx)
		if err != nil {
			return err
		}
		remote := valid(c.opt.Remote)
		gauge(unpushedDesc, float64(n), remote)
		if !oldest.IsZero() {
			gauge(oldestDesc, seconds(oldest), remote)
		}
		gauge(fetchDesc, seconds(c.store.Remote(c.opt.Remote).LastFetch()), remote)
	}
	sums(ch, stacks, counts)

	shown := slices.DeleteFunc(slices.Collect(maps.Values(stacks)), func(s *stack) bool { return s.status == "" })
	if len(shown) > c.opt.MaxStacks {
		gauge(omittedDesc, float64(len(shown)))
		return nil
	}
	gauge(omittedDesc, 0)
	for _, s := range shown {
		for _, is := range stackStatuses {
			gauge(statusDesc, number(s.status == is), s.path, s.target, string(is))
		}
		if l := s.ops[note.Deploy]; l.OKCommit != "" {
			if at := st.DeployedTime(&l); !at.IsZero() {
				gauge(deployedDesc, seconds(at), s.path, s.target)
			}
		}
		for _, op := range []string{note.Deploy, note.Drift} {
			l, has := s.ops[op]
			if !has {
				continue
			}
			gauge(runDesc, seconds(l.At), s.path, s.target, op)
			gauge(successDesc, seconds(l.OKAt), s.path, s.target, op)
			if l.Took > 0 {
				gauge(durationDesc, l.Took.Seconds(), s.path, s.target, op)
			}
		}
		for op, l := range s.ops {
			for action, n := range l.Plan().Counts() {
				gauge(planDesc, float64(n), s.path, s.target, valid(op), action)
			}
		}
	}
	return nil
}

// sums are the series whose number does not grow with that of the stacks.
func sums(ch chan<- prometheus.Metric, stacks map[place]*stack, counts map[gitstate.TallyKey]int) {
	targets, ops := map[string]int{}, map[string]int{}
	for _, s := range stacks {
		targets[s.target]++
		for _, l := range s.ops {
			ops[l.Op]++
		}
	}
	for k, n := range counts {
		targets[valid(k.Target)] += n
	}
	target, op := most(targets, maxTargets), most(ops, maxOps)

	own, latest, ended := map[[2]string]int{}, map[[3]string]int{}, map[[3]string]int{}
	for _, s := range stacks {
		if s.status != "" {
			for _, is := range stackStatuses {
				own[[2]string{target(s.target), string(is)}] += 0
			}
			own[[2]string{target(s.target), string(s.status)}]++
		}
		for _, l := range s.ops {
			latest[[3]string{target(s.target), op(l.Op), string(l.Status)}]++
		}
	}
	for k, n := range counts {
		// A counter that is there before it counts is one whose first increase is seen.
		for _, is := range finalStatuses {
			ended[[3]string{target(valid(k.Target)), k.Op, string(is)}] += 0
		}
		ended[[3]string{target(valid(k.Target)), k.Op, string(k.Status)}] += n
	}
	for k, n := range own {
		ch <- prometheus.MustNewConstMetric(stacksDesc, prometheus.GaugeValue, float64(n), k[:]...)
	}
	for k, n := range latest {
		ch <- prometheus.MustNewConstMetric(resultsDesc, prometheus.GaugeValue, float64(n), k[:]...)
	}
	for k, n := range ended {
		ch <- prometheus.MustNewConstMetric(deploymentsDesc, prometheus.CounterValue, float64(n), k[:]...)
	}
}

// most keeps so many names, those that are used most, and calls all others one.
func most(used map[string]int, n int) func(string) string {
	names := slices.SortedFunc(maps.Keys(used), func(a, b string) int { return cmp.Or(used[b]-used[a], strings.Compare(a, b)) })
	kept := map[string]bool{}
	for _, name := range names[:min(n, len(names))] {
		kept[name] = true
	}
	return func(name string) string {
		if kept[name] {
			return name
		}
		return others
	}
}

// place is what tells the series of a stack from those of others.
type place struct{ path, target string }

type stack struct {
	place
	status note.Status                // its own; "" if it was destroyed, or was neither deployed nor checked
	ops    map[string]gitstate.Latest // by group of operations
}

// stacksOf are the stacks that have a record, by place. A stack is where its newest
// record says; of several that were at one place over the time, the one that was
// there last.
func stacksOf(st *gitstate.State) (map[place]*stack, error) {
	type latest struct {
		note.Slot
		gitstate.Latest
	}
	var all []latest
	at := map[string]latest{} // by id: where the stack was last
	for _, slot := range st.Slots() {
		l, err := st.Latest(slot)
		if err != nil {
			return nil, err
		}
		all = append(all, latest{slot, l})
		if now, has := at[slot.ID]; slot.ID != "" && (!has || l.At.After(now.At)) {
			at[slot.ID] = latest{slot, l}
		}
	}
	stacks := map[place]*stack{}
	for _, l := range all {
		path := l.Slot.Path
		if l.Slot.ID != "" {
			path = at[l.Slot.ID].Slot.Path
		}
		p := place{valid(path), valid(l.Slot.Target)}
		s := stacks[p]
		if s == nil {
			s = &stack{place: p, ops: map[string]gitstate.Latest{}}
			stacks[p] = s
		}
		if had, has := s.ops[l.Slot.Op]; !has || l.At.After(had.At) || l.At.Equal(had.At) && l.Slot.ID != "" {
			s.ops[l.Slot.Op] = l.Latest
		}
	}
	never := gitstate.Latest{Status: note.Never}
	for _, s := range stacks {
		deploy, deployed := s.ops[note.Deploy]
		drift, checked := s.ops[note.Drift]
		if !deployed {
			deploy = never
		}
		if !checked {
			drift = never
		}
		if (deployed || checked) && !(deploy.Op == note.Destroy && deploy.Status == note.OK) {
			s.status = known(gitstate.StackStatus(deploy, drift))
		}
	}
	return stacks, nil
}

// known takes a status of a later version for what it surely is not: a success.
func known(s note.Status) note.Status {
	if slices.Contains(stackStatuses, s) {
		return s
	}
	return note.Failed
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
