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
		Usage:     "list the locks of jobs on stacks, and holds; remove locks by hand",
		ArgsUsage: "[--reason TEXT (STACK... | --all)]",
		Description: "A hold (tmnotes hold) is no lock of a job; `tmnotes release` ends it.\nA lock that is not renewed expires by itself. Whoever holds one that is removed interrupts its command\n" +
			"when it learns of it; a command that lives on without its tmnotes is not stopped by anything here.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason (required with stacks, or --all)"},
			&cli.BoolFlag{Name: "all", Usage: "all locks"},
			settings.target.flagFor("only locks for this `TARGET`"),
			formatFlag(),
		}, storeFlags()),
		Action: inClone(env, parseUnlock, unlock),
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

// unlockOptions is what the flags of unlock say, checked.
type unlockOptions struct {
	names     []string
	remove    bool // the claims on these, or all
	target    string
	anyTarget bool
	reason    string
}

func parseUnlock(c *cli.Context) (unlockOptions, error) {
	o := unlockOptions{names: c.Args().Slice(), remove: c.Args().Present() || c.Bool("all"), target: c.String("target"), anyTarget: !c.IsSet("target"),
		reason: strings.TrimSpace(c.String("reason"))}
	switch {
	case len(o.names) > 0 && c.Bool("all"):
		return o, errors.New("--all means all locks; leave out the stacks, or --all")
	case o.remove && o.reason == "":
		return o, errors.New("removing a lock needs a reason: add --reason 'the runner is gone'")
	case !o.remove && o.reason != "":
		return o, errors.New("which locks? Name the stacks, or add --all; `tmnotes unlock` lists them")
	}
	return o, nil
}

func unlock(here *clone, o unlockOptions) error {
	ctx, s := here.c.Context, here.store
	remote, err := findRemote(here.c, s, "")
	if err != nil {
		return err
	}
	var found []gitstate.Claim
	if remote != "" {
		if _, err := s.Remote(remote).Fetch(ctx); err != nil {
			return err
		}
		if found, err = s.Remote(remote).Claims(ctx); err != nil {
			return err
		}
	}
	found = slices.DeleteFunc(found, func(n gitstate.Claim) bool {
		target, _, _ := strings.Cut(n.Target, "+")
		return !o.anyTarget && o.target != target && o.target != n.Target
	})
	if !o.remove {
		return listLocks(here, remote, found, o)
	}
	if remote == "" {
		return errors.New("this repository has no remote, and locks are kept there")
	}
	if len(o.names) > 0 {
		if found, err = namedClaims(here, remote, found, o.names); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		here.Say("no stack is locked on %s", remote)
		return nil
	}
	if err := s.Remote(remote).Unclaim(ctx, found); err != nil {
		return fmt.Errorf("the locks were not removed: %w; `tmnotes unlock` lists them as they are now", err)
	}
	w := s.Writer(s.NewRun())
	who := cmp.Or(here.env.ci().By, s.Who(ctx))
	for _, n := range found {
		here.Say("%s was locked by %s %s", n.Stack, n.Who(), deploy.SinceWhen(&n))
		if err := w.Append(n.Commit, n.Unlocked(who, o.reason)); err != nil {
			return err
		}
	}
	here.Say("removed %s", runner.Plural(len(found), "lock"))
	here.sync.Remote = remote
	return here.send()
}

// namedClaims are the claims on stacks that were named.
func namedClaims(here *clone, remote string, found []gitstate.Claim, names []string) (named []gitstate.Claim, err error) {
	for _, want := range names {
		is, n := query.StackMatcher(here.c.Context, here.store, here.dir, want), len(named)
		for _, n := range found {
			if is(&note.Record{Stack: n.Stack, ID: n.ID}) {
				named = append(named, n)
			}
		}
		if len(named) == n {
			return nil, fmt.Errorf("%s is not locked on %s; `tmnotes unlock` lists the locks (nothing was removed)", want, remote)
		}
	}
	return named, nil
}

// sayClaims says who has claimed stacks that are shown as under way, by what was fetched
// last.
func sayClaims(here *clone, stacks []query.StackView, target string) error {
	open := map[string]bool{}
	for _, x := range stacks {
		switch x.Deploy.Status {
		case note.Queued, note.Running, note.Interrupted:
			open[x.Path] = true
		}
	}
	remote, err := findRemote(here.c, here.store, "")
	if len(open) == 0 || err != nil || remote == "" {
		return err
	}
	found, err := here.store.Remote(remote).Claims(here.c.Context)
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
		here.Say("%s is locked by %s %s; %s (tmnotes unlock)", n.Stack, n.Who(), deploy.SinceWhen(&n), until)
	}
	return nil
}

// listLocks lists the locks of jobs, and what people hold.
func listLocks(here *clone, remote string, found []gitstate.Claim, o unlockOptions) error {
	if err := here.read(); err != nil {
		return err
	}
	var holds []gitstate.Hold
	for _, h := range here.state.Holds() {
		if o.anyTarget || h.Target == "" || h.Target == o.target {
			holds = append(holds, h)
		}
	}
	if here.json {
		shown := []any{}
		for _, n := range found {
			shown = append(shown, claimShown{n.Stack, n.ID, n.Target, n.Run, n.By, n.Job, n.Commit, n.Since, n.At, n.Lease.String(), n.At.Add(n.Lease)})
		}
		for _, h := range holds {
			shown = append(shown, jsonOfHold(&h))
		}
		return terminal.PrintJSON(here.Out, shown)
	}
	switch {
	case len(found) > 0:
		here.tableClaims(found)
	case remote != "":
		here.Say("no stack is locked on %s", remote)
	default:
		here.Say("no stack is locked: this repository has no remote, and locks are kept there")
	}
	if len(holds) > 0 {
		here.tableHolds(holds)
	}
	return nil
}

func (here *clone) tableClaims(found []gitstate.Claim) {
	var rows [][]string
	for _, n := range found {
		renewed, until := "-", "when somebody waits"
		if n.Renewed > 0 {
			renewed = terminal.Ago(time.Since(n.At))
		}
		if left := time.Until(n.At.Add(n.Lease)); left > 0 {
			until = "in " + runner.Took(left) + " if not renewed"
		}
		rows = append(rows, []string{n.Stack, cmp.Or(n.Target, "-"), terminal.Ago(time.Since(n.Since)), renewed, until, note.Short(n.Commit), note.NameOf(n.By), note.ShortRun(n.Run), cmp.Or(n.Job, "-")})
	}
	here.Table(here.Out, []string{"STACK", "TARGET", "SINCE", "RENEWED", "TAKEN OVER", "COMMIT", "BY", "RUN", "JOB"}, rows, nil)
}
