// Package command is what a command line is: which operation it does to a stack, as which values
// and at which place it would do it, and whether it changes anything at all. It starts nothing.
package command

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-shellwords"
)

// Operation says what a command does to a stack, as far as that can be told from
// the command line and its environment.
type Operation struct {
	// Name is "deploy" for a whole apply, "destroy" for a whole destroy, else that of
	// the subcommand or of the program: [a-z0-9._-]+, unless it was given by
	// hand.
	Name string
	// Variant tells deployments apart that may have different results: "2:" and 8 hex
	// digits of a sha256 over the command's words and, after [Reader.Look], over all values.
	Variant string
	// Legacy is the variant as records of version 1 have it: of the words alone.
	Legacy string
	// Values are what Variant has beside the words, as text: see [Value].
	Values string
	// Note says, for a person, why it is not what one may think it is; mostly
	// empty.
	Note string
	// Workspace is TF_WORKSPACE, but for the default one.
	Workspace string
	// Chooses says that the commands of a script choose their place themselves, by init with
	// -backend-config. What the folder names before says nothing then.
	Chooses bool

	// Words is Variant without the values.
	Words string

	words      []string // in normal form, without secrets
	files      []file   // that the commands read
	dirs       []string // that they work in, by -chdir
	selects    string   // the workspace that they select
	terraform  bool     // they are all Terraform's, or OpenTofu's
	stays      bool     // nothing of it can choose another place
	terragrunt terragruntDirs
}

// Begun is the operation once its commands have begun: what they choose is there.
func (op Operation) Begun() Operation {
	op.Chooses, op.selects = false, ""
	return op
}

// Stays reports whether the operation is a command by itself that leaves the place as it is.
func (op Operation) Stays() bool { return op.stays }

// terragruntDirs are folders that options of Terragrunt name.
type terragruntDirs struct{ workingDir, downloadDir string }

// Names of operations that say something of the whole stack.
const (
	opDeploy      = "deploy"
	opDestroy     = "destroy"
	opDestroyPart = "destroy-target"
	// An apply of a part, or of what is not known. As after opDestroyPart, what is there
	// is not surely what was deployed (gitstate.Op).
	opApplyPart = "apply"
	// The state was edited, so that the next apply may have something to do.
	opStateEdit = "state-edit"
)

// Recognise says what cmd does when run with env, its whole environment (the last
// entry of a name wins). override is the name given by hand (--op), or "".
//
// Only what is understood to its last word is a deployment: with an option that
// is not known here, an apply is an "apply". A destroy that is not understood
// is a "destroy" all the same, as that too makes the stack run again.
func Recognise(cmd, env []string, override string) Operation {
	op := recogniseCommand(cmd, env)
	if override != "" {
		op.Name, op.Note = override, ""
	}
	return op
}

func recogniseCommand(cmd, env []string) (op Operation) {
	e := tfEnv(env)
	op.Workspace = e.workspace
	tool := ProgramName(cmd)
	if c, ok := callOf(tool, cmd, env); ok {
		op.Name, op.Note, op.Legacy = recognise(tool, c, e)
		op.words, _ = c.words(tool, e, options.plainWords, plainText)
		op.files, op.dirs, op.terragrunt = c.files(e), []string{c.chdir()}, c.terragrunt
		op.terraform = tool != "terragrunt"
		op.stays = op.terraform && c.applies()
	} else {
		op.Name, op.Note = operationName(tool), foreignNote(tool, cmd)
		op.Legacy = digest(slices.Concat(cmd, []string{""}, e.foreignWords(options.words)))
		op.words = slices.Concat(plainWords(cmd), []string{""}, e.foreignWords(options.plainWords))
		op.foreign(cmd, env)
	}
	op.Variant = variantVersion + digest(op.words)
	op.Words = op.Variant
	return op
}

var (
	fileOption  = regexp.MustCompile(`--?(var-file|backend-config)[= ]("[^"]*"|'[^']*'|[^\s;|&"']+)`)
	chdirOption = regexp.MustCompile(`-chdir=("[^"]*"|'[^']*'|[^\s;|&"']+)`)
)

