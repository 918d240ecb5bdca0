//go:build unix

package gitstate

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// git that writes a ref is not in the group that a Ctrl-C on the terminal is for.
func TestGitHasAGroupOfItsOwn(t *testing.T) {
	t.Parallel()
	s := open(t, gittest.New(t).Dir)
	out := must[string](t)(s.repo.Git(context.Background(), nil, "-c", "alias.group=!ps -o pgid= -p $$", "group"))
	if group := must[int](t)(strconv.Atoi(strings.TrimSpace(out))); group == syscall.Getpgrp() {
		t.Errorf("it is in group %d, as tmnotes is", group)
	}
}
