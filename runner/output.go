package runner

import (
	"bytes"
	"io"
	"os"
	"reflect"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// OutputMode says how the output of children gets to Options.Stdout and Stderr.
//
// Every mode reads the output on its way, to know the reason of a failure and
// whether to try again; so children write to pipes. Only a Stdout that is a
// terminal goes to the child as it is, but for OutputPrefixed, several
// children at once in OutputGrouped, and a Command with Tee: programs ask and
// colour only there.
//
// Where Stdout and Stderr are one writer, a child has one pipe for both, so that what it
// writes stays in order; the reason of a failure is then looked for in all of it. A
// Command with Tee has two all the same, and so has OutputPrefixed, where the lines of
// one stream are not to end in the middle of the other's.
type OutputMode int

const (
	// OutputDirect passes on the bytes as they come. Stdin is handed on.
	OutputDirect OutputMode = iota
	// OutputPrefixed writes whole lines, each led by its stack. A last line
	// without an end gets one, lines over 64 KiB come in pieces.
	OutputPrefixed
	// OutputGrouped writes all of a stack's output, of all its tries, in one piece
	// between GroupStart and GroupEnd (on Stdout) when it has ended; with one
	// stack at a time as it comes. Up to 1 MiB waits in memory, more in a
	// temporary file.
	OutputGrouped
	// OutputFailed is OutputGrouped for the stacks that failed or were canceled on
	// their way, also with one at a time; the output of others is dropped.
	// Children get no Stdin: what they ask would not be seen.
	OutputFailed
)

const maxLine = 64 << 10 // longer lines are taken for several

// output is where the children of one Execute write.
type output struct {
	opt      Options
	terminal *os.File   // Stdout, if children get it as it is
	joined   bool       // children have one pipe for both streams
	mu       sync.Mutex // one Write at a time, to either
}

func newOutput(opt Options) *output {
	o := &output{opt: opt}
	if f, ok := opt.Stdout.(*os.File); ok && f != nil && o.raw() && term.IsTerminal(int(f.Fd())) {
		o.terminal = f
	}
	o.joined = opt.Output != OutputPrefixed && o.terminal == nil && sameWriter(opt.Stdout, opt.Stderr)
	return o
}

func sameWriter(a, b io.Writer) bool {
	return a != nil && reflect.ValueOf(a).Comparable() && a == b
}

// raw says whether bytes are passed on as they come.
func (o *output) raw() bool {
	return o.opt.Output == OutputDirect || o.opt.Output == OutputGrouped && o.opt.Parallel == 1
}

func (o *output) stdin() io.Reader {
	if f, ok := o.opt.Stdin.(*os.File); ok && f == nil {
		return nil
	}
	if o.opt.Output == OutputFailed || o.opt.Output != OutputDirect && o.opt.Parallel > 1 {
		return nil
	}
	return o.opt.Stdin
}

const marks = 2 // the stream of what stands around a group

// to returns the writer of a stream: 0 is Stdout, 1 is Stderr.
func (o *output) to(stream int) io.Writer {
	w := o.opt.Stdout
	switch {
	case stream == 1:
		w = o.opt.Stderr
	case stream == marks && o.opt.Marks != nil:
		w = o.opt.Marks
	}
	if w == nil {
		return io.Discard
	}
	return w
}

func (o *output) write(stream int, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.to(stream).Write(p)
}

// stackOutput is the output of one stack over all its tries.
type stackOutput struct {
	*output
	stack   Stack
	lead    string
	log     io.Writer      // Task.Log
	logging sync.Mutex     // one Write at a time to log
	spool   *spool         // where it is kept, if it is
	midLine [2]atomic.Bool // of each stream, raw and grouped: the last byte was no line end
}

// open begins the output of a stack that was started then.
func (o *output) open(t Task, started time.Time) *stackOutput {
	s := t.Stack
	so := &stackOutput{output: o, stack: s, log: t.Log}
	switch {
	case o.opt.Output == OutputPrefixed:
		so.lead = s.Path + " | "
		if o.opt.Prefix != nil {
			so.lead = o.opt.Prefix(s)
		}
	case o.opt.Output == OutputGrouped && o.raw():
		if head := so.groupStart(Result{Stack: s, Status: StatusRunning, Exit: -1, Started: started, Tries: 1}); head != "" {
			o.write(marks, []byte(head))
		}
	case o.opt.Output == OutputGrouped, o.opt.Output == OutputFailed:
		so.spool = &spool{}
	}
	return so
}

func (so *stackOutput) groupStart(r Result) string {
	if so.opt.GroupStart == nil {
		return ""
	}
	return endLine(so.opt.GroupStart(so.stack, r))
}

// close ends the output; r is what came of the stack.
func (so *stackOutput) close(r Result) {
	switch {
	case so.opt.Output == OutputFailed && r.Status != StatusFailed && (r.Status != StatusCanceled || r.Tries == 0):
		so.spool.discard()
		return
	case so.opt.Output != OutputGrouped && so.opt.Output != OutputFailed:
		return
	}
	foot := ""
	if so.opt.GroupEnd != nil {
		foot = endLine(so.opt.GroupEnd(so.stack, r))
	}
	if so.midLine[0].Load() || so.midLine[1].Load() {
		foot = "\n" + foot
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.spool != nil {
		_, _ = io.WriteString(so.to(marks), so.groupStart(r))
		so.spool.drain(func(stream int, p []byte) { _, _ = so.to(stream).Write(p) })
	}
	if foot != "" {
		_, _ = io.WriteString(so.to(marks), foot)
	}
}

// line writes a line of ours to stderr, between the outputs of two commands.
func (so *stackOutput) line(text string) {
	so.logLine([]byte(text))
	p := []byte(so.lead + endLine(text))
	if so.spool != nil {
		so.spool.add(1, p)
		return
	}
	if so.midLine[0].Swap(false) || so.midLine[1].Swap(false) {
		p = append([]byte{'\n'}, p...)
	}
	so.write(1, p)
}

// logLine has a line in Task.Log.
func (so *stackOutput) logLine(line []byte) { so.logPart(append(line[:len(line):len(line)], '\n')) }

func (so *stackOutput) logPart(p []byte) {
	if so.log != nil {
		so.logging.Lock()
		defer so.logging.Unlock()
		_, _ = so.log.Write(p)
	}
}

func endLine(s string) string {
	if s != "" && s[len(s)-1] != '\n' {
		s += "\n"
	}
	return s
}

// tryOutput is the output of one try.
type tryOutput struct {
	streams [2]stream
	hit     atomic.Bool // a line matched RetryOn
	raw     *os.File    // if set, what the child gets as its stdout
	joined  bool        // the first stream is both
}

func (so *stackOutput) newTry(tee func() io.Writer) *tryOutput {
	t := &tryOutput{raw: so.terminal, joined: so.joined}
	if tee != nil {
		t.raw, t.joined, t.streams[0].tee = nil, false, tee()
	}
	for i := range t.streams {
		s := &t.streams[i]
		if re := so.opt.RetryOn; re != nil {
			s.read = append(s.read, splitter(func(l []byte) { t.matchLine(re, l) }))
		}
		if so.log != nil {
			s.read = append(s.read, &lineSplitter{line: so.logLine, part: so.logPart})
		}
		switch {
		case so.raw():
			s.put = func(p []byte) {
				so.write(i, p)
				so.midLine[i].Store(so.opt.Output == OutputGrouped && p[len(p)-1] != '\n')
			}
		case so.spool != nil:
			s.lines = splitter(s.collect("", nil))
			s.put = func(p []byte) { so.spool.add(i, p) }
		default:
			s.lines = splitter(s.collect(so.lead, so.opt.Clean))
			s.put = func(p []byte) { so.write(i, p) }
		}
	}
	return t
}

func (t *tryOutput) matchLine(re *regexp.Regexp, line []byte) {
	if !t.hit.Load() && re.Match(plain(line)) {
		t.hit.Store(true)
	}
}

func (t *tryOutput) matched() bool { return t.hit.Load() }

// said is the line that tells best why the try failed, or "", where that is, and the lines
// that it ended with. What is secret is hidden before a line is picked and cut: nobody could
// tell half a secret any more.
func (t *tryOutput) said(errorsOnly bool, hide func(string) string) (reason, at string, last []string) {
	stderr, stdout := hide(readable(t.streams[1].tail.bytes())), hide(readable(t.streams[0].tail.bytes()))
	reason, at = pickReason([]byte(stderr), []byte(stdout), errorsOnly, hide)
	return reason, at, lastLines([]byte(stderr), []byte(stdout), 3)
}

// readable are lines as a person would read them.
func readable(text []byte) string {
	var lines []byte
	for line := range bytes.Lines(text) {
		ended := bytes.HasSuffix(line, []byte("\n"))
		lines = append(lines, plain(bytes.TrimSuffix(line, []byte("\n")))...)
		if ended {
			lines = append(lines, '\n')
		}
	}
	return string(lines)
}

// stream is one of the two of a try. It is written to by one goroutine.
type stream struct {
	tail  tail
	read  []*lineSplitter // feed RetryOn, Task.Log
	lines *lineSplitter   // feeds batch, if whole lines are wanted
	batch []byte
	put   func([]byte)
	tee   io.Writer // gets all of it as well, if set
}

// collect returns what adds a line, led by lead, to the batch.
func (s *stream) collect(lead string, clean func([]byte) []byte) func([]byte) {
	return func(line []byte) {
		if clean != nil {
			line = clean(line)
		}
		s.batch = append(s.batch, lead...)
		s.batch = append(s.batch, line...)
		s.batch = append(s.batch, '\n')
	}
}

func (s *stream) write(p []byte) {
	if len(p) == 0 {
		return
	}
	s.tail.write(p)
	if s.tee != nil {
		_, _ = s.tee.Write(p)
	}
	for _, r := range s.read {
		r.write(p)
	}
	if s.lines == nil {
		s.put(p)
		return
	}
	s.lines.write(p)
	s.putBatch()
}

func (s *stream) end() {
	for _, r := range s.read {
		r.flush()
	}
	if s.lines != nil {
		s.lines.flush()
		s.putBatch()
	}
}

func (s *stream) putBatch() {
	if len(s.batch) > 0 {
		s.put(s.batch)
		s.batch = s.batch[:0]
	}
}

// lineSplitter calls line for each line written to it, without its end.
type lineSplitter struct {
	line    func([]byte)
	part    func([]byte) // for each piece of a long one but the last
	partial []byte
}

func splitter(line func([]byte)) *lineSplitter { return &lineSplitter{line: line, part: line} }

func (l *lineSplitter) write(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		line := p[:i]
		if len(l.partial) > 0 {
			l.partial = append(l.partial, line...)
			line = l.partial
		}
		l.line(l.pieces(line))
		l.partial = l.partial[:0]
		p = p[i+1:]
	}
	l.partial = append(l.partial, p...)
	rest := l.pieces(l.partial)
	l.partial = l.partial[:copy(l.partial, rest)]
}

// pieces hands on all of a line but its last 64 KiB or less, which it returns.
func (l *lineSplitter) pieces(line []byte) []byte {
	for len(line) > maxLine {
		cut := maxLine
		for cut > maxLine-utf8.UTFMax && !utf8.RuneStart(line[cut]) {
			cut--
		}
		l.part(line[:cut])
		line = line[cut:]
	}
	return line
}

func (l *lineSplitter) flush() {
	if len(l.partial) > 0 {
		l.line(l.partial)
		l.partial = nil
	}
}

// tail keeps the last 64 KiB, and up to as much again for speed.
type tail struct{ buf []byte }

const maxTail = 64 << 10

func (t *tail) write(p []byte) {
	if len(p) >= maxTail {
		t.buf = append(t.buf[:0], p[len(p)-maxTail:]...)
		return
	}
	if len(t.buf)+len(p) > 2*maxTail {
		keep := t.buf[len(t.buf)-(maxTail-len(p)):]
		t.buf = t.buf[:copy(t.buf, keep)]
	}
	t.buf = append(t.buf, p...)
}

func (t *tail) bytes() []byte { return t.buf[max(0, len(t.buf)-maxTail):] }
