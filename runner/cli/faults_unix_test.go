//go:build unix

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// weather is a git server, and what becomes of requests to it.
type weather struct {
	w    *world
	kind string // of requests that the fault is for, "" for all
	do   string // the fault
	from string // the phase in which it begins

	mu  sync.Mutex
	hit map[string]int // by phase and kind
}

// phase is how far the run is, by what its commands left.
func (f *weather) phase() string {
	switch {
	case f.w.exists("final")():
		return "final"
	case f.w.exists("during")():
		return "during"
	}
	return "announce"
}

var phases = []string{"announce", "during", "final"}

// kindOf tells what a request is for: "" if that cannot be seen.
func kindOf(r *http.Request, body []byte) string {
	switch {
	case strings.Contains(r.URL.String(), "git-upload-pack"):
		return "fetch"
	case r.Method != http.MethodPost:
		return ""
	}
	commands, _, _ := bytes.Cut(body, []byte("PACK"))
	claims := regexp.MustCompile(`[0-9a-f]{40} ([0-9a-f]{40}) refs/notes/tmnotes-claims/`).FindSubmatch(commands)
	switch {
	case claims == nil:
		return "push"
	case strings.Trim(string(claims[1]), "0") == "":
		return "release"
	}
	return "claim"
}

func (f *weather) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	kind, phase := kindOf(r, body), f.phase()
	f.mu.Lock()
	now := kind != "" && (f.kind == "" || f.kind == kind) && slices.Index(phases, phase) >= slices.Index(phases, f.from)
	if now {
		f.hit[phase+" "+kind]++
	}
	first := f.hit[phase+" "+kind] == 1
	f.mu.Unlock()
	git, _ := exec.LookPath("git")
	server := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Env: append(f.w.env, "GIT_PROJECT_ROOT="+f.w.path("work.git"), "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=alice")}
	switch {
	case now && f.do == "refuse":
		http.Error(w, "no", http.StatusForbidden)
	case now && f.do == "silent":
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	case now && f.do == "5xx" && first:
		http.Error(w, "restarting", http.StatusBadGateway)
	case now && f.do == "slow" && first:
		time.Sleep(time.Second)
		server.ServeHTTP(w, r)
	case now && f.do == "cut" && first: // it was done, and half of the answer arrives
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		conn, out, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", answer.Header().Get("Content-Type"), answer.Body.Len(), answer.Body.Bytes()[:answer.Body.Len()/2])
		_ = out.Flush()
	default:
		server.ServeHTTP(w, r)
	}
}

// underWeather is a project whose remote is a server under a fault, and a command that knows
// whether its stack was announced before it started.
func underWeather(t *testing.T, f *weather) {
	t.Helper()
	f.w, f.hit = newWorld(t), map[string]int{}
	f.w.project("work", "/a", "/b:/a")
	f.w.run("work", "git", "--git-dir="+f.w.path("work.git"), "config", "http.receivepack", "true")
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.w.run("work", "git", "remote", "set-url", "origin", server.URL)
	f.w.script("step", `
stack=/${PWD##*/}
git --git-dir="$WORK/work.git" notes --ref=tmnotes show "$(git rev-parse HEAD)" | grep -q " stack=$stack " || touch "$WORK/unannounced"
echo "$stack" >>"$WORK/ran"
case $stack in /a) touch "$WORK/during" ;; /b) touch "$WORK/final" ;; esac
sleep 0.6
`)
}

// deploy is one run; budget is what no wait on its network may exceed.
func (f *weather) deploy() (code int, out string, took time.Duration) {
	const budget, lease = "8s", "15s"
	cmd := f.w.command("work", "tmnotes", "run", "-X", "--op", "deploy", "--push-interval", "300ms", "--network-timeout", budget, "--lease", lease, "--", "step")
	start := time.Now()
	text, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		f.w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text), time.Since(start)
}

