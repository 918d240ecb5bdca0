//go:build unix

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// breaks is a deployment that fails in one stack as Terraform does, with more to say than fits on a screen.
const breaks = `
echo "deploying ${PWD##*/}"
case ${PWD##*/} in m) ;; *) exit 0 ;; esac
i=0
while test $i -lt 60; do i=$((i+1)); echo "terraform_data.x: Still creating... [${i}0s elapsed]"; done
cat >&2 <<END
╷
│ Error: Resource precondition failed
│ 
│   on main.tf line 9, in resource "terraform_data" "database_of_the_shop":
│    9:       condition     = var.quota_for_databases_of_this_account > 0
│     ├────────────────
│     │ var.quota_for_databases_of_this_account is 0
│ 
│ the quota for databases is used up. Ask the platform team, which has more
│ of it, and say for which account.
╵
END
exit 1
`

// broken makes a project of 26 stacks, of which one fails and blocks some.
func (w *world) broken() {
	w.Helper()
	var stacks []string
	for _, s := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		if strings.Contains("npqr", s) {
			s += ":/m"
		}
		stacks = append(stacks, "/"+s)
	}
	w.project("work", stacks...)
	w.script("breaks", breaks)
}

// One of 26 stacks has failed: what is left on the screen, however small it is, names it, says why in
// the words of the error, and what to type.
func TestEnding(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{60, 20}, {100, 30}} {
		for _, j := range []string{"-j1", "-j8"} {
			name := fmt.Sprintf("%dx%d", size[0], size[1])
			t.Run(name+j, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.broken()
				e := w.terminal(size[0], size[1], "work", "tmnotes", "run", j, "--sync=off", "--op", "deploy", "--", "breaks")
				e.ends(exitFailed)
				got := e.screen()
				for _, want := range []string{`(?m)^failed +/m `, `(?m)^tmnotes: next: tmnotes show --log /m$`} {
					if !regexp.MustCompile(want).MatchString(got) {
						t.Errorf("there is no %s in\n%s", want, got)
					}
				}
				if !strings.Contains(strings.Join(strings.Fields(got), " "), "Error: Resource precondition failed: the quota for databases is used up.") {
					t.Errorf("the error is not there:\n%s", got)
				}
				end := got[max(strings.Index(got, "\nfailed ")+1, 0):]
				end = masked(strings.Replace(end, " run "+j+" ", " run -jN ", 1))
				gittest.Golden(t, "live/"+name+".txt", end+"\n")
				e.clean()
			})
		}
	}
}

// How a run ends in a job's log, and what stands of it in the middle: the group of what failed is open, or
// was shut before that was known; the annotation says where.
func TestEndingInJobs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, env, j string }{
		{"github", "GITHUB_ACTIONS=true", "-j1"}, {"github-parallel", "GITHUB_ACTIONS=true", "-j2"}, {"gitlab", "GITLAB_CI=true", "-j1"},
		{"gitlab-parallel", "GITLAB_CI=true", "-j2"}, {"plain", "X=1", "-j1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/infra/a", "/infra/m:/infra/a", "/infra/z:/infra/m")
			if tt.name == "plain" { // two pipes are read side by side
				w.script("breaks", "exec 1>&2\n"+breaks)
			} else {
				w.script("breaks", breaks)
			}
			w.env = append(slices.Clip(w.env), tt.env)
			cmd := w.command("work", "tmnotes", "run", tt.j, "--sync=off", "--op", "deploy", "--", "breaks")
			out, _ := cmd.CombinedOutput()
			got := masked(strings.ReplaceAll(string(out), w.path("work"), "$WORK"))
			got = regexp.MustCompile(`section_(start|end):\d+:`).ReplaceAllString(got, "section_$1:TIME:")
			got = regexp.MustCompile(`(Still creating.*\n)(.*Still creating.*\n)+`).ReplaceAllString(got, "$1(and so on)\n")
			gittest.Golden(t, "output/end-"+tt.name+".txt", strings.NewReplacer("\x1b", `\e`, "\r", `\r`).Replace(got))
			if code := cmd.ProcessState.ExitCode(); code != exitFailed {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// README's session is what the program prints, but for what it says that it leaves out.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "```console\n$ ")
	text, _, _ = strings.Cut(text, "```")
	w := newWorld(t)
	w.project("work", "/prod/vpc", "/prod/dns", "/prod/db:/prod/vpc", "/prod/app:/prod/db")
	w.run("work", "git", "commit", "-q", "--amend", "-m", "add prod")
	w.run("work", "git", "push", "-qf", "origin", "main")
	w.script("terraform", `
case ${PWD##*/} in db) ;; *) exit 0 ;; esac
test ! -e "$WORK/quota" || exit 0
cat >&2 <<END
╷
│ Error: Resource precondition failed
│ 
│   on main.tf line 12, in resource "terraform_data" "db":
│   12:       condition     = fileexists(local.quota)
│ 
│ the quota for databases is used up
╵
END
exit 1
`)
	dirs, sessions := []string{"work", w.clones(1)[0]}, strings.Split(text, "\n$ ")
	if len(sessions) != len(dirs) {
		t.Fatalf("%d commands", len(sessions))
	}
	for i, session := range sessions {
		line, want, _ := strings.Cut(session, "\n")
		words, err := shlex.Split(line)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := w.command(dirs[i], words...).CombinedOutput()
		got := masked(string(out))
		for line := range strings.Lines(masked(want)) {
			_, after, found := strings.Cut("\n"+got, "\n"+strings.TrimRight(line, "\n")+"\n")
			if !found {
				t.Errorf("README has, and tmnotes does not print (any more, or in this order): %s%s", line, out)
				break
			}
			got = after
		}
		w.run(".", "touch", "quota") // somebody raises it
	}
}
