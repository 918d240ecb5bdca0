package command

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
	c, known := callOf(ProgramName(cmd), cmd, env)
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

// Applies reports whether a command, run with env, is known to change what is deployed.
func Applies(cmd, env []string) bool {
	c, known := callOf(ProgramName(cmd), cmd, env)
	return known && c.applies()
}

// NamesState reports whether a command, run with env, says itself which file its state is, whatever the backend.
func NamesState(cmd, env []string) bool {
	c, known := callOf(ProgramName(cmd), cmd, env)
	args, _ := tfEnv(env).args(c.sub)
	return known && parseOptions(append(args, c.args...)).firstOf([]string{"state", "state-out"}) != ""
}

// StateList is the command that lists what is in the state that a command of Terraform works on, nil for
// other programs.
func StateList(cmd []string) []string {
	if tool := ProgramName(cmd); tool != "terraform" && tool != "tofu" {
		return nil
	}
	return slices.Concat(cmd[:1], terraformCall(cmd[1:]).global, []string{"state", "list"})
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
	steps := make([]step, len(cmds))
	for i, cmd := range cmds {
		steps[i] = readStep(cmd, env, e)
	}
	s := readSteps(steps)
	op := Operation{Workspace: e.workspace, Legacy: steps[0].Legacy}
	if len(steps) > 1 {
		legacy := make([]string, len(steps))
		for i, st := range steps {
			legacy[i] = st.Legacy
		}
		op.Legacy = digest(legacy)
	}
	op.see(steps, s)
	switch {
	case override != "":
		op.Name = override
	case s.destroy != "":
		op.Name = s.destroy
		if s.deploys > 0 || declared == opDeploy || s.destroy == opDestroyPart {
			op.Note = "a command of the script destroys: the stack does not count as deployed afterwards (add --op deploy if it is)"
		}
	case declared != "":
		op.Name = declared
	case s.deploys > 0 && s.unknown == "" && s.part == "":
		op.Name = opDeploy
	case s.deploys > 0, s.part != "":
		op.Name, op.Note = cmp.Or(s.part, opApplyPart), s.unknown
	default:
		op.Name, op.Note = operationName("script-"+strings.Join(labels, "-")), s.note
	}
	return op
}

// step is one command of a script.
type step struct {
	Operation
	tool    string
	known   bool // of the tools that are known here
	call    call
	options options
	problem string
}

func readStep(cmd, env []string, e environment) step {
	st := step{Operation: recogniseCommand(cmd, env), tool: ProgramName(cmd)}
	st.call, st.known = callOf(st.tool, cmd, env)
	args, problem := e.args(st.call.sub)
	st.options, st.problem = parseOptions(append(args, st.call.args...)), problem
	return st
}

// steps is what the commands of a script do together.
type steps struct {
	deploys       int    // how many commands do
	deployer      int    // the last of them
	destroy, part string // names of operations that change or end what is there
	note, unknown string // of the first command that has one, or is not understood
}

func readSteps(list []step) (s steps) {
	destroyPlanned := false
	for i, st := range list {
		if s.note == "" {
			s.note = st.Note
		}
		switch {
		case st.Name == opDestroy, st.call.sub == "apply" && destroyPlanned && len(st.options.rest) > 0:
			s.destroy = opDestroy
		case st.Name == opDestroyPart:
			if s.destroy == "" {
				s.destroy = opDestroyPart
			}
		case st.Name == opDeploy:
			s.deploys, s.deployer = s.deploys+1, i
		case st.known && slices.Contains(partial, st.Name):
			s.part = st.Name
			if s.unknown == "" {
				s.unknown = st.Note
			}
		case st.known && st.call.harmless(st.problem, st.options):
			destroyPlanned = destroyPlanned || st.call.sub == "plan" && st.options.isTrue("destroy")
		case s.unknown == "" && st.Note != "":
			s.unknown = st.Note
		case s.unknown == "":
			s.unknown = "what " + strings.TrimSpace(st.tool+" "+st.call.sub) + " does is not known: set sync_deployment = true on the command that deploys the whole stack, or add --op deploy"
		}
	}
	return s
}

// see has a script's operation see what its commands see. Of a script with one command that
// deploys, and others that change nothing, it is what that command sees: it is the same
// deployment as that command by itself, unless the script chooses the backend.
func (op *Operation) see(list []step, s steps) {
	var applied []string
	op.terraform = true
	op.stays = len(list) == 1 && list[0].stays
	for _, st := range list {
		op.terraform = op.terraform && st.terraform
		if st.known && st.call.applies() {
			applied = append(applied, st.call.chdir())
		} else if st.known && len(applied) == 0 {
			op.chooses(st)
		}
	}
	op.terraform = op.terraform && !op.Chooses
	if s.deploys == 1 && s.destroy == "" && s.unknown == "" && s.part == "" && !op.Chooses {
		list = list[s.deployer : s.deployer+1]
	}
	op.take(list)
	if len(applied) > 0 {
		op.dirs = applied
	}
}

// chooses takes down where a command of a script has those after it write to.
func (op *Operation) chooses(st step) {
	switch {
	case st.call.sub == "init" && st.options.firstOf([]string{"backend-config"}) != "":
		op.Chooses = true
	case st.call.sub == "workspace" && len(st.call.args) > 0 && (st.call.args[0] == "select" || st.call.args[0] == "new"):
		args := slices.DeleteFunc(slices.Clone(st.call.args[1:]), func(w string) bool { return strings.HasPrefix(w, "-") })
		if op.selects = ""; st.problem == "" && len(args) > 0 {
			op.selects = args[0]
		} else {
			op.Chooses = true
		}
	}
}

// take has the operation see what the commands see together.
func (op *Operation) take(list []step) {
	var made []string // plans
	for i, st := range list {
		if i > 0 {
			op.words = append(op.words, "\x00")
		}
		op.words = append(op.words, st.words...)
		op.dirs = append(op.dirs, st.dirs...)
		if st.terragrunt != (terragruntDirs{}) {
			op.terragrunt = st.terragrunt
		}
		for _, f := range st.files {
			// A plan that the script itself makes is made of what else is seen here.
			if f.kind != KindPlan || !slices.Contains(made, f.name) {
				op.files = append(op.files, f)
			}
		}
		for _, o := range st.options.list {
			if st.call.sub == "plan" && o.name == "out" {
				made = append(made, o.value)
			}
		}
	}
	op.Variant = variantVersion + digest(op.words)
	op.Words = op.Variant
}

// ShowPlan is the command line that shows the saved plan which a command applies, whose last word is the
// plan's file; nil where it applies none, or that is not understood.
func ShowPlan(cmd, env []string) []string {
	tool := ProgramName(cmd)
	c, known := callOf(tool, cmd, env)
	args, problem := tfEnv(env).args(c.sub)
	p := parseOptions(append(args, c.args...))
	if !known || c.sub != "apply" || c.many || problem != "" || c.problem != "" || p.problem != "" || len(p.rest) != 1 || tool == "terragrunt" && len(c.global) > 0 {
		return nil
	}
	return slices.Concat(cmd[:1], c.global, []string{"show", p.rest[0]})
}
