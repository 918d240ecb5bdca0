//go:build unix

package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What people do in the simulated year, and what is true of the code they write.

// provision stands for a deployment. What it deploys is what a stack is made
// of, read by plain means, and it says so in a ledger outside of all
// repositories: that it begins, and how it ends. It fails where a file
// STACK.now says so, and once where STACK.once does.
const provision = `
take() {
	v=-
	if test -e "$1"; then read -r v <"$1"; fi
	content="$content|$v"
}
stack=/${PWD#"$ROOT"/}
content=
take main.tf; take extra.tf; take data/policy.txt; take uses.tf
set -- $v
shift 2
for module; do take "$ROOT/modules/$module/main.tf"; done
case $stack in /db|/web) take "$ROOT/shared/limits.txt" ;; esac
content="$content|$TF_VAR_env|$TF_VAR_tag"
take local.auto.tfvars; take made.tf
` + yearInit + `
echo "$PIPELINE start $stack $place $content" >>"$WORK/ledger"
test -z "$SLOW" || sleep "$SLOW"
fault=$WORK/faults/$TARGET$stack
if test -e "$fault.now" || { test -e "$fault.once" && rm "$fault.once"; }; then
	echo "$PIPELINE failed $stack $place $content" >>"$WORK/ledger"
	exit 1
fi
mkdir -p "$WORK/states/$place$stack" && echo "$content" >"$WORK/states/$place$stack/state"
echo "$PIPELINE ok $stack $place $content" >>"$WORK/ledger"
`

var (
	yearTargets = []string{"live", "eu", "us"}
	// The stacks, with the stacks they come after. /net/peer is nested.
	yearStacks  = map[string]string{"/net": "", "/net/peer": "", "/db": "/net", "/app": "/db", "/web": "/app", "/jobs": "/db", "/dns": "", "/mon": "/net/peer"}
	yearModules = []string{"base", "vpc", "svc"} // vpc calls base
	yearPaths   []string                         // of the stacks, sorted
)

func init() {
	for s := range yearStacks {
		yearPaths = append(yearPaths, s)
	}
	slices.Sort(yearPaths)
}

// found makes the project, and deploys it everywhere.
func (y *year) found() {
	y.Helper()
	y.run(".", "git", "init", "-q", "--bare", "work.git")
	y.run(".", "git", "clone", "-q", "work.git", "author")
	for s, after := range yearStacks {
		text := fmt.Sprintf("  id = %q\n", "id"+strings.ReplaceAll(s, "/", "-"))
		if after != "" {
			text += fmt.Sprintf("  after = [%q]\n", after)
		}
		if s == "/db" || s == "/web" {
			text += "  watch = [\"/shared/limits.txt\"]\n"
		}
		y.write(s+"/stack.tm", "stack {", text+"}\n")
		y.write(s+"/main.tf", "# 0", "")
		y.write(s+"/data/policy.txt", "# 0", "")
		y.write(s+"/uses.tf", "# + ", "")
	}
	for _, s := range yearPaths { // in an order that is the same again
		y.uses(s)
	}
	for _, m := range yearModules {
		y.write("modules/"+m+"/main.tf", "# 0", "")
	}
	y.write("modules/vpc/main.tf", "# 0", "module \"base\" {\n  source = \"../base\"\n}\n")
	y.write("shared/limits.txt", "# 0", "")
	y.environment("# 0")
	y.write(".gitignore", "# what git does not see", ".terraform/\nlocal.auto.tfvars\nmade.tf\n")
	y.commit("author", "the project")
	y.grown()
	y.author("git", "push", "-q", "-u", "origin", "main")
	y.run(".", "git", "clone", "-q", "--mirror", "work.git", "cache.git")
	y.run(".", "git", "clone", "-q", "cache.git", "ci2")
	y.run("ci2", "git", "config", "remote.origin.pushurl", y.path("work.git"))
	for i, target := range yearTargets {
		if i < 2 {
			y.run(".", "git", "clone", "-q", "work.git", fmt.Sprint("ci", i))
		}
		p := &pipeline{clone: "ci0", target: target}
		if i == 0 {
			y.begin(p, "--init")
		} else {
			y.begin(p)
		}
		y.end(p)
	}
}

// write writes a file of the author's clone, of which the first line is what matters.
func (y *year) write(name, line, rest string) {
	y.Helper()
	name = y.path("author", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(line+"\n"+rest), 0o644)); err != nil {
		y.Fatal(err)
	}
}

// made is what a stack in the author's clone is made of.
func (y *year) made(stack string) (content string) {
	take := func(name string) string {
		b, err := os.ReadFile(y.path("author", name))
		line, _, _ := strings.Cut(string(b), "\n")
		if err != nil {
			line = "-"
		}
		content += "|" + line
		return line
	}
	take(stack + "/main.tf")
	take(stack + "/extra.tf")
	take(stack + "/data/policy.txt")
	for _, m := range strings.Fields(take(stack + "/uses.tf"))[2:] {
		take("modules/" + m + "/main.tf")
	}
	if stack == "/db" || stack == "/web" {
		take("shared/limits.txt")
	}
	take("env.tm")
	return content
}

