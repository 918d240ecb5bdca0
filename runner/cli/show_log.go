package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// keptLogOptions is what the flags of show --log say, checked.
type keptLogOptions struct {
	stack, target string
	of            string // a run or a commit; "" is the latest failure
}

func parseShowLog(c *cli.Context) (keptLogOptions, error) {
	o := keptLogOptions{stack: c.Args().First(), target: c.String("target"), of: cmp.Or(c.Args().Get(1), c.String("run"))}
	switch {
	case c.Bool("plan"):
		return o, errors.New("--plan and --log are two things to show; leave one out")
	case o.stack == "":
		return o, errors.New("--log needs a stack, as in: tmnotes show --log /prod/db")
	case c.Args().Len() > 2 || c.Args().Len() == 2 && c.IsSet("run"):
		return o, errors.New("--log takes a stack and, after it, one run or commit")
	}
	return o, nil
}

// keptLog is an output in the JSON of show --log.
type keptLog struct {
	Stack  string      `json:"stack"`
	ID     string      `json:"id,omitempty"`
	Target string      `json:"target,omitempty"`
	Op     string      `json:"op"`
	Run    string      `json:"run"`
	Status note.Status `json:"status"`
	Exit   *int        `json:"exit,omitempty"`
	Reason string      `json:"reason,omitempty"`
	At     time.Time   `json:"at"`
	Log    string      `json:"log"`
}

// showLog prints the output that is kept of a stack: where nobody says of which run, of the one that
// failed last, or else of the last of which one is kept.
func showLog(here *clone, o keptLogOptions) error {
	if err := here.readHere(); err != nil {
		return err
	}
	results, err := resultsOf(here, o)
	if err != nil {
		return err
	}
	r, kept := results[0], here.store.Logs()
	if i := slices.IndexFunc(results, failedRunning); i >= 0 {
		r = results[i]
	} else if i := slices.IndexFunc(results, func(r note.Record) bool { return kept(&r) != "" }); i >= 0 {
		r = results[i]
	}
	text, found, err := here.store.Text(logKey(&r))
	if err != nil {
		return err
	}
	if found && here.json {
		return terminal.PrintJSON(here.Out, keptLog{r.Stack, r.ID, r.Target, r.Op, r.Run, r.Status, r.Exit, r.Reason, text.At, text.Body})
	}
	if found {
		here.Say("%s: log of the %s run %s, %s: %s", nameAt(r.Stack, r.Target), r.Op, note.ShortRun(r.Run), terminal.Ago(time.Since(text.At)), endOf(&r))
	}
	if o.of == "" {
		if err := sayLaterRun(here, logKey(&r), r.Run); err != nil {
			return err
		}
	}
	if !found {
		return noLog(&r)
	}
	return printText(here, text)
}

func logKey(r *note.Record) gitstate.TextKey {
	return gitstate.TextKey{Kind: gitstate.LogText, ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op, Run: r.Run}
}

// failedRunning says that a stack did not succeed, and that it was started.
func failedRunning(r note.Record) bool {
	return r.Status == note.Failed || r.Status == note.Canceled && r.Took > 0
}

// resultsOf are the results of a stack, the newest first: of the run or on the commit that is asked for.
func resultsOf(here *clone, o keptLogOptions) (results []note.Record, err error) {
	is := query.StackMatcher(here.c.Context, here.store, here.dir, o.stack)
	target := command.TargetOf(o.target, here.env.workspace())
	at, _ := resolveAnnotated(here.store, o.of)
	recorded, targets, began := map[string]bool{}, map[string]bool{}, map[string]time.Time{}
	err = here.store.Notes(func(commit string, lines []gitstate.Line) error {
		for _, l := range lines {
			r := l.Record
			recorded[r.Stack] = true
			if l.Err != nil || l.Copied || !is(&r) || r.Status == "" || r.Status == note.Queued || r.Status == note.Running {
				continue
			}
			targets[r.Target] = true
			byRun := o.of != "" && note.BeginsRun(r.Run, o.of)
			if r.Target == target && (o.of == "" || byRun || commit == at.Hash) {
				results = append(results, r)
			}
			if byRun {
				began[r.Run] = r.At
			}
		}
		return nil
	})
	slices.SortStableFunc(results, func(a, b note.Record) int { return b.At.Compare(a.At) })
	switch {
	case err != nil:
		return nil, err
	case len(targets) == 0:
		return nil, noRecord(o.stack, recorded)
	case !targets[target]:
		return nil, fmt.Errorf("%s has no records; write %s", nameAt(o.stack, target), asTargets(targets))
	case len(results) == 0:
		return nil, fmt.Errorf("%s has no record in %s; `tmnotes log %s` lists its runs and commits", o.stack, o.of, shellQuote(o.stack))
	case at.Hash == "":
		_, err = query.MatchRun(o.of, began)
	}
	return results, err
}

// asTargets names the targets that a stack has results for, as they are typed.
func asTargets(targets map[string]bool) string {
	var names []string
	for _, t := range slices.Sorted(maps.Keys(targets)) {
		if t == "" {
			names = append(names, "no --target")
		} else {
			names = append(names, "--target "+shellQuote(t))
		}
	}
	return strings.Join(names, " or ")
}

// endOf says how the stack's command ended.
func endOf(r *note.Record) string {
	says := string(r.Status)
	if r.Exit != nil && *r.Exit != 0 {
		says += fmt.Sprintf(", exit code %d", *r.Exit)
	}
	if why := r.Why(); why != "" {
		says += ": " + why
	}
	return says
}

func noLog(r *note.Record) error {
	of := fmt.Sprintf("no output of %s is kept for run %s (%s)", nameAt(r.Stack, r.Target), note.ShortRun(r.Run), endOf(r))
	switch {
	case r.Status == note.Blocked && r.Cause != "":
		return fmt.Errorf("%s; `tmnotes show --log %s` shows what that printed", of, shellQuote(r.Cause))
	case failedRunning(*r):
		return fmt.Errorf("%s; `tmnotes fetch` brings what the remote has of it", of)
	}
	return fmt.Errorf("%s; --keep-logs=all keeps that of stacks that succeed", of)
}
