package cli

import (
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/query"
)

// hintOrphans says what to do about the first stack that is orphaned.
func hintOrphans(u *ui, stacks []query.StackView, target string) {
	i := slices.IndexFunc(stacks, func(x query.StackView) bool { return x.Status == note.Orphaned })
	if i < 0 {
		return
	}
	x, of := stacks[i], ofTarget(target)
	u.Say("orphaned: what it deployed may still be there. To destroy it: tmnotes run --orphaned %s-- terraform init, then tmnotes run --orphaned %s-- terraform destroy (if the record is wrong: tmnotes forget --reason '…' %s--stack %s %s)",
		of, of, of, shellQuote(x.Path), note.Short(x.Deploy.Commit))
}

func ofTarget(target string) string {
	if target == "" {
		return ""
	}
	return "--target " + target + " "
}

// shellQuote is a word as a shell reads it back.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
