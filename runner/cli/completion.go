package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

func completionCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the shell completion for bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Action: func(c *cli.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return fmt.Errorf("completion for which shell? bash, zsh or fish, not %q", c.Args().First())
			}
			_, err := fmt.Fprint(env.Stdout, script)
			return err
		},
	}
}

// completionWord is what a shell puts behind the words of the line, of which the last is the
// one that is being typed, "" if none is.
const completionWord = "--generate-bash-completion"

// typing is a line as far as it is typed.
type typing struct {
	ctx     context.Context
	env     Env
	app     *cli.App
	command *cli.Command // nil before there is one
	script  bool         // it is script run
	words   []string     // behind the command, without flags
	values  map[string]string
	flag    cli.Flag // whose value is being typed
}

// candidate is a word that may be meant, and what it means.
type candidate struct{ word, about string }

// complete answers a shell with one candidate a line: the word, and, behind a tab, what it
// means. Nothing is executed, whatever stands on the line: who presses TAB has not pressed
// Enter. What cannot be read has no answer.
func complete(ctx context.Context, app *cli.App, env Env, args []string) error {
	line, current := args[:len(args)-1], ""
	if len(line) > 0 {
		line, current = line[:len(line)-1], line[len(line)-1]
	}
	if slices.Contains(line, "--") {
		return fmt.Errorf("nothing was executed: %s at the end of a line asks for its completion", completionWord)
	}
	t := &typing{ctx: ctx, env: env, app: app, values: map[string]string{}}
	t.read(line)
	before := ""
	if name, value, has := strings.Cut(current, "="); has && strings.HasPrefix(name, "--") && t.flag == nil {
		if t.flag = t.flagNamed(strings.TrimLeft(name, "-")); t.flag != nil {
			before, current = name+"=", value
		}
	}
	if i := strings.LastIndexAny(current, ",:"); i >= 0 && t.flag != nil && strings.HasSuffix(t.flag.Names()[0], "tags") {
		before, current = before+current[:i+1], current[i+1:] // a:b, a,b
	}
	for _, c := range t.candidates(current) {
		if !strings.HasPrefix(c.word, current) || strings.ContainsAny(c.word, "\n\t") {
			continue
		}
		text := before + c.word
		if c.about != "" {
			text += "\t" + c.about
		}
		fmt.Fprintln(env.Stdout, text)
	}
	return nil
}

// read takes a line apart.
func (t *typing) read(line []string) {
	for _, word := range line {
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case word == "=": // bash takes it for a word
		case t.flag != nil:
			t.values[t.flag.Names()[0]], t.flag = word, nil
		case len(word) > 1 && word[0] == '-' && !t.foreign():
			f := t.flagNamed(name)
			switch {
			case f == nil:
			case hasValue:
				t.values[f.Names()[0]] = value
			case f.(cli.DocGenerationFlag).TakesValue():
				t.flag = f
			default:
				t.values[f.Names()[0]] = "true"
			}
		case t.command == nil:
			t.command = t.app.Command(word)
		case len(t.command.Subcommands) > 0 && t.command.Command(word) != nil:
			t.command, t.script = t.command.Command(word), t.command.Name == "script"
		default:
			t.words = append(t.words, word)
		}
	}
}

// foreign says that what is being typed is a part of another command line, or of a script's labels.
func (t *typing) foreign() bool { return len(t.words) > 0 && t.takesCommand() }

func (t *typing) takesCommand() bool {
	return t.command != nil && slices.Contains([]string{"run", "exec", "cloud", "matrix"}, t.command.Name) // script run, too
}

// flagNamed is a flag of the command, or before there is one, of any: terramate's users write flags first.
func (t *typing) flagNamed(name string) cli.Flag {
	commands := t.app.Commands
	if t.command != nil {
		commands = []*cli.Command{t.command}
	}
	for _, c := range commands {
		for _, f := range c.Flags {
			if slices.Contains(f.Names(), name) {
				return f
			}
		}
	}
	return nil
}

// candidates are the words that may stand where one begins with current.
func (t *typing) candidates(current string) (found []candidate) {
	switch {
	case t.flag != nil:
		return candidatesOf(t.valuesOf(t.flag.Names()[0]))
	case strings.HasPrefix(current, "-") && !t.foreign():
		return t.flags()
	case t.command == nil:
		for _, c := range t.app.VisibleCommands() {
			found = append(found, candidate{c.Name, c.Usage})
		}
		return found
	}
	switch name := t.command.Name; {
	case len(t.command.Subcommands) > 0 && len(t.words) == 0:
		for _, sub := range t.command.Subcommands {
			found = append(found, candidate{sub.Name, sub.Usage})
		}
	case name == "help" && len(t.words) == 0:
		for _, c := range t.app.VisibleCommands() {
			found = append(found, candidate{c.Name, c.Usage})
		}
		for _, topic := range topics {
			found = append(found, candidate{topic.name, topic.about})
		}
	case name == "completion" && len(t.words) == 0:
		return candidatesOf(slices.Sorted(maps.Keys(completionScripts)))
	case t.isScript():
		return candidatesOf(t.labels())
	case name == "show" && (len(t.words) == 0 && t.values["log"]+t.values["plan"] == "" || len(t.words) == 1 && t.values["log"] != ""):
		return candidatesOf(t.valuesOf("run"))
	case slices.Contains([]string{"mark", "adopt", "trigger", "unlock", "hold", "release"}, name), slices.Contains([]string{"log", "runs", "blame", "show"}, name) && len(t.words) == 0:
		return candidatesOf(t.valuesOf("stack"))
	}
	return found
}

