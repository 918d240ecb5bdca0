package report

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// show opens a report in a real browser, and waits until it can be used.
func show(t *testing.T, r *Report) *gittest.Tab {
	t.Helper()
	tab := gittest.Browse(t)
	tab.Do(chromedp.Navigate(save(t, r)))
	tab.Wait(`performance.getEntriesByName("grid").length > 0`)
	return tab
}

func save(t *testing.T, r *Report) (url string) {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

const (
	// The paths of the stacks that are shown, in their order.
	visiblePaths = `[...document.querySelectorAll("#grid tbody tr:not([hidden]) th a")].map(a => a.textContent).join(" ")`
	overflow     = `document.documentElement.scrollWidth - document.documentElement.clientWidth`
)

func TestPage(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	tab := show(t, p.build(opt))
	is := func(what, expression, want string) {
		t.Helper()
		if got := gittest.Eval[string](tab, "String("+expression+")"); got != want {
			t.Errorf("%s: %q, not %q", what, got, want)
		}
	}
	const all = "/<script>alert(1)</script> /new /old /prod/app /prod/db /prod/vpc"
	is("the stacks", visiblePaths, all)
	is("what the stack is called", `document.querySelector("tbody th span").textContent`, "<img src=x onerror=alert(1)>")
	is("scripts that are not ours", `document.querySelectorAll("script").length + document.querySelectorAll("img").length`, "2")
	is("why it failed", `document.querySelector("#s4 pre").textContent`, `Error: \u001b[31mcreating\u001b[0m DB <b>instance</b>: </script><script>alert(1)</script>`)
	is("errors of the policy or the script", `document.getElementById("problem").textContent`, "")
	for _, url := range tab.Requests() {
		if !strings.HasPrefix(url, "file:///") || !strings.HasSuffix(url, "/report.html") {
			t.Errorf("it asked for %s", url)
		}
	}

	// Filters.
	tab.Do(chromedp.SendKeys(chromedp.CSS("#q"), "prod VPC"))
	is("by words of the path", visiblePaths, "/prod/vpc")
	is("the count", `document.getElementById("count").textContent`, "1 of 6 stacks")
	is("the address", `location.hash`, "#q=prod+VPC")
	tab.Do(chromedp.Click(chromedp.CSS("#clear")), chromedp.SendKeys(chromedp.CSS("#q"), "id-prod-db"))
	is("by id", visiblePaths, "/prod/db")
	tab.Do(chromedp.Click(chromedp.CSS("#clear")), chromedp.Click(chromedp.CSS(`#statuses [data-s=interrupted]`)), chromedp.Click(chromedp.CSS(`#statuses [data-s=drifted]`)))
	is("by two statuses", visiblePaths, "/prod/app /prod/vpc")
	tab.Do(chromedp.Click(chromedp.CSS("#clear")))
	choose := func(id, value string) {
		t.Helper()
		gittest.Eval[bool](tab, fmt.Sprintf(`(() => { const s = document.getElementById(%q); s.value = %q; s.dispatchEvent(new Event("change", { bubbles: true })); return s.value === %q })()`, id, value, value))
	}
	choose("tag", "data")
	is("by tag", visiblePaths, "/prod/db")
	choose("tag", "")
	choose("target", "=staging")
	is("by target", visiblePaths, "/<script>alert(1)</script>")
	choose("target", "")
	choose("sort", "status")
	is("worst first", visiblePaths, "/prod/app /prod/vpc /old /new /<script>alert(1)</script> /prod/db")
	tab.Do(chromedp.SendKeys(chromedp.CSS("#q"), "nonesuch"))
	is("what is not there", `document.getElementById("none").checkVisibility()`, "true")
	tab.Do(chromedp.Click(chromedp.CSS("#clear")))
	choose("sort", "path")

	// The grid of deployments, and of drift runs.
	const cells = `[...document.querySelectorAll("#grid tbody tr")].map(tr => [...tr.querySelectorAll(".c")].map(c => c.className.replace(/^c s-/, "")).join(",")).join("|")`
	// They are drawn once their rows come into view, which a browser says when it has time.
	drawn := func(want string) { t.Helper(); tab.Wait(cells + " === " + strconv.Quote(want)) }
	drawn("ok||ok|interrupted,ok more,ok|ok more,ok more,ok|ok,ok")
	choose("op", "drift")
	drawn("||||ok|drifted")
	choose("op", "deploy")
	drawn("ok||ok|interrupted,ok more,ok|ok more,ok more,ok|ok,ok")
	is("a cell by name", `document.querySelectorAll("#grid tbody tr")[4].querySelectorAll(".c")[1].getAttribute("aria-label").replace(/\d\d:\d\d/, "")`,
		"ok, /prod/db, commit "+short(p.build(opt).Commits[1].Hash)+" a larger database, 2026-01-03 , by Alice, took 12.4s, 2 results on this commit")

	// A stack's panel, with the keyboard alone.
	tab.Do(chromedp.Focus(chromedp.CSS("#runs summary")))
	tab.Do(chromedp.KeyEvent("/"))
	is("the slash", `document.activeElement.id`, "q")
	is("one stop for Tab in all of the table", `document.querySelectorAll("#grid tbody :is(a,button)[tabindex='0']").length + " of " + document.querySelectorAll("#grid tbody :is(a,button)").length`, "1 of 16")
	gittest.Eval[bool](tab, `(document.querySelector("#grid tbody [tabindex='0']").focus(), true)`)
	at := func(what, stack, column string) {
		t.Helper()
		is(what, `document.activeElement.closest("tr").querySelector("th a").textContent + " " + (document.activeElement.dataset.c || "itself")`, stack+" "+column)
	}
	press := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			tab.Do(chromedp.KeyEvent(k))
		}
	}
	at("the first stack", "/<script>alert(1)</script>", "itself")
	press(kb.ArrowDown)
	at("down", "/new", "itself")
	press(kb.ArrowRight)
	at("right, where it has no results", "/new", "itself")
	press(kb.ArrowUp, kb.ArrowRight)
	at("its result", "/<script>alert(1)</script>", "1")
	press(kb.ArrowDown)
	at("down, over a stack without results", "/old", "2")
	press(kb.ArrowDown)
	at("down", "/prod/app", "2")
	press(kb.ArrowLeft)
	at("left", "/prod/app", "1")
	is("one stop for Tab still", `document.querySelectorAll("#grid tbody :is(a,button)[tabindex='0']").length`, "1")
	is("the hint", `document.getElementById("tip").checkVisibility() && document.getElementById("tip").textContent.includes("a larger database")`, "true")
	press(kb.Enter)
	is("the panel", `document.getElementById("panel").open + " " + document.getElementById("panel-title").textContent`, "true /prod/app")
	is("its history", `[...document.querySelectorAll("#panel table .b")].map(b => b.textContent).join(" ")`, "interrupted ok blocked ok")
	is("its plot", `document.querySelectorAll("#panel svg[aria-label]").length`, "1")
	press(kb.Escape)
	is("closed by Escape", `document.getElementById("panel").open`, "false")
	at("and back", "/prod/app", "1")
	press(kb.ArrowLeft, kb.ArrowLeft)
	at("left, twice", "/prod/app", "itself")
	press(kb.Enter)
	tab.Wait(`document.getElementById("panel").open`)
	is("the panel, from the stack itself", `document.getElementById("panel").open + " " + document.getElementById("panel-title").textContent`, "true /prod/app")
}

