package cli

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/matrix"
)

// label says for a person which stacks a leg has.
func (m *matrixPlan) label(leg int) string {
	stacks := m.Legs[leg].Stacks
	text := runner.Printable(stacks[0])
	if r := []rune(text); len(r) > 60 {
		text = string(r[:59]) + "…"
	}
	if n := len(stacks) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

func (m *matrixPlan) text() []byte {
	var b bytes.Buffer
	var rows [][]string
	for n, leg := range m.Legs {
		needs := "-"
		if len(leg.Needs) > 0 {
			needs = strings.Trim(fmt.Sprint(matrix.Numbers(leg.Needs)), "[]")
		}
		rows = append(rows, []string{strconv.Itoa(n + 1), strconv.Itoa(leg.Level), runner.Took(leg.Took), needs, strings.Join(leg.Stacks, " ")})
	}
	if len(rows) > 0 {
		m.u.Table(&b, []string{"LEG", "LEVEL", "TIME", "NEEDS", "STACKS"}, rows, nil)
	}
	return b.Bytes()
}

// document is what the engine is told.
func (m *matrixPlan) document(c *cli.Context) *matrix.Document {
	return &matrix.Document{Plan: &m.Plan, Run: m.RunID, Commit: m.Commit.Hash, Op: strings.Join(m.Ops, ","), Target: m.Select.Target, Known: m.known, Dir: m.dir, AtLeast: c.Int("levels"),
		Stack: func(path string) runner.Stack { return m.Stacks[path].Stack },
		Label: m.label,
		About: func(leg int) string { return runner.Took(m.Legs[leg].Took) },
		GitLab: matrix.GitLab{
			Title: fmt.Sprintf("Made by tmnotes matrix: %s of %s in %s.", runner.Plural(len(m.Todo), "stack"), note.Short(m.Commit.Hash), runner.Plural(len(m.Legs), "leg")),
			Tree:  m.Store.WorkTree(), Template: c.String("job-template"), Script: legScript(c, `"$CI_PROJECT_DIR/$TMNOTES_LEG_FILE"`),
			Job: m.u.env.Getenv("CI_JOB_NAME"), Pipeline: m.u.env.Getenv("CI_PIPELINE_ID"),
		}}
}

// legScript is the line of sh that runs a leg whose file is named, as the shell has it:
// with the command of the matrix, and its flags that are not about the selection.
func legScript(c *cli.Context, file string) string {
	words := []string{"tmnotes"}
	if c.Bool("script") {
		words = append(words, "script")
	}
	words = append(words, "run")
	if dir := c.String("chdir"); dir != "" {
		words = append(words, "-C", shellQuote(dir))
	}
	for _, flag := range []string{"X", "quiet", "eval", "enable-sharing", "mock-on-fail", "sync-deployment", "sync-drift-status"} {
		if c.Bool(flag) {
			words = append(words, strings.Repeat("-", min(len(flag), 2))+flag)
		}
	}
	for _, flag := range []string{"op", "ref", "remote", "sync"} {
		if v := c.String(flag); v != "" {
			words = append(words, "--"+flag, shellQuote(v))
		}
	}
	for _, v := range disabledSafeguards(c) {
		words = append(words, "--disable-safeguards", shellQuote(v))
	}
	words = append(words, "--stacks-from", file, "--")
	for _, w := range c.Args().Slice() {
		words = append(words, shellQuote(w))
	}
	return strings.Join(words, " ")
}
