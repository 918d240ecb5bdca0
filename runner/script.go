package runner

import (
	"slices"
	"strings"
)

// Subcommands that leave what is deployed as it is, whatever the options but
// those that change the configuration itself.
var (
	harmless     = set(`fmt get graph init output plan providers show validate version`)
	configWriter = []string{"from-module", "generate-config-out"}
)

// Harmless reports whether it is known of a command, run with env, that it leaves
// what is deployed as it is: terraform init, validate, plan and the like.
func Harmless(cmd, env []string) bool {
	c, known := callOf(programName(cmd), cmd, env)
	args, problem := tfEnv(env).args(c.sub)
	return known && c.harmless(problem, parseOptions(append(args, c.args...)))
}

// harmless is Harmless of a call with options p, of which problem says what is not
// understood.
func (c call) harmless(problem string, p options) bool {
	return c.problem == "" && problem == "" && !c.many && (harmless[c.sub] && p.firstOf(configWriter) == "" || c.help || c.version)
}

// takeFrom has a script's operation see what its commands see.
func (op *Operation) takeFrom(commands []Operation) {
	var made []string // plans
	for i, one := range commands {
		if i > 0 {
			op.words = append(op.words, "\x00")
		}
		op.words = append(op.words, one.words...)
		op.dirs = append(op.dirs, one.dirs...)
		if one.terragrunt != (terragruntDirs{}) {
			op.terragrunt = one.terragrunt
		}
		for _, f := range one.files {
			// A plan that the script itself makes is made of what else is seen here.
			if f.kind != KindPlan || !slices.Contains(made, f.name) {
				op.files = append(op.files, f)
			}
		}
		for _, w := range one.words {
			if out, is := strings.CutPrefix(w, "-out="); is {
				made = append(made, out)
			}
		}
	}
	op.Variant = variantVersion + digest(op.words)
}

// Applies reports whether a command, run with env, is known to change what is deployed.
func Applies(cmd, env []string) bool {
	c, known := callOf(programName(cmd), cmd, env)
	return known && c.applies()
}

// RecogniseScript is [Recognise] for commands that run one after the other in a
// stack, as those of a Terramate script with these labels. declared is the
// operation that options of the script name (sync_deployment is "deploy",
// sync_drift_status is "drift"), or "".
//
// A destroy among the commands ends a deployment, whatever is declared. Where
// nothing is, they are a deployment if one of them is, and it is known of all
// others that they change nothing. Any other script has a name of its own, made
// of its labels.
func RecogniseScript(labels []string, cmds [][]string, env []string, declared, override string) Operation {
	e := tfEnv(env)
	op := Operation{Workspace: e.workspace, terraform: true}
	var (
		digests        []string
		all            []Operation
		deployer       int // which command deploys
		deployers      int // how many do
		applied        []string
		deploys        bool
		destroy        string // name of the operation
		destroyPlanned bool
		note, unknown  string // of the first command that has one, or is not understood
	)
	for _, cmd := range cmds {
		one := recogniseCommand(cmd, env)
		digests, all = append(digests, one.Legacy), append(all, one)
		tool := programName(cmd)
		c, known := callOf(tool, cmd, env)
		args, problem := e.args(c.sub)
		p := parseOptions(append(args, c.args...))
		if note == "" {
			note = one.Note
		}
		op.terraform = op.terraform && one.terraform
		op.Chooses = op.Chooses || known && c.chooses(p)
		if known && c.applies() {
			applied = append(applied, c.chdir())
		}
		switch {
		case one.Name == opDestroy, c.sub == "apply" && destroyPlanned && len(p.rest) > 0:
			destroy = opDestroy
		case one.Name == opDestroyPart:
			if destroy == "" {
				destroy = opDestroyPart
			}
		case one.Name == opDeploy:
			deploys, deployer, deployers = true, len(all)-1, deployers+1
		case known && c.harmless(problem, p):
			destroyPlanned = destroyPlanned || c.sub == "plan" && p.isTrue("destroy")
		case unknown == "" && one.Note != "":
			unknown = one.Note
		case unknown == "":
			unknown = "what " + strings.TrimSpace(tool+" "+c.sub) + " does is not known: set sync_deployment = true on the command that deploys the whole stack, or add --op deploy"
		}
	}
	op.Legacy = digests[0]
	if len(digests) > 1 {
		op.Legacy = digest(digests)
	}
	if deployers == 1 && destroy == "" && unknown == "" && !op.Chooses {
		op.takeFrom(all[deployer : deployer+1]) // what the others do changes nothing of it
	} else {
		op.takeFrom(all)
	}
	if len(applied) > 0 {
		op.dirs = applied
	}
	op.terraform = op.terraform && !op.Chooses
	switch {
	case override != "":
		op.Name = override
	case destroy != "":
		op.Name = destroy
		if deploys || declared == opDeploy || destroy == opDestroyPart {
			op.Note = "a command of the script destroys: the stack does not count as deployed afterwards (add --op deploy if it is)"
		}
	case declared != "":
		op.Name = declared
	case deploys && unknown == "":
		op.Name = opDeploy
	default:
		op.Name, op.Note = operationName("script-"+strings.Join(labels, "-")), note
		if deploys {
			op.Note = unknown
		}
	}
	return op
}
