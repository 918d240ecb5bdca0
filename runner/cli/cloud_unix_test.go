//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// newCloudWorld is a world with the stock terramate in its PATH and a project
// in work, whose remote has a URL that terramate's cloud features take.
func newCloudWorld(t *testing.T, stacks ...string) *world {
	t.Helper()
	w := newWorld(t)
	if err := os.Symlink(stockTerramate(t), w.path("bin", "terramate")); err != nil {
		t.Fatal(err)
	}
	w.project("work", stacks...)
	w.run("work", "git", "remote", "set-url", "origin", "ssh://git.example"+w.path("work.git"))
	return w
}

// exits runs a command that is to end with an exit code, and returns what it
// printed.
func (w *world) exits(want int, cmd *exec.Cmd) string {
	w.Helper()
	var out syncBuffer
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = &out, &out
	}
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		w.Errorf("%s: exit code %d, not %d (%v)\n%s", strings.Join(cmd.Args, " "), code, want, err, out.String())
	}
	return out.String()
}

var cloudDeploy = []string{"tmnotes", "cloud", "--", "terramate", "run", "-X", "--sync-deployment", "--"}

// An interrupt that tmnotes gets is terramate's: the first lets what runs end,
// the third kills it, and terramate still says what came of it.
func TestCloudInterrupt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		times    int
		terminal bool
	}{{"once", 1, false}, {"thrice", 3, false}, {"Ctrl-C", 1, true}, {"Ctrl-C thrice", 3, true}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newCloudWorld(t, "/a", "/b:/a", "/c:/b")
			w.script("slow", `echo "/${PWD##*/}" >>"$WORK/ran"
test "${PWD##*/}" = b || exit 0
trap 'echo INT >>"$WORK/signals"' INT
touch "$WORK/up"
while ! test -e "$WORK/release"; do sleep 0.02; done
exit 1
`)
			cmd := w.command("work", append(slices.Clone(cloudDeploy), "slow")...)
			var out syncBuffer
			interrupt := func() { _ = cmd.Process.Signal(os.Interrupt) }
			if tc.terminal {
				p := w.onTerminal(cmd, &out)
				interrupt = func() { _, _ = io.WriteString(p, "\x03") }
			} else {
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
			}
			defer func() { _ = cmd.Process.Kill() }()
			w.await("the command in /b", w.exists("up"))
			for i := range tc.times {
				interrupt()
				if i < 2 {
					w.await("the signal", func() bool { b, _ := os.ReadFile(w.path("signals")); return bytes.Count(b, []byte("INT")) == i+1 })
				}
			}
			if tc.times == 1 {
				w.await("what is known on the remote", func() bool { return strings.Contains(w.remoteNotes(), "status=ok op=deploy stack=/a ") })
				if err := os.WriteFile(w.path("release"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan struct{})
			go func() {
				_ = cmd.Wait()
				close(ended)
			}()
			// Two signals that come at once are one to who has not taken the first.
			for again := time.NewTicker(time.Second); tc.times > 1; {
				select {
				case <-ended:
				case <-again.C:
					interrupt()
					continue
				}
				again.Stop()
				break
			}
			<-ended
			_ = os.WriteFile(w.path("release"), nil, 0o644)     // for who was orphaned
			if code := cmd.ProcessState.ExitCode(); code != 1 { // terramate's
				t.Errorf("exit code %d\n%s", code, out.String())
			}
			if b, _ := os.ReadFile(w.path("signals")); tc.times == 1 && string(b) != "INT\n" {
				t.Errorf("the command got %q", b)
			}
			want := "status=failed op=deploy stack=/b "
			if tc.times > 1 {
				want = "status=canceled op=deploy stack=/b "
			}
			for _, line := range []string{"status=ok op=deploy stack=/a ", want, "status=canceled op=deploy stack=/c ", "event=finished"} {
				if n := w.remoteNotes(); !strings.Contains(n, line) {
					t.Errorf("not recorded on the remote: %s\n%s\n%s", line, n, out.String())
				}
			}
			if got := w.ran(); strings.Join(got, " ") != "/a /b" {
				t.Errorf("executed: %v", got)
			}
		})
	}
}

