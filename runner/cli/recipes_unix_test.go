//go:build unix

package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tmnotes/tmnotes/runner/terminal"
)

// The scripts of `tmnotes help recipes` post what the services take, to a server of
// the test's own: of a failure and of the end of it.
func TestRecipes(t *testing.T) {
	t.Parallel()
	scripts := slices.DeleteFunc(parsePage(page("recipes")), func(b block) bool { return !strings.HasPrefix(b.text, "#!/bin/sh\n") })
	if len(scripts) != 3 {
		t.Fatalf("%d recipes", len(scripts))
	}
	for _, program := range []string{"jq", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	for i, fields := range [][2]string{
		{`"text":"*/a* is failed, was ok: Error: no capacity\n`, `"text":"*/a* is ok, was failed\n`},
		{`"text":"/a is failed, was ok"`, `"text":"/a is ok, was failed"`},
		{`"event_action":"trigger"`, `"event_action":"resolve"`},
	} {
		var mu sync.Mutex
		var posted []string
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var message any
			if err := json.Unmarshal(body, &message); err != nil {
				t.Errorf("%v: %s", err, body)
			}
			line, _ := terminal.JSONLine(message)
			mu.Lock()
			defer mu.Unlock()
			posted = append(posted, string(line))
		}))
		t.Cleanup(server.Close)
		w := newWorld(t)
		w.project("work", "/a")
		w.script("notify", scripts[i].text)
		run := []string{"tmnotes", "run", "-X", "--op", "deploy", "--on-change", "notify", "--"}
		command := func(args ...string) *exec.Cmd {
			cmd := w.command("work", append(run[:len(run):len(run)], args...)...)
			cmd.Env = append(cmd.Env, "SLACK_WEBHOOK="+server.URL, "TEAMS_WEBHOOK="+server.URL, "PAGERDUTY_URL="+server.URL, "PAGERDUTY_KEY=key",
				"GITHUB_ACTIONS=true", "GITHUB_SERVER_URL=https://forge.example", "GITHUB_REPOSITORY=acme/infra", "GITHUB_RUN_ID=7", "GITHUB_ACTOR=carol")
			return cmd
		}
		w.exits(0, command("true"))
		w.commit("work", "a change")
		w.exits(exitFailed, command("sh", "-c", "echo 'Error: no capacity' >&2; exit 1"))
		w.exits(0, command("true"))
		mu.Lock()
		if len(posted) != 2 {
			t.Fatalf("%s\nposted %q", scripts[i].text, posted)
		}
		for k, want := range fields {
			for _, part := range []string{want, "https://forge.example/acme/infra/actions/runs/7", "Alice"} {
				if !strings.Contains(posted[k], part) {
					t.Errorf("%s is not in %s", part, posted[k])
				}
			}
		}
		mu.Unlock()
	}
}
