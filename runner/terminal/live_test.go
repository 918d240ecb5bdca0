package terminal

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner"
)

// liveRun is a run on paper: a view, and a clock that stands until it is moved.
type liveRun struct {
	*View
	clock time.Time
	began map[string]time.Time
}

// newLiveRun makes the view of stacks "/path:/after,/after", with what they took the
// last time.
func newLiveRun(t testing.TB, color bool, parallel int, usual map[string]time.Duration, skipped []string, stacks ...string) *liveRun {
	t.Helper()
	r := &liveRun{clock: time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC), began: map[string]time.Time{}}
	var order, todo []string
	after := map[string][]string{}
	for _, s := range stacks {
		path, preds, _ := strings.Cut(s, ":")
		order = append(order, path)
		if preds != "" {
			after[path] = strings.Split(preds, ",")
		}
		if !strings.Contains(strings.Join(skipped, " ")+" ", path+" ") {
			todo = append(todo, path)
		}
	}
	g, err := runner.NewGraph(order, after)
	if err != nil {
		t.Fatal(err)
	}
	r.View = NewView(&Printer{color: color}, g, todo, func(p string) time.Duration { return usual[p] }, parallel, func() time.Time { return r.clock })
	return r
}

func (r *liveRun) wait(d time.Duration) { r.clock = r.clock.Add(d) }

func (r *liveRun) start(paths ...string) {
	for _, p := range paths {
		r.began[p] = r.clock
		r.event(runner.Event{Kind: runner.Started, Result: runner.Result{Stack: runner.Stack{Path: p}, Status: runner.StatusRunning, Started: r.clock, Tries: 1}})
	}
}

func (r *liveRun) end(path string, res runner.Result) {
	res.Stack.Path, res.Started, res.Took = path, r.began[path], r.clock.Sub(r.began[path])
	r.event(runner.Event{Kind: runner.Finished, Result: res})
}

// What the view looks like, in the middle of a run and at sizes that leave something out.
func TestLiveFrames(t *testing.T) {
	t.Parallel()
	usual := map[string]time.Duration{"/prod/vpc": 20 * time.Second, "/prod/db": 4 * time.Minute, "/prod/app": time.Minute, "/prod/dns": time.Minute, "/prod/web": 90 * time.Second}
	stacks := []string{"/prod/vpc", "/prod/dns", "/prod/db:/prod/vpc", "/prod/quota:/prod/vpc", "/prod/app:/prod/db,/prod/quota,/prod/dns", "/prod/mail:/prod/quota", "/prod/web:/prod/app"}
	failure := runner.Result{Status: runner.StatusFailed, Exit: 1, Tries: 2, Reason: "Error: creating quota: \x1b[31mno capacity", Last: []string{"with terraform_data.quota,", "no capacity in\teu-central-1"}}
	var out strings.Builder
	show := func(r *liveRun, what string, width, height int) {
		fmt.Fprintf(&out, "-- %s, %dx%d --\n%s\n", what, width, height, r.frame(width, height))
	}
	r := newLiveRun(t, false, 2, usual, nil, stacks...)
	show(r, "nothing has started", 80, 24)
	r.start("/prod/vpc", "/prod/dns")
	r.wait(12 * time.Second)
	show(r, "two run", 80, 24)
	r.end("/prod/vpc", runner.Result{Status: runner.StatusOK})
	r.start("/prod/db")
	r.wait(48 * time.Second)
	r.end("/prod/dns", runner.Result{Status: runner.StatusOK})
	r.start("/prod/quota")
	r.wait(3 * time.Second)
	r.event(runner.Event{Kind: runner.Retrying, Wait: 1500 * time.Millisecond, Result: runner.Result{Stack: runner.Stack{Path: "/prod/quota"}, Status: runner.StatusFailed, Tries: 1, Reason: "Error: throttled"}})
	show(r, "one is tried again", 80, 24)
	r.wait(4 * time.Second)
	show(r, "the second try", 80, 24)
	r.end("/prod/quota", failure)
	r.end("/prod/mail", runner.Result{Status: runner.StatusBlocked, Cause: "/prod/quota"})
	show(r, "one failed", 80, 24)
	show(r, "one failed", 44, 24)
	show(r, "one failed", 80, 6)
	show(r, "one failed", 80, 2)
	r.event(runner.Event{Kind: runner.Interrupted, Signal: syscall.SIGINT})
	show(r, "interrupted", 80, 24)

	r = newLiveRun(t, true, 2, usual, nil, stacks...)
	r.start("/prod/vpc", "/prod/dns")
	r.wait(2 * time.Minute)
	r.end("/prod/vpc", failure)
	show(r, "in colour", 80, 24)

	// What is skipped stands between the others all the same.
	r = newLiveRun(t, false, 1, nil, []string{"/b"}, "/a", "/b:/a", "/c:/b", "/世界/広い:/c")
	r.start("/a")
	r.event(runner.Event{Kind: runner.Held, Result: runner.Result{Stack: runner.Stack{Path: "/c"}, Reason: "claimed by alice"}})
	show(r, "/b is skipped, nothing is known", 80, 24)
	r.end("/a", runner.Result{Status: runner.StatusOK})
	show(r, "/c is put off", 80, 24)

	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("/many/s%02d", i))
	}
	r = newLiveRun(t, false, 30, nil, nil, many...)
	r.start(many[:30]...)
	r.wait(time.Hour + 90*time.Second)
	for _, p := range many[:6] {
		r.end(p, failure)
	}
	show(r, "more than there is room for", 80, 24)
	gittest.Golden(t, "live/frames.txt", out.String())
}