// A terramate that is killed says nothing more: what it had begun and what it
// had announced is settled for it.
func TestCloudChildKilled(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b:/a", "/c:/b")
	w.script("suicide", `echo "/${PWD##*/}" >>"$WORK/ran"
test "${PWD##*/}" = b || exit 0
kill -9 $PPID
`)
	out := w.exits(128+9, w.command("work", append(slices.Clone(cloudDeploy), "suicide")...))
	if !strings.Contains(out, "left 2 stacks unfinished: recorded as canceled") {
		t.Error(out)
	}
	for _, line := range []string{"status=ok op=deploy stack=/a ", "status=canceled op=deploy stack=/b ", "status=canceled op=deploy stack=/c ",
		`reason="terramate ended (exit code 137) before it reported its result"`, "event=finished"} {
		if n := w.remoteNotes(); !strings.Contains(n, line) {
			t.Errorf("not recorded on the remote: %s\n%s", line, n)
		}
	}
	w.ran()
	w.run("work", append([]string{"tmnotes", "cloud", "--", "terramate", "run", "-X", "-j", "2", "--status=failed", "--sync-deployment", "--"}, "deploy")...)
	if got := w.ran(); strings.Join(got, " ") != "/b /c" {
		t.Errorf("resumed: %v", got)
	}
}

