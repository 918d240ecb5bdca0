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
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func verifyCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "verify who signed the records of each run",
		ArgsUsage: "[REV]",
		Description: "Checks the signatures of all runs, or of those on REV, against --allowed-signers. It needs no network. Exits with 1 if\n" +
			"a record is not signed by somebody who may record it, or was signed and is gone.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "only runs since `DATE`: 2026-11-20, yesterday, '1 week ago'"},
			&cli.StringFlag{Name: "run", Usage: "only the run `ID`"},
			formatFlag(),
		}, storeFlags()),
		Action: inClone(env, parseVerify, verify),
	}
}

// verifyOptions is what the flags of verify say, checked.
type verifyOptions struct{ rev, since, run string }

func parseVerify(c *cli.Context) (o verifyOptions, err error) {
	o = verifyOptions{c.Args().First(), c.String("since"), c.String("run")}
	if c.Args().Len() > 1 {
		return o, fmt.Errorf("verify takes one REV at most, not %q", c.Args().Slice())
	}
	return o, nil
}

func verify(here *clone, o verifyOptions) error {
	if !here.store.Accepts() {
		return errors.New("whose signatures to accept is not set; use `git config tmnotes.allowedSigners FILE` or --allowed-signers (`tmnotes help trust` tells how)")
	}
	since, commit, err := verifyWhat(here, o)
	if err != nil {
		return err
	}
	if err := here.readHere(); err != nil {
		return err
	}
	runs, err := here.store.Verify(here.c.Context, commit)
	if err != nil {
		return err
	}
	all := len(runs)
	runs = slices.DeleteFunc(runs, func(v gitstate.VerifiedRun) bool {
		return v.At.Before(since) || o.run != "" && !note.BeginsRun(v.Run, o.run)
	})
	if o.run != "" && len(runs) == 0 {
		return fmt.Errorf("no run begins with %s among %s; `tmnotes runs` lists them, `tmnotes fetch` brings the remote's", o.run, runner.Plural(all, "run"))
	}
	if err := printVerified(here, runs); err != nil {
		return err
	}
	if slices.ContainsFunc(runs, func(v gitstate.VerifiedRun) bool { return !v.OK() }) {
		return &exitError{code: exitFailed}
	}
	return nil
}

// verifyWhat reads what is to be verified.
func verifyWhat(here *clone, o verifyOptions) (since time.Time, commit string, err error) {
	if o.since != "" {
		if since, err = here.store.Date(here.c.Context, o.since, false); err != nil {
			return since, "", fmt.Errorf("--since: %w", err)
		}
	}
	if o.rev != "" {
		found, err := resolveAnnotated(here.store, o.rev)
		if err != nil {
			return since, "", err
		}
		commit = found.Hash
	}
	return since, commit, nil
}

func printVerified(here *clone, runs []gitstate.VerifiedRun) error {
	if here.json {
		return terminal.PrintJSON(here.Out, verdicts(runs))
	}
	ids := make([]string, len(runs))
	for i := range runs {
		ids[i] = runs[i].Run
	}
	short := note.ShortRuns(ids)
	var rows [][]string
	n := map[string]int{}
	for _, v := range runs {
		n[v.Verdict()]++
		signers := strings.Join(v.Signers, ", ")
		if signers == "" {
			signers = "-"
		}
		rows = append(rows, []string{v.Verdict(), short(v.Run), v.At.Local().Format(time.DateTime), note.Short(v.Commit),
			fmt.Sprintf("%d of %d", v.Signed, v.Records), signers, note.NameOf(v.By), strings.Join(v.Why(), "; ")})
	}
	if err := here.Table(here.Out, []string{"VERDICT", "RUN", "AT", "COMMIT", "SIGNED", "SIGNER", "BY", "WHY"}, rows, verdictColor); err != nil {
		return err
	}
	var parts []string
	for _, verdict := range []string{"bad", "unsigned", "signed"} {
		if n[verdict] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[verdict], verdict))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing to verify"}
	}
	here.Say("%s: %s", runner.Plural(len(runs), "run"), strings.Join(parts, ", "))
	here.sayAge()
	return nil
}

// verdict is a run with the word for it, for JSON.
type verdict struct {
	Verdict string `json:"verdict"`
	gitstate.VerifiedRun
}

func verdicts(runs []gitstate.VerifiedRun) []verdict {
	list := []verdict{}
	for _, v := range runs {
		list = append(list, verdict{v.Verdict(), v})
	}
	return list
}

type (
	runOn  struct{ commit, run string }
	signed map[runOn]*gitstate.VerifiedRun
)

// verified is what the signatures on some commits say of each run; nil where it is not set who may sign.
func (here *clone) verified(commits ...string) (signed, error) {
	if !here.store.Accepts() || len(commits) == 0 {
		return nil, nil
	}
	runs, err := here.store.Verify(here.c.Context, commits...)
	of := signed{}
	for i := range runs {
		of[runOn{runs[i].Commit, runs[i].Run}] = &runs[i]
	}
	return of, err
}

// of is that of a run in a line, "" where there is nothing to say.
func (s signed) of(commit, run string) string {
	if v := s[runOn{commit, run}]; v != nil {
		return v.Says()
	}
	return ""
}

// printShown is what show prints as JSON, with what the signatures say, where somebody looks at them.
func (here *clone) printShown(shown map[string]any, s signed) error {
	if s != nil {
		runs := []gitstate.VerifiedRun{}
		for _, v := range s {
			runs = append(runs, *v)
		}
		slices.SortFunc(runs, func(a, b gitstate.VerifiedRun) int {
			return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Run, b.Run), strings.Compare(a.Commit, b.Commit))
		})
		shown["signatures"] = verdicts(runs)
	}
	return terminal.PrintJSON(here.Out, shown)
}

func verdictColor(verdict string) string {
	switch verdict {
	case "signed":
		return terminal.Green
	case "bad":
		return terminal.Red
	}
	return terminal.Yellow
}
