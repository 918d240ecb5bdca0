package project

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A mark is what a file or folder looked like to the file system, without opening it.
type mark struct {
	absent bool
	folder bool
	mode   fs.FileMode
	size   int64
	times  [2]time.Time // of the content and, where the system knows it, of the change
	id     uint64       // inode
	sum    [sha256.Size]byte
	racy   bool // changed in the same tick of the clock: sum tells
	err    error
}

// tick is how long a clock of a file system may stand still: some jiffies, or two
// seconds where it knows no parts of one.
func tick(at time.Time) time.Duration {
	if at.Nanosecond() == 0 {
		return 2 * time.Second
	}
	return 20 * time.Millisecond
}

// look marks what is at a project path now, to be compared with what it was.
func (top workTree) look(file string, was *mark) mark {
	now := time.Now()
	st, err := os.Lstat(top.host(file))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return mark{absent: true}
	}
	if err != nil {
		return mark{err: err}
	}
	m := mark{mode: st.Mode(), size: st.Size(), times: [2]time.Time{st.ModTime(), st.ModTime()}, folder: st.IsDir()}
	m.times[1], m.id = changeTime(st)
	if m.folder {
		m.size = 0
	}
	for _, at := range m.times {
		m.racy = m.racy || at.Add(tick(at)).After(now)
	}
	if m.racy || was != nil && was.racy {
		m.sum, m.err = top.sum(file, st)
	}
	return m
}

// sum is the content of a file, or the names in a folder.
func (top workTree) sum(file string, st fs.FileInfo) ([sha256.Size]byte, error) {
	host := top.host(file)
	switch {
	case st.IsDir():
		names, err := folderNames(host)
		slices.Sort(names)
		return sha256.Sum256([]byte(strings.Join(names, "\x00"))), err
	case st.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(host)
		return sha256.Sum256([]byte(target)), err
	case !st.Mode().IsRegular():
		return [sha256.Size]byte{}, nil
	}
	content, err := os.ReadFile(host)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return sha256.Sum256(content), err
}

// same reports whether nothing happened to what was marked before.
func (m mark) same(was mark) bool {
	if m.absent || was.absent {
		return m.absent == was.absent
	}
	alike := m.mode == was.mode && m.size == was.size && m.id == was.id && m.times[0].Equal(was.times[0]) && m.times[1].Equal(was.times[1])
	return alike && (!was.racy || m.sum == was.sum)
}

// since reports whether it may have changed after a time.
func (m mark) since(at time.Time) bool {
	for _, t := range m.times {
		if !t.Add(tick(t)).Before(at) {
			return true
		}
	}
	return false
}

func isFolder(host string) bool {
	st, err := os.Stat(host)
	return err == nil && st.IsDir()
}
