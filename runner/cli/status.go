package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/project"
)

func statusCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the latest result of each stack",
		Description: "Reads what is here and says how old it is; `tmnotes fetch` brings what is on the remote.\n" +
			"The commit is the one that was deployed, HEAD or not.",
		Flags:  slices.Concat(chdirFlags(), selectionFlags(), statusFlags(), targetFlags(), []cli.Flag{formatFlag()}, storeFlags()),
		Action: func(c *cli.Context) error { return status(c, env) },
	}
}

// shown is a stack in the JSON of status: the stack's three statuses, and the
// record of its latest deployment and drift run.
type shown struct {
	Stack            string           `json:"stack"`
	ID               string           `json:"id,omitempty"`
	Target           string           `json:"target,omitempty"`
	Status           gitstate.Status  `json:"status"`
	DeploymentStatus gitstate.Status  `json:"deployment_status"`
	DriftStatus      gitstate.Status  `json:"drift_status"`
	Commit           string           `json:"commit,omitempty"`
	By               string           `json:"by,omitempty"`
	Job              string           `json:"job,omitempty"`
	Why              string           `json:"why,omitempty"`
	Deployment       *gitstate.Record `json:"deployment,omitempty"`
	Drift            *gitstate.Record `json:"drift,omitempty"`
}

func status(c *cli.Context, env Env) error {
	u := newUI(env)
	if err := errors.Join(noArgs(c), checkFormat(c), setLogLevel(c)); err != nil {
		return err
	}
	sel, err := selection(c)
	if err != nil {
		return err
	}
	filter, err := parseStatusFilter(c)
	if err != nil {
		return err
	}
	dir, err := workingDir(c)
	if err != nil {
		return err
	}
	s, err := openStore(c, env, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	// The notes are read while Terramate reads the project.
	type answer struct {
		st  *gitstate.State
		age string
		err error
	}
	notes := make(chan answer, 1)
	go func() {
		age, err := readLocal(c, s)
		var st *gitstate.State
		if err == nil {
			st, err = s.State(c.Context)
		}
		notes <- answer{st, age, err}
	}()
	p, err := project.Load(c.Context, project.Options{Dir: dir, Terragrunt: sel.Terragrunt()})
	if err != nil {
		return err
	}
	selected, err := p.List(sel)
	if err != nil {
		return err
	}
	got := <-notes
	if got.err != nil {
		return got.err
	}
	target := targetOf(sel.Target, workspace())
	rows := [][]string{{"STATUS", "STACK", "DEPLOYMENT", "COMMIT", "WHEN", "BY", "WHY"}}
	var colors []string
	out := []shown{}
	now := time.Now()
	for _, stack := range selected {
		v, err := viewOf(got.st, stack.Stack, target)
		if err != nil {
			return err
		}
		if !filter.admits(v) {
			continue
		}
		l := v.deploy
		if c.String("format") == "json" {
			sh := shown{Stack: stack.Path, ID: stack.ID, Target: target, Status: v.status, DeploymentStatus: l.Status, DriftStatus: v.drift.Status,
				Commit: l.Commit, By: l.By, Job: l.Job, Why: v.why()}
			if l.Status != gitstate.Never {
				sh.Deployment = &l.Record
			}
			if v.drift.Status != gitstate.Never {
				sh.Drift = &v.drift.Record
			}
			out = append(out, sh)
			continue
		}
		why := ""
		if v.status != gitstate.OK && v.status != gitstate.Never || len(l.Diverged) > 0 {
			why = v.why()
		}
		deployment, commit, when := string(l.Status), "-", "-"
		if l.Status != gitstate.Never && l.Op != gitstate.Deploy {
			deployment = l.Op + ": " + deployment
		}
		if len(l.Diverged) > 0 {
			deployment += ", diverged" // run does not count it as done
		}
		if l.Status != gitstate.Never {
			commit, when = shortHash(l.Commit), ago(now.Sub(l.At))
		}
		by, _, _ := strings.Cut(l.By, " <")
		rows = append(rows, []string{string(v.status), stack.Path, deployment, commit, when, by, why})
		colors = append(colors, statusColor(string(v.status)))
	}
	if c.String("format") == "json" {
		return printJSON(env.Stdout, out)
	}
	if len(rows) == 1 {
		u.say("no stack is selected")
		return nil
	}
	u.table(env.Stdout, rows, func(i int) string {
		if i == 0 {
			return faint
		}
		return colors[i-1]
	})
	if got.age != "" {
		u.say("%s", got.age)
	}
	return nil
}

// readLocal brings the journal and what a plain `git fetch` brought into the
// notes, and says how old they are.
func readLocal(c *cli.Context, s *gitstate.Store) (age string, err error) {
	remote, err := findRemote(c, s, "")
	if err != nil || remote == "" {
		return "", s.Flush(c.Context)
	}
	if err := s.Absorb(c.Context, remote); err != nil {
		return "", err
	}
	last := s.LastFetch(remote)
	if last.IsZero() {
		return fmt.Sprintf("the notes of %s were never fetched; `tmnotes fetch` brings them", remote), nil
	}
	if d := time.Since(last); d > time.Minute {
		return fmt.Sprintf("as of the last fetch from %s, %s", remote, ago(d)), nil
	}
	return "", nil
}
