//go:build unix

package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Killed while real Terraform destroys the second of three, and typed again: what is destroyed is not run
// again, what was half-way is finished, and nothing is left behind.
func TestOrphanedKilled(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to kill a session")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(err)
	}
	w := newWorld(t)
	w.makeProject("work", true, "/keep", "/a", "/b:/a", "/c:/b")
	w.script("terraform", `case " $* " in *" destroy "*) echo "/${PWD##*/}" >>"$WORK/ran" ;; esac
exec "$REAL_TERRAFORM" "$@"
`)
	hang := "resource \"terraform_data\" \"hang\" {\n  depends_on = [terraform_data.x]\n}\nresource \"terraform_data\" \"later\" {\n  provisioner \"local-exec\" {\n    when = destroy\n" +
		"    command = \"! test -e $WORK/hang || { touch $WORK/up; sleep 600; }\"\n  }\n}\nresource \"terraform_data\" \"first\" {\n  input = terraform_data.later.id\n}\n"
	file := w.path("work", "b", "hang.tf")
	if err := os.WriteFile(file, []byte(hang), 0o644); err != nil {
		t.Fatal(err)
	}
	w.commit("work", "hang")
	w.run("work", "git", "push", "-q")
	w.run("work", "tmnotes", "run", "--", "terraform", "init", "-input=false")
	w.run("work", "tmnotes", "run", "--", "terraform", "apply", "-auto-approve", "-input=false")
	w.run("work", "git", "rm", "-qr", "a", "b", "c")
	w.commit("work", "removed")
	w.run("work", "git", "push", "-q")
	w.run("work", "tmnotes", "run", "--orphaned", "--", "terraform", "init", "-input=false")
	if err := os.WriteFile(w.path("hang"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	destroy := []string{"tmnotes", "run", "--orphaned", "--lease", "5s", "--", "terraform", "destroy", "-auto-approve", "-input=false"}
	cmd := w.command("work", destroy...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the destroy of /b", w.exists("up"))
	killSession(w, cmd)
	if err := os.Remove(w.path("hang")); err != nil {
		t.Fatal(err)
	}
	if got := w.ran(); !slices.Equal(got, []string{"/b", "/c"}) {
		t.Fatalf("before it was killed, %v were executed", got)
	}
	if out := w.run("work", "tmnotes", "status", "--status", "orphaned"); strings.Contains(out, "/c ") || !strings.Contains(out, "/b ") || !strings.Contains(out, "/a ") {
		t.Fatalf("after it was killed:\n%s", out)
	}
	w.run("work", destroy...)
	if got := w.ran(); !slices.Equal(got, []string{"/a", "/b"}) {
		t.Fatalf("typed again, %v were executed", got)
	}
	for _, stack := range []string{"a", "b", "c"} {
		if state, err := os.ReadFile(w.path("work", stack, "terraform.tfstate")); err != nil || !strings.Contains(string(state), `"resources": []`) {
			t.Errorf("%s: %v\n%s", stack, err, state)
		}
	}
	if trees, _ := filepath.Glob(w.path("work", ".git", "tmnotes", "orphaned", "*")); len(trees) > 0 {
		t.Errorf("left behind: %v", trees)
	}
	if out := w.run("work", "tmnotes", "status"); strings.Contains(out, "orphaned") {
		t.Errorf("in the end:\n%s", out)
	}
	w.run("work", destroy...)
	if got := w.ran(); len(got) > 0 {
		t.Errorf("once all is destroyed, %v were executed", got)
	}
}

// Whatever became of stacks, with ids and without: none that HEAD has is destroyed, by its id or its path,
// none twice, and none before what depends on it.
func TestOrphanedNeverHeads(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			orphanedAtRandom(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func orphanedAtRandom(t *testing.T, r *rand.Rand) {
	w := newWorld(t)
	w.project("work", "/keep")
	w.script("destroy", `echo "$(sed -n 's/.*id *= *"\(.*\)"/\1/p' stack.tm)@${PWD#*/tmnotes/orphaned/*/}" >>"$WORK/ran"; test ! -e "$WORK/fail"`+"\n")
	type stack struct{ id, after string }
	head := map[string]stack{} // by folder
	write := func() {
		w.run("work", "sh", "-c", "git ls-files | grep -v '^keep\\|^.gitignore' | xargs -r git rm -qf --")
		for dir, s := range head {
			text := "stack {\n"
			if s.id != "" {
				text += fmt.Sprintf("  id = %q\n", s.id)
			}
			if s.after != "" {
				text += fmt.Sprintf("  after = [\"/%s\"]\n", s.after)
			}
			if err := os.MkdirAll(w.path("work", dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(w.path("work", dir, "stack.tm"), []byte(text+"}\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		w.commit("work", "a step")
		w.run("work", "git", "push", "-q")
	}
	dirs := []string{"a", "b", "c", "d"}
	destroyed, made := map[string]bool{}, 0
	for step := range 8 {
		for range 1 + r.IntN(3) {
			dir := dirs[r.IntN(len(dirs))]
			switch _, is := head[dir]; {
			case !is:
				s := stack{after: dirs[r.IntN(len(dirs))]}
				if s.after >= dir {
					s.after = ""
				}
				if r.IntN(3) > 0 {
					made++ // one may be made again in the step in which the first one moved
					s.id = fmt.Sprintf("id-%d-%s", made, dir)
				}
				head[dir] = s
			case r.IntN(4) == 0: // it moves
				to := dirs[r.IntN(len(dirs))]
				if _, is := head[to]; !is {
					head[to] = stack{id: head[dir].id}
					delete(head, dir)
				}
			default:
				delete(head, dir)
			}
		}
		write()
		if r.IntN(3) > 0 {
			w.run("work", "tmnotes", "run", "--pending", "--init", "--op", "deploy", "--", "true")
			for _, s := range head { // what is deployed again may be destroyed again
				delete(destroyed, s.id)
			}
			for dir := range head {
				delete(destroyed, "@"+dir)
			}
		}
		if r.IntN(2) == 0 {
			continue
		}
		_ = w.command("work", "tmnotes", "run", "--orphaned", "--op", "destroy", "--", "destroy").Run()
		for _, ran := range w.ran() {
			id, dir, _ := strings.Cut(ran, "@")
			if _, is := head[dir]; is {
				t.Fatalf("step %d: %s was destroyed, and HEAD has a stack there", step, ran)
			}
			for at, s := range head {
				if id != "" && s.id == id {
					t.Fatalf("step %d: %s was destroyed, and HEAD has it at /%s", step, ran, at)
				}
				if s.after == dir {
					t.Fatalf("step %d: %s was destroyed, and /%s depends on it", step, ran, at)
				}
			}
			key := id
			if id == "" {
				key = "@" + dir
			}
			if destroyed[key] {
				t.Fatalf("step %d: %s was destroyed twice", step, ran)
			}
			destroyed[key] = true
		}
	}
	// Once there is nothing else, all of it goes.
	clear(head)
	write()
	said, _ := w.command("work", "tmnotes", "run", "--orphaned", "--op", "destroy", "--", "destroy").CombinedOutput()
	for line := range strings.Lines(w.run("work", "tmnotes", "status", "--status", "orphaned")) {
		f := strings.Fields(line)
		untold := strings.Contains(string(said), "a stack without an id was deployed at its path later") // and what that depends on
		if f[0] == "orphaned" && !(untold && strings.Contains(string(said), f[1]+" is not destroyed: ")) {
			t.Errorf("in the end: %s\n%s", line, said)
		}
	}
}
