package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// errUnread: a child has ended, and what it printed could not be read to the end.
var errUnread = errors.New("its output could not be read to the end")

// RunChild is cmd.Run with what the child prints. All that it printed is returned, even where this
// machine is so busy, or this process has so much to do, that nobody has come to read it within the
// grace after the child's end ([exec.Cmd].WaitDelay throws it away then). That long is waited for
// something else, which the child has left running, to let go of its output.
func RunChild(cmd *exec.Cmd, grace time.Duration) (stdout, stderr string, err error) {
	var printed [2]*output
	for i := range printed {
		if printed[i], err = newOutput(); err != nil {
			if i > 0 {
				printed[0].abandon()
			}
			return "", "", fmt.Errorf("starting %s: %w", cmd.Path, err)
		}
	}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = printed[0].w, printed[1].w, grace
	if err := cmd.Start(); err != nil {
		for _, o := range printed {
			o.abandon()
		}
		return "", "", err
	}
	for _, o := range printed {
		_ = o.w.Close() // the child has it
		go o.read()
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well, and did not want all of its stdin
	}
	until := time.Now().Add(grace)
	whole := printed[0].finish(until)
	_ = printed[1].finish(until)
	if err == nil && !whole {
		err = errUnread
	}
	return printed[0].text(), printed[1].text(), err
}

// output is one of the two streams of a child.
type output struct {
	r, w *os.File
	done chan struct{}
	mu   sync.Mutex
	said bytes.Buffer
}

func newOutput() (*output, error) {
	o := &output{done: make(chan struct{})}
	var err error
	o.r, o.w, err = os.Pipe()
	return o, err
}

func (o *output) abandon() {
	_ = o.r.Close()
	_ = o.w.Close()
}

func (o *output) add(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said.Write(p)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.String()
}

// read reads to the end, or to finish's time and then what is there by then.
func (o *output) read() {
	defer close(o.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := o.r.Read(buf)
		o.add(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.drain(buf)
		}
		if err != nil {
			return
		}
	}
}
