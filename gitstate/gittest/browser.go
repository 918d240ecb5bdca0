package gittest

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A Tab is a tab of a real browser, headless, with a profile of its own.
type Tab struct {
	context.Context
	tb testing.TB

	mu       sync.Mutex
	requests []string
}

// Chromium is the browser that tests use: that of TMNOTES_TEST_BROWSER, where
// scripts/test --all names the one that it found, or one in PATH. Without any, or
// with "none", a test is skipped, but not under scripts/test --all.
func Chromium(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv("TMNOTES_TEST_BROWSER")
	if path == "none" {
		tb.Skip("it needs a browser, which is for scripts/test --all")
	}
	if path != "" {
		if _, err := exec.LookPath(path); err != nil {
			tb.Fatalf("TMNOTES_TEST_BROWSER: %v", err)
		}
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Skip("there is no chromium in PATH; scripts/test says how to get one")
	return ""
}

// browser is the one that all tabs of a process are in: it starts with the first
// of them, and ends with the last.
var browser struct {
	sync.Mutex
	tabs int
	ctx  context.Context
	stop func()
}

// Browse opens a tab, which is closed at the end of the test. Tabs know nothing
// of each other.
func Browse(tb testing.TB) *Tab {
	tb.Helper()
	path := Chromium(tb)
	browser.Lock()
	defer browser.Unlock()
	if browser.tabs == 0 {
		dir, err := os.MkdirTemp("", "gittest-chromium-")
		if err != nil {
			tb.Fatal(err)
		}
		opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(dir),
			chromedp.WindowSize(1440, 900), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
		ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
		ctx, quit := chromedp.NewContext(ctx)
		browser.ctx, browser.stop = ctx, func() { quit(); stop(); os.RemoveAll(dir) }
		if err := chromedp.Do(ctx); err != nil {
			browser.stop()
			tb.Fatalf("starting %s: %v", path, err)
		}
	}
	browser.tabs++
	ctx, closeTab := chromedp.NewContext(browser.ctx, chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // a machine may be busy
	tb.Cleanup(func() {
		cancel()
		closeTab()
		browser.Lock()
		defer browser.Unlock()
		if browser.tabs--; browser.tabs == 0 {
			browser.stop()
		}
	})
	t := &Tab{Context: ctx, tb: tb}
	t.Do()
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		tb.Fatal(err)
	}
	events := chromedp.Events(ctx, network.RequestWillBeSent)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			t.mu.Lock()
			t.requests = append(t.requests, e.Request.URL)
			t.mu.Unlock()
		}
	}()
	return t
}

// Do does something in the tab; that it fails ends the test.
func (t *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	if err := chromedp.Do(t, steps...); err != nil {
		t.tb.Fatal(err)
	}
}

// Eval is the value of an expression of JavaScript, which may be a promise.
func Eval[T any](t *Tab, expression string) T {
	t.tb.Helper()
	v, err := chromedp.Run(t, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.tb.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Wait waits until an expression is true, on whatever page the tab comes to.
func (t *Tab) Wait(expression string) {
	t.tb.Helper()
	var is bool
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		// While a page goes and the next one comes, there is none to ask.
		if is, err = chromedp.Run(t, chromedp.Evaluate[bool]("Boolean("+expression+")")); is && err == nil {
			return
		}
	}
	text, _ := chromedp.Run(t, chromedp.Evaluate[string]("document.body.innerText"))
	t.tb.Fatalf("waited in vain for %s (%v) on\n%s", expression, err, text)
}

// Size is that of the window, in CSS pixels.
func (t *Tab) Size(width, height int64) { t.tb.Helper(); t.Do(chromedp.EmulateViewport(width, height)) }

// Scheme is what the user prefers, "dark" or "light".
func (t *Tab) Scheme(name string) {
	t.tb.Helper()
	if _, err := chromedp.Call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}); err != nil {
		t.tb.Fatal(err)
	}
}

// NoScript switches JavaScript off for the pages that are opened from now on.
func (t *Tab) NoScript() {
	t.tb.Helper()
	if _, err := chromedp.Call(t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.tb.Fatal(err)
	}
}

// Requests are the URLs that were asked for since the last time.
func (t *Tab) Requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.requests
	t.requests = nil
	return r
}
