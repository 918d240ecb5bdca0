//go:build unix

package gitstate

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

func fileID(_ string, info fs.FileInfo) (string, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("the system tells no inode")
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}
