package terminal

import (
	_ "embed"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
)

// EventsSchema is the JSON Schema of an event.
//
//go:embed events.schema.json
var EventsSchema string

// Events writes what happens in a run as JSON, an object a line. The commands' output is among
// it, so that a reader of stdout reads nothing else. Errors of writing are ignored, as
// those of the commands' output are: a reader that went away is no reason to break an apply.
type Events struct {
	Run string
	Out io.Writer
	mu  sync.Mutex
}

// Event is a line of Events; events.schema.json has what the keys mean, and which of them
// an event has.
type Event struct {
	At       time.Time      `json:"at"`
	Event    string         `json:"event"`
	Run      string         `json:"run"`
	Commit   string         `json:"commit,omitempty"`
	Op       string         `json:"op,omitempty"`
	Target   string         `json:"target,omitempty"`
	Selected *int           `json:"selected,omitempty"`
	Stacks   []string       `json:"stacks,omitempty"`
	Skipped  []SkippedStack `json:"skipped,omitempty"`
	Stack    string         `json:"stack,omitempty"`
	Stream   string         `json:"stream,omitempty"`
	Text     *string        `json:"text,omitempty"`
	Status   string         `json:"status,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Wait     float64        `json:"wait,omitempty"`
	Try      int            `json:"try,omitempty"`
	Signal   string         `json:"signal,omitempty"`
	Record   *note.Record   `json:"record,omitempty"`
	Counts   map[string]int `json:"counts,omitzero"`
	Pushed   *bool          `json:"pushed,omitempty"`
	Exit     *int           `json:"exit,omitempty"`
}

// SkippedStack is a stack that is selected and not run.
type SkippedStack struct {
	Stack  string `json:"stack"`
	Reason string `json:"reason"`
}

// Write writes one event.
func (e *Events) Write(ev Event) {
	ev.At, ev.Run = time.Now().UTC().Truncate(time.Millisecond), e.Run
	line, err := JSONLine(ev)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = e.Out.Write(line)
}

// Watch has the runner's options write the output of the tasks' commands as events.
func (e *Events) Watch(x *runner.Options, tasks map[string]runner.Task) {
	x.Output, x.Prefix = runner.OutputPrefixed, func(s runner.Stack) string { return s.Path + "\x00" }
	x.Stdin, x.Stdout, x.Stderr = nil, eventLines{e, "stdout", tasks}, eventLines{e, "stderr", tasks}
}

// eventLines makes an event of each line that is led by its stack. What is secret is hidden: a CI
// that masks it in a log does not know it as JSON has it.
type eventLines struct {
	events *Events
	stream string
	tasks  map[string]runner.Task
}

func (w eventLines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		stack, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		if secrets := w.tasks[stack].Secrets; secrets != nil {
			text = secrets.Hide(text)
		}
		w.events.Write(Event{Event: "output", Stack: stack, Stream: w.stream, Text: &text})
	}
	return len(p), nil
}

// Happened writes what the runner tells; rec is what is on record of it, if anything.
func (e *Events) Happened(ev runner.Event, rec *note.Record) {
	r := ev.Result
	out := Event{Event: ev.Kind.String(), Stack: r.Stack.Path, Reason: r.Reason, Wait: ev.Wait.Seconds()}
	switch ev.Kind {
	case runner.Retrying:
		out.Try = r.Tries
	case runner.Interrupted:
		out.Signal = runner.SignalName(ev.Signal)
	case runner.Finished:
		out.Status, out.Reason = string(r.Status), ""
		if rec != nil && rec.Stack == r.Stack.Path {
			out.Record = rec
		} else {
			out.Reason = r.Reason
		}
	}
	e.Write(out)
}
