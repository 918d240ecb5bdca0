package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// parseKeepLogs reads --keep-logs.
func parseKeepLogs(c *cli.Context, s *gitstate.Store) (string, error) {
	of := settings.keepLogs.text(c, s)
	switch yes, err := strconv.ParseBool(of); { // it was yes or no once
	case err == nil && yes:
		return "all", nil
	case err == nil:
		return "off", nil
	case slices.Contains(gitstate.KeepLogs, of):
		return of, nil
	}
	return "", fmt.Errorf("%s: %q is not one of %s", settings.keepLogs.origin(c, s), of, strings.Join(gitstate.KeepLogs, ", "))
}

// logs are the ends of what the stacks of a run printed that failed.
type logs struct {
	mu   sync.Mutex
	said map[string]string
	kept map[string]bool // whose output is kept
}

// saidLines is more than is shown of a stack's output at the end of a run.
const saidLines = 50

// keepLogs has the output of the tasks kept beside the notes, of those that --keep-logs names.
// What goes wrong with that is a warning.
func keepLogs(n *deploy.Session, tasks map[string]runner.Task, keep string) *logs {
	l := &logs{said: map[string]string{}, kept: map[string]bool{}}
	for path, task := range tasks {
		said := &note.Excerpt{Limit: gitstate.TextLimit}
		task.Log = said
		before := task.After
		task.After = func(ctx context.Context, r runner.Result) {
			if before != nil {
				before(ctx, r)
			}
			defer func() { *said = note.Excerpt{} }()
			if gitstate.KeepsLog(keep, note.Status(r.Status)) && keepLog(n, path, said.String(), task.Secrets) {
				l.mu.Lock()
				l.kept[path] = true
				l.mu.Unlock()
			}
			if r.Status == runner.StatusFailed {
				l.failed(r, task.Secrets.Hide(note.PlainText(said.String())))
			}
		}
		tasks[path] = task
	}
	return l
}

// keepLog keeps an output, if there is any.
func keepLog(n *deploy.Session, path, text string, secrets runner.Secrets) (kept bool) {
	if text == "" {
		return false
	}
	r := n.Planned(path)
	key := gitstate.TextKey{Kind: gitstate.LogText, ID: r.Stack.ID, Path: path, Target: r.Target, Op: r.Op.Name, Run: n.RunID}
	if err := n.Writer.KeepText(key, text, secrets); err != nil {
		n.Out.Warn(err.Error())
		return false
	}
	return true
}

// failed takes down the end of an output, unless the reason says all of it.
func (l *logs) failed(r runner.Result, text string) {
	lines, source := runner.Block(text, saidLines)
	if len(lines) == 1 && strings.TrimSpace(lines[0]) == r.Reason {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[r.Stack.Path] = source
}

// block is what to show of it.
func (l *logs) block(path string, most int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, _ := runner.Block(l.said[path], most)
	return lines
}
