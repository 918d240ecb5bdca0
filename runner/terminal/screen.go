package terminal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/terminal/early"
)

func init() { early.Restore() }

// Screen is the terminal of a run. As long as there is a view at its bottom, what
// is written to it comes out above that, whole lines at a time. Without one it is
// the file.
type Screen struct {
	File *os.File // not embedded: its other methods that write would go past the queue

	mu    sync.Mutex
	view  bool
	queue []byte        // lines that wait for the next frame
	room  *sync.Cond    // to mu: queue has got shorter, or the view is gone
	much  chan struct{} // told when the queue should not wait for the next frame
}

const (
	// What is above waits for a frame; more than muchQueued of it has one drawn at
	// once, and who writes faster than the terminal shows waits at mostQueued, as
	// for the terminal itself.
	muchQueued = 64 << 10
	mostQueued = 256 << 10

	frameTime = 100 * time.Millisecond
)

// OnScreen makes a screen of stderr where stdout is the same terminal; else it is stderr.
func OnScreen(stdout, stderr io.Writer) io.Writer {
	out, ok := stdout.(*os.File)
	err, is := stderr.(*os.File)
	if !ok || !is || !IsTerminal(out) || !IsTerminal(err) || !SameFile(out, err) {
		return stderr
	}
	s := &Screen{File: err, much: make(chan struct{}, 1)}
	s.room = sync.NewCond(&s.mu)
	return s
}

// Fd makes it a terminal to who asks.
func (s *Screen) Fd() uintptr { return s.File.Fd() }

// Columns is how wide what a view shows may be.
func (s *Screen) Columns() int {
	w, _, _ := s.size()
	return max(w-1, 1)
}

// size is how many columns and lines there are; without any there is no view.
func (s *Screen) size() (width, height int, ok bool) {
	width, height = Size(s.File)
	return width, height, width > 0 && height > 0
}

func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.view && len(s.queue) > mostQueued {
		s.room.Wait()
	}
	if !s.view {
		return s.File.Write(p)
	}
	s.queue = append(s.queue, p...)
	if len(p) > 0 && p[len(p)-1] != '\n' {
		s.queue = append(s.queue, '\n')
	}
	if len(s.queue) > muchQueued {
		select {
		case s.much <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

// take returns what waits to be shown.
func (s *Screen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := string(s.queue)
	s.queue = s.queue[:0]
	s.room.Broadcast()
	return q
}

// release gives the terminal back: what still waits is written, and what comes
// goes straight to it.
func (s *Screen) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = false
	_, _ = s.File.Write(s.queue)
	s.queue = nil
	s.room.Broadcast()
}

// drawing is the terminal as bubbletea has it. It changes no mode of it: were it
// to hide the cursor, the cursor would stay hidden after a kill -9.
type drawing struct {
	file  *os.File
	fresh atomic.Bool // somebody else has written: the next frame starts where the cursor is
}

var cursorUp = regexp.MustCompile(`^\x1b\[[0-9]*A`)

func (d *drawing) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("\x1b[?")) {
		return len(p), nil
	}
	size := len(p)
	if d.fresh.Swap(false) {
		p = p[len(cursorUp.Find(p)):]
	}
	// What is typed is echoed, as ^C is, and leaves the cursor behind itself.
	if _, err := d.file.Write(append([]byte{'\r'}, p...)); err != nil {
		return 0, err
	}
	return size, nil
}

// Fd, Read and Close have bubbletea take it for a terminal, of which it reads the size.
func (d *drawing) Fd() uintptr { return d.file.Fd() }

func (d *drawing) Read([]byte) (int, error) { return 0, io.EOF }

func (d *drawing) Close() error { return nil }

// overlay is a view on a screen, drawn by bubbletea at its own pace: who writes to the
// screen, or changes what the view is of, does not wait for it. It reads no
// input and handles no signal, so the terminal stays in the mode that it is in,
// Ctrl-C is a signal, and what is typed is there for who asks.
type overlay struct {
	s     *Screen
	d     *drawing
	stop  chan struct{}
	ended chan struct{} // the program has, be it for an error of its own
	once  sync.Once
}

// Show shows what render returns for a width and a height, until end.
func (s *Screen) Show(render func(width, height int) string) *overlay {
	v := &overlay{s: s, d: &drawing{file: s.File}, stop: make(chan struct{}), ended: make(chan struct{})}
	m := teaModel{render: render}
	m.width, m.height, _ = s.size()
	p := tea.NewProgram(m, tea.WithOutput(v.d), tea.WithInput(nil), tea.WithoutSignalHandler(), tea.WithoutBracketedPaste(), tea.WithFPS(int(2*time.Second/frameTime)))
	s.mu.Lock()
	s.view = true
	s.mu.Unlock()
	go func() {
		_, _ = p.Run() // it fails where the terminal is gone; nobody sees the view then
		s.release()
		close(v.ended)
	}()
	go v.pump(p)
	return v
}

