//go:build unix && !darwin && !freebsd && !netbsd

package project

import (
	"syscall"
	"time"
)

func statChange(s *syscall.Stat_t) time.Time { return time.Unix(s.Ctim.Unix()) }
