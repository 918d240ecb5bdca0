package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/matrix"
)

func matrixCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:      "matrix",
		Usage:     "divide a run among the jobs of a CI pipeline",
		ArgsUsage: "[--] COMMAND [ARG...] | --script LABEL...",
		Description: "Selects stacks as `tmnotes run` does, with the same flags, and packs them into legs. With --out it announces\n" +
			"the run, writes a file for each leg, and prints what the engine of the pipeline wants to know; a job of the pipeline does\n" +
			"tmnotes run --stacks-from DIR/leg-1.json -- COMMAND. Without --out it shows what the legs would be.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT` of the output: text, json, github (lines for $GITHUB_OUTPUT), gitlab (a child pipeline)"},
			&cli.StringFlag{Name: "out", Usage: "announce the run; write leg-1.json, leg-2.json, ... to `DIR`"},
			&cli.IntFlag{Name: "jobs", DefaultText: "a leg for each stack, as far as the engine takes them", Usage: "make at most `N` legs that run at once, of even length"},
			&cli.IntFlag{Name: "levels", DefaultText: "github: 8; else as many as there are", Usage: "make at most `N` legs that follow each other"},
			&cli.DurationFlag{Name: "min-leg", DefaultText: "none", Usage: "make no leg shorter than `DURATION`, so that quick stacks share a machine"},
			&cli.StringFlag{Name: "job-template", Usage: "gitlab: include the project's `FILE`, where a job .tmnotes-leg says what the legs' jobs have besides (image, before_script, tags)"},
			&cli.BoolFlag{Name: "script", Usage: "take the words as labels of a Terramate script"},
		}, chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), revisitFlags(), targetFlags(), matrixRunFlags(), commandFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return makeMatrix(c, env) },
	}
}

// matrixRunFlags are those flags of run that say what is to run, and with what.
func matrixRunFlags() []cli.Flag {
	return slices.DeleteFunc(slices.Concat(runFlags(), executionFlags()), func(f cli.Flag) bool {
		return !strings.HasPrefix(f.Names()[0], "disable-check-") && !slices.Contains([]string{"no-recursive", "continue-on-error", "reverse", "X", "disable-safeguards", "quiet", "op", "force", "resume", "allow-rollback", "break-hold"}, f.Names()[0])
	})
}

// matrixPlan is a run that is divided into legs.
type matrixPlan struct {
	*chosen
	matrix.Plan
	dir   string // of the files; "" where nothing is announced
	known int    // of how many stacks it is known how long they take
}