// An address with a filter in it opens the page so filtered, and one of a stack
// that stack.
func TestPageAddress(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	tab := gittest.Browse(t)
	url := save(t, p.build(opt))
	for _, tc := range []struct{ hash, check, want string }{
		{"#status=interrupted+drifted&sort=status", visiblePaths, "/prod/app /prod/vpc"},
		{"#tag=prod&q=v", visiblePaths, "/prod/vpc"},
		{"#sort=took", visiblePaths, "/old /prod/vpc /<script>alert(1)</script> /prod/app /prod/db /new"},
		{"#show=drift&target=", visiblePaths, "/new /old /prod/app /prod/db /prod/vpc"},
		{"#s4", `document.getElementById("panel-title").textContent`, "/prod/db"},
		{"#tag=nonesuch&status=%3Cb%3E&sort=x", visiblePaths, ""},
	} {
		tab.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(url+tc.hash))
		tab.Wait(`performance.getEntriesByName("grid").length > 0`)
		if got := gittest.Eval[string](tab, tc.check); got != tc.want {
			t.Errorf("%s: %q, not %q", tc.hash, got, tc.want)
		}
		if got := gittest.Eval[string](tab, `document.getElementById("problem").textContent`); got != "" {
			t.Errorf("%s: %s", tc.hash, got)
		}
	}
}

