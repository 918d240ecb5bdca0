package project

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/terramate-io/hcl/v2/hclparse"
	"github.com/terramate-io/hcl/v2/hclsyntax"
	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/hcl"
	"github.com/terramate-io/terramate/hcl/ast"
	"github.com/terramate-io/terramate/run"
	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/runner"
)

// The order, and what comes before what, are those of run.BuildDAGFromStacks
// for any selection of any project.
func TestGraphIsThatOfTerramate(t *testing.T) {
	t.Parallel()
	base := tempDir(t)
	n, cycles, edges := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		root := fmt.Sprintf("%s/p%d", base, n)
		g := newProject(rapid.Int64Range(0, 1<<40).Draw(rt, "seed"))
		write(t, root, g.files)
		p := load(t, root, false)
		all, err := p.All()
		if err != nil {
			rt.Fatal(err)
		}
		stacks := slices.DeleteFunc(all, func(runner.Stack) bool { return rapid.IntRange(0, 3).Draw(rt, "out") == 0 })
		rand.New(rand.NewSource(1)).Shuffle(len(stacks), func(i, j int) { stacks[i], stacks[j] = stacks[j], stacks[i] })

		// Twice, and before BuildDAGFromStacks, which writes into the stacks.
		graph, err := p.Graph(stacks)
		if again, errAgain := p.Graph(stacks); !sameError(err, errAgain) || err == nil && !slices.Equal(graph.Order(), again.Order()) {
			rt.Fatalf("the second Graph differs: %v, %v", err, errAgain)
		}
		var items []*config.Stack
		for _, s := range stacks {
			_, st, err := p.config(s)
			if err != nil {
				rt.Fatal(err)
			}
			items = append(items, st)
		}
		want, reason, wantErr := run.BuildDAGFromStacks(p.root(), items, func(st *config.Stack) *config.Stack { return st })
		if (err != nil) != (wantErr != nil) {
			rt.Fatalf("Terramate %v %s, here %v", wantErr, reason, err)
		}
		if err != nil {
			cycles++
			var cycle *runner.CycleError
			if !errors.As(err, &cycle) || len(cycle.Path) < 2 {
				rt.Fatalf("no CycleError: %v", err)
			}
			return
		}
		var order []string
		for _, id := range want.Order() {
			order = append(order, string(id))
		}
		if diff := cmp.Diff(order, append([]string(nil), graph.Order()...)); diff != "" {
			rt.Fatalf("order (-Terramate +here):\n%s", diff)
		}
		wantBefore, gotBefore := map[string][]string{}, map[string][]string{}
		for _, id := range want.Order() {
			var direct []string
			for _, a := range want.AncestorsOf(id) {
				direct = append(direct, string(a))
			}
			wantBefore[string(id)] = before(direct, wantBefore)
			gotBefore[string(id)] = before(graph.Predecessors(string(id)), gotBefore)
			edges += len(direct)
		}
		if diff := cmp.Diff(wantBefore, gotBefore); diff != "" {
			rt.Fatalf("what comes before (-Terramate +here):\n%s", diff)
		}
	})
	t.Logf("%d projects, %d with cycles, %d edges", n, cycles, edges)
	if !t.Failed() && (cycles == 0 || cycles > n*3/4 || edges < n) {
		t.Errorf("the projects are too much alike: %d, %d with cycles, %d edges", n, cycles, edges)
	}
}

func sameError(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

func before(direct []string, known map[string][]string) []string {
	all := []string{}
	for _, d := range direct {
		all = append(append(all, d), known[d]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestGraphUnknownStack(t *testing.T) {
	t.Parallel()
	p := load(t, repo(t, map[string]string{"a/stack.tm": "stack {\n}\n"}), false)
	for _, path := range []string{"/b", "", "a", "/"} {
		if _, err := p.Graph([]runner.Stack{{Path: path}}); err == nil || !strings.Contains(err.Error(), "not in the project") {
			t.Errorf("Graph of %q: %v", path, err)
		}
	}
}

// Reading a stack block fast gives what Terramate's own handler gives, or
// leaves it alone.
func TestLiteralStack(t *testing.T) {
	t.Parallel()
	literal, other := 0, 0
	strs := []string{`"a"`, `"a b"`, `"\u00e9\n"`, `"x${1}"`, `"$${x}"`, `""`, `1`, `null`, `tm_upper("a")`, `true`, "<<EOT\nhi\nEOT\n", `"${null}"`, `x.y`, `["a", "a"]`, `[]`}
	value := rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "set") {
			n := rapid.IntRange(0, 3).Draw(t, "n")
			var elems []string
			for range n {
				elems = append(elems, rapid.SampledFrom([]string{`"a"`, `"b"`, `"/c/d"`, `"tag:x"`, `1`, `"x${1}"`, `null`, `["a"]`, `tm_upper("a")`}).Draw(t, "elem"))
			}
			return "[" + strings.Join(elems, ", ") + "]"
		}
		return rapid.SampledFrom(strs).Draw(t, "string")
	})
	dir := tempDir(t)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"id", "name", "description", "tags", "after", "before", "wants", "wanted_by", "watch", "bogus", "from_bundle_file"}), 0, 5, rapid.ID).Draw(t, "names")
		var b strings.Builder
		b.WriteString("stack {\n")
		for _, name := range names {
			v := value.Draw(t, name)
			// Mostly what is valid there, or nothing would be read.
			if rapid.IntRange(0, 4).Draw(t, "valid") > 0 {
				v = `"ok"`
				if name != "id" && name != "name" && name != "description" {
					v = rapid.SampledFrom([]string{`["ok", "/fine"]`, `["ok"]`, `["twice", "twice"]`}).Draw(t, "fine")
				}
			}
			fmt.Fprintf(&b, "  %s = %s\n", name, strings.TrimSuffix(v, "\n"))
		}
		if rapid.IntRange(0, 9).Draw(t, "block") == 0 {
			b.WriteString("  nested {\n  }\n")
		}
		b.WriteString("}\n")

		parse := func(opts ...hcl.Option) (*hcl.Stack, string) {
			p, err := hcl.NewTerramateParser(dir, dir, opts...)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.AddFileContent(dir+"/stack.tm", []byte(b.String())); err != nil {
				t.Fatal(err)
			}
			if _, err = p.ParseConfig(); err != nil {
				return nil, err.Error()
			}
			return p.ParsedConfig.Stack, ""
		}
		want, wantErr := parse()
		got, gotErr := parse(parserOptions())
		if diff := cmp.Diff(want, got); diff != "" || wantErr != gotErr {
			t.Fatalf("%s\nTerramate %s, here %s (-Terramate +here):\n%s", b.String(), wantErr, gotErr, diff)
		}
		if file, diags := hclparse.NewParser().ParseHCL([]byte(b.String()), dir+"/stack.tm"); !diags.HasErrors() {
			body := file.Body.(*hclsyntax.Body)
			if _, ok := literalStack(ast.NewBlock(dir, body.Blocks[0])); ok {
				literal++
			} else {
				other++
			}
		}
	})
	if !t.Failed() && (literal == 0 || other == 0) {
		t.Errorf("%d blocks were read fast and %d not: one of the two is not tested", literal, other)
	}
}