func makeMatrix(c *cli.Context, env Env) error {
	command, tasks := c.Args().Slice(), work(commandTasks)
	if len(command) == 0 || command[0] == "" {
		return errors.New("no command given; write the one that the legs run after --, as in: tmnotes matrix --format github --out legs -- terraform apply -auto-approve")
	}
	format, jobs, levels := c.String("format"), c.Int("jobs"), c.Int("levels")
	engine, ok := matrix.Engines[format]
	switch {
	case !ok:
		return fmt.Errorf("--format: unknown format %q; use text, json, github or gitlab", format)
	case c.IsSet("jobs") && jobs < 1 || c.IsSet("levels") && levels < 1:
		return errors.New("--jobs, --levels: at least one leg is needed")
	case c.Duration("min-leg") < 0:
		return fmt.Errorf("--min-leg must be 0 or more, not %v", c.Duration("min-leg"))
	case engine.Jobs > 0 && jobs > engine.Jobs:
		return fmt.Errorf("--jobs %d: a matrix of GitHub Actions has at most %d jobs; use --jobs %d or less", jobs, engine.Jobs, engine.Jobs)
	case engine.Files && c.String("out") == "":
		return fmt.Errorf("--format %s: a job has to find its leg; add --out DIR, and hand DIR to the jobs as an artifact", format)
	case c.IsSet("job-template") && format != "gitlab":
		return errors.New("--job-template goes with --format gitlab")
	}
	if c.Bool("script") {
		tasks, command = scriptTasks(command), append([]string{"script", "run"}, command...)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	const most = 3
	for try := 1; ; try++ {
		again, err := matrixOnce(c, env, engine, command, tasks, try < most)
		if err != nil || !again || os.Chdir(dir) != nil {
			return err
		}
		newUI(env).Say("a pipeline for another commit started meanwhile: selecting the pending stacks again")
	}
}

// matrixOnce makes a matrix. With again it withdraws it, and says so, where run
// would select anew.
func matrixOnce(c *cli.Context, env Env, engine matrix.Engine, command []string, tasks work, again bool) (withdrawn bool, err error) {
	x, err := choose(c, env, command, tasks)
	if err != nil {
		return false, err
	}
	defer x.Store.Close()
	if len(x.Rollout.Filters) > 0 {
		return false, deploy.ErrWavesInLegs
	}
	x.held = x.HoldBack()
	m := &matrixPlan{chosen: x, Plan: matrix.Plan{Graph: x.Graph.Without(x.Exec.Skip)}}
	if m.Took, m.known, err = x.Durations(); err != nil {
		return false, err
	}
	m.Divide(engine, matrix.Limits{Jobs: c.Int("jobs"), Levels: c.Int("levels"), MinLeg: c.Duration("min-leg")})
	describe(x)
	if x.Pending {
		describePending(x.u, x.Todo, x.Why, listPending(c))
	}
	x.u.Say("%s in %s and %s: about %s", runner.Plural(len(m.Todo), "stack"), runner.Plural(len(m.Legs), "leg"), runner.Plural(m.Levels(), "level"), runner.Took(m.Whole))
	if dir := c.String("out"); dir != "" {
		if m.dir, err = filepath.Abs(dir); err != nil {
			return false, err
		}
	}
	out := m.text()
	if engine.Print != nil {
		if out, err = engine.Print(m.document(c)); err != nil {
			return false, err
		}
	}
	if m.dir != "" {
		overtaken, err := m.announce(c.Context)
		if err != nil {
			return false, err
		}
		if overtaken && again {
			return true, m.TakeBack(c.Context, "a pipeline for another commit started meanwhile: the matrix is made again")
		}
	}
	if _, err := env.Stdout.Write(out); err != nil {
		err = fmt.Errorf("printing the matrix: %w", err)
		if m.dir != "" {
			err = errors.Join(err, m.TakeBack(c.Context, "the matrix could not be printed: nothing was executed"))
		}
		return false, err
	}
	return false, nil
}

// announce writes the files of the legs, and then has the run on record.
func (m *matrixPlan) announce(ctx context.Context) (overtaken bool, err error) {
	files, err := m.write()
	if err != nil {
		return false, fmt.Errorf("--out: %w", err)
	}
	overtaken, err = m.AnnounceLegs(ctx, len(m.Legs), m.Of)
	if err != nil {
		for _, f := range files {
			os.Remove(f) // no job may take them for announced ones
		}
	}
	return overtaken, err
}

// write writes the files of the legs into a folder in which nothing is left of others.
func (m *matrixPlan) write() (files []string, err error) {
	root, err := openFolder(m.Store.WorkTree(), m.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	old, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	for _, f := range old {
		if is, _ := filepath.Match("leg-*.json", f.Name()); is || f.Name() == ".gitignore" {
			if err := root.Remove(f.Name()); err != nil {
				return nil, err
			}
		}
	}
	// The folder may be in the work tree, here and where the jobs unpack it; Terramate
	// refuses to run beside files that git neither tracks nor ignores.
	if err := createIn(root, ".gitignore", []byte("*\n")); err != nil {
		return nil, err
	}
	program, _ := version()
	for n, packed := range m.Legs {
		l := deploy.Leg{Version: deploy.LegVersion, MadeBy: program, Run: m.RunID, Leg: n + 1, Legs: len(m.Legs), Level: packed.Level, Seconds: matrix.Seconds(packed.Took),
			Commit: m.Commit.Hash, Target: m.Select.Target, Reverse: m.Reverse, Late: m.Rollback, Force: m.Force, Break: m.BreakHold}
		others := map[string]bool{}
		for _, path := range packed.Stacks {
			u := m.LegStack(path)
			for _, p := range m.Graph.Predecessors(path) {
				if m.Of[p] != n+1 {
					u.After = append(u.After, p)
					others[p] = true
				}
			}
			l.Stacks = append(l.Stacks, u)
		}
		for _, p := range slices.Sorted(maps.Keys(others)) {
			u := m.LegStack(p)
			u.Leg, u.Variant = m.Of[p], ""
			l.Others = append(l.Others, u)
		}
		b, err := json.MarshalIndent(l, "", " ")
		if err != nil {
			return nil, err
		}
		if err := createIn(root, matrix.File(n+1), append(b, '\n')); err != nil {
			return nil, err
		}
		files = append(files, filepath.Join(m.dir, matrix.File(n+1)))
	}
	return files, nil
}
