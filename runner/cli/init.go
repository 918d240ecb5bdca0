package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// What init writes for an engine.
//
//go:embed init/*.yml
var pipelines embed.FS

// pipelineFiles are where an engine looks for it.
var pipelineFiles = map[string]string{"github": ".github/workflows/tmnotes.yml", "gitlab": ".gitlab/tmnotes.yml"}

func initCommand(env Env) *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "write a pipeline that deploys, previews and looks for drift",
		Description: "Asks which CI you have, what deploys a stack, and whether the stacks are deployed already; flags answer beforehand. Shows\n" +
			"the files that it would write, and writes them if you say so. A file that is there is left as it is. Then it runs doctor.",
		Flags: slices.Concat(chdirFlags(), []cli.Flag{
			&cli.StringFlag{Name: "ci", Usage: "write the pipeline for `CI`: github or gitlab"},
			&cli.StringFlag{Name: "command", Usage: "deploy each stack with `CMD`"},
			&cli.StringFlag{Name: "deployed", Usage: "`ANSWER` whether the stacks are deployed already: yes (adopt them), no, or later"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "write without asking"},
		}, claimFlags()[:1], syncFlags(), storeFlags()),
		Action: inClone(env, parseInit, initialise),
	}
}

// initOptions are the answers that flags gave; "" is to be asked.
type initOptions struct {
	ci, command, deployed string
	yes                   bool
}

func parseInit(c *cli.Context) (initOptions, error) {
	o := initOptions{c.String("ci"), c.String("command"), c.String("deployed"), c.Bool("yes")}
	return o, errors.Join(noArgs(c), checkAnswer("--ci", o.ci, "github", "gitlab"), checkAnswer("--deployed", o.deployed, "yes", "no", "later"), checkDeploys(o.command))
}

func checkAnswer(name, got string, allowed ...string) error {
	if got == "" || slices.Contains(allowed, got) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", name, got, strings.Join(allowed, ", "))
}

func checkDeploys(line string) error {
	if strings.ContainsAny(line, "\n\r") || strings.Contains(line, "${{") || strings.Contains(line, ": ") || strings.Contains(line, " #") {
		return fmt.Errorf("--command: %q cannot stand in a line of YAML; put it into a script, and name that", line)
	}
	return nil
}

// starter asks, and writes.
type starter struct {
	*clone
	initOptions
	answers *bufio.Reader // nil where nobody can answer
}

func initialise(here *clone, o initOptions) error {
	x := &starter{clone: here, initOptions: o}
	if in := here.env.Stdin; in != nil && terminal.IsTerminal(in) && terminal.IsTerminal(here.env.Stderr) {
		x.answers = bufio.NewReader(in)
	}
	if err := here.load(project.Options{Terragrunt: true}); err != nil {
		return err
	}
	if err := x.askAll(); err != nil {
		return err
	}
	files, err := x.files()
	if err != nil {
		return err
	}
	if err := x.write(files); err != nil {
		return err
	}
	here.Say("doctor looks at what a deployment needs:")
	d := &doctor{c: here.c, dir: here.dir, ci: here.env.ci(), env: here.env, getenv: here.env.Getenv, now: time.Now}
	d.examine()
	_ = d.print(here.env) // what it finds is no failure of init
	return x.begin()
}

// askAll completes the answers.
func (x *starter) askAll() (err error) {
	if x.ci, err = x.ask("Which CI is it? github or gitlab", x.ci, x.guessCI(), "github", "gitlab"); err != nil {
		return err
	}
	if x.ci == "" {
		return errors.New("which CI is it? Add --ci github or --ci gitlab")
	}
	if x.command, err = x.ask("What deploys a stack?", x.command, x.guessCommand()); err != nil {
		return err
	}
	if err := checkDeploys(x.command); err != nil {
		return err
	}
	x.deployed, err = x.ask("Are the stacks deployed already? yes, no or later", x.deployed, "later", "yes", "no", "later")
	return err
}

// ask is an answer; what is guessed where nobody gives one.
func (x *starter) ask(question, answer, guess string, allowed ...string) (string, error) {
	for answer == "" && x.answers != nil {
		fmt.Fprintf(x.Err, "%s [%s] ", question, guess)
		line, err := x.answer()
		if err != nil {
			return "", err
		}
		if answer = cmp.Or(strings.TrimSpace(line), guess); len(allowed) > 0 && !slices.Contains(allowed, answer) {
			answer = ""
		}
	}
	return cmp.Or(answer, guess), nil
}

func (x *starter) answer() (string, error) {
	line, err := answer(x.c.Context, x.answers)
	switch {
	case x.c.Context.Err() != nil:
		fmt.Fprintln(x.Err)
		return "", &exitError{exitInterrupted, errors.New("interrupted; nothing was written")}
	case err != nil:
		return "", errors.New("no answer; nothing was written")
	}
	return line, nil
}

