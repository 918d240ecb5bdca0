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
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/matrix"
	"github.com/tmnotes/tmnotes/runner/terminal"
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
			&cli.StringFlag{Name: "out", Usage: "announce the run, and write leg-1.json, leg-2.json, ... to `DIR`"},
			&cli.IntFlag{Name: "jobs", DefaultText: "a leg for each stack, as far as the engine takes them", Usage: "at most `N` legs at once, of even length"},
			&cli.IntFlag{Name: "levels", DefaultText: "github: 8; else as many as there are", Usage: "at most `N` legs one after the other"},
			&cli.StringFlag{Name: "job-template", Usage: "gitlab: include the project's `FILE`, where a job .tmnotes-leg says what the legs' jobs have besides (image, before_script, tags)"},
			&cli.BoolFlag{Name: "script", Usage: "the words are the labels of a Terramate script"},
		}, chdirFlags(), selectionFlags(), statusFlags(), pendingFlags(), targetFlags(), matrixRunFlags(), commandFlags(), syncFlags(), storeFlags()),
		Action: func(c *cli.Context) error { return makeMatrix(c, env) },
	}
}

// matrixRunFlags are those flags of run that say what is to run, and with what.
func matrixRunFlags() []cli.Flag {
	return slices.DeleteFunc(slices.Concat(runFlags(), executionFlags()), func(f cli.Flag) bool {
		return !strings.HasPrefix(f.Names()[0], "disable-check-") && !slices.Contains([]string{"no-recursive", "continue-on-error", "reverse", "X", "disable-safeguards", "quiet", "op", "force", "resume", "allow-rollback"}, f.Names()[0])
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
	command, work := c.Args().Slice(), work(plan)
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
	case engine.Jobs > 0 && jobs > engine.Jobs:
		return fmt.Errorf("--jobs %d: a matrix of GitHub Actions has at most %d jobs; use --jobs %d or less", jobs, engine.Jobs, engine.Jobs)
	case engine.Files && c.String("out") == "":
		return fmt.Errorf("--format %s: a job has to find its leg; add --out DIR, and hand DIR to the jobs as an artifact", format)
	case c.IsSet("job-template") && format != "gitlab":
		return errors.New("--job-template goes with --format gitlab")
	}
	if c.Bool("script") {
		work, command = scriptTasks(command), append([]string{"script", "run"}, command...)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	const most = 3
	for try := 1; ; try++ {
		again, err := matrixOnce(c, env, engine, command, work, try < most)
		if err != nil || !again || os.Chdir(dir) != nil {
			return err
		}
		newUI(env).Say("a pipeline of another commit began meanwhile: looking again at what is pending")
	}
}

// matrixOnce makes a matrix. With again it withdraws it, and says so, where run
// would select anew.
func matrixOnce(c *cli.Context, env Env, engine matrix.Engine, command []string, work work, again bool) (withdrawn bool, err error) {
	x, err := choose(c, env, command, work)
	if err != nil {
		return false, err
	}
	defer x.store.Close()
	if len(x.waves.filters) > 0 {
		return false, errWavesInLegs
	}
	m := &matrixPlan{chosen: x, Plan: matrix.Plan{Graph: x.graph.Without(x.o.exec.Skip)}}
	if m.Took, m.known, err = x.durations(); err != nil {
		return false, err
	}
	m.Divide(engine, c.Int("jobs"), c.Int("levels"))
	describe(x.u, x.session, x.order, x.ops, x.off, x.o)
	if x.pending {
		describePending(x.u, x.todo, x.why, listPending(c))
	}
	x.u.Say("%s in %s, %s one after the other: about %s", terminal.Plural(len(m.todo), "stack"), terminal.Plural(len(m.Legs), "leg"), terminal.Plural(m.Levels(), "level"), terminal.Took(m.Whole))
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
		overtaken, err := m.announce(c)
		if err != nil {
			return false, err
		}
		if overtaken && again {
			return true, m.takeBack(c, "a pipeline of another commit began meanwhile: the matrix is made anew")
		}
	}
	if _, err := env.Stdout.Write(out); err != nil {
		err = fmt.Errorf("printing the matrix: %w", err)
		if m.dir != "" {
			err = errors.Join(err, m.takeBack(c, "the matrix could not be printed: nothing was executed"))
		}
		return false, err
	}
	return false, nil
}

// takeBack withdraws what was announced, as nobody is going to run it.
func (m *matrixPlan) takeBack(c *cli.Context, why string) error {
	if len(m.todo) == 0 {
		return nil
	}
	ctx := context.WithoutCancel(c.Context)
	if err := errors.Join(m.withdraw(m.todo, why), m.store.Flush(ctx)); err != nil || m.sync.remote == "" {
		return err
	}
	_, err := m.store.Push(ctx, m.sync.remote)
	return err
}

// durations are how long the stacks that are to run took when they succeeded last, by
// path. Of which that is not known, it is the median of the others, or a second.
func (x *chosen) durations() (map[string]time.Duration, int, error) {
	took := map[string]time.Duration{}
	type when struct {
		at       int64
		stack    string
		op, tget string
	}
	ask := map[string]map[when]string{} // by commit
	for _, path := range x.todo {
		r := x.stacks[path]
		l, err := x.latest(x.st, path)
		if err != nil {
			return nil, 0, err
		}
		switch {
		case (l.Status == note.OK || l.Status == note.Drifted) && l.Took > 0:
			took[path] = l.Took
		case l.OKCommit != "":
			if ask[l.OKCommit] == nil {
				ask[l.OKCommit] = map[when]string{}
			}
			ask[l.OKCommit][when{l.OKAt.UnixMilli(), path, r.op.Name, r.target}] = path
		}
	}
	err := x.store.NotesOf(slices.Sorted(maps.Keys(ask)), func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			r := &line.Record
			if r.Status != note.OK || r.Took == 0 {
				continue
			}
			if path, is := ask[commit][when{r.At.UnixMilli(), r.Stack, r.Op, r.Target}]; is {
				took[path] = r.Took
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	usual, known := time.Second, len(took)
	if all := slices.Sorted(maps.Values(took)); known > 0 {
		usual = all[known/2]
	}
	for _, path := range x.todo {
		if took[path] == 0 {
			took[path] = usual
		}
	}
	return took, known, nil
}

// announce writes the files of the legs, and then has the run on record: its head, and every
// stack as queued, with its leg. It is overtaken where a pipeline of another commit
// announced itself since the stacks were selected, see run.
func (m *matrixPlan) announce(c *cli.Context) (overtaken bool, err error) {
	files, err := m.write(c)
	if err != nil {
		return false, fmt.Errorf("--out: %w", err)
	}
	ctx := context.WithoutCancel(c.Context)
	if len(m.todo) == 0 {
		return overtaken, m.lookedAt(ctx, m.u, m.ci, m.sync, strings.Join(m.asked, ","), m.o, &overtaken)
	}
	m.session.legs = m.Of
	head := m.head(ctx, m.ci, strings.Join(m.ops, ","), m.o.sel.Target, len(m.todo), m.o.command)
	head.SetLegs(len(m.Legs))
	if err := m.declare(c.Context, m.u, m.sync, head, m.todo); err != nil {
		for _, f := range files {
			os.Remove(f) // no job may take them for announced ones
		}
		return false, err
	}
	if err := m.store.Flush(ctx); err != nil || m.sync.remote == "" || !m.reselect {
		return false, err
	}
	st, err := m.store.State(ctx)
	if err != nil {
		return false, err
	}
	heads, err := st.Began(m.before)
	return m.overtaken(heads, m.o.sel.Target), err
}

// write writes the files of the legs into a folder in which nothing is left of others.
func (m *matrixPlan) write(c *cli.Context) (files []string, err error) {
	root, err := openFolder(m.store.WorkTree(), m.dir)
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
	unit := func(path string) legUnit {
		r := m.stacks[path]
		return legUnit{Stack: path, ID: r.stack.ID, Op: r.op.Name, Target: r.target, Variant: r.op.Words, Space: r.op.Workspace}
	}
	for n, packed := range m.Legs {
		l := leg{Version: legVersion, MadeBy: program, Run: m.run, Leg: n + 1, Legs: len(m.Legs), Level: packed.Level, Seconds: matrix.Seconds(packed.Took),
			Commit: m.commit.Hash, Target: m.o.sel.Target, Reverse: c.Bool("reverse"), Late: c.Bool("allow-rollback"), Force: c.Bool("force")}
		others := map[string]bool{}
		for _, path := range packed.Stacks {
			u := unit(path)
			for _, p := range m.Graph.Predecessors(path) {
				if m.Of[p] != n+1 {
					u.After = append(u.After, p)
					others[p] = true
				}
			}
			l.Stacks = append(l.Stacks, u)
		}
		for _, p := range slices.Sorted(maps.Keys(others)) {
			u := unit(p)
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