// Where tmnotes itself is killed, what terramate had told it is in the journal,
// what it could not tell any more is interrupted, and the next one resumes.
func TestCloudKilled(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b:/a", "/c:/b")
	w.script("orphan", `echo "/${PWD##*/}" >>"$WORK/ran"
test "${PWD##*/}" = b || exit 0
touch "$WORK/up"
while ! test -e "$WORK/release"; do sleep 0.02; done
`)
	cmd := w.command("work", append(slices.Clone(cloudDeploy), "orphan")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the command in /b", w.exists("up"))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	status := w.run("work", "tmnotes", "status")
	for _, line := range []string{"ok           /a", "interrupted  /b     -             -         interrupted", "interrupted  /c     -             -         interrupted"} {
		if !strings.Contains(status, line) {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	if err := os.WriteFile(w.path("release"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// The orphaned terramate runs to its end.
	w.await("the command in /c", func() bool { b, _ := os.ReadFile(w.path("ran")); return strings.Contains(string(b), "/c") })
	w.ran()
	if got := w.run("work", "tmnotes", "cloud", "--", "terramate", "list", "--status=failed"); got != "b\nc\n" {
		t.Errorf("failed: %q", got)
	}
	w.run("work", "tmnotes", "run", "-X", "--op", "deploy", "--", "deploy")
	w.ran()
	w.run("work", "tmnotes", "sync")
	if n := w.remoteNotes(); !strings.Contains(n, "status=ok op=deploy stack=/a ") {
		t.Errorf("lost:\n%s", n)
	}
}

// A thousand stacks, eight at a time: each has its one result, and all of them
// come back by pages.
func TestCloudManyStacks(t *testing.T) {
	t.Parallel()
	n := 1000
	if testing.Short() {
		n = 120
	}
	w := newCloudWorld(t, "/root")
	for i := range n {
		dir := w.path("work", "s", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/stack.tm", fmt.Appendf(nil, "stack {\n  id = \"many-%d\"\n}\n", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.commit("work", "many")
	w.run("work", "git", "push", "-q")
	w.script("seventh", `case ${PWD##*/} in *7) exit 1;; esac`)
	sevenths := 0
	for i := range n {
		if i%10 == 7 {
			sevenths++
		}
	}
	w.exits(1, w.command("work", append([]string{"tmnotes", "cloud", "--", "terramate", "-C", "s", "run", "-X", "--quiet", "-j", "8", "--continue-on-error", "--sync-deployment", "--"}, "seventh")...))
	notes := w.remoteNotes()
	if ok, failed := strings.Count(notes, " status=ok "), strings.Count(notes, " status=failed "); ok != n-sevenths || failed != sevenths {
		t.Errorf("%d ok and %d failed, not %d and %d", ok, failed, n-sevenths, sevenths)
	}
	if got := strings.Count(w.run("work", "tmnotes", "cloud", "--", "terramate", "list", "--status=failed"), "\n"); got != sevenths {
		t.Errorf("%d stacks are failed, not %d", got, sevenths)
	}
	if got := strings.Count(w.run("work", "tmnotes", "cloud", "--", "terramate", "list", "--deployment-status=ok"), "\n"); got != n-sevenths {
		t.Errorf("%d stacks are ok, not %d", got, n-sevenths)
	}
}

// recorder is a proxy that takes no request and remembers for whom each was.
type recorder struct {
	url   string
	mu    sync.Mutex
	hosts []string
}

func newRecorder(t *testing.T) *recorder {
	r := new(recorder)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.hosts = append(r.hosts, q.Method+" "+q.Host)
		r.mu.Unlock()
		http.Error(w, "not from here", http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hosts)
}

func (r *recorder) env() []string {
	return []string{"HTTP_PROXY=" + r.url, "HTTPS_PROXY=" + r.url, "http_proxy=" + r.url, "https_proxy=" + r.url}
}

// Nothing but git's own traffic leaves the machine: no telemetry, no check for a
// newer version, no real cloud, whatever the user's configuration.
func TestCloudCallsNobody(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b")
	w.env = slices.DeleteFunc(slices.Clone(w.env), func(kv string) bool {
		return strings.HasPrefix(kv, "TM_CLI_CONFIG_FILE=") || strings.HasPrefix(kv, "CHECKPOINT_DISABLE=")
	})
	config := fmt.Sprintf("user_terramate_dir = %q\ndisable_telemetry = false\n", w.path("home", "tm"))
	if err := os.WriteFile(w.path("home", "own"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "TM_CLI_CONFIG_FILE="+w.path("home", "own"))
	r := newRecorder(t)
	w.env = append(w.env, r.env()...)
	w.run("work", append(slices.Clone(cloudDeploy), "deploy")...)
	w.run("work", "tmnotes", "cloud", "--", "terramate", "list", "--status=ok")
	w.run("work", "tmnotes", "cloud", "--", "terramate", "run", "-X", "--sync-drift-status", "--", "true")
	if got := r.seen(); len(got) > 0 {
		t.Errorf("called: %q", got)
	}
	// What it is measured with would have noticed.
	_ = w.command("work", w.path("bin", "terramate"), "list").Run()
	if got := r.seen(); len(got) == 0 {
		t.Error("a terramate without tmnotes called nobody, so this test says nothing")
	}
}

// A preview of a pull request, as in GitHub Actions.
func TestCloudPreview(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b", "/c")
	for _, s := range []string{"a", "b"} {
		if err := os.WriteFile(w.path("work", s, "more.tf"), []byte("# more\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.run("work", "git", "checkout", "-q", "-b", "review")
	w.commit("work", "more")
	head := strings.TrimSpace(w.run("work", "git", "rev-parse", "HEAD"))
	pull := map[string]any{"number": 7, "title": "more", "state": "open", "html_url": "https://git.example/pull/7", "user": map[string]any{"login": "alice", "id": 1},
		"head": map[string]any{"sha": head, "ref": "review", "repo": map[string]any{"pushed_at": 1795446000}}, "base": map[string]any{"ref": "main"},
		"created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}
	github := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/pulls/7") {
			_ = json.NewEncoder(out).Encode(pull)
			return
		}
		http.NotFound(out, r)
	}))
	defer github.Close()
	event, _ := json.Marshal(map[string]any{"pull_request": pull})
	if err := os.WriteFile(w.path("event.json"), event, 0o644); err != nil {
		t.Fatal(err)
	}
	w.script("terraform", `case "$1" in show) echo "the plan of ${PWD##*/}: password=hunter2";; esac`)
	w.script("plan", `echo plan >out.tfplan; test "${PWD##*/}" = a && exit 2; exit 0`)
	w.env = append(w.env, newRecorder(t).env()...) // the CLI asks GitHub's GraphQL, wherever TM_GITHUB_API_URL points
	w.env = append(w.env, "CI=true", "GITHUB_ACTIONS=true", "GITHUB_EVENT_PATH="+w.path("event.json"), "GITHUB_TOKEN=none", "TM_GITHUB_API_URL="+github.URL+"/",
		"GITHUB_ACTOR=alice", "GITHUB_REPOSITORY=acme/infra", "GITHUB_SERVER_URL=https://git.example", "GITHUB_RUN_ID=42", "GITHUB_RUN_ATTEMPT=1")
	out := w.run("work", "tmnotes", "cloud", "--keep-logs=all", "--", "terramate", "run", "-X", "--changed", "--sync-preview", "--terraform-plan-file=out.tfplan", "--", "plan")
	if !strings.Contains(out, "Preview created") {
		t.Error(out)
	}
	note := w.run("work", "git", "-c", "notes.displayRef=refs/tmnotes/local/tmnotes", "log", "-1", head)
	for _, want := range []string{"event=started op=preview run=", "by=alice job=https://git.example/acme/infra/actions/runs/42 attempt=1 cmd=plan",
		"status=ok op=preview stack=/a id=id-a exit=2 ", "status=ok op=preview stack=/b id=id-b exit=0 ", "event=finished"} {
		if !strings.Contains(note, want) {
			t.Errorf("no %q in\n%s\n%s", want, note, out)
		}
	}
	if strings.Contains(note, "stack=/c") {
		t.Errorf("/c was not part of it:\n%s", note)
	}
	// A preview needs no permission to write, and says nothing of deployments.
	if n := w.remoteNotes(); strings.TrimSpace(n) != "" {
		t.Errorf("pushed: %s", n)
	}
	if refs := w.run("work", "git", "ls-remote", "origin", "refs/notes/*"); refs != "" {
		t.Errorf("pushed: %s", refs)
	}
	if got := w.run("work", "tmnotes", "run", "-X", "--op", "deploy", "--dry-run", "--", "deploy"); !strings.Contains(got, "3 selected") {
		t.Error(got)
	}
}
