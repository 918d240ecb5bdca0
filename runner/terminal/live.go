package terminal

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/tmnotes/tmnotes/runner"
)

// View is the view of a run: what runs and for how long, what failed and with which
// last lines, what waits and on what, and how long the rest may take. The
// runner's events change it, frames are made of it, and neither waits for the
// other for longer than a frame takes to make.
type View struct {
	u        *Printer
	parallel int
	began    time.Time
	now      func() time.Time

	mu     sync.Mutex
	stacks []liveStack // in order of execution
	index  map[string]int
	count  map[runner.Status]int // of those that are final
	done   int
	failed []int  // in the order in which they did
	halt   string // the signal that interrupted the run
	waves  []string
	soak   time.Duration // between two of them

	leftAt, leftSince time.Time // when the rest is estimated to be done, and when that was
	leftKnown         bool
}

// liveStack is a stack of which something was to be done when the run began.
type liveStack struct {
	path    string
	preds   []int         // those among the stacks
	wave    int           // its place in live.waves
	usual   time.Duration // what it took the last time that it succeeded; 0 if that is not known
	status  runner.Status // "" until it is started
	started time.Time
	hold    string    // why it does not start yet
	again   time.Time // when it is tried again
	doomed  bool      // it is going to be blocked, once all that it waits for is done
	result  runner.Result
}

// lastLines are those of a failed stack, where they say more than its reason.
func (s *liveStack) lastLines() []string {
	if last := s.result.Last; len(last) != 1 || last[0] != s.result.Reason {
		return last
	}
	return nil
}

func (s *liveStack) final() bool { return s.status != "" && s.status != runner.StatusRunning }

// NewView makes the view of a run of the stacks todo of a graph.
func NewView(u *Printer, g *runner.Graph, todo []string, usual func(path string) time.Duration, parallel int, now func() time.Time) *View {
	l := &View{u: u, parallel: parallel, began: now(), now: now, index: make(map[string]int, len(todo)), count: map[runner.Status]int{}}
	for i, p := range todo {
		l.index[p] = i
	}
	order := g.Order()
	after := make(map[string][]string, len(order))
	for _, p := range order {
		after[p] = g.Predecessors(p)
	}
	// What need not run still stands between others.
	order, after = runner.Reduce(order, after, func(p string) bool { _, is := l.index[p]; return is })
	for i, p := range order {
		l.index[p] = i
		s := liveStack{path: p, usual: usual(p)}
		for _, q := range after[p] {
			s.preds = append(s.preds, l.index[q])
		}
		l.stacks = append(l.stacks, s)
	}
	return l
}

// Divide says which wave each stack is in, and how long is waited between them.
func (l *View) Divide(names []string, of map[string]int, soak time.Duration) {
	l.waves, l.soak = names, soak
	for i := range l.stacks {
		l.stacks[i].wave = of[l.stacks[i].path]
	}
}

// wave is the one that is under way, or about to start.
func (l *View) wave() int {
	k := max(len(l.waves)-1, 0)
	for i := range l.stacks {
		if s := &l.stacks[i]; !s.final() && !s.doomed {
			k = min(k, s.wave)
		}
	}
	return k
}

// Event is told of what happens, once it is on record.
func (l *View) event(e runner.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == runner.Interrupted {
		l.halt = fmt.Sprint(e.Signal)
		return
	}
	i, ok := l.index[e.Result.Stack.Path]
	if !ok {
		return
	}
	s := &l.stacks[i]
	s.result, s.hold = e.Result, ""
	switch e.Kind {
	case runner.Started:
		s.status, s.started = runner.StatusRunning, e.Result.Started
	case runner.Retrying:
		s.again = l.now().Add(e.Wait)
	case runner.Held:
		s.hold = e.Result.Reason
	case runner.Finished:
		if s.doomed {
			s.doomed = false
			l.done--
			l.count[runner.StatusBlocked]--
		}
		s.status = e.Result.Status
		l.done++
		l.count[s.status]++
		switch s.status {
		case runner.StatusFailed:
			l.failed = append(l.failed, i)
			fallthrough
		case runner.StatusCanceled, runner.StatusBlocked:
			l.doom(i)
			l.leftSince = time.Time{}
		}
	}
}

