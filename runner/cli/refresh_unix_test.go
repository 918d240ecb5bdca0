//go:build unix

package cli

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// prints is what a command that ends well prints on a terminal, of which no line wraps.
func (w *world) prints(columns int, dir string, argv ...string) string {
	w.Helper()
	e := w.terminal(columns, 50, dir, argv...)
	e.ends(exitOK)
	for line := range strings.Lines(e.output()) {
		if n := ansi.StringWidth(strings.TrimSpace(line)); n > columns {
			w.Errorf("%d columns, not %d: %s", n, columns, line)
		}
	}
	return e.screen() + "\n"
}

// What lists stacks, records and runs fits the terminal, and says what matters.
func TestListsFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/prod-eu-central-1-database", "/app")
	w.script("deploy", `case $PWD in *database) test ! -e "$WORK/full" || { echo "Error: creating the database: the quota of eu-central-1 is used up, and no more can be had" >&2; exit 1; };; esac`)
	w.run("work", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	w.run(".", "touch", w.path("full"))
	w.commit("work", "two")
	w.run("work", "git", "push", "-q")
	if err := w.command("work", "tmnotes", "run", "--op", "deploy", "--", "deploy").Run(); err == nil {
		t.Fatal("it did not fail")
	}
	for _, columns := range []int{60, 100} {
		got := ""
		for _, what := range []string{"status", "log", "runs"} {
			got += "-- " + what + " --\n" + w.prints(columns, "work", "tmnotes", what)
		}
		for _, m := range masks[:len(masks)-2] { // the gaps stay, and all widths
			if !strings.Contains(m.to, "$") {
				got = m.re.ReplaceAllStringFunc(got, func(is string) string { return m.to + strings.Repeat(".", max(len(is)-len(m.to), 0)) })
			}
		}
		gittest.Golden(t, fmt.Sprintf("lists/%d.txt", columns), got)
	}
}

// Where the records are in a ledger, that is what is fetched.
func TestFetchesFirstFromLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a")
	w.script("deploy", "true")
	w.run(".", "git", "init", "-q", "--bare", w.path("ledger.git"))
	w.run(".", "git", "clone", "-q", w.path("work.git"), w.path("other"))
	for _, dir := range []string{"work", "other"} {
		w.run(dir, "git", "remote", "add", "ledger", w.path("ledger.git"))
		w.run(dir, "git", "config", "tmnotes.remote", "ledger")
	}
	w.run("work", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	for _, what := range []string{"status", "log", "runs"} {
		if got := masked(w.prints(200, "other", "tmnotes", what)); !strings.Contains(got, "\nok  ") {
			t.Errorf("%s: %s", what, got)
		}
		if err := os.RemoveAll(w.path("other", ".git", "tmnotes")); err != nil { // it was never fetched
			t.Fatal(err)
		}
		w.run("other", "git", "update-ref", "-d", "refs/notes/tmnotes")
		w.run("other", "git", "update-ref", "-d", "refs/tmnotes/remotes/ledger/tmnotes")
	}
}

// On a terminal what is old is fetched first, unless nobody is to be asked; who does not answer is
// not waited for long.
func TestFetchesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a")
	w.script("deploy", `test ! -e "$WORK/full"`)
	w.run(".", "git", "clone", "-q", w.path("work.git"), w.path("other"))
	w.run("work", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	see := func(want string, argv ...string) {
		t.Helper()
		got := masked(w.prints(200, "other", append([]string{"tmnotes"}, argv...)...))
		if !strings.Contains(got, want) {
			t.Errorf("%q: no %q in\n%s", argv, want, got)
		}
	}
	age := func() {
		t.Helper()
		then := time.Now().Add(-3*time.Hour - time.Minute)
		if err := os.Chtimes(w.path("other", ".git", "tmnotes", "fetched-origin"), then, then); err != nil {
			t.Fatal(err)
		}
	}
	see("never  /a  -  -  never", "status", "--offline")
	if out := w.run("other", "tmnotes", "status"); !strings.Contains(out, "never") {
		t.Error("it fetched without a terminal:", out)
	}
	see("ok  /a  HASH  just now  ok", "status")

	w.run(".", "touch", w.path("full"))
	_ = w.command("work", "tmnotes", "run", "--op", "deploy", "--force", "--", "deploy").Run()
	see("ok  /a  HASH  just now  ok", "status") // it has just been fetched
	age()
	see("tmnotes: as of the last fetch from origin, 3 h ago", "status", "--offline")
	see("ok  TIME  deploy  /a", "log", "--sync", "off")
	if out := w.run("other", "tmnotes", "log"); strings.Contains(out, "failed") || !strings.Contains(out, "3 h ago") {
		t.Error("it fetched without a terminal:", out)
	}
	see("failed  TIME  deploy  /a", "log")
	see("failed  /a  HASH  just now  failed", "status")

	age()
	w.run("other", "git", "remote", "set-url", "origin", w.path("gone.git"))
	see("tmnotes: warning: as of the last fetch from origin, 3 h ago; origin was not found: ", "status")
	// One that takes the call and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.run("other", "git", "remote", "set-url", "origin", fmt.Sprintf("git://%s/x.git", silent.Addr()))
	w.env = append(w.env, "TMNOTES_NETWORK_TIMEOUT=1s")
	see("tmnotes: warning: as of the last fetch from origin, 3 h ago; origin is silent: ", "runs")
	see("failed  /a  HASH  just now  failed", "status")
}

// --watch shows what comes, in a window of any size, until Ctrl-C.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b", "/c", "/d")
	w.script("deploy", `test ! -e "$WORK/full"`)
	w.run(".", "git", "clone", "-q", w.path("work.git"), w.path("other"))
	e := w.terminal(100, 30, "other", "tmnotes", "status", "--watch=1s")
	e.sees(`^never +/a `, `^[\d:]+, every 1s; Ctrl-C ends it$`)
	w.run("work", "tmnotes", "run", "--op", "deploy", "--", "deploy")
	e.sees(`^ok +/a +[0-9a-f]{12} `, `^ok +/d `, `^tmnotes: as of the last fetch from origin, just now$`)
	e.resize(60, 5)
	e.sees(`^… and 3 more lines; [\d:]+, every 1s; Ctrl-C ends it$`)
	e.resize(100, 30)
	// What is broken for a while is shown, and goes.
	if err := os.WriteFile(w.path("other", "a", "broken.tm"), []byte("stack {"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.sees(`^tmnotes: loading the Terramate project: `)
	w.run("other", "rm", "a/broken.tm")
	w.run(".", "touch", w.path("full"))
	_ = w.command("work", "tmnotes", "run", "--op", "deploy", "--force", "--tags", "", "-C", "a", "--", "deploy").Run()
	e.sees(`^failed +/a +[0-9a-f]{12} .* failed `)
	if _, err := e.pty.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	e.ends(exitOK)
	e.sees(`^STATUS +STACK +LIVE`, `^failed +/a `, `^ok +/d `)
	if strings.Contains(e.screen(), "Ctrl-C ends it") {
		t.Errorf("the view is still there:\n%s", e.screen())
	}
	e.clean()
}