func (x *starter) guessCI() string {
	top := x.project.Root()
	for _, sign := range [][2]string{{"github", ".github"}, {"gitlab", ".gitlab-ci.yml"}} {
		if _, err := os.Stat(filepath.Join(top, sign[1])); err == nil {
			return sign[0]
		}
	}
	remote, err := findRemote(x.c, x.store, "")
	if err != nil {
		return ""
	}
	name := query.RepositoryName(x.c.Context, x.store, remote)
	for _, ci := range []string{"github", "gitlab"} {
		if strings.Contains(strings.SplitN(name, "/", 2)[0], ci) {
			return ci
		}
	}
	return ""
}

// guessCommand goes by what the stacks are made of.
func (x *starter) guessCommand() string {
	program := "terraform"
	if stacks, err := x.project.All(); err == nil {
		for _, s := range stacks {
			for _, sign := range [][2]string{{"main.tofu", "tofu"}, {"terragrunt.hcl", "terragrunt"}} {
				if _, err := os.Stat(filepath.Join(s.Dir, sign[0])); err == nil {
					program = sign[1]
				}
			}
		}
	}
	return program + " apply -auto-approve -input=false"
}

// releaseTag is the tag that a pipeline's tmnotes comes from: this one's, if it is a release.
func releaseTag(version string) string {
	if regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(version) {
		return version
	}
	return "main"
}

// newFile is one that init would write, by its path in the project.
type newFile struct{ path, text string }

func (x *starter) files() ([]newFile, error) {
	op := command.Recognise(strings.Fields(x.command), x.env.Environ, "").Name
	program := strings.Fields(x.command)[0]
	built, _ := version()
	data := map[string]string{"Branch": x.project.DefaultBranch(), "Program": program, "Deploy": "tmnotes run --pending -- " + x.command, "Tag": releaseTag(built)}
	if op != note.Deploy {
		data["Deploy"] = "tmnotes run --pending --op deploy -- " + x.command
	}
	if setups := map[string]string{"terraform": "hashicorp/setup-terraform@v3", "tofu": "opentofu/setup-opentofu@v1"}; op == note.Deploy {
		data["Setup"] = setups[program]
		data["Init"] = "tmnotes run --quiet -- " + program + " init -input=false"
		data["Drift"] = "tmnotes run --op drift -- " + program + " plan -detailed-exitcode -input=false -lock=false"
	}
	made, err := template.New(x.ci+".yml").Delims("[[", "]]").ParseFS(pipelines, "init/"+x.ci+".yml")
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := made.Execute(&text, data); err != nil {
		return nil, err
	}
	files := []newFile{{pipelineFiles[x.ci], text.String()},
		{gitstate.ConfigFile, "# Settings of tmnotes for all who work here; `tmnotes help configuration` lists them.\n[tmnotes]\n\tparallel = 4\n"}}
	if x.ci == "gitlab" {
		files = append(files, newFile{".gitlab-ci.yml", "include:\n  - local: " + pipelineFiles[x.ci] + "\n"})
	}
	return files, nil
}

// write shows the files, and writes those that are not there, if that is wanted.
func (x *starter) write(files []newFile) error {
	top := x.project.Root()
	var missing []newFile
	for _, f := range files {
		there, err := os.ReadFile(filepath.Join(top, f.path))
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, f)
			if _, err := fmt.Fprintf(x.Out, "%s:\n%s\n", f.path, indented(f.text)); err != nil {
				return err
			}
		case err != nil:
			return err
		case string(there) == f.text:
			x.Say("%s is there already", f.path)
		case f.path == ".gitlab-ci.yml":
			x.Say("%s is left as it is; add to its include: - local: %s", f.path, pipelineFiles[x.ci])
		default:
			x.Say("%s is there and differs: it is left as it is", f.path)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if !x.yes && x.answers == nil {
		x.Say("nothing was written; add --yes to write %s", names(missing))
		return nil
	}
	if !x.yes {
		if answer, err := x.ask("Write "+names(missing)+"? yes or no", "", "yes", "yes", "no"); err != nil || answer == "no" {
			x.Say("nothing was written")
			return err
		}
	}
	for _, f := range missing {
		if err := createFile(filepath.Join(top, f.path), f.text); err != nil {
			return fmt.Errorf("writing %s: %w", f.path, err)
		}
		x.Say("wrote %s", f.path)
	}
	return nil
}

// createFile writes a file that must not be there.
func createFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

func names(files []newFile) string {
	var list []string
	for _, f := range files {
		list = append(list, f.path)
	}
	return strings.Join(list, ", ")
}

// begin records what is deployed, or says how.
func (x *starter) begin() error {
	switch x.deployed {
	case "yes":
		return adopt(x.clone, adoptOptions{commit: "HEAD", reason: "deployed before tmnotes"})
	case "no":
		x.Say("next: commit the files, and deploy for the first time: tmnotes run --pending --init -- %s", x.command)
	default:
		x.Say("next: commit the files, and record what is deployed: tmnotes adopt --all --reason 'deployed before tmnotes'")
	}
	return nil
}