// Everything that there is to read is there without JavaScript.
func TestPageWithoutScript(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	tab := gittest.Browse(t)
	tab.NoScript()
	tab.Do(chromedp.Navigate(save(t, p.build(opt))))
	if got := gittest.Eval[int](tab, `performance.getEntriesByType("mark").length`); got != 0 {
		t.Fatal("the script ran")
	}
	text := gittest.Eval[string](tab, `document.body.innerText`)
	for _, want := range []string{"git.example/acme/infra", "As of 2026-01-31 12:00Z", "Change failure rate", "40 %", "/<script>alert(1)</script>", "✓✓", "!✓⊘✓", "Last failure", "Last drift",
		`DB <b>instance</b>: </script><script>alert(1)</script>`, "exit code 1", "2 tries", "by Alice", "gone from HEAD", "repaired by hand", "tmnotes blame /prod/app", "Nothing is recorded of it."} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for _, not := range []string{"Filter stacks", "Arrow keys"} {
		if strings.Contains(text, not) {
			t.Errorf("%q is of no use here", not)
		}
	}
}

// In a browser that lacks what the script needs, the page is what it is without.
func TestPageInAnOldBrowser(t *testing.T) {
	t.Parallel()
	tab := gittest.Browse(t)
	if _, err := chromedp.Call(tab, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: "delete window.IntersectionObserver"}); err != nil {
		t.Fatal(err)
	}
	tab.Do(chromedp.Navigate(save(t, large(20, 10, 10))))
	tab.Wait(`document.getElementById("problem").textContent.includes("cannot show the grid")`)
	tab.Wait(`document.querySelector("#s7 h2").checkVisibility() && !document.getElementById("filter").checkVisibility()`)
}

// The page of a large project: its size, how soon it can be used, and that a
// filter over it answers at once.
func TestLargePage(t *testing.T) {
	gittest.Chromium(t)
	sizes := []int{50, 1000} // deployed at each commit: some, and all
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, each := range sizes {
		r := large(1000, 200, each)
		var b bytes.Buffer
		if err := r.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 3_000_000 {
			t.Errorf("%d bytes", b.Len())
		}
		said := strings.Contains(b.String(), "The grid has the newest ")
		if said != (each == 1000) {
			t.Errorf("that commits are left out is said: %v", said)
		}
		// Of some times the best: others use the machine, too.
		tab, url := gittest.Browse(t), save(t, r)
		interactive, grid := math.Inf(1), math.Inf(1)
		for n := 0; n < 3 || n < 10 && interactive > 1000; n++ {
			tab.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
			tab.Wait(`performance.getEntriesByName("grid").length > 0`)
			interactive = min(interactive, gittest.Eval[float64](tab, `performance.getEntriesByName("interactive")[0].startTime`))
			grid = min(grid, gittest.Eval[float64](tab, `performance.getEntriesByName("grid")[0].startTime`))
		}
		took := gittest.Eval[float64](tab, `new Promise(done => {
			const q = document.getElementById("q"), from = performance.now();
			q.value = "svc-77";
			q.dispatchEvent(new Event("input"));
			requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from)));
		})`)
		shown := gittest.Eval[int](tab, `document.querySelectorAll("#grid tbody tr:not([hidden])").length`)
		if shown != 10 {
			t.Errorf("%d stacks are svc-77*", shown)
		}
		t.Logf("%d results a commit: %d bytes, filters after %.0f ms, grid after %.0f ms, a filter takes %.0f ms", each, b.Len(), interactive, grid, took)
		if interactive > 1000 {
			t.Errorf("it can be used only after %.0f ms", interactive)
		}
	}
}

