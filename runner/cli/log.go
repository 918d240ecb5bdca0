package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func logCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:        "log",
		Usage:       "show what was run, newest first, for all stacks or one",
		ArgsUsage:   "[STACK]",
		Description: "STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id.\n" + refreshHelp,
		Flags: slices.Concat(chdirFlags(), logFlags("records"), []cli.Flag{
			&cli.StringFlag{Name: "run", Usage: "only the run `ID`, or the one whose id begins so"},
			formatFlag(),
		}, refreshFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return inClone(looking(env), parseLog, logRecords)(c) },
	}
}

// logFlags choose what log and runs list.
func logFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "n", Aliases: []string{"limit"}, Value: 50, Usage: "show at most `N` " + what + " (0: all)"},
		&cli.StringFlag{Name: "op", Usage: "only the operation `NAME`"},
		&cli.StringFlag{Name: "target", Usage: "only this `TARGET`"},
	}
}

// recordFilter is which records are asked for, by the flags that log and flaky have.
type recordFilter struct {
	op, run, target string
	anyTarget       bool
}

func parseRecordFilter(c *cli.Context) recordFilter {
	return recordFilter{c.String("op"), c.String("run"), c.String("target"), !c.IsSet("target")}
}

func (f recordFilter) admits(r *note.Record) bool {
	return (f.op == "" || r.Op == f.op) && (f.run == "" || r.Run == f.run) && (f.anyTarget || r.Target == f.target)
}

// logOptions is what the flags of log say, checked.
type logOptions struct {
	stack string // "" for all
	which recordFilter
	n     int
}

func parseLog(c *cli.Context) (logOptions, error) {
	if c.Args().Len() > 1 {
		return logOptions{}, fmt.Errorf("one stack at a time, not %d", c.Args().Len())
	}
	if n := c.Int("n"); n < 0 {
		return logOptions{}, fmt.Errorf("-n must be 0 or more, not %d", n)
	}
	return logOptions{c.Args().First(), parseRecordFilter(c), c.Int("n")}, checkRefresh(c)
}

// sayNone says that it is the choice that leaves nothing to list.
func (o *logOptions) sayNone(here *clone, listed int, what string) {
	if f := o.which; listed == 0 && (o.stack != "" || f.op != "" || f.run != "" || !f.anyTarget) {
		here.Say("no %s is selected", what)
	}
}

// wholeRun is the id of the run that is meant by one that was typed, which may be its beginning.
// What is none is taken as it is: nothing is recorded of it.
func wholeRun(s *gitstate.Store, typed string) (string, error) {
	if typed == "" {
		return "", nil
	}
	run, err := query.FindRun(s, typed)
	return cmp.Or(run, typed), err
}

func logRecords(here *clone, o logOptions) (err error) {
	if err := here.readFresh(); err != nil {
		return err
	}
	if o.which.run, err = wholeRun(here.store, o.which.run); err != nil {
		return err
	}
	found, err := findLogged(here, o)
	if err != nil {
		return err
	}
	if here.json {
		return terminal.PrintJSON(here.Out, found)
	}
	runs := make([]string, len(found))
	for i, f := range found {
		runs[i] = f.Record.Run
	}
	short := note.ShortRuns(runs)
	var rows [][]string
	for _, f := range found {
		r := f.Record
		rows = append(rows, []string{string(r.Status), r.At.Local().Format(time.DateTime), opAt(r.Op, r.Target), r.Stack, runner.Took(r.Took), note.Short(f.Commit), note.NameOf(f.By), short(r.Run), whyOf(&r)})
	}
	err = here.Table(here.Out, []string{"STATUS", "AT", "OP", "STACK", "TIME", "COMMIT", "BY", "RUN", "WHY"}, rows, terminal.StatusColor)
	o.sayNone(here, len(rows), "record")
	here.sayAge()
	return err
}

// ofStack says which records are of a stack that was typed; "" is all.
func (here *clone) ofStack(typed string) func(*note.Record) bool {
	if typed == "" {
		return func(*note.Record) bool { return true }
	}
	return query.StackMatcher(here.c.Context, here.store, here.dir, typed)
}

