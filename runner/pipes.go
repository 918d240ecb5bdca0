package runner

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// pipes connect a child to the streams of a try.
type pipes struct {
	try  *tryOutput
	r, w [2]*os.File // nil where the child has Stdout as it is, or one pipe for both
	done chan struct{}
}

// attach gives cmd its stdout and stderr. The pipes have to be closed or
// abandoned, also after an error.
func (t *tryOutput) attach(cmd *exec.Cmd) (*pipes, error) {
	p := &pipes{try: t, done: make(chan struct{})}
	for i := range p.r {
		if i == 0 && t.raw != nil {
			cmd.Stdout = t.raw
			continue
		}
		if i == 1 && t.joined {
			cmd.Stderr = p.w[0]
			continue
		}
		var err error
		if p.r[i], p.w[i], err = os.Pipe(); err != nil {
			return p, err
		}
		if i == 0 {
			cmd.Stdout = p.w[i]
		} else {
			cmd.Stderr = p.w[i]
		}
	}
	return p, nil
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copy starts to read; to be called once the child was started.
func (p *pipes) copy() {
	var open atomic.Int32
	for _, r := range p.r {
		if r != nil {
			open.Add(1)
		}
	}
	for i, r := range p.r {
		if r == nil {
			continue
		}
		_ = p.w[i].Close() // the child has it
		go func() {
			buf := copyBuffers.Get().(*[]byte)
			defer copyBuffers.Put(buf)
			for {
				n, err := r.Read(*buf)
				p.try.streams[i].write((*buf)[:n])
				if errors.Is(err, os.ErrDeadlineExceeded) {
					readRest(r, *buf, p.try.streams[i].write)
				}
				if err != nil {
					break
				}
			}
			if open.Add(-1) == 0 {
				close(p.done)
			}
		}()
	}
}

// drain returns when all output was read, or false after the grace.
func (p *pipes) drain(grace time.Duration) bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// close stops to wait for more output, and passes on what is there: a child that has ended may have
// printed what nobody has come to read yet, since the machine is busy or the reader of ours has paused.
func (p *pipes) close() {
	for _, r := range p.r {
		if r != nil && r.SetReadDeadline(time.Now()) != nil { // Windows: no read can be given up
			_ = r.Close()
		}
	}
	<-p.done
	for _, r := range p.r {
		if r != nil {
			_ = r.Close()
		}
	}
	for i := range p.try.streams {
		p.try.streams[i].end()
	}
}

// abandon closes the pipes of a child that was not started.
func (p *pipes) abandon() {
	for i := range p.r {
		if p.r[i] != nil {
			_ = p.r[i].Close()
			_ = p.w[i].Close()
		}
	}
}