func candidatesOf(words []string) (all []candidate) {
	for _, word := range words {
		all = append(all, candidate{word, ""})
	}
	return all
}

func (t *typing) flags() []candidate {
	found := []candidate{{"--help", "show all flags"}}
	if t.command == nil {
		return append(found, candidate{"--version", "print the version"})
	}
	for _, f := range t.command.VisibleFlags() {
		_, text := describeFlag(f)
		for _, name := range f.Names() {
			found = append(found, candidate{dashed(name), firstClause(text)})
		}
	}
	return found
}

// isScript says that the words are the labels of a Terramate script.
func (t *typing) isScript() bool {
	return t.script || t.command.Name == "matrix" && t.values["script"] != ""
}

// valuesOf are what a flag may be set to, as far as that is known.
func (t *typing) valuesOf(flag string) []string {
	switch flag {
	case "status", "deployment-status", "drift-status":
		words := query.FilterWords[flag]
		switch {
		case t.command != nil && t.command.Name == "mark":
			words = markable
		case t.command != nil && t.command.Name == "status" && flag == "status":
			words = append(slices.Clone(words), string(note.Orphaned))
		}
		return words
	case "format":
		if t.command != nil && t.command.Name == "matrix" {
			return []string{"text", "json", "github", "gitlab"}
		}
		if t.command != nil && t.command.Name == "preview" {
			return []string{"text", "json", "markdown"}
		}
		return []string{"text", "json"}
	case "ci":
		return []string{"github", "gitlab"}
	case "deployed":
		return []string{"yes", "no", "later"}
	case "tags", "no-tags":
		return t.stacks(func(s runner.Stack) []string { return s.Tags })
	case "wave":
		return append(t.stacks(func(s runner.Stack) (filters []string) {
			for _, tag := range s.Tags {
				filters = append(filters, "tag:"+tag)
			}
			return filters
		}), "*")
	case "stack":
		return t.stacks(func(s runner.Stack) []string { return []string{s.Path} })
	case "op":
		return t.recorded([]string{note.Deploy, note.Destroy, note.Drift}, func(r *note.Record) string { return r.Op })
	case "target":
		return t.recorded(nil, func(r *note.Record) string { return r.Target })
	case "run":
		return t.recorded(nil, func(r *note.Record) string { return r.Run })
	}
	return flagValues[flag]
}

// flagValues are the words that flags take, but for those that depend on something.
var flagValues = map[string][]string{
	"output": terminal.Outputs, "sync": {"auto", "off", "require"}, "locks": {"auto", "off"}, "on-locked": {"wait", "skip", "fail"}, "keep-logs": gitstate.KeepLogs,
	"disable-safeguards":      {"all", "none", "git", "git-untracked", "git-uncommitted", "git-out-of-sync", "outdated-code"},
	"enable-change-detection": {"git-untracked", "git-uncommitted"}, "disable-change-detection": {"git-untracked", "git-uncommitted"},
	"forge": {"github", "gitlab", "gitea"}, "log-level": {"disabled", "trace", "debug", "info", "warn", "error", "fatal"}, "log-fmt": {"console", "text", "json"}, "log-destination": {"stderr", "stdout"},
}

// dir is where the line would be executed.
func (t *typing) dir() string {
	dir, err := filepath.Abs(cmp.Or(t.values["chdir"], t.env.Getenv("TM_ARG_CHDIR"), "."))
	if err != nil {
		return "."
	}
	return dir
}

// project is the one that the line is about, nil if there is none.
func (t *typing) project() *project.Project {
	p, err := project.Load(t.ctx, project.Options{Dir: t.dir(), Environ: t.env.Environ})
	if err != nil {
		return nil
	}
	return p
}

// stacks are words of the project's stacks, each once.
func (t *typing) stacks(of func(runner.Stack) []string) (words []string) {
	p := t.project()
	if p == nil {
		return nil
	}
	all, err := p.All()
	if err != nil {
		return nil
	}
	for _, s := range all {
		words = append(words, of(s)...)
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// labels are those that may follow the ones that are typed.
func (t *typing) labels() (words []string) {
	p := t.project()
	if p == nil {
		return nil
	}
	n := len(t.words)
	for _, labels := range p.ScriptLabels() {
		if len(labels) > n && slices.Equal(labels[:n], t.words) {
			words = append(words, labels[n])
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// recorded are what records have of something, the newest first, behind the words that are known anyhow.
func (t *typing) recorded(known []string, of func(*note.Record) string) []string {
	store, err := gitstate.Open(t.ctx, gitstate.Options{Dir: t.dir(), Environ: t.env.Environ, Ref: t.values["ref"]})
	if err != nil {
		return known
	}
	defer store.Close()
	newest := map[string]int64{}
	err = store.Notes(func(_ string, lines []gitstate.Line) error {
		for _, l := range lines {
			if r := &l.Record; of(r) != "" {
				newest[of(r)] = max(newest[of(r)], r.At.UnixMilli())
			}
		}
		return nil
	})
	if err != nil {
		return known
	}
	for _, word := range known {
		delete(newest, word)
	}
	words := slices.SortedFunc(maps.Keys(newest), func(a, b string) int {
		return cmp.Or(cmp.Compare(newest[b], newest[a]), cmp.Compare(a, b))
	})
	const most = 50
	return slices.Concat(known, words[:min(len(words), most)])
}
