//go:build !unix

package project

import (
	"io/fs"
	"time"
)

func changeTime(st fs.FileInfo) (time.Time, uint64) { return st.ModTime(), 0 }