// Nothing is wider than a phone, and nothing is lost on it.
func TestPhone(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	for name, r := range map[string]*Report{"sample": p.build(opt), "many": large(50, 60, 20)} {
		tab := gittest.Browse(t)
		tab.Size(390, 844)
		tab.Do(chromedp.Navigate(save(t, r)))
		tab.Wait(`performance.getEntriesByName("grid").length > 0`)
		if n := gittest.Eval[int](tab, overflow); n > 0 {
			t.Errorf("%s: %d px are beyond the right edge", name, n)
		}
		if n := gittest.Eval[int](tab, `document.querySelectorAll("#grid .c").length`); n == 0 {
			t.Errorf("%s: there is no grid", name)
		}
		if role := gittest.Eval[string](tab, `document.querySelector("#grid tbody th").role`); role != "rowheader" {
			t.Errorf("%s: it is no table any more, %q", name, role)
		}
		tab.Do(chromedp.Click(chromedp.CSS("#grid tbody th a")))
		if w := gittest.Eval[float64](tab, `document.getElementById("panel").getBoundingClientRect().width`); w != 390 {
			t.Errorf("%s: the panel is %v px wide", name, w)
		}
	}
}

// In both colour schemes text can be read (WCAG 2.2, 1.4.3: 4.5 to 1), and no
// status is told by its colour alone.
func TestColours(t *testing.T) {
	t.Parallel()
	r := large(60, 40, 30)
	tab := gittest.Browse(t)
	url := save(t, r)
	for _, scheme := range []string{"light", "dark"} {
		tab.Scheme(scheme)
		tab.Do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
		tab.Wait(`performance.getEntriesByName("grid").length > 0`)
		bad := gittest.Eval[[]string](tab, `(() => {
			const lum = (c) => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
			const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/^rgba.*, 0\)$/.test(c)) return c; } return "rgb(255,255,255)"; };
			const bad = new Set();
			const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT);
			while (walk.nextNode()) {
				const e = walk.currentNode;
				if (!e.checkVisibility() || e.closest("script,svg") || !(e.classList.contains("c") || [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))) continue;
				if (e.disabled) continue;
				const a = lum(getComputedStyle(e).color), b = lum(ground(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
				if (ratio < 4.5) bad.add(e.tagName + "." + e.className + " " + ratio.toFixed(2) + " " + getComputedStyle(e).color + " on " + ground(e));
			}
			return [...bad];
		})()`)
		if len(bad) > 0 {
			t.Errorf("%s: hard to read: %s", scheme, strings.Join(bad, "\n"))
		}
		body := gittest.Eval[string](tab, `getComputedStyle(document.body).backgroundColor`)
		if dark := strings.HasPrefix(body, "rgb(19,") || strings.HasPrefix(body, "rgb(19 "); dark != (scheme == "dark") {
			t.Errorf("%s: the page is %s", scheme, body)
		}
		signs := gittest.Eval[[]string](tab, `[...document.querySelectorAll(".legend .b")].map((b) => getComputedStyle(b, "::before").content)`)
		seen := map[string]bool{}
		for _, s := range signs {
			if seen[s] {
				t.Errorf("two statuses have the sign %s", s)
			}
			seen[s] = true
		}
		if len(seen) < 10 {
			t.Errorf("only %d statuses have a sign", len(seen))
		}
	}
}

// The same statuses have the same signs with the script and without.
func TestSigns(t *testing.T) {
	t.Parallel()
	for status, sign := range signs {
		if want := ".s-" + status + "::before{content:\"" + sign + "\"}"; !strings.Contains(pageCSS, want) {
			t.Errorf("page.css lacks %s", want)
		}
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	var b bytes.Buffer
	if err := p.build(opt).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	// What does not depend on the report is not compared.
	text := b.String()
	for _, part := range []string{pageCSS, pageJS} {
		text = strings.Replace(text, part, "…", 1)
	}
	text = regexp.MustCompile(`sha256-[^"]*?=&#39;`).ReplaceAllString(text, "sha256-…&#39;")
	golden(t, "report.html", []byte(text))
}
