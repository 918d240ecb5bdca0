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
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func unlockCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "unlock",
		Usage:     "list the stacks that jobs have claimed, or remove claims by hand",
		ArgsUsage: "[--reason TEXT (STACK... | --all)]",
		Description: "A claim that is not renewed expires by itself. Whoever holds one that is removed interrupts its command\n" +
			"when it learns of it; a command that lives on without its tmnotes is not stopped by anything here.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that tells the next reader why (required with stacks, or --all)"},
			&cli.BoolFlag{Name: "all", Usage: "all claims"},
			settings.target.flagFor("only claims for this `TARGET`"),
			formatFlag(),
		}, storeFlags()),
		Action: func(c *cli.Context) error { return unlock(c, env) },
	}
}

// claimShown is a claim in JSON.
type claimShown struct {
	Stack  string    `json:"stack"`
	ID     string    `json:"id,omitempty"`
	Target string    `json:"target,omitempty"`
	Run    string    `json:"run"`
	By     string    `json:"by,omitempty"`
	Job    string    `json:"job,omitempty"`
	Commit string    `json:"commit"`
	Since  time.Time `json:"since"` // by the holder's clock, as
	At     time.Time `json:"at"`    // that of the last renewal
	Lease  string    `json:"lease"`
	Until  time.Time `json:"until"` // when it is taken over, unless it is renewed
}

func unlock(c *cli.Context, env Env) error {
	u := newUI(env)
	if err := checkFormat(c); err != nil {
		return err
	}
	reason := strings.TrimSpace(c.String("reason"))
	remove := c.Args().Present() || c.Bool("all")
	switch {
	case c.Args().Present() && c.Bool("all"):
		return errors.New("--all is all claims; leave out the stacks, or --all")
	case remove && reason == "":
		return errors.New("removing a claim needs a reason: add --reason 'the runner is gone'")
	case !remove && reason != "":
		return errors.New("which claims? Name the stacks, or add --all; `tmnotes unlock` lists them")
	}
	return withStore(c, env, func(s *gitstate.Store, dir string) error {
		remote, err := findRemote(c, s, "")
		if err != nil {
			return err
		}
		if remote == "" {
			return errors.New("the repository has no remote, and claims are kept there")
		}
		if _, err := s.Remote(remote).Fetch(c.Context); err != nil {
			return err
		}
		found, err := s.Remote(remote).Claims(c.Context)
		if err != nil {
			return err
		}
		if c.IsSet("target") {
			found = slices.DeleteFunc(found, func(n gitstate.Claim) bool {
				target, _, _ := strings.Cut(n.Target, "+")
				return c.String("target") != target && c.String("target") != n.Target
			})
		}
		if !remove {
			return listClaims(c, env, remote, found)
		}
		if c.Args().Present() {
			var named []gitstate.Claim
			for _, want := range c.Args().Slice() {
				is, n := query.StackMatcher(c.Context, s, dir, want), len(named)
				for _, n := range found {
					if is(&note.Record{Stack: n.Stack, ID: n.ID}) {
						named = append(named, n)
					}
				}
				if len(named) == n {
					return fmt.Errorf("nobody has claimed %s on %s; `tmnotes unlock` lists the claims (nothing was removed)", want, remote)
				}
			}
			found = named
		}
		if len(found) == 0 {
			u.Say("no stack is claimed on %s", remote)
			return nil
		}
		if err := s.Remote(remote).Unclaim(c.Context, found); err != nil {
			return fmt.Errorf("the claims were not removed: %w; `tmnotes unlock` lists them as they are now", err)
		}
		s.UseJournal(s.NewRun())
		who := cmp.Or(env.ci().By, s.Who(c.Context))
		for _, n := range found {
			u.Say("%s was claimed by %s %s", n.Stack, n.Who(), deploy.SinceWhen(&n))
			if err := s.Append(n.Commit, n.Unlocked(who, reason)); err != nil {
				return err
			}
		}
		u.Say("removed %s", runner.Plural(len(found), "claim"))
		return finishEdit(c, s, u, deploy.Route{Remote: remote})
	})
}

// sayClaims says who has claimed stacks that are shown as under way, by what was fetched
// last.
func sayClaims(c *cli.Context, s *gitstate.Store, u *ui, stacks []query.StackView, target string) error {
	open := map[string]bool{}
	for _, x := range stacks {
		switch x.Deploy.Status {
		case note.Queued, note.Running, note.Interrupted:
			open[x.Path] = true
		}
	}
	remote, err := findRemote(c, s, "")
	if len(open) == 0 || err != nil || remote == "" {
		return err
	}
	found, err := s.Remote(remote).Claims(c.Context)
	if err != nil {
		return err
	}
	for _, n := range found {
		if of, _, _ := strings.Cut(n.Target, "+"); !open[n.Stack] || of != target {
			continue
		}
		until := "has expired"
		if at := n.At.Add(n.Lease); at.After(time.Now()) {
			until = "taken over at " + deploy.ClockTime(at) + " unless it is renewed"
		}
		u.Say("%s is claimed by %s %s; %s (tmnotes unlock)", n.Stack, n.Who(), deploy.SinceWhen(&n), until)
	}
	return nil
}

func listClaims(c *cli.Context, env Env, remote string, found []gitstate.Claim) error {
	if c.String("format") == "json" {
		shown := make([]claimShown, len(found))
		for i, n := range found {
			shown[i] = claimShown{n.Stack, n.ID, n.Target, n.Run, n.By, n.Job, n.Commit, n.Since, n.At, n.Lease.String(), n.At.Add(n.Lease)}
		}
		return terminal.PrintJSON(env.Stdout, shown)
	}
	u := newUI(env)
	if len(found) == 0 {
		u.Say("no stack is claimed on %s", remote)
		return nil
	}
	rows := [][]string{{"STACK", "TARGET", "SINCE", "RENEWED", "TAKEN OVER", "COMMIT", "BY", "RUN", "JOB"}}
	for _, n := range found {
		who, _, _ := strings.Cut(n.By, " <")
		renewed, until := "-", "when somebody waits"
		if n.Renewed > 0 {
			renewed = terminal.Ago(time.Since(n.At))
		}
		if left := time.Until(n.At.Add(n.Lease)); left > 0 {
			until = "in " + runner.Took(left) + " if not renewed"
		}
		rows = append(rows, []string{n.Stack, cmp.Or(n.Target, "-"), terminal.Ago(time.Since(n.Since)), renewed, until, note.Short(n.Commit), who, n.Run, cmp.Or(n.Job, "-")})
	}
	u.Table(env.Stdout, rows, func(i int) string {
		if i == 0 {
			return terminal.Faint
		}
		return ""
	})
	return nil
}