// foreign finds what a program that is not known may hand to Terraform: as a command line
// among its own words, or in a word for a shell.
func (op *Operation) foreign(cmd, env []string) {
	for i := 1; i < len(cmd); i++ {
		tool := ProgramName(cmd[i:])
		if c, ok := callOf(tool, cmd[i:], env); ok && c.sub != "" {
			op.files, op.dirs, op.terragrunt = c.files(tfEnv(env)), []string{c.chdir()}, c.terragrunt
			return
		}
	}
	text := strings.Join(cmd, " ")
	chdir := ""
	for _, found := range chdirOption.FindAllStringSubmatch(text, -1) {
		chdir = strings.Trim(found[1], `"'`)
		op.dirs = append(op.dirs, chdir)
	}
	for _, found := range fileOption.FindAllStringSubmatch(text, -1) {
		if name := strings.Trim(found[2], `"'`); found[1] == "var-file" || !strings.Contains(name, "=") {
			op.files = append(op.files, file{"-" + found[1], chdir, name})
		}
	}
}

// callOf takes the command lines apart of the tools that are known here.
func callOf(tool string, cmd, env []string) (c call, ok bool) {
	switch tool {
	case "terraform", "tofu":
		return terraformCall(cmd[1:]), true
	case "terragrunt":
		return terragruntCall(cmd[1:], env), true
	}
	return c, false
}

// words are those of a call that matter to its result, in the form of normal. Where the
// environment is not understood, which problem says, it stands there as it is, but for
// what raw leaves out.
func (c call) words(tool string, e environment, normal func(options) []string, raw func(string) string) (words []string, problem string) {
	args, problem := e.args(c.sub)
	words = slices.Concat([]string{tool}, c.global, []string{c.sub}, normal(parseOptions(append(args, c.args...))))
	if problem != "" {
		for _, text := range e.raw(c.sub) {
			words = append(words, raw(text))
		}
	}
	return words, problem
}

// recognise names what a call of Terraform does, and gives its variant of version 1.
func recognise(tool string, c call, e environment) (name, note, legacy string) {
	words, problem := c.words(tool, e, options.words, func(text string) string { return text })
	name, note = c.name(tool, e, problem, words)
	return name, note, digest(words)
}

func (c call) name(tool string, e environment, problem string, words []string) (name, note string) {
	args, _ := e.args(c.sub)
	args = append(args, c.args...)
	p := parseOptions(args)
	if c.problem == "" {
		c.problem = problem
	}
	switch {
	case c.many && slices.ContainsFunc(words, func(w string) bool { return w == "destroy" || w == "destroy-all" }):
		// Whatever else it destroys, this stack is not deployed any more.
		return opDestroy, "terragrunt destroys several units at once: recorded for this stack alone"
	case c.many && slices.ContainsFunc(words, func(w string) bool { return w == "apply" || w == "apply-all" }):
		return opApplyPart, "terragrunt applies several units at once: run one a stack, or add --op deploy if it applies this whole stack"
	case c.many:
		return "run-all", "terragrunt runs several units at once: run one a stack, or add --op deploy if it applies this whole stack"
	case c.version:
		return "version", ""
	case c.help || slices.ContainsFunc(args, isHelp):
		return "help", ""
	case slices.ContainsFunc(args, isVersion):
		return "version", ""
	case c.sub == "":
		return operationName(tool), ""
	case c.sub == "state" && len(args) > 0 && slices.Contains([]string{"mv", "push", "replace-provider", "rm"}, args[0]):
		return opStateEdit, ""
	case c.sub != "apply" && c.sub != "destroy":
		return operationName(c.sub), ""
	}
	destroy := c.sub == "destroy" || p.isTrue("destroy")
	part := p.firstOf(partOptions)
	switch {
	case destroy && part != "":
		return opDestroyPart, "-" + part + " destroys a part of the stack: it does not count as deployed afterwards"
	case destroy && (c.sub == "destroy" || len(p.rest) == 0):
		return opDestroy, ""
	case c.problem != "":
		note = c.problem + ": add --op deploy if it applies the whole stack"
	case p.problem != "":
		note = p.problem + ": add --op deploy if it applies the whole stack"
	case len(p.rest) > 0:
		note = "a saved plan may be partial or a destroy: add --op deploy if it is a whole one"
	case part != "":
		note = "-" + part + " applies a part of the stack only: not recorded as a deployment"
	case p.isTrue("refresh-only"):
		return "refresh", "-refresh-only changes nothing but the state: not recorded as a deployment"
	default:
		return opDeploy, ""
	}
	return opApplyPart, note
}

