package command

import (
	"path/filepath"
	"strings"
	"testing"
)

// A file of the commit is the same on Windows, where git may have put other ends on its lines.
func TestCommittedText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ system, text, want string }{
		{"windows", "a = 1\r\nb = 2\r\n", "a = 1\nb = 2\n"},
		{"windows", "a = 1\nb = \"\r\"\n", "a = 1\nb = \"\r\"\n"},
		{"windows", "\x00\r\n", "\x00\r\n"}, // git leaves it alone as well
		{"linux", "a = 1\r\n", "a = 1\r\n"},
		{"darwin", "a = 1\r\n", "a = 1\r\n"},
	} {
		if got := string(committedText([]byte(tc.text), tc.system)); got != tc.want {
			t.Errorf("%s: %q is %q", tc.system, tc.text, got)
		}
	}
}

// What was recorded of files is found again, on whatever system, however the path was typed.
func TestValuesFoundAgain(t *testing.T) {
	t.Parallel()
	root := write(t, map[string]string{"env/a.tfvars": "a = 1", "s/main.tf": "", "s/sub/b.tfvars": "b = 1", "s/sub/c.auto.tfvars": "c = 1"})
	r := NewReader(root, func(string) (bool, error) { return false, nil })
	for _, typed := range []string{
		"terraform apply -var-file=" + filepath.Join(root, "env", "a.tfvars"),
		"terraform apply -var-file=" + filepath.Join("..", "env", "a.tfvars"),
		"terraform -chdir=sub apply -var-file=b.tfvars",
	} {
		op, _, err := r.Look(Recognise(strings.Fields(typed), nil, ""), Surroundings{Dir: filepath.Join(root, "s")})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(op.Values, ".tfvars") || strings.Contains(op.Values, `\`) || strings.Contains(op.Values, missing) {
			t.Errorf("%s: %s", typed, op.Values)
		}
		if seen, _, err := r.Seen(op.Values, filepath.Join(root, "s")); err != nil || seen != op.Values {
			t.Errorf("%s: recorded %s, seen again %s, %v", typed, op.Values, seen, err)
		}
	}
}