// Whatever happens in whatever terminal, a frame has no more lines and columns than
// there are, and nothing in it but text.
func TestLiveFrameFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aé世😀\u0301\u202e\x1b[2J\n\t")), 0, 30, -1)
		n := rapid.IntRange(1, 30).Draw(rt, "stacks")
		var stacks []string
		var paths []string
		for i := range n {
			path := fmt.Sprintf("/%d%s", i, strings.NewReplacer(":", "", ",", "").Replace(text.Draw(rt, "name")))
			var preds []string
			for _, p := range paths {
				if rapid.IntRange(0, 5).Draw(rt, "after") == 0 {
					preds = append(preds, p)
				}
			}
			paths = append(paths, path)
			stacks = append(stacks, path+":"+strings.Join(preds, ","))
		}
		r := newLiveRun(t, false, 3, map[string]time.Duration{paths[0]: time.Minute}, nil, stacks...)
		for range rapid.IntRange(0, 40).Draw(rt, "events") {
			r.wait(time.Duration(rapid.IntRange(0, int(time.Hour)).Draw(rt, "wait")))
			p := rapid.SampledFrom(paths).Draw(rt, "stack")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				r.event(runner.Event{Kind: runner.Retrying, Result: runner.Result{Stack: runner.Stack{Path: p}, Reason: text.Draw(rt, "reason")}})
			case 1:
				r.end(p, runner.Result{Status: rapid.SampledFrom([]runner.Status{runner.StatusOK, runner.StatusFailed, runner.StatusBlocked, runner.StatusDrifted}).Draw(rt, "status"),
					Reason: text.Draw(rt, "reason"), Last: rapid.SliceOfN(text, 0, 3).Draw(rt, "last"), Tries: rapid.IntRange(0, 3).Draw(rt, "tries")})
			default:
				r.start(p)
			}
		}
		width, height := rapid.IntRange(1, 120).Draw(rt, "width"), rapid.IntRange(1, 50).Draw(rt, "height")
		lines := strings.Split(r.frame(width, height), "\n")
		if len(lines) > max(height-1, 1) {
			rt.Fatalf("%d lines of %d", len(lines), height)
		}
		for _, l := range lines {
			if ansi.StringWidth(l) > width || runner.Printable(l) != l {
				rt.Fatalf("%q has %d columns of %d", l, ansi.StringWidth(l), width)
			}
		}
	})
}