// ProgramName is the base name of a command, without .exe.
func ProgramName(cmd []string) string {
	if len(cmd) == 0 {
		return ""
	}
	base := filepath.Base(cmd[0])
	if ext := filepath.Ext(base); strings.EqualFold(ext, ".exe") {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}

// operationName makes a name of the form [a-z0-9._-]+ that is not one that says
// something of the whole stack: a script called deploy is "cmd-deploy".
func operationName(s string) string {
	const most = 64
	word := false
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
			fallthrough
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			word = true
			return r
		case r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, s)
	switch {
	case !word:
		return "cmd"
	case name == opDeploy || name == opDestroy:
		return "cmd-" + name
	}
	return name[:min(len(name), most)]
}

// foreignNote answers those who expect a command of their own to be a
// deployment.
func foreignNote(base string, cmd []string) string {
	for _, w := range cmd {
		if strings.Contains(w, "apply") || strings.Contains(w, "deploy") {
			return "what " + base + " does is not known: add --op deploy if it applies the whole stack"
		}
	}
	return ""
}

// digest is the variant of a command with these words.
func digest(words []string) string {
	h := sha256.New()
	for _, w := range words {
		h.Write(strconv.AppendInt(nil, int64(len(w)), 10))
		h.Write([]byte{':'})
		h.Write([]byte(w))
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// environment is what the environment adds to a command line of Terraform
// (developer.hashicorp.com/terraform/cli/config/environment-variables).
type environment struct {
	cliArgs   map[string]string // TF_CLI_ARGS*
	workspace string
}

func tfEnv(env []string) environment {
	e := environment{cliArgs: map[string]string{}}
	for _, kv := range env {
		k, v, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
		case k == "TF_WORKSPACE":
			e.workspace = v
		case strings.HasPrefix(k, "TF_CLI_ARGS"):
			e.cliArgs[k] = v
		}
	}
	if e.workspace == "default" {
		e.workspace = ""
	}
	return e
}

// keys are the variables for a subcommand, in the order in which Terraform puts
// their words before those of the command line.
func (environment) keys(sub string) []string {
	if sub == "" {
		return []string{"TF_CLI_ARGS"}
	}
	return []string{"TF_CLI_ARGS_" + sub, "TF_CLI_ARGS"}
}

// args are the arguments that the environment adds to a subcommand, and why they
// could not be understood: then Terraform does not run (main.go, mergeEnvArgs).
func (e environment) args(sub string) (args []string, problem string) {
	for _, k := range e.keys(sub) {
		words, err := splitWords(e.cliArgs[k])
		if err != nil {
			return nil, k + " is not understood"
		}
		args = append(args, words...)
	}
	return args, ""
}

func (e environment) raw(sub string) (words []string) {
	for _, k := range e.keys(sub) {
		words = append(words, k+"="+e.cliArgs[k])
	}
	return words
}

// foreignWords are what a program that calls Terraform may get to see of it, in the form
// of normal.
func (e environment) foreignWords(normal func(options) []string) (words []string) {
	for k, v := range e.cliArgs {
		if args, err := splitWords(v); err == nil {
			if args = normal(parseOptions(args)); len(args) == 0 {
				continue
			}
			v = digest(args)
		} else {
			v = plainText(v)
		}
		words = append(words, k+"="+v)
	}
	slices.Sort(words)
	return words
}

// splitWords is Terraform's and OpenTofu's own way to split: no variable is replaced, no
// command executed, and what is behind an operator of a shell is dropped.
func splitWords(s string) ([]string, error) { return new(shellwords.Parser).Parse(s) }
