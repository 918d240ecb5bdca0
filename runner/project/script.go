package project

import (
	"errors"
	"fmt"
	"strings"

	"github.com/terramate-io/terramate/commands/script"
	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/globals"
	"github.com/terramate-io/terramate/hcl"
	"github.com/terramate-io/terramate/hcl/eval"
	"github.com/terramate-io/terramate/stdlib"
	"github.com/zclconf/go-cty/cty"

	"github.com/tmnotes/tmnotes/runner"
)

// A Script is one definition of a Terramate script, and what it comes to in the
// stacks that it is for: those in and below its folder, but for those that have
// a definition of the same labels nearer to them.
type Script struct {
	Index  int                        // Terramate's number of the definition, from 0
	Place  string                     // where it is defined: "/prod/script.tm:2,5-10,6"
	Jobs   int                        // how many it has
	Stacks map[string][]ScriptCommand // by path; of all jobs, in order
}

// A ScriptCommand is a command of a [Script] in one stack, with those of its
// options that matter here.
type ScriptCommand struct {
	Args     []string
	Job, Num int // of the job, and of the command in it, from 0

	SyncDeployment, SyncDriftStatus bool
	// ChangesOK says that Terramate takes exit code 2 for a success: with
	// sync_drift_status, and with sync_preview and a plan file.
	ChangesOK                 bool
	EnableSharing, MockOnFail bool
}

// Scripts returns the definitions of the script with these labels that are for
// any of stacks, with all their commands evaluated, as `terramate script run`
// does before it executes the first (commands/script/run): with the stack's
// globals and metadata, the script's lets, the environment, and
// terramate.target if target is not empty. Stacks without the script are in none.
//
// It is an error where no folder of the project has a script with these labels,
// where the scripts experiment is not enabled, and, as in stock, where targets are enabled and there is no target.
func (p *Project) Scripts(labels []string, target string, stacks []runner.Stack) ([]Script, error) {
	name := strings.Join(labels, " ")
	if !p.root().HasExperiment(script.ExperimentName) {
		return nil, errors.New(`the "scripts" feature is not enabled: set terramate.config.experiments = ["scripts"]`)
	}
	if err := p.NeedsTarget(target); err != nil {
		return nil, err
	}
	selected := make(config.List[*config.SortableStack], len(stacks))
	for i, s := range stacks {
		_, st, err := p.config(s)
		if err != nil {
			return nil, err
		}
		selected[i] = st.Sortable()
	}
	m := script.NewMatcher(labels)
	m.Search(p.root(), selected)
	if len(m.Results) == 0 {
		hint := "`terramate script list` lists them"
		if strings.Contains(name, " -") {
			hint = "what follows the first label is another label, so flags go before it"
		}
		return nil, fmt.Errorf("script not found: %s (%s)", name, hint)
	}
	var scripts []Script
	var failed []string
	for i, found := range m.Results {
		if len(found.Stacks) == 0 {
			continue
		}
		s := Script{Index: i, Place: found.ScriptCfg.Range.String(), Jobs: len(found.ScriptCfg.Jobs), Stacks: map[string][]ScriptCommand{}}
		commands := make([][]ScriptCommand, len(found.Stacks))
		errs := make([]error, len(found.Stacks))
		concurrently(len(found.Stacks), func(i int) {
			commands[i], errs[i] = p.script(found.ScriptCfg, found.Stacks[i].Stack, target)
		})
		for i, st := range found.Stacks {
			if errs[i] != nil {
				failed = append(failed, oneLine("script "+name+" in stack "+st.Dir().String(), errs[i]).Error())
			}
			s.Stacks[st.Dir().String()] = commands[i]
		}
		scripts = append(scripts, s)
	}
	// A mistake in a script is one in every stack that has it.
	switch len(failed) {
	case 0:
		return scripts, nil
	case 1:
		return nil, errors.New(failed[0])
	}
	return nil, fmt.Errorf("%s (and %d more stacks)", failed[0], len(failed)-1)
}

// script evaluates a script in a stack.
func (p *Project) script(def *hcl.Script, st *config.Stack, target string) ([]ScriptCommand, error) {
	known := globals.ForStack(p.root(), st)
	if err := known.AsError(); err != nil {
		return nil, err
	}
	runtime := p.root().Runtime()
	runtime.Merge(st.RuntimeValues(p.root()))
	if target != "" {
		runtime["target"] = cty.StringVal(target)
	}
	ctx := eval.NewContext(stdlib.Functions(st.HostDir(p.root()), p.root().Tree().Node.Experiments()))
	ctx.SetNamespace("terramate", runtime)
	ctx.SetNamespace("global", known.Globals.AsValueMap())
	ctx.SetEnv(p.environ)
	evaluated, err := config.EvalScript(ctx, *def)
	if err != nil {
		return nil, err
	}
	var commands []ScriptCommand
	for job, j := range evaluated.Jobs {
		for num, c := range j.Commands() {
			if len(c.Args) == 0 || c.Args[0] == "" {
				return nil, fmt.Errorf("command %d.%d names no program", job, num)
			}
			cmd := ScriptCommand{Args: c.Args, Job: job, Num: num}
			if o := c.Options; o != nil {
				cmd.SyncDeployment, cmd.SyncDriftStatus = o.CloudSyncDeployment, o.CloudSyncDriftStatus
				cmd.ChangesOK = o.CloudSyncDriftStatus || o.CloudSyncPreview && o.CloudTerraformPlanFile+o.CloudTofuPlanFile != ""
				cmd.EnableSharing, cmd.MockOnFail = o.EnableSharing, o.MockOnFail
			}
			commands = append(commands, cmd)
		}
	}
	return commands, nil
}

// ScriptLabels are the labels of all scripts that the project defines, each once.
func (p *Project) ScriptLabels() (all [][]string) {
	seen := map[string]bool{}
	var walk func(tree *config.Tree)
	walk = func(tree *config.Tree) {
		for _, s := range tree.Node.Scripts {
			if name := s.AccessorName(); !seen[name] {
				seen[name] = true
				all = append(all, s.Labels)
			}
		}
		for _, child := range tree.Children {
			walk(child)
		}
	}
	walk(p.root().Tree())
	return all
}
