package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func blameCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "blame",
		Usage:     "show since when a stack fails, and what changed before that",
		ArgsUsage: "STACK",
		Description: "STACK is a project path (/prod/vpc), a path below the working directory, or a stack's id. Of a stack that is ok\n" +
			"it says since when. Reads what is here; `tmnotes fetch` brings what is on the remote.",
		Flags: slices.Concat(chdirFlags(), targetFlags(), []cli.Flag{
			&cli.StringFlag{Name: "op", Value: note.Deploy, Usage: "operation `NAME` that fails"},
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error { return blame(c, env) },
	}
}

// inputChanges says what of the inputs of a stack, which stands at its path in
// the later one, differs between two commits, a project path each, maybe with a word before it. Where that cannot be told,
// as of a commit that is not here, it is an error.
type inputChanges func(ctx context.Context, stack runner.Stack, from, to string) ([]string, error)

// happened is a record that blame speaks of.
type happened struct {
	Commit  string      `json:"commit"`
	Subject string      `json:"subject,omitempty"`
	By      string      `json:"by,omitempty"`
	Job     string      `json:"job,omitempty"`
	Cmd     string      `json:"cmd,omitempty"`
	Record  note.Record `json:"record"`
}

// verdict is what blame finds.
type verdict struct {
	Stack  string      `json:"stack"`
	ID     string      `json:"id,omitempty"`
	Op     string      `json:"op"`
	Target string      `json:"target,omitempty"`
	Status note.Status `json:"status"`           // of the latest record
	Since  *time.Time  `json:"since,omitempty"`  // it is so, or as bad
	Runs   int         `json:"runs,omitempty"`   // since then
	First  *happened   `json:"first,omitempty"`  // the record that began it,
	Latest *happened   `json:"latest,omitempty"` // the latest one that ended,
	LastOK *happened   `json:"last_ok,omitempty"`
	// Of a stack that is ok: what failed right before.
	LastBad *happened `json:"last_failed,omitempty"`
	Open    *happened `json:"open,omitempty"` // a run that is at work, or a trigger

	// Between the last ok and the first failure:
	Inputs   []string            `json:"inputs,omitempty"`       // what changed,
	Unknown  string              `json:"inputs_error,omitempty"` // or why that is not known,
	Commits  []gitstate.LogEntry `json:"commits,omitempty"`      // and who changed it
	Diverged []string            `json:"diverged,omitempty"`     // runs in conflict with the latest
}

func (v *verdict) ok() bool { return v.Latest != nil && v.Latest.Record.Status == note.OK }

func blame(c *cli.Context, env Env) error {
	switch {
	case !c.Args().Present():
		return errors.New("which stack? Name it by path, as in: tmnotes blame /prod/db")
	case c.Args().Len() > 1:
		return fmt.Errorf("one stack at a time, not %d", c.Args().Len())
	}
	if err := errors.Join(checkFormat(c), setLogLevel(c), project.ValidTarget(c.String("target"))); err != nil {
		return err
	}
	op, err := opFlag(c)
	if err != nil {
		return err
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		age, err := readLocal(c, s)
		if err != nil {
			return err
		}
		st, err := s.State(c.Context)
		if err != nil {
			return err
		}
		p, err := project.Load(c.Context, project.Options{Dir: dir, Environ: env.Environ, Memory: s})
		if err != nil {
			return err
		}
		all, err := p.All()
		if err != nil {
			return err
		}
		target := command.TargetOf(c.String("target"), env.workspace())
		stack, found := findStack(s, dir, all, c.Args().First())
		if !found {
			if stack, err = goneStack(s, dir, st, c.Args().First(), target); err != nil {
				return err
			}
		}
		var changes inputChanges = func(ctx context.Context, stack runner.Stack, from, to string) ([]string, error) {
			in, err := p.InputsAt(ctx, to)
			if err != nil {
				return nil, err
			}
			differ, err := p.Differences(ctx, in, from)
			if err != nil {
				return nil, err
			}
			return differ(stack.Path), nil
		}
		v, err := investigate(c.Context, s, st, stack, op, target, changes)
		if err != nil {
			return err
		}
		if c.String("format") == "json" {
			return terminal.PrintJSON(env.Stdout, v)
		}
		u := newUI(env)
		printVerdict(u, v)
		if age != "" {
			u.Say("%s", age)
		}
		return nil
	})
}

