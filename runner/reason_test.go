package runner

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const terraformError = "\x1b[31m╷\x1b[0m\x1b[0m\n" +
	"\x1b[31m│\x1b[0m \x1b[0m\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1mReference to undeclared resource\x1b[0m\n" +
	"\x1b[31m│\x1b[0m \x1b[0m\n" +
	"\x1b[31m│\x1b[0m \x1b[0m\x1b[0m  on main.tf line 2, in resource \"terraform_data\" \"a\":\n" +
	"\x1b[31m│\x1b[0m \x1b[0m   2:   input = \x1b[4mfoo.bar\x1b[0m\x1b[0m\n" +
	"\x1b[31m╵\x1b[0m\x1b[0m\n"

func asItIs(s string) string { return s }

func TestPickReason(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ß", 400)
	for _, c := range []struct{ name, stderr, stdout, want string }{
		{"nothing", "", "", ""},
		{"blank", "\n \n\t\r\n", "\n", ""},
		{"last line of stderr", "first\nlast\n\n", "out\n", "last"},
		{"stdout if that is all", "", "one\ntwo", "two"},
		{"Terraform's box", terraformError, "", "Error: Reference to undeclared resource (main.tf:2)"},
		{"what went wrong, not where", "╷\n│ Error: local-exec provisioner error\n│ \n│   with terraform_data.x,\n│   on main.tf line 4, in resource \"terraform_data\" \"x\":\n│    4:   provisioner \"local-exec\" {\n│ \n│ Error running command 'exit 7': exit status 7. Output:\n╵\n", "",
			"Error: local-exec provisioner error: Error running command 'exit 7': exit status 7 (main.tf:4)"},
		{"the user's own words", "╷\n│ Error: Resource precondition failed\n│ \n│   on main.tf line 15, in resource \"terraform_data\" \"q\":\n│   15:       condition     = false\n│     ├────────────────\n│     │ var.x is 3\n│ \n│ quota of 3 exceeded\n╵\n", "",
			"Error: Resource precondition failed: quota of 3 exceeded (main.tf:15)"},
		{"the last of several", terraformError + "╷\n│ Error: second\n╵\n", "", "Error: second; 1 more error"},
		{"nothing from behind the box", "╷\n│ Error: second\n╵\nReleasing state lock\n", "", "Error: second"},
		{"an error on stdout before noise on stderr", "exit 1\n", "Error: no way to do this whatever one tries in all these words\nbye\n", "Error: no way to do this whatever one tries in all these words"},
		{"plain error with detail", "Error: bad flags\n\nflag provided but not defined: -foo\n\nFor more help\n", "", "Error: bad flags: flag provided but not defined: -foo"},
		{"detail not needed", "Error: creating DB instance prod-1 in eu-central-1 failed with status 400\n  more\n", "", "Error: creating DB instance prod-1 in eu-central-1 failed with status 400"},
		{"carriage returns", "10%\r50%\rfailed at 51%\r\n", "", "failed at 51%"},
		{"title of the terminal", "\x1b]0;evil\x07boom\x1b[2J\n", "", "boom"},
		{"controls", "a\x00b\x07c\u202ed\u2028e\n", "", "a b cd e"},
		{"not UTF-8", "caf\xe9\n", "", "caf\ufffd"},
		{"too long", long, "", strings.Repeat("ß", 299) + "…"},
	} {
		if got, _ := pickReason([]byte(c.stderr), []byte(c.stdout), false, asItIs); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got, _ := pickReason([]byte("creating…\n"), nil, true, asItIs); got != "" {
		t.Errorf("errors only: %q", got)
	}
}

func FuzzPickReason(f *testing.F) {
	f.Add([]byte(terraformError), []byte("out\n"), false)
	f.Add([]byte("Error:"), []byte("\x1b["), true)
	f.Add([]byte("│ Error: \xff\n│ \x1b]0;"), []byte("a\rb\r"), false)
	f.Fuzz(func(t *testing.T, stderr, stdout []byte, errorsOnly bool) {
		got, _ := pickReason(stderr, stdout, errorsOnly, asItIs)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxReason || strings.TrimSpace(got) != got {
			t.Errorf("%q", got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Errorf("%q has %U", got, r)
			}
		}
		if errorsOnly && got != "" && !strings.HasPrefix(got, "Error:") {
			t.Errorf("%q is no error", got)
		}
	})
}
