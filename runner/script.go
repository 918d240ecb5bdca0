package runner

import (
	"cmp"
	"slices"
	"strings"
)

// Subcommands that leave what is deployed as it is, whatever the options but
// those that change the configuration itself.
var (
	// Operations after which what is there is not surely what was deployed.
	partial      = []string{opApplyPart, opStateEdit, "import", "taint", "untaint"}
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
	if c.problem != "" || problem != "" || c.many {
		return false
	}
	// Which workspace it is, is a matter of the place that is deployed to.
	choosing := c.sub == "workspace" && len(c.args) > 0 && slices.Contains([]string{"list", "new", "select", "show"}, c.args[0])
	return harmless[c.sub] && p.firstOf(configWriter) == "" || choosing || c.help || c.version
}

// RecogniseScript is [Recognise] for commands that run one after the other in a
// stack, as those of a Terramate script with these labels. declared is the
// operation that options of the script name (sync_deployment is "deploy",
// sync_drift_status is "drift"), or "".
//
// A destroy among the commands ends a deployment, whatever is declared. Where
// nothing is, they are a deployment if one of them is, and it is known of all
// others that they change nothing. One that applies a part, or that applies and does
// what is not known, ends a deployment and is none. Any other script has a name of
// its own, made of its labels.
func RecogniseScript(labels []string, cmds [][]string, env []string, declared, override string) Operation {
	e := tfEnv(env)
	op := Operation{Workspace: e.workspace}
	var (
		digests        []string
		deploys        bool
		destroy        string // name of the operation
		destroyPlanned bool
		note, unknown  string // of the first command that has one, or is not understood
		part           string // name of the operation that changes a part of what is there
	)
	for _, cmd := range cmds {
		one, words := recogniseCommand(cmd, env)
		digests = append(digests, digest(words))
		tool := programName(cmd)
		c, known := callOf(tool, cmd, env)
		args, problem := e.args(c.sub)
		p := parseOptions(append(args, c.args...))
		if note == "" {
			note = one.Note
		}
		switch {
		case one.Name == opDestroy, c.sub == "apply" && destroyPlanned && len(p.rest) > 0:
			destroy = opDestroy
		case one.Name == opDestroyPart:
			if destroy == "" {
				destroy = opDestroyPart
			}
		case one.Name == opDeploy:
			deploys = true
		case known && slices.Contains(partial, one.Name):
			part = one.Name
			if unknown == "" {
				unknown = one.Note
			}
		case known && c.harmless(problem, p):
			destroyPlanned = destroyPlanned || c.sub == "plan" && p.isTrue("destroy")
		case unknown == "" && one.Note != "":
			unknown = one.Note
		case unknown == "":
			unknown = "what " + strings.TrimSpace(tool+" "+c.sub) + " does is not known: set sync_deployment = true on the command that deploys the whole stack, or add --op deploy"
		}
	}
	op.Variant = digests[0]
	if len(digests) > 1 {
		op.Variant = digest(digests)
	}
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
	case deploys && unknown == "" && part == "":
		op.Name = opDeploy
	case deploys, part != "":
		op.Name, op.Note = cmp.Or(part, opApplyPart), unknown
	default:
		op.Name, op.Note = operationName("script-"+strings.Join(labels, "-")), note
	}
	return op
}
