package cli

import (
	"cmp"
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
	x := stacks[i]
	name := shellQuote(x.Path)
	if x.ID != "" {
		name = shellQuote(x.ID)
	}
	of := ""
	if target != "" {
		of = "--target " + target + " "
	}
	path := cmp.Or(strings.TrimPrefix(x.Path, "/"), ".")
	u.Say("orphaned: what it deployed may still be there. To destroy it: git checkout %s -- %s && terraform -chdir=%s destroy; then record that: tmnotes mark --op destroy --reason '…' %s%s (and if the record is wrong: tmnotes forget --reason '…' %s--stack %s %s)",
		note.Short(x.Gone.Last), shellQuote(path), shellQuote(path), of, name, of, shellQuote(x.Path), note.Short(x.Deploy.Commit))
}

// shellQuote is a word as a shell reads it back.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
