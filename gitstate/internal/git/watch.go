package git

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// Worded is errors in other words.
type Worded struct {
	Text string
	Errs []error
}

func (w *Worded) Error() string { return w.Text }

func (w *Worded) Unwrap() []error { return w.Errs }

// catWatch sees to it that nobody waits for good for an object: one that a partial clone
// lacks is fetched by git itself, from a remote that may not answer.
type catWatch struct {
	r   *Repo
	cmd *exec.Cmd
	out io.Closer

	mu     sync.Mutex
	timer  *time.Timer
	asked  int // how often something was waited for
	waits  bool
	failed error // why git was ended
}

// Silence is the end of a wait.
type Silence struct{ after time.Duration }

func (s *Silence) Error() string { return fmt.Sprintf("no answer within %v", s.after) }

// NoAnswer is the cause to end a wait with where a remote was waited for as long as that.
func NoAnswer(after time.Duration) error { return &Silence{after} }

var ErrInterrupted = errors.New("interrupted")

// begin says that an answer is waited for.
func (w *catWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits, w.asked = true, w.asked+1
	if w.timer == nil {
		w.timer = time.AfterFunc(w.first(), w.late)
	} else {
		w.timer.Reset(w.first())
	}
}

func (w *catWatch) first() time.Duration { return min(w.r.LocalRead, w.r.Patience) }

// end says that none is waited for any more.
func (w *catWatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = false
	if w.timer != nil {
		w.timer.Stop()
	}
}

// late waits for the answer's end as well, and ends git at a signal, or when the remote's
// time is over.
func (w *catWatch) late() {
	w.mu.Lock()
	mine, waits := w.asked, w.waits
	w.mu.Unlock()
	over := time.After(w.r.Patience - w.first())
	for waits {
		select {
		case <-w.r.interrupted:
			waits = w.give(mine, ErrInterrupted)
		case <-over:
			waits = w.give(mine, NoAnswer(w.r.Patience))
		case <-time.After(100 * time.Millisecond):
			w.mu.Lock()
			waits = w.waits && w.asked == mine
			w.mu.Unlock()
		}
	}
}

// give ends git, and what it has started, unless the answer came.
func (w *catWatch) give(mine int, why error) (waits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits && w.asked == mine {
		w.failed = why
		_ = Terminate(w.cmd, true)
		time.AfterFunc(time.Second, func() { w.out.Close() }) // what does not listen may hold the pipe
	}
	return false
}

// why is what to say where git ended.
func (w *catWatch) why(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return &Worded{fmt.Sprintf("git waits for an object that is not in this partial clone: %v; fetch it first, or clone without --filter", w.failed), []error{ErrRemote, w.failed}}
	}
	return fmt.Errorf("git cat-file ended early: %w", err)
}
