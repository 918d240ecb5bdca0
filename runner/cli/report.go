package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// report is the end of a run: what became of the stacks, the failures last, and what to type next.
func (x *chosen) report(out *deploy.Outcome, took time.Duration) {
	u := x.u
	bad := len(out.Results) - out.Counts[runner.StatusOK] - out.Counts[runner.StatusSkipped]
	if u.Quiet && bad == 0 {
		return
	}
	x.hide = note.NewRedactor(x.Environ)
	e := terminal.Ending{Header: []string{"STATUS", "STACK", "TIME", "WHY"}}
	if x.waves() {
		e.Header = slices.Insert(e.Header, 2, "WAVE")
	}
	e.Failed = x.failures(out.Results)
	e.Rows = x.rows(out.Results)
	says := fmt.Sprintf("%s in %s at %s, run %s", x.total(out.Counts), runner.Took(took), note.Short(x.Commit.Hash), note.ShortRun(x.RunID))
	if x.Route.Remote != "" && out.Unsent == nil {
		says += ", recorded on " + x.Route.Remote
	}
	e.Foot = []string{says}
	if out.Counts[runner.StatusFailed]+out.Counts[runner.StatusCanceled]+out.Counts[runner.StatusBlocked] > 0 {
		e.Foot = append(e.Foot, x.next(out.Results)...)
	}
	u.Ending(e)
	u.Quiet = false
}

func (x *chosen) waves() bool { return x.Rollout.List[0].Name != "" }

// failures are the stacks that failed, with those that did not start for them alone.
func (x *chosen) failures(results []runner.Result) (failed []terminal.Failure) {
	blocked := map[string][]string{}
	for _, r := range results {
		if r.Status == runner.StatusBlocked && r.Reason == "" {
			blocked[r.Cause] = append(blocked[r.Cause], r.Stack.Path)
		}
	}
	for _, r := range results {
		if r.Status != runner.StatusFailed {
			continue
		}
		f := terminal.Failure{Row: x.row(r, r.Stack.Path), Blocked: blocked[r.Stack.Path]}
		if !x.above {
			f.Block = func(most int) []string { return x.logs.block(r.Stack.Path, most) }
		}
		failed = append(failed, f)
	}
	return failed
}

// mostOK is how many stacks that are ok have a row each.
const mostOK = 10

// rows are what the table has of the others, those that are ok first. Of stacks to which the same
// happened before they started it has one row.
func (x *chosen) rows(results []runner.Result) (rows [][]string) {
	type row struct {
		runner.Result
		paths []string
	}
	all, of, ok := []*row{}, map[string]*row{}, 0
	failed := map[string]bool{}
	for _, r := range results {
		failed[r.Stack.Path] = r.Status == runner.StatusFailed
		if r.Status == runner.StatusOK {
			ok++
		}
	}
	for _, r := range results {
		why := x.why(r)
		key := strings.Join([]string{string(r.Status), x.Rollout.NameOf(r.Stack.Path), why}, "\n")
		switch folds := ok > mostOK && r.Status == runner.StatusOK; {
		case r.Status == runner.StatusFailed, r.Status == runner.StatusBlocked && r.Reason == "" && failed[r.Cause], folds && why == "":
			continue
		case !folds && !r.Started.IsZero():
			key = r.Stack.Path
		}
		if of[key] == nil {
			of[key] = &row{Result: r}
			all = append(all, of[key])
		}
		of[key].paths = append(of[key].paths, r.Stack.Path)
	}
	order := []runner.Status{runner.StatusOK, runner.StatusSkipped, runner.StatusDrifted, runner.StatusCanceled, runner.StatusBlocked}
	slices.SortStableFunc(all, func(a, b *row) int {
		return cmp.Compare(slices.Index(order, a.Status), slices.Index(order, b.Status))
	})
	for _, r := range all {
		rows = append(rows, x.row(r.Result, terminal.SomeOf(r.paths)))
	}
	return rows
}

func (x *chosen) row(r runner.Result, stacks string) []string {
	row := []string{string(r.Status), stacks, runner.Took(r.Took), x.why(r)}
	if x.waves() {
		row = slices.Insert(row, 2, x.Rollout.NameOf(r.Stack.Path))
	}
	return row
}

