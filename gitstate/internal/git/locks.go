package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// lockMode lets other users of a shared repository take the locks, too.
var lockMode = flock.SetPermissions(0o666)

// Locks between processes. They go with the process that has them, but one that is
// stopped, or waits for something, keeps others waiting: who it is stands beside the lock.

// lockNamed is after how long the holder of a lock that is waited for is named.
const lockNamed = 2 * time.Second

// holderSuffix makes the name of the file that says who has a lock. It may be out of date: only
// where the lock is taken does it count.
const holderSuffix = ".holder"

// Lock takes one of the store's own locks, waiting for it until ctx ends. say gets who has
// it if that takes longer.
func Lock(ctx context.Context, path string, say func(string)) (unlock func(), err error) {
	if unlock, err = LockBriefly(ctx, path, say); err == nil {
		// Without it others wait for a holder that they cannot name.
		_ = os.WriteFile(path+holderSuffix, []byte(holder()), 0o666)
	}
	return unlock, err
}

// LockBriefly is Lock for what is held for less time than it takes to say by whom.
func LockBriefly(ctx context.Context, path string, say func(string)) (unlock func(), err error) {
	l := flock.New(path, lockMode)
	free, err := l.TryLock()
	if err == nil && !free {
		named := time.AfterFunc(lockNamed, func() { say("waiting for " + held(path)) })
		_, err = l.TryLockContext(ctx, 20*time.Millisecond)
		named.Stop()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("waiting for %s: %w", held(path), cause)
		}
		return nil, fmt.Errorf("waiting for %s: %w", path, err)
	}
	return func() { l.Close() }, nil
}

// holder is what this process says of itself: its number, since when it runs, its command line.
var holder = sync.OnceValue(func() string {
	return fmt.Sprintf("%d\n%s\n%s\n", os.Getpid(), started.UTC().Format(time.RFC3339), note.NewRedactor(os.Environ()).Command(os.Args))
})

var started = time.Now()

// held names a lock and who has it.
func held(path string) string {
	text, _ := os.ReadFile(path + holderSuffix)
	lines := strings.SplitN(string(text), "\n", 3)
	if len(lines) < 3 {
		return fmt.Sprintf("another process that holds %s", path)
	}
	pid, _ := strconv.Atoi(lines[0])
	since := lines[1]
	if at, err := time.Parse(time.RFC3339, since); err == nil {
		since = at.Local().Format(time.DateTime)
	}
	return fmt.Sprintf("process %d (%s, running since %s) that holds %s", pid, strings.TrimSpace(lines[2]), since, filepath.Base(path))
}
