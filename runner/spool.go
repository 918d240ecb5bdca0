package runner

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"sync"
)

// spool keeps what two streams wrote, in order: in memory, and what is more than
// maxSpool in a temporary file. Where the file fails it stays in memory.
type spool struct {
	mu   sync.Mutex
	buf  []byte // frames: stream, length (4 bytes), data
	last int    // where buf's last frame starts
	file *os.File
	size int64 // of the frames in file
	full bool  // file does not take any more
}

const (
	maxSpool    = 1 << 20
	frameHeader = 5
)

func (s *spool) add(stream int, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buf) > s.last && s.buf[s.last] == byte(stream) {
		s.buf = append(s.buf, p...)
	} else {
		s.last = len(s.buf)
		s.buf = append(s.buf, byte(stream), 0, 0, 0, 0)
		s.buf = append(s.buf, p...)
	}
	binary.LittleEndian.PutUint32(s.buf[s.last+1:], uint32(len(s.buf)-s.last-frameHeader))
	if len(s.buf) > maxSpool && !s.full {
		s.spill()
	}
}

func (s *spool) spill() {
	if s.file == nil {
		f, err := os.CreateTemp("", "tmnotes-output-")
		if err != nil {
			s.full = true
			return
		}
		s.file = f
	}
	if _, err := s.file.WriteAt(s.buf, s.size); err != nil {
		s.full = true
		return
	}
	s.size += int64(len(s.buf))
	s.buf, s.last = s.buf[:0], 0
}

// drain hands out all that was added, and removes the file.
func (s *spool) drain(put func(stream int, p []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		frames(bufio.NewReader(io.NewSectionReader(s.file, 0, s.size)), put)
		s.remove()
	}
	for b := s.buf; len(b) > 0; {
		end := frameHeader + int(binary.LittleEndian.Uint32(b[1:]))
		put(int(b[0]), b[frameHeader:end])
		b = b[end:]
	}
	s.buf = nil
}

// discard drops all that was added.
func (s *spool) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.remove()
	}
	s.buf = nil
}

func (s *spool) remove() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
	s.file = nil
}

func frames(r io.Reader, put func(stream int, p []byte)) {
	var head [frameHeader]byte
	var data []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int(binary.LittleEndian.Uint32(head[1:]))
		if cap(data) < n {
			data = make([]byte, n)
		}
		data = data[:n]
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		put(int(head[0]), data)
	}
}
