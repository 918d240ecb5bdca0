package project

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/terramate-io/terramate/globals"
	"github.com/terramate-io/terramate/hcl/ast"
	"github.com/terramate-io/terramate/hcl/eval"
	"github.com/terramate-io/terramate/run"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/tmnotes/tmnotes/runner"
)

// Env returns the whole environment of a command in s: Options.Environ, then
// terramate.config.run.env as run.LoadEnv evaluates it, sorted by name. Later
// entries win, as in [os/exec.Cmd].
func (p *Project) Env(s runner.Stack) ([]string, error) {
	vars, err := p.loadEnv(s, &sync.Map{})
	if err != nil {
		return nil, err
	}
	return append(slices.Clip(p.environ), vars...), nil
}

// Envs returns what [Project.Env] returns for each of stacks, by path. All are
// evaluated before it returns; the error names every stack that has none, so
// that nothing runs where one is wrong.
//
// Stacks without variables of their own share one slice: append to a copy.
func (p *Project) Envs(stacks []runner.Stack) (map[string][]string, error) {
	var (
		vars  = make([][]string, len(stacks))
		errs  = make([]error, len(stacks))
		calls sync.Map
	)
	concurrently(len(stacks), func(i int) { vars[i], errs[i] = p.loadEnv(stacks[i], &calls) })
	environ := slices.Clip(p.environ)
	envs := make(map[string][]string, len(stacks))
	var failed []string
	for i, s := range stacks {
		envs[s.Path] = append(environ, vars[i]...)
		if errs[i] != nil {
			failed = append(failed, errs[i].Error())
		}
	}
	if failed != nil {
		return nil, errors.New(strings.Join(failed, "; "))
	}
	return envs, nil
}

// concurrently calls do with the numbers below n, on all processors, and returns
// when all is done.
func concurrently(n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	wg.Wait()
}

// loadEnv is run.LoadEnv, but for stacks that have no run.env: for those
// LoadEnv evaluates the globals all the same, and fails where one does. Without
// any there is nothing to do; and as long as they call no function, they are
// evaluated without the tables of functions, which take most of the time.
// calls remembers which folders' globals call one.
func (p *Project) loadEnv(s runner.Stack, calls *sync.Map) ([]string, error) {
	tree, st, err := p.config(s)
	if err != nil {
		return nil, err
	}
	hasEnv, hasGlobals, hasCalls := false, false, false
	for up := tree; up != nil; up = up.Parent {
		hasEnv = hasEnv || up.Node.HasRunEnv()
		if !up.Node.HasGlobals() {
			continue
		}
		hasGlobals = true
		known, ok := calls.Load(up)
		if !ok {
			known = callsFunction(up.Node.Globals)
			calls.Store(up, known)
		}
		hasCalls = hasCalls || known.(bool)
	}
	var vars []string
	switch {
	case hasEnv:
		vars, err = run.LoadEnv(p.root(), st)
	case !hasGlobals:
		return nil, nil
	case hasCalls:
		report := globals.ForStack(p.root(), st)
		err = report.AsError()
	default:
		ctx := eval.NewContext(map[string]function.Function{})
		runtime := p.root().Runtime()
		runtime.Merge(st.RuntimeValues(p.root()))
		ctx.SetNamespace("terramate", runtime)
		report := globals.ForDir(p.root(), st.Dir, ctx)
		err = report.AsError()
	}
	if err != nil {
		return nil, oneLine("environment of stack "+s.Path, err)
	}
	return vars, nil
}

// callsFunction reports whether a global in the blocks calls a function, as far
// as can be told: what is not plain HCL syntax may.
func callsFunction(blocks ast.MergedLabelBlocks) bool {
	return anyGlobal(blocks, func(attr ast.Attribute) bool { return exprCalls(attr.Expr) })
}

// anyGlobal reports whether a global in the blocks is such one; what is in a map block may be.
func anyGlobal(blocks ast.MergedLabelBlocks, is func(ast.Attribute) bool) bool {
	for _, block := range blocks {
		if len(block.Blocks) > 0 {
			return true
		}
		for _, attr := range block.Attributes {
			if is(attr) {
				return true
			}
		}
	}
	return false
}

// Eval returns cmd with every argument evaluated as the template of an HCL
// string in s, as `terramate run --eval` does (commands/run, evalRunArgs): with
// the stack's globals and metadata, and terramate.target if target is not empty.
func (p *Project) Eval(s runner.Stack, target string, cmd []string) ([]string, error) {
	_, st, err := p.config(s)
	if err != nil {
		return nil, err
	}
	ctx, err := p.engine.SetupEvalContext(s.Dir, st, target, map[string]string{})
	if err != nil {
		return nil, oneLine("stack "+s.Path+": evaluating the command", err)
	}
	args := make([]string, len(cmd))
	for i, arg := range cmd {
		expr, err := ast.ParseExpression(`"`+arg+`"`, "<cmd arg>")
		if err != nil {
			return nil, oneLine(fmt.Sprintf("stack %s: argument %q is not an HCL template", s.Path, arg), err)
		}
		val, err := ctx.Eval(expr)
		if err != nil {
			return nil, oneLine(fmt.Sprintf("stack %s: evaluating argument %q", s.Path, arg), err)
		}
		if val.IsNull() || !val.IsKnown() || val.Type() != cty.String {
			return nil, fmt.Errorf("stack %s: argument %q is a %s, not a string", s.Path, arg, val.Type().FriendlyName())
		}
		args[i] = val.AsString()
	}
	return args, nil
}
