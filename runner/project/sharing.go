package project

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/hcl"
	"github.com/terramate-io/terramate/hcl/ast"
	"github.com/terramate-io/terramate/printer"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/json"

	"github.com/tmnotes/tmnotes/runner"
)

// outputs are what a backend's command printed in one stack. They are asked for
// once per Project, as in one run of stock Terramate; a failure is not kept.
type outputs struct {
	mu    sync.Mutex
	known bool
	val   cty.Value
}

type outputsKey struct{ stack, backend string }

// Sharing returns what evaluates the inputs of s from the outputs of other
// stacks, to be called right before the command in s starts: the TF_VAR_…
// variables that `terramate run --enable-sharing` adds to its environment
// (engine/run.go). It is nil for a stack without input blocks.
//
// The sharing backend's command of a stack is run at most once per Project, in
// that stack's folder, and killed when ctx ends. With mockOnFail an input whose
// value cannot be had gets its mock, and a failed command is a warning on
// stderr. Output of the command is not part of an error, for it may be secret.
func (p *Project) Sharing(s runner.Stack, mockOnFail bool) func(ctx context.Context) ([]string, error) {
	tree, st, err := p.config(s)
	if err != nil {
		return func(context.Context) ([]string, error) { return nil, err }
	}
	if len(tree.Node.Inputs) == 0 {
		return nil
	}
	return func(ctx context.Context) ([]string, error) {
		vars, err := p.inputs(ctx, tree, st, mockOnFail)
		if err != nil {
			return nil, oneLine("inputs of stack "+s.Path, err)
		}
		return vars, nil
	}
}

func (p *Project) inputs(ctx context.Context, tree *config.Tree, st *config.Stack, mockOnFail bool) ([]string, error) {
	evalctx, err := p.engine.SetupEvalContext(st.HostDir(p.root()), st, "", map[string]string{})
	if err != nil {
		return nil, err
	}
	// All blocks first: from_stack_id and backend must not see the outputs.
	inputs := make([]config.Input, len(tree.Node.Inputs))
	for i, block := range tree.Node.Inputs {
		if inputs[i], err = config.EvalInput(evalctx, block); err != nil {
			return nil, fmt.Errorf("input %q: %w", block.Name, err)
		}
	}
	vars := make([]string, 0, len(inputs))
	for _, input := range inputs {
		p.mu.Lock() // the engine builds its table of ids on first use
		from, found, err := p.engine.StackManager().StackByID(input.FromStackID)
		p.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", input.Name, err)
		}
		if !found {
			return nil, fmt.Errorf("input %q: no stack has the id %q", input.Name, input.FromStackID)
		}
		backend, ok := tree.SharingBackend(input.Backend)
		if !ok {
			return nil, fmt.Errorf("input %q: sharing_backend %q does not exist", input.Name, input.Backend)
		}
		out, err := p.outputsOf(ctx, from, backend, mockOnFail)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", input.Name, err)
		}
		evalctx.SetNamespaceRaw("outputs", out)
		val, err := input.Value(evalctx)
		if err != nil {
			mock, found, mockErr := input.Mock(evalctx)
			switch {
			case !mockOnFail:
				return nil, fmt.Errorf("input %q: %w", input.Name, err)
			case mockErr != nil:
				return nil, fmt.Errorf("input %q: %w; its mock: %w", input.Name, err, mockErr)
			case !found:
				return nil, fmt.Errorf("input %q has no mock: %w", input.Name, err)
			}
			val = mock
		}
		vars = append(vars, "TF_VAR_"+input.Name+"="+string(ast.TokensForValue(val).Bytes()))
	}
	return vars, nil
}

// outputsOf runs backend's command in the stack from, unless that was done
// before. Callers that come meanwhile wait for it.
func (p *Project) outputsOf(ctx context.Context, from *config.Stack, backend hcl.SharingBackend, mockOnFail bool) (cty.Value, error) {
	key := outputsKey{stack: from.Dir.String(), backend: backend.Name}
	p.mu.Lock()
	out := p.outputs[key]
	if out == nil {
		out = &outputs{}
		p.outputs[key] = out
	}
	p.mu.Unlock()

	out.mu.Lock()
	defer out.mu.Unlock()
	if out.known {
		return out.val, nil
	}
	if len(backend.Command) == 0 {
		return cty.NilVal, fmt.Errorf("sharing_backend %q has no command", backend.Name)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, backend.Command[0], backend.Command[1:]...)
	cmd.Dir = from.HostDir(p.root())
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return cty.NilVal, fmt.Errorf("outputs of stack %s: %w", from.Dir, context.Cause(ctx))
		}
		err = fmt.Errorf("outputs of stack %s: running %q: %w%s", from.Dir, strings.Join(backend.Command, " "), err, lastLine(stderr.Bytes()))
		if !mockOnFail {
			return cty.NilVal, err
		}
		printer.Stderr.Warn(strings.Join(messages(err), "; ") + "; using mocks")
		out.known, out.val = true, cty.NullVal(cty.DynamicPseudoType)
		return out.val, nil
	}
	typ, err := json.ImpliedType(stdout.Bytes())
	if err != nil {
		return cty.NilVal, fmt.Errorf("outputs of stack %s: %q printed no valid JSON: %w", from.Dir, strings.Join(backend.Command, " "), err)
	}
	val, err := json.Unmarshal(stdout.Bytes(), typ)
	if err != nil {
		return cty.NilVal, fmt.Errorf("outputs of stack %s: %q printed no valid JSON: %w", from.Dir, strings.Join(backend.Command, " "), err)
	}
	out.known, out.val = true, val
	return val, nil
}

// lastLine is the last line of text that has anything in it, with a separator.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return ": " + last
	}
	return ""
}