// pump has a frame drawn now and then, with what was written above it.
func (v *overlay) pump(p *tea.Program) {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	resumed := make(chan os.Signal, 1)
	if len(resumes) > 0 {
		signal.Notify(resumed, resumes...)
		defer signal.Stop(resumed)
	}
	for {
		ending := false
		select {
		case <-resumed:
			// A shell was here meanwhile. A size has bubbletea draw all anew.
			v.d.fresh.Store(true)
			if w, h, ok := v.s.size(); ok {
				p.Send(tea.WindowSizeMsg{Width: w, Height: h})
			}
		case <-tick.C:
		case <-v.s.much:
		case <-v.stop:
			ending = true
		case <-v.ended:
			return
		}
		var msg tea.Msg = refresh{}
		if lines := v.s.take(); lines != "" {
			// The frame is erased first, or rests of it stay beside a line that is
			// wider than the terminal.
			msg = tea.Println(ansi.EraseScreenBelow + strings.TrimSuffix(lines, "\n"))()
		}
		p.Send(msg)
		if ending {
			p.Send(lastFrame{})
			p.Quit()
			return
		}
	}
}

// Window is as much of a text as a view of that size can show, with a line at its foot.
func Window(text, foot string, width, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := max(height-2, 1); len(lines) > most {
		foot = fmt.Sprintf("… and %d more lines; %s", len(lines)-most, foot)
		lines = lines[:most]
	}
	lines = append(lines, foot)
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, width, "…")
	}
	return strings.Join(lines, "\n")
}

// End takes the view away. It may be called more than once.
func (v *overlay) End() {
	v.once.Do(func() { close(v.stop) })
	<-v.ended
}

type (
	refresh   struct{}
	lastFrame struct{}
)

type teaModel struct {
	render        func(width, height int) string
	width, height int
	over          bool
}

func (m teaModel) Init() tea.Cmd { return nil }

func (m teaModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 {
			m.width, m.height = msg.Width, msg.Height
		}
	case lastFrame:
		m.over = true
	}
	return m, nil
}

func (m teaModel) View() (frame string) {
	if m.over {
		return ""
	}
	// A crash of the view costs the view, not the run, nor what is printed above it.
	defer func() {
		if r := recover(); r != nil {
			frame = runner.Printable(fmt.Sprintf("this view does not work: %v", r))
		}
	}()
	// The last column stays free: what is erased behind a full line takes its last
	// character along.
	return m.render(max(m.width-1, 1), m.height)
}

// clean is what is shown above a view of a line of a command's output: its text and
// its colours, without what would move the cursor or set the terminal's modes.
// What a carriage return has overwritten is left out, as one would see it.
func clean(line []byte) []byte {
	if isClean(line) {
		return line
	}
	out := make([]byte, 0, len(line))
	column, colored := 0, false
	var state byte
	for len(line) > 0 {
		seq, width, n, next := ansi.DecodeSequence(line, state, nil)
		line, state = line[n:], next
		switch {
		case width > 0:
			out = append(out, bytes.ToValidUTF8(seq, []byte("\ufffd"))...)
			column += width
		case len(seq) == 1 && seq[0] == '\t':
			gap := 8 - column%8
			out = append(out, "        "[:gap]...)
			column += gap
		case len(seq) == 1 && seq[0] == '\r':
			if len(bytes.TrimRight(line, "\r")) > 0 {
				out, column = out[:0], 0
			}
		case bytes.HasPrefix(seq, []byte("\x1b[")) && seq[len(seq)-1] == 'm' && bytes.IndexByte(seq, '?') < 0 && bytes.IndexByte(seq, '>') < 0:
			out = append(out, seq...)
			colored = true
		}
	}
	if colored {
		out = append(out, "\x1b[0m"...)
	}
	return out
}

// isClean says whether a line has no control characters, of which UTF-8 has two
// kinds, and is UTF-8.
func isClean(line []byte) bool {
	ascii := true
	for _, b := range line {
		if b < 0x20 || b == 0x7f {
			return false
		}
		ascii = ascii && b < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		if r == utf8.RuneError && n == 1 || r >= 0x80 && r < 0xa0 {
			return false
		}
		line = line[n:]
	}
	return true
}