// findLogged finds the records that are asked for, the newest first, each with who made
// it, which the head of its run says.
func findLogged(here *clone, o logOptions) ([]query.Logged, error) {
	is := here.ofStack(o.stack)
	by := map[string]string{}
	found, known := []query.Logged{}, false
	recorded := map[string]bool{}
	err := here.store.Notes(func(commit string, lines []gitstate.Line) error {
		for _, l := range lines {
			r := l.Record
			recorded[r.Stack] = true
			switch {
			case l.Err != nil:
			case r.Event == note.Started:
				if r.Leg() == 0 || by[r.Run] == "" {
					by[r.Run] = r.By
				}
			case r.Status != "" && is(&r):
				known = true
				if o.which.admits(&r) {
					found = append(found, query.Logged{Commit: commit, Record: r})
				}
				if o.n > 0 && len(found) >= o.n+1000 {
					found = newest(found, o.n)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !known && o.stack != "" {
		return nil, noRecord(o.stack, recorded)
	}
	found = newest(found, o.n)
	for i := range found {
		found[i].By = cmp.Or(found[i].Record.By, by[found[i].Record.Run])
	}
	return found, nil
}

// newest sorts the newest first, and leaves at most n; 0 is all.
func newest(found []query.Logged, n int) []query.Logged {
	slices.SortFunc(found, func(a, b query.Logged) int {
		return cmp.Or(b.Record.At.Compare(a.Record.At), strings.Compare(a.Record.Stack, b.Record.Stack))
	})
	if n > 0 && len(found) > n {
		return found[:n]
	}
	return found
}

// opAt is an operation with its target, as tables have it.
func opAt(op, target string) string {
	if target != "" {
		op += "@" + target
	}
	return op
}

func whyOf(r *note.Record) string {
	var why []string
	if p := r.Plan(); p != nil {
		why = append(why, p.String())
	}
	if r.Tries > 1 {
		why = append(why, fmt.Sprintf("%d tries", r.Tries))
	}
	if r.Dirty {
		why = append(why, "uncommitted changes")
	}
	if w := r.Why(); w != "" {
		why = append(why, w)
	}
	if until := r.Until(); !until.IsZero() {
		why = append(why, "until "+until.Local().Format(time.DateTime))
	}
	if w := r.Broke(); w != "" {
		why = append(why, "although it was held: "+w)
	}
	return strings.Join(why, "; ")
}

func showCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show the records of a commit or run, or a stack's plan or output",
		ArgsUsage: "[REV | RUN] | --plan STACK | --log STACK [RUN | REV]",
		Description: "RUN is the id of a run, or its first characters. What is also a commit, a branch or a tag is taken for that; --run RUN is\n" +
			"always the run.\n" +
			"With --plan: the plan of the stack's newest drift run that found drift, else of its newest deployment with --plan-file.\n" +
			"With --log: what the stack's commands printed when it failed last, or in that run or on that commit.\n" +
			"STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "plan", Usage: "show the plan that is kept for a stack"},
			&cli.BoolFlag{Name: "log", Usage: "show what a stack's commands printed when it failed"},
			&cli.StringFlag{Name: "run", Usage: "the run `ID`, or the one whose id begins so; with --plan, --log: of that run"},
			&cli.StringFlag{Name: "target", Usage: "of this `TARGET`, with --plan or --log"},
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("log"):
				return inClone(env, parseShowLog, showLog)(c)
			case c.Bool("plan"):
				return inClone(env, parseShowPlan, showPlan)(c)
			}
			return inClone(env, parseShow, show)(c)
		},
	}
}

// showOptions is what is to be shown: a run, if one is named as such, or what else it names.
type showOptions struct{ run, what string }

func parseShow(c *cli.Context) (o showOptions, err error) {
	o = showOptions{c.String("run"), c.Args().First()}
	switch {
	case c.IsSet("target"):
		return o, errors.New("--target goes with --plan or --log; `tmnotes log` takes it, too")
	case c.IsSet("run") && (o.run == "" || o.what != ""):
		return o, errors.New("--run: name one run, and nothing else")
	case c.Args().Len() > 1:
		return o, errors.New("one commit or run at a time")
	}
	return o, nil
}

// resolveAnnotated finds a commit; the full name of one that is not here will
// do, since notes outlive their commits.
func resolveAnnotated(s *gitstate.Store, rev string) (gitstate.Commit, error) {
	commit, err := s.Resolve(rev)
	if err != nil && len(rev) == 40 && strings.Trim(rev, "0123456789abcdef") == "" {
		return gitstate.Commit{Hash: rev, Subject: "(not in this repository)"}, nil
	}
	return commit, err
}

func show(here *clone, o showOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	if o.run != "" {
		return showRun(here, o.run, fmt.Errorf("no run begins with %s; `tmnotes runs` lists them, `tmnotes fetch` brings the remote's", o.run))
	}
	commit, err := resolveAnnotated(here.store, cmp.Or(o.what, "HEAD"))
	if err != nil && note.IsToken(o.what) && !errors.Is(err, gitstate.ErrNoCommit) {
		return showRun(here, o.what, fmt.Errorf("%w; no run's id begins so, either: `tmnotes runs` lists them", err))
	}
	if err != nil && strings.HasPrefix(o.what, "/") {
		return fmt.Errorf("show takes a commit or a run; of a stack, `tmnotes log %[1]s` lists the records, and `tmnotes show --log %[1]s` shows the output", o.what)
	}
	if err != nil {
		return err
	}
	lines, err := here.store.Note(commit.Hash)
	if err != nil {
		return err
	}
	signed, err := here.verified(commit.Hash)
	if err != nil {
		return err
	}
	if here.json {
		records := []note.Record{}
		for _, l := range lines {
			if l.Err == nil {
				records = append(records, l.Record)
			}
		}
		return here.printShown(map[string]any{"commit": commit.Hash, "records": records}, signed)
	}
	fmt.Fprintf(here.Out, "commit %s %s\n", commit.Hash, runner.Printable(commit.Subject))
	if len(lines) == 0 {
		here.Say("no records on this commit")
		return nil
	}
	runs, rest := runsOf(lines)
	for _, run := range runs {
		run.print(here.ui, signed.of(commit.Hash, run.id))
	}
	if len(rest) > 0 {
		fmt.Fprintln(here.Out, "\nlines that are no records:")
		for _, t := range rest {
			fmt.Fprintf(here.Out, "  %s\n", runner.Printable(t))
		}
	}
	return nil
}

// shownRun is what a note has of one run.
type shownRun struct {
	id      string
	head    note.Record // not that of a leg
	records []note.Record
}

// runsOf are the runs of a note, in the order in which they come in it, and its lines that
// are no records.
func runsOf(lines []gitstate.Line) (runs []*shownRun, rest []string) {
	known := map[string]*shownRun{}
	for _, l := range lines {
		if l.Err != nil {
			rest = append(rest, l.Text)
			continue
		}
		run := known[l.Record.Run]
		if run == nil {
			run = &shownRun{id: l.Record.Run}
			known[run.id], runs = run, append(runs, run)
		}
		if l.Record.Event == note.Started && l.Record.Leg() == 0 {
			run.head = l.Record
		}
		run.records = append(run.records, l.Record)
	}
	return runs, rest
}

// print shows it; signed is what its signatures say, where somebody looks at them.
func (run *shownRun) print(u *ui, signed string) {
	fmt.Fprintf(u.Out, "\nrun %s", run.id)
	for _, part := range []string{run.head.Op, run.head.Target, run.head.By, run.head.Job} {
		if part != "" {
			fmt.Fprintf(u.Out, "  %s", runner.Printable(part))
		}
	}
	fmt.Fprintln(u.Out)
	if run.head.Cmd != "" {
		fmt.Fprintf(u.Out, "  $ %s\n", runner.Printable(run.head.Cmd))
	}
	if broke := run.head.Broke(); broke != "" {
		fmt.Fprintf(u.Out, "  --break-hold: %s\n", runner.Printable(broke))
	}
	if signed != "" {
		fmt.Fprintf(u.Out, "  %s\n", runner.Printable(signed))
	}
	// The end may be of the same millisecond as the last result.
	slices.SortStableFunc(run.records, func(a, b note.Record) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event))
	})
	var rows [][]string
	for _, r := range run.records {
		about := r.Stack
		switch {
		case r.Event == note.Started && r.Leg() == 0, r.Event == note.Signed:
			continue
		case r.Event != "" && r.Leg() > 0:
			about = fmt.Sprintf("leg %d", r.Leg())
		}
		rows = append(rows, []string{happened(&r), r.At.Local().Format(time.TimeOnly), about, runner.Took(r.Took), strings.TrimSpace(whyOf(&r) + " " + by(r))})
	}
	if len(rows) > 0 {
		u.Table(u.Out, nil, rows, terminal.StatusColor)
	}
}

// happened is what a record says, in a word.
func happened(r *note.Record) string {
	switch r.Event {
	case note.Started:
		return "started"
	case note.Finished:
		return "finished"
	case note.Forgotten:
		if r.Had == note.Queued {
			return "skipped" // it was announced, and need not be run
		}
		return "forgotten"
	case gitstate.Unlocked:
		return "unlocked"
	}
	return string(r.Status)
}

func by(r note.Record) string {
	if r.By == "" {
		return ""
	}
	return "(by " + r.By + ")"
}
