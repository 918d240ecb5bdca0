//go:build unix

package project

import (
	"io/fs"
	"syscall"
	"time"
)

// changeTime is when a file was last changed in any way, which nobody can set, and
// the number of its inode.
func changeTime(st fs.FileInfo) (time.Time, uint64) {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return statChange(s), uint64(s.Ino)
	}
	return st.ModTime(), 0
}