// doom counts as blocked what cannot run any more. The runner says so only once all that
// a stack waits for is done.
func (l *View) doom(root int) {
	for i := root + 1; i < len(l.stacks); i++ {
		s := &l.stacks[i]
		if s.status == "" && !s.doomed && slices.ContainsFunc(s.preds, func(p int) bool { return p == root || l.stacks[p].doomed }) {
			s.doomed = true
			l.done++
			l.count[runner.StatusBlocked]++
		}
	}
}

// frame is the view, of at most so many lines and columns: the summary at its foot
// always, above it a share for what runs, what failed, and what waits. At most half of a
// terminal is taken, as the output scrolls by in the rest.
func (l *View) frame(width, height int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	room := max(min(height-1, max(height/2, 8)), 1) - 1 // beside the summary

	running, waiting := l.open()
	failed := slices.Clone(l.failed)
	slices.Reverse(failed) // the newest first

	// Who runs has the most room, and what one does not need the others have.
	wanted := 0
	for _, i := range failed {
		wanted += 1 + len(l.stacks[i].lastLines())
	}
	forFailed, forWaiting := min(wanted, room/3), min(len(waiting), room/4)
	forRunning := min(len(running), room-forFailed-forWaiting)
	forFailed = min(wanted, room-forRunning-forWaiting)
	forWaiting = min(len(waiting), room-forRunning-forFailed)
	details := max(forFailed-len(failed), 0) // the newest failures have theirs

	var rows []liveRow
	add := func(of []int, most int, what string, row func(*liveStack) liveRow) {
		for k, i := range of {
			if k >= most {
				return
			}
			if k == most-1 && len(of) > most {
				rows = append(rows, liveRow{rest: fmt.Sprintf("… and %d more %s", len(of)-k, what)})
				return
			}
			rows = append(rows, row(&l.stacks[i]))
			if what == "failed" {
				last := l.stacks[i].lastLines()
				last = last[max(0, len(last)-details):]
				details -= len(last)
				for _, line := range last {
					rows = append(rows, liveRow{rest: "│ " + runner.Printable(line), sub: true})
				}
			}
		}
	}
	add(failed, forFailed, "failed", func(s *liveStack) liveRow {
		return liveRow{status: "failed", path: s.path, time: runner.Took(s.result.Took), rest: tries(s.result) + runner.Printable(s.result.Reason)}
	})
	add(running, forRunning, "running", func(s *liveStack) liveRow { return s.running(now) })
	add(waiting, forWaiting, "waiting", func(s *liveStack) liveRow {
		return liveRow{status: "waiting", path: s.path, rest: l.waitsFor(s)}
	})
	lines := l.layout(rows, width)
	lines = append(lines, ansi.Truncate(l.summary(now, len(running), len(waiting)), width, "…"))
	return strings.Join(lines, "\n")
}

// open are the stacks that run, in the order in which they started, and those that may
// still start.
func (l *View) open() (running, waiting []int) {
	for i := range l.stacks {
		switch s := &l.stacks[i]; s.status {
		case runner.StatusRunning:
			running = append(running, i)
		case "":
			if !s.doomed && l.halt == "" {
				waiting = append(waiting, i)
			}
		}
	}
	slices.SortStableFunc(running, func(a, b int) int { return l.stacks[a].started.Compare(l.stacks[b].started) })
	return running, waiting
}

// running is the row of a stack that runs.
func (s *liveStack) running(now time.Time) liveRow {
	r := liveRow{status: "running", path: s.path, time: clock(now.Sub(s.started))}
	switch {
	case now.Before(s.again):
		r.rest = fmt.Sprintf("try %d failed, next in %s: %s", s.result.Tries, clock(s.again.Sub(now)+time.Second-1), runner.Printable(s.result.Reason))
	case !s.again.IsZero():
		r.rest = fmt.Sprintf("try %d; %s", s.result.Tries+1, runner.Printable(s.result.Reason))
	case s.usual > 0:
		r.rest = "of about " + clock(s.usual)
	}
	return r
}

