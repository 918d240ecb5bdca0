package project

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refLines are refs as lines: what each is, and where it leads from the module
// /modules/m of the stack /a/b.
func refLines(r refs) []string {
	var lines []string
	for _, source := range r.modules {
		lines = append(lines, "module "+source)
	}
	for _, place := range r.computed {
		lines = append(lines, "computed "+place)
	}
	for _, m := range r.files {
		file, ok := m.at("/modules/m", "/a/b", r.locals)
		if !ok {
			file = "nowhere"
		}
		what := "names"
		if m.read {
			what = "reads"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", what, file, m.glob))
	}
	for i, line := range lines {
		lines[i] = line[:len(line)-len(trailing(line))]
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func trailing(line string) string {
	if line[len(line)-1] == ' ' {
		return " "
	}
	return ""
}

func TestReadRefs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, code string
		want       []string
	}{
		{"nothing", "locals {\n  profile = \"x\"\n}\n", nil},
		{"modules", "module \"a\" {\n  source = \"../x\"\n}\nmodule \"b\" {\n  source = \"./y\"\n}\nmodule \"c\" {\n  source = \"hashicorp/x/y\"\n}\n", []string{"module ../x", "module ./y"}},
		{"an escaped source", "module \"a\" {\n  source = \"\\u002e./x\"\n}\n", []string{"module ../x"}},
		{"a computed source", "locals {\n  d = \"x\"\n}\nmodule \"a\" {\n  source = \"${local.d}/m\"\n}\n", []string{`computed 5 "${local.d}/m"`}},
		{"OpenTofu: a variable", "module \"a\" {\n  source  = var.where\n}\n", []string{"computed 2 var.where"}},
		{"a function as source", "module \"a\" {\n  source = join(\"/\", [\"..\", \"m\"])\n}\n", []string{`computed 2 join("/", ["..", "m"])`}},
		{"a source of many lines", "module \"a\" {\n  source = (\n    var.x\n  )\n}\n", []string{"computed 2 ( var.x )"}},
		{"no source", "module \"a\" {\n  source = null\n}\nmodule \"b\" {\n}\n", nil},
		{"functions", `locals {
  a = file("../a.txt")
  b = filebase64("${path.module}/../b.bin")
  c = templatefile("${path.root}/../c.tpl", { x = file("${path.cwd}/d") })
  d = [for f in fileset("${path.module}/../e", "*.yaml") : yamldecode(file("${path.module}/../e/${f}"))]
  e = core::filesha256(("../f"))
  f = file("/etc/passwd")
  g = file("~/.ssh/id.pub")
  h = file(var.x)
  i = file("../../../../outside")
}
`, []string{"names /a/f", "reads /a/a.txt", "reads /a/b/d", "reads /a/c.tpl", "reads /a/f", "reads /modules/b.bin", "reads /modules/e", "reads /modules/e *.yaml", "reads nowhere"}},
		{"ways to write a path", `locals {
  a = file(join("/", [path.module, "..", "a"]))
  b = file("${dirname(path.module)}/b")
  c = file(abspath("${path.module}/../c"))
}
`, []string{"names /modules/c", "reads /modules/a", "reads /modules/b", "reads /modules/c"}},
		{"local values", `locals {
  root   = "${path.module}/../.."
  shared = "${local.root}/shared"
  name   = "x"
}
resource "r" "r" {
  content = file("${local.shared}/a.json")
  other   = file("${local.name}/a.json")
}
`, []string{"names /", "names /shared", "reads /shared/a.json", "reads nowhere"}},
		{"arguments that are paths", "data \"archive_file\" \"f\" {\n  source_dir = \"${path.module}/../../lambda\"\n  output_path = \"../out.zip\"\n}\n", []string{"names /a/out.zip", "names /lambda"}},
		{"only the folder is known", "locals {\n  a = file(\"${path.module}/../policies/p-${each.key}.json\")\n}\n", []string{"reads /modules/policies"}},
		{"JSON", `{"module": {"m": {"source": "../x"}, "n": [{"source": "${var.d}/y"}]}, "locals": {"d": "${path.module}/../d"},
  "resource": {"r": {"r": {"x": "${file(\"${local.d}/e\")}", "//": "../comment", "n": 3}}}}`,
			[]string{`computed 1 "${var.d}/y"`, "module ../x", "names /a/comment", "names /modules/d", "reads /modules/d/e"}},
		{"JSON with escapes", `[{"\u006dodule": [{"m": {"source": "..\/x"}}]}]`, []string{"module ../x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			name := "main.tf"
			if tc.code[0] == '{' || tc.code[0] == '[' {
				name = "main.tf.json"
			}
			found, err := readRefs(name, []byte(tc.code))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, refLines(found)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			text, ok := found.text()
			if diff := cmp.Diff(refLines(found), refLines(keptRefs(text))); !ok || diff != "" {
				t.Errorf("kept as %q (-made +kept):\n%s", text, diff)
			}
		})
	}
	for name, code := range map[string]string{"x.tf": "module \"x\" {", "x.tf.json": `{"module": `, "y.tf.json": `"module"`} {
		if found, err := readRefs(name, []byte(code)); err == nil {
			t.Errorf("%s: %v", code, found)
		}
	}
}
