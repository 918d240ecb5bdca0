//go:build unix

package cli

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// serving starts `tmnotes serve` and returns what terramate has to find in its
// environment.
func (w *world) serving(flags ...string) (vars []string, cmd *exec.Cmd, stderr *syncBuffer) {
	w.Helper()
	cmd = w.command("work", append([]string{"tmnotes", "serve", "--listen", "127.0.0.1:0"}, flags...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	stderr = new(syncBuffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		w.Fatalf("%v\n%s", err, stderr.String())
	}
	// It is written to be typed into a shell.
	out, err := exec.Command("sh", "-c", line+"\nenv | grep -E '^(TMC|TM_CLOUD)_'").Output()
	if err != nil {
		w.Fatalf("%s: %v", line, err)
	}
	return strings.Fields(string(out)), cmd, stderr
}

func TestServe(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b:/a")
	vars, first, _ := w.serving()
	terramate := func(want int, env []string, args ...string) string {
		t.Helper()
		c := w.command("work", append([]string{w.path("bin", "terramate")}, args...)...)
		c.Env = append(slices.Clone(w.env), env...)
		return w.exits(want, c)
	}
	if err := os.MkdirAll(w.path("fail"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path("fail", "-b"), []byte("Error: no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	terramate(1, vars, "run", "-X", "--sync-deployment", "--", "deploy")
	if got := terramate(0, vars, "list", "--status=failed"); got != "b\n" {
		t.Errorf("failed: %q", got)
	}
	url := ""
	for _, kv := range vars {
		if v, ok := strings.CutPrefix(kv, "TMC_API_URL="); ok {
			url = v
		}
	}
	get := func(path, host string) (int, string) {
		t.Helper()
		req, err := http.NewRequest("GET", url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, tc := range []struct {
		path, host string
		code       int
	}{
		{"/healthz", "", 200}, {"/healthz", "localhost:3006", 200}, {"/healthz", "evil.example", 421}, {"/v1/memberships", "", 401},
		{"/.well-known/cli.json", "", 200}, {"/nothing", "", 404}, {"/v1/deployments/x/y/stacks", "", 405},
	} {
		if code, body := get(tc.path, tc.host); code != tc.code {
			t.Errorf("GET %s for %q: %d, not %d: %s", tc.path, tc.host, code, tc.code, body)
		}
	}
	if out := terramate(1, append(slices.Clone(vars), "TMC_TOKEN=wrong"), "list", "--status=failed"); !strings.Contains(out, "401") {
		t.Error(out)
	}

	// The server is killed in the middle of a deployment; the next one goes on.
	w.script("waiting", `touch "$WORK/up"; while ! test -e "$WORK/release"; do sleep 0.02; done`)
	if err := os.Remove(w.path("fail", "-b")); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(url, "http://")
	c := w.command("work", w.path("bin", "terramate"), "run", "-X", "--status=failed", "--sync-deployment", "--", "waiting")
	c.Env = append(slices.Clone(w.env), vars...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the command", w.exists("up"))
	_ = first.Process.Kill()
	_ = first.Wait()
	_, cmd, stderr := w.serving("--listen", address)
	if err := os.WriteFile(w.path("release"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if got := terramate(0, vars, "list", "--status=failed"); got != "" {
		t.Errorf("failed: %q", got)
	}
	if got := terramate(0, vars, "list", "--deployment-status=ok"); got != "a\nb\n" {
		t.Errorf("ok: %q", got)
	}

	// It ends in order.
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	if n := w.remoteNotes(); strings.Count(n, "event=finished") != 2 || !strings.Contains(n, "status=ok op=deploy stack=/b ") {
		t.Errorf("on the remote:\n%s", n)
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, text := range map[string]string{"open": "0123456789abcdef0123456789", "short": "x\n"} {
		mode := os.FileMode(0o600)
		if name == "open" {
			mode = 0o644
		}
		if err := os.WriteFile(w.path(name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"--listen", ":3006"}, "is not an address"},
		{[]string{"--listen", taken.Addr().String()}, "address already in use"},
		{[]string{"--token-file", w.path("open")}, "others may read"},
		{[]string{"--token-file", w.path("short")}, "is too short"},
		{[]string{"--token-file", w.path("no", "folder")}, "--token-file"},
		{[]string{"--listen", "127.0.0.1:0", "x"}, "unexpected argument"},
	} {
		out := w.exits(exitUsage, w.command("work", append([]string{"tmnotes", "serve"}, tc.args...)...))
		if !strings.Contains(out, tc.says) {
			t.Errorf("%v says %q", tc.args, out)
		}
	}
}
