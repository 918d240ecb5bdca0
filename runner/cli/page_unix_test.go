//go:build unix

package cli

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// serverOf is the address and the token of a server that was started, and the
// file that has it.
func (w *world) serverOf(vars []string) (address, token string) {
	for _, kv := range vars {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "TMC_API_URL":
			address = value
		case "TMC_TOKEN":
			token = value
		}
	}
	if address == "" || token == "" {
		w.Fatalf("no server in %q", vars)
	}
	return address, token
}

// Who has the token may read the page, and the cookie that it gives is of no use
// anywhere else.
func TestPageToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("work", "/a", "/b")
	w.run("work", "tmnotes", "run", "-X", "--op", "deploy", "--", "true")
	vars, _, stderr := w.serving()
	address, token := w.serverOf(vars)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	do := func(client *http.Client, method, path, body string, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		if header == nil && body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	want := func(what string, res *http.Response, body string, code int, says string) {
		t.Helper()
		if res.StatusCode != code || !strings.Contains(body, says) {
			t.Errorf("%s: %s, not %d with %q in it: %.300s", what, res.Status, code, says, body)
		}
	}
	res, body := do(browser, "GET", "/", "")
	want("without the token", res, body, 401, `type="password"`)
	if strings.Contains(body, "/a") || strings.Contains(body, token) {
		t.Errorf("it tells too much: %s", body)
	}
	res, body = do(browser, "GET", "/report.json", "")
	want("JSON without the token", res, body, 401, "token")
	res, body = do(browser, "GET", "/?token="+token, "")
	want("the token in the address, which is logged", res, body, 401, `type="password"`)
	res, body = do(browser, "POST", "/session", "token=wrong")
	want("another token", res, body, 401, "not the server&#39;s token")
	res, body = do(browser, "POST", "/session", "token="+url.QueryEscape(token))
	want("the token", res, body, 200, "/b</a>")
	if p := res.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "frame-ancestors 'none'") {
		t.Errorf("policy %q", p)
	}
	at, _ := url.Parse(address)
	cookies := jar.Cookies(at)
	if len(cookies) != 1 || strings.Contains(cookies[0].Value, token) {
		t.Errorf("cookies %v", cookies)
	}
	res, body = do(browser, "GET", "/", "", "If-None-Match", res.Header.Get("ETag"))
	want("once more", res, body, 304, "")
	res, body = do(browser, "GET", "/v1/memberships", "")
	want("the API with the cookie", res, body, 401, "")
	res, body = do(browser, "GET", "/v1/memberships", "", "Cookie", cookies[0].String(), "Authorization", "Basic "+cookies[0].Value)
	want("the API with the cookie as a token", res, body, 401, "")
	res, body = do(browser, "POST", "/", "token="+token)
	want("it takes nothing", res, body, 405, "")

	req, _ := http.NewRequest("GET", address+"/report.json", nil)
	req.SetBasicAuth(token, "")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	want("JSON, as the API is asked", res, string(b), 200, `"stack": "/b"`)
	if out := stderr.String(); strings.Contains(out, token) || !strings.Contains(out, "the page is at "+address+"/ and asks for the token in ") {
		t.Errorf("it says\n%s", out)
	}
	req.Host = "evil.example"
	if res, err = http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by another name: %v, %v", res.Status, err)
	}
	res.Body.Close()
}

// In a real browser: the token is handed in, and the page follows a run that
// somebody else starts, and one of another clone.
func TestLivePage(t *testing.T) {
	t.Parallel()
	gittest.Chromium(t)
	w := newWorld(t)
	w.project("work", "/a", "/b:/a", "/c:/b")
	w.run(".", "git", "clone", "-q", w.path("work.git"), w.path("other"))
	vars, server, stderr := w.serving()
	address, token := w.serverOf(vars)

	tab := gittest.Browse(t)
	tab.Do(chromedp.Navigate(address), chromedp.SendKeys(chromedp.CSS("#token"), token+"\r"))
	tab.Wait(`performance.getEntriesByName("grid").length > 0`)
	statuses := func(want string) {
		t.Helper()
		tab.Wait(`[...document.querySelectorAll("#grid tbody tr:not([hidden])")].map(tr => tr.querySelector("a").textContent + " " + tr.querySelector(".b").textContent).join(", ") === "` + want + `"`)
	}
	statuses("/a never, /b never, /c never")
	tab.Do(chromedp.SendKeys(chromedp.CSS("#q"), "/a"))

	w.script("waiting", `case $PWD in */b) touch "$WORK/up"; while ! test -e "$WORK/release"; do sleep 0.02; done; echo "Error: <b>no</b>" >&2; exit 1;; esac`)
	run := w.command("work", "tmnotes", "run", "-X", "--op", "deploy", "--", "waiting")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the command", w.exists("up"))
	statuses("/a ok")
	tab.Wait(`document.querySelectorAll("#grid tbody tr:not([hidden]) .c.s-ok").length === 1`)
	tab.Do(chromedp.Click(chromedp.CSS("#clear")))
	statuses("/a ok, /b running, /c running")
	tab.Do(chromedp.Click(chromedp.CSS("#grid tbody tr:nth-child(2) th a")))
	if got := gittest.Eval[string](tab, `document.querySelector("#panel .b").textContent`); got != "running" {
		t.Errorf("the panel says %q", got)
	}
	if err := os.WriteFile(w.path("release"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()
	statuses("/a ok, /b failed, /c blocked")
	tab.Wait(`document.querySelector("#panel pre") && document.querySelector("#panel pre").textContent === "Error: <b>no</b>"`)
	tab.Do(chromedp.Click(chromedp.CSS("#close")))

	// What another clone pushed comes by itself.
	w.run("other", "tmnotes", "run", "-X", "--op", "deploy", "--", "true")
	statuses("/a ok, /b ok, /c ok")
	for _, u := range tab.Requests() {
		if !strings.HasPrefix(u, address+"/") && u != address {
			t.Errorf("it asked for %s", u)
		}
	}
	if u := gittest.Eval[string](tab, `location.href`); strings.Contains(u, token) {
		t.Errorf("the token is in the address %s", u)
	}

	// It is still a page when nobody serves it any more, and says so.
	_ = server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	tab.Wait(`document.getElementById("problem").textContent.includes("could not be brought up to date")`)
	statuses("/a ok, /b ok, /c ok")
}