// why is why a stack is not simply ok.
func (x *chosen) why(r runner.Result) (why string) {
	switch {
	case r.Status != runner.StatusOK:
		why = (&note.Record{Cause: r.Cause, Reason: x.hide.Hide(r.Reason)}).Why()
	case x.Planned(r.Stack.Path).Dirty || x.IsTouched(r.Stack.Path):
		why = "with uncommitted changes: does not count as deployed"
	}
	if plan := x.PlanOf(r.Stack.Path); plan.Changes() {
		why = strings.TrimSuffix(plan.String()+"; "+why, "; ")
	}
	if r.Tries > 1 {
		why = strings.TrimSuffix(strings.TrimSpace(fmt.Sprintf("%d tries; %s", r.Tries, why)), ";")
	}
	return why
}

// total says how many stacks ended how, and how many were left out.
func (x *chosen) total(counts map[runner.Status]int) string {
	var parts []string
	for _, st := range []runner.Status{runner.StatusOK, runner.StatusDrifted, runner.StatusFailed, runner.StatusBlocked, runner.StatusCanceled, runner.StatusSkipped} {
		if counts[st] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[st], st))
		}
	}
	late := countLate(x.Off)
	if done := len(x.Off) - late; done > 0 {
		parts = append(parts, fmt.Sprintf("%d already up to date", done))
	}
	if late > 0 {
		parts = append(parts, fmt.Sprintf("%d with a newer commit deployed", late))
	}
	return strings.Join(parts, ", ")
}

// next is what to type after a run in which something did not succeed.
func (x *chosen) next(results []runner.Result) (lines []string) {
	if i := slices.IndexFunc(results, func(r runner.Result) bool { return r.Status == runner.StatusFailed }); i >= 0 {
		path := results[i].Stack.Path
		name, target := shellQuote(path), x.Planned(path).Target
		if target == command.TargetOf(x.Select.Target, x.u.env.workspace()) {
			target = x.Select.Target
		}
		if target != "" {
			name += " --target " + shellQuote(target)
		}
		show := "tmnotes show --log "
		if !x.logs.kept[path] {
			show = "tmnotes log "
		}
		lines = append(lines, "next: "+show+name, "next: tmnotes blame "+name)
	}
	deploys, only := x.Planned(results[0].Stack.Path).Op.Name == note.Deploy, "what did not succeed here"
	if deploys {
		only = "what is not ok"
	}
	if x.Gone != nil && x.Planned(results[0].Stack.Path).Op.Name == note.Destroy {
		deploys, only = true, "what is not destroyed"
	}
	if line := x.again(deploys); line != "" {
		return append(lines, "next: "+line, "that runs only "+only)
	}
	again := "next: run the same command again"
	switch {
	case deploys && x.Force:
		again += " without --force"
	case deploys:
	case x.Force:
		again += " with --resume in place of --force"
	default:
		again += " with --resume"
	}
	return append(lines, again+"; only "+only+" runs")
}

// mostAgain is how long a command line may be that is repeated, where that is not for a terminal.
const mostAgain = 100

// again is the command line that runs what did not succeed. It is "" where that is too long, has
// something secret in it, or does not say all of it: variables may be set for one line of a shell.
func (x *chosen) again(deploys bool) string {
	own, words := x.u.env.args, x.words
	first := len(own) - len(words)
	ours := func(pair string) bool {
		return (strings.HasPrefix(pair, "TMNOTES_") || strings.HasPrefix(pair, "TM_ARG_")) && !strings.HasSuffix(pair, "=")
	}
	if first < 1 || !slices.Equal(own[first:], words) || command.Chosen(x.Environ) || slices.ContainsFunc(x.Environ, ours) {
		return ""
	}
	if own[first-1] == "--" {
		first--
	}
	own, words = slices.Clone(own[:first]), own[first:]
	if force := slices.Index(own, "--force"); x.Force && force < 0 {
		return ""
	} else if x.Force {
		own = slices.Delete(own, force, force+1)
	}
	if !deploys && !x.Resume {
		own = append(own, "--resume")
	}
	argv := slices.Concat([]string{"tmnotes"}, own, words)
	if strings.Contains(note.NewRedactor(x.Environ, argv).Command(argv), "***") {
		return ""
	}
	for i, word := range argv {
		argv[i] = shellQuote(word)
	}
	line, most := strings.Join(argv, " "), mostAgain
	if width := x.u.Width(); width > 0 {
		most = width - len("tmnotes: next: ")
	}
	if len(line) > most || runner.Printable(line) != line {
		return ""
	}
	return line
}