// investigate reads all notes for what happened to a stack.
func investigate(ctx context.Context, s *gitstate.Store, st *gitstate.State, stack runner.Stack, op, target string, changes inputChanges) (*verdict, error) {
	l, err := st.Latest(stack.ID, stack.Path, target, op)
	if err != nil {
		return nil, err
	}
	var all []logged
	heads := map[[2]string]note.Record{}
	err = s.Notes(func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			switch r := line.Record; {
			case r.Event == note.Started:
				if r.Leg() == 0 {
					heads[[2]string{r.Run, commit}] = r
				}
			case r.Status != "" && r.Target == target && (r.Op == op || note.Op(r.Op).Deploys() && note.Op(op).Deploys()):
				all = append(all, logged{Commit: commit, Record: r})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sortByTime(all)
	ids := idsOfPaths(all)
	key := gitstate.PathIDs(nil).StackOf(&note.Record{Stack: stack.Path, ID: stack.ID})
	all = slices.DeleteFunc(all, func(x logged) bool {
		// A stack that has an id has the records of its path from before.
		return ids.StackOf(&x.Record) != key && !(x.Record.ID == "" && x.Record.Stack == stack.Path)
	})

	v := convict(all, &l)
	v.Stack, v.ID, v.Op, v.Target = stack.Path, stack.ID, op, target
	v.Diverged = l.Conflicts
	for _, h := range []*happened{v.First, v.Latest, v.LastOK, v.LastBad, v.Open} {
		if h == nil {
			continue
		}
		head := heads[[2]string{h.Record.Run, h.Commit}]
		h.By, h.Job, h.Cmd = cmp.Or(h.Record.By, head.By), head.Job, head.Cmd
		if c, err := s.Resolve(h.Commit); err == nil {
			h.Subject = c.Subject
		}
	}
	if v.ok() || v.First == nil || v.LastOK == nil || v.First.Commit == v.LastOK.Commit {
		return v, nil
	}
	from, to := v.LastOK.Commit, v.First.Commit
	stack.Path = v.First.Record.Stack // it may have moved since
	if v.Inputs, err = changes(ctx, stack, from, to); err != nil {
		v.Unknown = err.Error()
		return v, nil
	}
	paths := []string{stack.Path, v.LastOK.Record.Stack}
	for _, what := range v.Inputs {
		if i := strings.IndexByte(what, '/'); i >= 0 {
			paths = append(paths, what[i:])
		}
	}
	v.Commits, err = s.Between(ctx, from, to, mostCommits+1, unique(paths)...)
	return v, err
}

// mostCommits is how many commits blame shows: who has to look at more of them
// has to look at git's log.
const mostCommits = 10

// convict finds when it began, in what happened to one stack, sorted by time.
// What somebody triggered changed nothing, and what is at work is not known yet.
func convict(history []logged, l *gitstate.Latest) *verdict {
	v := &verdict{Status: l.Status}
	as := func(x logged) *happened { return &happened{Commit: x.Commit, Record: x.Record} }
	var ended []logged
	for _, x := range history {
		r := x.Record
		switch open := r.Status == note.Queued || r.Status == note.Running; {
		case r.Status == note.Triggered, open && r.Run == l.Run && l.Status != note.Interrupted:
			if r.Run == l.Run {
				v.Open = as(x)
			}
			continue
		case open:
			x.Record.Status = note.Interrupted
		}
		ended = append(ended, x)
	}
	if len(ended) == 0 {
		return v
	}
	latest := ended[len(ended)-1]
	v.Latest = as(latest)
	const bad = "bad"
	is := func(x logged) string {
		if x.Record.Status == note.OK {
			return x.Record.Op
		}
		return bad
	}
	from := len(ended) - 1
	for from > 0 && is(ended[from-1]) == is(latest) {
		from--
	}
	before := ended[:from]
	if is(latest) != bad {
		if len(before) > 0 && is(before[len(before)-1]) == bad {
			v.LastBad = as(before[len(before)-1])
		}
	} else {
		if len(before) > 0 {
			v.LastOK = as(before[len(before)-1])
		}
		// What was canceled before the first failure might have succeeded.
		for i := from; i < len(ended); i++ {
			if ended[i].Record.Status != note.Canceled {
				from = i
				break
			}
		}
	}
	v.First = as(ended[from])
	v.Since = &v.First.Record.At
	runs := map[string]bool{}
	for _, x := range ended[from:] {
		runs[x.Record.Run] = true
	}
	v.Runs = len(runs)
	return v
}

// printVerdict says it to somebody who was woken up by it: the verdict first.
func printVerdict(u *ui, v *verdict) {
	out := u.Out
	say := func(format string, args ...any) { fmt.Fprintln(out, terminal.Printable(fmt.Sprintf(format, args...))) }
	name := v.Stack
	if v.Target != "" {
		name += " (" + v.Target + ")"
	}
	if v.Latest == nil {
		say("%s: no %s has ended", name, v.Op)
	} else {
		say("%s: %s since %s (%s), %s", name, verb(v.Latest), v.Since.Local().Format("2006-01-02 15:04:05"), terminal.Ago(time.Since(*v.Since)), terminal.Plural(v.Runs, "run"))
	}
	rows := [][]string{{"WHAT", "AT", "COMMIT", "BY", "RUN", "WHY"}}
	add := func(what string, h *happened) {
		if h == nil {
			return
		}
		who, _, _ := strings.Cut(h.By, " <")
		rows = append(rows, []string{what, h.Record.At.Local().Format("2006-01-02 15:04:05"), note.Short(h.Commit), who, h.Record.Run, whyOf(&h.Record)})
	}
	switch {
	case v.Latest == nil:
	case v.ok():
		add("last-failed", v.LastBad)
		add("first-ok", v.First)
	default:
		add("last-ok", v.LastOK)
		add("first-"+string(v.First.Record.Status), v.First)
	}
	if v.Latest != nil && (v.Runs > 1 || v.First.Record.At != v.Latest.Record.At) {
		add("latest-"+string(v.Latest.Record.Status), v.Latest)
	}
	if v.Open != nil {
		add(string(v.Status), v.Open)
	}
	if len(rows) > 1 {
		u.Table(out, rows, func(i int) string {
			_, status, _ := strings.Cut(rows[i][0], "-")
			if i == 0 {
				return terminal.Faint
			}
			return terminal.StatusColor(status)
		})
	}
	if len(v.Diverged) > 0 {
		say("conflict: deployed as well, unaware of the latest run, by %s", strings.Join(v.Diverged, ", "))
	}
	if v.Latest == nil || v.ok() {
		return
	}
	printChanges(say, v)
	if v.Latest.Job != "" {
		say("the job of the latest run: %s", v.Latest.Job)
	}
	next := "tmnotes log " + shellQuote(v.Stack)
	if cause := v.Latest.Record.Cause; cause != "" {
		next = "tmnotes blame " + shellQuote(cause)
	}
	u.Say("next: %s", next)
}

func verb(h *happened) string {
	if h.Record.Status == note.OK && h.Record.Op == note.Destroy {
		return "destroyed"
	}
	return string(h.Record.Status)
}

func printChanges(say func(string, ...any), v *verdict) {
	ok, first := v.LastOK, v.First
	if ok == nil {
		say("it never succeeded before")
		return
	}
	between := fmt.Sprintf("between %s %q and %s %q", note.Short(ok.Commit), ok.Subject, note.Short(first.Commit), first.Subject)
	switch {
	case ok.Commit == first.Commit:
		say("it succeeded on the same commit: nothing in git changed")
	case v.Unknown != "":
		say("what changed %s cannot be told: %s", between, v.Unknown)
	case len(v.Inputs) == 0:
		say("no input of it changed %s", between)
	default:
		say("its inputs that changed %s:", between)
		const most = 20
		for i, what := range v.Inputs {
			if i == most {
				say("  and %d more", len(v.Inputs)-most)
				break
			}
			say("  %s", what)
		}
	}
	for i, c := range v.Commits {
		if i == 0 {
			say("by:")
		}
		if i == mostCommits {
			say("  and more: git log %s..%s", note.Short(ok.Commit), note.Short(first.Commit))
			break
		}
		say("  %s %s %s: %s", note.Short(c.Hash), c.Time.Local().Format("2006-01-02 15:04"), c.Author, c.Subject)
	}
	if ok.Record.Stack != first.Record.Stack {
		say("it moved from %s to %s", ok.Record.Stack, first.Record.Stack)
	}
	if first.Record.Dirty {
		say("the first failure had uncommitted changes")
	}
	if a, b := ok.Record.Variant, first.Record.Variant; a != b && a != gitstate.AnyVariant && b != gitstate.AnyVariant {
		say("the command was another one: %s; then %s", cmp.Or(ok.Cmd, a), cmp.Or(first.Cmd, b))
	}
}