// aftermath is what holds whatever happened: what was executed had been announced, and once the
// weather is fine all of it is on the remote.
func (f *weather) aftermath(out string) (ran []string) {
	f.w.Helper()
	if f.w.exists("unannounced")() {
		f.w.Errorf("executed unannounced\n%s", out)
	}
	ran = f.w.ran()
	f.mu.Lock()
	f.kind = "none"
	f.mu.Unlock()
	f.w.run("work", "tmnotes", "sync")
	for _, stack := range ran {
		if n := f.w.remoteNotes(); !strings.Contains(n, "status=ok op=deploy stack="+stack+" ") {
			f.w.Errorf("lost: %s\n%s\n%s", stack, n, out)
		}
	}
	return ran
}

func (f *weather) hits() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.hit)
}

// What passes is nobody's decision: an error of the server, a slow answer, one that breaks off
// though the thing was done; once for every kind of request in every phase.
func TestWeatherThatPasses(t *testing.T) {
	t.Parallel()
	for _, do := range []string{"5xx", "slow", "cut"} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			f := &weather{do: do, from: "announce"}
			underWeather(t, f)
			code, out, took := f.deploy()
			ran, hit := f.aftermath(out), f.hits()
			if code != exitOK || len(ran) != 2 {
				t.Errorf("exit code %d, executed %v\n%s", code, ran, out)
			}
			// When what of the first stack is sent while the second one is claimed is the clock's business.
			for _, cell := range []string{"announce fetch", "announce push", "announce claim", "during fetch", "during claim", "final push", "final release"} {
				if hit[cell] == 0 {
					t.Errorf("there was no %s: %v", cell, hit)
				}
			}
			t.Log(took, hit)
		})
	}
}

// What stays ends the run in order: within its budget, with the exit code that says whether
// something was executed and whether it is on the remote, and with a sentence that fits.
func TestWeatherThatStays(t *testing.T) {
	t.Parallel()
	type end struct {
		code int
		ran  int
		says string // under both faults
	}
	const nothing, kept = `nothing was (done|executed)`, `the records are safe in`
	for cell, want := range map[string]end{
		"announce fetch":   {exitUsage, 0, nothing},
		"announce push":    {exitUsage, 0, nothing},
		"announce claim":   {exitUsage, 0, nothing},
		"announce release": {exitOK, 2, ""},
		"during fetch":     {exitFailed, 1, kept},
		"during push":      {exitNotPushed, 2, kept},
		"during claim":     {exitFailed, 1, `stacks cannot be locked`},
		"during release":   {exitOK, 2, ""},
		"final fetch":      {exitNotPushed, 2, kept},
		"final push":       {exitNotPushed, 2, kept},
		"final release":    {exitOK, 2, ""},
	} {
		for do, cause := range map[string]string{"refuse": `denied access: .*403|refused the push: .*403`, "silent": `origin is silent: no answer within`} {
			t.Run(cell+" "+do, func(t *testing.T) {
				t.Parallel()
				f := &weather{do: do}
				f.from, f.kind, _ = strings.Cut(cell, " ")
				underWeather(t, f)
				code, out, took := f.deploy()
				ran := f.aftermath(out)
				if code != want.code || len(ran) != want.ran {
					t.Errorf("exit code %d, executed %v\n%s", code, ran, out)
				}
				if want.says != "" && (!regexp.MustCompile(want.says).MatchString(out) || !regexp.MustCompile(cause).MatchString(out)) {
					t.Errorf("it does not say %q and %q:\n%s", want.says, cause, out)
				}
				if do == "silent" && strings.Contains(out, "ermission") {
					t.Errorf("permission has nothing to do with it:\n%s", out)
				}
				// A lease for claims that cannot be taken, the budget at the end, and as much for a machine at work.
				if took > 45*time.Second {
					t.Errorf("it took %v\n%s", took, out)
				}
				if len(f.hits()) == 0 {
					t.Error("nothing was hit")
				}
			})
		}
	}
}
