package gittest

import (
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func Ptr(n int) *int { return &n }

var T0 = at("2026-11-23T15:10:13.520Z")