// uses writes which modules a stack calls. The first line names them, and then
// also those that they call.
func (y *year) uses(stack string) {
	line, all, rest := "# +", "", ""
	for _, m := range yearModules {
		if y.random.IntN(3) > 0 {
			continue
		}
		line += m + "+"
		all += " " + m
		if m == "vpc" && !strings.Contains(all, "base") {
			all += " base"
		}
		rest += fmt.Sprintf("module %q {\n  source = \"%smodules/%s\"\n}\n", m, strings.Repeat("../", strings.Count(stack, "/")), m)
	}
	y.write(stack+"/uses.tf", line+all, rest)
}

// change changes some files; where it changes none of any stack, that is a
// change, too.
func (y *year) change() {
	y.version++
	v := fmt.Sprintf("# %d", y.version)
	stack := yearPaths[y.random.IntN(len(yearPaths))]
	switch y.random.IntN(13) {
	default:
		y.write(stack+"/main.tf", v, "")
	case 0, 1:
		y.write(stack+"/data/policy.txt", v, "")
	case 2:
		y.write(stack+"/extra.tf", v, "")
	case 3:
		_ = os.Remove(y.path("author", stack, "extra.tf"))
	case 4:
		y.uses(stack)
	case 5:
		y.write("modules/base/main.tf", v, "")
	case 6:
		y.write("modules/vpc/main.tf", v, "module \"base\" {\n  source = \"../base\"\n}\n")
	case 7:
		y.write("shared/limits.txt", v, "")
	case 8:
		y.write("README.md", v, "")
	case 9:
		if y.random.IntN(3) == 0 {
			y.environment(v) // everything differs
		}
	}
}

func (y *year) author(argv ...string) string {
	y.Helper()
	return strings.TrimSpace(y.run("author", argv...))
}

// try runs a git command that may end in a conflict, which is then taken back.
func (y *year) try(args ...string) bool {
	y.Helper()
	if y.command("author", append([]string{"git"}, args...)...).Run() == nil {
		return true
	}
	y.author("git", "reset", "-q", "--hard")
	_ = y.command("author", "git", args[0], "--quit").Run()
	return false
}

// grown notes that main has a new commit.
func (y *year) grown() {
	head := y.author("git", "rev-parse", "HEAD")
	if len(y.mains) > 0 && y.mains[len(y.mains)-1] == head {
		return
	}
	y.mains = append(y.mains, head)
	y.truth[head] = map[string]string{}
	for _, s := range yearPaths {
		y.truth[head][s] = y.made(s)
	}
}

// push brings main on, in one of the ways in which people do.
func (y *year) push() {
	y.Helper()
	branch := func() { // of a few commits, begun some time ago
		y.author("git", "checkout", "-q", "-B", "topic", y.mains[max(0, len(y.mains)-1-y.random.IntN(4))])
		for range 1 + y.random.IntN(3) {
			y.change()
			y.commit("author", "topic")
		}
		y.author("git", "checkout", "-q", "main")
	}
	switch y.random.IntN(10) {
	default:
		for range 1 + y.random.IntN(6) {
			y.change()
			y.commit("author", "change")
			y.grown()
		}
	case 0, 1:
		branch()
		if y.try("merge", "-q", "--squash", "topic") {
			y.commit("author", "squashed")
			y.happened["squash merges"]++
		}
	case 2:
		branch()
		if y.try("merge", "-q", "--no-ff", "-m", "merged", "topic") {
			y.happened["merges"]++
		}
	case 3:
		branch()
		if y.try("cherry-pick", "--allow-empty", "topic") {
			y.happened["cherry-picks"]++
		}
	case 4, 5:
		if len(y.mains) < 2 {
			break
		}
		of := max(1, len(y.mains)-1-y.random.IntN(3))
		args := []string{"revert", "--no-edit", y.mains[of]}
		if y.command("author", "git", "rev-parse", "-q", "--verify", args[2]+"^2").Run() == nil {
			args = append(args, "-m", "1")
		}
		if y.try(args...) {
			y.happened["reverts"]++
			y.reverted[of] = append(y.reverted[of], len(y.mains))
		}
	}
	y.grown()
	y.author("git", "push", "-q", "origin", "main")
}

// faults lets some deployments fail from now on, and others not any more.
func (y *year) faults() {
	y.Helper()
	for _, t := range yearTargets {
		for _, s := range yearPaths {
			switch name := y.path("faults", t+s); y.random.IntN(40) {
			case 0:
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name+".now", nil, 0o644)); err != nil {
					y.Fatal(err)
				}
			case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13:
				_ = os.Remove(name + ".now")
			case 14:
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name+".once", nil, 0o644)); err != nil {
					y.Fatal(err)
				}
			}
		}
	}
}
