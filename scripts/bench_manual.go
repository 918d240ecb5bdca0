//go:build ignore

package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// intoManual replaces the end of a file, from where it says when it was measured.
func (b *bench) intoManual(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	const begin = "Measured on "
	before, _, found := strings.Cut(string(text), "\n"+begin)
	if !found {
		return fmt.Errorf("%s has no line that begins with %q", file, begin)
	}
	cpu := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindStringSubmatch(string(first(os.ReadFile("/proc/cpuinfo"))))
	machine := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	if cpu != nil {
		machine += " (" + cpu[1] + ")"
	}
	return os.WriteFile(file, fmt.Appendf(nil, "%s\n%s%s with %s, git %s and Terramate's own build, on %s/%s with %s; medians of %d pairs.\n\n| | figure | limit |\n|---|--:|--:|\n%s",
		before, begin, time.Now().UTC().Format(time.DateOnly), runtime.Version(), strings.TrimSpace(strings.TrimPrefix(b.git(".", "version"), "git version ")),
		runtime.GOOS, runtime.GOARCH, machine, *pairs, strings.Join(b.rows, "")), 0o666)
}

func first[T any](v T, _ error) T { return v }