// waitsFor says what keeps a stack from starting.
func (l *View) waitsFor(s *liveStack) string {
	var names []string
	for _, p := range s.preds {
		if !l.stacks[p].final() {
			names = append(names, runner.Printable(l.stacks[p].path))
		}
	}
	switch {
	case len(names) > 0:
		return "for " + SomeOf(names)
	case s.hold != "":
		return runner.Printable(s.hold)
	case s.wave > l.wave():
		return "for the wave " + runner.Printable(l.waves[l.wave()])
	}
	return "for its turn"
}

func (l *View) summary(now time.Time, running, waiting int) string {
	parts := []string{fmt.Sprintf("%d of %d done", l.done, len(l.stacks))}
	for _, st := range []runner.Status{runner.StatusFailed, runner.StatusBlocked, runner.StatusCanceled, runner.StatusDrifted} {
		if n := l.count[st]; n > 0 {
			parts = append(parts, l.u.Paint(StatusColor(string(st)), fmt.Sprintf("%d %s", n, st)))
		}
	}
	parts = append(parts, fmt.Sprintf("%d running", running))
	if l.halt != "" {
		return l.u.Paint(Yellow, l.halt) + ": no further stacks start; " + strings.Join(parts, ", ")
	}
	line := strings.Join(append(parts, fmt.Sprintf("%d waiting", waiting)), ", ") + "; " + clock(now.Sub(l.began))
	if left, ok := l.left(now); ok {
		line += ", about " + roughly(left) + " left"
	}
	return line
}

// liveRow is a line of the view, in columns.
type liveRow struct {
	status, path, time, rest string
	sub                      bool // stands under another one
}

// layout aligns rows. Widths are of what a terminal shows: a wide character takes
// two columns, an escape none.
func (l *View) layout(rows []liveRow, width int) []string {
	paths, times := 0, 0
	for _, r := range rows {
		paths, times = max(paths, ansi.StringWidth(runner.Printable(r.path))), max(times, len(r.time))
	}
	paths = min(paths, max(width/2, 12))
	lines := make([]string, 0, len(rows))
	for _, r := range rows {
		line := ""
		switch {
		case r.sub:
			line = l.u.Paint(Faint, "         "+r.rest)
		case r.status == "":
			line = "         " + r.rest
		default:
			line = l.u.Paint(StatusColor(r.status), r.status) + strings.Repeat(" ", 9-len(r.status)) + pad(runner.Printable(r.path), paths)
			if times > 0 {
				line += "  " + strings.Repeat(" ", times-len(r.time)) + r.time
			}
			if r.rest != "" {
				line += "  " + r.rest
			}
		}
		lines = append(lines, ansi.Truncate(line, width, "…"))
	}
	return lines
}

// fit cuts a text to so many columns; of a path the end says the most.
func fit(s string, columns int) string {
	w := ansi.StringWidth(s)
	switch {
	case w <= columns:
		return s
	case isPath(s) && !strings.Contains(s, " "):
		short := ansi.TruncateLeft(s, w-columns+1, "…")
		if ansi.StringWidth(short) > columns { // a wide character stands across the edge
			short = ansi.TruncateLeft(s, w-columns+2, "…")
		}
		return short
	}
	return ansi.Truncate(s, columns, "…")
}

// pad fits a text into so many columns.
func pad(s string, columns int) string {
	s = fit(s, columns)
	return s + strings.Repeat(" ", max(columns-ansi.StringWidth(s), 0))
}

// tries says of a result that it was not the first one.
func tries(r runner.Result) string {
	if r.Tries < 2 {
		return ""
	}
	return fmt.Sprintf("%d tries; ", r.Tries)
}

// clock is took in whole seconds, for what changes while one looks at it.
func clock(d time.Duration) string {
	if d = max(d, 0); d < time.Minute {
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return runner.Took(d)
}

// roughly is a time that is not known better than this.
func roughly(d time.Duration) string {
	up := func(unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }
	switch {
	case d <= 50*time.Second:
		return clock(max(up(10*time.Second), 10*time.Second))
	case d <= 59*time.Minute:
		return fmt.Sprintf("%dm", int(up(time.Minute).Minutes()))
	}
	d = up(10 * time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
