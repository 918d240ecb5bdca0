package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The reason of each error that Terraform printed for us is the same in a box, without one, as JSON, and
// behind what Terragrunt puts before each line; whatever else was printed around it.
func TestReasonOfTerraform(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/reasons.txtar")
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, f := range archive.Files {
		text[f.Name] = string(f.Data)
	}
	led := func(prefix, of string) string {
		return prefix + strings.ReplaceAll(strings.TrimSuffix(of, "\n"), "\n", "\n"+prefix) + "\n"
	}
	const noise = "Releasing state lock. This may take a few moments...\n"
	seen := 0
	for name, want := range text {
		name, is := strings.CutSuffix(name, ".want")
		if !is {
			continue
		}
		seen++
		want = strings.TrimSuffix(want, "\n")
		box, plain := text[name+".box"], text[name+".plain"]
		for form, printed := range map[string]string{
			"in a box": box, "plain": plain, "in a log": noise + box + noise,
			"Terragrunt": led("11:02:33.123 STDERR [prod/vpc] terraform: ", box), "Terragrunt before 0.67": led("[/work/prod/vpc] ", box),
			"Terragrunt's end": "11:02:34.000 ERROR  error occurred:\n\n" + led("  ", box) + "\n  exit status 1\n",
			"Windows":          strings.ReplaceAll(box, "\n", "\r\n"),
		} {
			if got, _ := pickReason([]byte(printed), nil, false, asItIs); got != want {
				t.Errorf("%s, %s: %q, want %q", name, form, got, want)
			}
		}
		// The order of several errors is another one there.
		if json := text[name+".json"]; json != "" && !strings.Contains(want, "more error") {
			if got, _ := pickReason(nil, []byte(json), false, asItIs); got != want {
				t.Errorf("%s, JSON: %q, want %q", name, got, want)
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d errors", seen)
	}
}

func TestDiagnostics(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("abcd ", 50)
	for _, c := range []struct{ name, said, want string }{
		{"a warning is none", "╷\n│ Warning: old\n│ \n│ Error: not this\n╵\n╷\n│ Error: this\n╵\n╷\n│ Warning: old\n╵\n", "Error: this"},
		{"what a command printed within is no other error", "\nError: outer\n\n  with x.y,\n  on a.tf line 3, in x:\n   3: z\n\nOutput: one\nError: inner\n\nError: next\n", "Error: next; 1 more error"},
		{"the same twice is one", "Error: a\nError: a\n", "Error: a"},
		{"the beginning is gone", "│ lost\n│ Error: kept\n╵\n", "Error: kept"},
		{"only the detail", "Error:\nno such bucket\n", "Error: no such bucket"},
		{"a module's file", "╷\n│ Error: S\n│ \n│   on ../modules/m/main.tf line 12, in x \"y\":\n│   12: z\n│ \n│ D.\n╵\n", "Error: S: D (../modules/m/main.tf:12)"},
		{"no file", "╷\n│ Error: S\n│ \n│   on <value for var.n> line 1:\n│   (source code not available)\n│ \n│ D.\n╵\n", "Error: S: D."},
		{"cut at a sentence", "\nError: S\n\n" + long + "end. " + long + "\n", "Error: S: " + long + "end."},
		{"not in the middle of its first half", "\nError: S\n\nNo. " + strings.Repeat("x", 400) + "\n", "Error: S: No. " + strings.Repeat("x", 285) + "…"},
		{"what is wrapped", "╷\n│ Error: S\n│ \n│ the password:\n│ hunter2 is\n│ wrong\n╵\n", "Error: S: the password: *** is wrong"},
		{"cut inside of a secret", "\nError: S\n\n" + strings.Repeat("x", 272) + " password: hunter2\n", "Error: S: " + strings.Repeat("x", 272) + " password: ***"},
	} {
		hide := func(s string) string { return strings.ReplaceAll(s, "password: hunter2", "password: ***") }
		if got, _ := pickReason([]byte(c.said), nil, true, hide); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What is shown of an output is its errors, with the end where that says more, and no more than there is
// room for.
func TestBlock(t *testing.T) {
	t.Parallel()
	box := "╷\n│ Error: S\n│ \n│   on a.tf line 1:\n│    1: x\n│ \n│ D.\n╵\n"
	for _, c := range []struct {
		name, said string
		most       int
		want       string
	}{
		{"nothing", "", 5, ""},
		{"no error: the end", "1\n2\n3\n4\n", 2, "3|4"},
		{"an error and what is about it", "before\n\n\nError: x\nafter\n", 5, "before||Error: x|after"},
		{"far above the end", "Error: x\n" + strings.Repeat("at\n", 50), 3, "Error: x|at|…"},
		{"Terraform's alone", "plan\nplan\n" + box + "Releasing the lock\n", 9, "Error: S||  on a.tf line 1:|   1: x||D."},
		{"the beginning of one that is too long", box, 3, "Error: S||…"},
		{"as many as fit", strings.Repeat(box, 3), 12, "Error: S||  on a.tf line 1:|   1: x||D.|Error: S||  on a.tf line 1:|   1: x||D."},
		{"in colours, overwritten", "\x1b[31mone\x1b[0m\r\nhalf\rwhole\n", 5, "one|whole"},
		{"behind Terragrunt's", "11:02:33.123 STDERR [a] terraform: │ Error: S\n11:02:33.123 STDERR [a] terraform: │ D.\n", 5, "Error: S|D."},
	} {
		lines, source := Block(c.said, c.most)
		if again, _ := Block(source, c.most); !slices.Equal(again, lines) {
			t.Errorf("%q is of %q, of which comes %q", lines, source, again)
		}
		if got := strings.Join(lines, "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