// The estimate knows what runs side by side and what waits for what, and says nothing
// where too little is known.
func TestLeft(t *testing.T) {
	t.Parallel()
	m := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	for _, tt := range []struct {
		name     string
		parallel int
		usual    map[string]time.Duration
		stacks   string
		do       func(*liveRun)
		want     time.Duration // negative: nothing is said
	}{
		{"one after the other", 1, map[string]time.Duration{"/a": m(1), "/b": m(2), "/c": m(3)}, "/a /b /c", nil, m(6)},
		{"side by side", 2, map[string]time.Duration{"/a": m(1), "/b": m(2), "/c": m(3)}, "/a /b /c", nil, m(4)},
		{"the longest chain", 9, map[string]time.Duration{"/a": m(1), "/b": m(2), "/c": m(3), "/d": m(4)}, "/a /b:/a /c:/b /d", nil, m(6)},
		{"what is not known is like the rest", 1, map[string]time.Duration{"/a": m(2), "/b": m(2)}, "/a /b /c", nil, m(6)},
		{"too little is known", 1, map[string]time.Duration{"/a": m(2)}, "/a /b /c", nil, -1},
		{"nothing is known", 1, nil, "/a", nil, -1},
		{"half of one is done", 1, map[string]time.Duration{"/a": m(4), "/b": m(1)}, "/a /b", func(r *liveRun) { r.start("/a"); r.wait(m(3)) }, m(2)},
		{"one takes longer than it used to", 1, map[string]time.Duration{"/a": m(10), "/b": m(1)}, "/a /b", func(r *liveRun) { r.start("/a"); r.wait(m(30)) }, m(2)},
		{"what is done", 1, map[string]time.Duration{"/a": m(4), "/b": m(1)}, "/a /b", func(r *liveRun) { r.start("/a"); r.end("/a", runner.Result{Status: runner.StatusOK}) }, m(1)},
		{"what is blocked takes no time", 1, map[string]time.Duration{"/a": m(4), "/b": m(1), "/c": m(1)}, "/a /b:/a /c", func(r *liveRun) { r.start("/a"); r.end("/a", runner.Result{Status: runner.StatusFailed}) }, m(1)},
	} {
		r := newLiveRun(t, false, tt.parallel, tt.usual, nil, strings.Fields(tt.stacks)...)
		if tt.do != nil {
			tt.do(r)
		}
		got, known := r.left(r.clock)
		if known != (tt.want >= 0) || known && got != tt.want {
			t.Errorf("%s: %v (%v), want %v", tt.name, got, known, tt.want)
		}
	}
	for d, want := range map[time.Duration]string{0: "10s", 11 * time.Second: "20s", 51 * time.Second: "1m", m(58) + 1: "59m", m(59) + 1: "1h00m", m(61): "1h10m", m(119): "2h00m"} {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain │ ünïcode 世界":                 "plain │ ünïcode 世界",
		"\x1b[1;31mred\x1b[0m rest":          "\x1b[1;31mred\x1b[0m rest\x1b[0m",
		"\x1b[31mno end":                     "\x1b[31mno end\x1b[0m",
		"10%\r50%\r100%":                     "100%",
		"done\r":                             "done",
		"up\x1b[1A, clear\x1b[2J\x1b[K":      "up, clear",
		"a\x1b]0;title\x07b\x1b]8;;u\x1b\\c": "abc",
		"\x1b[?25lhidden\x1b[>4;2m":          "hidden",
		"a\tb\t世\tc":                         "a       b       世      c",
		"bell\a back\b null\x00 del\x7f":     "bell back null del",
		"c1 \u009b2J, raw \x9b2J":            "c1 2J, raw ",
		"not utf-8: \xff\xfe":                "not utf-8: \ufffd\ufffd",
		"\x1b(0lqk\x1b(B":                    "lqk",
		"":                                   "",
	} {
		if got := string(clean([]byte(in))); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// Stacks of a later wave wait for the one that is under way, and the estimate counts the
// waves one after the other, with the pauses between them.
func TestLiveWaves(t *testing.T) {
	t.Parallel()
	usual := map[string]time.Duration{"/a": 10 * time.Second, "/b": 20 * time.Second, "/c": 30 * time.Second, "/d": 5 * time.Second}
	r := newLiveRun(t, false, 4, usual, nil, "/a", "/b", "/c", "/d:/b")
	r.Divide([]string{"tag:canary", "tag:none", "*"}, map[string]int{"/a": 0, "/b": 0, "/c": 2, "/d": 2}, time.Minute)
	check := func(when string, left time.Duration, frame ...string) {
		t.Helper()
		if got, ok := r.left(r.clock); !ok || got != left {
			t.Errorf("%s: %v left, %v, want %v", when, got, ok, left)
		}
		got := r.frame(80, 24)
		for _, want := range frame {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", when, want, got)
			}
		}
	}
	check("at first", 110*time.Second, "waiting  /a  for its turn", "waiting  /c  for the wave tag:canary", "waiting  /d  for /b")
	r.start("/a", "/b")
	r.wait(10 * time.Second)
	r.end("/a", runner.Result{Status: runner.StatusOK})
	check("one has ended", 100*time.Second, "waiting  /c       for the wave tag:canary")
	r.wait(10 * time.Second)
	r.end("/b", runner.Result{Status: runner.StatusOK})
	r.event(runner.Event{Kind: runner.Held, Result: runner.Result{Stack: runner.Stack{Path: "/c"}, Reason: "soaking until 15:01:20"}})
	check("between two", 30*time.Second, "waiting  /c  soaking until 15:01:20", "waiting  /d  for its turn")
	r.start("/c", "/d")
	r.wait(5 * time.Second)
	r.end("/d", runner.Result{Status: runner.StatusOK})
	check("in the last", 25*time.Second)
}
